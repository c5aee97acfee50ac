package rpmdb

import (
	"slices"

	"photree/compose/rpm"
)

// Change is one package that has another version on the new side.
type Change struct {
	Old, New rpm.NEVRA
}

// Difference is what changed between two package sets; each list is sorted by
// name.
type Difference struct {
	Upgraded   []Change
	Downgraded []Change
	Removed    []rpm.NEVRA
	Added      []rpm.NEVRA
}

// IsEmpty says whether the two sets are equal.
func (d Difference) IsEmpty() bool {
	return len(d.Upgraded)+len(d.Downgraded)+len(d.Removed)+len(d.Added) == 0
}

// NEVRAs gives the names of packages.
func NEVRAs(pkgs []*rpm.Package) []rpm.NEVRA {
	out := make([]rpm.NEVRA, len(pkgs))
	for i, p := range pkgs {
		out[i] = p.NEVRA
	}
	return out
}

// Diff compares two package sets. Packages are paired by name, and by name and
// architecture where a set holds several of one name; of what is left over,
// one side was removed and the other added.
func Diff(old, new []rpm.NEVRA) Difference {
	was, is := group(old), group(new)
	names := make([]string, 0, len(was)+len(is))
	for n := range was {
		names = append(names, n)
	}
	for n := range is {
		if _, both := was[n]; !both {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	var d Difference
	for _, n := range names {
		gone, come := without(was[n], is[n]), without(is[n], was[n])
		if len(gone) > 1 || len(come) > 1 {
			gone, come = d.pair(gone, come, func(a, b rpm.NEVRA) bool { return a.Arch == b.Arch })
		}
		gone, come = d.pair(gone, come, func(a, b rpm.NEVRA) bool { return true })
		d.Removed = append(d.Removed, gone...)
		d.Added = append(d.Added, come...)
	}
	return d
}

// pair records what matches as changed and returns the rest.
func (d *Difference) pair(gone, come []rpm.NEVRA, match func(a, b rpm.NEVRA) bool) (restGone, restCome []rpm.NEVRA) {
	come = slices.Clone(come)
	for _, o := range gone {
		i := slices.IndexFunc(come, func(n rpm.NEVRA) bool { return match(o, n) })
		if i < 0 {
			restGone = append(restGone, o)
			continue
		}
		c := Change{o, come[i]}
		come = slices.Delete(come, i, i+1)
		if c.New.Compare(c.Old.EVR) < 0 {
			d.Downgraded = append(d.Downgraded, c)
		} else {
			d.Upgraded = append(d.Upgraded, c)
		}
	}
	return restGone, come
}

func group(set []rpm.NEVRA) map[string][]rpm.NEVRA {
	out := map[string][]rpm.NEVRA{}
	for _, n := range set {
		out[n.Name] = append(out[n.Name], n)
	}
	for _, g := range out {
		slices.SortFunc(g, compareNEVRA)
	}
	return out
}

func without(set, other []rpm.NEVRA) []rpm.NEVRA {
	var out []rpm.NEVRA
	for _, n := range set {
		if !slices.Contains(other, n) {
			out = append(out, n)
		}
	}
	return out
}
