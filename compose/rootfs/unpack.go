package rootfs

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"photree/compose/rpm"
	"photree/compose/rpmdb"

	"golang.org/x/sys/unix"
)

// unpacker writes the files of packages into the tree.
type unpacker struct {
	root     *rootDir
	accounts *accounts
	noDocs   bool
	langs    []string // nil: all
	warn     func(string)

	owners map[string]owned // by resolved path: what each file came from

	// Of the package under way:
	pkg       *rpm.Package
	states    []rpmdb.FileState
	index     map[string]int // place of each path in pkg.Files
	open      *os.File       // regular file that still gets contents
	left      uint64         // bytes that it still gets
	finish    func() error   // owner, mode, time of the open file
	conflicts []string
	homeless  []placed // files whose owner is not known yet
}

// owned is what the tree got at one path.
type owned struct {
	pkg  *rpm.Package
	file *rpm.File
}

// placed is a file in the tree.
type placed struct {
	name string
	file *rpm.File
}

// begin starts a package.
func (u *unpacker) begin(p *rpm.Package) {
	u.pkg = p
	u.states = make([]rpmdb.FileState, len(p.Files))
	u.index = make(map[string]int, len(p.Files))
	u.conflicts, u.homeless = nil, nil
	for i := range p.Files {
		u.index[p.Files[i].Path] = i
	}
}

// skip says that a file of the package is not wanted in the tree, and whether
// the database says so.
func (u *unpacker) skip(f *rpm.File) (skip bool, state rpmdb.FileState) {
	switch f.Mode & unix.S_IFMT {
	case unix.S_IFCHR, unix.S_IFBLK, unix.S_IFIFO, unix.S_IFSOCK:
		// A commit holds files, links and directories only.
		return true, rpmdb.StateNotInstalled
	}
	switch {
	case f.Flags&rpm.FileGhost != 0:
		return true, rpmdb.StateNormal
	case u.noDocs && f.Flags&rpm.FileDoc != 0:
		return true, rpmdb.StateNotInstalled
	case !u.wantLang(f.Lang):
		return true, rpmdb.StateNotInstalled
	}
	return false, rpmdb.StateNormal
}

func (u *unpacker) wantLang(lang string) bool {
	if lang == "" || u.langs == nil {
		return true
	}
	for _, have := range strings.Split(lang, "|") {
		for _, want := range u.langs {
			if want == "all" || want == have || strings.HasPrefix(have, want+"_") || strings.HasPrefix(have, want+"@") || strings.HasPrefix(have, want+".") {
				return true
			}
		}
	}
	return false
}

// place begins one entry of the payload; its contents follow through write.
func (u *unpacker) place(e *rpm.Entry) error {
	names := append([]*rpm.File{e.File}, e.Links...)
	var first *placed
	for _, f := range names {
		skip, state := u.skip(f)
		if i, ok := u.index[f.Path]; ok {
			u.states[i] = state
		}
		if skip {
			continue
		}
		if first != nil {
			if err := u.link(*first, f); err != nil {
				return err
			}
			continue
		}
		done, err := u.create(f, e.Size)
		if err != nil {
			return fmt.Errorf("unpacking %q of %s: %w", f.Path, u.pkg.NEVRA, err)
		}
		if done {
			first = &placed{f.Path, f}
		}
	}
	u.left = e.Size
	return nil
}

// create makes a file, link or directory. It says false when what is there
// already stays: then contents are dropped.
func (u *unpacker) create(f *rpm.File, size uint64) (bool, error) {
	if path.Clean(f.Path) == "/" {
		return false, nil
	}
	d, base, err := u.root.split(f.Path)
	if err != nil {
		return false, err
	}
	real := path.Join(d.name, base)
	keep, err := u.claim(real, d, base, f)
	if keep || err != nil {
		return false, err
	}
	switch f.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return true, u.makeDir(d, base, real, f)
	case unix.S_IFLNK:
		if err := u.clear(d, base); err != nil {
			return false, err
		}
		if err := unix.Symlinkat(f.Link, d.fd, base); err != nil {
			return false, err
		}
		return true, u.setOwner(d, base, f)
	case unix.S_IFREG:
		return true, u.makeFile(d, base, f, size)
	}
	return false, fmt.Errorf("unknown file type in mode %o", f.Mode)
}

