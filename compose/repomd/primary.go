package repomd

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"

	"photree/compose/rpm"
)

// Package is one package of a repository, as its primary index describes it.
type Package struct {
	rpm.NEVRA
	rpm.Relations
	Files []string // those that the primary index lists: /etc, programs and a few more

	Repo          *Repo
	Location      string // relative to the repository, or a URL
	LocationBase  string // what Location is relative to, when not the repository
	ChecksumType  string // "sha256", ...
	Checksum      string // hex, of the package file
	Size          uint64 // of the package file
	InstalledSize uint64
	BuildTime     int64
	Summary       string
	SourceRPM     string
}

// maxPackages bounds an index. The largest distributions have about 100,000.
const maxPackages = 2 << 20

// primaryParser turns the tokens of a primary index into packages.
type primaryParser struct {
	s       *scanner
	strings map[string]string // most strings of an index come many times
	deps    []rpm.Dep         // of the package at hand, all lists in turn
	slab    []rpm.Dep         // where finished lists live, many to an allocation
	pkgs    []*Package
}

func parsePrimary(r io.Reader) ([]*Package, error) {
	p := primaryParser{s: newScanner(r), strings: make(map[string]string, 1<<16)}
	for {
		err := p.s.next()
		if errors.Is(err, io.EOF) {
			return p.pkgs, nil
		}
		if err != nil {
			return nil, err
		}
		if p.s.kind != startTag {
			continue
		}
		switch depth := len(p.s.stack); {
		case depth == 1 && p.s.name != "metadata":
			return nil, fmt.Errorf("the root element is <%s> instead of <metadata>", p.s.name)
		case depth == 2 && p.s.name == "package":
			if len(p.pkgs) >= maxPackages {
				return nil, fmt.Errorf("more than %d packages", maxPackages)
			}
			pkg := new(Package)
			if err := p.pkg(pkg); err != nil {
				return nil, fmt.Errorf("package %d (%q): %w", len(p.pkgs)+1, pkg.Name, err)
			}
			p.pkgs = append(p.pkgs, pkg)
		}
	}
}

func (p *primaryParser) intern(b []byte) string {
	if v, ok := p.strings[string(b)]; ok {
		return v
	}
	v := string(b)
	p.strings[v] = v
	return v
}

func (p *primaryParser) attr(name string) string { return p.intern(p.s.attr(name)) }

// content gives the text of the current element and goes to its end.
func (p *primaryParser) content() ([]byte, error) {
	depth := len(p.s.stack)
	var text []byte
	for {
		if err := p.s.next(); err != nil {
			return nil, err
		}
		switch {
		case p.s.kind == endTag && len(p.s.stack) < depth:
			return text, nil
		case p.s.kind == textToken && text == nil:
			text = append(make([]byte, 0, len(p.s.text)), p.s.text...)
		case p.s.kind == textToken:
			text = append(text, p.s.text...)
		}
	}
}

func (p *primaryParser) text(to *string) error {
	b, err := p.content()
	*to = p.intern(bytes.TrimSpace(b))
	return err
}

func (p *primaryParser) pkg(pkg *Package) error {
	for {
		if err := p.s.next(); err != nil {
			return err
		}
		if p.s.kind == endTag && len(p.s.stack) == 1 {
			return pkg.check()
		}
		if p.s.kind != startTag {
			continue
		}
		if err := p.element(pkg); err != nil {
			return err
		}
	}
}

func (pkg *Package) check() error {
	switch {
	case pkg.Name == "" || pkg.Version == "" || pkg.Arch == "":
		return fmt.Errorf("its name, version or architecture is missing")
	case pkg.Location == "":
		return fmt.Errorf("its location is missing")
	case pkg.Checksum == "":
		return fmt.Errorf("its checksum is missing")
	}
	return nil
}

