package solve

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"html"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"photree/compose/rpm"
)

// TestAgainstLibsolv compares answers on random repositories with libsolv's. The
// two must agree on whether there is an answer, ours must be valid and hold
// nothing that can be left out, and most must be the same set.
func TestAgainstLibsolv(t *testing.T) {
	python := "/usr/bin/python3"
	if err := exec.Command(python, "-c", "import solv").Run(); err != nil {
		t.Fatal("libsolv answers this test: apt-get install python3-solv")
	}
	repos := 150
	if testing.Short() {
		repos = 30
	}
	total, same := 0, 0
	for seed := range repos {
		g := newGenerator(int64(seed))
		var lines []string
		for range 10 {
			lines = append(lines, g.request())
		}
		for i, answer := range ask(t, python, g.primary(), lines) {
			total++
			if compare(t, seed, g.pkgs, lines[i], answer) {
				same++
			}
		}
	}
	t.Logf("%d of %d answers are libsolv's", same, total)
	// They differ where the two backtrack differently; on the packages of real
	// distributions hardly ever.
	if same < total*85/100 {
		t.Errorf("only %d of %d answers are libsolv's", same, total)
	}
}

func ask(t *testing.T, python, primary string, lines []string) []string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "primary.xml")
	if err := os.WriteFile(file, []byte(primary), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(python, "testdata/oracle.py", file)
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	answers := strings.Split(strings.TrimSpace(string(out)), "\n")
	if err != nil || len(answers) != len(lines) {
		t.Fatalf("asking libsolv: %v, %d answers to %d requests: %s", err, len(answers), len(lines), stderr.String())
	}
	return answers
}

func compare(t *testing.T, seed int, pkgs []*Package, line, answer string) bool {
	t.Helper()
	words := strings.Fields(line)
	res, err := Solve(context.Background(), Request{
		Available: pkgs, Install: words[1:], Recommends: words[0] == "rec", Arch: "x86_64",
	})
	var problem *ProblemError
	if err != nil && !errors.As(err, &problem) {
		t.Fatalf("repository %d, %q: %v", seed, line, err)
	}
	agree := strings.HasPrefix(answer, "OK") == (err == nil)
	if !agree {
		t.Errorf("repository %d, %q: libsolv says %q, we say %v", seed, line, answer, err)
	}
	if err != nil {
		return agree
	}
	var names []string
	for _, p := range res.Install {
		names = append(names, p.String())
	}
	slices.Sort(names)
	if why := invalid(res.Install, words[1:], false); why != "" {
		t.Errorf("repository %d, %q: the answer %v is not valid: %s", seed, line, names, why)
	}
	if p := superfluous(res.Install, words[1:]); p != nil && words[0] == "norec" {
		t.Errorf("repository %d, %q: nothing needs %s of %v", seed, line, p.NEVRA, names)
	}
	if !agree {
		return false
	}
	theirs := strings.Fields(answer)[1:]
	slices.Sort(theirs)
	if !slices.Equal(names, theirs) {
		t.Logf("repository %d, %q: ours %v, libsolv's %v", seed, line, names, theirs)
		return false
	}
	return true
}

// world evaluates dependencies over a set of packages, in the plainest way.
type world []*Package

func (w world) providing(d *rpm.Dep) (out []*Package) {
	for _, p := range w {
		self := rpm.Dep{Name: p.Name, Flags: rpm.Equal, EVR: p.EVR}
		for _, c := range append([]rpm.Dep{self}, p.Provides...) {
			if c.Name == d.Name && d.Overlaps(c) {
				out = append(out, p)
				break
			}
		}
	}
	return out
}

func (w world) holds(d *rpm.Dep) bool {
	if d.Rich == nil {
		return len(w.providing(d)) > 0
	}
	a := d.Rich.Args
	at := func(i int) bool { return i < len(a) && w.holds(&a[i]) }
	switch d.Rich.Op {
	case rpm.And:
		return at(0) && at(1)
	case rpm.Or:
		return at(0) || at(1)
	case rpm.If:
		return at(1) && at(0) || !at(1) && (len(a) == 2 || at(2))
	case rpm.Unless:
		return !at(1) && at(0) || at(1) && at(2)
	}
	for _, p := range w.providing(&a[0]) {
		if (world{p}).holds(&a[1]) == (d.Rich.Op == rpm.With) {
			return true
		}
	}
	return false
}

