package solve

import (
	"context"
	"fmt"
	"slices"

	"photree/compose/rpm"
)

// clauseKind says where a clause comes from, for explanations.
type clauseKind uint8

const (
	fromJob clauseKind = iota
	fromRequires
	fromConflict
	fromObsoletes
	fromSameName
	fromArch // a 32 bit package on a 64 bit machine
	learned
)

// clause is a disjunction of literals: id for installed, -id for not.
type clause struct {
	lits  []int32
	kind  clauseKind
	pkg   id       // whose dependency it is; of a job, its number
	other id       // of a conflict between two packages
	dep   *rpm.Dep // nil for jobs and equal names
	from  []int32  // of a learned clause: what it was derived from
}

// rules are the clauses over all packages that can be reached from the jobs.
type rules struct {
	*pool
	recommends  bool
	installOnly map[string]bool
	wanted      []job
	clauses     []clause
	reached     []bool // by id: in the queue or done
	done        []bool // by id: has its clauses
	queue       []id
	later       []pending // dependencies on paths that lookup must be asked about
	weakOnes    []id      // packages with Supplements

	tied          map[id]bool // 32 bit packages that inferior has seen, or that were asked for by architecture
	recommendedBy map[id][]id
	suggestedBy   map[id][]id
}

type pending struct {
	pkg  id
	kind clauseKind
	dep  *rpm.Dep
}

// maxClauses bounds what one rich dependency may expand to.
const maxClauses = 4096

func (r *rules) build(ctx context.Context, jobs []job) error {
	r.wanted = jobs
	r.tied = map[id]bool{}
	for _, j := range jobs {
		if !slices.ContainsFunc(j.any, func(n id) bool { return r.arch[r.pkgs[n].Arch] <= 1 }) {
			for _, n := range j.any {
				r.tied[n] = true
			}
		}
	}
	r.recommendedBy, r.suggestedBy = map[id][]id{}, map[id][]id{}
	r.reached, r.done = make([]bool, len(r.pkgs)), make([]bool, len(r.pkgs))
	if r.recommends {
		for n, pkg := range r.pkgs[1:] {
			if len(pkg.Supplements) > 0 {
				r.weakOnes = append(r.weakOnes, id(n+1))
			}
		}
	}
	for i := range jobs {
		j := &jobs[i]
		if j.rich == nil {
			r.clause(clause{lits: slices.Clone(j.any), kind: fromJob, pkg: id(i)})
			continue
		}
		cnf, err := r.cnf(j.rich, false)
		if err != nil {
			return fmt.Errorf("the package %q: %w", j.token, err)
		}
		for _, lits := range cnf {
			r.clause(clause{lits: lits, kind: fromJob, pkg: id(i), dep: j.rich})
		}
	}
	for {
		if err := r.drain(ctx); err != nil {
			return err
		}
		if !r.reachSupplements() && !r.inferior() {
			return nil
		}
	}
}

// inferior ties 32 bit packages to the machine's own architecture, as libsolv
// does: one may be installed beside the same version of the own architecture, or
// where there is none, but not in place of it. It says whether it reached more.
func (r *rules) inferior() bool {
	for n, pkg := range r.pkgs {
		if n == 0 || !r.reached[n] || r.arch[pkg.Arch] <= 1 || r.tied[id(n)] {
			continue
		}
		var same []int32
		better := false
		for _, o := range r.named(pkg.Name) {
			if r.arch[r.pkgs[o].Arch] == 1 {
				better = better || r.reached[o]
				if r.pkgs[o].EVR == pkg.EVR {
					same = append(same, o)
				}
			}
		}
		if len(same) > 0 || better {
			r.tied[id(n)] = true
			r.clause(clause{lits: append([]int32{-id(n)}, same...), kind: fromArch, pkg: id(n)})
		}
	}
	return len(r.queue) > 0
}

