package rootfs

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
)

func TestMain(m *testing.M) {
	SandboxMain()
	if os.Geteuid() != 0 {
		fmt.Println("these tests unpack packages and make namespaces: run them as root")
		os.Exit(1)
	}
	var err error
	if shared, err = os.MkdirTemp("", "photree-rootfs-"); err != nil {
		panic(err)
	}
	status := m.Run()
	os.RemoveAll(shared)
	os.Exit(status)
}

// buildRPM makes a package with the real rpmbuild. body is the part of a spec
// file after the preamble's constant lines.
func buildRPM(t *testing.T, name, body string) string {
	t.Helper()
	dir := t.TempDir()
	spec := fmt.Sprintf("Name: %s\nVersion: 1\nRelease: 1\nSummary: test\nLicense: MIT\nBuildArch: noarch\nAutoReqProv: no\n", name)
	if !strings.Contains(body, "%description") {
		body = "%description\ntest\n" + body
	}
	file := filepath.Join(dir, name+".spec")
	if err := os.WriteFile(file, []byte(spec+body), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("rpmbuild", "-bb", "--quiet", "--define", "_topdir "+dir+"/top", "--define", "_rpmdir "+dir+"/out",
		"--define", "buildroot "+dir+"/root", "--define", "__os_install_post %{nil}", "--define", "_build_id_links none",
		"--define", "_binaries_in_noarch_packages_terminate_build 0", "--define", "source_date_epoch_from_changelog 0", "--define", "use_source_date_epoch_as_buildtime 1", "--define", "_binary_payload w1.gzdio", file)
	cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH=1700000000")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("rpmbuild (of the package rpm): %v\n%s\n%s", err, out, spec+body)
	}
	return filepath.Join(dir, "out", "noarch", name+"-1-1.noarch.rpm")
}

// installLines are %install lines that copy programs of this machine with the
// libraries they need.
func installLines(t *testing.T, programs ...string) (install, files string) {
	t.Helper()
	want := map[string]bool{}
	for _, p := range programs {
		full, err := exec.LookPath(p)
		if err != nil {
			t.Fatal(err)
		}
		full, err = filepath.EvalSymlinks(full)
		if err != nil {
			t.Fatal(err)
		}
		dest := "/usr/bin/" + p
		install += fmt.Sprintf("install -D %s %%{buildroot}%s\n", full, dest)
		files += dest + "\n"
		out, _ := exec.Command("ldd", full).Output()
		for _, m := range regexp.MustCompile(`(/\S+) \(0x`).FindAllStringSubmatch(string(out), -1) {
			want[m[1]] = true
		}
	}
	for _, lib := range sortedKeys(want) {
		dest := lib
		if !strings.HasPrefix(dest, "/usr/") {
			dest = "/usr" + dest
		}
		install += fmt.Sprintf("install -D %s %%{buildroot}%s\n", lib, dest)
		files += dest + "\n"
	}
	return install, files
}

// basePackage has a merged /usr, a shell and a few tools, accounts, and a
// kernel.
func basePackage(t *testing.T) string {
	t.Helper()
	base.Do(func() { copyFile(t, makeBase(t), filepath.Join(shared, "base.rpm")) })
	return filepath.Join(shared, "base.rpm")
}

var (
	base   sync.Once
	shared string // directory for what several tests use
)

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, data, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func makeBase(t *testing.T) string {
	t.Helper()
	install, files := installLines(t, "sh", "cat", "id", "ls", "mkdir", "touch", "stat", "readlink")
	return buildRPM(t, "base", `
%install
mkdir -p %{buildroot}/usr/bin %{buildroot}/usr/sbin %{buildroot}/usr/lib %{buildroot}/usr/lib64 %{buildroot}/etc %{buildroot}/var/lib
mkdir -p %{buildroot}/usr/lib/modules/6.1
for d in bin sbin lib lib64; do ln -s usr/$d %{buildroot}/$d; done
`+install+`
echo root:x:0:0:root:/root:/bin/sh > %{buildroot}/etc/passwd
echo web:x:33:33:web:/var/www:/usr/sbin/nologin >> %{buildroot}/etc/passwd
echo root:x:0: > %{buildroot}/etc/group
echo web:x:33: >> %{buildroot}/etc/group
echo kernel > %{buildroot}/usr/lib/modules/6.1/vmlinuz
%files
/bin
/sbin
/lib
/lib64
%dir /usr/lib/modules/6.1
/usr/lib/modules/6.1/vmlinuz
/etc/passwd
/etc/group
%dir /var/lib
`+files)
}

// built is a tree with what was said while it was made.
type built struct {
	root  string
	tree  *Tree
	warns []string
	err   error
}

func build(t *testing.T, o Options, packages ...string) built {
	t.Helper()
	var b built
	o.Root = t.TempDir()
	o.Packages = packages
	o.Warn = func(s string) { b.warns = append(b.warns, s) }
	b.root = o.Root
	b.tree, b.err = Build(context.Background(), o)
	checkNoMounts(t, o.Root)
	return b
}

func mustBuild(t *testing.T, o Options, packages ...string) built {
	t.Helper()
	b := build(t, o, packages...)
	if b.err != nil {
		t.Fatal(b.err)
	}
	return b
}

// checkNoMounts fails when anything is still mounted in a tree.
func checkNoMounts(t *testing.T, root string) {
	t.Helper()
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(data, []byte(root)) {
		t.Errorf("something is still mounted below %s", root)
	}
}

func (b built) read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(b.root, name))
	if err != nil {
		t.Error(err)
	}
	return string(data)
}

func lstat(t *testing.T, name string) *syscall.Stat_t {
	t.Helper()
	fi, err := os.Lstat(name)
	if err != nil {
		t.Error(err)
		return &syscall.Stat_t{}
	}
	return fi.Sys().(*syscall.Stat_t)
}
