package repo

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/klauspost/compress/flate"
	"golang.org/x/sys/unix"

	"photree/repo/object"
)

// UncompressedCache is the directory, below an archive repository, where checkouts in user mode share files.
const UncompressedCache = "uncompressed-objects-cache"

// userMetaXattr is where bare-user repositories keep owner, mode and attributes.
const userMetaXattr = "user.ostreemeta"

type empty struct{}

func (empty) Read([]byte) (int, error) { return 0, io.EOF }
func (empty) Close() error             { return nil }

func openArchived(path string) (object.FileInfo, int64, io.ReadCloser, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return object.FileInfo{}, 0, nil, err
	}
	info, size, content, err := readArchived(f)
	if err != nil {
		f.Close()
		return info, 0, nil, err
	}
	return info, size, &inflated{content, f}, nil
}

var inflaters = sync.Pool{New: func() any { return flate.NewReader(empty{}) }}

// inflated reads the content of a .filez and fails if it is not exactly as long as its header says, so that neither a
// cut-off object nor a bomb behind a small header gets through.
type inflated struct {
	*archiveContent
	file io.Closer
}

func (i *inflated) Close() error {
	i.release()
	return i.file.Close()
}

type archiveContent struct {
	z    io.ReadCloser
	left int64
	end  bool
}

// readArchived reads the header of a .filez stream and returns its content.
func readArchived(r io.Reader) (object.FileInfo, int64, *archiveContent, error) {
	br := bufio.NewReaderSize(r, 32<<10)
	info, size, err := object.ReadArchiveHeader(br)
	if err != nil {
		return info, 0, nil, err
	}
	c := &archiveContent{left: int64(size)}
	if info.IsSymlink() {
		c.end = true
		return info, 0, c, nil
	}
	c.z = inflaters.Get().(io.ReadCloser)
	if err := c.z.(flate.Resetter).Reset(br, nil); err != nil {
		return info, 0, nil, err
	}
	return info, int64(size), c, nil
}

func (c *archiveContent) Read(p []byte) (int, error) {
	if c.end {
		return 0, io.EOF
	}
	n, err := c.z.Read(p)
	c.left -= int64(n)
	switch {
	case c.left < 0:
		return 0, errors.New("content is longer than its header says")
	case errors.Is(err, io.EOF) && c.left > 0:
		return n, errors.New("content is shorter than its header says")
	case errors.Is(err, io.EOF):
		c.end = true
	case err != nil:
		err = fmt.Errorf("inflating: %w", err)
	}
	return n, err
}

func (c *archiveContent) release() {
	if c.z != nil {
		inflaters.Put(c.z)
		c.z, c.end = nil, true
	}
}

func openBare(path string, userOnly, noXattrs bool) (object.FileInfo, int64, io.ReadCloser, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return object.FileInfo{}, 0, nil, &os.PathError{Op: "lstat", Path: path, Err: err}
	}
	info := object.FileInfo{UID: st.Uid, GID: st.Gid, Mode: st.Mode}
	if userOnly {
		// The mode exists so that the tree of a build without root has the ids of one owned by root.
		info.UID, info.GID = 0, 0
	}
	if info.IsSymlink() {
		target, err := os.Readlink(path)
		if err == nil && !userOnly && !noXattrs {
			info.Xattrs, err = PathXattrs(path)
		}
		info.Target = target
		return info, 0, empty{}, err
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return info, 0, nil, err
	}
	if !userOnly && !noXattrs {
		info.Xattrs, err = FileXattrs(f)
	}
	if err == nil {
		err = info.Check()
	}
	if err != nil {
		f.Close()
		return info, 0, nil, err
	}
	return info, st.Size, f, nil
}

func openBareUser(path string) (object.FileInfo, int64, io.ReadCloser, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return object.FileInfo{}, 0, nil, err
	}
	info, size, err := bareUserInfo(f)
	if err != nil {
		f.Close()
		return info, 0, nil, err
	}
	if !info.IsSymlink() {
		return info, size, f, nil
	}
	// A symbolic link is a file that holds the target, so that it can have the attribute.
	defer f.Close()
	target, err := io.ReadAll(io.LimitReader(f, 4097))
	info.Target = string(bytes.TrimSuffix(target, []byte{0}))
	if err == nil {
		err = info.Check()
	}
	return info, 0, empty{}, err
}

func bareUserInfo(f *os.File) (object.FileInfo, int64, error) {
	st, err := f.Stat()
	if err != nil {
		return object.FileInfo{}, 0, err
	}
	meta, err := getXattr(func(buf []byte) (int, error) {
		return unix.Fgetxattr(int(f.Fd()), userMetaXattr, buf)
	})
	if err != nil {
		return object.FileInfo{}, 0, fmt.Errorf("reading attribute %s: %w", userMetaXattr, err)
	}
	info, err := object.DecodeUserMeta(meta)
	return info, st.Size(), err
}

// FileXattrs returns the extended attributes of an open file that have a value, in canonical order.
func FileXattrs(f *os.File) (object.Xattrs, error) {
	fd := int(f.Fd())
	x, err := listXattrs(
		func(buf []byte) (int, error) { return unix.Flistxattr(fd, buf) },
		func(name string, buf []byte) (int, error) { return unix.Fgetxattr(fd, name, buf) })
	if err != nil {
		return nil, fmt.Errorf("reading extended attributes of %s: %w", f.Name(), err)
	}
	return x, nil
}

// PathXattrs returns the extended attributes of a file that is not followed when it is a link.
func PathXattrs(path string) (object.Xattrs, error) {
	x, err := listXattrs(
		func(buf []byte) (int, error) { return unix.Llistxattr(path, buf) },
		func(name string, buf []byte) (int, error) { return unix.Lgetxattr(path, name, buf) })
	if err != nil {
		return nil, fmt.Errorf("reading extended attributes of %s: %w", path, err)
	}
	return x, nil
}

func listXattrs(list func([]byte) (int, error), get func(string, []byte) (int, error)) (object.Xattrs, error) {
	var small [256]byte
	n, err := list(small[:])
	names := small[:max(n, 0)]
	if errors.Is(err, unix.ERANGE) {
		names, err = getXattr(list)
	}
	if errors.Is(err, unix.ENOTSUP) {
		return nil, nil
	}
	if err != nil || len(names) == 0 {
		return nil, err
	}
	var x object.Xattrs
	for name := range strings.SplitSeq(strings.TrimSuffix(string(names), "\x00"), "\x00") {
		value, err := getXattr(func(buf []byte) (int, error) { return get(name, buf) })
		if errors.Is(err, unix.ENODATA) {
			continue // removed since it was listed
		}
		if err != nil {
			return nil, err
		}
		if len(value) == 0 {
			continue // ostree never records attributes without a value, so they are no part of the checksum
		}
		x = append(x, object.Xattr{Name: name, Value: value})
	}
	x.Sort()
	return x, nil
}

// getXattr calls get with a buffer that grows until the value fits.
func getXattr(get func([]byte) (int, error)) ([]byte, error) {
	buf := make([]byte, 512)
	for {
		n, err := get(buf)
		if err == nil {
			return buf[:n:n], nil
		}
		if !errors.Is(err, unix.ERANGE) || len(buf) > 1<<20 {
			return nil, err
		}
		buf = make([]byte, 4*len(buf))
	}
}
