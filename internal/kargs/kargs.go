// Package kargs handles kernel command lines: an ordered list of arguments,
// each a bare word or key=value, where double quotes protect spaces.
//
// Parse followed by String gives back the same arguments in the same order with
// their quotes. The package imports nothing, because the programs of early boot
// link it.
package kargs

// Arg is one argument as written, quotes included.
type Arg string

// Key returns the part before the first "=", without quotes.
func (a Arg) Key() string {
	k, _, _ := a.split()
	return k
}

// Value returns the part behind the first "=", without the quotes around it.
func (a Arg) Value() string {
	_, v, _ := a.split()
	return v
}

// HasValue reports whether the argument has a "=".
func (a Arg) HasValue() bool {
	_, _, ok := a.split()
	return ok
}

// split undoes quotes the way the kernel does: they may surround the whole
// argument ("key=a b") or the value (key="a b"). A boot loader may turn the
// second form into the first.
func (a Arg) split() (key, value string, ok bool) {
	s := unquote(string(a))
	for i := 0; i < len(s); i++ {
		if s[i] == '=' {
			return s[:i], unquote(s[i+1:]), true
		}
	}
	return s, "", false
}

func unquote(s string) string {
	if len(s) > 0 && s[0] == '"' {
		s = s[1:]
		if len(s) > 0 && s[len(s)-1] == '"' {
			s = s[:len(s)-1]
		}
	}
	return s
}

// List is a kernel command line.
type List []Arg

// Parse splits a command line at white space outside of double quotes.
func Parse(s string) List {
	var out List
	start, quoted := -1, false
	for i := 0; i <= len(s); i++ {
		end := i == len(s) || !quoted && isSpace(s[i])
		switch {
		case end && start >= 0:
			out = append(out, Arg(s[start:i]))
			start = -1
		case !end && start < 0:
			start = i
		}
		if i < len(s) && s[i] == '"' {
			quoted = !quoted
		}
	}
	return out
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

// String joins the arguments with single spaces.
func (l List) String() string {
	n := 0
	for _, a := range l {
		n += len(a) + 1
	}
	b := make([]byte, 0, n)
	for i, a := range l {
		if i > 0 {
			b = append(b, ' ')
		}
		b = append(b, a...)
	}
	return string(b)
}

// Strings returns the arguments as written.
func (l List) Strings() []string {
	out := make([]string, len(l))
	for i, a := range l {
		out[i] = string(a)
	}
	return out
}

// FromStrings makes a list of arguments that are split already.
func FromStrings(args []string) List {
	out := make(List, len(args))
	for i, a := range args {
		out[i] = Arg(a)
	}
	return out
}

// Lookup returns the last value of key, since later arguments override earlier
// ones for most of the kernel, and whether key is there at all.
func (l List) Lookup(key string) (value string, ok bool) {
	for i := len(l) - 1; i >= 0; i-- {
		if l[i].Key() == key {
			return l[i].Value(), true
		}
	}
	return "", false
}

// Get returns the last value of key, or "".
func (l List) Get(key string) string {
	v, _ := l.Lookup(key)
	return v
}

// All returns every value of key in order.
func (l List) All(key string) []string {
	var out []string
	for _, a := range l {
		if a.Key() == key {
			out = append(out, a.Value())
		}
	}
	return out
}

// Contains reports whether the very same argument is in the list.
func (l List) Contains(arg Arg) bool {
	for _, a := range l {
		if a.same(arg) {
			return true
		}
	}
	return false
}

func (a Arg) same(b Arg) bool {
	ka, va, oa := a.split()
	kb, vb, ob := b.split()
	return ka == kb && va == vb && oa == ob
}

// Append returns the list with the arguments of s at its end. s may hold
// several.
func (l List) Append(s string) List {
	return append(l.Clone(), Parse(s)...)
}

// AppendIfMissing appends only those arguments of s that are not in the list.
func (l List) AppendIfMissing(s string) List {
	out := l.Clone()
	for _, a := range Parse(s) {
		if !out.Contains(a) {
			out = append(out, a)
		}
	}
	return out
}

// Set makes each argument of s the only one of its key: the first one of that
// key is changed in place, further ones are removed, a missing one appended.
func (l List) Set(s string) List {
	out := l.Clone()
	for _, a := range Parse(s) {
		key, done := a.Key(), false
		kept := out[:0]
		for _, o := range out {
			switch {
			case o.Key() != key:
				kept = append(kept, o)
			case !done:
				kept, done = append(kept, a), true
			}
		}
		if !done {
			kept = append(kept, a)
		}
		out = kept
	}
	return out
}

// RemoveKeys returns the list without any argument of these keys.
func (l List) RemoveKeys(keys ...string) List {
	out := make(List, 0, len(l))
next:
	for _, a := range l {
		for _, k := range keys {
			if a.Key() == k {
				continue next
			}
		}
		out = append(out, a)
	}
	return out
}

// Clone returns a copy that shares no memory with l.
func (l List) Clone() List { return append(make(List, 0, len(l)+4), l...) }

// MissingError says that an argument to delete or replace is not in the list.
type MissingError struct{ Arg string }

func (e *MissingError) Error() string {
	return "no kernel argument \"" + e.Arg + "\" is set"
}

// AmbiguousError says that a bare key names several arguments, so that the
// caller must name the value too.
type AmbiguousError struct{ Key string }

func (e *AmbiguousError) Error() string {
	return "kernel argument \"" + e.Key + "\" is set several times: give " + e.Key + "=VALUE"
}

// Delete removes one argument: "key=value" the first one that is exactly that,
// "key" the only one of that key.
func (l List) Delete(s string) (List, error) {
	i, err := l.find(Arg(s))
	if err != nil {
		return nil, err
	}
	return append(l[:i:i], l[i+1:]...), nil
}

// DeleteIfPresent is Delete that takes a missing argument as done.
func (l List) DeleteIfPresent(s string) (List, error) {
	out, err := l.Delete(s)
	if _, missing := err.(*MissingError); missing { //nolint:errorlint // Delete wraps nothing, and this package imports nothing
		return l, nil
	}
	return out, err
}

// Replace changes one argument in place. "key=new" changes the only argument of
// key, "key=old=new" the one that has the value old.
func (l List) Replace(s string) (List, error) {
	a := Arg(s)
	key, value, ok := a.split()
	if !ok {
		return nil, &MissingError{Arg: s}
	}
	target, repl := Arg(key), a
	for i := 0; i < len(value); i++ {
		if value[i] == '=' {
			target, repl = Arg(key+"="+value[:i]), Arg(key+"="+value[i+1:])
			break
		}
	}
	if target != Arg(key) && !l.Contains(target) {
		// The value itself may hold a "=" (root=UUID=x): then there is no old value.
		target, repl = Arg(key), a
	}
	i, err := l.find(target)
	if err != nil {
		return nil, err
	}
	out := l.Clone()
	out[i] = repl
	return out, nil
}

func (l List) find(want Arg) (int, error) {
	at := -1
	for i, a := range l {
		switch {
		case want.HasValue() && a.same(want):
			return i, nil
		case !want.HasValue() && a.Key() == want.Key():
			if at >= 0 {
				return 0, &AmbiguousError{Key: want.Key()}
			}
			at = i
		}
	}
	if at < 0 {
		return 0, &MissingError{Arg: string(want)}
	}
	return at, nil
}
