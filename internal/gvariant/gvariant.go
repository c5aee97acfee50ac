// Package gvariant reads and writes GVariant serialisations, the encoding of every ostree object that is not file content.
//
// A [Value] is a type string and the bytes of its normal form. It is immutable: constructors copy what they are given,
// and nobody may write into the slices that accessors return. [Parse] accepts normal form only: objects are named by
// the digest of their bytes, so two encodings of one value must never both be taken. All offsets are checked against
// the data before they are used; no input makes this package panic or allocate more than a small multiple of its size.
//
// Integers are little-endian in memory and on disk, as on the machines that ostree runs on. The fields that ostree
// stores big-endian go through [BE32] and [BE64].
package gvariant

import (
	"encoding/binary"
	"math/bits"
)

// Value is one GVariant value in normal form. The zero Value is not valid; constructors and Parse make valid ones.
type Value struct {
	typ  string
	data []byte
}

// Type returns the type string, for example "a{sv}".
func (v Value) Type() string { return v.typ }

// Bytes returns the serialised form, which the caller must not change.
func (v Value) Bytes() []byte { return v.data }

// IsValid says whether v was made by a constructor or by Parse.
func (v Value) IsValid() bool { return v.typ != "" }

// BE32 swaps the bytes of x: what ostree stores big-endian in a field that GVariant holds little-endian.
func BE32(x uint32) uint32 { return bits.ReverseBytes32(x) }

// BE64 swaps the bytes of x, as BE32.
func BE64(x uint64) uint64 { return bits.ReverseBytes64(x) }

// String returns a value of type s. s must be UTF-8 without NUL; other bytes would not be normal form.
func String(s string) Value {
	return Value{"s", append([]byte(s), 0)}
}

// Bool returns a value of type b.
func Bool(b bool) Value {
	if b {
		return Value{"b", []byte{1}}
	}
	return Value{"b", []byte{0}}
}

// Byte returns a value of type y.
func Byte(b byte) Value { return Value{"y", []byte{b}} }

// Uint16 returns a value of type q.
func Uint16(x uint16) Value { return Value{"q", binary.LittleEndian.AppendUint16(nil, x)} }

// Int16 returns a value of type n.
func Int16(x int16) Value { return Value{"n", binary.LittleEndian.AppendUint16(nil, uint16(x))} }

// Uint32 returns a value of type u.
func Uint32(x uint32) Value { return Value{"u", binary.LittleEndian.AppendUint32(nil, x)} }

// Int32 returns a value of type i.
func Int32(x int32) Value { return Value{"i", binary.LittleEndian.AppendUint32(nil, uint32(x))} }

// Uint64 returns a value of type t.
func Uint64(x uint64) Value { return Value{"t", binary.LittleEndian.AppendUint64(nil, x)} }

// Int64 returns a value of type x.
func Int64(x int64) Value { return Value{"x", binary.LittleEndian.AppendUint64(nil, uint64(x))} }

// Bytes returns a value of type ay.
func Bytes(b []byte) Value { return Value{"ay", append([]byte{}, b...)} }

// Strings returns a value of type as.
func Strings(ss []string) Value {
	vals := make([]Value, len(ss))
	for i, s := range ss {
		vals[i] = String(s)
	}
	return Array("s", vals...)
}

// VariantOf wraps v in a value of type v.
func VariantOf(v Value) Value {
	data := make([]byte, 0, len(v.data)+1+len(v.typ))
	data = append(data, v.data...)
	data = append(data, 0)
	data = append(data, v.typ...)
	return Value{"v", data}
}

// Tuple returns a tuple of vals.
func Tuple(vals ...Value) Value {
	typ := "("
	for _, v := range vals {
		typ += v.typ
	}
	return Value{typ + ")", structBytes(vals)}
}

// DictEntry returns a dictionary entry; k must be of a basic type.
func DictEntry(k, v Value) Value {
	return Value{"{" + k.typ + v.typ + "}", structBytes([]Value{k, v})}
}

// Array returns an array of vals, each of type elem. An element of another type is a programming error and panics.
func Array(elem string, vals ...Value) Value {
	for _, v := range vals {
		if v.typ != elem {
			panic("gvariant: array of " + elem + " given a " + v.typ)
		}
	}
	return Value{"a" + elem, arrayBytes(elem, vals)}
}

// Maybe returns a value of type "m"+elem: nothing when v is nil.
func Maybe(elem string, v *Value) Value {
	if v == nil {
		return Value{"m" + elem, nil}
	}
	if v.typ != elem {
		panic("gvariant: maybe of " + elem + " given a " + v.typ)
	}
	if shapeOf(elem).size > 0 {
		return Value{"m" + elem, append([]byte{}, v.data...)}
	}
	return Value{"m" + elem, append(append([]byte{}, v.data...), 0)}
}
