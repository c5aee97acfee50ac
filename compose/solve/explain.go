package solve

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"photree/compose/rpm"
)

// explain turns a failed search into sentences. Each problem is a smallest set
// of clauses that contradict each other; the jobs in it are then set aside, to
// see whether the others have problems of their own.
func (s *search) explain(ctx context.Context) error {
	e := &ProblemError{}
	clauses := originals(s.sat)
	core := pick(clauses, s.core())
	for len(e.Problems) < maxProblems {
		core = minimize(core, len(s.pkgs))
		if ctx.Err() != nil {
			return ctx.Err()
		}
		e.Problems = append(e.Problems, s.sentences(core))
		guilty := map[id]bool{}
		for _, c := range core {
			if c.kind == fromJob {
				guilty[c.pkg] = true
			}
		}
		if len(guilty) == 0 {
			break
		}
		clauses = slices.DeleteFunc(clauses, func(c clause) bool { return c.kind == fromJob && guilty[c.pkg] })
		if core = contradiction(clauses, len(s.pkgs)); core == nil {
			break
		}
	}
	return e
}

func originals(s *sat) (out []clause) {
	for _, c := range s.clauses {
		if c.kind != learned {
			out = append(out, c)
		}
	}
	return out
}

func pick(clauses []clause, which []int32) []clause {
	slices.Sort(which)
	out := make([]clause, len(which))
	for i, n := range which {
		out[i] = clauses[n]
	}
	return out
}

// contradiction gives clauses that cannot hold together, or nil.
func contradiction(clauses []clause, vars int) []clause {
	s := newSAT(vars)
	for _, c := range clauses {
		c.lits = slices.Clone(c.lits)
		s.add(c)
	}
	open := 0
	for s.settle() {
		// Anything goes here: install what the first clause in need asks for.
		next := int32(0)
		for n := range len(clauses) {
			i := (open + n) % len(clauses)
			if next = firstDue(s, s.clauses[i].lits); next != 0 {
				open = i
				break
			}
		}
		if next == 0 {
			return nil
		}
		s.decide(next)
	}
	return pick(clauses, s.core())
}

func firstDue(s *sat, lits []int32) int32 {
	next := int32(0)
	for _, l := range lits {
		switch v := s.of(l); {
		case v > 0, v == 0 && l < 0:
			return 0
		case v == 0 && next == 0:
			next = l
		}
	}
	return next
}

// minimize drops clauses while the rest still contradicts itself.
func minimize(core []clause, vars int) []clause {
	for {
		smaller := contradiction(core, vars)
		if len(smaller) >= len(core) {
			break
		}
		core = smaller
	}
	const worthwhile = 400 // each step is a search; larger ones nobody reads anyway
	if len(core) > worthwhile {
		return core
	}
	// From the end: what is far from the jobs goes first.
	for i := len(core) - 1; i >= 0; i-- {
		if i >= len(core) {
			continue
		}
		without := slices.Delete(slices.Clone(core), i, i+1)
		if smaller := contradiction(without, vars); smaller != nil {
			core = smaller
		}
	}
	return core
}

// sentences words a contradiction, starting from what the user asked for.
func (s *search) sentences(core []clause) []string {
	var out []string
	for _, c := range sortFromJobs(core) {
		if t := s.sentence(c); t != "" && !slices.Contains(out, t) {
			out = append(out, t)
		}
	}
	const most = 20
	if len(out) > most {
		out = append(out[:most:most], fmt.Sprintf("and %d more reasons", len(out)-most))
	}
	return out
}

// sortFromJobs orders clauses so that each follows one that names its package.
func sortFromJobs(core []clause) (out []clause) {
	known := map[id]bool{}
	take := func(c clause) {
		out = append(out, c)
		for _, l := range c.lits {
			if l > 0 {
				known[l] = true
			}
		}
	}
	left := slices.Clone(core)
	slices.SortStableFunc(left, func(a, b clause) int { return int(a.kind) - int(b.kind) })
	for len(left) > 0 {
		i := slices.IndexFunc(left, func(c clause) bool { return c.kind == fromJob || c.kind == fromRequires && known[c.pkg] })
		if i < 0 {
			i = slices.IndexFunc(left, func(c clause) bool { return c.kind != fromRequires })
		}
		i = max(i, 0)
		take(left[i])
		left = slices.Delete(left, i, i+1)
	}
	return out
}

func (s *search) sentence(c clause) string {
	if c.kind == fromJob {
		j := s.wanted[c.pkg]
		names := s.some(positive(c.lits))
		switch {
		case names == "":
			return fmt.Sprintf("nothing provides %s, which is wanted", j.token)
		case len(j.any) == 1 && s.pkgs[j.any[0]].Name == j.token:
			return fmt.Sprintf("package %s is wanted", names)
		}
		return fmt.Sprintf("'%s' is wanted, which is %s", j.token, names)
	}
	pkg := describe(s.pkgs[c.pkg])
	switch c.kind {
	case fromRequires:
		if ids := positive(c.lits); len(ids) > 0 {
			return fmt.Sprintf("package %s requires %s, which is provided by %s", pkg, c.dep, s.some(ids))
		}
		if c.dep.Rich != nil {
			return fmt.Sprintf("package %s requires %s, which cannot be fulfilled", pkg, c.dep)
		}
		return fmt.Sprintf("nothing provides %s needed by %s%s", c.dep, pkg, s.whyNot(c.dep))
	case fromConflict:
		if c.other == 0 {
			return fmt.Sprintf("package %s conflicts with %s", pkg, c.dep)
		}
		return fmt.Sprintf("package %s conflicts with %s provided by %s", pkg, c.dep, describe(s.pkgs[c.other]))
	case fromObsoletes:
		return fmt.Sprintf("package %s obsoletes %s provided by %s", pkg, c.dep, describe(s.pkgs[c.other]))
	case fromArch:
		return fmt.Sprintf("package %s has an inferior architecture and cannot be installed without its %s counterpart", pkg, s.native())
	case fromSameName:
		return fmt.Sprintf("cannot install both %s and %s", pkg, describe(s.pkgs[c.other]))
	}
	return ""
}

func positive(lits []int32) (ids []id) {
	for _, l := range lits {
		if l > 0 {
			ids = append(ids, l)
		}
	}
	slices.Sort(ids)
	return ids
}

// some names up to three packages.
func (s *search) some(ids []id) string {
	var names []string
	for _, n := range ids[:min(len(ids), 3)] {
		names = append(names, describe(s.pkgs[n]))
	}
	if more := len(ids) - len(names); more > 0 {
		return fmt.Sprintf("%s or %d others", strings.Join(names, ", "), more)
	}
	return strings.Join(names, " or ")
}

// whyNot tells of packages that would provide a dependency and are no candidates.
func (s *search) whyNot(d *rpm.Dep) string {
	b := s.blockedFor(d)
	if len(b) > 0 {
		return fmt.Sprintf(" (package %s would, and %s)", describe(b[0].pkg), b[0].why)
	}
	for _, n := range s.named(d.Name) {
		return fmt.Sprintf(" (there is %s)", describe(s.pkgs[n]))
	}
	return ""
}

// native is the machine's own architecture.
func (p *pool) native() string {
	for a, class := range p.arch {
		if class == 1 && a != "amd64" && a != "ia32e" {
			return a
		}
	}
	return noarch
}