// invalid says what is wrong with a set. A package may conflict with what it
// provides itself; strict grants that to plain conflicts only, as the solver does.
func invalid(set []*Package, wanted []string, strict bool) string {
	w := world(set)
	for _, name := range wanted {
		if !slices.ContainsFunc(set, func(p *Package) bool { return p.Name == name }) {
			return name + " is missing"
		}
	}
	for _, p := range set {
		for i := range p.Requires {
			if !w.holds(&p.Requires[i]) {
				return fmt.Sprintf("%s requires %s", p.NEVRA, p.Requires[i])
			}
		}
		others := world(slices.DeleteFunc(slices.Clone(set), func(o *Package) bool { return o == p }))
		for i := range p.Conflicts {
			d := &p.Conflicts[i]
			if w.holds(d) && (others.holds(d) || strict && d.Rich != nil) {
				return fmt.Sprintf("%s conflicts with %s", p.NEVRA, p.Conflicts[i])
			}
		}
		for _, o := range others {
			if o.Name == p.Name && compatible("x86_64").sameSlot(o.Arch, p.Arch) {
				return fmt.Sprintf("two of %s", p.Name)
			}
			for i := range p.Obsoletes {
				if d := &p.Obsoletes[i]; d.Name == o.Name && d.Overlaps(rpm.Dep{Flags: rpm.Equal, EVR: o.EVR}) {
					return fmt.Sprintf("%s obsoletes %s", p.NEVRA, o.NEVRA)
				}
			}
		}
	}
	return ""
}

// superfluous gives a package without which the set is still an answer.
func superfluous(set []*Package, wanted []string) *Package {
	for i, p := range set {
		if invalid(slices.Delete(slices.Clone(set), i, i+1), wanted, true) == "" {
			return p
		}
	}
	return nil
}

// generator makes small repositories with every kind of relation.
type generator struct {
	*rand.Rand
	names, caps []string
	pkgs        []*Package
}

func newGenerator(seed int64) *generator {
	g := &generator{Rand: rand.New(rand.NewSource(seed))}
	for i := range 6 + g.Intn(25) {
		g.names = append(g.names, fmt.Sprintf("p%02d", i))
	}
	for i := range 3 + g.Intn(8) {
		g.caps = append(g.caps, fmt.Sprintf("cap%d", i))
	}
	for _, n := range g.names {
		for v := 1 + g.Intn(3); v > 0; v-- {
			g.pkgs = append(g.pkgs, g.pkg(n, v))
		}
	}
	return g
}

func (g *generator) pkg(name string, v int) *Package {
	p := &Package{NEVRA: rpm.NEVRA{Name: name, EVR: rpm.EVR{Version: fmt.Sprint(v), Release: "1"}, Arch: "x86_64"}, Repo: "r"}
	if g.Intn(8) == 0 {
		p.Arch = "noarch"
	}
	p.Provides = []rpm.Dep{{Name: name, Flags: rpm.Equal, EVR: p.EVR}}
	for range g.Intn(3) {
		d := rpm.Dep{Name: g.caps[g.Intn(len(g.caps))]}
		if g.Intn(2) == 0 {
			d.Flags, d.EVR = rpm.Equal, rpm.EVR{Version: fmt.Sprint(1 + g.Intn(3)), Release: "1"}
		}
		p.Provides = append(p.Provides, d)
	}
	fill := func(n, richness int) (deps []rpm.Dep) {
		for range n {
			deps = append(deps, g.dep(richness))
		}
		return deps
	}
	p.Requires = fill(g.Intn(4), 6)
	if g.Intn(4) == 0 {
		p.Conflicts = fill(1, 10)
	}
	if g.Intn(10) == 0 {
		p.Obsoletes = fill(1, 0)
	}
	if g.Intn(3) == 0 {
		p.Recommends = fill(1+g.Intn(2), 8)
	}
	if g.Intn(10) == 0 {
		p.Supplements = fill(1, 3)
	}
	if g.Intn(6) == 0 {
		p.Suggests = fill(1, 0)
	}
	return p
}

