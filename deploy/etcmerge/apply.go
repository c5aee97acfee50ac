package etcmerge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Apply carries out a plan in the directory next, taking files from local.
func Apply(ctx context.Context, c Changes, local, next string) error {
	for _, op := range c.Ops {
		if err := ctx.Err(); err != nil {
			return err
		}
		from, to := filepath.Join(local, op.Path), filepath.Join(next, op.Path)
		var err error
		switch op.Kind {
		case Remove:
			err = os.RemoveAll(to)
		case Replace:
			if err = copyNode(from, to); gone(err) || errors.Is(err, errIgnored) {
				err = nil
			}
		case Adjust:
			err = adjust(to, op.Base, op.Local)
		}
		if err != nil {
			return fmt.Errorf("merging /etc/%s: %w", op.Path, err)
		}
	}
	return nil
}

// adjust applies what differs between base and local besides the content.
func adjust(to string, base, local Node) error {
	if base.UID != local.UID || base.GID != local.GID {
		if err := os.Lchown(to, int(local.UID), int(local.GID)); err != nil {
			return err
		}
	}
	for k, v := range local.Xattrs {
		if w, ok := base.Xattrs[k]; ok && v == w {
			continue
		}
		if err := unix.Lsetxattr(to, k, []byte(v), 0); err != nil {
			return &os.PathError{Op: "setxattr " + k, Path: to, Err: err}
		}
	}
	for k := range base.Xattrs {
		if _, ok := local.Xattrs[k]; ok {
			continue
		}
		if err := unix.Lremovexattr(to, k); err != nil && err != unix.ENODATA {
			return &os.PathError{Op: "removexattr " + k, Path: to, Err: err}
		}
	}
	if local.Type != unix.S_IFLNK && (base.Mode != local.Mode || base.UID != local.UID || base.GID != local.GID) {
		// Behind chown, which clears set-id bits.
		return unix.Chmod(to, local.Mode)
	}
	return nil
}

// Copy makes the new directory to a copy of from: content, owners, modes, times
// and attributes. Nothing is shared with from.
func Copy(ctx context.Context, from, to string) error {
	if _, err := os.Lstat(to); err == nil {
		return &os.PathError{Op: "mkdir", Path: to, Err: os.ErrExist}
	}
	return copyTree(ctx, from, to)
}

// CopyMissing copies from into the existing directory to, leaving alone whatever
// has a name that exists there.
func CopyMissing(ctx context.Context, from, to string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		f, t := filepath.Join(from, e.Name()), filepath.Join(to, e.Name())
		st, err := os.Lstat(t)
		switch {
		case errors.Is(err, os.ErrNotExist):
			err = copyTree(ctx, f, t)
		case err == nil && st.IsDir() && e.IsDir():
			err = CopyMissing(ctx, f, t)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func copyTree(ctx context.Context, from, to string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := copyNode(from, to); err != nil {
		if gone(err) || errors.Is(err, errIgnored) {
			return nil
		}
		return err
	}
	st, err := os.Lstat(from)
	if err != nil || !st.IsDir() {
		return err
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := copyTree(ctx, filepath.Join(from, e.Name()), filepath.Join(to, e.Name())); err != nil {
			return err
		}
	}
	return setTimes(to, st.ModTime())
}

// copyNode copies one file or link, replacing what is at to, or makes a directory
// or gives an existing one the same owner, mode and attributes.
func copyNode(from, to string) error {
	var st unix.Stat_t
	if err := unix.Lstat(from, &st); err != nil {
		return &os.PathError{Op: "lstat", Path: from, Err: err}
	}
	xattrs, err := readXattrs(from)
	if err != nil {
		return err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		err = copyContent(from, to)
	case unix.S_IFLNK:
		err = copyLink(from, to)
	case unix.S_IFDIR:
		if err = os.Mkdir(to, 0o700); errors.Is(err, os.ErrExist) {
			err = nil
		}
	default:
		return errIgnored
	}
	if err == nil {
		err = os.Lchown(to, int(st.Uid), int(st.Gid))
	}
	if err != nil {
		return err
	}
	for k, v := range xattrs {
		if err := unix.Lsetxattr(to, k, []byte(v), 0); err != nil {
			return &os.PathError{Op: "setxattr " + k, Path: to, Err: err}
		}
	}
	if st.Mode&unix.S_IFMT == unix.S_IFLNK {
		return nil
	}
	if err := unix.Chmod(to, st.Mode&0o7777); err != nil {
		return &os.PathError{Op: "chmod", Path: to, Err: err}
	}
	return setTimes(to, time.Unix(st.Mtim.Sec, st.Mtim.Nsec))
}

func setTimes(path string, t time.Time) error { return os.Chtimes(path, time.Time{}, t) }

func copyContent(from, to string) error {
	in, err := os.OpenFile(from, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer in.Close()
	// Never into the file that is there: it may be shared with the store (D4).
	if err := os.Remove(to); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

func copyLink(from, to string) error {
	target, err := os.Readlink(from)
	if err != nil {
		return err
	}
	if err := os.Remove(to); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.Symlink(target, to)
}

func readXattrs(path string) (map[string]string, error) {
	n, err := unix.Llistxattr(path, nil)
	if err == unix.EOPNOTSUPP || err == nil && n == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, &os.PathError{Op: "listxattr", Path: path, Err: err}
	}
	buf := make([]byte, n)
	if n, err = unix.Llistxattr(path, buf); err != nil {
		return nil, &os.PathError{Op: "listxattr", Path: path, Err: err}
	}
	out := map[string]string{}
	for _, name := range strings.Split(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00") {
		v, err := readXattr(path, name)
		if errors.Is(err, unix.ENODATA) {
			continue
		}
		if err != nil {
			return nil, &os.PathError{Op: "getxattr " + name, Path: path, Err: err}
		}
		out[name] = v
	}
	return out, nil
}

func readXattr(path, name string) (string, error) {
	n, err := unix.Lgetxattr(path, name, nil)
	if err != nil {
		return "", err
	}
	buf := make([]byte, n)
	n, err = unix.Lgetxattr(path, name, buf)
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}
