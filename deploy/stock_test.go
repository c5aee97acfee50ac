package deploy

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"photree/repo/object"
)

// TestStockReadsAndChangesOurSysroot and the next test have stock ostree as the
// judge: each program works on what the other left.
func TestStockReadsAndChangesOurSysroot(t *testing.T) {
	s := newSysroot(t, sysrootOptions{bootMiB: 16})
	one := s.commit(release{version: "1", kernel: "a"})
	r := s.deploy(one, `root=UUID=x a="b c"`)
	writeFile(t, filepath.Join(s.Path(r.Deployment), "etc/hosts"), "mine\n")
	out := run(t, "ostree", "admin", "status", "--sysroot="+s.dir)
	for _, want := range []string{"os " + one.String() + ".0", "Version: 1", "origin refspec: test/main"} {
		if !strings.Contains(out, want) {
			t.Errorf("stock status has no %q:\n%s", want, out)
		}
	}
	two := s.commit(release{version: "2", kernel: "b"})
	run(t, "ostree", "admin", "deploy", "--sysroot="+s.dir, "--os=os", "test/main")
	if got := s.check(); !slices.Equal(got, []object.ID{two, one}) {
		t.Fatalf("after stock deploy the list is %v", got)
	}
	list, err := s.Deployments()
	if err != nil {
		t.Fatal(err)
	}
	if list[0].Kargs.String() != `root=UUID=x a="b c"` {
		t.Errorf("kernel arguments are %q", list[0].Kargs)
	}
	if data, _ := os.ReadFile(filepath.Join(s.Path(list[0]), "etc/hosts")); string(data) != "mine\n" {
		t.Errorf("/etc/hosts is %q", data)
	}
	if _, err := os.Stat(filepath.Join(s.dir, "boot/loader/grub.cfg")); err == nil {
		t.Error("the menu is of the old list")
	}
	// Back with us: the menu returns even though only links would change.
	r = s.deploy(two, "")
	if !r.BootSwap {
		t.Error("the entries of stock were kept")
	}
	if _, err := os.Stat(filepath.Join(s.dir, "boot/loader/grub.cfg")); err != nil {
		t.Error(err)
	}
	s.check()
	run(t, "ostree", "admin", "undeploy", "--sysroot="+s.dir, "1")
	s.check()
	run(t, "ostree", "admin", "cleanup", "--sysroot="+s.dir)
	s.check()
	run(t, "ostree", "--repo="+filepath.Join(s.dir, "ostree/repo"), "fsck", "-q")
}

func TestWeReadAndChangeStocksSysroot(t *testing.T) {
	for _, boot := range []int{0, 16} {
		s := newSysroot(t, sysrootOptions{bootMiB: boot, stock: true})
		one := s.commit(release{version: "1", kernel: "a"})
		run(t, "ostree", "admin", "deploy", "--sysroot="+s.dir, "--os=os", "--karg=root=UUID=x", "--karg-append=quiet", "test/main")
		if _, err := os.Stat(filepath.Join(s.dir, "boot/loader/entries/ostree-1-os.conf")); err != nil {
			t.Fatal(err)
		}
		if got := s.check(); !slices.Equal(got, []object.ID{one}) {
			t.Fatalf("the list is %v", got)
		}
		list, _ := s.Deployments()
		stockSum := list[0].BootChecksum
		writeFile(t, filepath.Join(s.Path(list[0]), "etc/own"), "own")
		two := s.commit(release{version: "2", kernel: "b"})
		r := s.deploy(two, "")
		if got := s.check(); !slices.Equal(got, []object.ID{two, one}) {
			t.Fatalf("the list is %v", got)
		}
		if r.Deployment.Kargs.String() != "root=UUID=x quiet" {
			t.Errorf("kernel arguments are %q", r.Deployment.Kargs)
		}
		if data, _ := os.ReadFile(filepath.Join(s.Path(r.Deployment), "etc/own")); string(data) != "own" {
			t.Error("the change of /etc is lost")
		}
		// The same commit deployed by both must have the same kernel directory.
		if list, _ := s.Deployments(); list[1].BootChecksum != stockSum {
			t.Errorf("the kernel was %s and is %s", stockSum, list[1].BootChecksum)
		}
		out := run(t, "ostree", "admin", "status", "--sysroot="+s.dir)
		if !strings.Contains(out, two.String()+".0") || !strings.Contains(out, one.String()+".0") {
			t.Errorf("stock status:\n%s", out)
		}
		run(t, "ostree", "admin", "deploy", "--sysroot="+s.dir, "--os=os", "test/main")
		s.check()
		if _, err := s.Undeploy(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		s.check()
		run(t, "ostree", "--repo="+filepath.Join(s.dir, "ostree/repo"), "fsck", "-q")
	}
}
