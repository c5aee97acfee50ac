package lzma

import "math/bits"

const (
	probBits  = 11
	probHalf  = 1 << (probBits - 1)
	moveBits  = 5
	topValue  = 1 << 24
	priceBits = 4 // a price is in sixteenths of a bit
)

// prob is how probable a 0 is, of 2048.
type prob = uint16

func resetProbs(p []prob) {
	for i := range p {
		p[i] = probHalf
	}
}

// rangeEncoder writes bits by their probabilities.
type rangeEncoder struct {
	low       uint64
	rng       uint32
	cache     byte
	cacheSize int
	out       []byte
}

func (r *rangeEncoder) reset() {
	r.low, r.rng, r.cache, r.cacheSize, r.out = 0, 0xffffffff, 0, 1, r.out[:0]
}

// pending is how many bytes there will be once the encoder is flushed.
func (r *rangeEncoder) pending() int { return len(r.out) + r.cacheSize + 4 }

func (r *rangeEncoder) shiftLow() {
	if uint32(r.low) < 0xff000000 || r.low>>32 != 0 {
		carry := byte(r.low >> 32)
		b := r.cache
		for {
			r.out = append(r.out, b+carry)
			b = 0xff
			r.cacheSize--
			if r.cacheSize == 0 {
				break
			}
		}
		r.cache = byte(r.low >> 24)
	}
	r.cacheSize++
	r.low = r.low & 0x00ffffff << 8
}

func (r *rangeEncoder) flush() {
	for range 5 {
		r.shiftLow()
	}
}

func (r *rangeEncoder) bit(p *prob, bit uint32) {
	bound := r.rng >> probBits * uint32(*p)
	if bit == 0 {
		r.rng = bound
		*p += (1<<probBits - *p) >> moveBits
	} else {
		r.low += uint64(bound)
		r.rng -= bound
		*p -= *p >> moveBits
	}
	for r.rng < topValue {
		r.rng <<= 8
		r.shiftLow()
	}
}

// direct writes the n low bits of x as they are.
func (r *rangeEncoder) direct(x uint32, n int) {
	for n--; n >= 0; n-- {
		r.rng >>= 1
		r.low += uint64(r.rng & -(x >> n & 1))
		for r.rng < topValue {
			r.rng <<= 8
			r.shiftLow()
		}
	}
}

// tree writes the n low bits of x, highest first, each with the probability that the ones before it lead to.
func (r *rangeEncoder) tree(p []prob, n int, x uint32) {
	m := uint32(1)
	for n--; n >= 0; n-- {
		b := x >> n & 1
		r.bit(&p[m], b)
		m = m<<1 | b
	}
}

// reverseTree is tree with the lowest bit first.
func (r *rangeEncoder) reverseTree(p []prob, n int, x uint32) {
	m := uint32(1)
	for range n {
		b := x & 1
		x >>= 1
		r.bit(&p[m], b)
		m = m<<1 | b
	}
}

// prices is the price of a 0 by its probability.
var prices = func() (t [1 << probBits >> 4]uint32) {
	for i := range t {
		// The logarithm of the middle of each step, by repeated squaring.
		w := uint32(i<<4 + 8)
		count := uint32(0)
		for range priceBits {
			w *= w
			count <<= 1
			for w >= 1<<16 {
				w >>= 1
				count++
			}
		}
		t[i] = probBits<<priceBits - 15 - count
	}
	return t
}()

func price0(p prob) uint32 { return prices[p>>4] }
func price1(p prob) uint32 { return prices[(1<<probBits-p)>>4] }

func price(p prob, bit uint32) uint32 {
	return prices[(uint32(p)^(-bit&(1<<probBits-1)))>>4]
}

func treePrice(p []prob, n int, x uint32) uint32 {
	sum := uint32(0)
	x |= 1 << n
	for x > 1 {
		b := x & 1
		x >>= 1
		sum += price(p[x], b)
	}
	return sum
}

func reverseTreePrice(p []prob, n int, x uint32) uint32 {
	sum, m := uint32(0), uint32(1)
	for range n {
		b := x & 1
		x >>= 1
		sum += price(p[m], b)
		m = m<<1 | b
	}
	return sum
}

// distSlot returns the class of a distance: its highest bit and the one below.
func distSlot(d uint32) uint32 {
	if d < 4 {
		return d
	}
	n := uint32(bits.Len32(d)) - 1
	return n<<1 | d>>(n-1)&1
}
