package repo

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"photree/internal/durable"
	"photree/repo/object"
)

// stagedFile is a file being written in the staging directory.
type stagedFile struct {
	t    *Txn
	fd   int
	rel  string // path in the staging directory
	took int64  // bytes accounted for
}

var stageCounter atomic.Uint64

// create makes a new file in the staging directory. All are made in one directory, where file systems put them close
// together on the disk, and get to the directories of their names later.
func (t *Txn) create() (*stagedFile, error) {
	rel := tempRel()
	fd, err := unix.Open(filepath.Join(t.stage.dir, rel), unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, &os.PathError{Op: "create", Path: filepath.Join(t.stage.dir, rel), Err: err}
	}
	return &stagedFile{t: t, fd: fd, rel: rel}, nil
}

// tempRel returns an unused name in the staging directory.
func tempRel() string { return "w-" + strconv.FormatUint(stageCounter.Add(1), 36) }

// Write appends to the file, keeping to the limit on free space.
func (s *stagedFile) Write(p []byte) (int, error) {
	if err := s.t.space.take(int64(len(p))); err != nil {
		return 0, err
	}
	s.took += int64(len(p))
	for n := 0; n < len(p); {
		m, err := unix.Write(s.fd, p[n:])
		if err == unix.EINTR {
			continue
		}
		if err == unix.ENOSPC || err == unix.EDQUOT {
			return n, fmt.Errorf("no space left on the file system of %s: free some and try again: %w", s.t.r.path, err)
		}
		if err != nil {
			return n, err
		}
		n += m
	}
	return len(p), nil
}

// discard closes and removes the file.
func (s *stagedFile) discard() {
	unix.Close(s.fd)
	os.Remove(filepath.Join(s.t.stage.dir, s.rel))
	s.t.space.give(s.took)
}

// close ends the writing; the file keeps its temporary name.
func (s *stagedFile) close() error {
	if err := unix.Close(s.fd); err != nil && err != unix.EINTR {
		return err
	}
	return nil
}

// setAttributes gives the file the owner, mode and attributes that info asks for in this repository's mode.
func (s *stagedFile) setAttributes(info object.FileInfo) error {
	switch s.t.r.mode {
	case ModeArchive:
		return unix.Fchmod(s.fd, 0o644)
	case ModeBareUser:
		if err := unix.Fsetxattr(s.fd, userMetaXattr, info.EncodeUserMeta(), 0); err != nil {
			return fmt.Errorf("setting %s: %w", userMetaXattr, err)
		}
		mode := uint32(0o644)
		if info.IsRegular() {
			mode = info.Mode&0o775 | 0o400
		}
		return errors.Join(unix.Fchmod(s.fd, mode), zeroTime(s.fd))
	case ModeBareUserOnly:
		return errors.Join(unix.Fchmod(s.fd, info.Mode&0o7777), zeroTime(s.fd))
	}
	// The owner first: changing it takes away set-id bits and file capabilities.
	if err := unix.Fchown(s.fd, int(info.UID), int(info.GID)); err != nil {
		return needRoot(err)
	}
	for _, x := range info.Xattrs {
		if s.t.r.noXattrs {
			break
		}
		if err := unix.Fsetxattr(s.fd, x.Name, x.Value, 0); err != nil {
			return fmt.Errorf("setting extended attribute %s: %w", x.Name, err)
		}
	}
	return errors.Join(unix.Fchmod(s.fd, info.Mode&0o7777), zeroTime(s.fd))
}

func needRoot(err error) error {
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("setting the owner: %w: a bare repository needs root; use the mode bare-user without", err)
	}
	return fmt.Errorf("setting the owner: %w", err)
}

// zeroTime sets the time of modification to 0: hard links into a checkout have the same time everywhere.
func zeroTime(fd int) error {
	ts := [2]unix.Timespec{{Nsec: unix.UTIME_OMIT}, unix.NsecToTimespec(time.Unix(0, 0).UnixNano())}
	return unix.UtimesNanoAt(unix.AT_FDCWD, "/proc/self/fd/"+strconv.Itoa(fd), ts[:], 0)
}

