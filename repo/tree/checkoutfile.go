package tree

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"photree/internal/durable"
	"photree/repo"
	"photree/repo/object"
)

// file makes one file or symbolic link.
func (c *checkout) file(dir, name string, id object.ID) error {
	dest := dir + "/" + name
	if hidden, ok := strings.CutPrefix(name, passedWhiteout); ok && c.o.PassWhiteouts {
		return c.whiteout(dir+"/"+hidden, id)
	}
	err := c.makeFile(dest, id)
	if errors.Is(err, os.ErrExist) && c.o.Union != UnionNone {
		err = c.exists(dest, id)
	}
	if err == nil {
		n := c.files.Add(1)
		if c.o.Progress != nil {
			c.o.Progress(int(n))
		}
	}
	return err
}

// exists deals with a name that is taken.
func (c *checkout) exists(dest string, id object.ID) error {
	switch c.o.Union {
	case UnionAdd:
		return nil
	case UnionIdentical:
		same, err := c.same(dest, id)
		if err == nil && !same {
			err = &os.PathError{Op: "link", Path: dest, Err: unix.EEXIST}
		}
		return err
	}
	// Made beside it and renamed over it: a reader sees the old file or the new one.
	tmp := filepath.Join(filepath.Dir(dest), fmt.Sprintf(".checkout-%d-%d", os.Getpid(), c.temps.Add(1)))
	os.Remove(tmp)
	if err := c.makeFile(tmp, id); err != nil {
		return err
	}
	err := durable.Move(tmp, dest)
	if errors.Is(err, unix.EISDIR) && c.o.Whiteouts {
		// A layer above may make a file of a directory.
		if err = os.RemoveAll(dest); err == nil {
			err = durable.Move(tmp, dest)
		}
	}
	if err != nil {
		os.Remove(tmp)
		return err
	}
	os.Remove(tmp) // rename does nothing when both are the same inode
	return nil
}

// same says whether dest is the file object id.
func (c *checkout) same(dest string, id object.ID) (bool, error) {
	var a, b unix.Stat_t
	if err := unix.Lstat(dest, &a); err != nil {
		return false, err
	}
	if unix.Lstat(c.r.ObjectPath(object.Name{ID: id, Kind: object.KindFile}), &b) == nil && a.Dev == b.Dev && a.Ino == b.Ino {
		return true, nil
	}
	want, size, rc, err := c.r.OpenFile(id)
	if err != nil {
		return false, err
	}
	defer rc.Close()
	if a.Mode&unix.S_IFMT != want.Mode&object.ModeType {
		return false, nil
	}
	if want.IsSymlink() {
		target, err := os.Readlink(dest)
		return target == want.Target, err
	}
	if a.Size != size {
		return false, nil
	}
	f, err := os.Open(dest)
	if err != nil {
		return false, err
	}
	defer f.Close()
	x, err := object.ContentID(object.FileInfo{Mode: object.ModeRegular}, f)
	if err != nil {
		return false, err
	}
	y, err := object.ContentID(object.FileInfo{Mode: object.ModeRegular}, rc)
	return x == y, err
}

func (c *checkout) makeFile(dest string, id object.ID) error {
	if c.o.RequireHardlinks && !c.link && !c.cache {
		return c.cannotLink()
	}
	if c.link {
		src := c.r.ObjectPath(object.Name{ID: id, Kind: object.KindFile})
		linked, err := c.hardlink(src, dest)
		if linked || err != nil {
			return err
		}
	}
	if c.cache {
		if linked, err := c.linkCached(dest, id); linked || err != nil {
			return err
		}
	}
	return c.copy(dest, id)
}

// linkCached links a file of the cache to its place, and makes it first if need be. False means that the file must be
// copied: it is a symbolic link or empty, or the cache cannot be used.
func (c *checkout) linkCached(dest string, id object.ID) (bool, error) {
	name := id.String()
	dir := filepath.Join(c.r.Path(), repo.UncompressedCache, name[:2])
	path := filepath.Join(dir, name[2:]+".file")
	err := unix.Link(path, dest)
	if err == unix.ENOENT {
		info, size, err := c.r.LoadFileInfo(id)
		if err != nil || !info.IsRegular() || size == 0 {
			return false, err
		}
		if os.MkdirAll(dir, 0o755) != nil {
			return false, nil // a repository that others own
		}
		tmp := filepath.Join(dir, fmt.Sprintf(".%s-%d-%d", name[2:], os.Getpid(), c.temps.Add(1)))
		if err := c.copy(tmp, id); err != nil {
			return false, err
		}
		if err := durable.Move(tmp, path); err != nil {
			os.Remove(tmp)
			return false, err
		}
		return c.linkCached(dest, id)
	}
	switch err {
	case nil:
		return true, nil
	case unix.EEXIST:
		return false, &os.LinkError{Op: "link", Old: path, New: dest, Err: err}
	}
	return false, nil
}

// passedWhiteout is how a name begins that stands for a whiteout of overlayfs.
const passedWhiteout = ".ostree-wh."

