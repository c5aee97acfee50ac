package lzma

const (
	maxOpts  = 4096
	infinity = 1 << 30
)

// node is a position that a path of symbols leads to, with the cheapest such path.
type node struct {
	price uint32
	prev  int32  // the position before the last symbol, relative to the start
	dist  uint32 // of the last symbol; noDist is a literal
	// Once all paths here are known:
	state uint32
	reps  [4]uint32
}

// nextMatches returns the matches at the next position of the match finder.
func (e *encoder) nextMatches() []match {
	if e.isAhead {
		e.isAhead = false
		return e.ahead
	}
	return e.mf.find()
}

// decide puts a symbol into the queue and passes over the positions that it covers besides the first.
func (e *encoder) decide(n, dist uint32) {
	e.queue = append(e.queue, match{n, dist})
	e.mf.skip(int(n) - 1)
}

// repLength returns how long what stands at pos is a match at the distance d.
func (e *encoder) repLength(pos int, d uint32) uint32 {
	limit := min(len(e.data)-pos, maxMatch)
	from := pos - int(d) - 1
	if from < 0 {
		return 0
	}
	return uint32(commonLength(e.data[from:], e.data[pos:], limit))
}

// longest returns the last match, to its full length.
func (e *encoder) longest(pos int, ms []match) match {
	if len(ms) == 0 {
		return match{0, noDist}
	}
	m := &ms[len(ms)-1]
	if int(m.len) == e.mf.nice {
		m.len = e.repLength(pos, m.dist)
	}
	return *m
}

// parse decides about the next symbols: it finds the cheapest path to some position ahead, at the prices of now.
func (e *encoder) parse() {
	e.queue = e.queue[:0]
	ms := e.nextMatches()
	main := e.longest(e.pos, ms)
	var repLens [4]uint32
	best := 0
	for i, d := range e.reps {
		repLens[i] = e.repLength(e.pos, d)
		if repLens[i] > repLens[best] {
			best = i
		}
	}
	nice := uint32(e.mf.nice)
	switch {
	case repLens[best] >= nice:
		e.decide(repLens[best], e.reps[best])
		return
	case main.len >= nice:
		e.decide(main.len, main.dist)
		return
	case main.len < minMatch && repLens[best] < 1:
		e.decide(1, noDist)
		return
	}
	e.updatePrices()
	if e.opts == nil {
		e.opts = make([]node, maxOpts+maxMatch+1)
	}
	e.opts[0] = node{state: e.state, reps: e.reps}
	end := e.relax(0, 0, ms, repLens)
	cur := 1
	for ; cur < end && cur < maxOpts; cur++ {
		e.finish(cur)
		pos := e.pos + cur
		ms := e.nextMatches()
		if main := e.longest(pos, ms); main.len >= nice {
			e.ahead, e.isAhead = append(e.ahead[:0], ms...), true
			break
		}
		o := &e.opts[cur]
		var repLens [4]uint32
		for i, d := range o.reps {
			repLens[i] = e.repLength(pos, d)
		}
		end = e.relax(cur, end, ms, repLens)
	}
	e.trace(cur)
}

// finish fills in what the cheapest path to a node makes of the state.
func (e *encoder) finish(i int) {
	o := &e.opts[i]
	p := &e.opts[o.prev]
	n := i - int(o.prev)
	o.reps = p.reps
	switch {
	case n == 1 && o.dist == noDist:
		o.state = afterLiteral(p.state)
		return
	case n == 1:
		o.state = afterShortRep(p.state)
		return
	}
	for k, d := range p.reps {
		if d == o.dist {
			copy(o.reps[1:k+1], p.reps[:k])
			o.reps[0] = d
			o.state = afterRep(p.state)
			return
		}
	}
	o.reps = [4]uint32{o.dist, p.reps[0], p.reps[1], p.reps[2]}
	o.state = afterMatch(p.state)
}

// relax tries all symbols that can follow the node at cur, and returns how far any path reaches.
func (e *encoder) relax(cur, end int, ms []match, repLens [4]uint32) int {
	o := &e.opts[cur]
	pos := e.pos + cur
	if pos >= len(e.data) {
		return end
	}
	posState := uint32(pos) & (1<<e.pb - 1)
	reach := func(to int) {
		for end < to {
			end++
			e.opts[end].price = infinity
		}
	}
	reach(cur + 1)
	isMatch := e.isMatch[o.state][posState]
	next := &e.opts[cur+1]
	if p := o.price + price0(isMatch) + e.literalPrice(pos, o.state, o.reps[0]); p < next.price {
		next.price, next.prev, next.dist = p, int32(cur), noDist
	}
	matchPrice := o.price + price1(isMatch)
	repPrice := matchPrice + price1(e.isRep[o.state])
	if repLens[0] >= 1 {
		p := repPrice + price0(e.isRepG0[o.state]) + price0(e.isRepLong[o.state][posState])
		if p < next.price {
			next.price, next.prev, next.dist = p, int32(cur), o.reps[0]
		}
	}
	for i, n := range repLens {
		if n < minMatch {
			continue
		}
		reach(cur + int(n))
		base := repPrice + e.repPrice(uint32(i), o.state, posState)
		for l := n; l >= minMatch; l-- {
			p := base + e.lenRep.price(l, posState)
			if to := &e.opts[cur+int(l)]; p < to.price {
				to.price, to.prev, to.dist = p, int32(cur), o.reps[i]
			}
		}
	}
	if len(ms) == 0 {
		return end
	}
	reach(cur + int(ms[len(ms)-1].len))
	normal := matchPrice + price0(e.isRep[o.state])
	l := uint32(minMatch)
	for _, m := range ms {
		for ; l <= m.len; l++ {
			p := normal + e.lenMatch.price(l, posState) + e.distPrice(m.dist, lenState(l))
			if to := &e.opts[cur+int(l)]; p < to.price {
				to.price, to.prev, to.dist = p, int32(cur), m.dist
			}
		}
	}
	return end
}

// trace puts the symbols of the cheapest path to a node into the queue.
func (e *encoder) trace(i int) {
	n := 0
	for j := i; j > 0; j = int(e.opts[j].prev) {
		n++
	}
	for range n {
		e.queue = append(e.queue, match{})
	}
	for j := i; j > 0; j = int(e.opts[j].prev) {
		n--
		e.queue[n] = match{uint32(j) - uint32(e.opts[j].prev), e.opts[j].dist}
	}
}
