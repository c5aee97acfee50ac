package lzma

const (
	states      = 12
	litStates   = 7 // the states below it follow a literal
	endPosModel = 14
	fullDist    = 1 << (endPosModel / 2)
	alignBits   = 4
)

// props are the three numbers that shape the contexts: how many bits of the last byte and of the position tell literals
// apart, and how many bits of the position everything else.
type props struct{ lc, lp, pb uint }

func (p props) encode() byte { return byte((p.pb*5+p.lp)*9 + p.lc) }

// lengthModel codes the lengths of matches.
type lengthModel struct {
	choice, choice2 prob
	low, mid        [16][8]prob
	high            [256]prob
	prices          [16][maxMatch - minMatch + 1]uint32
	left            [16]int // lengths to be coded until the prices are made anew
}

func (m *lengthModel) reset() {
	m.choice, m.choice2 = probHalf, probHalf
	for i := range m.low {
		resetProbs(m.low[i][:])
		resetProbs(m.mid[i][:])
		m.left[i] = 0
	}
	resetProbs(m.high[:])
}

func (m *lengthModel) encode(r *rangeEncoder, n, posState uint32) {
	n -= minMatch
	switch {
	case n < 8:
		r.bit(&m.choice, 0)
		r.tree(m.low[posState][:], 3, n)
	case n < 16:
		r.bit(&m.choice, 1)
		r.bit(&m.choice2, 0)
		r.tree(m.mid[posState][:], 3, n-8)
	default:
		r.bit(&m.choice, 1)
		r.bit(&m.choice2, 1)
		r.tree(m.high[:], 8, n-16)
	}
	m.left[posState]--
}

// price returns the price of a length.
func (m *lengthModel) price(n, posState uint32) uint32 {
	if m.left[posState] <= 0 {
		m.update(posState)
	}
	return m.prices[posState][n-minMatch]
}

func (m *lengthModel) update(posState uint32) {
	m.left[posState] = 128
	p := &m.prices[posState]
	a, b := price0(m.choice), price1(m.choice)
	c, d := b+price0(m.choice2), b+price1(m.choice2)
	for i := range uint32(8) {
		p[i] = a + treePrice(m.low[posState][:], 3, i)
		p[8+i] = c + treePrice(m.mid[posState][:], 3, i)
	}
	for i := uint32(16); i < uint32(len(p)); i++ {
		p[i] = d + treePrice(m.high[:], 8, i-16)
	}
}

// model is all that the coder has learned.
type model struct {
	props
	state     uint32
	reps      [4]uint32
	isMatch   [states][16]prob
	isRep     [states]prob
	isRepG0   [states]prob
	isRepG1   [states]prob
	isRepG2   [states]prob
	isRepLong [states][16]prob
	distSlot  [4][64]prob
	distSpec  [fullDist]prob // the trees of the slots 4 to 13, that of slot s from its lowest distance less s
	distAlign [1 << alignBits]prob
	literal   []prob
	lenMatch  lengthModel
	lenRep    lengthModel
}

func (m *model) reset() {
	m.state, m.reps = 0, [4]uint32{}
	for i := range m.isMatch {
		resetProbs(m.isMatch[i][:])
		resetProbs(m.isRepLong[i][:])
	}
	resetProbs(m.isRep[:])
	resetProbs(m.isRepG0[:])
	resetProbs(m.isRepG1[:])
	resetProbs(m.isRepG2[:])
	for i := range m.distSlot {
		resetProbs(m.distSlot[i][:])
	}
	resetProbs(m.distSpec[:])
	resetProbs(m.distAlign[:])
	if m.literal == nil {
		m.literal = make([]prob, 0x300<<(m.lc+m.lp))
	}
	resetProbs(m.literal)
	m.lenMatch.reset()
	m.lenRep.reset()
}

