package gvariant

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Parse returns data as a value of type typ. It takes normal form only, and keeps a reference to data.
func Parse(typ string, data []byte) (Value, error) {
	if err := CheckType(typ); err != nil {
		return Value{}, err
	}
	if err := check(typ, data, 0); err != nil {
		return Value{}, fmt.Errorf("reading a GVariant of type %s: %w", typ, err)
	}
	return Value{typ, data}, nil
}

var (
	errSize    = errors.New("wrong size")
	errOffset  = errors.New("framing offset out of place")
	errPadding = errors.New("padding is not zero")
	errText    = errors.New("text is not NUL-terminated UTF-8")
	errDepth   = errors.New("nested too deep")
	errBool    = errors.New("boolean is neither 0 nor 1")
)

// check verifies that data is the normal form of a value of the valid type typ.
func check(typ string, data []byte, depth int) error {
	if depth > maxDepth {
		return errDepth
	}
	switch typ[0] {
	case 's', 'o', 'g':
		return checkText(typ[0], data)
	case 'v':
		t, d, err := splitVariant(data)
		if err != nil {
			return err
		}
		return check(t, d, depth+1)
	case 'm':
		return checkMaybe(typ[1:], data, depth)
	case 'a':
		return checkArray(typ[1:], data, depth)
	case '(', '{':
		return checkStruct(typ, data, depth)
	}
	if _, s := layout(typ); len(data) != s {
		return errSize
	}
	if typ[0] == 'b' && data[0] > 1 {
		return errBool
	}
	return nil
}

func checkText(kind byte, data []byte) error {
	n := len(data) - 1
	if n < 0 || data[n] != 0 || strings.IndexByte(string(data[:n]), 0) >= 0 || !utf8.Valid(data[:n]) {
		return errText
	}
	s := string(data[:n])
	switch kind {
	case 'o':
		return checkObjectPath(s)
	case 'g':
		for s != "" {
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
func splitVariant(data []byte) (string, []byte, error) {
	for i := len(data) - 1; i >= 0; i-- {
		if data[i] != 0 {
			continue
		}
		typ := string(data[i+1:])
		if err := CheckType(typ); err != nil {
			return "", nil, err
		}
		return typ, data[:i:i], nil
	}
	return "", nil, errors.New("variant without a type")
}

func checkMaybe(elem string, data []byte, depth int) error {
	if len(data) == 0 {
		return nil
	}
	if _, s := layout(elem); s > 0 {
		return check(elem, data, depth+1)
	}
	if data[len(data)-1] != 0 {
		return errPadding
	}
	return check(elem, data[:len(data)-1], depth+1)
}

func checkArray(elem string, data []byte, depth int) error {
	if len(data) == 0 || elem == "y" {
		return nil
	}
	a, s := layout(elem)
	if s > 0 {
		return checkFixedArray(elem, s, data, depth)
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
		start := alignUp(pos, a)
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

func checkFixedArray(elem string, size int, data []byte, depth int) error {
	if len(data)%size != 0 {
		return errSize
	}
	if strings.ContainsAny(elem, "b({") {
		for i := 0; i < len(data); i += size {
			if err := check(elem, data[i:i+size], depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkStruct(typ string, data []byte, depth int) error {
	types := members(typ)
	_, fixed := layout(typ)
	if fixed > 0 && len(data) != fixed {
		return errSize
	}
	w := offsetSize(len(data))
	pos, tail := 0, len(data)
	for i, t := range types {
		a, s := layout(t)
		start := alignUp(pos, a)
		stop := start + s
		if s == 0 {
			if i == len(types)-1 {
				stop = tail
			} else {
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
		}
		if start > stop || stop > tail {
			return errOffset
		}
		if !zero(data[pos:start]) {
			return errPadding
		}
		if err := check(t, data[start:stop], depth+1); err != nil {
			return err
		}
		pos = stop
	}
	if fixed > 0 {
		if !zero(data[pos:]) {
			return errPadding
		}
		return nil
	}
	if pos != tail {
		return errSize
	}
	if n := (len(data) - tail); n > 0 && widthFor(tail, n/w) != w {
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
