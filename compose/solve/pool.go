package solve

import (
	"context"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"photree/compose/rpm"
)

// id is the number of a package in the pool, from 1 on, so that -id can say
// that it is not installed.
type id = int32

// pool is the indexed form of what is available.
type pool struct {
	pkgs     []*Package // by id; 0 is unused
	arch     archClass
	entries  map[string]int32 // name to its place in starts
	starts   []start          // of each name, and one more for the end
	ids      []id             // of the packages with a name, by name
	provs    []provide        // of a name, by name
	files    map[string][]id  // of paths that something depends on
	cache    map[depKey][]id
	unusable map[string][]blocked // by name and provided name: what cannot be a candidate, and why
	lookup   func(ctx context.Context, paths []string) (map[string][]*Package, error)
	looked   map[string]bool // paths that lookup was asked for
	repos    []string
}

// start says where in ids and provs those of one name begin: two big slices
// instead of two small ones for each of 100,000 names.
type start struct{ ids, provs int32 }

type provide struct {
	pkg id
	dep *rpm.Dep
}

type blocked struct {
	pkg *Package
	why string
}

type depKey struct {
	name  string
	flags rpm.Sense
	evr   rpm.EVR
}

func newPool(req Request) *pool {
	p := &pool{
		pkgs:  make([]*Package, 1, len(req.Available)+1),
		files: map[string][]id{}, cache: map[depKey][]id{}, unusable: map[string][]blocked{},
		lookup: req.LookupFiles, looked: map[string]bool{},
	}
	machine := req.Arch
	for i := 0; machine == "" && i < len(req.Available); i++ {
		if a := req.Available[i].Arch; a != noarch && a != "src" {
			machine = a
		}
	}
	p.arch = compatible(machine)
	locked := map[string][]rpm.NEVRA{}
	for _, n := range req.Locked {
		locked[n.Name] = append(locked[n.Name], n)
	}
	excluded := newPatterns(req.Exclude)
	repos := map[string]bool{}
	for _, pkg := range req.Available {
		repos[pkg.Repo] = true
		if why := p.blocks(pkg, machine, excluded, locked); why != "" {
			b := blocked{pkg, why}
			p.unusable[pkg.Name] = append(p.unusable[pkg.Name], b)
			for _, d := range pkg.Provides {
				if d.Name != pkg.Name {
					p.unusable[d.Name] = append(p.unusable[d.Name], b)
				}
			}
			continue
		}
		p.pkgs = append(p.pkgs, pkg)
	}
	p.repos = slices.Sorted(maps.Keys(repos))
	p.indexNames()
	p.indexFiles()
	return p
}

func (p *pool) blocks(pkg *Package, machine string, excluded patterns, locked map[string][]rpm.NEVRA) string {
	if pkg.Arch == "src" || pkg.Arch == "nosrc" {
		return "is a source package"
	}
	if _, ok := p.arch[pkg.Arch]; !ok {
		return "is not for the architecture " + machine
	}
	if excluded.match(pkg) {
		return "is excluded"
	}
	if l, ok := locked[pkg.Name]; ok && !slices.ContainsFunc(l, func(n rpm.NEVRA) bool {
		return n.Compare(pkg.EVR) == 0 && (n.Arch == "" || n.Arch == pkg.Arch)
	}) {
		return "is not the locked version " + l[0].EVR.String()
	}
	return ""
}

