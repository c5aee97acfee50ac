package prepareroot_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"photree/internal/gvariant"
	prepareroot "photree/prepare-root"

	"golang.org/x/sys/unix"
)

// inNamespace runs the calling test again as a process with its own mounts; it returns true in that process. Whatever
// it mounts goes away with it.
func inNamespace(t *testing.T) bool {
	t.Helper()
	const mark = "PHOTREE_TEST_NAMESPACE"
	if os.Getenv(mark) == t.Name() {
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			t.Fatal(err)
		}
		return true
	}
	if os.Getuid() != 0 {
		t.Fatal("this test makes mounts in a namespace of its own: run it as root")
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+strings.ReplaceAll(t.Name(), "/", "$/^")+"$", "-test.v")
	cmd.Env = append(os.Environ(), mark+"="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()+" ") {
		t.Fatalf("%v\n%s", err, out)
	}
	return false
}

const deployment = "ostree/deploy/os/deploy/0123.0"

// disk is a physical root with one deployment, on a file system of its own.
type disk struct {
	sysroot, run string
	options      prepareroot.Options
}

func newDisk(t *testing.T) *disk {
	t.Helper()
	dir := t.TempDir()
	d := &disk{sysroot: dir + "/sysroot", run: dir + "/run"}
	for _, p := range []string{d.sysroot, d.run} {
		mkdir(t, p)
		if err := unix.Mount("tmpfs", p, "tmpfs", 0, ""); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Unmount(p, unix.MNT_DETACH) })
	}
	for _, sub := range []string{"usr", "etc", "var", "sysroot", "boot"} {
		mkdir(t, d.path(deployment, sub))
	}
	mkdir(t, d.path("ostree/deploy/os/var"))
	mkdir(t, d.path("ostree/repo"))
	mkdir(t, d.path("ostree/boot.1.1/os/abc"))
	d.link(t, "boot.1.1", "ostree/boot.1")
	d.link(t, "../../../deploy/os/deploy/0123.0", "ostree/boot.1.1/os/abc/0")
	d.write(t, "[core]\nmode=bare\n", "ostree/repo/config")
	d.write(t, "etc", deployment, "etc/where")
	d.write(t, "usr", deployment, "usr/where")
	d.write(t, "var", "ostree/deploy/os/var/where")
	d.write(t, "physical", "where")
	d.options = prepareroot.Options{
		Sysroot: d.sysroot, Run: d.run, Config: []string{dir + "/prepare-root.conf"},
		Cmdline: "root=/dev/x ostree=/ostree/boot.1/os/abc/0 rw", Log: func(s string) { t.Log(s) },
	}
	return d
}

func (d *disk) path(parts ...string) string {
	return filepath.Join(append([]string{d.sysroot}, parts...)...)
}

func (d *disk) link(t *testing.T, to, at string) {
	t.Helper()
	os.Remove(d.path(at))
	if err := os.Symlink(to, d.path(at)); err != nil {
		t.Fatal(err)
	}
}

