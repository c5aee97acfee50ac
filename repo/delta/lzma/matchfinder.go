package lzma

import (
	"encoding/binary"
	"math/bits"
	"sync"
)

const (
	minMatch = 2
	maxMatch = 273
)

// match is len bytes that stand dist+1 bytes before.
type match struct{ len, dist uint32 }

// matchFinder finds earlier occurrences of what comes next, in binary trees that are sorted by what follows and hang by
// a hash of the first four bytes. Every position has to be passed to find or skip once, in order.
type matchFinder struct {
	data                []byte
	pos                 int
	hash2, hash3, hash4 []int32 // position + 1, 0 when there is none
	shift4              uint
	son                 []int32
	cyclic              int // how far back matches may be
	cyclicPos           int
	nice                int // matches of this length are long enough
	depth               int
	found               []match
	buf                 *[]int32
}

// tables are kept for the next part: they are large.
var tables = sync.Pool{New: func() any { return new([]int32) }}

func newMatchFinder(data []byte, dict, nice, depth int) *matchFinder {
	bits4 := uint(max(16, min(22, bits.Len(uint(len(data))))))
	cyclic := min(dict, len(data)+1)
	n := 2<<16 + 1<<bits4 + 2*cyclic
	buf := tables.Get().(*[]int32)
	if cap(*buf) < n {
		*buf = make([]int32, n)
	}
	t := (*buf)[:n]
	clear(t[:n-2*cyclic]) // the trees are reached by what is here only
	return &matchFinder{data: data, buf: buf, hash2: t[:1<<16], hash3: t[1<<16 : 2<<16], hash4: t[2<<16 : n-2*cyclic],
		shift4: 32 - bits4, son: t[n-2*cyclic:], cyclic: cyclic, nice: nice, depth: depth}
}

// close gives the tables back.
func (f *matchFinder) close() { tables.Put(f.buf) }

func (f *matchFinder) step() {
	f.pos++
	if f.cyclicPos++; f.cyclicPos == f.cyclic {
		f.cyclicPos = 0
	}
}

// heads looks up and replaces the last positions with the same two, three and four bytes.
func (f *matchFinder) heads() (h2, h3, h4 int32) {
	v := binary.LittleEndian.Uint32(f.data[f.pos:])
	p2 := &f.hash2[v&0xffff]
	p3 := &f.hash3[v<<8*506832829>>16]
	p4 := &f.hash4[v*2654435761>>f.shift4]
	h2, h3, h4 = *p2, *p3, *p4
	now := int32(f.pos + 1)
	*p2, *p3, *p4 = now, now, now
	return h2, h3, h4
}

// find returns the matches at the next position, each longer and farther than the one before.
func (f *matchFinder) find() []match {
	f.found = f.found[:0]
	limit := min(len(f.data)-f.pos, f.nice)
	if limit < 4 {
		f.step()
		return nil
	}
	h2, h3, h4 := f.heads()
	best := 1
	for i, h := range [2]int32{h2, h3} {
		delta := f.pos - int(h) + 1
		if h == 0 || delta >= f.cyclic {
			continue
		}
		n := commonLength(f.data[f.pos-delta:], f.data[f.pos:], limit)
		if n > best && n >= i+2 {
			best = n
			f.found = append(f.found, match{uint32(n), uint32(delta - 1)})
		}
	}
	if best == limit {
		f.insert(h4, limit, limit)
	} else {
		f.insert(h4, limit, max(best, 3))
	}
	f.step()
	return f.found
}

// skip passes over n positions.
func (f *matchFinder) skip(n int) {
	for range n {
		limit := min(len(f.data)-f.pos, f.nice)
		if limit >= 4 {
			_, _, h4 := f.heads()
			f.insert(h4, limit, limit)
		}
		f.step()
	}
}

// insert makes the position the root of the tree that hung at head, and notes the matches longer than best on the way.
func (f *matchFinder) insert(head int32, limit, best int) {
	data, son := f.data, f.son
	cur := int(head) - 1
	ptr0, ptr1 := f.cyclicPos<<1+1, f.cyclicPos<<1
	len0, len1 := 0, 0
	here := data[f.pos : f.pos+limit]
	for depth := f.depth; ; depth-- {
		delta := f.pos - cur
		if cur < 0 || depth == 0 || delta >= f.cyclic {
			son[ptr0], son[ptr1] = 0, 0
			return
		}
		at := f.cyclicPos - delta
		if at < 0 {
			at += f.cyclic
		}
		pair := at << 1
		n := min(len0, len1)
		there := data[cur : cur+limit]
		if there[n] == here[n] {
			n += commonLength(there[n:], here[n:], limit-n)
			if n > best {
				best = n
				f.found = append(f.found, match{uint32(n), uint32(delta - 1)})
			}
			if n == limit {
				son[ptr1], son[ptr0] = son[pair], son[pair+1]
				return
			}
		}
		if there[n] < here[n] {
			son[ptr1] = int32(cur + 1)
			ptr1 = pair + 1
			cur = int(son[ptr1]) - 1
			len1 = n
		} else {
			son[ptr0] = int32(cur + 1)
			ptr0 = pair
			cur = int(son[ptr0]) - 1
			len0 = n
		}
	}
}

// commonLength returns how many of the first limit bytes are equal.
func commonLength(a, b []byte, limit int) int {
	a, b = a[:limit], b[:limit]
	i := 0
	for ; i+8 <= limit; i += 8 {
		if x := binary.LittleEndian.Uint64(a[i:]) ^ binary.LittleEndian.Uint64(b[i:]); x != 0 {
			return i + bits.TrailingZeros64(x)>>3
		}
	}
	for i < limit && a[i] == b[i] {
		i++
	}
	return i
}
