package delta

import (
	"crypto/sha256"
	"encoding/binary"
)

const (
	// Chunks end where the low 13 bits of the rolling sum are set, so that they are 8 KiB on the average.
	rollWindow = 64
	rollOffset = 31
	chunkMask  = 1<<13 - 1
	maxChunk   = 32 << 10
)

// chunkEnd returns the length of the first chunk of data: the sum of bup over the last 64 bytes decides, so that the
// same content has the same borders wherever it stands.
func chunkEnd(data []byte) int {
	n := min(len(data), maxChunk)
	s1, s2 := uint32(rollWindow*rollOffset), uint32(rollWindow*(rollWindow-1)*rollOffset)
	for i := range n {
		var drop uint32
		if i >= rollWindow {
			drop = uint32(data[i-rollWindow])
		}
		s1 += uint32(data[i]) - drop
		s2 += s1 - rollWindow*(drop+rollOffset)
		if s2&chunkMask == chunkMask && i+1 >= rollWindow {
			return i + 1
		}
	}
	return n
}

// run is n bytes of a new file: those at off in the old one, or in the new one itself when copied is false.
type run struct {
	copied bool
	off, n int
}

// copyRuns describes new as bytes of old and bytes of its own, and says how many of them are copied.
func copyRuns(old, new []byte) ([]run, int) {
	type key [16]byte
	sum := func(b []byte) (k key) {
		full := sha256.Sum256(b)
		copy(k[:], full[:])
		return k
	}
	chunks := map[key]int{}
	for at := 0; at < len(old); {
		n := chunkEnd(old[at:])
		k := sum(old[at : at+n])
		if _, double := chunks[k]; !double {
			chunks[k] = at
		}
		at += n
	}
	var runs []run
	own, copied := 0, 0 // new[own:at] is not matched yet
	for at := 0; at < len(new); {
		n := chunkEnd(new[at:])
		from, ok := chunks[sum(new[at:at+n])]
		if !ok {
			at += n
			continue
		}
		// What is equal around the chunk belongs to it.
		back := 0
		for at-back > own && from-back > 0 && new[at-back-1] == old[from-back-1] {
			back++
		}
		n += commonPrefix(new[at+n:], old[from+n:])
		if own < at-back {
			runs = append(runs, run{false, own, at - back - own})
		}
		runs = append(runs, run{true, from - back, n + back})
		copied += n + back
		at += n
		own = at
	}
	if own < len(new) {
		runs = append(runs, run{false, own, len(new) - own})
	}
	return runs, copied
}

// appendUvarints appends numbers in the form that operations have them.
func appendUvarints(b []byte, xs ...int) []byte {
	for _, x := range xs {
		b = binary.AppendUvarint(b, uint64(x))
	}
	return b
}
