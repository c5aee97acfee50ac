package delta

import (
	"encoding/binary"
	"math/bits"
	"sync"
)

const (
	// newWindow is how much of a new file is matched at once, and oldMargin how much of the old one is looked at before
	// and behind the same place: so memory does not grow with the files. What moved further is found by no patch.
	newWindow = 4 << 20
	oldMargin = 2 << 20
)

// patchWriter makes the patch from old to new: see patchReader for its form. The search for what is similar follows
// Colin Percival's "Naive Differences of Executable Code": an exact match is extended in both directions as long as
// more than half of the bytes agree, because moved code differs only in the addresses within it.
type patchWriter struct {
	old, new []byte
	out      []byte

	// The piece that is being collected: new[from:] matches old at from+shift.
	from  int
	shift int
}

// makePatch returns the patch, or false when it would be longer than limit.
func makePatch(old, new []byte, limit int) ([]byte, bool) {
	w := &patchWriter{old: old, new: new, out: make([]byte, 0, min(limit, len(new)+len(new)/64+256))}
	for at := 0; at < len(new); at += newWindow {
		if len(w.out) > limit {
			return nil, false
		}
		w.window(at, min(at+newWindow, len(new)))
	}
	w.flush(len(new), 0, true)
	return w.out, len(w.out) <= limit
}

// window matches new[begin:end].
func (w *patchWriter) window(begin, end int) {
	lo := max(begin-oldMargin, 0)
	hi := min(end+oldMargin, len(w.old))
	if lo >= hi {
		lo, hi = 0, min(len(w.old), newWindow+2*oldMargin)
	}
	// What simply goes on needs no search. Whole files that only grew need none at all.
	scan, length, pos, score := begin+w.goesOn(begin, end), 0, 0, 0
	if scan == end || len(w.old) == 0 {
		return
	}
	old := w.old[lo:hi]
	sa := suffixArrays.Get().(*[]int32)
	defer suffixArrays.Put(sa)
	*sa = sortSuffixes(*sa, old)
	m := newMatcher(old, *sa)
	for scan < end {
		scan += length
		score, length = 0, 0
		for counted := scan; scan < end; scan++ {
			pos, length = m.longest(w.new[scan:end])
			for ; counted < scan+length; counted++ {
				if w.agrees(counted) {
					score++
				}
			}
			if length == score && length > 0 || length > score+8 {
				break
			}
			if w.agrees(scan) {
				score--
			}
		}
		if length != score && scan < end {
			w.flush(scan, lo+pos-scan, false)
		}
	}
}

// goesOn returns how much of new[begin:end] is just what the current piece expects.
func (w *patchWriter) goesOn(begin, end int) int {
	at := begin + w.shift
	if at < 0 || at >= len(w.old) {
		return 0
	}
	return commonPrefix(w.new[begin:end], w.old[at:])
}

// suffixArrays are kept for the next file: they are the largest things there are, and short-lived.
var suffixArrays = sync.Pool{New: func() any { return new([]int32) }}

// agrees says whether new[i] is what the current piece expects there.
func (w *patchWriter) agrees(i int) bool {
	j := i + w.shift
	return j >= 0 && j < len(w.old) && w.old[j] == w.new[i]
}

// flush writes the current piece, which ends somewhere before next, where one with another shift begins.
func (w *patchWriter) flush(next, shift int, last bool) {
	forward := w.extendForward(next)
	back := 0
	if !last {
		back = w.extendBack(next, shift)
	}
	if over := w.from + forward - (next - back); over > 0 {
		keep := w.splitOverlap(next-back, over, shift)
		forward += keep - over
		back -= keep
	}
	begin, oldAt := w.from, w.from+w.shift
	extra := w.new[begin+forward : next-back]
	w.out = putPatchInt(w.out, int64(forward))
	w.out = putPatchInt(w.out, int64(len(extra)))
	seek := 0
	if !last {
		seek = (next - back + shift) - (oldAt + forward)
	}
	w.out = putPatchInt(w.out, int64(seek))
	at := len(w.out)
	w.out = append(w.out, w.new[begin:begin+forward]...)
	for i, b := range w.old[oldAt : oldAt+forward] {
		w.out[at+i] -= b
	}
	w.out = append(w.out, extra...)
	w.from, w.shift = next-back, shift
}

