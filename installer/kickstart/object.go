package kickstart

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// reader collects what is wrong with a file, so that a user sees all of it.
type reader struct{ errs []error }

func (r *reader) errorf(format string, args ...any) {
	r.errs = append(r.errs, fmt.Errorf(format, args...))
}

// object is one object of the file. Reading a key uses it up; finish
// complains about keys that nobody read.
type object struct {
	r    *reader
	path string // "disks.default."
	m    map[string]any
}

func (o object) has(key string) bool { _, ok := o.m[key]; return ok }

func (o object) use(key string) bool {
	ok := o.has(key)
	delete(o.m, key)
	return ok
}

func (o object) finish() {
	keys := make([]string, 0, len(o.m))
	for key := range o.m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		o.r.errorf("unknown key %q", o.path+key)
	}
}

func (o object) wrong(key, want string, got any) {
	o.r.errorf("key %q: want %s, got %s", o.path+key, want, kind(got))
}

func kind(v any) string {
	switch v.(type) {
	case string:
		return "a string"
	case bool:
		return "true or false"
	case map[string]any:
		return "an object"
	case []any:
		return "a list"
	case nil:
		return "nothing"
	}
	return "a number"
}

func (o object) text(key string) string {
	v := o.m[key]
	if !o.use(key) {
		return ""
	}
	s, ok := v.(string)
	if !ok {
		o.wrong(key, "a string", v)
	}
	return s
}

func (o object) oneOf(key string, values ...string) string {
	s := o.text(key)
	if s != "" && !slices.Contains(values, s) {
		o.r.errorf("key %q: %q is not one of %s", o.path+key, s, strings.Join(values, ", "))
	}
	return s
}

func (o object) boolean(key string) (value, set bool) {
	v := o.m[key]
	if !o.use(key) {
		return false, false
	}
	value, ok := v.(bool)
	if !ok {
		o.wrong(key, "true or false", v)
	}
	return value, ok
}

func (o object) number(key string) (value int64, set bool) {
	v := o.m[key]
	if !o.use(key) {
		return 0, false
	}
	switch n := v.(type) {
	case float64:
		if n == math.Trunc(n) && math.Abs(n) < 1<<40 {
			return int64(n), true
		}
	case int64:
		return n, true
	case uint64:
		if n < 1<<40 {
			return int64(n), true
		}
	}
	o.wrong(key, "a whole number", v)
	return 0, false
}

// scalar gives a string, or a number as it is written: an address or an id
// that YAML takes for a number.
func (o object) scalar(key string) string {
	switch v := o.m[key].(type) {
	case float64, int64, uint64:
		o.use(key)
		return fmt.Sprint(v)
	}
	return o.text(key)
}

// texts reads a list of strings; one string stands for a list of one.
func (o object) texts(key string) []string {
	v := o.m[key]
	if !o.use(key) {
		return nil
	}
	if s, ok := v.(string); ok {
		return []string{s}
	}
	list, ok := v.([]any)
	if !ok {
		o.wrong(key, "a list of strings", v)
	}
	var out []string
	for i, e := range list {
		s, ok := e.(string)
		if !ok {
			o.wrong(fmt.Sprintf("%s[%d]", key, i), "a string", e)
		}
		out = append(out, s)
	}
	return out
}

// words reads a list of strings, or a string of words.
func (o object) words(key string) []string {
	if s, ok := o.m[key].(string); ok {
		o.use(key)
		return strings.Fields(s)
	}
	return o.texts(key)
}

func (o object) object(key string) (object, bool) {
	v := o.m[key]
	if !o.use(key) {
		return object{}, false
	}
	m, ok := v.(map[string]any)
	if !ok {
		o.wrong(key, "an object", v)
	}
	return object{o.r, o.path + key + ".", m}, ok
}

func (o object) objects(key string) []object {
	v := o.m[key]
	if !o.use(key) {
		return nil
	}
	list, ok := v.([]any)
	if !ok {
		o.wrong(key, "a list of objects", v)
	}
	var out []object
	for i, e := range list {
		at := fmt.Sprintf("%s[%d]", key, i)
		m, ok := e.(map[string]any)
		if !ok {
			o.wrong(at, "an object", e)
			continue
		}
		out = append(out, object{o.r, o.path + at + ".", m})
	}
	return out
}
