package object

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"photree/internal/gvariant"
)

// DirMeta is the owner, mode and extended attributes of a directory. Mode includes the file type.
type DirMeta struct {
	UID, GID, Mode uint32
	Xattrs         Xattrs
}

// Encode returns the object, type (uuua(ayay)).
func (m DirMeta) Encode() []byte {
	return gvariant.Tuple(be32(m.UID), be32(m.GID), be32(m.Mode), m.Xattrs.Value()).Bytes()
}

// Check refuses what cannot be a directory.
func (m DirMeta) Check() error {
	if m.Mode&ModeType != ModeDir || m.Mode&^(ModeType|0o7777) != 0 {
		return fmt.Errorf("mode 0%o is not a directory's", m.Mode)
	}
	return m.Xattrs.check()
}

// DecodeDirMeta reads a dirmeta object.
func DecodeDirMeta(data []byte) (DirMeta, error) {
	m, err := decodeMeta(data, "dirmeta")
	if err == nil {
		err = m.Check()
	}
	return m, err
}

func decodeMeta(data []byte, what string) (DirMeta, error) {
	v, err := gvariant.Parse("(uuua(ayay))", data)
	if err != nil {
		return DirMeta{}, fmt.Errorf("decoding a %s: %w", what, err)
	}
	x, err := xattrsFrom(v.Index(3))
	if err != nil {
		return DirMeta{}, fmt.Errorf("decoding a %s: %w", what, err)
	}
	u := func(i int) uint32 { return gvariant.BE32(v.Index(i).Uint32()) }
	return DirMeta{u(0), u(1), u(2), x}, nil
}

// TreeFile is a file of a DirTree.
type TreeFile struct {
	Name string
	ID   ID
}

// TreeDir is a subdirectory of a DirTree: its own tree and its metadata.
type TreeDir struct {
	Name       string
	Tree, Meta ID
}

// DirTree is the list of names of a directory. Files and Dirs are each in the byte order of their names; a name stands
// in one of them only.
type DirTree struct {
	Files []TreeFile
	Dirs  []TreeDir
}

// Sort puts the names in order, as Encode wants them.
func (t *DirTree) Sort() {
	slices.SortFunc(t.Files, func(a, b TreeFile) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(t.Dirs, func(a, b TreeDir) int { return strings.Compare(a.Name, b.Name) })
}

// File returns the file called name.
func (t *DirTree) File(name string) (ID, bool) {
	i, ok := slices.BinarySearchFunc(t.Files, name, func(f TreeFile, n string) int { return strings.Compare(f.Name, n) })
	if !ok {
		return ID{}, false
	}
	return t.Files[i].ID, true
}

// Dir returns the subdirectory called name.
func (t *DirTree) Dir(name string) (TreeDir, bool) {
	i, ok := slices.BinarySearchFunc(t.Dirs, name, func(d TreeDir, n string) int { return strings.Compare(d.Name, n) })
	if !ok {
		return TreeDir{}, false
	}
	return t.Dirs[i], true
}

// Encode returns the object, type (a(say)a(sayay)).
func (t DirTree) Encode() []byte {
	files := make([]gvariant.Value, len(t.Files))
	for i, f := range t.Files {
		files[i] = gvariant.Tuple(gvariant.String(f.Name), gvariant.Bytes(f.ID[:]))
	}
	dirs := make([]gvariant.Value, len(t.Dirs))
	for i, d := range t.Dirs {
		dirs[i] = gvariant.Tuple(gvariant.String(d.Name), gvariant.Bytes(d.Tree[:]), gvariant.Bytes(d.Meta[:]))
	}
	return gvariant.Tuple(gvariant.Array("(say)", files...), gvariant.Array("(sayay)", dirs...)).Bytes()
}

// Check refuses names that cannot be or that are out of order: a tree that is checked out must not leave its
// directory, and a tree whose names are found by search must be sorted.
func (t DirTree) Check() error {
	seen := make(map[string]bool, len(t.Files))
	for i, f := range t.Files {
		if err := CheckFilename(f.Name); err != nil {
			return err
		}
		if i > 0 && t.Files[i-1].Name >= f.Name {
			return fmt.Errorf("name %q is out of order or there twice", f.Name)
		}
		seen[f.Name] = true
	}
	for i, d := range t.Dirs {
		if err := CheckFilename(d.Name); err != nil {
			return err
		}
		if i > 0 && t.Dirs[i-1].Name >= d.Name || seen[d.Name] {
			return fmt.Errorf("name %q is out of order or there twice", d.Name)
		}
	}
	return nil
}

// CheckFilename refuses what cannot be one component of a path.
func CheckFilename(name string) error {
	if strings.Contains(name, "/") {
		return fmt.Errorf("Invalid / in filename %s", name) //nolint:staticcheck // words that scripts look for
	}
	if name == "" || name == "." || name == ".." || strings.Contains(name, "\x00") {
		return fmt.Errorf("%q is not a file name", name)
	}
	if len(name) > 255 {
		return fmt.Errorf("file name %.40q... is longer than 255 bytes", name)
	}
	return nil
}

// DecodeDirTree reads a dirtree object.
func DecodeDirTree(data []byte) (DirTree, error) {
	v, err := gvariant.Parse("(a(say)a(sayay))", data)
	if err != nil {
		return DirTree{}, fmt.Errorf("decoding a dirtree: %w", err)
	}
	files, dirs := v.Index(0), v.Index(1)
	t := DirTree{Files: make([]TreeFile, files.Len()), Dirs: make([]TreeDir, dirs.Len())}
	for i := range t.Files {
		e := files.Index(i)
		t.Files[i].Name = e.Index(0).Str()
		if err := setID(&t.Files[i].ID, e.Index(1)); err != nil {
			return DirTree{}, fmt.Errorf("decoding a dirtree: %w", err)
		}
	}
	for i := range t.Dirs {
		e, d := dirs.Index(i), &t.Dirs[i]
		d.Name = e.Index(0).Str()
		if err := errors.Join(setID(&d.Tree, e.Index(1)), setID(&d.Meta, e.Index(2))); err != nil {
			return DirTree{}, fmt.Errorf("decoding a dirtree: %w", err)
		}
	}
	if err := t.Check(); err != nil {
		return DirTree{}, err
	}
	return t, nil
}

func setID(id *ID, v gvariant.Value) error {
	b := v.ByteSlice()
	if len(b) != len(id) {
		return fmt.Errorf("a checksum of %d bytes", len(b))
	}
	copy(id[:], b)
	return nil
}
