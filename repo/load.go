package repo

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"photree/internal/gvariant"
	"photree/repo/object"
)

// NotFoundError says that an object is not in the repository. It wraps ErrNotFound; its words are those of ostree,
// which scripts know.
type NotFoundError struct{ Object object.Name }

func (e *NotFoundError) Error() string {
	if e.Object.Kind == object.KindFile {
		return "Couldn't find file object '" + e.Object.ID.String() + "'"
	}
	return "No such metadata object " + e.Object.String()
}

// Unwrap returns ErrNotFound.
func (e *NotFoundError) Unwrap() error { return ErrNotFound }

// CorruptedError says that what an object holds is not what its name says (R1). Its words are those of ostree.
type CorruptedError struct {
	Object object.Name
	Actual object.ID
}

func (e *CorruptedError) Error() string {
	return fmt.Sprintf("Corrupted %s object; checksum expected='%s' actual='%s'", e.Object.Kind, e.Object.ID, e.Actual)
}

// HasObject says whether an object is published here.
func (r *Repo) HasObject(n object.Name) (bool, error) {
	ok, err := r.hasOwn(n)
	if !ok && err == nil && r.parent != nil {
		return r.parent.HasObject(n)
	}
	return ok, err
}

func (r *Repo) hasOwn(n object.Name) (bool, error) {
	_, err := os.Lstat(r.ObjectPath(n))
	if err == nil {
		return true, nil
	}
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return false, fmt.Errorf("looking for object %s: %w", n, err)
}

// LoadMetadata returns the bytes of a metadata object.
func (r *Repo) LoadMetadata(n object.Name) ([]byte, error) {
	data, err := readLimited(r.ObjectPath(n))
	if errors.Is(err, os.ErrNotExist) {
		if r.parent != nil {
			return r.parent.LoadMetadata(n)
		}
		return nil, &NotFoundError{n}
	}
	if err != nil {
		return nil, fmt.Errorf("loading object %s: %w", n, err)
	}
	return data, nil
}

// readLimited reads a file of at most the size that a metadata object may have.
func readLimited(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if st.Size() > object.MaxMetadataSize {
		return nil, fmt.Errorf("%d bytes are more than an object of metadata may have", st.Size())
	}
	data := make([]byte, st.Size())
	_, err = io.ReadFull(f, data)
	return data, err
}

// LoadCommit returns a commit.
func (r *Repo) LoadCommit(id object.ID) (object.Commit, error) {
	data, err := r.LoadMetadata(object.Name{ID: id, Kind: object.KindCommit})
	if err != nil {
		return object.Commit{}, err
	}
	c, err := object.DecodeCommit(data)
	if err != nil {
		return c, fmt.Errorf("loading commit %s: %w", id, err)
	}
	return c, nil
}

// LoadDirTree returns a dirtree.
func (r *Repo) LoadDirTree(id object.ID) (object.DirTree, error) {
	data, err := r.LoadMetadata(object.Name{ID: id, Kind: object.KindDirTree})
	if err != nil {
		return object.DirTree{}, err
	}
	t, err := object.DecodeDirTree(data)
	if err != nil {
		return t, fmt.Errorf("loading dirtree %s: %w", id, err)
	}
	return t, nil
}

// LoadDirMeta returns a dirmeta.
func (r *Repo) LoadDirMeta(id object.ID) (object.DirMeta, error) {
	data, err := r.LoadMetadata(object.Name{ID: id, Kind: object.KindDirMeta})
	if err != nil {
		return object.DirMeta{}, err
	}
	m, err := object.DecodeDirMeta(data)
	if err != nil {
		return m, fmt.Errorf("loading dirmeta %s: %w", id, err)
	}
	return m, nil
}

// LoadFileInfo returns the header of a file object and the size of its content.
func (r *Repo) LoadFileInfo(id object.ID) (object.FileInfo, int64, error) {
	info, size, rc, err := r.OpenFile(id)
	if err == nil {
		rc.Close()
	}
	return info, size, err
}

// OpenFile returns the header of a file object, the size of its content, and the content; the reader is empty for
// symbolic links. What is read is not verified; Fsck does that.
func (r *Repo) OpenFile(id object.ID) (object.FileInfo, int64, io.ReadCloser, error) {
	n := object.Name{ID: id, Kind: object.KindFile}
	info, size, rc, err := r.openFileAt(r.ObjectPath(n))
	if errors.Is(err, os.ErrNotExist) {
		if r.parent != nil {
			return r.parent.OpenFile(id)
		}
		return info, 0, nil, &NotFoundError{n}
	}
	if err != nil {
		return info, 0, nil, fmt.Errorf("opening object %s: %w", n, err)
	}
	return info, size, rc, nil
}

// openFileAt opens a file object in this repository's form at any path.
func (r *Repo) openFileAt(path string) (object.FileInfo, int64, io.ReadCloser, error) {
	switch r.mode {
	case ModeArchive:
		return openArchived(path)
	case ModeBareUser:
		return openBareUser(path)
	}
	return openBare(path, r.mode == ModeBareUserOnly, r.noXattrs)
}

// DetachedMetadata returns the detached metadata of a commit, nil when there is none.
func (r *Repo) DetachedMetadata(commit object.ID) (gvariant.Dict, error) {
	data, err := readLimited(r.ObjectPath(object.Name{ID: commit, Kind: object.KindCommitMeta}))
	if errors.Is(err, os.ErrNotExist) {
		if r.parent != nil {
			return r.parent.DetachedMetadata(commit)
		}
		return nil, nil
	}
	if err == nil && len(data) == 0 {
		return gvariant.Dict{}, nil
	}
	var v gvariant.Value
	if err == nil {
		v, err = gvariant.Parse("a{sv}", data)
	}
	if err != nil {
		return nil, fmt.Errorf("loading the detached metadata of commit %s: %w", commit, err)
	}
	return v.Dict(), nil
}

// IsPartial says whether a commit carries a partial mark (R3).
func (r *Repo) IsPartial(commit object.ID) (bool, error) {
	_, err := os.Lstat(r.partialPath(commit))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func (r *Repo) partialPath(commit object.ID) string {
	return filepath.Join(r.path, "state", commit.String()+".commitpartial")
}

// ListObjects returns the names of all objects of the given kinds that are in this repository itself, in no order.
func (r *Repo) ListObjects(kinds ...object.Kind) ([]object.Name, error) {
	want := map[string]object.Kind{}
	for _, k := range kinds {
		want["."+r.suffix(k)] = k
	}
	var out []object.Name
	err := r.eachLoose(func(prefix, file string) error {
		if len(file) < 63 {
			return nil
		}
		k, ok := want[file[62:]]
		if !ok {
			return nil
		}
		if id, err := object.ParseID(prefix + file[:62]); err == nil {
			out = append(out, object.Name{ID: id, Kind: k})
		}
		return nil
	})
	return out, err
}

// eachLoose calls fn for every file in the directories of objects/.
func (r *Repo) eachLoose(fn func(prefix, file string) error) error {
	const hex = "0123456789abcdef"
	for i := range 256 {
		prefix := string([]byte{hex[i>>4], hex[i&15]})
		d, err := os.Open(filepath.Join(r.path, "objects", prefix))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("listing objects: %w", err)
		}
		names, err := d.Readdirnames(-1)
		d.Close()
		if err != nil {
			return fmt.Errorf("listing objects: %w", err)
		}
		for _, name := range names {
			if err := fn(prefix, name); err != nil {
				return err
			}
		}
	}
	return nil
}
