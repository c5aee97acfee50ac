package deploy

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"photree/internal/kargs"
	"photree/repo/object"
)

func TestFirstDeployment(t *testing.T) {
	s := newSysroot(t, sysrootOptions{bootMiB: 16})
	id := s.commit(release{version: "1", kernel: "a"})
	r := s.deploy(id, `root=UUID=x a="b c"`)
	if !r.BootSwap || r.CountChange != 1 || r.BootVersion != 1 || r.SubBootVersion != 1 {
		t.Errorf("result is %+v", r)
	}
	if got := s.check(); !slices.Equal(got, []object.ID{id}) {
		t.Fatalf("deployments are %v", got)
	}
	entry, err := os.ReadFile(filepath.Join(s.dir, "boot/loader/entries/ostree-1.conf"))
	if err != nil {
		t.Fatal(err)
	}
	k := r.Deployment.BootChecksum
	want := "title Test OS 1 (ostree:0)\nversion 1\noptions root=UUID=x a=\"b c\" ostree=/ostree/boot.1/os/" + k + "/0\n" +
		"linux /ostree/os-" + k + "/vmlinuz-6.1.0\ninitrd /ostree/os-" + k + "/initramfs-6.1.0.img\n"
	if string(entry) != want {
		t.Errorf("the entry is\n%s\nwant\n%s", entry, want)
	}
	if data, err := os.ReadFile(filepath.Join(s.VarPath("os"), "lib/app/state")); string(data) != "from the tree" {
		t.Errorf("/var was not filled: %v", err)
	}
	dep := s.Path(r.Deployment)
	etc, _ := os.Stat(filepath.Join(dep, "etc/hosts"))
	def, _ := os.Stat(filepath.Join(dep, "usr/etc/hosts"))
	if os.SameFile(etc, def) {
		t.Error("a file of /etc is shared with the store (D4)")
	}
	if origin, _ := os.ReadFile(dep + ".origin"); string(origin) != "[origin]\nrefspec=test/main\n" {
		t.Errorf("origin is %q", origin)
	}
}

func TestUpgradeKeepsChangesAndTheOldDeployment(t *testing.T) {
	s := newSysroot(t, sysrootOptions{bootMiB: 16})
	one := s.commit(release{version: "1", kernel: "a"})
	first := s.deploy(one, "root=UUID=x quiet")
	etc := filepath.Join(s.Path(first.Deployment), "etc")
	writeFile(t, filepath.Join(etc, "hosts"), "10.0.0.1 mine\n")
	writeFile(t, filepath.Join(etc, "own/file"), "own")
	writeFile(t, filepath.Join(s.VarPath("os"), "lib/app/state"), "mine")
	two := s.commit(release{version: "2", kernel: "b", files: map[string]string{"usr/etc/new.conf": "new", "var/lib/late": "x"}})
	r := s.deploy(two, "")
	if got := s.check(); !slices.Equal(got, []object.ID{two, one}) {
		t.Fatalf("deployments are %v", got)
	}
	if r.Etc == nil || r.Etc.Modified != 1 || r.Etc.Added != 2 || r.Etc.Removed != 0 {
		t.Errorf("the merge says %+v", r.Etc)
	}
	for name, want := range map[string]string{"hosts": "10.0.0.1 mine\n", "own/file": "own", "new.conf": "new", "app.conf": "version 2\n"} {
		if data, err := os.ReadFile(filepath.Join(s.Path(r.Deployment), "etc", name)); string(data) != want {
			t.Errorf("/etc/%s is %q, %v", name, data, err)
		}
	}
	if data, _ := os.ReadFile(filepath.Join(s.VarPath("os"), "lib/app/state")); string(data) != "mine" {
		t.Errorf("an update wrote to /var (D5)")
	}
	if _, err := os.Stat(filepath.Join(s.VarPath("os"), "lib/late")); err == nil {
		t.Errorf("an update filled /var (D5)")
	}
	list, _ := s.Deployments()
	if list[0].Kargs.String() != "root=UUID=x quiet" {
		t.Errorf("kernel arguments are %q", list[0].Kargs)
	}
	// A third release drops the first, with its kernel and its commit.
	three := s.commit(release{version: "3", kernel: "c"})
	r = s.deploy(three, "")
	if got := s.check(); !slices.Equal(got, []object.ID{three, two}) {
		t.Fatalf("deployments are %v", got)
	}
	if len(r.Removed) != 1 || r.Removed[0].Commit != one {
		t.Errorf("removed are %v", r.Removed)
	}
	if _, err := os.Stat(filepath.Join(s.dir, "boot/ostree/os-"+first.Deployment.BootChecksum)); err == nil {
		t.Error("the old kernel is still in /boot")
	}
	if _, err := os.Stat(s.Path(first.Deployment)); err == nil {
		t.Error("the old deployment is still there")
	}
	if _, err := s.Repo().LoadCommit(one); err == nil {
		t.Error("the old commit is still there")
	}
}