func (d *disk) write(t *testing.T, text string, parts ...string) {
	t.Helper()
	if err := os.WriteFile(d.path(parts...), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func mkdir(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// writable says which directories of the mounted root take a file.
func writable(root string) string {
	var out []string
	for _, dir := range []string{"usr", "etc", "var", "sysroot"} {
		name := filepath.Join(root, dir, "probe")
		if os.WriteFile(name, nil, 0o644) == nil {
			os.Remove(name)
			out = append(out, dir)
		}
	}
	return strings.Join(out, " ")
}

func TestMountsOfADeployment(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	d := newDisk(t)
	var st unix.Stat_t
	if err := unix.Stat(d.path(deployment), &st); err != nil {
		t.Fatal(err)
	}
	res, err := prepareroot.Run(d.options)
	if err != nil {
		t.Fatal(err)
	}
	if res != (prepareroot.Result{Deployment: deployment, Stateroot: "os"}) {
		t.Errorf("the result is %+v", res)
	}
	for file, want := range map[string]string{
		"etc/where": "etc", "usr/where": "usr", "var/where": "var", "sysroot/where": "physical",
		"sysroot/ostree/deploy/os/var/where": "var",
	} {
		if got := read(t, d.path(file)); got != want {
			t.Errorf("/%s is %q, want %q", file, got, want)
		}
	}
	if got := writable(d.sysroot); got != "etc var sysroot" {
		t.Errorf("these take files: %s", got)
	}
	booted, err := gvariant.Parse("a{sv}", []byte(read(t, d.run+"/ostree-booted")))
	if err != nil {
		t.Fatal(err)
	}
	inode, _ := booted.Dict().Get("backing-root-device-inode")
	if inode.Type() != "(tt)" || inode.Index(0).Uint64() != st.Dev || inode.Index(1).Uint64() != st.Ino {
		t.Error("/run/ostree-booted does not name the deployment's directory")
	}
	if ro, _ := booted.Dict().Get("sysroot-ro"); ro.Bool() {
		t.Error("/run/ostree-booted says that /sysroot is read-only")
	}
	if _, err := os.Stat(d.run + "/photree-sysroot"); err == nil {
		t.Error("the temporary mount point is still there")
	}
	// The physical root is mounted once more only below the new root: nothing holds it in the initramfs.
	if n := strings.Count(read(t, "/proc/self/mountinfo"), " "+d.sysroot+" "); n != 1 {
		t.Errorf("%d mounts on the sysroot, want 1", n)
	}
}

func TestReadOnlySysroot(t *testing.T) {
	for name, setup := range map[string]func(t *testing.T, d *disk){
		"set in prepare-root.conf": func(t *testing.T, d *disk) {
			if err := os.WriteFile(d.options.Config[0], []byte("[sysroot]\nreadonly=true\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		},
		"set in the repository": func(t *testing.T, d *disk) {
			d.write(t, "[core]\nmode=bare\n[sysroot]\nreadonly=true\n", "ostree/repo/config")
		},
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			if !inNamespace(t) {
				return
			}
			d := newDisk(t)
			setup(t, d)
			res, err := prepareroot.Run(d.options)
			if err != nil || !res.SysrootReadonly {
				t.Fatalf("%+v, %v", res, err)
			}
			if got := writable(d.sysroot); got != "etc var" {
				t.Errorf("these take files: %s", got)
			}
		})
	}
}

func TestConfigurationInTheInitramfsWins(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	d := newDisk(t)
	d.write(t, "[sysroot]\nreadonly=true\n", "ostree/repo/config")
	if err := os.WriteFile(d.options.Config[0], []byte("[sysroot]\nreadonly=false\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if res, err := prepareroot.Run(d.options); err != nil || res.SysrootReadonly {
		t.Fatalf("%+v, %v", res, err)
	}
}

// TestNothingIsWritten attacks B1: the physical root cannot be written, and all mounts are made.
func TestNothingIsWritten(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	d := newDisk(t)
	if err := unix.Mount("", d.sysroot, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := prepareroot.Run(d.options); err != nil {
		t.Fatal(err)
	}
	if got := writable(d.sysroot); got != "" {
		t.Errorf("these take files: %s", got)
	}
	if got := read(t, d.path("var/where")); got != "var" {
		t.Errorf("/var is %q", got)
	}
}

func TestBootOfThePhysicalRoot(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	d := newDisk(t)
	mkdir(t, d.path("boot/loader.0"))
	d.link(t, "loader.0", "boot/loader")
	d.write(t, "here", "boot/where")
	if _, err := prepareroot.Run(d.options); err != nil {
		t.Fatal(err)
	}
	if got := read(t, d.path("boot/where")); got != "here" {
		t.Errorf("/boot/where is %q", got)
	}
}

func TestHotfixOverlay(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	d := newDisk(t)
	mkdir(t, d.path(deployment, ".usr-ovl-work"))
	mkdir(t, d.path(deployment, ".usr-ovl-upper"))
	d.write(t, "fixed", deployment, ".usr-ovl-upper/where")
	if _, err := prepareroot.Run(d.options); err != nil {
		t.Fatal(err)
	}
	if got := read(t, d.path("usr/where")); got != "fixed" {
		t.Errorf("/usr/where is %q", got)
	}
	if got := writable(d.sysroot); got != "usr etc var sysroot" {
		t.Errorf("these take files: %s", got)
	}
}

// TestRefusals attacks B2: what does not lead to a whole deployment mounts nothing and says what is wrong.
func TestRefusals(t *testing.T) {
	for name, test := range map[string]struct {
		setup func(t *testing.T, d *disk)
		says  string
	}{
		"no ostree=":       {func(t *testing.T, d *disk) { d.options.Cmdline = "root=x quiet" }, "no ostree="},
		"an empty ostree=": {func(t *testing.T, d *disk) { d.options.Cmdline = "ostree=" }, "no value"},
		"a missing boot link": {func(t *testing.T, d *disk) { os.Remove(d.path("ostree/boot.1")) },
			"/ostree/boot.1: no such file"},
		"a broken deployment link": {func(t *testing.T, d *disk) { d.link(t, "../../../deploy/os/deploy/9.9", "ostree/boot.1.1/os/abc/0") },
			"the link /ostree/boot.1/os/abc/0 -> ../../../deploy/os/deploy/9.9 is broken"},
		"a link out of the sysroot": {func(t *testing.T, d *disk) { d.link(t, "../../../../../../../../tmp", "ostree/boot.1.1/os/abc/0") },
			"does not lead to a deployment"},
		"an absolute link out of the sysroot": {func(t *testing.T, d *disk) { d.link(t, "/usr", "ostree/boot.1.1/os/abc/0") },
			"does not lead to a deployment"},
		"a magic link": {func(t *testing.T, d *disk) { d.link(t, "/proc/self/root", "ostree/boot.1.1/os/abc/0") },
			"does not lead to a deployment"},
		"another directory of the sysroot": {func(t *testing.T, d *disk) { d.link(t, "../../../deploy/os", "ostree/boot.1.1/os/abc/0") },
			"it is /ostree/deploy/os, which is not /ostree/deploy/STATEROOT/deploy/CHECKSUM.SERIAL"},
		"a deployment without /usr": {func(t *testing.T, d *disk) { os.RemoveAll(d.path(deployment, "usr")) },
			"the deployment /" + deployment + " is not complete: /" + deployment + "/usr"},
		"an /etc that is a link": {func(t *testing.T, d *disk) {
			os.RemoveAll(d.path(deployment, "etc"))
			d.link(t, "/etc", deployment+"/etc")
		}, "is not complete: /" + deployment + "/etc: not a directory"},
		"a stateroot without /var": {func(t *testing.T, d *disk) { os.RemoveAll(d.path("ostree/deploy/os/var")) },
			"is not complete: /ostree/deploy/os/var"},
		"a signed root that cannot be had": {func(t *testing.T, d *disk) {
			os.WriteFile(d.options.Config[0], []byte("[composefs]\nenabled=signed\n"), 0o644)
		}, "prepare-root.conf asks for [composefs] enabled=signed, which photree cannot do"},
		"composefs by kernel argument": {func(t *testing.T, d *disk) {
			d.options.Cmdline += " ostree.prepare-root.composefs=verity"
		}, "[composefs] enabled=verity"},
		"a configuration that is none": {func(t *testing.T, d *disk) {
			os.WriteFile(d.options.Config[0], []byte("[sysroot]\nreadonly=perhaps\n"), 0o644)
		}, `[sysroot] readonly: "perhaps" is neither true nor false`},
	} {
		t.Run(strings.Map(func(r rune) rune {
			if r == ' ' || r == '/' || r == '=' {
				return '_'
			}
			return r
		}, name), func(t *testing.T) {
			if !inNamespace(t) {
				return
			}
			d := newDisk(t)
			test.setup(t, d)
			before := read(t, "/proc/self/mountinfo")
			_, err := prepareroot.Run(d.options)
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("the error is %v, want %q in it", err, test.says)
			}
			if after := read(t, "/proc/self/mountinfo"); after != before {
				t.Errorf("mounts were left:\n%s", after)
			}
			if _, err := os.Stat(d.run + "/ostree-booted"); err == nil {
				t.Error("/run/ostree-booted was written")
			}
		})
	}
}

func TestFailureHalfWayLeavesThePhysicalRoot(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	d := newDisk(t)
	mkdir(t, d.path(deployment, ".usr-ovl-work")) // without the upper directory the overlay cannot be mounted
	before := read(t, "/proc/self/mountinfo")
	if _, err := prepareroot.Run(d.options); err == nil || !strings.Contains(err.Error(), "mounting /usr") {
		t.Errorf("the error is %v", err)
	}
	if after := read(t, "/proc/self/mountinfo"); after != before {
		t.Errorf("mounts were left:\n%s", after)
	}
	if got := read(t, d.path("where")); got != "physical" {
		t.Errorf("the sysroot is %q", got)
	}
}

func TestTarget(t *testing.T) {
	if got, err := prepareroot.Target(`a ostree=/ostree/boot.0/x/y/0 b`); err != nil || got != "/ostree/boot.0/x/y/0" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := prepareroot.Target("ostreed=1"); !errors.Is(err, prepareroot.ErrNoTarget) {
		t.Errorf("%v", err)
	}
	var missing *prepareroot.NotFoundError
	if _, err := prepareroot.Target("ostree"); !errors.As(err, &missing) {
		t.Errorf("%v", err)
	}
}

func TestParseConfig(t *testing.T) {
	for _, test := range []struct {
		text, refused string
		readonly, set bool
		warnings      int
	}{
		{"", "", false, false, 0},
		{"# x\n[sysroot]\nreadonly = true\n", "", true, true, 0},
		{"[sysroot]\nreadonly=0\n", "", false, true, 0},
		{"[composefs]\nenabled=maybe\nkeypath=/x\n", "", false, false, 0},
		{"[composefs]\nenabled=yes\n", "enabled=yes", false, false, 0},
		{"[etc]\ntransient=true\n", "[etc] transient=true", false, false, 0},
		{"[etc]\ntransient=false\n[root]\ntransient-ro=yes\n", "[root] transient-ro=yes", false, false, 0},
		{"[sysroot]\nwritable=true\n[new]\nkey=1\n", "", false, false, 2},
	} {
		c, err := prepareroot.ParseConfig([]byte(test.text))
		if err != nil {
			t.Errorf("%q: %v", test.text, err)
			continue
		}
		err = c.Supported()
		if (err != nil) != (test.refused != "") || err != nil && !strings.Contains(err.Error(), test.refused) {
			t.Errorf("%q: Supported() = %v", test.text, err)
		}
		if c.SysrootReadonly != test.readonly || c.SysrootSet != test.set || len(c.Warnings) != test.warnings {
			t.Errorf("%q: %+v", test.text, c)
		}
	}
	for _, bad := range []string{"[sysroot\n", "x=1\n", "[sysroot]\nreadonly=maybe\n"} {
		if _, err := prepareroot.ParseConfig([]byte(bad)); err == nil {
			t.Errorf("%q gave no error", bad)
		}
	}
}

func TestRemount(t *testing.T) {
	for name, readonly := range map[string]bool{"writable_sysroot": false, "read-only_sysroot": true} {
		t.Run(name, func(t *testing.T) {
			if !inNamespace(t) {
				return
			}
			root := t.TempDir()
			mkdir(t, root+"/run")
			for _, dir := range []string{"etc", "var", "sysroot"} {
				path := filepath.Join(root, dir)
				mkdir(t, path)
				for _, flags := range []uintptr{unix.MS_BIND, unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY} {
					if err := unix.Mount(path, path, "", flags, ""); err != nil {
						t.Fatal(err)
					}
				}
				t.Cleanup(func() { unix.Unmount(path, unix.MNT_DETACH) })
			}
			if err := prepareroot.Remount(root); err != nil {
				t.Fatal(err)
			}
			if got := writable(root); got != "" {
				t.Errorf("not a deployment, but these take files: %s", got)
			}
			booted := gvariant.Dict{{Key: "sysroot-ro", Value: gvariant.Bool(readonly)}}
			if err := os.WriteFile(root+"/run/ostree-booted", booted.Value().Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
			if err := prepareroot.Remount(root); err != nil {
				t.Fatal(err)
			}
			want := "etc var sysroot"
			if readonly {
				want = "etc var"
			}
			if got := writable(root); got != want {
				t.Errorf("these take files: %q, want %q", got, want)
			}
		})
	}
}

func TestGenerate(t *testing.T) {
	const cmdline = "quiet ostree=/ostree/boot.1/os/abc/0 rw"
	root, out := t.TempDir(), t.TempDir()
	if err := prepareroot.Generate(root, cmdline, out); err != nil {
		t.Fatal(err)
	}
	if entries, _ := os.ReadDir(out); len(entries) != 0 {
		t.Errorf("not a deployment, but units were made: %v", entries)
	}
	mkdir(t, root+"/run")
	mkdir(t, root+"/etc")
	if err := os.WriteFile(root+"/run/ostree-booted", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := prepareroot.Generate(root, cmdline, out); err != nil {
			t.Fatal(err)
		}
	}
	if got := read(t, out+"/etc.mount.d/10-ostree.conf"); !strings.Contains(got, "DefaultDependencies=no") {
		t.Errorf("the drop-in is %q", got)
	}
	if got := read(t, out+"/var.mount"); !strings.Contains(got, "What=/sysroot/ostree/deploy/os/var\nWhere=/var\n") {
		t.Errorf("var.mount is %q", got)
	}
	if to, err := os.Readlink(out + "/local-fs.target.requires/ostree-remount.service"); err != nil || to != "/usr/lib/systemd/system/ostree-remount.service" {
		t.Errorf("%q, %v", to, err)
	}
	// systemd's own generator makes the unit from fstab.
	if err := os.WriteFile(root+"/etc/fstab", []byte("# x\n\nUUID=1 / ext4 defaults\nUUID=2\t/var/ xfs defaults 0 2\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	out = t.TempDir()
	if err := prepareroot.Generate(root, cmdline, out); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(out + "/var.mount"); err == nil {
		t.Error("var.mount was made although fstab has /var")
	}
}

func TestVarOfFstabIsLeftAlone(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	d := newDisk(t)
	d.write(t, "LABEL=var /var ext4 defaults 0 2\n", deployment, "etc/fstab")
	if _, err := prepareroot.Run(d.options); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(d.path("var/where")); err == nil {
		t.Error("/var of the stateroot is mounted although fstab has another one")
	}
}

// TestDropIn runs the program as the initramfs of another project does: with the mounted root as its argument, the
// kernel command line in /proc and the booted system's /run.
func TestDropIn(t *testing.T) {
	program := os.Getenv("PHOTREE_TEST_PROGRAM")
	if program == "" {
		program = filepath.Join(t.TempDir(), "ostree-prepare-root")
		cmd := exec.Command("go", "build", "-o", program, "photree/cmd/ostree-prepare-root")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		t.Setenv("PHOTREE_TEST_PROGRAM", program)
	}
	if !inNamespace(t) {
		return
	}
	d := newDisk(t)
	cmdline := filepath.Join(t.TempDir(), "cmdline")
	if err := os.WriteFile(cmdline, []byte(d.options.Cmdline+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{cmdline: "/proc/cmdline", d.run: "/run"} {
		if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Unmount(to, unix.MNT_DETACH) })
	}
	out, err := exec.Command(program, d.sysroot).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "ostree-prepare-root: deployment /"+deployment) {
		t.Fatalf("%v\n%s", err, out)
	}
	if got := writable(d.sysroot); got != "etc var sysroot" {
		t.Errorf("these take files: %s", got)
	}
	if _, err := os.Stat("/run/ostree-booted"); err != nil {
		t.Error(err)
	}
	// A second time there is nothing to find: what is mounted is a deployment, not a physical root.
	out, err = exec.Command(program, d.sysroot).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "does not lead to a deployment") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestMainTellsItsUsage(t *testing.T) {
	var text strings.Builder
	if code := prepareroot.Main([]string{"/x/ostree-prepare-root"}, &text); code != 1 || !strings.Contains(text.String(), "usage: ostree-prepare-root SYSROOT") {
		t.Errorf("%d, %q", code, text.String())
	}
	text.Reset()
	if code := prepareroot.Main([]string{"/x/ostree-system-generator"}, &text); code != 1 || !strings.Contains(text.String(), "NORMAL-DIR") {
		t.Errorf("%d, %q", code, fmt.Sprint(text.String()))
	}
}
