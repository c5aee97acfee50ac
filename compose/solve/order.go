package solve

import (
	"cmp"
	"container/heap"
	"slices"
	"strings"

	"photree/compose/rpm"
)

// Order sorts packages for installation: each after what it requires. Where
// requirements form a circle, those that scripts need count more
// (rpm.InstallMask); where these form a circle too, the package with the fewest
// of them left goes first. The order depends on nothing but the packages.
//
// A primary index only says whether a requirement is needed by scripts; who has
// the package headers can call Order again with their dependencies.
func Order(pkgs []*Package) []*Package {
	o := orderer{pkgs: slices.Clone(pkgs)}
	slices.SortStableFunc(o.pkgs, func(a, b *Package) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), a.Compare(b.EVR), strings.Compare(a.Arch, b.Arch), strings.Compare(a.Repo, b.Repo))
	})
	o.edges()
	all := make([]int, len(o.pkgs))
	for i := range all {
		all[i] = i
	}
	o.sort(all, false)
	out := make([]*Package, len(o.done))
	for i, n := range o.done {
		out[i] = o.pkgs[n]
	}
	return out
}

type orderer struct {
	pkgs   []*Package
	needs  [][]int // everything a package requires
	strong [][]int // what its scripts require
	done   []int
}

func (o *orderer) edges() {
	p := newPool(Request{Available: o.pkgs, Arch: anyArch(o.pkgs)})
	back := make(map[*Package]int, len(o.pkgs))
	for i, pkg := range o.pkgs {
		back[pkg] = i
	}
	o.needs, o.strong = make([][]int, len(o.pkgs)), make([][]int, len(o.pkgs))
	for i, pkg := range o.pkgs {
		for d := range pkg.Requires {
			dep := &pkg.Requires[d]
			eachLeaf(dep, func(l *rpm.Dep) {
				for _, n := range p.providers(l) {
					to := back[p.pkgs[n]]
					if to == i {
						continue
					}
					o.needs[i] = append(o.needs[i], to)
					if (dep.Flags|l.Flags)&rpm.InstallMask != 0 {
						o.strong[i] = append(o.strong[i], to)
					}
				}
			})
		}
		for _, list := range []*[]int{&o.needs[i], &o.strong[i]} {
			slices.Sort(*list)
			*list = slices.Compact(*list)
		}
	}
}

// anyArch makes every package of a transaction installable: it was decided
// before that they are.
func anyArch(pkgs []*Package) string {
	arch := ""
	for _, p := range pkgs {
		if p.Arch != noarch && (arch == "" || !is32(p.Arch)) {
			arch = p.Arch
		}
	}
	return arch
}

// sort appends a set of packages to done: circles as one, in the order of what
// they need.
func (o *orderer) sort(set []int, strongOnly bool) {
	graph := o.needs
	if strongOnly {
		graph = o.strong
	}
	comps, compOf := circles(set, graph)
	waits := make([]int, len(comps)) // how many circles a circle waits for
	users := make([][]int, len(comps))
	for c, members := range comps {
		var before []int
		for _, n := range members {
			for _, m := range graph[n] {
				if k, ok := compOf[m]; ok && k != c {
					before = append(before, k)
				}
			}
		}
		slices.Sort(before)
		for _, k := range slices.Compact(before) {
			waits[c]++
			users[k] = append(users[k], c)
		}
	}
	ready := &intHeap{key: func(c int) int { return comps[c][0] }}
	for c := range comps {
		if waits[c] == 0 {
			heap.Push(ready, c)
		}
	}
	for ready.Len() > 0 {
		c := heap.Pop(ready).(int)
		switch members := comps[c]; {
		case len(members) == 1:
			o.done = append(o.done, members[0])
		case !strongOnly:
			o.sort(members, true)
		default:
			o.breakCircle(members)
		}
		for _, u := range users[c] {
			if waits[u]--; waits[u] == 0 {
				heap.Push(ready, u)
			}
		}
	}
}

// breakCircle takes from a circle of script requirements the package with the
// fewest unmet ones; of equals the one that most others wait for.
func (o *orderer) breakCircle(members []int) {
	left := map[int]bool{}
	for _, n := range members {
		left[n] = true
	}
	for len(left) > 0 {
		best, bestUnmet, bestUsers := -1, 0, 0
		for _, n := range members {
			if !left[n] {
				continue
			}
			unmet, users := 0, 0
			for _, m := range o.strong[n] {
				if left[m] {
					unmet++
				}
			}
			for _, m := range members {
				if left[m] && slices.Contains(o.strong[m], n) {
					users++
				}
			}
			if best < 0 || unmet < bestUnmet || unmet == bestUnmet && users > bestUsers {
				best, bestUnmet, bestUsers = n, unmet, users
			}
		}
		o.done = append(o.done, best)
		delete(left, best)
	}
}

// circles gives the strongly connected components of a part of a graph, each
// sorted (Tarjan's algorithm, with its own stack: chains can be long).
func circles(set []int, graph [][]int) (comps [][]int, compOf map[int]int) {
	in := make(map[int]bool, len(set))
	for _, n := range set {
		in[n] = true
	}
	compOf = make(map[int]int, len(set))
	order, low := map[int]int{}, map[int]int{}
	onStack := map[int]bool{}
	var stack []int
	type frame struct{ n, next int }
	for _, root := range set {
		if _, seen := order[root]; seen {
			continue
		}
		frames := []frame{{root, 0}}
		for len(frames) > 0 {
			f := &frames[len(frames)-1]
			n := f.n
			if f.next == 0 {
				order[n], low[n] = len(order)+1, len(order)+1
				stack = append(stack, n)
				onStack[n] = true
			}
			down := false
			for f.next < len(graph[n]) {
				m := graph[n][f.next]
				f.next++
				if !in[m] {
					continue
				}
				if _, seen := order[m]; !seen {
					frames = append(frames, frame{m, 0})
					down = true
					break
				}
				if onStack[m] {
					low[n] = min(low[n], order[m])
				}
			}
			if down {
				continue
			}
			frames = frames[:len(frames)-1]
			if len(frames) > 0 {
				parent := frames[len(frames)-1].n
				low[parent] = min(low[parent], low[n])
			}
			if low[n] != order[n] {
				continue
			}
			var comp []int
			for {
				m := stack[len(stack)-1]
				stack = stack[:len(stack)-1]
				onStack[m] = false
				compOf[m] = len(comps)
				comp = append(comp, m)
				if m == n {
					break
				}
			}
			slices.Sort(comp)
			comps = append(comps, comp)
		}
	}
	return comps, compOf
}

type intHeap struct {
	items []int
	key   func(int) int
}

func (h *intHeap) Len() int           { return len(h.items) }
func (h *intHeap) Less(i, j int) bool { return h.key(h.items[i]) < h.key(h.items[j]) }
func (h *intHeap) Swap(i, j int)      { h.items[i], h.items[j] = h.items[j], h.items[i] }
func (h *intHeap) Push(x any)         { h.items = append(h.items, x.(int)) }
func (h *intHeap) Pop() any {
	x := h.items[len(h.items)-1]
	h.items = h.items[:len(h.items)-1]
	return x
}
