package deploy

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"photree/grub"
	"photree/internal/gvariant"
	"photree/internal/kargs"
	"photree/repo/object"
	"photree/repo/tree"
)

// sysroot is a sysroot on file systems of its own: a checkpoint freezes the file
// system of /boot, which must never be that of the machine.
type sysroot struct {
	t         *testing.T
	dir       string
	work      string
	rootImage string
	bootImage string // of the file system of /boot
	*Sysroot
}

func run(t *testing.T, argv ...string) string {
	t.Helper()
	out, err := tryRun(argv...)
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
	return out
}

func tryRun(argv ...string) (string, error) {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "OSTREE_SYSROOT_DEBUG=mutable-deployments")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// memoryDir is a directory for disk images, in memory where possible: each flush
// of an image on a disk costs a flush of the disk.
func memoryDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "deploy-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// mountImage mounts a new ext4 file system of this many MiB.
func mountImage(t *testing.T, dir string, mib int) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("these tests mount file systems: run them as root")
	}
	img := filepath.Join(memoryDir(t), "image")
	run(t, "truncate", "-s", fmt.Sprintf("%dM", mib), img)
	run(t, "mkfs.ext4", "-q", "-F", "-b", "4096", img)
	run(t, "mount", "-o", "loop", img, dir)
	t.Cleanup(func() { run(t, "umount", dir) })
	return img
}

type sysrootOptions struct {
	bootMiB, rootMiB int // bootMiB 0: /boot is a directory of the root
	stock            bool
}

func newSysroot(t *testing.T, o sysrootOptions) *sysroot {
	t.Helper()
	if o.rootMiB == 0 {
		o.rootMiB = 48
	}
	dir := t.TempDir()
	root := mountImage(t, dir, o.rootMiB)
	image := root
	if o.bootMiB > 0 {
		if err := os.Mkdir(filepath.Join(dir, "boot"), 0o755); err != nil {
			t.Fatal(err)
		}
		image = mountImage(t, filepath.Join(dir, "boot"), o.bootMiB)
	}
	if o.stock {
		run(t, "mkdir", "-p", filepath.Join(dir, "boot"))
		run(t, "ostree", "admin", "init-fs", dir)
		run(t, "ostree", "admin", "os-init", "--sysroot="+dir, "os")
	} else if err := InitFS(dir, InitFSOptions{}); err != nil {
		t.Fatal(err)
	}
	s := &sysroot{t: t, dir: dir, work: t.TempDir(), rootImage: root, bootImage: image, Sysroot: openSysroot(t, dir)}
	if !o.stock {
		if err := s.InitStateroot(t.Context(), "os"); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func openSysroot(t *testing.T, dir string) *Sysroot {
	t.Helper()
	s, err := Open(dir, Options{Bootloader: grub.Bootloader{}, Mutable: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// release is what a test tree is made of.
type release struct {
	version, kernel string
	files           map[string]string // more files
}

func (s *sysroot) commit(r release) object.ID {
	s.t.Helper()
	dir, err := os.MkdirTemp(s.work, "tree")
	if err != nil {
		s.t.Fatal(err)
	}
	files := map[string]string{
		"usr/lib/modules/6.1.0/vmlinuz":       "kernel " + r.kernel,
		"usr/lib/modules/6.1.0/initramfs.img": "initramfs " + r.kernel,
		"usr/lib/os-release":                  "NAME=Test\nPRETTY_NAME=\"Test OS\"\n",
		"usr/etc/hosts":                       "127.0.0.1 localhost\n",
		"usr/etc/app.conf":                    "version " + r.version + "\n",
		"usr/bin/app":                         "app " + r.version,
		"var/lib/app/state":                   "from the tree",
	}
	for name, text := range r.files {
		files[name] = text
	}
	for name, text := range files {
		writeFile(s.t, filepath.Join(dir, name), text)
	}
	for _, d := range []string{"boot", "dev", "proc", "run", "sys", "sysroot", "tmp"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			s.t.Fatal(err)
		}
	}
	id, _, err := tree.Commit(s.t.Context(), s.Repo(), dir, tree.CommitOptions{
		Ref: "test/main", Subject: "release " + r.version,
		Metadata: gvariant.Dict{{Key: "version", Value: gvariant.String(r.version)}},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return id
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (s *sysroot) deployOptions(id object.ID) DeployOptions {
	return DeployOptions{Stateroot: "os", Commit: id, Origin: NewOrigin("test/main")}
}

func (s *sysroot) deploy(id object.ID, kernelArgs string) *Result {
	s.t.Helper()
	o := s.deployOptions(id)
	if kernelArgs != "" {
		o.Kargs = kargs.Parse(kernelArgs)
	}
	r, err := s.Deploy(context.Background(), o)
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

// check asserts what must hold at any time, and returns the commits in order.
func (s *sysroot) check() []object.ID {
	s.t.Helper()
	ids, err := checkInvariants(s.dir)
	if err != nil {
		s.t.Fatal(err)
	}
	return ids
}

// checkInvariants follows the chain that a machine follows at boot: loader, entry,
// kernel, boot link, deployment (D1, D2, D6).
func checkInvariants(dir string) ([]object.ID, error) {
	s, err := Open(dir, Options{})
	if err != nil {
		return nil, err
	}
	defer s.Close()
	st, err := s.Load()
	if err != nil {
		return nil, err
	}
	if len(st.Broken) > 0 {
		return nil, fmt.Errorf("broken entries: %q", st.Broken)
	}
	var ids []object.ID
	for i, d := range st.Deployments {
		e := st.entries[i]
		for _, path := range []string{e.Get("linux"), e.Get("initrd")} {
			if data, err := os.ReadFile(filepath.Join(dir, "boot", path)); err != nil || len(data) == 0 {
				return nil, fmt.Errorf("%s: %s has %d bytes: %w", e.Name, path, len(data), err)
			}
		}
		k, err := findKernel(dirTree(s.Path(d)), "")
		if err != nil {
			return nil, err
		}
		if k.checksum != d.BootChecksum {
			return nil, fmt.Errorf("%s: the tree's kernel is %s, the entry's %s", d.Name(), k.checksum, d.BootChecksum)
		}
		data, err := os.ReadFile(filepath.Join(dir, "boot", e.Get("linux")))
		tree, _ := os.ReadFile(filepath.Join(s.Path(d), k.files[0].path))
		if err != nil || string(data) != string(tree) {
			return nil, fmt.Errorf("%s: the kernel in /boot is not that of the tree", d.Name())
		}
		for _, p := range []string{"etc/hosts", "usr/bin/app"} {
			if _, err := os.Stat(filepath.Join(s.Path(d), p)); err != nil {
				return nil, err
			}
		}
		if _, ok := d.Origin.Get("origin", "refspec"); !ok {
			return nil, fmt.Errorf("%s has no origin", d.Name())
		}
		if ok, err := s.Repo().HasObject(object.Name{ID: d.Commit, Kind: object.KindCommit}); err != nil || !ok {
			return nil, fmt.Errorf("the commit of %s is not in the repository: %w", d.Name(), err)
		}
		ids = append(ids, d.Commit)
	}
	if st.hasLoader {
		menu, err := os.ReadFile(filepath.Join(dir, "boot/loader/grub.cfg"))
		if err == nil && strings.Count(string(menu), "menuentry ") != len(ids) {
			return nil, fmt.Errorf("the menu has not %d entries:\n%s", len(ids), menu)
		}
	}
	return ids, nil
}