// indexNames fills entries, starts, ids and provs: first it counts, then it puts
// everything in its place.
func (p *pool) indexNames() {
	p.entries = make(map[string]int32, len(p.pkgs)*2)
	p.starts = make([]start, 1, len(p.pkgs)*2)
	number := func(name string) int32 {
		e, ok := p.entries[name]
		if !ok {
			e = int32(len(p.starts) - 1)
			p.entries[name] = e
			p.starts = append(p.starts, start{})
		}
		return e
	}
	of := make([]int32, 0, len(p.pkgs)*4) // the entries in the order of the second pass
	for _, pkg := range p.pkgs[1:] {
		e := number(pkg.Name)
		of = append(of, e)
		p.starts[e].ids++
		if !providesItself(pkg) {
			p.starts[e].provs++
		}
		for i := range pkg.Provides {
			e := number(pkg.Provides[i].Name)
			of = append(of, e)
			p.starts[e].provs++
		}
	}
	total := start{}
	for i, s := range p.starts {
		p.starts[i] = total
		total.ids += s.ids
		total.provs += s.provs
	}
	p.ids, p.provs = make([]id, total.ids), make([]provide, total.provs)
	fill := slices.Clone(p.starts)
	put := func(e int32, n int, d *rpm.Dep) {
		p.provs[fill[e].provs] = provide{id(n), d}
		fill[e].provs++
	}
	for i, pkg := range p.pkgs[1:] {
		n, e := i+1, of[0]
		of = of[1:]
		p.ids[fill[e].ids] = id(n)
		fill[e].ids++
		if !providesItself(pkg) {
			put(e, n, &rpm.Dep{Name: pkg.Name, Flags: rpm.Equal, EVR: pkg.EVR})
		}
		for j := range pkg.Provides {
			put(of[0], n, &pkg.Provides[j])
			of = of[1:]
		}
	}
}

// providesItself says whether a package states that it provides its own name and
// version; those of old rpm versions do not.
func providesItself(pkg *Package) bool {
	for i := range pkg.Provides {
		d := &pkg.Provides[i]
		if d.Name == pkg.Name && d.Flags&rpm.CompareMask == rpm.Equal && d.EVR == pkg.EVR {
			return true
		}
	}
	return false
}

// named gives the packages of a name, in the order of their numbers.
func (p *pool) named(name string) []id {
	e, ok := p.entries[name]
	if !ok {
		return nil
	}
	return p.ids[p.starts[e].ids:p.starts[e+1].ids:p.starts[e+1].ids]
}

// provided gives the capabilities of a name, in the order of their packages.
func (p *pool) provided(name string) []provide {
	e, ok := p.entries[name]
	if !ok {
		return nil
	}
	return p.provs[p.starts[e].provs:p.starts[e+1].provs]
}

// indexFiles records who has the paths that any package depends on.
func (p *pool) indexFiles() {
	for _, pkg := range p.pkgs[1:] {
		for _, deps := range [][]rpm.Dep{pkg.Requires, pkg.Conflicts, pkg.Recommends, pkg.Supplements} {
			for i := range deps {
				eachLeaf(&deps[i], func(d *rpm.Dep) {
					if d.IsPath() {
						p.files[d.Name] = nil
					}
				})
			}
		}
	}
	for n, pkg := range p.pkgs[1:] {
		for _, f := range pkg.Files {
			if have, ok := p.files[f]; ok {
				p.files[f] = append(have, id(n+1))
			}
		}
	}
}

func eachLeaf(d *rpm.Dep, do func(*rpm.Dep)) {
	if d.Rich == nil {
		do(d)
		return
	}
	for i := range d.Rich.Args {
		eachLeaf(&d.Rich.Args[i], do)
	}
}

// inPrimary matches the paths that createrepo puts into every primary index.
var inPrimary = regexp.MustCompile(`^(/etc/|/usr/lib/sendmail$)|bin/`)

// missing gives the paths among the leaves of d about which lookup must be asked.
func (p *pool) missing(d *rpm.Dep) (paths []string) {
	if p.lookup == nil {
		return nil
	}
	eachLeaf(d, func(l *rpm.Dep) {
		if !l.IsPath() || p.looked[l.Name] || len(p.provided(l.Name)) > 0 {
			return
		}
		if !inPrimary.MatchString(l.Name) || len(p.files[l.Name]) == 0 {
			paths = append(paths, l.Name)
		}
	})
	return paths
}