// claim decides between a file and what is at its path already: another
// package's file, or something that a script made. keep means that the file
// there stays.
func (u *unpacker) claim(real string, d *dir, base string, f *rpm.File) (keep bool, err error) {
	prev, have := u.owners[real]
	if !have {
		u.owners[real] = owned{u.pkg, f}
		var st unix.Stat_t
		if f.Flags&rpm.FileNoReplace != 0 && unix.Fstatat(d.fd, base, &st, unix.AT_SYMLINK_NOFOLLOW) == nil && st.Mode&unix.S_IFMT == unix.S_IFREG {
			return true, nil // as RPM: a configuration file that was there first stays
		}
		return false, nil
	}
	if prev.pkg == u.pkg {
		// A package from before the merge of /usr may hold /bin/x and a link
		// /usr/bin/x to it, which are one path now: the file stays.
		if prev.file.Mode&unix.S_IFMT != unix.S_IFLNK && f.Mode&unix.S_IFMT == unix.S_IFLNK {
			return true, nil
		}
		u.owners[real] = owned{u.pkg, f}
		return false, nil
	}
	if bothDirs := prev.file.Mode&unix.S_IFMT == unix.S_IFDIR && f.Mode&unix.S_IFMT == unix.S_IFDIR; bothDirs {
		return false, nil
	}
	// A package may list a directory that another one ships as a link to a
	// directory, as /lib after the merge of /usr: the link stays.
	if f.Mode&unix.S_IFMT == unix.S_IFDIR && prev.file.Mode&unix.S_IFMT == unix.S_IFLNK {
		var st unix.Stat_t
		if unix.Fstatat(d.fd, base, &st, 0) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
			return true, nil
		}
	}
	if sameFile(prev.file, f) {
		return true, nil
	}
	if prev.file.Color != f.Color && prev.file.Color != 0 && f.Color != 0 {
		// Of a 32 and a 64 bit program of one name RPM keeps the latter.
		if prev.file.Color&2 != 0 {
			u.states[u.index[f.Path]] = rpmdb.StateWrongColor
			return true, nil
		}
		u.owners[real] = owned{u.pkg, f}
		return false, nil
	}
	u.conflicts = append(u.conflicts, fmt.Sprintf("file %s conflicts between %s and %s", f.Path, prev.pkg.NEVRA, u.pkg.NEVRA))
	return true, nil
}

// sameFile says whether two packages may share a path.
func sameFile(a, b *rpm.File) bool {
	if a.Mode != b.Mode || a.Owner != b.Owner || a.Group != b.Group {
		return false
	}
	if a.Mode&unix.S_IFMT == unix.S_IFLNK {
		return a.Link == b.Link
	}
	return a.Digest == b.Digest && a.Size == b.Size
}

// clear removes what a file replaces; a directory must be empty.
func (u *unpacker) clear(d *dir, base string) error {
	err := unix.Unlinkat(d.fd, base, 0)
	if err == unix.EISDIR {
		if err = unix.Unlinkat(d.fd, base, unix.AT_REMOVEDIR); err == unix.ENOTEMPTY {
			return errors.New("a directory with contents is in its place")
		}
		u.root.forget()
		return err
	}
	if err == unix.ENOENT {
		return nil
	}
	return err
}

func (u *unpacker) makeDir(d *dir, base, real string, f *rpm.File) error {
	err := unix.Mkdirat(d.fd, base, 0o700)
	if err == unix.EEXIST {
		var st unix.Stat_t
		if err := unix.Fstatat(d.fd, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return err
		}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFDIR:
		case unix.S_IFLNK:
			if unix.Fstatat(d.fd, base, &st, 0) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
				return nil
			}
			return fmt.Errorf("a link that leads to no directory is in its place (%s)", real)
		default:
			return errors.New("a file is in place of the directory")
		}
	} else if err != nil {
		return err
	}
	if err := u.setOwner(d, base, f); err != nil {
		return err
	}
	return unix.Fchmodat(d.fd, base, f.Mode&0o7777, 0)
}

