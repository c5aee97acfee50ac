package repo

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"photree/repo/object"
)

// ImportArchived stages a file object that came as a .filez stream, after checking that the stream has the name id
// (R1, R7). In an archive repository the stream is stored as it came.
func (t *Txn) ImportArchived(id object.ID, r io.Reader) error {
	n := object.Name{ID: id, Kind: object.KindFile}
	t.count(n.Kind)
	if ok, err := t.Has(n); ok || err != nil {
		return err
	}
	var err error
	if t.r.mode == ModeArchive {
		err = t.importRaw(n, r)
	} else {
		err = t.importInflated(n, r)
	}
	if err != nil {
		return fmt.Errorf("importing object %s: %w", n, err)
	}
	return nil
}

// importRaw keeps the stream while it looks inside.
func (t *Txn) importRaw(n object.Name, r io.Reader) error {
	s, err := t.create()
	if err != nil {
		return err
	}
	info, size, err := verifyArchived(n, io.TeeReader(r, s))
	if err == nil {
		err = t.checkImport(n, info)
	}
	if err == nil {
		err = s.setAttributes(info)
	}
	if err != nil {
		s.discard()
		return err
	}
	t.addBytes(size)
	return t.keep(n, s, true)
}

// verifyArchived reads a .filez stream to its end and checks that it has the name n, and nothing behind it.
func verifyArchived(n object.Name, r io.Reader) (object.FileInfo, int64, error) {
	br := bufio.NewReaderSize(r, 64<<10)
	info, size, content, err := readArchived(br)
	if err != nil {
		return info, 0, err
	}
	defer content.release()
	h := object.NewHash(info)
	if err := copyExactly(h, content, size); err != nil {
		return info, 0, err
	}
	return info, size, atEnd(n, object.SumID(h), content, br)
}

// atEnd checks what is left once the content was read: the name, the end of the content, the end of the stream.
func atEnd(n object.Name, got object.ID, content io.Reader, rest io.Reader) error {
	var one [1]byte
	if _, err := content.Read(one[:]); !errors.Is(err, io.EOF) {
		if err == nil {
			err = errors.New("content is longer than its header says")
		}
		return err
	}
	if got != n.ID {
		return &CorruptedError{n, got}
	}
	if m, err := rest.Read(one[:]); m > 0 {
		return errors.New("there are bytes behind the end of the object")
	} else if err != nil && err != io.EOF {
		return err
	}
	return nil
}

// importInflated stores the content of the stream in one of the bare forms.
func (t *Txn) importInflated(n object.Name, r io.Reader) error {
	br := bufio.NewReaderSize(r, 64<<10)
	info, size, content, err := readArchived(br)
	if err != nil {
		return err
	}
	defer content.release()
	if err := t.checkImport(n, info); err != nil {
		return err
	}
	if info.IsSymlink() {
		got, _ := object.ContentID(info, nil)
		if err := atEnd(n, got, content, br); err != nil {
			return err
		}
		return t.stageSymlink(n, info)
	}
	s, err := t.create()
	if err != nil {
		return err
	}
	h := object.NewHash(info)
	if err = copyExactly(io.MultiWriter(h, s), content, size); err == nil {
		err = atEnd(n, object.SumID(h), content, br)
	}
	if err == nil {
		err = s.setAttributes(info)
	}
	if err != nil {
		s.discard()
		return err
	}
	t.addBytes(size)
	return t.keep(n, s, true)
}

// SetUserOnlyModes has the transaction refuse imported files with modes that a bare-user-only repository cannot have,
// whatever the mode of this one.
func (t *Txn) SetUserOnlyModes(on bool) { t.userOnly = on }

// checkImport refuses what the repository, or who began the transaction, does not take.
func (t *Txn) checkImport(n object.Name, info object.FileInfo) error {
	err := t.r.checkStorable(info)
	if t.userOnly && err == nil {
		err = checkUserOnly(info)
	}
	if err != nil {
		return fmt.Errorf("Content object %s: %w", n.ID, err) //nolint:staticcheck // words that scripts look for
	}
	return nil
}

