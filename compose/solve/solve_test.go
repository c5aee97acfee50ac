package solve

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"photree/compose/rpm"
)

// pkgs makes packages from lines like libsolv's test tags: "name evr arch", then
// "R: dep", "P:", "C:", "O:", "W:" (recommends), "S:" (supplements), "F:" (file),
// separated by ";". A repository id and priority may follow the architecture.
func pkgs(t *testing.T, lines ...string) (out []*Package) {
	t.Helper()
	for _, line := range lines {
		parts := strings.Split(line, ";")
		head := strings.Fields(parts[0])
		p := &Package{NEVRA: rpm.NEVRA{Name: head[0], EVR: rpm.ParseEVR("1-1"), Arch: "x86_64"}, Repo: "base"}
		if len(head) > 1 {
			p.EVR = rpm.ParseEVR(head[1])
		}
		if len(head) > 2 {
			p.Arch = head[2]
		}
		if len(head) > 3 {
			p.Repo = head[3]
		}
		for _, part := range parts[1:] {
			kind, text, _ := strings.Cut(strings.TrimSpace(part), ":")
			text = strings.TrimSpace(text)
			if kind == "F" {
				p.Files = append(p.Files, text)
				continue
			}
			d, err := rpm.ParseDep(text)
			if err != nil {
				t.Fatal(err)
			}
			to := map[string]*[]rpm.Dep{"R": &p.Requires, "P": &p.Provides, "C": &p.Conflicts, "O": &p.Obsoletes,
				"W": &p.Recommends, "S": &p.Supplements, "G": &p.Suggests, "pre": &p.Requires}[kind]
			if kind == "pre" {
				d.Flags |= rpm.SensePrereq
			}
			*to = append(*to, d)
		}
		out = append(out, p)
	}
	return out
}

func install(t *testing.T, req Request) (string, error) {
	t.Helper()
	if req.Arch == "" {
		req.Arch = "x86_64"
	}
	res, err := Solve(context.Background(), req)
	if err != nil {
		return "", err
	}
	var names []string
	for _, p := range res.Install {
		names = append(names, strings.TrimSuffix(p.String(), ".x86_64"))
	}
	slices.Sort(names)
	return strings.Join(names, " "), nil
}