func (p *primaryParser) element(pkg *Package) (err error) {
	switch p.s.name {
	case "name":
		return p.text(&pkg.Name)
	case "arch":
		return p.text(&pkg.Arch)
	case "summary":
		return p.text(&pkg.Summary)
	case "rpm:sourcerpm":
		return p.text(&pkg.SourceRPM)
	case "version":
		pkg.EVR = p.evr()
	case "checksum":
		pkg.ChecksumType = p.attr("type")
		b, err := p.content()
		pkg.Checksum = string(bytes.TrimSpace(b))
		return err
	case "size":
		pkg.Size, err = number(p.s.attr("package"))
		if err == nil {
			pkg.InstalledSize, err = number(p.s.attr("installed"))
		}
	case "time":
		var t uint64
		t, err = number(p.s.attr("build"))
		pkg.BuildTime = int64(t)
	case "location":
		pkg.Location, pkg.LocationBase = string(p.s.attr("href")), p.attr("xml:base")
	case "file":
		var f string
		if err := p.text(&f); err != nil {
			return err
		}
		pkg.Files = append(pkg.Files, f)
	case "rpm:provides":
		pkg.Provides, err = p.entries()
	case "rpm:requires":
		pkg.Requires, err = p.entries()
	case "rpm:conflicts":
		pkg.Conflicts, err = p.entries()
	case "rpm:obsoletes":
		pkg.Obsoletes, err = p.entries()
	case "rpm:recommends":
		pkg.Recommends, err = p.entries()
	case "rpm:suggests":
		pkg.Suggests, err = p.entries()
	case "rpm:supplements":
		pkg.Supplements, err = p.entries()
	case "rpm:enhances":
		pkg.Enhances, err = p.entries()
	}
	return err
}

func number(b []byte) (uint64, error) {
	if len(b) == 0 {
		return 0, nil
	}
	n, err := strconv.ParseUint(string(b), 10, 63)
	if err != nil {
		return 0, fmt.Errorf("%q is not a size or time", b)
	}
	return n, nil
}

func (p *primaryParser) evr() rpm.EVR {
	return rpm.EVR{Epoch: epoch(p.s.attr("epoch")), Version: p.attr("ver"), Release: p.attr("rel")}
}

var flagNames = map[string]rpm.Sense{
	"EQ": rpm.Equal, "LT": rpm.Less, "GT": rpm.Greater,
	"LE": rpm.Less | rpm.Equal, "GE": rpm.Greater | rpm.Equal,
}

// entry reads one dependency, from the attributes of its tag.
func (p *primaryParser) entry() (rpm.Dep, error) {
	var d rpm.Dep
	var flags rpm.Sense
	pre := false
	key, value, rest := nextAttr(p.s.attrs)
	for ; key != nil; key, value, rest = nextAttr(rest) {
		switch string(key) {
		case "name":
			d.Name = p.intern(value)
		case "flags":
			flags = flagNames[string(value)]
		case "epoch":
			d.EVR.Epoch = epoch(value)
		case "ver":
			d.EVR.Version = p.intern(value)
		case "rel":
			d.EVR.Release = p.intern(value)
		case "pre":
			pre = string(value) == "1"
		}
	}
	switch {
	case d.Name == "":
		return d, fmt.Errorf("a dependency has no name")
	case d.Name[0] == '(':
		// One that cannot be parsed stays a name that nothing provides: only who
		// wants this package has to hear of it.
		if rich, err := rpm.ParseDep(d.Name); err == nil {
			d = rich
		}
	case flags == 0:
		d.EVR = rpm.EVR{}
	default:
		d.Flags = flags
	}
	if pre {
		d.Flags |= rpm.SensePrereq
	}
	return d, nil
}

func epoch(b []byte) uint32 {
	if len(b) == 0 || len(b) == 1 && b[0] == '0' {
		return 0
	}
	n, err := strconv.ParseUint(string(b), 10, 32)
	if err != nil {
		return 0
	}
	return uint32(n)
}

// entries reads one list of dependencies.
func (p *primaryParser) entries() ([]rpm.Dep, error) {
	depth := len(p.s.stack)
	p.deps = p.deps[:0]
	for {
		if err := p.s.next(); err != nil {
			return nil, err
		}
		if p.s.kind == endTag && len(p.s.stack) < depth {
			break
		}
		if p.s.kind != startTag || p.s.name != "rpm:entry" {
			continue
		}
		d, err := p.entry()
		if err != nil {
			return nil, err
		}
		p.deps = append(p.deps, d)
	}
	n := len(p.deps)
	if n == 0 {
		return nil, nil
	}
	if len(p.slab) < n {
		p.slab = make([]rpm.Dep, max(4096, n))
	}
	out := p.slab[:n:n]
	p.slab = p.slab[n:]
	copy(out, p.deps)
	return out, nil
}
