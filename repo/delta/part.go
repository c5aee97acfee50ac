package delta

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"photree/internal/gvariant"
	"photree/repo/delta/lzma"
	"photree/repo/object"
)

const (
	partType    = "(yay)"
	payloadType = "(a(uuu)aa(ayay)ayay)"

	compressionNone = 0
	compressionXZ   = 'x'

	// maxPayload is the most that a part may unpack to (R7), whatever its superblock says.
	maxPayload = 2 << 30
)

// The operations of a part.
const (
	opSplice      = 'S' // make a whole object out of the blob
	opOpen        = 'o' // begin a file
	opWrite       = 'w' // append bytes of the source, or of the blob when there is no source
	opSetSource   = 'r' // the object whose checksum stands in the blob is the source from now on
	opUnsetSource = 'R'
	opPatch       = 'B' // append the source, patched
	opClose       = 'c' // end the file
)

// payload is a part that was unpacked.
type payload struct {
	modes  gvariant.Value // a(uuu): owner, group, mode, big-endian
	xattrs gvariant.Value // aa(ayay)
	blob   []byte
	ops    []byte

	backing *blob
}

func (p *payload) close() { p.backing.close() }

// openPart checks the bytes of a part against its header and unpacks them; large ones go to a file in dir.
func openPart(h *Part, data []byte, dir string) (*payload, error) {
	if h.Version > partVersion {
		return nil, fmt.Errorf("version %d is newer than is known", h.Version)
	}
	if got := object.ID(sha256.Sum256(data)); got != h.Checksum {
		return nil, fmt.Errorf("the bytes have the checksum %s and not %s", got, h.Checksum)
	}
	if len(data) < 1 {
		return nil, errors.New("empty")
	}
	b := &blob{data: data[1:]}
	switch data[0] {
	case compressionNone:
	case compressionXZ:
		r, err := lzma.NewReader(data[1:])
		if err == nil {
			b, err = readBlob(r, h.payloadLimit(), dir)
		}
		if err != nil {
			return nil, fmt.Errorf("unpacking: %w", err)
		}
	default:
		return nil, fmt.Errorf("compressed in a way that is not known (%q)", data[0])
	}
	v, err := gvariant.Parse(payloadType, b.data)
	if err != nil {
		b.close()
		return nil, err
	}
	return &payload{modes: v.Index(0), xattrs: v.Index(1), blob: v.Index(2).ByteSlice(), ops: v.Index(3).ByteSlice(), backing: b}, nil
}

// payloadLimit bounds what a part may unpack to by what it claims to make. A patch can be larger than what comes out of
// it, by 24 bytes for each piece, and each object has its attributes and operations; all writers stay far below this.
func (h *Part) payloadLimit() int64 {
	if h.USize > maxPayload {
		return maxPayload
	}
	return min(maxPayload, 4*int64(h.USize)+int64(len(h.Objects))*(128<<10)+(1<<20))
}

// file returns the header that the operations name by the indices of its mode and its attributes.
func (p *payload) file(mode, xattrs uint64) (object.FileInfo, error) {
	if mode >= uint64(p.modes.Len()) {
		return object.FileInfo{}, fmt.Errorf("mode %d of %d", mode, p.modes.Len())
	}
	if xattrs >= uint64(p.xattrs.Len()) {
		return object.FileInfo{}, fmt.Errorf("attributes %d of %d", xattrs, p.xattrs.Len())
	}
	m := p.modes.Index(int(mode))
	info := object.FileInfo{UID: gvariant.BE32(m.Index(0).Uint32()), GID: gvariant.BE32(m.Index(1).Uint32()),
		Mode: gvariant.BE32(m.Index(2).Uint32())}
	list := p.xattrs.Index(int(xattrs))
	for i := range list.Len() {
		e := list.Index(i)
		name := e.Index(0).ByteSlice()
		if len(name) < 2 || name[len(name)-1] != 0 {
			return info, fmt.Errorf("%q is not the name of an extended attribute", name)
		}
		info.Xattrs = append(info.Xattrs, object.Xattr{Name: string(name[:len(name)-1]), Value: e.Index(1).ByteSlice()})
	}
	return info, nil
}

// slice returns bytes of the blob.
func (p *payload) slice(off, n uint64) ([]byte, error) { return cut(p.blob, off, n) }

// cut returns n bytes of b from off.
func cut(b []byte, off, n uint64) ([]byte, error) {
	if off > uint64(len(b)) || n > uint64(len(b))-off {
		return nil, fmt.Errorf("bytes %d+%d of %d", off, n, len(b))
	}
	return b[off : off+n : off+n], nil
}

// opReader reads operations and their arguments.
type opReader struct{ ops []byte }

func (o *opReader) next() (byte, bool) {
	if len(o.ops) == 0 {
		return 0, false
	}
	b := o.ops[0]
	o.ops = o.ops[1:]
	return b, true
}

// args reads LEB128 numbers.
func (o *opReader) args(to ...*uint64) error {
	for _, x := range to {
		v, n := binary.Uvarint(o.ops)
		if n <= 0 {
			return io.ErrUnexpectedEOF
		}
		*x, o.ops = v, o.ops[n:]
	}
	return nil
}
