package gvariant

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// FormatOptions are the choices of Format; the zero value is the text that ostree prints.
type FormatOptions struct {
	// NoTypes leaves the annotations out that say which of several types a text could have.
	NoTypes bool
}

// Format returns the text of v in GVariant's text format, as GLib prints it: bytes strings as b'...', a type before the
// first number of an array that is not an int32, "@as []" for an array without elements.
func Format(v Value, opts FormatOptions) string {
	var b strings.Builder
	format(&b, v, !opts.NoTypes)
	return b.String()
}

func format(b *strings.Builder, v Value, types bool) {
	switch v.typ[0] {
	case 'b':
		b.WriteString(strconv.FormatBool(v.Bool()))
	case 's':
		quote(b, v.Str())
	case 'o', 'g':
		if types {
			b.WriteString(map[byte]string{'o': "objectpath ", 'g': "signature "}[v.typ[0]])
		}
		quote(b, v.Str())
	case 'v':
		b.WriteByte('<')
		format(b, v.Variant(), true) // within a variant nothing else tells the type
		b.WriteByte('>')
	case 'm':
		formatMaybe(b, v, types)
	case 'a':
		formatArray(b, v, types)
	case '(':
		formatTuple(b, v, types)
	case '{':
		b.WriteByte('{')
		format(b, v.Index(0), types)
		b.WriteString(": ")
		format(b, v.Index(1), types)
		b.WriteByte('}')
	default:
		formatNumber(b, v, types)
	}
}

var numberPrefix = map[byte]string{'y': "byte ", 'n': "int16 ", 'q': "uint16 ", 'u': "uint32 ", 'x': "int64 ", 't': "uint64 ", 'h': "handle "}

func formatNumber(b *strings.Builder, v Value, types bool) {
	if types {
		b.WriteString(numberPrefix[v.typ[0]])
	}
	switch v.typ[0] {
	case 'y':
		fmt.Fprintf(b, "0x%02x", v.Byte())
	case 'n':
		fmt.Fprint(b, int16(v.Uint16()))
	case 'q':
		fmt.Fprint(b, v.Uint16())
	case 'i', 'h':
		fmt.Fprint(b, int32(v.Uint32()))
	case 'u':
		fmt.Fprint(b, v.Uint32())
	case 'x':
		fmt.Fprint(b, int64(v.Uint64()))
	case 't':
		fmt.Fprint(b, v.Uint64())
	case 'd':
		b.WriteString(formatFloat(v.Float64()))
	}
}

// formatFloat writes what C's %.17g does, with ".0" where that would look like a whole number.
func formatFloat(f float64) string {
	switch {
	case math.IsNaN(f):
		return "nan"
	case math.IsInf(f, 1):
		return "inf"
	case math.IsInf(f, -1):
		return "-inf"
	}
	s := strconv.FormatFloat(f, 'e', 16, 64)
	mant, exp, _ := strings.Cut(s, "e")
	e, _ := strconv.Atoi(exp)
	if e >= -4 && e < 17 {
		s = strconv.FormatFloat(f, 'f', 16-e, 64)
		if strings.Contains(s, ".") {
			s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
		}
	} else {
		if strings.Contains(mant, ".") {
			mant = strings.TrimRight(strings.TrimRight(mant, "0"), ".")
		}
		s = fmt.Sprintf("%se%+03d", mant, e)
	}
	if !strings.ContainsAny(s, ".en") {
		s += ".0"
	}
	return s
}

func formatMaybe(b *strings.Builder, v Value, types bool) {
	if types {
		b.WriteString("@" + v.typ + " ")
	}
	if v.Len() == 0 {
		b.WriteString("nothing")
		return
	}
	// Inner maybes need their depth spelt out unless a value is at the bottom.
	in := v.Index(0)
	for depth := "just "; ; depth += "just " {
		if in.typ[0] != 'm' {
			break
		}
		if in.Len() == 0 {
			b.WriteString(depth + "nothing")
			return
		}
		in = in.Index(0)
	}
	format(b, in, false)
}

