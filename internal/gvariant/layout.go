package gvariant

import (
	"fmt"
	"strings"
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

// CheckType says whether typ is one complete, definite GVariant type.
func CheckType(typ string) error {
	if n := nextType(typ, 0); n == 0 || n != len(typ) {
		return fmt.Errorf("%q is not a GVariant type", typ)
	}
	return nil
}

// members splits the inside of a tuple or dictionary entry type into its member types.
func members(typ string) []string {
	in := typ[1 : len(typ)-1]
	var out []string
	for in != "" {
		n := nextType(in, 0)
		out = append(out, in[:n])
		in = in[n:]
	}
	return out
}

// layout returns the alignment of a valid type and its fixed size, which is 0 for types of variable size.
func layout(typ string) (align, size int) {
	switch typ[0] {
	case 'b', 'y':
		return 1, 1
	case 'n', 'q':
		return 2, 2
	case 'i', 'u', 'h':
		return 4, 4
	case 'x', 't', 'd':
		return 8, 8
	case 'v':
		return 8, 0
	case 'a', 'm':
		a, _ := layout(typ[1:])
		return a, 0
	case '(', '{':
		return structLayout(members(typ))
	}
	return 1, 0 // s, o, g
}

func structLayout(types []string) (align, size int) {
	align = 1
	fixed := true
	for _, t := range types {
		a, s := layout(t)
		align = max(align, a)
		if s == 0 {
			fixed = false
		}
		size = alignUp(size, a) + s
	}
	if !fixed {
		return align, 0
	}
	if len(types) == 0 {
		return 1, 1 // the unit tuple is one zero byte
	}
	return align, alignUp(size, align)
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
		a, s := layout(v.typ)
		align = max(align, a)
		b = append(pad(b, a), v.data...)
		if s == 0 {
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
	a, s := layout(elem)
	n := 0
	for _, v := range vals {
		n += alignUp(len(v.data), a)
	}
	b := make([]byte, 0, n+n/8)
	ends := make([]int, 0, len(vals))
	for _, v := range vals {
		b = append(pad(b, a), v.data...)
		ends = append(ends, len(b))
	}
	if s > 0 {
		return b
	}
	w := widthFor(len(b), len(ends))
	for _, e := range ends {
		b = appendOffset(b, e, w)
	}
	return b
}
