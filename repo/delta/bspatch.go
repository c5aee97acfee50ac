package delta

import (
	"encoding/binary"
	"errors"
	"io"
)

// patchReader gives what a patch makes of old. The patch is in the plain form of bsdiff that deltas hold: triples of
// three signed numbers (how many bytes to add to old, how many to insert, how far to move in old), each followed by its
// bytes. It produces exactly size bytes or fails, and reads old outside its bounds as zeros, as every bspatch does.
type patchReader struct {
	old, patch []byte
	size       int64 // still to be made
	pos        int64 // in old
	diff       int64 // left of the current piece
	extra      int64
	seek       int64
}

var errPatch = errors.New("the patch is damaged")

func newPatchReader(old, patch []byte, size uint64) (*patchReader, error) {
	// Every byte that comes out has one in the patch: so a patch cannot make more than it is long.
	if size > uint64(len(patch)) {
		return nil, errPatch
	}
	return &patchReader{old: old, patch: patch, size: int64(size)}, nil
}

// patchInt reads a number: magnitude, little-endian, and the sign in the highest bit.
func patchInt(b []byte) int64 {
	v := binary.LittleEndian.Uint64(b)
	n := int64(v &^ (1 << 63))
	if v>>63 != 0 {
		return -n
	}
	return n
}

func putPatchInt(b []byte, x int64) []byte {
	if x < 0 {
		return binary.LittleEndian.AppendUint64(b, uint64(-x)|1<<63)
	}
	return binary.LittleEndian.AppendUint64(b, uint64(x))
}

// limitPos keeps a place from running out of the range of numbers, far outside any file.
const limitPos = 1 << 60

func (r *patchReader) Read(p []byte) (int, error) {
	for r.diff == 0 && r.extra == 0 {
		if r.size == 0 {
			return 0, io.EOF
		}
		if err := r.control(); err != nil {
			return 0, err
		}
	}
	if r.diff > 0 {
		n := int(min(r.diff, int64(len(p))))
		addBytes(p[:n], r.patch[:n], r.old, r.pos)
		r.diff -= int64(n)
		r.pos += int64(n)
		r.take(n)
		return n, nil
	}
	n := copy(p, r.patch[:r.extra])
	r.extra -= int64(n)
	r.take(n)
	return n, nil
}

// take moves on in the patch, and in old when a piece is done.
func (r *patchReader) take(n int) {
	r.patch = r.patch[n:]
	r.size -= int64(n)
}

// control reads the next triple.
func (r *patchReader) control() error {
	if len(r.patch) < 24 {
		return errPatch
	}
	r.pos += r.seek
	r.diff, r.extra, r.seek = patchInt(r.patch), patchInt(r.patch[8:]), patchInt(r.patch[16:])
	r.patch = r.patch[24:]
	left := int64(len(r.patch))
	if r.diff < 0 || r.extra < 0 || r.diff > left || r.extra > left-r.diff || r.diff > r.size || r.extra > r.size-r.diff {
		return errPatch
	}
	if r.pos < -limitPos || r.pos > limitPos || r.seek < -limitPos || r.seek > limitPos {
		return errPatch
	}
	return nil
}

// addBytes sets dst to diff plus the bytes of old from pos.
func addBytes(dst, diff, old []byte, pos int64) {
	copy(dst, diff)
	from, n := max(-pos, 0), int64(len(dst))
	to := min(n, int64(len(old))-pos)
	if from >= to {
		return
	}
	src := old[pos+from : pos+to]
	dst = dst[from:to]
	for i, b := range src {
		dst[i] += b
	}
}