// adopt makes a hard link to a file the content of a new one in the staging directory; false means that a copy must do.
func (t *Txn) adopt(path string, f *os.File) (*stagedFile, bool) {
	rel := tempRel()
	if unix.Link(path, filepath.Join(t.stage.dir, rel)) != nil {
		return nil, false
	}
	fd, err := unix.Open(filepath.Join(t.stage.dir, rel), unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err == nil {
		var a, b unix.Stat_t
		if unix.Fstat(fd, &a) == nil && unix.Fstat(int(f.Fd()), &b) == nil && a.Dev == b.Dev && a.Ino == b.Ino {
			return &stagedFile{t: t, fd: fd, rel: rel}, true
		}
		unix.Close(fd)
	}
	os.Remove(filepath.Join(t.stage.dir, rel))
	return nil, false
}

// stageBytes stages a file whose stored form is at hand.
func (t *Txn) stageBytes(n object.Name, data []byte, info *object.FileInfo) error {
	s, err := t.create()
	if err != nil {
		return err
	}
	if _, err = s.Write(data); err == nil {
		if info != nil {
			err = s.setAttributes(*info)
		} else {
			err = unix.Fchmod(s.fd, 0o644)
		}
	}
	if err != nil {
		s.discard()
		return err
	}
	return t.keep(n, s, false)
}

// keep closes a complete and verified file and makes it the staged object n. A lasting one gets the object's name, by
// which a later transaction can take it over if this process is killed.
func (t *Txn) keep(n object.Name, s *stagedFile, lasting bool) error {
	if err := s.close(); err != nil {
		return err
	}
	if err := t.keepPath(n, s.rel, s.took, lasting); err != nil {
		os.Remove(filepath.Join(t.stage.dir, s.rel))
		return err
	}
	return nil
}

func (t *Txn) keepPath(n object.Name, rel string, took int64, lasting bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.done {
		return errEnded
	}
	from := filepath.Join(t.stage.dir, rel)
	if _, double := t.staged[n]; double {
		// Another goroutine was first with the same bytes.
		t.space.give(took)
		return unix.Unlink(from)
	}
	if lasting {
		rel = t.r.loosePath(n)
		if err := unix.Mkdir(filepath.Join(t.stage.dir, rel[:2]), 0o755); err != nil && err != unix.EEXIST {
			return err
		}
		if err := durable.Move(from, filepath.Join(t.stage.dir, rel)); err != nil {
			return err
		}
	}
	t.staged[n] = rel
	t.stats.StoredBytes += took
	if n.Kind == object.KindFile {
		t.stats.ContentWritten++
	} else {
		t.stats.MetadataWritten++
	}
	return nil
}

var errEnded = errors.New("the transaction has ended")

// stageSymlink stages a symbolic link in the form that the repository's mode has for it.
func (t *Txn) stageSymlink(n object.Name, info object.FileInfo) error {
	switch t.r.mode {
	case ModeArchive:
		return t.stageBytes(n, info.ArchiveHeader(0), &info)
	case ModeBareUser:
		return t.stageBytes(n, append([]byte(info.Target), 0), &info)
	}
	rel := tempRel()
	path := filepath.Join(t.stage.dir, rel)
	err := unix.Symlink(info.Target, path)
	if err != nil {
		return &os.PathError{Op: "symlink", Path: path, Err: err}
	}
	if t.r.mode == ModeBare {
		if err = unix.Lchown(path, int(info.UID), int(info.GID)); err != nil {
			err = needRoot(err)
		}
		for _, x := range info.Xattrs {
			if err == nil {
				err = unix.Lsetxattr(path, x.Name, x.Value, 0)
			}
		}
	}
	if err == nil {
		err = t.keepPath(n, rel, 0, false)
	}
	if err != nil {
		os.Remove(path)
	}
	return err
}

// WriteMetadata stages a metadata object and returns its name. The bytes must decode as that kind.
func (t *Txn) WriteMetadata(kind object.Kind, data []byte) (object.ID, error) {
	n := object.Name{ID: object.MetadataID(data), Kind: kind}
	return n.ID, t.writeMetadata(n, data)
}

// ImportMetadata stages a metadata object that came from elsewhere, after checking that the bytes have that name (R1, R7).
func (t *Txn) ImportMetadata(n object.Name, data []byte) error {
	if got := object.MetadataID(data); got != n.ID {
		return fmt.Errorf("importing object %s: %w", n, &CorruptedError{n, got})
	}
	return t.writeMetadata(n, data)
}

// ImportMetadataFrom is ImportMetadata of bytes that were read from src: on the same file system the object becomes a
// hard link, because metadata is stored alike in all modes. Whether it has its name is not looked at when src is trusted.
func (t *Txn) ImportMetadataFrom(src *Repo, n object.Name, data []byte, opts ImportOptions) error {
	if got := object.MetadataID(data); got != n.ID && !opts.Trusted {
		return fmt.Errorf("importing object %s: %w", n, &CorruptedError{n, got})
	}
	if ok, err := t.Has(n); ok || err != nil {
		t.count(n.Kind)
		return err
	}
	if err := checkMetadata(n.Kind, data); err != nil {
		return fmt.Errorf("writing object %s: %w", n, err)
	}
	if ok, err := t.linkObject(src, n); ok || err != nil {
		t.count(n.Kind)
		return err
	}
	return t.ImportMetadata(n, data)
}

func (t *Txn) writeMetadata(n object.Name, data []byte) error {
	t.count(n.Kind)
	if ok, err := t.Has(n); ok || err != nil {
		return err
	}
	if err := checkMetadata(n.Kind, data); err != nil {
		return fmt.Errorf("writing object %s: %w", n, err)
	}
	if err := t.stageBytes(n, data, nil); err != nil {
		return fmt.Errorf("writing object %s: %w", n, err)
	}
	return nil
}

func checkMetadata(kind object.Kind, data []byte) (err error) {
	if len(data) > object.MaxMetadataSize {
		return fmt.Errorf("%d bytes are more than an object of metadata may have", len(data))
	}
	switch kind {
	case object.KindCommit:
		_, err = object.DecodeCommit(data)
	case object.KindDirTree:
		_, err = object.DecodeDirTree(data)
	case object.KindDirMeta:
		_, err = object.DecodeDirMeta(data)
	default:
		err = fmt.Errorf("%s is not a kind of metadata", kind)
	}
	return err
}

func (t *Txn) count(k object.Kind) {
	t.mu.Lock()
	if k == object.KindFile {
		t.stats.ContentTotal++
	} else {
		t.stats.MetadataTotal++
	}
	t.mu.Unlock()
}

// MarkPartial marks a commit partial, durably and at once: it must be called before the commit object is staged if
// the closure may end up incomplete (R3).
func (t *Txn) MarkPartial(commit object.ID) error {
	if err := t.r.markPartial(commit, nil); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.partial[commit] = true
	return nil
}

// ClearPartial removes the mark of a commit whose closure is complete, after the objects of this transaction are durable.
func (t *Txn) ClearPartial(commit object.ID) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.partial[commit] = false
	return nil
}

// equalFile says whether the file at path holds data; used where a write can be saved.
func equalFile(path string, data []byte) bool {
	old, err := readLimited(path)
	return err == nil && bytes.Equal(old, data)
}
