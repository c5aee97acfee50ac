package ostree

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"photree/internal/gvariant"
)

// formatText prints a value as GVariant text; typed says whether a number names its type.
func formatText(v gvariant.Value, typed bool) string {
	return gvariant.Format(v, gvariant.FormatOptions{NoTypes: !typed})
}

// parseText reads a value that --add-metadata and `summary -m` were given in GVariant text: a string, true or false, a
// number (with its type before it if that is not int32), a byte string b'…', or an array […], a dictionary {…: …}, a tuple
// (…) or a variant <…> of these. An empty array or dictionary needs its type before it: @as [], @a{sv} {}.
func parseText(text string) (gvariant.Value, error) {
	p := &textParser{rest: text}
	v, err := p.value("")
	if err == nil && strings.TrimSpace(p.rest) != "" {
		err = fmt.Errorf("unexpected %q behind the value", p.rest)
	}
	return v, err
}

type textParser struct{ rest string }

var numberTypes = map[string]string{"byte": "y", "int16": "n", "uint16": "q", "int32": "i", "uint32": "u",
	"int64": "x", "uint64": "t", "double": "d", "boolean": "b", "string": "s"}

// value reads one value; typ is the type that it must have, or "".
func (p *textParser) value(typ string) (gvariant.Value, error) {
	p.rest = strings.TrimLeft(p.rest, " \t\n")
	switch {
	case p.rest == "":
		return gvariant.Value{}, errors.New("a value is missing")
	case p.rest[0] == '@':
		name, rest, _ := strings.Cut(p.rest[1:], " ")
		if err := gvariant.CheckType(name); err != nil {
			return gvariant.Value{}, err
		}
		p.rest = rest
		return p.value(name)
	case p.rest[0] == '\'' || p.rest[0] == '"':
		s, err := p.quoted()
		if err == nil && typ != "" && typ != "s" {
			err = fmt.Errorf("'%s' is a string and not of type %s", s, typ)
		}
		return gvariant.String(s), err
	case strings.HasPrefix(p.rest, "b'") || strings.HasPrefix(p.rest, `b"`):
		p.rest = p.rest[1:]
		s, err := p.quoted()
		return gvariant.Bytes(append([]byte(s), 0)), err
	case p.rest[0] == '[':
		return p.array(typ)
	case p.rest[0] == '{':
		return p.dict(typ)
	case p.rest[0] == '<':
		return p.variant()
	case p.rest[0] == '(':
		return p.tuple(typ)
	}
	word := p.word()
	switch word {
	case "true", "false":
		return gvariant.Bool(word == "true"), nil
	case "":
		return gvariant.Value{}, fmt.Errorf("unexpected %q", p.rest)
	}
	if t, ok := numberTypes[word]; ok {
		return p.value(t)
	}
	return number(word, typ)
}

// word takes a word or a number.
func (p *textParser) word() string {
	end := strings.IndexFunc(p.rest, func(r rune) bool { return strings.ContainsRune(" \t\n,[]{}<>():", r) })
	if end < 0 {
		end = len(p.rest)
	}
	word := p.rest[:end]
	p.rest = p.rest[end:]
	return word
}

func number(word, typ string) (gvariant.Value, error) {
	if typ == "d" || typ == "" && strings.ContainsAny(word, ".") {
		f, err := strconv.ParseFloat(word, 64)
		if err != nil {
			return gvariant.Value{}, fmt.Errorf("%q is not a number", word)
		}
		return gvariant.Parse("d", gvariant.Uint64(math.Float64bits(f)).Bytes())
	}
	bits := map[string]int{"y": 8, "n": 16, "q": 16, "": 32, "i": 32, "u": 32, "x": 64, "t": 64}
	width, ok := bits[typ]
	if !ok {
		return gvariant.Value{}, fmt.Errorf("%q is not of type %s", word, typ)
	}
	switch typ {
	case "y", "q", "u", "t":
		n, err := strconv.ParseUint(word, 0, width)
		if err != nil {
			return gvariant.Value{}, fmt.Errorf("%q is not a number of type %s", word, typ)
		}
		return map[string]func(uint64) gvariant.Value{
			"y": func(n uint64) gvariant.Value { return gvariant.Byte(byte(n)) },
			"q": func(n uint64) gvariant.Value { return gvariant.Uint16(uint16(n)) },
			"u": func(n uint64) gvariant.Value { return gvariant.Uint32(uint32(n)) },
			"t": gvariant.Uint64,
		}[typ](n), nil
	}
	n, err := strconv.ParseInt(word, 0, width)
	if err != nil {
		return gvariant.Value{}, fmt.Errorf("%q is not a number, and text stands in quotes", word)
	}
	switch typ {
	case "n":
		return gvariant.Int16(int16(n)), nil
	case "x":
		return gvariant.Int64(n), nil
	}
	return gvariant.Int32(int32(n)), nil
}

// quoted takes a string with its quotes and resolves the escapes.
func (p *textParser) quoted() (string, error) {
	quote := p.rest[0]
	var b strings.Builder
	for i := 1; i < len(p.rest); i++ {
		switch c := p.rest[i]; c {
		case quote:
			p.rest = p.rest[i+1:]
			return b.String(), nil
		case '\\':
			if i++; i == len(p.rest) {
				return "", errors.New("a string has no end")
			}
			if e, ok := map[byte]byte{'n': '\n', 't': '\t', 'r': '\r', 'a': '\a', 'b': '\b', 'f': '\f', 'v': '\v'}[p.rest[i]]; ok {
				b.WriteByte(e)
			} else {
				b.WriteByte(p.rest[i])
			}
		default:
			b.WriteByte(c)
		}
	}
	return "", errors.New("a string has no end")
}

// array takes an array; its first element gives the type of the others.
func (p *textParser) array(typ string) (gvariant.Value, error) {
	elem := ""
	if typ != "" {
		if typ[0] != 'a' {
			return gvariant.Value{}, fmt.Errorf("an array is not of type %s", typ)
		}
		elem = typ[1:]
	}
	p.rest = p.rest[1:]
	var vals []gvariant.Value
	for {
		p.rest = strings.TrimLeft(p.rest, " \t\n")
		if strings.HasPrefix(p.rest, "]") {
			p.rest = p.rest[1:]
			break
		}
		if len(vals) > 0 {
			if !strings.HasPrefix(p.rest, ",") {
				return gvariant.Value{}, errors.New("a ',' or ']' is missing in an array")
			}
			p.rest = p.rest[1:]
		}
		v, err := p.value(elem)
		if err != nil {
			return v, err
		}
		if elem == "" {
			elem = v.Type()
		}
		vals = append(vals, v)
	}
	if elem == "" {
		return gvariant.Value{}, errors.New("an empty array needs its type: @as []")
	}
	for _, v := range vals {
		if v.Type() != elem {
			return v, errors.New("the elements of an array must have one type")
		}
	}
	return gvariant.Array(elem, vals...), nil
}