// dep makes a dependency; one of richness is rich, none for 0.
func (g *generator) dep(richness int) rpm.Dep {
	if richness > 0 && g.Intn(richness) == 0 {
		ops := []string{"or", "or", "and", "if", "unless", "with", "without"}
		a, b := g.dep(0), g.dep(0)
		op := ops[g.Intn(len(ops))]
		text := fmt.Sprintf("(%s %s %s)", a, op, b)
		if (op == "if" || op == "unless") && g.Intn(3) == 0 {
			text = fmt.Sprintf("(%s %s %s else %s)", a, op, b, g.dep(0))
		}
		d, err := rpm.ParseDep(text)
		if err != nil {
			panic(err)
		}
		return d
	}
	d := rpm.Dep{Name: g.names[g.Intn(len(g.names))]}
	if g.Intn(3) == 0 {
		d.Name = g.caps[g.Intn(len(g.caps))]
	}
	if g.Intn(3) == 0 {
		d.Flags = []rpm.Sense{rpm.Equal, rpm.Less, rpm.Greater, rpm.Less | rpm.Equal, rpm.Greater | rpm.Equal}[g.Intn(5)]
		d.EVR = rpm.EVR{Version: fmt.Sprint(1 + g.Intn(3))}
		if g.Intn(2) == 0 {
			d.EVR.Release = "1"
		}
	}
	return d
}

func (g *generator) request() string {
	words := []string{"norec"}
	if g.Intn(2) == 0 {
		words[0] = "rec"
	}
	for range 1 + g.Intn(3) {
		words = append(words, g.names[g.Intn(len(g.names))])
	}
	return strings.Join(words, " ")
}

// primary writes the repository as rpm-md.
func (g *generator) primary() string {
	var b strings.Builder
	fmt.Fprintf(&b, `<metadata xmlns="http://linux.duke.edu/metadata/common" xmlns:rpm="http://linux.duke.edu/metadata/rpm" packages="%d">`, len(g.pkgs))
	evr := func(e rpm.EVR) string {
		s := fmt.Sprintf(` epoch="%d" ver="%s"`, e.Epoch, e.Version)
		if e.Release != "" {
			s += fmt.Sprintf(` rel="%s"`, e.Release)
		}
		return s
	}
	flags := map[rpm.Sense]string{rpm.Equal: "EQ", rpm.Less: "LT", rpm.Greater: "GT", rpm.Less | rpm.Equal: "LE", rpm.Greater | rpm.Equal: "GE"}
	for i, p := range g.pkgs {
		fmt.Fprintf(&b, `<package type="rpm"><name>%s</name><arch>%s</arch><version%s/><checksum type="sha256" pkgid="YES">%064d</checksum><location href="%d.rpm"/><format>`,
			p.Name, p.Arch, evr(p.EVR), i, i)
		for _, l := range []struct {
			tag  string
			deps []rpm.Dep
		}{{"provides", p.Provides}, {"requires", p.Requires}, {"conflicts", p.Conflicts}, {"obsoletes", p.Obsoletes},
			{"recommends", p.Recommends}, {"supplements", p.Supplements}, {"suggests", p.Suggests}} {
			fmt.Fprintf(&b, "<rpm:%s>", l.tag)
			for _, d := range l.deps {
				fmt.Fprintf(&b, `<rpm:entry name="%s"`, html.EscapeString(d.Name))
				if d.Flags != 0 {
					fmt.Fprintf(&b, ` flags="%s"%s`, flags[d.Flags], evr(d.EVR))
				}
				b.WriteString("/>")
			}
			fmt.Fprintf(&b, "</rpm:%s>", l.tag)
		}
		b.WriteString("</format></package>\n")
	}
	b.WriteString("</metadata>\n")
	return b.String()
}