func (m *model) literalProbs(pos int, prev byte) []prob {
	ctx := uint(pos)&(1<<m.lp-1)<<m.lc + uint(prev)>>(8-m.lc)
	return m.literal[0x300*ctx:][:0x300]
}

// The state after each kind of symbol.
func afterLiteral(s uint32) uint32 {
	switch {
	case s < 4:
		return 0
	case s < 10:
		return s - 3
	}
	return s - 6
}

func after(s, lit, rest uint32) uint32 {
	if s < litStates {
		return lit
	}
	return rest
}

func afterMatch(s uint32) uint32    { return after(s, 7, 10) }
func afterRep(s uint32) uint32      { return after(s, 8, 11) }
func afterShortRep(s uint32) uint32 { return after(s, 9, 11) }

func lenState(n uint32) uint32 { return min(n-minMatch, 3) }

// encoder turns data into the symbols of LZMA.
type encoder struct {
	model
	rc    rangeEncoder
	data  []byte
	pos   int // of the next symbol
	mf    *matchFinder
	queue []match // symbols that are decided: a literal has the length 1 and no distance, a short rep has one

	ahead   []match // the matches at mf.pos-1, when they were looked up but not used
	isAhead bool

	opts        []node
	slotPrices  [4][64]uint32
	distPrices  [4][fullDist]uint32
	alignPrices [1 << alignBits]uint32
	distLeft    int // matches until the prices of distances are made anew
	alignLeft   int
}

const noDist = ^uint32(0)

// encodeNext writes one symbol and returns how many bytes it covers.
func (e *encoder) encodeNext() int {
	if len(e.queue) == 0 {
		e.parse()
	}
	s := e.queue[0]
	e.queue = e.queue[1:]
	posState := uint32(e.pos) & (1<<e.pb - 1)
	m, r := &e.model, &e.rc
	rep := uint32(4)
	for i := range m.reps {
		if s.dist == m.reps[i] {
			rep = uint32(i)
			break
		}
	}
	switch {
	case s.len == 1 && (s.dist == noDist || rep != 0):
		r.bit(&m.isMatch[m.state][posState], 0)
		e.encodeLiteral()
		m.state = afterLiteral(m.state)
	case rep < 4:
		r.bit(&m.isMatch[m.state][posState], 1)
		r.bit(&m.isRep[m.state], 1)
		e.encodeRep(rep, s.len, posState)
	default:
		r.bit(&m.isMatch[m.state][posState], 1)
		r.bit(&m.isRep[m.state], 0)
		m.state = afterMatch(m.state)
		m.lenMatch.encode(r, s.len, posState)
		e.encodeDist(s.dist, s.len)
		m.reps = [4]uint32{s.dist, m.reps[0], m.reps[1], m.reps[2]}
	}
	e.pos += int(s.len)
	return int(s.len)
}

func (e *encoder) encodeLiteral() {
	cur := uint32(e.data[e.pos])
	prev := byte(0)
	if e.pos > 0 {
		prev = e.data[e.pos-1]
	}
	probs := e.literalProbs(e.pos, prev)
	if e.state < litStates {
		e.rc.tree(probs, 8, cur)
		return
	}
	matched := uint32(e.data[e.pos-int(e.reps[0])-1])
	offset := uint32(0x100)
	for sym := cur | 0x100; sym < 0x10000; sym <<= 1 {
		matched <<= 1
		e.rc.bit(&probs[offset+matched&offset+sym>>8], sym>>7&1)
		offset &= ^(matched ^ sym<<1)
	}
}