func TestSolve(t *testing.T) {
	for _, c := range []struct {
		name    string
		pkgs    []string
		install string // separated by "|"
		weak    bool
		want    string
	}{
		{"the newest version is taken", []string{"a 1-1", "a 2-1", "a 1.5-1"}, "a", false, "a-2-1"},
		{"an older version when the newest cannot be installed", []string{"a 1-1", "a 2-1;R:nope"}, "a", false, "a-1-1"},
		{"requirements follow", []string{"a;R:b", "b;R:c = 1-1", "c 1-1", "c 2-1", "d"}, "a", false, "a-1-1 b-1-1 c-1-1"},
		{"a version that another package excludes is avoided", []string{"a;R:lib", "lib 2-1", "lib 1-1", "x;C:lib >= 2"}, "a|x", false, "a-1-1 lib-1-1 x-1-1"},
		{"a file provides", []string{"a;R:/usr/bin/sh", "sh;F:/usr/bin/sh"}, "a", false, "a-1-1 sh-1-1"},
		{"rpmlib features are nobody's", []string{"a;R:rpmlib(CompressedFileNames) <= 3.0.4-1"}, "a", false, "a-1-1"},
		{"a package provides what it requires", []string{"a;R:cap;P:cap"}, "a", false, "a-1-1"},
		{"among equals the first name", []string{"x;R:cap", "b;P:cap", "a;P:cap"}, "x", false, "a-1-1 x-1-1"},
		{"among equals the one that is needed anyway", []string{"x;R:cap;R:y", "b;P:cap", "a;P:cap", "y;R:b"}, "x", false, "b-1-1 x-1-1 y-1-1"},
		{"a choice that became unnecessary is undone", []string{"x;R:cap;R:(y or z)", "a;P:cap", "b;P:cap", "y;R:b", "z;R:b"}, "x", false, "b-1-1 x-1-1 y-1-1"},
		{"a candidate that replaces another", []string{"x;R:cap", "a;P:cap", "b;P:cap;O:a"}, "x", false, "b-1-1 x-1-1"},
		{"recommended packages come along", []string{"x;W:a;W:nope", "a;R:b", "b"}, "x", true, "a-1-1 b-1-1 x-1-1"},
		{"recommended packages are left out", []string{"x;W:a", "a"}, "x", false, "x-1-1"},
		{"a recommended package that conflicts is left out", []string{"x;W:a;R:b", "a;C:b", "b"}, "x", true, "b-1-1 x-1-1"},
		{"a recommended package whose needs conflict is left out", []string{"x;W:a;R:b", "a;R:c", "c;C:b", "b"}, "x", true, "b-1-1 x-1-1"},
		{"a supplement comes along", []string{"x", "y", "l;S:(x and y)"}, "x|y", true, "l-1-1 x-1-1 y-1-1"},
		{"a supplement of what is not there does not", []string{"x", "y", "l;S:(x and y)"}, "x", true, "x-1-1"},
		{"rich: if", []string{"x;R:(a if y)", "a", "y"}, "x", false, "x-1-1"},
		{"rich: if, with the condition", []string{"x;R:(a if y)", "a", "y"}, "x|y", false, "a-1-1 x-1-1 y-1-1"},
		{"rich: else", []string{"x;R:(a if y else b)", "a", "b", "y"}, "x", false, "b-1-1 x-1-1"},
		{"rich: unless", []string{"x;R:(a unless y else b)", "a", "b", "y"}, "x|y", false, "b-1-1 x-1-1 y-1-1"},
		{"rich: with", []string{"x;R:(cap with other)", "a;P:cap", "b;P:cap;P:other"}, "x", false, "b-1-1 x-1-1"},
		{"rich: without", []string{"x;R:(cap without other)", "b;P:cap", "a;P:cap;P:other"}, "x", false, "b-1-1 x-1-1"},
		{"rich conflict: and", []string{"x;C:(a and b)", "a", "b"}, "x|a", false, "a-1-1 x-1-1"},
		{"token: name.arch", []string{"a 1-1 i686", "a"}, "a.i686", false, "a-1-1.i686"},
		{"token: NEVRA", []string{"a 1-1", "a 2-1"}, "a-1-1.x86_64", false, "a-1-1"},
		{"token: name-version", []string{"a 1-1", "a 2-1"}, "a-1", false, "a-1-1"},
		{"token: epoch", []string{"a 1:1-1", "a 2-1"}, "a-1:1-1.x86_64", false, "a-1:1-1"},
		{"token: with an operator", []string{"a 1-1", "a 2-1", "a 3-1"}, "a < 3", false, "a-2-1"},
		{"token: capability", []string{"a;P:web = 2", "b;P:web = 1"}, "web", false, "a-1-1"},
		{"token: path", []string{"a;F:/etc/a.conf", "b"}, "/etc/a.conf", false, "a-1-1"},
		{"token: glob", []string{"lib-a", "lib-b 1-1", "lib-b 2-1", "x"}, "lib-*", false, "lib-a-1-1 lib-b-2-1"},
		{"token: rich", []string{"a", "b"}, "(b or nope)", false, "b-1-1"},
		{"the machine's architecture is preferred", []string{"x;R:lib", "lib 2-1 i686", "lib 1-1"}, "x", false, "lib-1-1 x-1-1"},
		{"foreign architectures are no candidates", []string{"a 2-1 aarch64", "a 1-1"}, "a", false, "a-1-1"},
		{"multilib stands beside", []string{"x;R:lib32", "lib;P:lib64", "lib 1-1 i686;P:lib32"}, "x", false, "lib-1-1 lib-1-1.i686 x-1-1"},
		{"noarch is as good", []string{"a 2-1 noarch", "a 1-1"}, "a", false, "a-2-1.noarch"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := install(t, Request{Available: pkgs(t, c.pkgs...), Install: strings.Split(c.install, "|"), Recommends: c.weak})
			if err != nil || got != c.want {
				t.Errorf("got %q, %v, want %q", got, err, c.want)
			}
		})
	}
}

