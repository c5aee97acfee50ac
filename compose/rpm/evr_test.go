package rpm

import "testing"

// Cases of rpm's own tests (rpmvercmp.at) and of its documentation.
func TestCompareVersions(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"1.0", "1.0", 0}, {"1.0", "2.0", -1}, {"2.0", "1.0", 1},
		{"2.0.1", "2.0.1", 0}, {"2.0", "2.0.1", -1}, {"2.0.1", "2.0", 1},
		{"2.0.1a", "2.0.1a", 0}, {"2.0.1a", "2.0.1", 1}, {"2.0.1", "2.0.1a", -1},
		{"5.5p1", "5.5p2", -1}, {"5.5p10", "5.5p1", 1}, {"5.5p1", "5.5p10", -1},
		{"10xyz", "10.1xyz", -1}, {"xyz10", "xyz10.1", -1}, {"xyz.4", "8", -1}, {"8", "xyz.4", 1}, {"xyz.4", "2", -1},
		{"5.5p2", "5.6p1", -1}, {"5.6p1", "6.5p1", -1},
		{"6.0.rc1", "6.0", 1}, {"6.0", "6.0.rc1", -1},
		{"10b2", "10a1", 1}, {"1.0aa", "1.0aa", 0}, {"1.0a", "1.0aa", -1},
		{"10.0001", "10.0001", 0}, {"10.0001", "10.1", 0}, {"10.1", "10.0001", 0}, {"10.0001", "10.0039", -1},
		{"4.999.9", "5.0", -1}, {"20101121", "20101121", 0}, {"20101121", "20101122", -1},
		{"2_0", "2_0", 0}, {"2.0", "2_0", 0}, {"a", "a", 0}, {"a+", "a+", 0}, {"a+", "a_", 0}, {"+a", "_a", 0}, {"+_", "_+", 0}, {"+", "_", 0},
		{"1.0~rc1", "1.0~rc1", 0}, {"1.0~rc1", "1.0", -1}, {"1.0", "1.0~rc1", 1}, {"1.0~rc1", "1.0~rc2", -1},
		{"1.0~rc1~git123", "1.0~rc1~git123", 0}, {"1.0~rc1~git123", "1.0~rc1", -1},
		{"1.0^", "1.0^", 0}, {"1.0^", "1.0", 1}, {"1.0", "1.0^", -1}, {"1.0^git1", "1.0", 1}, {"1.0^git1", "1.0^git2", -1},
		{"1.0^git1", "1.01", -1}, {"1.01", "1.0^git1", 1}, {"1.0^20160101", "1.0.1", -1}, {"1.0.1", "1.0^20160101", 1},
		{"1.0^20160101^git1", "1.0^20160101^git1", 0}, {"1.0^20160102", "1.0^20160101^git1", 1},
		{"1.0~rc1^git1", "1.0~rc1^git1", 0}, {"1.0~rc1^git1", "1.0~rc1", 1}, {"1.0^git1~pre", "1.0^git1", -1}, {"1.0^git1", "1.0^git1~pre", 1},
		{"1b.fc17", "1b.fc17", 0}, {"1b.fc17", "1.fc17", -1}, {"1.fc17", "1g.fc17", -1}, {"1g.fc17", "1.fc17", 1},
		{"1.1.α", "1.1.β", 0}, {"1.1.αα", "1.1.β", 0}, {"", "", 0}, {"", "1", -1}, {"1", "", 1}, {"~", "", -1}, {"^", "", 1},
	} {
		if got := CompareVersions(c.a, c.b); got != c.want {
			t.Errorf("%q and %q: got %d, want %d", c.a, c.b, got, c.want)
		}
		if got := CompareVersions(c.b, c.a); got != -c.want {
			t.Errorf("%q and %q: got %d, want %d", c.b, c.a, got, -c.want)
		}
	}
}

