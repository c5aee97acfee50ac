package solve

import (
	"context"
	"slices"

	"photree/compose/rpm"
)

// search decides packages in libsolv's order: what the jobs want, then what that
// requires, then what is recommended.
type search struct {
	*rules
	*sat
	open []int32 // clauses that may ask for a package: those with a positive literal
	at   int     // in open: where the round goes on

	branches []branch

	recommenders []id   // reached packages with Recommends
	weakDone     []bool // by id: all its Recommends hold or cannot; until something is undone
	learned      int    // clauses learned when weakDone was last cleared
}

// branch is a decision between candidates that were equally good.
type branch struct {
	level  int32 // before the decision
	others []id
}

func newSearch(r *rules) *search {
	s := &search{rules: r, sat: newSAT(len(r.pkgs))}
	for i, c := range r.clauses {
		s.add(c)
		if c.kind != fromJob && slices.ContainsFunc(c.lits, func(l int32) bool { return l > 0 }) {
			s.open = append(s.open, int32(i))
		}
	}
	r.clauses = nil // s.sat has them
	for n, reached := range r.reached {
		if reached && len(r.pkgs[n].Recommends) > 0 {
			s.recommenders = append(s.recommenders, id(n))
		}
	}
	return s
}

// run searches until everything wanted holds, or sat.failed says that it cannot.
func (s *search) run(ctx context.Context) error {
	for steps := 0; s.settle(); steps++ {
		if steps%256 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		s.dropBranches()
		next := s.nextJob()
		if next == nil {
			next = s.nextRequirement()
		}
		if next == nil && s.recommends {
			next = s.nextWeak()
		}
		if next == nil {
			next = s.reconsider()
		}
		if next == nil {
			return nil
		}
		if len(next) > 1 {
			s.branches = append(s.branches, branch{s.depth(), next[1:]})
		}
		s.decide(next[0])
	}
	return nil
}

// dropBranches forgets the branches of levels that a conflict has undone.
func (s *search) dropBranches() {
	for n := len(s.branches); n > 0 && s.branches[n-1].level >= s.depth(); n-- {
		s.branches = s.branches[:n-1]
	}
}

// reconsider looks for a decision that became unnecessary: another of its
// candidates is installed in the end anyway. It goes back to before the first
// such decision and gives that candidate.
func (s *search) reconsider() []id {
	for _, b := range s.branches {
		for _, n := range b.others {
			if s.value[n] > 0 {
				s.undo(b.level)
				s.dropBranches()
				s.weakDone = nil
				return []id{n}
			}
		}
	}
	return nil
}

// due gives the undecided packages one of which a clause asks for now, or nil:
// the clause holds, or what it depends on is not installed.
func (s *search) due(lits []int32) []id {
	n := 0
	for _, l := range lits {
		switch v := s.of(l); {
		case v > 0:
			return nil
		case v == 0 && l < 0:
			return nil
		case v == 0:
			n++
		}
	}
	if n == 0 {
		return nil
	}
	out := make([]id, 0, n)
	for _, l := range lits {
		if s.of(l) == 0 {
			out = append(out, l)
		}
	}
	return out
}

// The next functions give what to decide: the preferred candidate, and after it
// those that are as good; or nil when nothing is left to decide.

func (s *search) nextJob() []id {
	for i := range s.sat.clauses {
		c := &s.sat.clauses[i]
		if c.kind != fromJob {
			break
		}
		if cand := s.due(c.lits); cand != nil {
			return s.reorder(s.best(cand))
		}
	}
	return nil
}

// nextRequirement goes round the clauses. One with several candidates that are
// equally good waits until nothing else is left to decide: by then another
// requirement may have chosen.
func (s *search) nextRequirement() []id {
	var postponed []id
	for range s.open {
		if s.at >= len(s.open) {
			s.at = 0
		}
		c := &s.sat.clauses[s.open[s.at]]
		s.at++
		cand := s.due(c.lits)
		if cand == nil {
			continue
		}
		cand = s.best(cand)
		if len(cand) == 1 {
			return cand
		}
		if postponed == nil {
			postponed = cand
		}
	}
	return s.reorder(postponed)
}

// holds evaluates a dependency over what is installed now.
func (s *search) holds(d *rpm.Dep) bool {
	if d.Rich == nil || d.Rich.Op == rpm.With || d.Rich.Op == rpm.Without {
		return slices.ContainsFunc(s.matching(d), func(n id) bool { return s.value[n] > 0 })
	}
	args := d.Rich.Args
	switch d.Rich.Op {
	case rpm.And:
		for i := range args {
			if !s.holds(&args[i]) {
				return false
			}
		}
		return true
	case rpm.Or:
		return slices.ContainsFunc(args, func(a rpm.Dep) bool { return s.holds(&a) })
	case rpm.If:
		if s.holds(&args[1]) {
			return s.holds(&args[0])
		}
		return len(args) < 3 || s.holds(&args[2])
	}
	// unless
	if s.holds(&args[1]) {
		return len(args) > 2 && s.holds(&args[2])
	}
	return s.holds(&args[0])
}