// drain adds the clauses of all queued packages, and of those that they reach.
func (r *rules) drain(ctx context.Context) error {
	for len(r.queue) > 0 || len(r.later) > 0 {
		for len(r.queue) > 0 {
			n := r.queue[0]
			r.queue = r.queue[1:]
			if err := r.pkgClauses(n); err != nil {
				return err
			}
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if len(r.later) == 0 {
			continue
		}
		var paths []string
		for _, l := range r.later {
			paths = append(paths, r.missing(l.dep)...)
		}
		if len(paths) > 0 {
			if err := r.ask(ctx, paths); err != nil {
				return err
			}
		}
		list := r.later
		r.later = nil
		for _, l := range list {
			if err := r.depClauses(l.pkg, l.kind, l.dep); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *rules) reach(n id) {
	if !r.reached[n] {
		r.reached[n] = true
		r.queue = append(r.queue, n)
	}
}

// clause adds a clause and reaches every package that it could install.
func (r *rules) clause(c clause) {
	for _, l := range c.lits {
		if l > 0 {
			r.reach(l)
		}
	}
	r.clauses = append(r.clauses, c)
}

func (r *rules) pkgClauses(n id) error {
	pkg := r.pkgs[n]
	for i := range pkg.Requires {
		if err := r.depClauses(n, fromRequires, &pkg.Requires[i]); err != nil {
			return err
		}
	}
	for i := range pkg.Conflicts {
		if err := r.depClauses(n, fromConflict, &pkg.Conflicts[i]); err != nil {
			return err
		}
	}
	for i := range pkg.Obsoletes {
		d := &pkg.Obsoletes[i]
		for _, o := range r.named(d.Name) {
			if o != n && r.obsoletes(d, o) {
				r.clauses = append(r.clauses, clause{lits: []int32{-n, -o}, kind: fromObsoletes, pkg: n, other: o, dep: d})
			}
		}
	}
	for _, o := range r.named(pkg.Name) {
		if r.done[o] { // so that each pair comes once
			r.sameName(n, o)
		}
	}
	r.done[n] = true
	for i := range pkg.Recommends {
		d := &pkg.Recommends[i]
		if r.recommends && r.missing(d) != nil {
			r.later = append(r.later, pending{n, learned, d})
			continue
		}
		r.reachWeak(n, d)
	}
	for i := range pkg.Suggests {
		r.eachChoice(&pkg.Suggests[i], func(o id) { r.suggestedBy[o] = append(r.suggestedBy[o], n) })
	}
	return nil
}

// sameName keeps two packages of one name apart, but for multilib and for names
// of which several versions may be installed.
func (r *rules) sameName(n, o id) {
	a, b := r.pkgs[n], r.pkgs[o]
	if !r.arch.sameSlot(a.Arch, b.Arch) {
		return
	}
	if r.installOnly[a.Name] && (a.Compare(b.EVR) != 0 || a.Arch != b.Arch) {
		return
	}
	r.clauses = append(r.clauses, clause{lits: []int32{-n, -o}, kind: fromSameName, pkg: n, other: o})
}

// depClauses adds the clauses of one Requires or Conflicts.
func (r *rules) depClauses(n id, kind clauseKind, d *rpm.Dep) error {
	if d.IsRPMLib() {
		return nil // a feature of whoever installs the package
	}
	if r.missing(d) != nil {
		r.later = append(r.later, pending{n, kind, d})
		return nil
	}
	if kind == learned { // a Recommends that had to wait
		r.reachWeak(n, d)
		return nil
	}
	if d.Rich == nil {
		r.plainClauses(n, kind, d)
		return nil
	}
	cnf, err := r.cnf(d, kind == fromConflict)
	if err != nil {
		return fmt.Errorf("package %s: %w", describe(r.pkgs[n]), err)
	}
	for _, lits := range cnf {
		// A package may conflict with what only it provides itself.
		self := kind == fromConflict && len(lits) == 1 && lits[0] == -n
		if !self && !slices.Contains(lits, n) {
			r.clause(clause{lits: append([]int32{-n}, lits...), kind: kind, pkg: n, dep: d})
		}
	}
	return nil
}

func (r *rules) plainClauses(n id, kind clauseKind, d *rpm.Dep) {
	ids := r.providers(d)
	if kind == fromConflict {
		for _, o := range ids {
			if o != n {
				r.clauses = append(r.clauses, clause{lits: []int32{-n, -o}, kind: kind, pkg: n, other: o, dep: d})
			}
		}
		return
	}
	if slices.Contains(ids, n) {
		return
	}
	lits := make([]int32, 1, 1+len(ids))
	lits[0] = -n
	r.clause(clause{lits: append(lits, ids...), kind: kind, pkg: n, dep: d})
}

// cnf expands a dependency to clauses, or its negation.
func (r *rules) cnf(d *rpm.Dep, negate bool) ([][]int32, error) {
	if d.Rich == nil || d.Rich.Op == rpm.With || d.Rich.Op == rpm.Without {
		ids := r.matching(d)
		if !negate {
			return [][]int32{slices.Clone(ids)}, nil
		}
		var out [][]int32
		for _, i := range ids {
			out = append(out, []int32{-i})
		}
		return out, nil
	}
	args := d.Rich.Args
	part := func(i int, neg bool) ([][]int32, error) { return r.cnf(&args[i], neg != negate) }
	switch d.Rich.Op {
	case rpm.And, rpm.Or:
		var out [][]int32
		for i := range args {
			c, err := part(i, false)
			if err != nil {
				return nil, err
			}
			switch {
			case i == 0:
				out = c
			case (d.Rich.Op == rpm.And) != negate:
				out = append(out, c...)
			default:
				out, err = cross(out, c)
			}
			if err != nil {
				return nil, fmt.Errorf("the dependency %s: %w", d.Name, err)
			}
		}
		return out, nil
	}
	// (a if b else c) is (a or not b) and (c or b);
	// (a unless b else c) is (a and not b) or (c and b), as clauses
	// (a or b) and (not b or c), and without "else" a and not b.
	not := func(d rpm.Dep) rpm.Dep { return rpm.Dep{Name: d.Name, Rich: &rpm.Rich{Op: opNot, Args: []rpm.Dep{d}}} }
	rich := func(op rpm.RichOp, a ...rpm.Dep) rpm.Dep {
		return rpm.Dep{Name: d.Name, Rich: &rpm.Rich{Op: op, Args: a}}
	}
	var e rpm.Dep
	switch {
	case d.Rich.Op == opNot:
		return r.cnf(&args[0], !negate)
	case d.Rich.Op == rpm.If && len(args) == 2:
		e = rich(rpm.Or, args[0], not(args[1]))
	case d.Rich.Op == rpm.If:
		e = rich(rpm.And, rich(rpm.Or, args[0], not(args[1])), rich(rpm.Or, args[2], args[1]))
	case len(args) == 2:
		e = rich(rpm.And, args[0], not(args[1]))
	default:
		e = rich(rpm.And, rich(rpm.Or, args[0], args[1]), rich(rpm.Or, not(args[1]), args[2]))
	}
	return r.cnf(&e, negate)
}

// opNot is an operator that only cnf makes.
const opNot rpm.RichOp = "not"

// cross gives the clauses of "a or b".
func cross(a, b [][]int32) ([][]int32, error) {
	if len(a)*len(b) > maxClauses {
		return nil, fmt.Errorf("it is too complex: it expands to more than %d clauses", maxClauses)
	}
	out := make([][]int32, 0, len(a)*len(b))
	for _, x := range a {
	next:
		for _, y := range b {
			c := slices.Clone(x)
			for _, l := range y {
				if slices.Contains(x, -l) {
					continue next // always true
				}
				if !slices.Contains(x, l) {
					c = append(c, l)
				}
			}
			out = append(out, c)
		}
	}
	return out, nil
}

// matching gives the single packages that satisfy a dependency; for "with" and
// "without" those that satisfy both sides, or the first and not the second.
func (r *rules) matching(d *rpm.Dep) []id {
	if d.Rich == nil {
		return r.providers(d)
	}
	out := slices.Clone(r.matching(&d.Rich.Args[0]))
	for i := range d.Rich.Args[1:] {
		other := r.matching(&d.Rich.Args[i+1])
		switch d.Rich.Op {
		case rpm.With:
			out = slices.DeleteFunc(out, func(n id) bool { return !slices.Contains(other, n) })
		case rpm.Without:
			out = slices.DeleteFunc(out, func(n id) bool { return slices.Contains(other, n) })
		default: // "or" inside of "with"
			out = append(out, other...)
			slices.Sort(out)
			out = slices.Compact(out)
		}
	}
	return out
}

// reachWeak reaches what a Recommends of n could install.
func (r *rules) reachWeak(n id, d *rpm.Dep) {
	r.eachChoice(d, func(o id) {
		r.recommendedBy[o] = append(r.recommendedBy[o], n)
		if r.recommends {
			r.reach(o)
		}
	})
}

// eachChoice gives the packages that could help to fulfill a dependency.
func (r *rules) eachChoice(d *rpm.Dep, do func(id)) {
	if d.Rich == nil || d.Rich.Op == rpm.With || d.Rich.Op == rpm.Without {
		for _, o := range r.matching(d) {
			do(o)
		}
		return
	}
	for i := range d.Rich.Args {
		if i == 1 && (d.Rich.Op == rpm.If || d.Rich.Op == rpm.Unless) {
			continue // the condition
		}
		r.eachChoice(&d.Rich.Args[i], do)
	}
}

// reachSupplements reaches packages whose Supplements could come true, and says
// whether there were any that are new.
func (r *rules) reachSupplements() bool {
	for _, n := range r.weakOnes {
		if r.reached[n] {
			continue
		}
		deps := r.pkgs[n].Supplements
		for i := range deps {
			if r.possible(&deps[i]) {
				r.reach(n)
				break
			}
		}
	}
	return len(r.queue) > 0
}

func (r *rules) possible(d *rpm.Dep) bool {
	if d.Rich == nil {
		return slices.ContainsFunc(r.providers(d), func(n id) bool { return r.reached[n] })
	}
	args := d.Rich.Args
	switch d.Rich.Op {
	case rpm.And, rpm.With:
		for i := range args {
			if !r.possible(&args[i]) {
				return false
			}
		}
		return true
	case rpm.Or:
		return slices.ContainsFunc(args, func(a rpm.Dep) bool { return r.possible(&a) })
	case rpm.Without, rpm.Unless:
		return r.possible(&args[0]) || len(args) > 2 && r.possible(&args[2])
	}
	return true
}
