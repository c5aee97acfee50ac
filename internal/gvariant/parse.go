package gvariant

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Parse returns data as a value of type typ. It takes normal form only, and keeps a reference to data.
func Parse(typ string, data []byte) (Value, error) {
	s, err := parseType(typ)
	if err != nil {
		return Value{}, err
	}
	if err := check(s, data, 0); err != nil {
		return Value{}, fmt.Errorf("reading a GVariant of type %.100s: %w", typ, err)
	}
	return Value{s.typ, data}, nil
}

var (
	errSize    = errors.New("wrong size")
	errOffset  = errors.New("framing offset out of place")
	errPadding = errors.New("padding is not zero")
	errText    = errors.New("text is not NUL-terminated UTF-8")
	errDepth   = errors.New("nested too deep")
	errBool    = errors.New("boolean is neither 0 nor 1")
)

// check verifies that data is the normal form of a value of the type t.
func check(t *shape, data []byte, depth int) error {
	if depth > maxDepth {
		return errDepth
	}
	switch t.typ[0] {
	case 's', 'o', 'g':
		return checkText(t.typ[0], data)
	case 'v':
		in, d, err := splitVariant(data)
		if err != nil {
			return err
		}
		return check(in, d, depth+1)
	case 'm':
		return checkMaybe(t.elem, data, depth)
	case 'a':
		return checkArray(t.elem, data, depth)
	case '(', '{':
		return checkStruct(t, data, depth)
	}
	if len(data) != t.size {
		return errSize
	}
	if t.typ[0] == 'b' && data[0] > 1 {
		return errBool
	}
	return nil
}

func checkText(kind byte, data []byte) error {
	n := len(data) - 1
	if n < 0 || data[n] != 0 || bytes.IndexByte(data[:n], 0) >= 0 || !utf8.Valid(data[:n]) {
		return errText
	}
	switch kind {
	case 'o':
		return checkObjectPath(string(data[:n]))
	case 'g':
		for s := string(data[:n]); s != ""; {
			k := nextType(s, 0)
			if k == 0 {
				return fmt.Errorf("%q is not a signature", s)
			}
			s = s[k:]
		}
	}
	return nil
}

func checkObjectPath(s string) error {
	if s == "/" {
		return nil
	}
	if !strings.HasPrefix(s, "/") {
		return fmt.Errorf("%q is not an object path", s)
	}
	for part := range strings.SplitSeq(s[1:], "/") {
		ok := part != ""
		for i := 0; i < len(part); i++ {
			c := part[i]
			ok = ok && (c == '_' || c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z')
		}
		if !ok {
			return fmt.Errorf("%q is not an object path", s)
		}
	}
	return nil
}

// splitVariant separates the child of a variant from its type, which follows the last NUL.
func splitVariant(data []byte) (*shape, []byte, error) {
	for i := len(data) - 1; i >= 0; i-- {
		if data[i] != 0 {
			continue
		}
		t, err := parseType(string(data[i+1:]))
		return t, data[:i:i], err
	}
	return nil, nil, errors.New("variant without a type")
}

func checkMaybe(elem *shape, data []byte, depth int) error {
	if len(data) == 0 {
		return nil
	}
	if elem.size > 0 {
		return check(elem, data, depth+1)
	}
	if data[len(data)-1] != 0 {
		return errPadding
	}
	return check(elem, data[:len(data)-1], depth+1)
}

func checkArray(elem *shape, data []byte, depth int) error {
	if len(data) == 0 || elem.typ == "y" {
		return nil
	}
	if elem.size > 0 {
		return checkFixedArray(elem, data, depth)
	}
	w := offsetSize(len(data))
	end := readOffset(data[len(data)-w:])
	if end > uint64(len(data)-w) || (len(data)-int(end))%w != 0 {
		return errOffset
	}
	table := data[end:]
	// A wider table than needed would be a second encoding of the same array.
	if n := len(table) / w; widthFor(int(end), n) != w {
		return errOffset
	}
	pos := 0
	for i := 0; i < len(table); i += w {
		start := alignUp(pos, elem.align)
		stop := readOffset(table[i : i+w])
		if stop > end || uint64(start) > stop {
			return errOffset
		}
		if !zero(data[pos:start]) {
			return errPadding
		}
		if err := check(elem, data[start:stop], depth+1); err != nil {
			return err
		}
		pos = int(stop)
	}
	return nil
}

func checkFixedArray(elem *shape, data []byte, depth int) error {
	size := elem.size
	if len(data)%size != 0 {
		return errSize
	}
	if strings.ContainsAny(elem.typ, "b({") {
		for i := 0; i < len(data); i += size {
			if err := check(elem, data[i:i+size], depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkStruct(t *shape, data []byte, depth int) error {
	if t.size > 0 && len(data) != t.size {
		return errSize
	}
	w := offsetSize(len(data))
	pos, tail := 0, len(data)
	for i, m := range t.members {
		start := alignUp(pos, m.align)
		stop := start + m.size
		switch {
		case m.size > 0:
		case i == len(t.members)-1:
			stop = tail
		default:
			tail -= w
			if tail < 0 || w == 0 {
				return errOffset
			}
			off := readOffset(data[tail : tail+w])
			if off > uint64(tail) {
				return errOffset
			}
			stop = int(off)
		}
		if start > stop || stop > tail {
			return errOffset
		}
		if !zero(data[pos:start]) {
			return errPadding
		}
		if err := check(m, data[start:stop], depth+1); err != nil {
			return err
		}
		pos = stop
	}
	if t.size > 0 {
		if !zero(data[pos:]) {
			return errPadding
		}
		return nil
	}
	if pos != tail {
		return errSize
	}
	if n := len(data) - tail; n > 0 && widthFor(tail, n/w) != w {
		return errOffset
	}
	return nil
}

func zero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
