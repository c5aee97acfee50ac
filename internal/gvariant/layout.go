package gvariant

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
)

// maxDepth bounds how deep types and variants may nest, so that hostile input cannot exhaust the stack. GLib's own
// limit is 128.
const maxDepth = 64

// nextType returns the length of the first complete type in s, or 0 when there is none.
func nextType(s string, depth int) int {
	if s == "" || depth > maxDepth {
		return 0
	}
	switch s[0] {
	case 'b', 'y', 'n', 'q', 'i', 'u', 'x', 't', 'h', 'd', 's', 'o', 'g', 'v':
		return 1
	case 'a', 'm':
		if n := nextType(s[1:], depth+1); n > 0 {
			return n + 1
		}
	case '(':
		i := 1
		for i < len(s) && s[i] != ')' {
			n := nextType(s[i:], depth+1)
			if n == 0 {
				return 0
			}
			i += n
		}
		if i < len(s) {
			return i + 1
		}
	case '{':
		if len(s) < 2 || !strings.ContainsRune("bynqiuxthdsog", rune(s[1])) {
			return 0
		}
		if n := nextType(s[2:], depth+1); n > 0 && 2+n < len(s) && s[2+n] == '}' {
			return n + 3
		}
	}
	return 0
}

// maxTypeLength bounds type strings, which variants carry in their data: work on a value must stay within a small
// multiple of its size. D-Bus allows 255.
const maxTypeLength = 1024

// CheckType says whether typ is one complete, definite GVariant type.
func CheckType(typ string) error {
	_, err := parseType(typ)
	return err
}

// shape is a type that has been taken apart: its alignment, its fixed size (0 when it varies), and what it is made of.
type shape struct {
	typ         string
	align, size int
	elem        *shape   // of arrays and maybes
	members     []*shape // of tuples and dictionary entries
}

// shapes holds those in use. It stops growing at a bound, since types can come from outside.
var (
	shapes     sync.Map // string -> *shape
	shapeCount atomic.Int32
)

const maxShapes = 1024

func parseType(typ string) (*shape, error) {
	if s, ok := shapes.Load(typ); ok {
		return s.(*shape), nil
	}
	if n := nextType(typ, 0); n == 0 || n != len(typ) || n > maxTypeLength {
		return nil, fmt.Errorf("%.100q is not a GVariant type", typ)
	}
	s := makeShape(strings.Clone(typ))
	if shapeCount.Load() < maxShapes {
		if _, double := shapes.LoadOrStore(s.typ, s); !double {
			shapeCount.Add(1)
		}
	}
	return s, nil
}

// shapeOf is parseType for a type that is known to be valid.
func shapeOf(typ string) *shape {
	s, err := parseType(typ)
	if err != nil {
		panic("gvariant: " + err.Error())
	}
	return s
}

func makeShape(typ string) *shape {
	s := &shape{typ: typ, align: 1}
	switch typ[0] {
	case 'b', 'y':
		s.size = 1
	case 'n', 'q':
		s.align, s.size = 2, 2
	case 'i', 'u', 'h':
		s.align, s.size = 4, 4
	case 'x', 't', 'd':
		s.align, s.size = 8, 8
	case 'v':
		s.align = 8
	case 'a', 'm':
		s.elem = makeShape(typ[1:])
		s.align = s.elem.align
	case '(', '{':
		s.addMembers(typ[1 : len(typ)-1])
	}
	return s
}

func (s *shape) addMembers(in string) {
	fixed := true
	for in != "" {
		n := nextType(in, 0)
		m := makeShape(in[:n])
		in = in[n:]
		s.members = append(s.members, m)
		s.align = max(s.align, m.align)
		s.size = alignUp(s.size, m.align) + m.size
		fixed = fixed && m.size > 0
	}
	switch {
	case !fixed:
		s.size = 0
	case len(s.members) == 0:
		s.size = 1 // the unit tuple is one zero byte
	default:
		s.size = alignUp(s.size, s.align)
	}
}

func alignUp(n, a int) int { return (n + a - 1) &^ (a - 1) }

// offsetSize is the width of the framing offsets of a container of n bytes in all.
func offsetSize(n int) int {
	switch {
	case n > 0xffffffff:
		return 8
	case n > 0xffff:
		return 4
	case n > 0xff:
		return 2
	case n > 0:
		return 1
	}
	return 0
}

// widthFor is the width of count offsets behind a body of n bytes: the smallest that can address the whole.
func widthFor(n, count int) int {
	for _, w := range []int{1, 2, 4} {
		if offsetSize(n+count*w) <= w {
			return w
		}
	}
	return 8
}

func appendOffset(b []byte, x, width int) []byte {
	for range width {
		b = append(b, byte(x))
		x >>= 8
	}
	return b
}

func readOffset(b []byte) uint64 {
	var x uint64
	for i := len(b) - 1; i >= 0; i-- {
		x = x<<8 | uint64(b[i])
	}
	return x
}

func pad(b []byte, align int) []byte {
	for len(b)%align != 0 {
		b = append(b, 0)
	}
	return b
}

func structBytes(vals []Value) []byte {
	if len(vals) == 0 {
		return []byte{0}
	}
	n := 8
	for _, v := range vals {
		n += len(v.data) + 8
	}
	b := make([]byte, 0, n)
	var ends []int
	align, fixed := 1, true
	for i, v := range vals {
		s := shapeOf(v.typ)
		align = max(align, s.align)
		b = append(pad(b, s.align), v.data...)
		if s.size == 0 {
			fixed = false
			if i != len(vals)-1 {
				ends = append(ends, len(b))
			}
		}
	}
	if fixed {
		return pad(b, align)
	}
	w := widthFor(len(b), len(ends))
	for i := len(ends) - 1; i >= 0; i-- {
		b = appendOffset(b, ends[i], w)
	}
	return b
}

func arrayBytes(elem string, vals []Value) []byte {
	if len(vals) == 0 {
		return []byte{}
	}
	s := shapeOf(elem)
	n := 0
	for _, v := range vals {
		n += alignUp(len(v.data), s.align)
	}
	b := make([]byte, 0, n+n/8)
	ends := make([]int, 0, len(vals))
	for _, v := range vals {
		b = append(pad(b, s.align), v.data...)
		ends = append(ends, len(b))
	}
	if s.size > 0 {
		return b
	}
	w := widthFor(len(b), len(ends))
	for _, e := range ends {
		b = appendOffset(b, e, w)
	}
	return b
}
