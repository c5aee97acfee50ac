package rpmostree_test

import (
	"context"
	"errors"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"photree/deploy"
	"photree/internal/gvariant"
	"photree/internal/kargs"
	"photree/repo"
	"photree/repo/object"
	"photree/repo/serve"
	"photree/repo/tree"
)

// machine is a sysroot on a file system of its own, a server that it follows, and
// a way to run commands as on the booted system: in a mount namespace whose root
// is the deployment, with the physical root read-only.
type machine struct {
	t      *testing.T
	dir    string // the sysroot
	server *repo.Repo
	url    string
	bin    string
	booted string // directory of the deployment that runs, or ""
}

const branch = "photon/4.0/x86_64/minimal"

func newMachine(t *testing.T) *machine {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("these tests mount file systems: run them as root")
	}
	m := &machine{t: t, dir: t.TempDir(), bin: buildBinary(t)}
	// In memory where possible: each flush of an image on a disk flushes the disk.
	images, err := os.MkdirTemp("/dev/shm", "host-test-")
	if err != nil {
		images = t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(images) })
	img := filepath.Join(images, "image")
	m.host("truncate", "-s", "64M", img)
	m.host("mkfs.ext4", "-q", "-F", "-b", "4096", img)
	m.host("mount", "-o", "loop", img, m.dir)
	t.Cleanup(func() { m.host("umount", m.dir) })
	path := filepath.Join(t.TempDir(), "repo")
	if m.server, err = repo.Init(path, repo.InitOptions{Mode: repo.ModeArchive}); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(serve.Handler(path))
	t.Cleanup(srv.Close)
	m.url = srv.URL
	return m
}

// buildBinary builds the program once for all tests.
func buildBinary(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "photree")
	cmd := exec.Command("go", "build", "-o", bin, "photree/cmd/photree")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building photree: %v\n%s", err, out)
	}
	return bin
}

func (m *machine) host(argv ...string) string {
	m.t.Helper()
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		m.t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
	return string(out)
}

// pkg is name, version-release.
type pkg [2]string

// release commits a tree with these packages on the server.
func (m *machine) release(version string, day int, pkgs ...pkg) object.ID {
	m.t.Helper()
	dir := m.t.TempDir()
	write := func(name, text string) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			m.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			m.t.Fatal(err)
		}
	}
	write("usr/lib/modules/5.10/vmlinuz", "kernel "+version)
	write("usr/lib/modules/5.10/initramfs.img", "initramfs "+version)
	write("usr/lib/os-release", "PRETTY_NAME=\"Photon OS\"\n")
	write("usr/etc/hosts", "127.0.0.1 localhost\n")
	write("usr/etc/removed.conf", "x")
	for _, d := range []string{"boot", "sysroot", "run", "proc", "sys", "dev", "tmp", "var"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			m.t.Fatal(err)
		}
	}
	if err := os.Symlink("sysroot/ostree", filepath.Join(dir, "ostree")); err != nil {
		m.t.Fatal(err)
	}
	var list []gvariant.Value
	for _, p := range pkgs {
		v, r, _ := strings.Cut(p[1], "-")
		list = append(list, gvariant.Tuple(gvariant.String(p[0]), gvariant.String("0"), gvariant.String(v), gvariant.String(r), gvariant.String("x86_64")))
	}
	id, _, err := tree.Commit(m.t.Context(), m.server, dir, tree.CommitOptions{
		Ref: branch, Timestamp: day1.AddDate(0, 0, day),
		Metadata: gvariant.Dict{
			{Key: "rpmostree.rpmdb.pkglist", Value: gvariant.Array("(sssss)", list...)},
			{Key: "version", Value: gvariant.String(version)},
		},
	})
	if err != nil {
		m.t.Fatal(err)
	}
	if err := m.server.UpdateSummary(m.t.Context(), repo.SummaryOptions{}); err != nil {
		m.t.Fatal(err)
	}
	return id
}