func (e *encoder) encodeRep(rep, n, posState uint32) {
	m, r := &e.model, &e.rc
	if rep == 0 {
		r.bit(&m.isRepG0[m.state], 0)
		long := uint32(1)
		if n == 1 {
			long = 0
		}
		r.bit(&m.isRepLong[m.state][posState], long)
	} else {
		d := m.reps[rep]
		r.bit(&m.isRepG0[m.state], 1)
		if rep == 1 {
			r.bit(&m.isRepG1[m.state], 0)
		} else {
			r.bit(&m.isRepG1[m.state], 1)
			r.bit(&m.isRepG2[m.state], rep-2)
			if rep == 3 {
				m.reps[3] = m.reps[2]
			}
			m.reps[2] = m.reps[1]
		}
		m.reps[1], m.reps[0] = m.reps[0], d
	}
	if n == 1 {
		m.state = afterShortRep(m.state)
		return
	}
	m.lenRep.encode(r, n, posState)
	m.state = afterRep(m.state)
}

func (e *encoder) encodeDist(d, n uint32) {
	slot := distSlot(d)
	e.rc.tree(e.distSlot[lenState(n)][:], 6, slot)
	e.distLeft--
	if slot < 4 {
		return
	}
	footer := slot>>1 - 1
	base := (2 | slot&1) << footer
	if slot < endPosModel {
		e.rc.reverseTree(e.distSpec[base-slot:], int(footer), d-base)
		return
	}
	e.rc.direct((d-base)>>alignBits, int(footer-alignBits))
	e.rc.reverseTree(e.distAlign[:], alignBits, d&(1<<alignBits-1))
	e.alignLeft--
}

// updatePrices makes the prices of distances anew when enough was learned.
func (e *encoder) updatePrices() {
	if e.alignLeft <= 0 {
		e.alignLeft = 16
		for i := range e.alignPrices {
			e.alignPrices[i] = reverseTreePrice(e.distAlign[:], alignBits, uint32(i))
		}
	}
	if e.distLeft > 0 {
		return
	}
	e.distLeft = 128
	for ls := range e.slotPrices {
		for slot := range uint32(64) {
			p := treePrice(e.distSlot[ls][:], 6, slot)
			if slot >= endPosModel {
				p += (slot>>1 - 1 - alignBits) << priceBits
			}
			e.slotPrices[ls][slot] = p
		}
		copy(e.distPrices[ls][:4], e.slotPrices[ls][:4])
	}
	for d := uint32(4); d < fullDist; d++ {
		slot := distSlot(d)
		footer := slot>>1 - 1
		base := (2 | slot&1) << footer
		p := reverseTreePrice(e.distSpec[base-slot:], int(footer), d-base)
		for ls := range e.distPrices {
			e.distPrices[ls][d] = p + e.slotPrices[ls][slot]
		}
	}
}

func (e *encoder) distPrice(d, ls uint32) uint32 {
	if d < fullDist {
		return e.distPrices[ls][d]
	}
	return e.slotPrices[ls][distSlot(d)] + e.alignPrices[d&(1<<alignBits-1)]
}

func (e *encoder) literalPrice(pos int, state, rep0 uint32) uint32 {
	prev := byte(0)
	if pos > 0 {
		prev = e.data[pos-1]
	}
	probs := e.literalProbs(pos, prev)
	cur := uint32(e.data[pos])
	if state < litStates {
		return treePrice(probs, 8, cur)
	}
	matched := uint32(e.data[pos-int(rep0)-1])
	offset, sum := uint32(0x100), uint32(0)
	for sym := cur | 0x100; sym < 0x10000; sym <<= 1 {
		matched <<= 1
		sum += price(probs[offset+matched&offset+sym>>8], sym>>7&1)
		offset &= ^(matched ^ sym<<1)
	}
	return sum
}

// repPrice is the price of saying that a match has one of the last distances, without its length.
func (e *encoder) repPrice(rep, state, posState uint32) uint32 {
	if rep == 0 {
		return price0(e.isRepG0[state]) + price1(e.isRepLong[state][posState])
	}
	p := price1(e.isRepG0[state])
	if rep == 1 {
		return p + price0(e.isRepG1[state])
	}
	return p + price1(e.isRepG1[state]) + price(e.isRepG2[state], rep-2)
}