// extendForward returns how long the piece goes on with more agreement than not.
func (w *patchWriter) extendForward(next int) int {
	n := min(next-w.from, len(w.old)-(w.from+w.shift))
	if n <= 0 {
		return 0
	}
	old, new := w.old[w.from+w.shift:][:n], w.new[w.from:][:n]
	best, length, sum := 0, 0, 0
	for i := range n {
		if old[i] == new[i] {
			sum++
		}
		if 2*sum-(i+1) > best {
			best, length = 2*sum-(i+1), i+1
		}
	}
	return length
}

// extendBack returns how long before next the next piece should begin.
func (w *patchWriter) extendBack(next, shift int) int {
	best, length, sum := 0, 0, 0
	for i := 1; next-i >= w.from && next-i+shift >= 0; i++ {
		if j := next - i + shift; j < len(w.old) && w.old[j] == w.new[next-i] {
			sum++
		}
		if 2*sum-i > best {
			best, length = 2*sum-i, i
		}
	}
	return length
}

// splitOverlap finds where to cut what both pieces could cover: how much of it stays with the first.
func (w *patchWriter) splitOverlap(start, n, shift int) int {
	best, keep, sum := 0, 0, 0
	for i := range n {
		if w.agrees(start + i) {
			sum++
		}
		if j := start + i + shift; j >= 0 && j < len(w.old) && w.old[j] == w.new[start+i] {
			sum--
		}
		if sum > best {
			best, keep = sum, i+1
		}
	}
	return keep
}

// matcher finds the longest matches of a text in old.
type matcher struct {
	old   []byte
	sa    []int32
	begin []int32 // where the suffixes that begin with two bytes begin in sa
}

// newMatcher makes a matcher. Most of a binary search are its first steps, all over memory: a table of the first two
// bytes spares them.
func newMatcher(old []byte, sa []int32) *matcher {
	m := &matcher{old: old, sa: sa, begin: make([]int32, 1<<16+1)}
	for i := 1; i < len(old); i++ {
		m.begin[int(old[i-1])<<8|int(old[i])]++
	}
	last := int(old[len(old)-1]) << 8
	sum := int32(0)
	for i, n := range m.begin {
		if i == last {
			sum++ // the suffix of one byte comes before those that go on
		}
		m.begin[i] = sum
		sum += n
	}
	return m
}

// longest returns where in old the longest beginning of text stands, and how long it is; fewer than two bytes are none.
func (m *matcher) longest(text []byte) (pos, length int) {
	if len(text) < 2 {
		return 0, 0
	}
	key := int(text[0])<<8 | int(text[1])
	lo, hi := int(m.begin[key]), int(m.begin[key+1])-1
	if key&0xff == 0xff && key>>8+1 == int(m.old[len(m.old)-1]) {
		hi-- // the suffix of one byte, which begins with the next
	}
	if lo > hi {
		return 0, 0
	}
	// What all between lo and hi have in common with text need not be compared again.
	a, b := commonPrefix(m.old[m.sa[lo]:], text), commonPrefix(m.old[m.sa[hi]:], text)
	for hi-lo > 1 {
		mid := int(uint(lo+hi) / 2)
		suffix := m.old[m.sa[mid]:]
		n := min(a, b)
		n += commonPrefix(suffix[n:], text[n:])
		if n < len(text) && (n == len(suffix) || suffix[n] < text[n]) {
			lo, a = mid, n
		} else {
			hi, b = mid, n
		}
	}
	if a > b {
		return int(m.sa[lo]), a
	}
	return int(m.sa[hi]), b
}

// commonPrefix returns how long two texts are equal.
func commonPrefix(a, b []byte) int {
	n := min(len(a), len(b))
	a, b = a[:n], b[:n]
	i := 0
	for ; i+8 <= n; i += 8 {
		if x := binary.LittleEndian.Uint64(a[i:]) ^ binary.LittleEndian.Uint64(b[i:]); x != 0 {
			return i + bits.TrailingZeros64(x)/8
		}
	}
	for i < n && a[i] == b[i] {
		i++
	}
	return i
}
