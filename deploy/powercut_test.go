package deploy

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"photree/repo/object"
)

// TestPowerCutBehindEachStep covers D1, D2 and D7. Behind each step of a deployment
// the disks are copied as they are below the mounted file systems: what the
// system still holds in memory is lost, as in a power cut. On the copy the kernel
// (with the journal) and GRUB (without) find the old list or the new one, whole,
// and the next deployment completes.
func TestPowerCutBehindEachStep(t *testing.T) {
	for _, c := range []struct {
		name    string
		boot    int
		kernels string
	}{
		{"new kernels, own boot partition", 16, "abc"},
		{"new kernels, boot in the root", 0, "abc"},
		{"the same kernel, own boot partition", 16, "aaa"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSysroot(t, sysrootOptions{bootMiB: c.boot, rootMiB: 24})
			one := s.commit(release{version: "1", kernel: c.kernels[:1]})
			s.deploy(one, "quiet")
			two := s.commit(release{version: "1", kernel: c.kernels[1:2], files: map[string]string{"usr/bin/x": "2"}})
			s.deploy(two, "")
			three := s.commit(release{version: "1", kernel: c.kernels[2:], files: map[string]string{"usr/bin/x": "3"}})
			before, after := []object.ID{two, one}, []object.ID{three, two}
			seen := map[string]int{}
			s.afterStep = func(step string) error {
				got := s.afterPowerCut(t, c.boot > 0, step, three)
				switch {
				case slices.Equal(got, before):
					seen["old"]++
				case slices.Equal(got, after):
					seen["new"]++
				default:
					t.Errorf("power cut behind %q: the list is %v", step, got)
				}
				return nil
			}
			s.deploy(three, "")
			if seen["old"] == 0 || seen["new"] == 0 {
				t.Errorf("the cuts gave %v: old and new must both be among them", seen)
			}
			t.Log(seen)
		})
	}
}

// TestADeploymentRemovesWhatACutLeft: the power-cut explorer found the first of these behind a cut while the origin was
// written (seed 12, point 550 of a change of kernel arguments).
func TestADeploymentRemovesWhatACutLeft(t *testing.T) {
	s := newSysroot(t, sysrootOptions{bootMiB: 16, rootMiB: 24})
	one := s.commit(release{version: "1", kernel: "a"})
	s.deploy(one, "")
	left := []string{
		"ostree/deploy/os/deploy/." + one.String() + ".1.origin.tmp-15344-1", "ostree/.boot.0.tmp-1-2", "boot/.loader.tmp.tmp-1-3",
	}
	for _, name := range left {
		writeFile(t, filepath.Join(s.dir, name), "")
	}
	s.deploy(s.commit(release{version: "2", kernel: "b"}), "")
	for _, name := range left {
		if _, err := os.Lstat(filepath.Join(s.dir, name)); err == nil {
			t.Errorf("%s is still there", name)
		}
	}
}

// afterPowerCut copies the disks, starts from the copies, checks them and returns
// the list that they boot. Then it deploys to them.
func (s *sysroot) afterPowerCut(t *testing.T, own bool, step string, next object.ID) []object.ID {
	t.Helper()
	images := memoryDir(t)
	defer os.RemoveAll(images)
	dir := filepath.Join(images, "mnt")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	copies := &sysroot{t: t, dir: dir, rootImage: filepath.Join(images, "root"), bootImage: filepath.Join(images, "root")}
	run(t, "cp", "--sparse=always", s.rootImage, copies.rootImage)
	if own {
		copies.bootImage = filepath.Join(images, "boot")
		run(t, "cp", "--sparse=always", s.bootImage, copies.bootImage)
	}
	copies.checkGrubView(fmt.Sprintf("(power cut) %s", step), own)
	run(t, "mount", "-o", "loop", copies.rootImage, dir)
	defer run(t, "umount", "-R", dir)
	if own {
		run(t, "mount", "-o", "loop", copies.bootImage, filepath.Join(dir, "boot"))
	}
	ids, err := checkInvariants(dir)
	if err != nil {
		t.Fatalf("power cut behind %q: %v", step, err)
	}
	copies.Sysroot = openSysroot(t, dir)
	defer copies.Close()
	copies.deploy(next, "")
	if again := copies.check(); again[0] != next {
		t.Fatalf("power cut behind %q: the next deployment gives %v", step, again)
	}
	copies.checkNothingLeft(step)
	run(t, "ostree", "--repo="+filepath.Join(dir, "ostree/repo"), "fsck", "-q")
	return ids
}