func TestRequestOptions(t *testing.T) {
	all := pkgs(t, "a 1-1 x86_64 old", "a 2-1 x86_64 new", "kernel 1-1", "kernel 2-1")
	all[0].Priority = 10
	for _, c := range []struct {
		name string
		req  Request
		want string
	}{
		{"a better priority wins over a version", Request{Install: []string{"a"}}, "a-1-1"},
		{"packages of one repository", Request{InstallFrom: []FromRepo{{"new", []string{"a"}}}}, "a-2-1"},
		{"an excluded version", Request{Install: []string{"a"}, Exclude: []string{"a-1-1.x86_64"}}, "a-2-1"},
		{"a locked version", Request{Install: []string{"kernel"}, Locked: []rpm.NEVRA{{Name: "kernel", EVR: rpm.ParseEVR("1-1")}}}, "kernel-1-1"},
		{"several versions of an install-only name", Request{Install: []string{"kernel = 1", "kernel = 2"}, InstallOnly: []string{"kernel"}}, "kernel-1-1 kernel-2-1"},
	} {
		c.req.Available = all
		if got, err := install(t, c.req); err != nil || got != c.want {
			t.Errorf("%s: got %q, %v, want %q", c.name, got, err, c.want)
		}
	}
}

func TestLookupFiles(t *testing.T) {
	all := pkgs(t, "x;R:/usr/share/data/file;R:/usr/bin/tool", "data", "tool;F:/usr/bin/tool", "y;R:/opt/unneeded")
	var asked []string
	got, err := install(t, Request{Available: all, Install: []string{"x"},
		LookupFiles: func(_ context.Context, paths []string) (map[string][]*Package, error) {
			asked = append(asked, paths...)
			return map[string][]*Package{"/usr/share/data/file": {all[1]}}, nil
		}})
	if err != nil || got != "data-1-1 tool-1-1 x-1-1" {
		t.Errorf("got %q, %v", got, err)
	}
	if !slices.Equal(asked, []string{"/usr/share/data/file"}) {
		t.Errorf("asked for %q: only paths that are needed and not in primary", asked)
	}
	_, err = install(t, Request{Available: all, Install: []string{"x"},
		LookupFiles: func(context.Context, []string) (map[string][]*Package, error) { return nil, errors.New("boom") }})
	if err == nil || !strings.Contains(err.Error(), "boom") {
		t.Errorf("the error of a lookup is lost: %v", err)
	}
}

