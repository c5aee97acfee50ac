package solve

import (
	"cmp"
	"slices"
	"strings"

	"photree/compose/rpm"
)

// best orders candidates as libsolv's policy does and drops the ones that are
// not even second choice: what remains are different names that are all as good,
// the preferred one first.
func (s *search) best(candidates []id) []id {
	out := slices.Clone(candidates)
	if len(out) < 2 {
		return out
	}
	out = s.bestPriority(out)
	out = s.bestArch(out)
	out = s.bestVersion(out)
	if len(out) > 1 {
		out = s.dropObsoleted(out)
	}
	if len(out) > 1 {
		out = s.preferRecommended(out)
	}
	return out
}

// reorder puts candidates that are equally good in the order in which they are
// tried.
func (s *search) reorder(ids []id) []id {
	if len(ids) < 2 {
		return ids
	}
	return s.followRecommends(s.preferSuggested(s.preferHigherProvides(s.preferNewest(ids))))
}

// followRecommends takes, in place of the first candidate, the one that it
// recommends itself: both would be installed.
func (s *search) followRecommends(ids []id) []id {
	for from := 0; from < len(ids); from++ {
		i := slices.IndexFunc(ids[from:], func(n id) bool { return n != ids[0] && slices.Contains(s.recommendedBy[n], ids[0]) })
		if i < 0 {
			break
		}
		n := ids[from+i]
		ids = append([]id{n}, slices.Delete(ids, from+i, from+i+1)...)
	}
	return ids
}

func (p *pool) priority(n id) int {
	if v := p.pkgs[n].Priority; v != 0 {
		return v
	}
	return DefaultPriority
}

func (p *pool) bestPriority(ids []id) []id {
	top := p.priority(ids[0])
	for _, n := range ids[1:] {
		top = min(top, p.priority(n))
	}
	return slices.DeleteFunc(ids, func(n id) bool { return p.priority(n) != top })
}

// bestArch keeps the machine's own architecture and noarch where there is a
// choice, else the best of the others.
func (p *pool) bestArch(ids []id) []id {
	top := 0
	for _, n := range ids {
		if c := p.arch[p.pkgs[n].Arch]; c != 0 && (top == 0 || c < top) {
			top = c
		}
	}
	return slices.DeleteFunc(ids, func(n id) bool {
		c := p.arch[p.pkgs[n].Arch]
		return c != 0 && c != top
	})
}

// bestVersion keeps the newest of each name, in the order of names.
func (p *pool) bestVersion(ids []id) []id {
	slices.SortFunc(ids, func(x, y id) int {
		a, b := p.pkgs[x], p.pkgs[y]
		if c := strings.Compare(a.Name, b.Name); c != 0 {
			return c
		}
		if c := b.Compare(a.EVR); c != 0 {
			return c
		}
		if c := cmp.Compare(p.arch[a.Arch], p.arch[b.Arch]); c != 0 {
			return c
		}
		return cmp.Compare(x, y)
	})
	return slices.CompactFunc(ids, func(x, y id) bool { return p.pkgs[x].Name == p.pkgs[y].Name })
}

// dropObsoleted drops candidates that another candidate replaces.
func (p *pool) dropObsoleted(ids []id) []id {
	return slices.DeleteFunc(slices.Clone(ids), func(o id) bool {
		for _, n := range ids {
			if n == o {
				continue
			}
			for i := range p.pkgs[n].Obsoletes {
				// Two that obsolete each other: the first stays.
				if p.obsoletes(&p.pkgs[n].Obsoletes[i], o) && (n < o || !p.obsoletesAny(o, n)) {
					return true
				}
			}
		}
		return false
	})
}

func (p *pool) obsoletesAny(n, o id) bool {
	for i := range p.pkgs[n].Obsoletes {
		if p.obsoletes(&p.pkgs[n].Obsoletes[i], o) {
			return true
		}
	}
	return false
}

// preferRecommended keeps the candidates that something installed recommends, or
// that supplement it, if there are any. It does so too when weak dependencies are
// not installed.
func (s *search) preferRecommended(ids []id) []id {
	var wanted []id
	for _, n := range ids {
		if s.isRecommended(n) || s.isSupplementing(n) {
			wanted = append(wanted, n)
		}
	}
	if len(wanted) > 0 {
		return wanted
	}
	return ids
}

func (s *search) isRecommended(n id) bool {
	return slices.ContainsFunc(s.recommendedBy[n], func(o id) bool { return s.value[o] > 0 })
}

func (s *search) isSupplementing(n id) bool {
	deps := s.pkgs[n].Supplements
	for i := range deps {
		// Unlike a requirement, "(a if b)" is not fulfilled without b.
		if r := deps[i].Rich; r != nil && r.Op == rpm.If && len(r.Args) == 2 && !s.holds(&r.Args[1]) {
			continue
		}
		if s.holds(&deps[i]) {
			return true
		}
	}
	return false
}

// preferSuggested puts candidates first that something installed suggests, or
// that enhance it.
func (s *search) preferSuggested(ids []id) []id {
	rank := func(n id) int {
		if slices.ContainsFunc(s.suggestedBy[n], func(o id) bool { return s.value[o] > 0 }) || s.anyHolds(s.pkgs[n].Enhances) {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(ids, func(a, b id) int { return cmp.Compare(rank(a), rank(b)) })
	return ids
}

func (s *search) anyHolds(deps []rpm.Dep) bool {
	for i := range deps {
		if s.holds(&deps[i]) {
			return true
		}
	}
	return false
}

// preferNewest puts candidates last of which there is a newer version that is no
// candidate: their names are on the way out. Among themselves they come in
// reverse, as libsolv has it.
func (s *search) preferNewest(ids []id) []id {
	var fresh, old []id
	for _, n := range ids {
		if s.isOld(n) {
			old = append([]id{n}, old...)
		} else {
			fresh = append(fresh, n)
		}
	}
	return append(fresh, old...)
}

func (p *pool) isOld(n id) bool {
	pkg := p.pkgs[n]
	return slices.ContainsFunc(p.named(pkg.Name), func(o id) bool {
		other := p.pkgs[o]
		return other.Arch == pkg.Arch && p.priority(o) <= p.priority(n) &&
			(p.priority(o) < p.priority(n) || other.Compare(pkg.EVR) > 0)
	})
}

// preferHigherProvides puts the candidate first that provides a higher version
// of something that another candidate provides too, as of two generations of a
// library. Where they disagree about which is higher, the order stays.
func (s *search) preferHigherProvides(ids []id) []id {
	for i := 1; i < len(ids); i++ {
		for j := i; j > 0 && s.compareProvides(ids[j-1], ids[j]) < 0; j-- {
			ids[j-1], ids[j] = ids[j], ids[j-1]
		}
	}
	return ids
}

func (p *pool) compareProvides(a, b id) int {
	result := 0
	for i := range p.pkgs[a].Provides {
		x := &p.pkgs[a].Provides[i]
		if x.Flags&rpm.CompareMask != rpm.Equal {
			continue
		}
		for j := range p.pkgs[b].Provides {
			y := &p.pkgs[b].Provides[j]
			if y.Name != x.Name || y.Flags&rpm.CompareMask != rpm.Equal {
				continue
			}
			c := x.EVR.Compare(y.EVR)
			if c != 0 && result != 0 && c != result {
				return 0
			}
			if c != 0 {
				result = c
			}
		}
	}
	return result
}
