package compose

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"photree/compose/rootfs"
	"photree/compose/treefile"
	"photree/repo"
)

func TestMain(m *testing.M) {
	rootfs.SandboxMain()
	if os.Geteuid() != 0 {
		fmt.Println("these tests compose trees: run them as root")
		os.Exit(1)
	}
	var err error
	if shared, err = os.MkdirTemp("", "photree-compose-test-"); err != nil {
		panic(err)
	}
	status := m.Run()
	os.RemoveAll(shared)
	os.Exit(status)
}

var (
	shared string // directory for what several tests use
	base   sync.Once
)

func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH=1700000000")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// buildRPM makes a package with the real rpmbuild into dir.
func buildRPM(t *testing.T, dir, name, body string) string {
	t.Helper()
	work := t.TempDir()
	// What stands before the first section is preamble.
	at := strings.Index("\n"+body, "\n%")
	body = body[:at] + "%description\ntest\n" + body[at:]
	if !strings.Contains(body, "Version:") {
		body = "Version: 1\n" + body
	}
	file := filepath.Join(work, name+".spec")
	spec := "Name: " + name + "\nRelease: 1\nSummary: test\nLicense: MIT\nBuildArch: noarch\nAutoReqProv: no\n" + body
	if err := os.WriteFile(file, []byte(spec), 0o644); err != nil {
		t.Fatal(err)
	}
	tool(t, "rpmbuild", "-bb", "--quiet", "--define", "_topdir "+work+"/top", "--define", "_rpmdir "+dir, "--define", "_rpmfilename %{NAME}-%{VERSION}-%{RELEASE}.%{ARCH}.rpm",
		"--define", "buildroot "+work+"/root", "--define", "__os_install_post %{nil}", "--define", "_build_id_links none", "--define", "_binary_payload w1.gzdio",
		"--define", "_binaries_in_noarch_packages_terminate_build 0", "--define", "use_source_date_epoch_as_buildtime 1", file)
	return filepath.Join(dir, name+"-1-1.noarch.rpm")
}

// basePackage puts a package with a shell, accounts and a kernel into dir.
func basePackage(t *testing.T, dir string) {
	t.Helper()
	base.Do(func() {
		install, files := "", ""
		want := map[string]bool{}
		for _, p := range []string{"sh", "cat", "touch"} {
			full, err := filepath.EvalSymlinks("/usr/bin/" + p)
			if err != nil {
				t.Fatal(err)
			}
			install += fmt.Sprintf("install -D %s %%{buildroot}/usr/bin/%s\n", full, p)
			files += "/usr/bin/" + p + "\n"
			for _, m := range regexp.MustCompile(`(/\S+) \(0x`).FindAllStringSubmatch(tool(t, "ldd", full), -1) {
				want[m[1]] = true
			}
		}
		var libs []string
		for l := range want {
			libs = append(libs, l)
		}
		sort.Strings(libs)
		for _, l := range libs {
			dest := "/usr/" + strings.TrimPrefix(strings.TrimPrefix(l, "/"), "usr/")
			install += fmt.Sprintf("install -D %s %%{buildroot}%s\n", l, dest)
			files += dest + "\n"
		}
		buildRPM(t, shared, "base", `Provides: /bin/sh
%install
mkdir -p %{buildroot}/usr/sbin %{buildroot}/usr/lib/modules/6.1 %{buildroot}/usr/lib64 %{buildroot}/etc %{buildroot}/var/lib/base
for d in bin sbin lib lib64; do ln -s usr/$d %{buildroot}/$d; done
`+install+`
echo root:x:0:0:root:/root:/bin/sh > %{buildroot}/etc/passwd
echo root:x:0: > %{buildroot}/etc/group
echo kernel > %{buildroot}/usr/lib/modules/6.1/vmlinuz
%files
/bin
/sbin
/lib
/lib64
/usr/lib/modules
/etc/passwd
/etc/group
%attr(0700,root,root) %dir /var/lib/base
`+files)
	})
	copyFile(t, filepath.Join(shared, "base-1-1.noarch.rpm"), filepath.Join(dir, "base-1-1.noarch.rpm"))
}

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

