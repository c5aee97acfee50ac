package solve

// sat is a clause-learning search for an assignment of packages. It decides
// nothing itself: its user does, and calls propagate.
type sat struct {
	clauses []clause
	watch   [][]int32 // by index(literal): the clauses that watch it
	value   []int8    // by variable: 1 installed, -1 not, 0 undecided
	level   []int32   // by variable
	reason  []int32   // by variable: the clause that forced it, or -1
	trail   []int32
	starts  []int // of each level in the trail
	head    int   // what of the trail has been propagated
	failed  int32 // the clause that cannot be satisfied whatever is decided, or -1
	seen    []bool
}

func index(l int32) int32 {
	if l < 0 {
		return -l<<1 | 1
	}
	return l << 1
}

func variable(l int32) int32 {
	if l < 0 {
		return -l
	}
	return l
}

func newSAT(vars int) *sat {
	return &sat{
		watch: make([][]int32, 2*vars), value: make([]int8, vars), level: make([]int32, vars),
		reason: make([]int32, vars), seen: make([]bool, vars), failed: -1,
	}
}

// of gives the value of a literal.
func (s *sat) of(l int32) int8 {
	if l < 0 {
		return -s.value[-l]
	}
	return s.value[l]
}

func (s *sat) depth() int32 { return int32(len(s.starts)) }

// add adds a clause before anything is decided.
func (s *sat) add(c clause) {
	n := int32(len(s.clauses))
	s.clauses = append(s.clauses, c)
	if s.failed >= 0 {
		return
	}
	switch len(c.lits) {
	case 0:
		s.failed = n
	case 1:
		switch s.of(c.lits[0]) {
		case 0:
			s.assign(c.lits[0], n)
		case -1:
			s.failed = n
		}
	default:
		s.watch[index(c.lits[0])] = append(s.watch[index(c.lits[0])], n)
		s.watch[index(c.lits[1])] = append(s.watch[index(c.lits[1])], n)
	}
}

func (s *sat) assign(l, reason int32) {
	v := variable(l)
	s.value[v] = 1
	if l < 0 {
		s.value[v] = -1
	}
	s.level[v] = s.depth()
	s.reason[v] = reason
	s.trail = append(s.trail, l)
}

func (s *sat) decide(l int32) {
	s.starts = append(s.starts, len(s.trail))
	s.assign(l, -1)
}

// propagate follows what is decided, and gives a clause that became false or -1.
func (s *sat) propagate() int32 {
	for s.head < len(s.trail) {
		falsified := -s.trail[s.head]
		s.head++
		list := s.watch[index(falsified)]
		keep := list[:0]
		for i := 0; i < len(list); i++ {
			n := list[i]
			lits := s.clauses[n].lits
			if lits[0] == falsified {
				lits[0], lits[1] = lits[1], lits[0]
			}
			if s.of(lits[0]) > 0 {
				keep = append(keep, n)
				continue
			}
			moved := false
			for j := 2; j < len(lits); j++ {
				if s.of(lits[j]) >= 0 {
					lits[1], lits[j] = lits[j], lits[1]
					s.watch[index(lits[1])] = append(s.watch[index(lits[1])], n)
					moved = true
					break
				}
			}
			if moved {
				continue
			}
			keep = append(keep, n)
			if s.of(lits[0]) < 0 {
				s.watch[index(falsified)] = append(keep, list[i+1:]...)
				return n
			}
			s.assign(lits[0], n)
		}
		s.watch[index(falsified)] = keep
	}
	return -1
}

// settle propagates and resolves conflicts by learning until there is none. It
// gives false when the clauses contradict each other.
func (s *sat) settle() bool {
	for s.failed < 0 {
		conflict := s.propagate()
		if conflict < 0 {
			return true
		}
		if s.depth() == 0 {
			s.failed = conflict
			break
		}
		s.learn(conflict)
	}
	return false
}

// learn derives the first-unique-implication-point clause of a conflict, undoes
// the levels that it contradicts, and asserts it.
func (s *sat) learn(conflict int32) {
	lits := []int32{0}
	from := []int32{conflict}
	open, at := 0, len(s.trail)
	var uip int32
	for c := conflict; ; {
		for _, l := range s.clauses[c].lits {
			v := variable(l)
			if s.seen[v] || l == uip {
				continue
			}
			if s.level[v] == 0 {
				continue // core follows the reasons of these
			}
			s.seen[v] = true
			if s.level[v] == s.depth() {
				open++
			} else {
				lits = append(lits, l)
			}
		}
		for {
			at--
			if s.seen[variable(s.trail[at])] {
				break
			}
		}
		uip = s.trail[at]
		s.seen[variable(uip)] = false
		if open--; open == 0 {
			break
		}
		c = s.reason[variable(uip)]
		from = append(from, c)
	}
	lits[0] = -uip
	back := int32(0)
	for i, l := range lits[1:] {
		s.seen[variable(l)] = false
		if s.level[variable(l)] > back {
			back = s.level[variable(l)]
			lits[1], lits[i+1] = lits[i+1], lits[1]
		}
	}
	s.undo(back)
	n := int32(len(s.clauses))
	s.clauses = append(s.clauses, clause{lits: lits, kind: learned, from: from})
	if len(lits) > 1 {
		s.watch[index(lits[0])] = append(s.watch[index(lits[0])], n)
		s.watch[index(lits[1])] = append(s.watch[index(lits[1])], n)
	}
	s.assign(lits[0], n)
}

func (s *sat) undo(level int32) {
	if level >= s.depth() {
		return
	}
	for _, l := range s.trail[s.starts[level]:] {
		s.value[variable(l)] = 0
	}
	s.trail = s.trail[:s.starts[level]]
	s.starts = s.starts[:level]
	s.head = len(s.trail)
}

// core gives the original clauses that the failure was derived from.
func (s *sat) core() []int32 {
	var out []int32
	visited := make([]bool, len(s.clauses))
	stack := []int32{s.failed}
	for len(stack) > 0 {
		n := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if n < 0 || visited[n] {
			continue
		}
		visited[n] = true
		c := &s.clauses[n]
		if c.kind == learned {
			stack = append(stack, c.from...)
		} else {
			out = append(out, n)
		}
		for _, l := range c.lits {
			if v := variable(l); s.value[v] != 0 && s.level[v] == 0 && s.reason[v] != n {
				stack = append(stack, s.reason[v])
			}
		}
	}
	return out
}
