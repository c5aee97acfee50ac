package compose

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

const workPattern = "photree-compose-*"

// workDir is the directory of one compose. It is locked while the compose
// lives, so that the next one knows what a killed one left behind.
type workDir struct {
	path string
	lock *os.File
}

// newWorkDir makes a work directory below base and removes those that are left
// of composes that were killed.
func newWorkDir(base string) (*workDir, error) {
	if err := os.MkdirAll(base, 0o755); err != nil {
		return nil, fmt.Errorf("making the work directory: %w", err)
	}
	sweep(base)
	dir, err := os.MkdirTemp(base, workPattern)
	if err != nil {
		return nil, fmt.Errorf("making the work directory: %w", err)
	}
	w := &workDir{path: dir}
	if w.lock, err = os.Open(dir); err == nil {
		err = errors.Join(unix.Flock(int(w.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB), plainDir(dir))
	}
	if err != nil {
		return nil, fmt.Errorf("making the work directory: %w", errors.Join(err, w.remove()))
	}
	return w, nil
}

func (w *workDir) remove() error {
	err := os.RemoveAll(w.path)
	if w.lock != nil {
		w.lock.Close()
	}
	if err != nil {
		return fmt.Errorf("removing the work directory: %w", err)
	}
	return nil
}

// sweep removes work directories that nobody holds. Young ones stay: their
// owner may not have come to locking them. What cannot be removed is no reason
// not to compose.
func sweep(base string) {
	list, err := filepath.Glob(filepath.Join(base, workPattern))
	if err != nil {
		return
	}
	for _, dir := range list {
		fi, err := os.Lstat(dir)
		if err != nil || !fi.IsDir() || time.Since(fi.ModTime()) < time.Minute {
			continue
		}
		f, err := os.Open(dir)
		if err != nil {
			continue
		}
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			os.RemoveAll(dir)
		}
		f.Close()
	}
}

// plainDir takes from a directory what the files made in it would inherit from
// its parent: group, set-gid bit and access list (R6).
func plainDir(dir string) error {
	err := unix.Removexattr(dir, "system.posix_acl_default")
	if err != nil && !errors.Is(err, unix.ENODATA) && !errors.Is(err, unix.ENOTSUP) {
		return err
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(dir, 0, 0); err != nil {
			return err
		}
	}
	return os.Chmod(dir, 0o700)
}
