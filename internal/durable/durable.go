// Package durable owns fsync and rename onto a published name: to grep for its callers lists every commit point of the
// system.
//
// A function returns only when what it did survives a power cut, unless its comment says otherwise. A reader sees the
// old content or the new one, never a mix and never a missing name. Nothing here is clever about content.
package durable

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

var counter atomic.Uint64

// tempName returns a name beside path that no other writer of this or another process uses.
func tempName(path string) string {
	return filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".tmp-"+
		strconv.Itoa(os.Getpid())+"-"+strconv.FormatUint(counter.Add(1), 36))
}

var tempRE = regexp.MustCompile(`^\.(.+)\.tmp-[0-9]+-[0-9a-z]+$`)

// RemoveTemps removes from a directory what writers that were interrupted have left beside the names that begin with
// prefix. The caller makes sure that there is no writer now. That the directory is not there is no error; nothing is
// flushed.
func RemoveTemps(dir, prefix string) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if m := tempRE.FindStringSubmatch(e.Name()); m != nil && strings.HasPrefix(m[1], prefix) {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// WriteFile replaces the file at path: a new file is written and flushed beside it, renamed over it, and the directory
// is flushed. The mode is perm whatever the umask says.
func WriteFile(path string, data []byte, perm os.FileMode) error {
	if err := replaceFile(path, data, perm); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// ReplaceFile is WriteFile without the flush of the directory, for callers that replace several files and then call
// SyncDir once: a reader sees the new file, a power cut may still bring back the old one whole.
func ReplaceFile(path string, data []byte, perm os.FileMode) error {
	return replaceFile(path, data, perm)
}

// ReplaceFileUnflushed is ReplaceFile for a user who has asked for speed rather than safety: a power cut may leave the
// file empty.
func ReplaceFileUnflushed(path string, data []byte, perm os.FileMode) error {
	return writeBeside(path, data, perm, func(*os.File) error { return nil })
}

func replaceFile(path string, data []byte, perm os.FileMode) error {
	return writeBeside(path, data, perm, (*os.File).Sync)
}

func writeBeside(path string, data []byte, perm os.FileMode, flush func(*os.File) error) (err error) {
	tmp := tempName(path)
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(tmp)
		}
	}()
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(perm))
	if err == nil {
		err = flush(f)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return os.Rename(tmp, path)
}

// Rename renames a file or directory, replacing newpath, and flushes the directories of both names. What is renamed
// must itself be flushed already.
func Rename(oldpath, newpath string) error {
	if err := os.Rename(oldpath, newpath); err != nil {
		return err
	}
	return syncDirsOf(oldpath, newpath)
}

// Move renames oldpath over newpath and flushes nothing: for names that nobody relies on yet, or many at once that the
// caller flushes together.
func Move(oldpath, newpath string) error {
	if err := unix.Rename(oldpath, newpath); err != nil {
		return &os.LinkError{Op: "rename", Old: oldpath, New: newpath, Err: err}
	}
	return nil
}

// Publish gives a flushed file its name, unless that is taken: then what is there stays, and the file goes. It is for
// names that say what the content is, so that both are the same; what is there may have hard links. Nothing is flushed:
// the caller does that for many at once, with Syncfs.
func Publish(oldpath, newpath string) error {
	err := unix.Renameat2(unix.AT_FDCWD, oldpath, unix.AT_FDCWD, newpath, unix.RENAME_NOREPLACE)
	switch err {
	case nil:
		return nil
	case unix.EEXIST:
		return os.Remove(oldpath)
	case unix.EINVAL: // a file system without NOREPLACE
		return Move(oldpath, newpath)
	}
	return &os.LinkError{Op: "rename", Old: oldpath, New: newpath, Err: err}
}

// Exchange swaps two names in one step and flushes their directories.
func Exchange(a, b string) error {
	if err := unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE); err != nil {
		return &os.LinkError{Op: "exchange", Old: a, New: b, Err: err}
	}
	return syncDirsOf(a, b)
}

// Link makes newpath a hard link to oldpath, which must be flushed already, and flushes the directory.
func Link(oldpath, newpath string) error {
	if err := os.Link(oldpath, newpath); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(newpath))
}

// Remove removes a name and flushes its directory. That the name is not there is no error.
func Remove(path string) error {
	if err := os.Remove(path); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// Symlink makes path a symbolic link to target, replacing what is there, and flushes the directory.
func Symlink(target, path string) error {
	tmp := tempName(path)
	if err := os.Symlink(target, tmp); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		os.Remove(tmp)
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// Mkdir makes path and missing parents, and flushes the directory that each new name stands in.
func Mkdir(path string, perm os.FileMode) error {
	if st, err := os.Stat(path); err == nil {
		if !st.IsDir() {
			return &os.PathError{Op: "mkdir", Path: path, Err: unix.ENOTDIR}
		}
		return nil
	}
	parent := filepath.Dir(path)
	if parent != path {
		if err := Mkdir(parent, perm); err != nil {
			return err
		}
	}
	if err := os.Mkdir(path, perm); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return SyncDir(parent)
}

func syncDirsOf(a, b string) error {
	da, db := filepath.Dir(a), filepath.Dir(b)
	err := SyncDir(da)
	if da != db {
		err = errors.Join(err, SyncDir(db))
	}
	return err
}

// SyncDir flushes the names of a directory.
func SyncDir(dir string) error { return onFD(dir, unix.O_DIRECTORY, unix.Fsync) }

// SyncFile flushes a file that was written in place.
func SyncFile(path string) error { return onFD(path, unix.O_NOFOLLOW, unix.Fsync) }

// Syncfs flushes the file system that path is on. It is what makes many new files durable at once.
func Syncfs(path string) error { return onFD(path, 0, unix.Syncfs) }

func onFD(path string, flags int, do func(int) error) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|flags, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	for {
		if err = do(fd); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return &os.PathError{Op: "sync", Path: path, Err: err}
	}
	return nil
}
