package rootfs

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// rootDir resolves paths of the tree below its root, in which absolute
// symbolic links and ".." stay inside, as they do after a chroot.
type rootDir struct {
	fd    int
	path  string // of the root, without links
	cache map[string]*dir
}

// dir is an open directory of the tree.
type dir struct {
	fd   int
	name string // its path in the tree with all links resolved
}

const (
	maxOpenDirs = 200
	maxLinks    = 40 // as the kernel
)

func openRootDir(p string) (*rootDir, error) {
	fd, err := unix.Open(p, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: p, Err: err}
	}
	real, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return &rootDir{fd: fd, path: real, cache: map[string]*dir{}}, nil
}

// forget drops the open directories: a script may have moved them.
func (r *rootDir) forget() {
	for _, d := range r.cache {
		unix.Close(d.fd)
	}
	clear(r.cache)
}

func (r *rootDir) close() {
	r.forget()
	unix.Close(r.fd)
}

// openat2 opens a path of the tree; the kernel keeps it below the root.
func (r *rootDir) openat2(name string, flags uint64, mode uint64) (int, error) {
	name = strings.TrimLeft(name, "/")
	if name == "" {
		name = "."
	}
	for {
		fd, err := unix.Openat2(r.fd, name, &unix.OpenHow{
			Flags: flags | unix.O_CLOEXEC, Mode: mode,
			Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
		})
		// EAGAIN: a rename anywhere on the machine made the kernel unsure.
		if err == unix.EAGAIN || err == unix.EINTR {
			continue
		}
		return fd, err
	}
}

// dir opens the directory name, making what is missing of it as RPM does:
// owned by root, mode 0755.
func (r *rootDir) dir(name string) (*dir, error) { return r.makeDir(path.Clean("/"+name), 0) }

func (r *rootDir) makeDir(name string, links int) (*dir, error) {
	if d := r.cache[name]; d != nil {
		return d, nil
	}
	fd, err := r.openat2(name, unix.O_PATH|unix.O_DIRECTORY, 0)
	if errors.Is(err, unix.ENOENT) && name != "/" {
		parent, perr := r.makeDir(path.Dir(name), links)
		if perr != nil {
			return nil, perr
		}
		if err = unix.Mkdirat(parent.fd, path.Base(name), 0o755); err == nil || errors.Is(err, unix.EEXIST) {
			fd, err = r.openat2(name, unix.O_PATH|unix.O_DIRECTORY, 0)
		}
		if errors.Is(err, unix.ENOENT) && links < maxLinks {
			// A link whose target no package has made yet, as /sbin before
			// /usr/sbin: make what it leads to, inside the tree.
			target := readlinkat(parent.fd, path.Base(name))
			if target != "" && !path.IsAbs(target) {
				target = path.Join(parent.name, target)
			}
			if target != "" {
				return r.makeDir(path.Clean("/"+target), links+1)
			}
		}
	}
	if err != nil {
		return nil, &os.PathError{Op: "opening directory", Path: name, Err: err}
	}
	real, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	if real != r.path && !strings.HasPrefix(real, r.path+"/") {
		unix.Close(fd)
		return nil, fmt.Errorf("directory %q of the tree lies outside it at %q", name, real)
	}
	if len(r.cache) >= maxOpenDirs {
		r.forget()
	}
	d := &dir{fd: fd, name: path.Clean("/" + strings.TrimPrefix(real, r.path))}
	r.cache[name] = d
	return d, nil
}

// split opens the directory of a path and gives the last name.
func (r *rootDir) split(name string) (*dir, string, error) {
	name = path.Clean("/" + name)
	if name == "/" {
		return nil, "", fmt.Errorf("%q is the root itself", name)
	}
	d, err := r.dir(path.Dir(name))
	return d, path.Base(name), err
}

