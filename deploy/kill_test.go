package deploy

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"photree/grub"
	"photree/repo/object"
)

const killEnv = "PHOTREE_TEST_KILL" // DIR COMMIT STEP

// TestDeployUntilKilled is the process that TestKilledBehindEachStep kills: it
// deploys and kills itself behind the step with the number it is given.
func TestDeployUntilKilled(t *testing.T) {
	arg := strings.Fields(os.Getenv(killEnv))
	if len(arg) != 3 {
		return // only run by the test below
	}
	id, err := object.ParseID(arg[1])
	if err != nil {
		t.Fatal(err)
	}
	left, _ := strconv.Atoi(arg[2])
	s, err := Open(arg[0], Options{Bootloader: grub.Bootloader{}, Mutable: true})
	if err != nil {
		t.Fatal(err)
	}
	s.afterStep = func(name string) error {
		if left--; left < 0 {
			fmt.Println("killed behind:", name)
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
		return nil
	}
	if _, err := s.Deploy(t.Context(), DeployOptions{Stateroot: "os", Commit: id, Origin: NewOrigin("test/main")}); err != nil {
		t.Fatal(err)
	}
}

// killedDeploy runs a deployment that dies behind step n, and reports the step,
// or "" if the deployment ended before.
func killedDeploy(t *testing.T, dir string, id object.ID, n int) string {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestDeployUntilKilled$")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s %d", killEnv, dir, id, n))
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL:
		_, step, _ := strings.Cut(strings.TrimSpace(string(out)), "killed behind: ")
		return step
	}
	t.Fatalf("%v\n%s", err, out)
	return ""
}

// TestKilledBehindEachStep covers D1, D2, D3, D6 and D7: wherever a deployment is
// killed, the machine has the old list or the new one, complete, for the kernel
// and for GRUB, which sees the disk without the journal; and the next deployment
// completes and leaves nothing over.
func TestKilledBehindEachStep(t *testing.T) {
	for _, c := range []struct {
		name    string
		kernels [3]string
		boot    int
	}{
		{"new kernels, own boot partition", [3]string{"a", "b", "c"}, 16},
		{"the same kernel, boot in the root", [3]string{"a", "a", "a"}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			seen := 0
			for n := 0; ; n++ {
				s := newSysroot(t, sysrootOptions{bootMiB: c.boot, rootMiB: 24})
				one := s.commit(release{version: "1", kernel: c.kernels[0]})
				s.deploy(one, "quiet")
				two := s.commit(release{version: "1", kernel: c.kernels[1], files: map[string]string{"usr/bin/x": "2"}})
				s.deploy(two, "")
				three := s.commit(release{version: "1", kernel: c.kernels[2], files: map[string]string{"usr/bin/x": "3"}})
				step := killedDeploy(t, s.dir, three, n)
				if step == "" {
					break
				}
				seen++
				got := s.check()
				if !slices.Equal(got, []object.ID{two, one}) && !slices.Equal(got, []object.ID{three, two}) {
					t.Fatalf("killed behind %q: the list is %v", step, got)
				}
				s.checkGrubView(step, c.boot > 0)
				run(t, "ostree", "admin", "status", "--sysroot="+s.dir)
				// Not all refs may be there, but those that are must keep all that is listed.
				if _, err := tryRun("ostree", "--repo="+filepath.Join(s.dir, "ostree/repo"), "prune", "--refs-only"); err != nil {
					t.Fatal(err)
				}
				s.deploy(three, "")
				if got := s.check(); got[0] != three {
					t.Fatalf("killed behind %q: the next deployment gives %v", step, got)
				}
				s.checkNothingLeft(step)
				run(t, "ostree", "--repo="+filepath.Join(s.dir, "ostree/repo"), "fsck", "-q")
			}
			if want := len(deploySteps) + len(leftoverSteps) + len(cleanSteps) + len(subSwapSteps); seen < want {
				t.Errorf("only %d steps were stopped at, there are at least %d", seen, want)
			}
		})
	}
}

// checkGrubView reads the list with GRUB's own file system code from the disk
// below the mounted file system.
func (s *sysroot) checkGrubView(step string, own bool) {
	s.t.Helper()
	prefix := "(loop0)/boot"
	if own {
		prefix = "(loop0)"
	}
	run(s.t, "sync", "-f", s.bootImage)
	menu, err := tryRun("grub-fstest", s.bootImage, "cat", prefix+"/loader/grub.cfg")
	if err != nil || strings.Count(menu, "menuentry ") != 2 {
		s.t.Fatalf("killed behind %q: GRUB reads %v\n%s", step, err, menu)
	}
	for _, line := range strings.Split(menu, "\n") {
		f := strings.Fields(line)
		if len(f) == 0 || f[0] != "linux" && f[0] != "initrd" {
			continue
		}
		path := prefix + strings.TrimPrefix(f[1], `"$bootdir"`)
		if out, err := tryRun("grub-fstest", s.bootImage, "crc", path); err != nil {
			s.t.Fatalf("killed behind %q: GRUB reads %s: %v %s", step, path, err, out)
		}
	}
}

// checkNothingLeft looks for what an interrupted run may leave.
func (s *sysroot) checkNothingLeft(step string) {
	s.t.Helper()
	st, err := s.Load()
	if err != nil {
		s.t.Fatal(err)
	}
	for pattern, want := range map[string]int{
		"boot/loader*": 2, "boot/ostree/*": -1, "ostree/boot.*": 2, "ostree/deploy/os/deploy/*": 2 * len(st.Deployments),
		"ostree/repo/refs/heads/ostree/*/*/*": len(st.Deployments),
	} {
		names, _ := filepath.Glob(filepath.Join(s.dir, pattern))
		if want < 0 {
			kernels := map[string]bool{}
			for _, d := range st.Deployments {
				kernels[d.BootChecksum] = true
			}
			want = len(kernels)
		}
		if len(names) != want {
			s.t.Errorf("killed behind %q: after the next deployment there are %d of %s: %q", step, want, pattern, names)
		}
	}
}
