package gvariant

import (
	"encoding/binary"
	"fmt"
	"math"
)

// The accessors below may only be called on a value of the type they name; anything else is a programming error and
// panics, as does an index that is out of range.

func (v Value) must(types string) {
	for i := 0; i < len(types); i++ {
		if v.typ != "" && v.typ[0] == types[i] {
			return
		}
	}
	panic(fmt.Sprintf("gvariant: a value of type %q used as one of %q", v.typ, types))
}

// Str returns the text of a value of type s, o or g.
func (v Value) Str() string {
	v.must("sog")
	return string(v.data[:len(v.data)-1])
}

// Bool returns a value of type b.
func (v Value) Bool() bool { v.must("b"); return v.data[0] != 0 }

// Byte returns a value of type y.
func (v Value) Byte() byte { v.must("y"); return v.data[0] }

// Uint16 returns a value of type q or n.
func (v Value) Uint16() uint16 { v.must("qn"); return binary.LittleEndian.Uint16(v.data) }

// Uint32 returns a value of type u, i or h.
func (v Value) Uint32() uint32 { v.must("uih"); return binary.LittleEndian.Uint32(v.data) }

// Int32 returns a value of type i.
func (v Value) Int32() int32 { return int32(v.Uint32()) }

// Uint64 returns a value of type t or x.
func (v Value) Uint64() uint64 { v.must("tx"); return binary.LittleEndian.Uint64(v.data) }

// Int64 returns a value of type x.
func (v Value) Int64() int64 { return int64(v.Uint64()) }

// Float64 returns a value of type d.
func (v Value) Float64() float64 {
	v.must("d")
	return math.Float64frombits(binary.LittleEndian.Uint64(v.data))
}

// ByteSlice returns the bytes of a value of type ay. The caller must not change them.
func (v Value) ByteSlice() []byte {
	if v.typ != "ay" {
		panic("gvariant: a value of type " + v.typ + " used as ay")
	}
	return v.data
}

// Strv returns the elements of a value of type as.
func (v Value) Strv() []string {
	out := make([]string, v.Len())
	for i := range out {
		out[i] = v.Index(i).Str()
	}
	return out
}

// Variant returns what a value of type v holds.
func (v Value) Variant() Value {
	v.must("v")
	t, data, err := splitVariant(v.data)
	if err != nil {
		panic("gvariant: " + err.Error())
	}
	return Value{t.typ, data}
}

// Len returns the number of children of an array, tuple, dictionary entry or maybe.
func (v Value) Len() int {
	v.must("a({m")
	switch v.typ[0] {
	case 'm':
		return min(1, len(v.data))
	case '(', '{':
		return len(shapeOf(v.typ).members)
	}
	if len(v.data) == 0 {
		return 0
	}
	if size := shapeOf(v.typ).elem.size; size > 0 {
		return len(v.data) / size
	}
	w := offsetSize(len(v.data))
	end := int(readOffset(v.data[len(v.data)-w:]))
	return (len(v.data) - end) / w
}

// Index returns child i of an array, tuple, dictionary entry or maybe.
func (v Value) Index(i int) Value {
	if i < 0 || i >= v.Len() {
		panic(fmt.Sprintf("gvariant: index %d of %d", i, v.Len()))
	}
	switch v.typ[0] {
	case 'm':
		if shapeOf(v.typ).elem.size > 0 {
			return Value{v.typ[1:], v.data}
		}
		return Value{v.typ[1:], v.data[:len(v.data)-1]}
	case '(', '{':
		return structChild(v, i)
	}
	elem := shapeOf(v.typ).elem
	if s := elem.size; s > 0 {
		return Value{elem.typ, v.data[i*s : (i+1)*s : (i+1)*s]}
	}
	w := offsetSize(len(v.data))
	table := v.data[len(v.data)-w*v.Len():]
	start := 0
	if i > 0 {
		start = alignUp(int(readOffset(table[(i-1)*w:i*w])), elem.align)
	}
	end := int(readOffset(table[i*w : (i+1)*w]))
	return Value{elem.typ, v.data[start:end:end]}
}

func structChild(v Value, want int) Value {
	t := shapeOf(v.typ)
	w := offsetSize(len(v.data))
	pos, nth := 0, 0
	for i, m := range t.members[:want+1] {
		pos = alignUp(pos, m.align)
		end := pos + m.size
		if m.size == 0 && i == len(t.members)-1 {
			end = len(v.data) - nth*w
		} else if m.size == 0 {
			nth++
			at := len(v.data) - nth*w
			end = int(readOffset(v.data[at : at+w]))
		}
		if i == want {
			return Value{m.typ, v.data[pos:end:end]}
		}
		pos = end
	}
	panic("gvariant: no such member")
}

// Dict returns the entries of a value of type a{sv}, in order.
func (v Value) Dict() Dict {
	if v.typ != "a{sv}" {
		panic("gvariant: a value of type " + v.typ + " used as a{sv}")
	}
	n := v.Len()
	if n == 0 {
		return nil
	}
	d := make(Dict, n)
	for i := range d {
		e := v.Index(i)
		d[i] = Entry{e.Index(0).Str(), e.Index(1).Variant()}
	}
	return d
}

// Entry is one entry of a Dict; Value is what the variant holds, not the variant.
type Entry struct {
	Key   string
	Value Value
}

// Dict is a value of type a{sv} whose order is kept, because the order is part of the bytes and so of the checksum.
type Dict []Entry

// Value returns d as a value of type a{sv}.
func (d Dict) Value() Value {
	vals := make([]Value, len(d))
	for i, e := range d {
		vals[i] = DictEntry(String(e.Key), VariantOf(e.Value))
	}
	return Array("{sv}", vals...)
}

// Get returns the value of the first entry named key.
func (d Dict) Get(key string) (Value, bool) {
	for _, e := range d {
		if e.Key == key {
			return e.Value, true
		}
	}
	return Value{}, false
}

// GetString returns the text of key, or "" when it is missing or not of type s.
func (d Dict) GetString(key string) string {
	if v, ok := d.Get(key); ok && v.typ == "s" {
		return v.Str()
	}
	return ""
}

// Set replaces the value of key, or appends a new entry.
func (d *Dict) Set(key string, v Value) {
	for i := range *d {
		if (*d)[i].Key == key {
			(*d)[i].Value = v
			return
		}
	}
	*d = append(*d, Entry{key, v})
}

// Delete removes every entry named key.
func (d *Dict) Delete(key string) {
	out := (*d)[:0:0]
	for _, e := range *d {
		if e.Key != key {
			out = append(out, e)
		}
	}
	*d = out
}
