package distro

import (
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Fatalf("this test judges by the real %s: install it (make deps)", name)
	}
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func made(t *testing.T) *Distro {
	t.Helper()
	d, err := Make(t.Context(), Options{Progress: func(s string) { t.Log(s) }})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// rpm and dnf are the judges: they read every package and the repodata, install v1, run its scriptlets and upgrade to v2.
func TestDnfInstallsAndUpgradesTheDistribution(t *testing.T) {
	if testing.Short() {
		t.Skip("installs 208 packages twice")
	}
	d := made(t)
	for _, r := range releases {
		info := d.Manifest.Releases[r.name]
		if len(info.Packages) < minPackages {
			t.Errorf("%s has %d packages, want at least %d", r.name, len(info.Packages), minPackages)
		}
		if info.Installed > 450e6 {
			t.Errorf("%s takes %d bytes installed, want at most 450 MB", r.name, info.Installed)
		}
		files, err := filepath.Glob(filepath.Join(d.Repo(r.name), "*.rpm"))
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(strings.TrimSpace(tool(t, "rpm", append([]string{"-K", "--nosignature"}, files...)...)), "\n") {
			if !strings.HasSuffix(line, "digests OK") {
				t.Error(line)
			}
		}
	}
	root := t.TempDir()
	dnf := func(release string, args ...string) {
		t.Helper()
		log := tool(t, "dnf", append([]string{"-y", "--installroot=" + root, "--setopt=reposdir=/dev/null", "--repofrompath=" + release + ",file://" + d.Repo(release),
			"--setopt=" + release + ".gpgcheck=0", "--setopt=cachedir=" + filepath.Join(t.TempDir(), "cache"), "--setopt=install_weak_deps=False", "--releasever=12"}, args...)...)
		for _, line := range strings.Split(log, "\n") {
			if strings.HasPrefix(line, "error:") || strings.HasPrefix(line, "warning:") || strings.Contains(line, "scriptlet failed") {
				t.Errorf("dnf %s: %s", args[0], line)
			}
		}
	}
	dnf("v1", append([]string{"install"}, Packages()...)...)
	v1 := d.Manifest.Releases["v1"]
	exists := func(want bool, path string) {
		t.Helper()
		if _, err := os.Lstat(filepath.Join(root, path)); (err == nil) != want {
			t.Errorf("%s is there: %v, want %v", path, err == nil, want)
		}
	}
	exists(true, "/usr/lib/modules/"+v1.Kernel+"/modules.dep")
	exists(true, "/usr/bin/bc")
	exists(false, "/usr/bin/jq")
	exists(true, "/etc/systemd/system/multi-user.target.wants/ssh.service")
	exists(true, "/etc/systemd/system/multi-user.target.wants/sshd-keygen.service")
	exists(false, "/usr/share/locale/de/LC_MESSAGES")
	contains(t, root, "/etc/passwd", "sshd:x:")
	contains(t, root, "/etc/shadow", "root:*:")
	contains(t, root, "/etc/photree-release", "release 1.0")
	cap := make([]byte, 64)
	n, err := unix.Lgetxattr(filepath.Join(root, "/usr/bin/ping"), "security.capability", cap)
	if err != nil {
		t.Errorf("ping has no capability: %v", err)
	} else if got := hex.EncodeToString(cap[:n]); !strings.HasPrefix(got, "0100000200200000") {
		t.Errorf("ping has capability %s, want cap_net_raw=ep", got)
	}
	dnf("v2", "upgrade")
	contains(t, root, "/etc/photree-release", "release 2.0")
	exists(true, "/usr/bin/jq")
}

func contains(t *testing.T, root, path, want string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, path))
	if err != nil || !strings.Contains(string(data), want) {
		t.Errorf("%s: %q has no %q (%v)", path, data, want, err)
	}
}

func TestReleasesDiffer(t *testing.T) {
	d := made(t)
	v1, v2 := d.Manifest.Releases["v1"], d.Manifest.Releases["v2"]
	if v1.Kernel == v2.Kernel {
		t.Errorf("both releases have kernel %s", v1.Kernel)
	}
	differ := 0
	for name, version := range v1.Debian {
		if newer, ok := v2.Debian[name]; ok && newer != version {
			differ++
			if debianCompare(version, newer) > 0 {
				t.Errorf("%s: v1 has %s, newer than v2's %s", name, version, newer)
			}
		}
	}
	if differ < 20 {
		t.Errorf("%d packages differ between the releases, want a real update", differ)
	}
	if v1.Packages["bc"] == "" || v2.Packages["bc"] != "" || v1.Packages["jq"] != "" || v2.Packages["jq"] == "" {
		t.Error("bc must be in v1 only and jq in v2 only")
	}
}

func TestTwoCallersMakeItOnce(t *testing.T) {
	results := make(chan string, 2)
	for range 2 {
		go func() {
			d, err := Make(t.Context(), Options{})
			if err != nil {
				results <- err.Error()
				return
			}
			results <- d.Dir
		}()
	}
	if a, b := <-results, <-results; a != b {
		t.Errorf("two callers got %q and %q", a, b)
	}
}

func TestADirectoryBecomesAPackage(t *testing.T) {
	src, repo := t.TempDir(), filepath.Join(t.TempDir(), "repo")
	for path, text := range map[string]string{
		"usr/bin/tool":                       "#!/bin/sh\n",
		"usr/lib/systemd/system/one.service": "[Unit]\n\n[Install]\nWantedBy=multi-user.target\n",
		"lib/systemd/two.service":            "[Unit]\n",
	} {
		full := filepath.Join(src, path)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("tool", filepath.Join(src, "usr/bin/alias")); err != nil {
		t.Fatal(err)
	}
	if err := PackageDir(src, "tool", "1.5", repo); err != nil {
		t.Fatal(err)
	}
	rpm := filepath.Join(repo, "tool-1.5-1.x86_64.rpm")
	list := tool(t, "rpm", "-qpl", rpm)
	for _, want := range []string{"/usr/bin/alias\n", "/usr/bin/tool\n", "/usr/lib/systemd/two.service\n"} {
		if !strings.Contains(list, want) {
			t.Errorf("package holds no %q:\n%s", want, list)
		}
	}
	if scripts := tool(t, "rpm", "-qp", "--scripts", rpm); !strings.Contains(scripts, "preset one.service") || strings.Contains(scripts, "two.service") {
		t.Errorf("scriptlets are:\n%s", scripts)
	}
	if err := PackageDir(t.TempDir(), "empty", "1", filepath.Join(t.TempDir(), "r")); err == nil {
		t.Error("an empty directory became a package")
	}
}