func TestEVR(t *testing.T) {
	for _, c := range []struct {
		in   string
		want EVR
	}{
		{"1:2-3", EVR{1, "2", "3"}}, {"2", EVR{0, "2", ""}}, {"2-3-4", EVR{0, "2-3", "4"}},
		{"x:2", EVR{0, "x:2", ""}}, {":2", EVR{0, "2", ""}}, {"", EVR{}}, {"99999999999:1", EVR{0, "99999999999:1", ""}},
	} {
		if got := ParseEVR(c.in); got != c.want {
			t.Errorf("%q: got %#v", c.in, got)
		}
	}
	if c := ParseEVR("1:1-1").Compare(ParseEVR("2-1")); c != 1 {
		t.Errorf("the epoch does not decide: %d", c)
	}
	if n, ok := ParseNEVRA("java-17-openjdk-1:17.0.1-2.el9.x86_64"); !ok || n.Name != "java-17-openjdk" || n.Epoch != 1 || n.Arch != "x86_64" || n.String() != "java-17-openjdk-1:17.0.1-2.el9.x86_64" {
		t.Errorf("got %#v, %v", n, ok)
	}
	for _, bad := range []string{"bash", "bash-5", "bash-5-1", "-5-1.x", "a--1.x", "a-1-.x", "a-1-2."} {
		if n, ok := ParseNEVRA(bad); ok {
			t.Errorf("%q is no NEVRA, got %#v", bad, n)
		}
	}
}

func TestOverlaps(t *testing.T) {
	for _, c := range []struct {
		require, provide string
		want             bool
	}{
		{"a", "a", true}, {"a = 1", "a", true}, {"a", "a = 1", true},
		{"a = 1", "a = 1-5", true}, {"a = 1-5", "a = 1", true}, {"a = 1-4", "a = 1-5", false},
		{"a > 1", "a = 1-5", false}, {"a >= 1", "a = 1-5", true}, {"a < 1", "a = 1-5", false}, {"a <= 1", "a = 1-5", true},
		{"a < 2", "a = 1-5", true}, {"a > 2", "a = 3", true}, {"a > 2", "a = 1:1", true}, {"a = 1:1", "a = 1", false},
		{"a >= 2", "a < 1", false}, {"a >= 2", "a > 1", true}, {"a < 2", "a < 1", true}, {"a <= 2", "a >= 2", true}, {"a < 2", "a >= 2", false},
	} {
		r, err := ParseDep(c.require)
		if err != nil {
			t.Fatal(err)
		}
		p, err := ParseDep(c.provide)
		if err != nil {
			t.Fatal(err)
		}
		if got := r.Overlaps(p); got != c.want {
			t.Errorf("%s and %s: got %v", c.require, c.provide, got)
		}
	}
}

func TestParseDep(t *testing.T) {
	for _, good := range []string{
		"foo", "foo >= 1:2-3", "perl(Foo::Bar)", "(a or b)", "(a and b and c)", "(a >= 2 if (b or c) else d)",
		"(a unless b)", "(perl(X) with perl(X) >= 2)", "(a without b)", "((a and b) if (c >= 1.0~rc1 or d))", "/usr/bin/sh",
	} {
		if d, err := ParseDep(good); err != nil || d.String() != good {
			t.Errorf("%q: got %q, %v", good, d, err)
		}
	}
	if d, err := ParseDep("(foo)"); err != nil || d.Rich != nil || d.Name != "foo" {
		t.Errorf("a group of one: %#v, %v", d, err)
	}
	for _, bad := range []string{
		"", "foo bar", "foo >=", ">= 1", "(a or b", "(a or b))", "(a or b and c)", "(a if b if c)", "(a else b)",
		"(a or b else c)", "(a xor b)", "()", "(a or )", "(a without b without c)",
	} {
		if d, err := ParseDep(bad); err == nil {
			t.Errorf("%q was accepted as %#v", bad, d)
		}
	}
	deep := ""
	for range 1000 {
		deep += "("
	}
	if _, err := ParseDep(deep); err == nil {
		t.Error("1000 parentheses were accepted")
	}
}