// nextWeak gives a package that supplements what is installed or that something
// installed recommends, if it can still be installed.
func (s *search) nextWeak() []id {
	for _, n := range s.weakOnes {
		if s.reached[n] && s.value[n] == 0 && s.isSupplementing(n) {
			var same []id
			for _, o := range s.named(s.pkgs[n].Name) {
				if s.reached[o] && s.value[o] == 0 && s.isSupplementing(o) {
					same = append(same, o)
				}
			}
			return s.best(same)[:1]
		}
	}
	if s.weakDone == nil || s.learned != len(s.sat.clauses) {
		s.weakDone, s.learned = make([]bool, len(s.pkgs)), len(s.sat.clauses)
	}
	for _, n := range s.recommenders {
		if s.value[n] <= 0 || s.weakDone[n] {
			continue
		}
		recs := s.pkgs[n].Recommends
		for i := range recs {
			if c := s.recommended(&recs[i]); c != nil {
				return c
			}
		}
		s.weakDone[n] = true
	}
	return nil
}

func (s *search) recommended(d *rpm.Dep) []id {
	if d.Rich == nil {
		ids := s.providers(d)
		var cand []id
		for _, n := range ids {
			switch {
			case s.value[n] > 0:
				return nil
			case s.value[n] == 0 && s.reached[n]:
				cand = append(cand, n)
			}
		}
		return s.reorder(s.best(cand))
	}
	cnf, err := s.cnf(d, false)
	if err != nil {
		return nil // too complex to be worth it
	}
	var first []id
	for _, lits := range cnf {
		hopeless := true
		for _, l := range lits {
			hopeless = hopeless && s.of(l) < 0
		}
		if hopeless {
			return nil
		}
		if c := s.due(lits); c != nil && first == nil {
			first = c
		}
	}
	return s.reorder(s.best(first))
}

// result gives what is needed of what was decided. A choice that was made early
// can have become unnecessary by a later one; what nothing needs is left out.
func (s *search) result() *Result {
	needed, keep := make([]bool, len(s.pkgs)), make([]bool, len(s.pkgs))
	s.need(needed)
	s.drop(needed, keep)
	strong := slices.Clone(needed)
	for s.recommends && s.needWeak(needed, keep) {
		s.need(needed)
	}
	s.drop(needed, keep)
	res := &Result{Weak: map[*Package]bool{}}
	for n, yes := range needed {
		if yes {
			res.Install = append(res.Install, s.pkgs[n])
			if !strong[n] {
				res.Weak[s.pkgs[n]] = true
			}
		}
	}
	res.Install = Order(res.Install)
	return res
}

// need closes a set of packages over the clauses, with installed packages only.
// Of several that satisfy a clause it takes one that something else needs.
func (s *search) need(needed []bool) {
	for {
		changed := false
		var postponed []id
		for i := range s.sat.clauses {
			c := &s.sat.clauses[i]
			if c.kind == learned {
				break
			}
			switch cand := s.support(c.lits, needed); len(cand) {
			case 0:
			case 1:
				needed[cand[0]] = true
				changed = true
			default:
				if postponed == nil {
					postponed = cand
				}
			}
		}
		if !changed {
			if postponed == nil {
				return
			}
			needed[s.reorder(s.best(postponed))[0]] = true
		}
	}
}

// drop takes away what need chose for a clause that a later choice satisfies too.
func (s *search) drop(needed, keep []bool) {
	for {
		critical := slices.Clone(keep)
		for i := range s.sat.clauses {
			c := &s.sat.clauses[i]
			if c.kind == learned {
				break
			}
			only, n := id(0), 0
			for _, l := range c.lits {
				if l < 0 && !needed[-l] {
					n = 2 // it holds without any
				} else if l > 0 && needed[l] {
					only = l
					n++
				}
			}
			if n == 1 {
				critical[only] = true
			}
		}
		last := -1
		for n := range needed {
			if needed[n] && !critical[n] {
				last = n
			}
		}
		if last < 0 {
			return
		}
		needed[last] = false
	}
}

// support gives the installed packages that satisfy a clause which the needed
// ones do not satisfy yet.
func (s *search) support(lits []int32, needed []bool) (out []id) {
	for _, l := range lits {
		if l < 0 && !needed[-l] || l > 0 && needed[l] {
			return nil
		}
	}
	for _, l := range lits {
		if l > 0 && s.value[l] > 0 {
			out = append(out, l)
		}
	}
	return out
}

// needWeak adds installed packages that needed ones recommend or that supplement
// them, also to keep, and says whether there were any.
func (s *search) needWeak(needed, keep []bool) bool {
	changed := false
	add := func(n id) {
		if s.value[n] > 0 && !needed[n] {
			needed[n], keep[n] = true, true
			changed = true
		}
	}
	for n := range s.pkgs {
		if !needed[n] {
			continue
		}
		recs := s.pkgs[n].Recommends
		for i := range recs {
			eachLeaf(&recs[i], func(l *rpm.Dep) {
				ids := s.providers(l)
				if !slices.ContainsFunc(ids, func(o id) bool { return needed[o] }) {
					for _, o := range ids {
						add(o)
					}
				}
			})
		}
	}
	for _, n := range s.weakOnes {
		if s.value[n] > 0 && s.isSupplementing(n) {
			add(n)
		}
	}
	return changed
}
