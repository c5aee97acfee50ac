package object

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"

	"photree/internal/gvariant"
)

// The file type bits of a mode, as stat returns them.
const (
	ModeType    = 0o170000
	ModeDir     = 0o040000
	ModeRegular = 0o100000
	ModeSymlink = 0o120000
)

// Xattr is one extended attribute; Name has no trailing NUL.
type Xattr struct {
	Name  string
	Value []byte
}

// Xattrs is a list of extended attributes, in the order of their names when canonical.
type Xattrs []Xattr

// Get returns the value of the attribute name.
func (x Xattrs) Get(name string) ([]byte, bool) {
	for _, a := range x {
		if a.Name == name {
			return a.Value, true
		}
	}
	return nil, false
}

// Set replaces or adds an attribute and keeps the order of names.
func (x *Xattrs) Set(name string, value []byte) {
	i, found := slices.BinarySearchFunc(*x, name, func(a Xattr, n string) int { return strings.Compare(a.Name, n) })
	if found {
		(*x)[i].Value = value
		return
	}
	*x = slices.Insert(*x, i, Xattr{name, value})
}

// Sort puts the list into canonical order.
func (x Xattrs) Sort() {
	slices.SortFunc(x, func(a, b Xattr) int { return strings.Compare(a.Name, b.Name) })
}

// check refuses lists that have no canonical encoding.
func (x Xattrs) check() error {
	for i, a := range x {
		if a.Name == "" || strings.IndexByte(a.Name, 0) >= 0 {
			return fmt.Errorf("%q is not the name of an extended attribute", a.Name)
		}
		if i > 0 && x[i-1].Name >= a.Name {
			return fmt.Errorf("extended attribute %q is out of order or given twice", a.Name)
		}
	}
	return nil
}

// Value returns the list as a(ayay), names with their trailing NUL.
func (x Xattrs) Value() gvariant.Value {
	vals := make([]gvariant.Value, len(x))
	for i, a := range x {
		vals[i] = gvariant.Tuple(gvariant.Bytes(append([]byte(a.Name), 0)), gvariant.Bytes(a.Value))
	}
	return gvariant.Array("(ayay)", vals...)
}

func xattrsFrom(v gvariant.Value) (Xattrs, error) {
	n := v.Len()
	if n == 0 {
		return nil, nil
	}
	x := make(Xattrs, n)
	for i := range x {
		e := v.Index(i)
		name := e.Index(0).ByteSlice()
		if len(name) < 2 || name[len(name)-1] != 0 {
			return nil, fmt.Errorf("%q is not the name of an extended attribute", name)
		}
		x[i] = Xattr{string(name[:len(name)-1]), bytes.Clone(e.Index(1).ByteSlice())}
	}
	return x, x.check()
}

// FileInfo is the part of a file object that is not content. Mode includes the file type; Target is set for symbolic
// links only.
type FileInfo struct {
	UID, GID, Mode uint32
	Target         string
	Xattrs         Xattrs
}

// IsSymlink says whether the object is a symbolic link.
func (f FileInfo) IsSymlink() bool { return f.Mode&ModeType == ModeSymlink }

// IsRegular says whether the object is a regular file.
func (f FileInfo) IsRegular() bool { return f.Mode&ModeType == ModeRegular }

// Check refuses what cannot be a file object.
func (f FileInfo) Check() error {
	switch f.Mode & ModeType {
	case ModeRegular:
		if f.Target != "" {
			return errors.New("a regular file has no symlink target")
		}
	case ModeSymlink:
		if f.Target == "" || strings.IndexByte(f.Target, 0) >= 0 {
			return fmt.Errorf("%q is not a symlink target", f.Target)
		}
	default:
		return fmt.Errorf("mode 0%o is neither a regular file nor a symbolic link", f.Mode)
	}
	if f.Mode&^(ModeType|0o7777) != 0 {
		return fmt.Errorf("mode 0%o has unknown bits", f.Mode)
	}
	return f.Xattrs.check()
}

func be32(x uint32) gvariant.Value { return gvariant.Uint32(gvariant.BE32(x)) }

// Header returns the header that goes into the checksum, type (uuuusa(ayay)), with its frame.
func (f FileInfo) Header() []byte {
	return frame(gvariant.Tuple(be32(f.UID), be32(f.GID), be32(f.Mode), be32(0),
		gvariant.String(f.Target), f.Xattrs.Value()).Bytes())
}