// readFile reads a file of the tree, following links inside it.
func (r *rootDir) readFile(name string) ([]byte, error) {
	fd, err := r.openat2(name, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() {
		return nil, &os.PathError{Op: "read", Path: name, Err: errors.New("not a regular file")}
	}
	b := make([]byte, fi.Size())
	n, err := readFull(f, b)
	return b[:n], err
}

func readFull(f *os.File, b []byte) (int, error) {
	n := 0
	for n < len(b) {
		m, err := f.Read(b[n:])
		n += m
		if m == 0 || err != nil {
			break
		}
	}
	return n, nil
}

// writeFile replaces a file of the tree. A link in its place is replaced, not
// followed; the directory's links are followed inside the tree.
func (r *rootDir) writeFile(name string, data []byte, mode uint32) error {
	d, base, err := r.split(name)
	if err != nil {
		return err
	}
	if err := unix.Unlinkat(d.fd, base, 0); err != nil && err != unix.ENOENT {
		return &os.PathError{Op: "replacing", Path: name, Err: err}
	}
	fd, err := unix.Openat(d.fd, base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return &os.PathError{Op: "creating", Path: name, Err: err}
	}
	f := os.NewFile(uintptr(fd), name)
	_, err = f.Write(data)
	if err == nil {
		err = unix.Fchmod(fd, mode&0o7777)
	}
	return errors.Join(err, f.Close())
}

// rewriteFile changes the contents of a file of the tree and keeps its owner
// and mode; mode is for a file that does not exist.
func (r *rootDir) rewriteFile(name string, data []byte, mode uint32) error {
	st, ok := r.lstat(name)
	if !ok || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return r.writeFile(name, data, mode)
	}
	if err := r.writeFile(name, data, st.Mode); err != nil {
		return err
	}
	d, base, err := r.split(name)
	if err != nil {
		return err
	}
	return errors.Join(
		unix.Fchownat(d.fd, base, int(st.Uid), int(st.Gid), unix.AT_SYMLINK_NOFOLLOW),
		unix.Fchmodat(d.fd, base, st.Mode&0o7777, 0))
}

// symlink puts a link in place of whatever file or link is there.
func (r *rootDir) symlink(target, name string) error {
	d, base, err := r.split(name)
	if err != nil {
		return err
	}
	if err := unix.Unlinkat(d.fd, base, 0); err != nil && err != unix.ENOENT {
		return &os.PathError{Op: "replacing", Path: name, Err: err}
	}
	return unix.Symlinkat(target, d.fd, base)
}

// lstat looks at a path without following its last link.
func (r *rootDir) lstat(name string) (unix.Stat_t, bool) {
	var st unix.Stat_t
	fd, err := r.openat2(name, unix.O_PATH|unix.O_NOFOLLOW, 0)
	if err != nil {
		return st, false
	}
	defer unix.Close(fd)
	return st, unix.Fstat(fd, &st) == nil
}

// exists says whether a path leads to something, its links followed.
func (r *rootDir) exists(name string) bool {
	fd, err := r.openat2(name, unix.O_PATH, 0)
	if err != nil {
		return false
	}
	unix.Close(fd)
	return true
}

// readlink gives the target of a link, or "".
func (r *rootDir) readlink(name string) string {
	d, base, err := r.lookup(name)
	if err != nil {
		return ""
	}
	defer unix.Close(d)
	return readlinkat(d, base)
}

func readlinkat(fd int, base string) string {
	buf := make([]byte, 4096)
	n, err := unix.Readlinkat(fd, base, buf)
	if err != nil {
		return ""
	}
	return string(buf[:n])
}

// lookup opens the directory of a path without making it.
func (r *rootDir) lookup(name string) (fd int, base string, err error) {
	name = path.Clean("/" + name)
	fd, err = r.openat2(path.Dir(name), unix.O_PATH|unix.O_DIRECTORY, 0)
	return fd, path.Base(name), err
}

// readDir lists a directory of the tree, sorted; a missing one is empty.
func (r *rootDir) readDir(name string) ([]os.DirEntry, error) {
	fd, err := r.openat2(name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
			return nil, nil
		}
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	list, err := f.ReadDir(-1)
	sortEntries(list)
	return list, err
}

// removeAll removes a path of the tree with all below it, following no link.
func (r *rootDir) removeAll(name string) error {
	fd, base, err := r.lookup(name)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return &os.PathError{Op: "removing", Path: name, Err: err}
	}
	defer unix.Close(fd)
	r.forget()
	return os.RemoveAll("/proc/self/fd/" + strconv.Itoa(fd) + "/" + base)
}

// rename moves a path of the tree.
func (r *rootDir) rename(from, to string) error {
	a, abase, err := r.split(from)
	if err != nil {
		return err
	}
	afd, err := unix.FcntlInt(uintptr(a.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(afd)
	b, bbase, err := r.split(to)
	if err != nil {
		return err
	}
	err = unix.Renameat(afd, abase, b.fd, bbase)
	r.forget()
	if err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	return nil
}

// hostPath is the path of something in the tree as this process sees it, for
// code that takes paths: its directory holds no links, so it cannot lead out.
func (r *rootDir) hostPath(name string) (string, error) {
	d, base, err := r.split(name)
	if err != nil {
		return "", err
	}
	return path.Join(r.path, d.name, base), nil
}

// procPath is a path for calls that take no directory descriptor.
func (r *rootDir) procPath(d *dir, base string) string {
	return "/proc/self/fd/" + strconv.Itoa(d.fd) + "/" + base
}

func sortEntries(list []os.DirEntry) {
	slices.SortFunc(list, func(a, b os.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
}