// server is a directory as a compose server has it: packages, a treefile with
// its .repo file, a repository.
type server struct {
	t    *testing.T
	dir  string
	repo *repo.Repo
}

func newServer(t *testing.T) *server {
	t.Helper()
	dir := t.TempDir()
	s := &server{t: t, dir: dir}
	for _, d := range []string{"rpms", "work"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	basePackage(t, s.rpms())
	s.write("test.repo", "[test]\nname=test\nbaseurl=file://"+s.rpms()+"\ngpgcheck=0\n")
	r, err := repo.Init(filepath.Join(dir, "repo"), repo.InitOptions{Mode: repo.ModeArchive})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	s.repo = r
	return s
}

func (s *server) rpms() string { return filepath.Join(s.dir, "rpms") }

func (s *server) write(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

// publish makes the metadata of the packages that are there.
func (s *server) publish() { tool(s.t, "createrepo_c", "-q", s.rpms()) }

const ref = "test/1/x86_64/minimal"

func (s *server) treefile(packages ...string) {
	s.write("tree.json", fmt.Sprintf(`{"ref": %q, "automatic_version_prefix": "1", "repos": ["test"], "selinux": false, "no-initramfs": true, "packages": ["%s"]}`,
		ref, strings.Join(packages, `", "`)))
}

// recorder keeps what a compose says.
type recorder struct{ steps, notes, warns []string }

func (r *recorder) Step(s string)             { r.steps = append(r.steps, s) }
func (r *recorder) Note(s string)             { r.notes = append(r.notes, s) }
func (r *recorder) Warn(s string)             { r.warns = append(r.warns, s) }
func (r *recorder) Progress(int, int, string) {}

func (s *server) compose(ctx context.Context, o Options) (*Result, *recorder, error) {
	s.t.Helper()
	tf, err := treefile.Load(filepath.Join(s.dir, "tree.json"))
	if err != nil {
		return nil, nil, err
	}
	log := &recorder{}
	o.Treefile, o.Log = tf, log
	if o.WorkDir == "" {
		o.WorkDir = filepath.Join(s.dir, "work")
	}
	if o.Repo == nil {
		o.Repo = s.repo
	}
	if o.Time.IsZero() {
		o.Time = time.Unix(1700000000, 0)
	}
	res, err := Compose(ctx, o)
	s.noRemains()
	return res, log, err
}

func (s *server) mustCompose(o Options) (*Result, *recorder) {
	s.t.Helper()
	res, log, err := s.compose(context.Background(), o)
	if err != nil {
		s.t.Fatal(err)
	}
	return res, log
}

// noRemains fails when a compose left a file or a mount in its work directory.
func (s *server) noRemains() {
	s.t.Helper()
	list, err := os.ReadDir(filepath.Join(s.dir, "work"))
	if err != nil || len(list) > 0 {
		s.t.Errorf("left in the work directory: %v %v", list, err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || strings.Contains(string(mounts), s.dir) {
		s.t.Errorf("a mount is left (%v)", err)
	}
}

// snapshot lists every file of the repository with its size and time.
func (s *server) snapshot() string {
	s.t.Helper()
	var out strings.Builder
	err := filepath.Walk(s.repo.Path(), func(p string, fi os.FileInfo, err error) error {
		if err != nil || fi.IsDir() || fi.Name() == ".lock" {
			return err
		}
		fmt.Fprintf(&out, "%s %d %s\n", p, fi.Size(), fi.ModTime())
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return out.String()
}

// umask changes the umask and gives the function that puts it back.
func umask(mask int) func() {
	old := syscall.Umask(mask)
	return func() { syscall.Umask(old) }
}