// ArchiveHeader returns the header of a .filez, type (tuuuusa(ayay)), with its frame.
func (f FileInfo) ArchiveHeader(size uint64) []byte {
	return frame(gvariant.Tuple(gvariant.Uint64(gvariant.BE64(size)), be32(f.UID), be32(f.GID), be32(f.Mode), be32(0),
		gvariant.String(f.Target), f.Xattrs.Value()).Bytes())
}

// frame puts the length of header, big-endian, and four zero bytes in front of it: the zero bytes align to eight.
func frame(header []byte) []byte {
	b := make([]byte, 8, 8+len(header))
	binary.BigEndian.PutUint32(b, uint32(len(header)))
	return append(b, header...)
}

// ReadHeader reads the framed header of a file stream.
func ReadHeader(r io.Reader) (FileInfo, error) {
	data, err := readFrame(r)
	if err != nil {
		return FileInfo{}, err
	}
	v, err := gvariant.Parse("(uuuusa(ayay))", data)
	if err != nil {
		return FileInfo{}, fmt.Errorf("reading a file header: %w", err)
	}
	return infoFrom(v, 0)
}

// ReadArchiveHeader reads the framed header of a .filez; the raw deflate stream follows it in r.
func ReadArchiveHeader(r io.Reader) (FileInfo, uint64, error) {
	data, err := readFrame(r)
	if err != nil {
		return FileInfo{}, 0, err
	}
	v, err := gvariant.Parse("(tuuuusa(ayay))", data)
	if err != nil {
		return FileInfo{}, 0, fmt.Errorf("reading a file header: %w", err)
	}
	size := gvariant.BE64(v.Index(0).Uint64())
	if size > 1<<62 {
		return FileInfo{}, 0, errors.New("reading a file header: size out of range")
	}
	info, err := infoFrom(v, 1)
	if err == nil && info.IsSymlink() && size != 0 {
		err = errors.New("reading a file header: a symbolic link with content")
	}
	return info, size, err
}

func readFrame(r io.Reader) ([]byte, error) {
	var head [8]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, fmt.Errorf("reading a file header: %w", noEOF(err))
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > maxFileHeaderLength || !bytes.Equal(head[4:], make([]byte, 4)) {
		return nil, errors.New("reading a file header: not a file object")
	}
	// Grown as it is read: the length is not to be believed before the bytes are there.
	var buf bytes.Buffer
	if _, err := io.CopyN(&buf, r, int64(n)); err != nil {
		return nil, fmt.Errorf("reading a file header: %w", noEOF(err))
	}
	return buf.Bytes(), nil
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func infoFrom(v gvariant.Value, at int) (FileInfo, error) {
	u := func(i int) uint32 { return gvariant.BE32(v.Index(at + i).Uint32()) }
	x, err := xattrsFrom(v.Index(at + 5))
	if err != nil {
		return FileInfo{}, fmt.Errorf("reading a file header: %w", err)
	}
	f := FileInfo{UID: u(0), GID: u(1), Mode: u(2), Target: v.Index(at + 4).Str(), Xattrs: x}
	if u(3) != 0 {
		return FileInfo{}, errors.New("reading a file header: device numbers are not supported")
	}
	if err := f.Check(); err != nil {
		return FileInfo{}, fmt.Errorf("reading a file header: %w", err)
	}
	return f, nil
}

// NewHash returns a SHA-256 that has taken in the header of f; write the content to it and Sum gives the ID.
func NewHash(f FileInfo) hash.Hash {
	h := sha256.New()
	h.Write(f.Header())
	return h
}

// SumID returns the ID that h holds.
func SumID(h hash.Hash) ID {
	var id ID
	h.Sum(id[:0])
	return id
}

// ContentID returns the name of a file object. Symbolic links have no content: r may be nil.
func ContentID(f FileInfo, r io.Reader) (ID, error) {
	h := NewHash(f)
	if r != nil && !f.IsSymlink() {
		if _, err := io.Copy(h, r); err != nil {
			return ID{}, err
		}
	}
	return SumID(h), nil
}

// EncodeUserMeta returns the value of the attribute user.ostreemeta, (uuua(ayay)), where bare-user repositories keep
// what the file system entry itself cannot say.
func (f FileInfo) EncodeUserMeta() []byte {
	return gvariant.Tuple(be32(f.UID), be32(f.GID), be32(f.Mode), f.Xattrs.Value()).Bytes()
}

// DecodeUserMeta reads what EncodeUserMeta wrote; Target is left empty.
func DecodeUserMeta(data []byte) (FileInfo, error) {
	m, err := decodeMeta(data, "user.ostreemeta")
	return FileInfo{UID: m.UID, GID: m.GID, Mode: m.Mode, Xattrs: m.Xattrs}, err
}