func TestTheSameKernelOnlySwapsLinks(t *testing.T) {
	s := newSysroot(t, sysrootOptions{})
	for i, text := range []string{"a", "b", "c"} {
		id := s.commit(release{version: "1", kernel: "same", files: map[string]string{"usr/bin/x": text}})
		r := s.deploy(id, "quiet")
		if want := i < 2; r.BootSwap != want {
			t.Errorf("deployment %d: swap of entries is %v", i, r.BootSwap)
		}
		if got := s.check(); got[0] != id {
			t.Errorf("deployment %d is not the default", i)
		}
	}
	st, _ := s.Load()
	if st.SubBootVersion != 0 {
		t.Errorf("boot.%d.%d is current", st.BootVersion, st.SubBootVersion)
	}
}

func TestListChanges(t *testing.T) {
	ctx := t.Context()
	s := newSysroot(t, sysrootOptions{bootMiB: 16})
	if _, err := s.Rollback(ctx); err == nil || err.Error() != "Found 0 deployments, at least 2 required for rollback" {
		t.Errorf("rollback of nothing: %v", err)
	}
	one := s.commit(release{version: "1", kernel: "a"})
	s.deploy(one, "quiet")
	if _, err := s.Rollback(ctx); err == nil || err.Error() != "Found 1 deployments, at least 2 required for rollback" {
		t.Errorf("rollback of one: %v", err)
	}
	two := s.commit(release{version: "2", kernel: "b"})
	s.deploy(two, "")
	expect := func(what string, want ...object.ID) {
		t.Helper()
		if got := s.check(); !slices.Equal(got, want) {
			t.Fatalf("after %s the deployments are %v", what, got)
		}
	}
	if r, err := s.Rollback(ctx); err != nil || r.Deployment.Commit != one {
		t.Fatal(err)
	}
	expect("a rollback", one, two)
	if _, err := s.Rollback(ctx); err != nil {
		t.Fatal(err)
	}
	expect("a second rollback", two, one)
	if _, err := s.SetDefault(ctx, 1); err != nil {
		t.Fatal(err)
	}
	expect("set-default", one, two)
	if changed, err := s.Pin(ctx, 1, true); err != nil || !changed {
		t.Fatal(changed, err)
	}
	three := s.commit(release{version: "3", kernel: "c"})
	s.deploy(three, "")
	expect("a deployment with one pinned", three, one, two)
	if _, err := s.SetKargs(ctx, 1, kargs.Parse("debug ostree=/x")); err != nil {
		t.Fatal(err)
	}
	if list, _ := s.Deployments(); list[1].Kargs.String() != "debug" || list[0].Kargs.String() != "quiet" {
		t.Errorf("kernel arguments are %q and %q", list[0].Kargs, list[1].Kargs)
	}
	if err := s.SetOrigin(ctx, 0, "other:ref"); err != nil {
		t.Fatal(err)
	}
	if list, _ := s.Deployments(); list[0].Refspec() != "other:ref" {
		t.Errorf("the origin is %q", list[0].Refspec())
	}
	if r, err := s.Undeploy(ctx, 1); err != nil || r.CountChange != -1 {
		t.Fatal(err)
	}
	expect("undeploy", three, two)
	var index *IndexError
	if _, err := s.Undeploy(ctx, 2); !errors.As(err, &index) {
		t.Errorf("undeploy of nothing: %v", err)
	}
	if err := s.InitStateroot(ctx, "other"); err != nil {
		t.Fatal(err)
	}
	o := s.deployOptions(three)
	o.Stateroot = "other"
	if _, err := s.Deploy(ctx, o); err != nil {
		t.Fatal(err)
	}
	expect("a second stateroot", three, three, two)
	entry, _ := os.ReadFile(filepath.Join(s.dir, "boot/loader/entries/ostree-3.conf"))
	if !strings.Contains(string(entry), "(ostree:other:0)") {
		t.Errorf("the title does not name the stateroot:\n%s", entry)
	}
	run(t, "ostree", "--repo="+filepath.Join(s.dir, "ostree/repo"), "fsck")
}