// ImportOptions are the choices of ImportObject.
type ImportOptions struct {
	Trusted bool // take src's word that its objects are sound, and do not read what becomes a hard link
}

// ImportObject stages an object of another repository on this machine: by hard link where src stores it in the same
// form on the same file system, else by a verified copy that shares blocks where the file system can.
func (t *Txn) ImportObject(src *Repo, n object.Name, opts ImportOptions) error {
	if n.Kind != object.KindFile {
		data, err := src.LoadMetadata(n)
		if err != nil {
			return err
		}
		return t.ImportMetadataFrom(src, n, data, opts)
	}
	if ok, err := t.Has(n); ok || err != nil {
		t.count(n.Kind)
		return err
	}
	if t.linkable(src, n) {
		if !opts.Trusted {
			if err := src.verifyFile(n); err != nil {
				return fmt.Errorf("importing object %s from %s: %w", n, src.path, err)
			}
		}
		if ok, err := t.linkObject(src, n); ok || err != nil {
			t.count(n.Kind)
			return err
		}
	}
	if src.mode == ModeArchive {
		f, err := os.Open(src.ObjectPath(n))
		if err == nil {
			defer f.Close()
			return t.ImportArchived(n.ID, f)
		}
	}
	info, size, rc, err := src.OpenFile(n.ID)
	if err != nil {
		return err
	}
	defer rc.Close()
	if err := t.checkImport(n, info); err != nil {
		return err
	}
	got, err := t.WriteContent(info, size, rc)
	if err == nil && got != n.ID {
		err = fmt.Errorf("importing object %s from %s: %w: the object there is damaged; run fsck on that repository",
			n, src.path, &CorruptedError{n, got})
	}
	return err
}

// linkable says whether an object of src can be stored here as a hard link: both repositories store it alike.
func (t *Txn) linkable(src *Repo, n object.Name) bool {
	same := src.mode == t.r.mode
	if !same && !(src.mode == ModeBareUser && t.r.mode == ModeBareUserOnly) {
		return false
	}
	if same && !t.userOnly {
		return true
	}
	info, _, err := src.LoadFileInfo(n.ID)
	if err != nil || t.checkImport(n, info) != nil {
		return false
	}
	// A file of a bare-user repository is one of a bare-user-only repository, but for links and modes that are not kept.
	return same || info.IsRegular() && info.Mode&0o7777 == info.Mode&0o775|0o400
}

// linkObject stages a hard link to the object of another repository; false means that a copy must do.
func (t *Txn) linkObject(src *Repo, n object.Name) (bool, error) {
	rel := tempRel()
	to := filepath.Join(t.stage.dir, rel)
	err := unix.Link(src.ObjectPath(n), to)
	switch err {
	case nil:
		return true, t.keepPath(n, rel, 0, true)
	case unix.EXDEV, unix.EPERM, unix.EMLINK, unix.EACCES, unix.EOPNOTSUPP, unix.ENOENT:
		return false, nil
	}
	return false, &os.LinkError{Op: "link", Old: src.ObjectPath(n), New: to, Err: err}
}

// DevIno identifies a file on this machine.
type DevIno struct{ Dev, Ino uint64 }

// DevInoCache maps the inodes of all file objects to their names, so that a file that is a hard link to one need not be
// read to know its name.
func (r *Repo) DevInoCache() (map[DevIno]object.ID, error) {
	out := map[DevIno]object.ID{}
	err := r.eachLoose(func(prefix, file string) error {
		n, ok := r.parseLoose(prefix, file)
		if !ok || n.Kind != object.KindFile {
			return nil
		}
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(r.path, "objects", prefix, file), &st); err == nil {
			out[DevIno{st.Dev, st.Ino}] = n.ID
		}
		return nil
	})
	return out, err
}