func (u *unpacker) makeFile(d *dir, base string, f *rpm.File, size uint64) error {
	if err := u.clear(d, base); err != nil {
		return err
	}
	fd, err := unix.Openat(d.fd, base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	u.open = os.NewFile(uintptr(fd), f.Path)
	if size == 0 {
		return u.closeFile(f)
	}
	u.finish = func() error { return u.closeFile(f) }
	return nil
}

// write adds contents to the file under way.
func (u *unpacker) write(data []byte) error {
	if uint64(len(data)) > u.left {
		return fmt.Errorf("more contents than announced in %s", u.pkg.NEVRA)
	}
	u.left -= uint64(len(data))
	if u.open == nil {
		return nil // skipped, or a link's target in an old package
	}
	if _, err := u.open.Write(data); err != nil {
		return fmt.Errorf("unpacking %s: %w", u.pkg.NEVRA, err)
	}
	if u.left == 0 {
		return u.finish()
	}
	return nil
}

// closeFile gives a written file its owner, capabilities, mode and time, in
// the order in which none of them undoes another: a change of owner clears
// set-id bits and capabilities.
func (u *unpacker) closeFile(f *rpm.File) error {
	file := u.open
	u.open, u.finish = nil, nil
	defer file.Close()
	fd := int(file.Fd())
	uid, gid, known := u.ids(f)
	if !known {
		u.homeless = append(u.homeless, placed{f.Path, f})
	}
	if err := unix.Fchown(fd, int(uid), int(gid)); err != nil {
		return fmt.Errorf("changing the owner of %q: %w", f.Path, err)
	}
	if err := unix.Fchmod(fd, f.Mode&0o7777); err != nil {
		return fmt.Errorf("changing the mode of %q: %w", f.Path, err)
	}
	if f.Caps != "" {
		caps, err := parseCaps(f.Caps)
		if err != nil {
			return fmt.Errorf("%q of %s: %w", f.Path, u.pkg.NEVRA, err)
		}
		if caps != nil {
			if err := unix.Fsetxattr(fd, "security.capability", caps, 0); err != nil {
				return fmt.Errorf("setting the capabilities of %q: %w", f.Path, err)
			}
		}
	}
	tv := unix.NsecToTimeval(f.MTime * 1e9)
	return unix.Futimes(fd, []unix.Timeval{tv, tv})
}

func (u *unpacker) link(first placed, f *rpm.File) error {
	// The first name exists already, empty as yet: links share what it gets.
	from, fromBase, err := u.root.split(first.name)
	if err != nil {
		return err
	}
	fromFD, err := unix.FcntlInt(uintptr(from.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fromFD)
	d, base, err := u.root.split(f.Path)
	if err != nil {
		return err
	}
	keep, err := u.claim(path.Join(d.name, base), d, base, f)
	if keep || err != nil {
		return err
	}
	if err := u.clear(d, base); err != nil {
		return fmt.Errorf("linking %q of %s: %w", f.Path, u.pkg.NEVRA, err)
	}
	if err := unix.Linkat(fromFD, fromBase, d.fd, base, 0); err != nil {
		return fmt.Errorf("linking %q of %s: %w", f.Path, u.pkg.NEVRA, err)
	}
	return nil
}

// ids resolves the owner of a file; what is not known yet counts as root.
func (u *unpacker) ids(f *rpm.File) (uid, gid uint32, known bool) {
	uid, okUser := u.accounts.user(f.Owner)
	gid, okGroup := u.accounts.group(f.Group)
	return uid, gid, okUser && okGroup
}

func (u *unpacker) setOwner(d *dir, base string, f *rpm.File) error {
	uid, gid, known := u.ids(f)
	if !known {
		u.homeless = append(u.homeless, placed{f.Path, f})
	}
	return unix.Fchownat(d.fd, base, int(uid), int(gid), unix.AT_SYMLINK_NOFOLLOW)
}

// abandon closes the file that an error left open.
func (u *unpacker) abandon() {
	if u.open != nil {
		u.open.Close()
		u.open = nil
	}
}

// end completes a package: its conflicts are an error.
func (u *unpacker) end() error {
	if u.open != nil {
		return fmt.Errorf("unpacking %s: %w", u.pkg.NEVRA, errFeedEnded)
	}
	if len(u.conflicts) > 0 {
		const most = 10
		list := u.conflicts
		if len(list) > most {
			list = append(list[:most:most], fmt.Sprintf("and %d more", len(u.conflicts)-most))
		}
		return fmt.Errorf("%s (exclude one of the packages)", strings.Join(list, "; "))
	}
	return nil
}

// settle gives files whose owners were unknown to them now, and returns those
// that still have none.
func (u *unpacker) settle(files []placed) ([]placed, error) {
	var rest []placed
	for _, p := range files {
		uid, gid, known := u.ids(p.file)
		if !known {
			rest = append(rest, p)
			continue
		}
		d, base, err := u.root.split(p.name)
		if err != nil {
			return nil, err
		}
		if err := unix.Fchownat(d.fd, base, int(uid), int(gid), unix.AT_SYMLINK_NOFOLLOW); err == unix.ENOENT {
			continue // a script removed it
		} else if err != nil {
			return nil, fmt.Errorf("changing the owner of %q: %w", p.name, err)
		}
		if p.file.Mode&unix.S_IFMT == unix.S_IFLNK {
			continue
		}
		if err := unix.Fchmodat(d.fd, base, p.file.Mode&0o7777, 0); err != nil {
			return nil, fmt.Errorf("changing the mode of %q: %w", p.name, err)
		}
		if caps, err := parseCaps(p.file.Caps); err == nil && caps != nil {
			if err := unix.Lsetxattr(u.root.procPath(d, base), "security.capability", caps, 0); err != nil {
				return nil, fmt.Errorf("setting the capabilities of %q: %w", p.name, err)
			}
		}
	}
	return rest, nil
}