// install puts the server's head on the machine, with photree's own command line.
func (m *machine) install() {
	m.t.Helper()
	at := "--sysroot=" + m.dir
	m.run("ostree", "admin", "init-fs", m.dir)
	m.run("ostree", "admin", at, "stateroot-init", "photon")
	m.run("ostree", "remote", "add", "--repo="+m.dir+"/ostree/repo", "--no-gpg-verify", "photon", m.url)
	m.run("ostree", "pull", "--repo="+m.dir+"/ostree/repo", "photon", branch)
	m.run("ostree", "admin", at, "deploy", "--os=photon", "--karg=root=LABEL=x", "photon:"+branch)
	m.boot()
}

// boot makes the default deployment the one that runs.
func (m *machine) boot() {
	m.t.Helper()
	s, err := deploy.Open(m.dir, deploy.Options{})
	if err != nil {
		m.t.Fatal(err)
	}
	defer s.Close()
	list, err := s.Deployments()
	if err != nil || len(list) == 0 {
		m.t.Fatal(err)
	}
	m.booted = s.Path(list[0])
	if got := kargs.Parse(list[0].Kargs.String()).Get("root"); got != "LABEL=x" {
		m.t.Errorf("the kernel arguments are %q", list[0].Kargs)
	}
}

// mounts prepares the booted system's mounts as prepare-root does, in a namespace
// of the command's own. $1 is the sysroot, $2 the deployment, $3 the program.
const mounts = `set -e
mount --bind "$2" "$2"
mount --bind "$1" "$2/sysroot"
mount --bind "$1/boot" "$2/boot"
mount -o remount,bind,ro "$2/sysroot"
mount -o remount,bind,ro "$2/boot"
mount --bind "$2/etc" "$2/etc"
mount -t proc proc "$2/proc"
mount -t tmpfs tmpfs "$2/run"
touch "$2/run/ostree-booted"
for name in photree ostree rpm-ostree; do cp -l "$3" "$2/run/$name" 2>/dev/null || cp "$3" "$2/run/$name"; done
dir="$2"; shift 3
exec chroot "$dir" "$@"`

// run runs a command and returns its output, stderr included.
func (m *machine) try(argv ...string) (string, int) {
	m.t.Helper()
	var cmd *exec.Cmd
	if m.booted == "" {
		cmd = exec.CommandContext(context.Background(), m.bin, argv[1:]...)
		cmd.Args[0] = argv[0]
	} else {
		args := append([]string{"-m", "sh", "-c", mounts, "sh", m.dir, m.booted, m.bin, "/run/" + argv[0]}, argv[1:]...)
		cmd = exec.CommandContext(context.Background(), "unshare", args...)
	}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return string(out), exit.ExitCode()
	} else if err != nil {
		m.t.Fatal(err)
	}
	return string(out), 0
}

func (m *machine) run(argv ...string) string {
	m.t.Helper()
	out, code := m.try(argv...)
	if code != 0 {
		m.t.Fatalf("%s: exit status %d\n%s", strings.Join(argv, " "), code, out)
	}
	return out
}

// expect runs a command and compares its output, in which N stands for a number
// or size and "..." for anything.
func (m *machine) expect(code int, want string, argv ...string) {
	m.t.Helper()
	out, got := m.try(argv...)
	if got != code {
		m.t.Errorf("%s: exit status %d instead of %d", strings.Join(argv, " "), got, code)
	}
	pattern := regexp.QuoteMeta(want)
	pattern = strings.ReplaceAll(pattern, `\.\.\.`, `(?s:.*)`)
	pattern = regexp.MustCompile(`\bNNN\b`).ReplaceAllString(pattern, `[0-9.]+`)
	if !regexp.MustCompile(`^` + pattern + `$`).MatchString(out) {
		m.t.Errorf("%s printed\n%s\nwant\n%s", strings.Join(argv, " "), out, want)
	}
}

func (m *machine) path(elem ...string) string {
	return filepath.Join(append([]string{m.dir}, elem...)...)
}