func TestProblems(t *testing.T) {
	for _, c := range []struct {
		name    string
		pkgs    []string
		install []string
		exclude []string
		want    []string
	}{
		{"an unknown package", []string{"bash", "dash"}, []string{"bsah"}, nil,
			[]string{"no package matches 'bsah' in the enabled repositories (base)", "did you mean 'bash'"}},
		{"all unknown packages at once", []string{"bash"}, []string{"one", "two"}, nil, []string{"'one'", "'two'"}},
		{"an excluded package", []string{"bash"}, []string{"bash"}, []string{"bash"}, []string{"no package matches 'bash'", "bash-1-1.x86_64 from base is excluded"}},
		{"a package of another machine", []string{"a 1-1 aarch64", "b"}, []string{"a"}, nil, []string{"is not for the architecture x86_64"}},
		{"a missing requirement", []string{"a;R:b >= 2", "b 1-1"}, []string{"a"}, nil,
			[]string{"package a-1-1.x86_64 from base is wanted", "nothing provides b >= 2 needed by a-1-1.x86_64 from base", "there is b-1-1.x86_64"}},
		{"a missing requirement further down", []string{"a;R:b", "b;R:c"}, []string{"a"}, nil,
			[]string{"package a-1-1.x86_64 from base requires b, which is provided by b-1-1.x86_64", "nothing provides c needed by b-1-1.x86_64"}},
		{"an excluded requirement", []string{"a;R:b", "b"}, []string{"a"}, []string{"b"}, []string{"nothing provides b needed by a-1-1.x86_64 from base (package b-1-1.x86_64 from base would, and is excluded)"}},
		{"a conflict", []string{"a;C:b", "b"}, []string{"a", "b"}, nil, []string{"package a-1-1.x86_64 from base conflicts with b provided by b-1-1.x86_64 from base"}},
		{"a replaced package", []string{"a;O:b < 2", "b"}, []string{"a", "b"}, nil, []string{"obsoletes b < 2 provided by b-1-1.x86_64"}},
		{"two versions", []string{"a 1-1", "a 2-1", "x;R:a = 1", "y;R:a = 2"}, []string{"x", "y"}, nil, []string{"cannot install both a-"}},
		{"two independent problems", []string{"a;R:x", "b;R:y"}, []string{"a", "b"}, nil, []string{"problem 1", "problem 2", "nothing provides x", "nothing provides y"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := install(t, Request{Available: pkgs(t, c.pkgs...), Install: c.install, Exclude: c.exclude})
			var p *ProblemError
			if !errors.As(err, &p) {
				t.Fatalf("got %v instead of a problem", err)
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q is missing in\n%v", w, err)
				}
			}
		})
	}
	if _, err := install(t, Request{Available: pkgs(t, "a"), Install: []string{"@core"}}); err == nil || !strings.Contains(err.Error(), "group") {
		t.Errorf("a group: %v", err)
	}
}

func TestProblemLeavesOutWhatIsInnocent(t *testing.T) {
	all := pkgs(t, "a;R:lib", "lib;R:base;R:gone", "base", "b;R:base", "c;R:base;R:b")
	_, err := install(t, Request{Available: all, Install: []string{"c", "b", "a"}})
	if err == nil || strings.Contains(err.Error(), "base-1-1") || strings.Contains(err.Error(), "package b-") {
		t.Errorf("the explanation names packages that have no part in it: %v", err)
	}
}

func TestOrder(t *testing.T) {
	for _, c := range []struct {
		name string
		pkgs []string
		want string
	}{
		{"what is required comes first", []string{"a;R:b", "b;R:c", "c"}, "c b a"},
		{"names decide where nothing else does", []string{"c", "a", "b"}, "a b c"},
		{"scripts break a circle", []string{"libc;R:base", "base;pre:libc"}, "libc base"},
		{"scripts break a circle, the other way round", []string{"libc;pre:base", "base;R:libc"}, "base libc"},
		{"a circle of scripts: fewest unmet, then most waited for", []string{"a;pre:b", "b;pre:c", "c;pre:a;pre:b"}, "b a c"},
		{"files count", []string{"a;pre:/bin/sh", "sh;F:/bin/sh"}, "sh a"},
	} {
		var names []string
		for _, p := range Order(pkgs(t, c.pkgs...)) {
			names = append(names, p.Name)
		}
		if got := strings.Join(names, " "); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

// TestSameAnswer: the order in which packages are given decides nothing but ties
// between equal packages.
func TestSameAnswer(t *testing.T) {
	for seed := range int64(20) {
		g := newGenerator(seed)
		req := Request{Available: g.pkgs, Install: strings.Fields(g.request())[1:], Recommends: true, Arch: "x86_64"}
		var first []*Package
		for range 3 {
			res, err := Solve(context.Background(), req)
			if err != nil {
				break
			}
			if first == nil {
				first = res.Install
			} else if !slices.Equal(first, res.Install) {
				t.Fatalf("repository %d: two answers to one request", seed)
			}
		}
	}
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Solve(ctx, Request{Available: pkgs(t, "a;R:b", "b"), Install: []string{"a"}}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
