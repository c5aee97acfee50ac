package ostree_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// suite is where Debian's package ostree-tests installs ostree's own black-box
// tests. They run whatever "ostree" comes first in PATH.
const suite = "/usr/libexec/installed-tests/libostree"

// TestOstreesOwnAdminTests runs them with our program.
func TestOstreesOwnAdminTests(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	if _, err := os.Stat(suite); err != nil {
		t.Fatalf("ostree's own tests are needed for this test: apt-get install ostree-tests: %v", err)
	}
	bin := suiteBinaries(t)
	// A file system of its own: the tests deploy, and what they deploy to is
	// frozen, which must not be the file system of the machine. In memory it could
	// not be frozen at all, which one script asks for.
	image, work := filepath.Join(t.TempDir(), "image"), t.TempDir()
	for _, argv := range [][]string{
		{"truncate", "-s", "2G", image},
		{"mkfs.ext4", "-q", "-F", image},
		{"mount", "-o", "loop,noatime", image, work},
	} {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("running %v: %v\n%s", argv, err, out)
		}
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", "-l", work).CombinedOutput(); err != nil {
			t.Errorf("unmounting: %v\n%s", err, out)
		}
	})
	for _, c := range []struct {
		script string
		points int
		// rest says why not all of the script's points are reached.
		rest string
	}{
		{"test-admin-deploy-2", 8, ""},
		{"test-admin-deploy-clean", 1, ""},
		{"test-admin-deploy-etcmerge-cornercases", 2, ""},
		{"test-admin-deploy-karg", 4, ""},
		{"test-admin-deploy-nomerge", 1, ""},
		{"test-admin-deploy-switch", 4, ""},
		{"test-admin-instutil-set-kargs", 5, ""},
		{"test-admin-kargs", 2, ""},
		{"test-admin-pull-deploy-commit", 1, ""},
		{"test-admin-pull-deploy-split", 1, ""},
		{"test-admin-upgrade-endoflife", 3, ""},
		{"test-admin-upgrade-unconfigured", 2, ""},
		{"test-admin-upgrade-systemd-update", 2, ""},
		{"test-admin-deploy-none", 29, ""},
	} {
		t.Run(c.script, func(t *testing.T) {
			t.Parallel()
			out, err := runSuiteScript(filepath.Join(work, c.script), c.script, bin)
			got := len(regexp.MustCompile(`(?m)^ok `).FindAllString(out, -1))
			if got < c.points || err != nil && c.rest == "" {
				t.Errorf("%d of %d points, %v\n%s", got, c.points, err, tail(out, 30))
			}
			if c.rest != "" && err == nil {
				t.Errorf("the whole script passes now: %s", c.rest)
			}
		})
	}
}

// suiteBinaries builds our program and gives a directory with its names.
func suiteBinaries(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command("go", "build", "-o", filepath.Join(dir, "ostree"), "photree/cmd/photree")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building photree: %v\n%s", err, out)
	}
	return dir
}

func runSuiteScript(dir, script, bin string) (string, error) {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	// The server that a script starts ends when the directory is gone.
	defer os.RemoveAll(dir)
	cmd := exec.Command("bash", filepath.Join(suite, script+".sh"))
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "TMPDIR="+filepath.Dir(dir),
		"OSTREE_SYSROOT_OPTS=bootloader-naming-1", "LC_ALL=C.UTF-8")
	out, err := os.CreateTemp("", "suite-")
	if err != nil {
		return "", err
	}
	defer os.Remove(out.Name())
	defer out.Close()
	// A file and not a pipe: a server left behind would keep a pipe open.
	cmd.Stdout, cmd.Stderr = out, out
	err = cmd.Run()
	data, readErr := os.ReadFile(out.Name())
	if readErr != nil {
		return "", readErr
	}
	if err != nil {
		err = fmt.Errorf("running %s: %w", script, err)
	}
	return string(data), err
}

func tail(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(len(lines)-n, 0):], "\n")
}
