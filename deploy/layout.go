package deploy

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"photree/internal/durable"
	"photree/repo"
)

// toplevel are the directories that the tools of a running system expect at the
// root of the physical file system.
var toplevel = []struct {
	name string
	mode uint32
}{
	{"dev", 0o755}, {"home", 0o755}, {"proc", 0o755}, {"run", 0o755}, {"sys", 0o755}, {"root", 0o700}, {"tmp", 0o1777},
}

// InitFSOptions are the choices of InitFS.
type InitFSOptions struct {
	// Modern makes only boot and ostree at the top level.
	Modern bool
}

// InitFS prepares an empty file system mounted at root: the repository (mode
// bare), the directory of deployments, and /boot with the link that lets paths
// with and without a leading /boot name the same files. What exists stays.
func InitFS(root string, o InitFSOptions) error {
	if err := initFS(root, o); err != nil {
		return fmt.Errorf("preparing sysroot %q: %w", root, err)
	}
	return nil
}

func initFS(root string, o InitFSOptions) error {
	if st, err := os.Stat(root); err != nil {
		return err
	} else if !st.IsDir() {
		return &os.PathError{Op: "open", Path: root, Err: unix.ENOTDIR}
	}
	if !o.Modern {
		for _, d := range toplevel {
			if err := mkdirMode(filepath.Join(root, d.name), d.mode); err != nil {
				return err
			}
		}
	}
	for _, d := range []string{"boot", "ostree", "ostree/deploy"} {
		if err := mkdirMode(filepath.Join(root, d), 0o755); err != nil {
			return err
		}
	}
	if err := checkBootLinks(filepath.Join(root, "boot")); err != nil {
		return err
	}
	if err := os.Symlink(".", filepath.Join(root, "boot", "boot")); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	path := filepath.Join(root, "ostree", "repo")
	if _, err := os.Stat(filepath.Join(path, "config")); errors.Is(err, os.ErrNotExist) {
		r, err := repo.Init(path, repo.InitOptions{Mode: repo.ModeBare})
		if err != nil {
			return err
		}
		if err := r.Close(); err != nil {
			return err
		}
	}
	return durable.Syncfs(root)
}

// mkdirMode makes a directory with exactly this mode; one that exists stays as
// it is.
func mkdirMode(path string, mode uint32) error {
	if err := unix.Mkdir(path, mode); err != nil {
		if errors.Is(err, unix.EEXIST) {
			return nil
		}
		return &os.PathError{Op: "mkdir", Path: path, Err: err}
	}
	if err := unix.Chmod(path, mode); err != nil {
		return &os.PathError{Op: "chmod", Path: path, Err: err}
	}
	return nil
}

// InitStateroot makes a stateroot: the home of deployments that share one /var.
// One that exists is an error.
func (s *Sysroot) InitStateroot(ctx context.Context, name string) error {
	if err := CheckStateroot(name); err != nil {
		return err
	}
	unlock, err := s.Lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	dir := s.ostree("deploy", name)
	if _, err := os.Lstat(filepath.Join(dir, "var")); err == nil {
		return fmt.Errorf("making stateroot %q: it exists already", name)
	}
	if err := initStateroot(dir); err != nil {
		return fmt.Errorf("making stateroot %q: %w", name, err)
	}
	return nil
}

// Stateroots lists the names of the stateroots, sorted.
func (s *Sysroot) Stateroots() ([]string, error) {
	entries, err := os.ReadDir(s.ostree("deploy"))
	if err != nil {
		return nil, fmt.Errorf("listing stateroots of %q: %w", s.root, err)
	}
	var out []string
	for _, e := range entries {
		if e.IsDir() {
			out = append(out, e.Name())
		}
	}
	return out, nil
}

// CheckStateroot says whether a name can be one of a stateroot. It stands in
// paths and on the kernel command line.
func CheckStateroot(name string) error {
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/ \t\n\"\\") {
		return fmt.Errorf("%q cannot be the name of a stateroot: use letters, digits, \"-\", \"_\" and \".\"", name)
	}
	return nil
}

func initStateroot(dir string) error {
	if err := mkdirMode(dir, 0o755); err != nil {
		return err
	}
	if err := mkdirMode(filepath.Join(dir, "deploy"), 0o755); err != nil {
		return err
	}
	v := filepath.Join(dir, "var")
	if err := mkdirMode(v, 0o755); err != nil {
		return err
	}
	if err := legacyVar(v); err != nil {
		return err
	}
	return durable.Syncfs(dir)
}

// legacyVar makes what programs expect in /var before systemd-tmpfiles has run.
func legacyVar(v string) error {
	for _, d := range []struct {
		name string
		mode uint32
	}{{"tmp", 0o1777}, {"lib", 0o755}, {"log", 0o755}} {
		if err := mkdirMode(filepath.Join(v, d.name), d.mode); err != nil {
			return err
		}
	}
	for _, l := range [][2]string{{"../run", "run"}, {"../run/lock", "lock"}} {
		if err := os.Symlink(l[0], filepath.Join(v, l[1])); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	return nil
}
