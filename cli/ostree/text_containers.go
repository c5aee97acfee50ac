package ostree

import (
	"errors"
	"fmt"
	"strings"

	"photree/internal/gvariant"
)

// take skips space and then a character that must come, or says that it does not.
func (p *textParser) take(c string) bool {
	p.rest = strings.TrimLeft(p.rest, " \t\n")
	if !strings.HasPrefix(p.rest, c) {
		return false
	}
	p.rest = p.rest[len(c):]
	return true
}

// variant takes <VALUE>.
func (p *textParser) variant() (gvariant.Value, error) {
	p.rest = p.rest[1:]
	v, err := p.value("")
	if err == nil && !p.take(">") {
		err = errors.New("a '>' is missing behind a variant")
	}
	if err != nil {
		return v, err
	}
	return gvariant.VariantOf(v), nil
}

// dict takes {KEY: VALUE, ...}; typ is its type, or "" when the first entry gives it.
func (p *textParser) dict(typ string) (gvariant.Value, error) {
	key, elem := "", ""
	if typ != "" {
		if len(typ) < 5 || !strings.HasPrefix(typ, "a{") {
			return gvariant.Value{}, fmt.Errorf("a dictionary is not of type %s", typ)
		}
		key, elem = typ[2:3], typ[3:len(typ)-1]
	}
	p.rest = p.rest[1:]
	var entries []gvariant.Value
	for !p.take("}") {
		if len(entries) > 0 && !p.take(",") {
			return gvariant.Value{}, errors.New("a ',' or '}' is missing in a dictionary")
		}
		k, err := p.value(key)
		if err != nil {
			return k, err
		}
		if !p.take(":") {
			return k, errors.New("a ':' is missing in a dictionary")
		}
		v, err := p.value(elem)
		if err != nil {
			return v, err
		}
		if key == "" {
			key, elem = k.Type(), v.Type()
		}
		if k.Type() != key || v.Type() != elem {
			return v, errors.New("the entries of a dictionary must have one type")
		}
		entries = append(entries, gvariant.DictEntry(k, v))
	}
	if key == "" {
		return gvariant.Value{}, errors.New("an empty dictionary needs its type: @a{sv} {}")
	}
	return gvariant.Array("{"+key+elem+"}", entries...), nil
}

// tuple takes (VALUE, ...); with typ, each value must have the type that it has there.
func (p *textParser) tuple(typ string) (gvariant.Value, error) {
	p.rest = p.rest[1:]
	var vals []gvariant.Value
	for !p.take(")") {
		if len(vals) > 0 && !p.take(",") {
			return gvariant.Value{}, errors.New("a ',' or ')' is missing in a tuple")
		}
		if len(vals) == 1 && p.take(")") { // (1,) is a tuple of one
			break
		}
		v, err := p.value("")
		if err != nil {
			return v, err
		}
		vals = append(vals, v)
	}
	v := gvariant.Tuple(vals...)
	if typ != "" && v.Type() != typ {
		return v, fmt.Errorf("a tuple of type %s is not of type %s", v.Type(), typ)
	}
	return v, nil
}