func TestAFullBootIsFoundOutFirst(t *testing.T) {
	s := newSysroot(t, sysrootOptions{bootMiB: 4})
	one := s.commit(release{version: "1", kernel: "a"})
	s.deploy(one, "quiet")
	big := strings.Repeat("k", 3<<20)
	two := s.commit(release{version: "2", kernel: big})
	before := run(t, "find", s.dir, "-not", "-path", "*/repo/*", "-not", "-name", "lock")
	_, err := s.Deploy(t.Context(), s.deployOptions(two))
	var full *NoSpaceError
	if !errors.As(err, &full) || full.Need < 6<<20 || full.Dir != filepath.Join(s.dir, "boot") {
		t.Fatalf("the error is %v", err)
	}
	t.Log(err)
	if after := run(t, "find", s.dir, "-not", "-path", "*/repo/*", "-not", "-name", "lock"); before != after {
		t.Errorf("the sysroot changed:\n%s\n%s", before, after)
	}
	s.check()
}

func TestAFullDiskLeavesTheOldList(t *testing.T) {
	s := newSysroot(t, sysrootOptions{bootMiB: 16, rootMiB: 24})
	one := s.commit(release{version: "1", kernel: "a"})
	s.deploy(one, "quiet")
	two := s.commit(release{version: "2", kernel: "b", files: map[string]string{"usr/etc/big": strings.Repeat("0123456789", 400000)}})
	fill(t, filepath.Join(s.dir, "filler"))
	_, err := s.Deploy(t.Context(), s.deployOptions(two))
	var full *NoSpaceError
	if !errors.As(err, &full) {
		t.Fatalf("the error is %v", err)
	}
	t.Log(err)
	if got := s.check(); !slices.Equal(got, []object.ID{one}) {
		t.Errorf("deployments are %v", got)
	}
	if dirs, _ := filepath.Glob(filepath.Join(s.dir, "ostree/deploy/os/deploy", two.String()+"*")); len(dirs) > 0 {
		t.Errorf("left over are %q", dirs)
	}
	if err := os.Remove(filepath.Join(s.dir, "filler")); err != nil {
		t.Fatal(err)
	}
	s.deploy(two, "")
	s.check()
}

func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 64<<10)
	for {
		if _, err := f.Write(block); err != nil {
			break
		}
	}
	// Leave a little, so that it is the copy of /etc that fails.
	if st, err := f.Stat(); err == nil {
		f.Truncate(st.Size() - 1<<20)
	}
}

func TestTreesThatCannotBeDeployed(t *testing.T) {
	s := newSysroot(t, sysrootOptions{bootMiB: 16})
	for _, c := range []struct{ name, file, want string }{
		{"two kernels", "usr/lib/modules/6.2.0/vmlinuz", "two kernels"},
		{"both etc", "etc/x", "both /etc and /usr/etc"},
	} {
		id := s.commit(release{version: "1", kernel: "a", files: map[string]string{c.file: "x"}})
		_, err := s.Deploy(t.Context(), s.deployOptions(id))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	o := s.deployOptions(s.commit(release{version: "1"}))
	o.Stateroot = "missing"
	if _, err := s.Deploy(t.Context(), o); err == nil || !strings.Contains(err.Error(), "stateroot-init") {
		t.Errorf("missing stateroot: %v", err)
	}
	if got := s.check(); len(got) != 0 {
		t.Errorf("deployments are %v", got)
	}
	if dirs, _ := os.ReadDir(filepath.Join(s.dir, "ostree/deploy/os/deploy")); len(dirs) > 0 {
		t.Errorf("left over are %v", dirs)
	}
}
