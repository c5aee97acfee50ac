package kargs

import (
	"testing"
)

func TestParseKeepsOrderAndQuotes(t *testing.T) {
	for _, c := range []struct{ in, out string }{
		{"", ""},
		{"  quiet\troot=UUID=x\n", "quiet root=UUID=x"},
		{`a="b c" "d=e f" g`, `a="b c" "d=e f" g`},
		{`a="b`, `a="b`},
	} {
		if got := Parse(c.in).String(); got != c.out {
			t.Errorf("%q becomes %q instead of %q", c.in, got, c.out)
		}
	}
}

func TestValuesComeWithoutQuotes(t *testing.T) {
	l := Parse(`root=UUID=x a="b c" "d=e f" quiet root=y empty=`)
	for key, want := range map[string]string{"root": "y", "a": "b c", "d": "e f", "quiet": "", "empty": ""} {
		if got, ok := l.Lookup(key); got != want || !ok {
			t.Errorf("%s is %q, %v", key, got, ok)
		}
	}
	if _, ok := l.Lookup("b"); ok {
		t.Error("b is there")
	}
	if got := l.All("root"); len(got) != 2 || got[0] != "UUID=x" {
		t.Errorf("root values are %q", got)
	}
	if l[3].HasValue() || !l[5].HasValue() {
		t.Error("a bare word has a value or an empty value is none")
	}
}

func TestEdits(t *testing.T) {
	del := func(s string) func(List) (List, error) { return func(l List) (List, error) { return l.Delete(s) } }
	delIf := func(s string) func(List) (List, error) {
		return func(l List) (List, error) { return l.DeleteIfPresent(s) }
	}
	repl := func(s string) func(List) (List, error) { return func(l List) (List, error) { return l.Replace(s) } }
	ok := func(f func(List) List) func(List) (List, error) {
		return func(l List) (List, error) { return f(l), nil }
	}
	for _, c := range []struct {
		name, in, want, err string
		edit                func(List) (List, error)
	}{
		{"append adds again", "a=1", "a=1 a=1 b", "", ok(func(l List) List { return l.Append("a=1 b") })},
		{"append-if-missing does not", "a=1", "a=1 b", "", ok(func(l List) List { return l.AppendIfMissing("a=1 b") })},
		{"append-if-missing compares values without quotes", `a="1"`, `a="1"`, "", ok(func(l List) List { return l.AppendIfMissing("a=1") })},
		{"set changes in place and drops others", "x a=1 y a=2", "x a=3 y", "", ok(func(l List) List { return l.Set("a=3") })},
		{"set appends", "x", "x a=3", "", ok(func(l List) List { return l.Set("a=3") })},
		{"delete by key", "x a=1 y", "x y", "", del("a")},
		{"delete by key and value", "a=1 a=2", "a=1", "", del("a=2")},
		{"delete of an ambiguous key", "a=1 a=2", "", `kernel argument "a" is set several times: give a=VALUE`, del("a")},
		{"delete of what is not there", "a=1", "", `no kernel argument "b" is set`, del("b")},
		{"delete of a value that is not there", "a=1", "", `no kernel argument "a=2" is set`, del("a=2")},
		{"delete-if-present of what is not there", "a=1", "a=1", "", delIf("b")},
		{"replace", "x a=1 y", "x a=2 y", "", repl("a=2")},
		{"replace one value", "a=1 a=2", "a=1 a=3", "", repl("a=2=3")},
		{"replace with a value that has an equals sign", "root=UUID=x y", "root=UUID=z y", "", repl("root=UUID=z")},
		{"replace of what is not there", "x", "", `no kernel argument "a" is set`, repl("a=2")},
	} {
		in := Parse(c.in)
		got, err := c.edit(in)
		switch {
		case c.err != "" && (err == nil || err.Error() != c.err):
			t.Errorf("%s: the error is %v", c.name, err)
		case c.err == "" && (err != nil || got.String() != c.want):
			t.Errorf("%s: got %q, %v", c.name, got, err)
		case in.String() != Parse(c.in).String():
			t.Errorf("%s: the list given was changed", c.name)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(`a="b c" d`)
	f.Fuzz(func(t *testing.T, s string) {
		once := Parse(s).String()
		if twice := Parse(once).String(); twice != once {
			t.Fatalf("%q becomes %q, then %q", s, once, twice)
		}
	})
}