func formatArray(b *strings.Builder, v Value, types bool) {
	if v.typ == "ay" && isText(v.data) {
		b.WriteString("b")
		quoteBytes(b, v.data[:len(v.data)-1])
		return
	}
	n := v.Len()
	if n == 0 {
		if types {
			b.WriteString("@" + v.typ + " ")
		}
		if v.typ[1] == '{' {
			b.WriteString("{}")
		} else {
			b.WriteString("[]")
		}
		return
	}
	if v.typ[1] == '{' {
		b.WriteByte('{')
		for i := range n {
			if i > 0 {
				b.WriteString(", ")
			}
			e := v.Index(i)
			format(b, e.Index(0), types)
			b.WriteString(": ")
			format(b, e.Index(1), types)
			types = false // the first entry told the types
		}
		b.WriteByte('}')
		return
	}
	b.WriteByte('[')
	for i := range n {
		if i > 0 {
			b.WriteString(", ")
		}
		format(b, v.Index(i), types)
		types = false
	}
	b.WriteByte(']')
}

func formatTuple(b *strings.Builder, v Value, types bool) {
	b.WriteByte('(')
	n := v.Len()
	for i := range n {
		if i > 0 {
			b.WriteString(", ")
		}
		format(b, v.Index(i), types)
	}
	if n == 1 {
		b.WriteByte(',')
	}
	b.WriteByte(')')
}

// isText says whether bytes are printed as a string: when they end in their only NUL.
func isText(data []byte) bool {
	n := len(data)
	return n > 0 && data[n-1] == 0 && strings.IndexByte(string(data[:n-1]), 0) < 0
}

// printable is what GLib prints as it is: all but controls, formatting marks and what is not assigned.
var printable = []*unicode.RangeTable{unicode.L, unicode.M, unicode.N, unicode.P, unicode.S, unicode.Z, unicode.Co}

var escapes = map[rune]string{'\a': `\a`, '\b': `\b`, '\f': `\f`, '\n': `\n`, '\r': `\r`, '\t': `\t`, '\v': `\v`, '\\': `\\`}

// quote writes text in single quotes, or in double quotes when it holds a single one.
func quote(b *strings.Builder, s string) {
	q := '\''
	if strings.ContainsRune(s, '\'') {
		q = '"'
	}
	b.WriteRune(q)
	for _, r := range s {
		switch e, ok := escapes[r]; {
		case r == q:
			b.WriteString(`\` + string(r))
		case ok:
			b.WriteString(e)
		case unicode.In(r, printable...):
			b.WriteRune(r)
		case r < 0x10000:
			fmt.Fprintf(b, `\u%04x`, r)
		default:
			fmt.Fprintf(b, `\U%08x`, r)
		}
	}
	b.WriteRune(q)
}

// quoteBytes writes bytes as C would escape them; what is not ASCII is octal.
func quoteBytes(b *strings.Builder, s []byte) {
	q := byte('\'')
	if strings.IndexByte(string(s), '\'') >= 0 {
		q = '"'
	}
	b.WriteByte(q)
	for _, c := range s {
		switch e, ok := escapes[rune(c)]; {
		case c == '"':
			b.WriteString(`\"`)
		case ok:
			b.WriteString(e)
		case c < ' ' || c >= utf8.RuneSelf || c == 0x7f:
			fmt.Fprintf(b, `\%03o`, c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte(q)
}

// Byteswap returns v with the bytes of every number reversed, as ostree shows objects whose numbers are big-endian.
func Byteswap(v Value) Value {
	out := append([]byte{}, v.data...)
	swap(v.typ, out)
	return Value{v.typ, out}
}

// swap reverses the numbers of a value in place: alignment and framing do not change.
func swap(typ string, data []byte) {
	switch typ[0] {
	case 'b', 'y', 's', 'o', 'g':
		return
	case 'v', 'm', 'a', '(', '{':
		v := Value{typ, data}
		if typ == "ay" || typ == "as" || typ == "aay" {
			return
		}
		if typ[0] == 'v' {
			in := v.Variant()
			swap(in.typ, in.data)
			return
		}
		for i := range v.Len() {
			c := v.Index(i)
			swap(c.typ, c.data)
		}
	default:
		for i, j := 0, len(data)-1; i < j; i, j = i+1, j-1 {
			data[i], data[j] = data[j], data[i]
		}
	}
}