// whiteout makes the device that overlayfs takes for a removed file, with the owner, mode and attributes of an object.
func (c *checkout) whiteout(dest string, id object.ID) error {
	if err := object.CheckFilename(filepath.Base(dest)); err != nil {
		return err
	}
	info, _, err := c.r.LoadFileInfo(id)
	if err != nil {
		return err
	}
	if err := unix.Mknod(dest, unix.S_IFCHR|info.Mode&0o777, 0); err != nil {
		if err != unix.EEXIST || c.o.Union == UnionNone {
			return &os.PathError{Op: "mknod", Path: dest, Err: err}
		}
		var st unix.Stat_t
		if err := unix.Lstat(dest, &st); err == nil && st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0 || c.o.Union == UnionAdd {
			return nil
		}
		return &os.PathError{Op: "mknod", Path: dest, Err: err}
	}
	if !c.o.UserMode && c.r.Mode() != repo.ModeBareUserOnly {
		if err := unix.Lchown(dest, int(info.UID), int(info.GID)); err != nil {
			return &os.PathError{Op: "chown", Path: dest, Err: err}
		}
	}
	return unix.Chmod(dest, info.Mode&0o777) // whatever the umask
}

// hardlink links an object to its place; false means that it must be copied.
func (c *checkout) hardlink(src, dest string) (bool, error) {
	if c.r.Mode() == repo.ModeBareUser {
		// Symbolic links are stored as files there.
		if info, err := c.userInfo(src); err != nil || info.IsSymlink() {
			return false, ignoreNotExist(err)
		}
	}
	// All empty files of a tree would be one file: many more names than some file systems allow, and nothing gained.
	var st unix.Stat_t
	if unix.Lstat(src, &st) == nil && st.Size == 0 {
		return false, nil
	}
	err := unix.Linkat(unix.AT_FDCWD, src, unix.AT_FDCWD, dest, 0)
	switch err {
	case nil:
		return true, nil
	case unix.ENOENT:
		return false, nil // in a parent repository, or missing; the copy says which
	case unix.EXDEV, unix.EPERM, unix.EMLINK:
		if !c.o.RequireHardlinks {
			return false, nil
		}
	}
	return false, &os.LinkError{Op: "link", Old: src, New: dest, Err: err}
}

func ignoreNotExist(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

func (c *checkout) userInfo(src string) (object.FileInfo, error) {
	n, err := object.ParseName(filepath.Base(filepath.Dir(src)) + filepath.Base(src))
	if err != nil {
		return object.FileInfo{}, err
	}
	info, _, err := c.r.LoadFileInfo(n.ID)
	return info, err
}

var copyBuffers = sync.Pool{New: func() any { b := make([]byte, 256<<10); return &b }}

// copy makes a file of its own out of an object.
func (c *checkout) copy(dest string, id object.ID) error {
	info, size, rc, err := c.r.OpenFile(id)
	if err != nil {
		return err
	}
	defer rc.Close()
	owner := !c.o.UserMode && c.r.Mode() != repo.ModeBareUserOnly
	info.Xattrs = c.xattrs(info.Xattrs)
	if info.IsSymlink() {
		if err := unix.Symlink(info.Target, dest); err != nil {
			return &os.PathError{Op: "symlink", Path: dest, Err: err}
		}
		if owner {
			return setOwner(info, func() error { return unix.Lchown(dest, int(info.UID), int(info.GID)) },
				func(name string, value []byte) error { return unix.Lsetxattr(dest, name, value, 0) })
		}
		return nil
	}
	f, err := os.OpenFile(dest, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = fill(f, rc, size)
	mode := info.Mode & 0o7777
	if !owner {
		mode = mode&0o1777 | 0o400 // no set-id bits, and nothing that the user cannot read
	} else if err == nil {
		fd := int(f.Fd())
		err = setOwner(info, func() error { return unix.Fchown(fd, int(info.UID), int(info.GID)) },
			func(name string, value []byte) error { return unix.Fsetxattr(fd, name, value, 0) })
	}
	if err == nil {
		err = unix.Fchmod(int(f.Fd()), mode)
	}
	if err == nil {
		times := [2]unix.Timespec{{Nsec: unix.UTIME_OMIT}, {}}
		err = unix.UtimesNanoAt(unix.AT_FDCWD, dest, times[:], unix.AT_SYMLINK_NOFOLLOW)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		os.Remove(dest)
	}
	return err
}

// fill writes the content, by sharing blocks where the file system can.
func fill(f *os.File, rc io.Reader, size int64) error {
	if src, ok := rc.(*os.File); ok && size > 0 && unix.IoctlFileClone(int(f.Fd()), int(src.Fd())) == nil {
		return nil
	}
	bp := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(bp)
	n, err := io.CopyBuffer(struct{ io.Writer }{f}, struct{ io.Reader }{rc}, *bp)
	if err == nil && n != size {
		err = errors.New("the object is shorter than its header says")
	}
	return err
}

func setOwner(info object.FileInfo, chown func() error, set func(string, []byte) error) error {
	if err := chown(); err != nil {
		return fmt.Errorf("setting the owner: %w; without root, check out in user mode", err)
	}
	for _, x := range info.Xattrs {
		if err := set(x.Name, x.Value); err != nil {
			return fmt.Errorf("setting extended attribute %s: %w", x.Name, err)
		}
	}
	return nil
}