func (p *pool) ask(ctx context.Context, paths []string) error {
	slices.Sort(paths)
	paths = slices.Compact(paths)
	found, err := p.lookup(ctx, paths)
	if err != nil {
		return fmt.Errorf("looking for the packages of %d paths: %w", len(paths), err)
	}
	number := make(map[*Package]id, len(p.pkgs))
	for n, pkg := range p.pkgs[1:] {
		number[pkg] = id(n + 1)
	}
	for _, f := range paths {
		p.looked[f] = true
		ids := p.files[f]
		for _, pkg := range found[f] {
			if n, ok := number[pkg]; ok && !slices.Contains(ids, n) {
				ids = append(ids, n)
			}
		}
		slices.Sort(ids)
		p.files[f] = ids
		delete(p.cache, depKey{name: f})
	}
	return nil
}

// providers gives the packages that satisfy a plain dependency, in the order of
// their numbers. Callers must not change it.
func (p *pool) providers(d *rpm.Dep) []id {
	key := depKey{d.Name, d.Flags & rpm.CompareMask, d.EVR}
	if ids, ok := p.cache[key]; ok {
		return ids
	}
	var ids []id
	for _, pr := range p.provided(d.Name) {
		if d.Overlaps(*pr.dep) && (len(ids) == 0 || ids[len(ids)-1] != pr.pkg) {
			ids = append(ids, pr.pkg)
		}
	}
	if d.IsPath() && key.flags == 0 {
		if f := p.files[d.Name]; len(f) > 0 {
			ids = append(slices.Clip(ids), f...)
			slices.Sort(ids)
			ids = slices.Compact(ids)
		}
	}
	p.cache[key] = ids
	return ids
}

// blockedFor gives the packages that would satisfy d if they were candidates.
func (p *pool) blockedFor(d *rpm.Dep) []blocked {
	return slices.DeleteFunc(slices.Clone(p.unusable[d.Name]), func(b blocked) bool {
		self := rpm.Dep{Name: b.pkg.Name, Flags: rpm.Equal, EVR: b.pkg.EVR}
		ok := self.Name == d.Name && d.Overlaps(self)
		for _, pr := range b.pkg.Provides {
			ok = ok || pr.Name == d.Name && d.Overlaps(pr)
		}
		return !ok
	})
}

// patterns select packages by name, name.arch, NEVRA or a glob over them.
type patterns struct {
	exact map[string]bool
	globs []string
}

func isGlob(s string) bool { return strings.ContainsAny(s, "*?[") }

func newPatterns(list []string) patterns {
	p := patterns{exact: map[string]bool{}}
	for _, s := range list {
		if isGlob(s) {
			p.globs = append(p.globs, s)
		} else {
			p.exact[s] = true
		}
	}
	return p
}

// spellings are the ways to name a package, most used first.
func spellings(pkg *Package) []string {
	n := pkg.NEVRA
	full := fmt.Sprintf("%s-%d:%s-%s.%s", n.Name, n.Epoch, n.Version, n.Release, n.Arch)
	noEpoch := n
	noEpoch.Epoch = 0
	return []string{n.Name, n.Name + "." + n.Arch, noEpoch.String(), full,
		n.Name + "-" + noEpoch.EVR.String(), n.Name + "-" + n.Version,
		fmt.Sprintf("%s-%d:%s-%s", n.Name, n.Epoch, n.Version, n.Release)}
}

func (p patterns) match(pkg *Package) bool {
	if len(p.exact) == 0 && len(p.globs) == 0 {
		return false
	}
	if p.exact[pkg.Name] {
		return true
	}
	if !p.mayMatch(pkg.Name) {
		return false
	}
	for _, s := range spellings(pkg) {
		if p.exact[s] {
			return true
		}
		for _, g := range p.globs {
			if ok, _ := path.Match(g, s); ok {
				return true
			}
		}
	}
	return false
}

// mayMatch saves the work of spelling a package out, for all but a few.
func (p patterns) mayMatch(name string) bool {
	for e := range p.exact {
		if strings.HasPrefix(e, name) {
			return true
		}
	}
	for _, g := range p.globs {
		literal := g[:strings.IndexAny(g, "*?[")]
		if strings.HasPrefix(literal, name) || strings.HasPrefix(name, literal) {
			return true
		}
	}
	return false
}
