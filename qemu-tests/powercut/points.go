package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
)

// A point is a moment at which the power goes, and what of the writes since the last flush made it to the disks. Its
// number means the same for the same recording and seed, whatever other points are looked at: each write has three
// numbers (cutKinds), and from there on points are drawn.
type point struct {
	number int
	events int // how many of the recording's events the disks were given
	kind   cutKind
	seed   uint64
}

// random gives the same numbers each time.
func (p point) random() *rand.Rand { return rand.New(rand.NewPCG(p.seed, uint64(p.number))) }

type cutKind int

const (
	allWritten cutKind = iota // all that was written is there
	lastAlone                 // of what was not flushed only the last write is there
	lastTorn                  // all is there, but of the last write only some sectors
	drawn                     // each write that was not flushed may be there, lost or torn
)

var cutKinds = [...]string{"all written", "the last write alone", "the last write torn", "drawn"}

func (k cutKind) String() string { return cutKinds[k] }

// cuts knows the points of a recording.
type cuts struct {
	rec    *recording
	seed   uint64
	writes []int // the events that are writes
}

func newCuts(rec *recording, seed uint64) *cuts {
	c := &cuts{rec: rec, seed: seed}
	for i, e := range rec.Events {
		if !e.Flush {
			c.writes = append(c.writes, i)
		}
	}
	return c
}

// point gives the point with a number.
func (c *cuts) point(number int) point {
	p := point{number: number, seed: c.seed}
	if systematic := int(drawn) * len(c.writes); number < systematic {
		p.events, p.kind = c.writes[number/int(drawn)]+1, cutKind(number%int(drawn))
		return p
	}
	random := p.random()
	p.kind, p.events = drawn, 1+random.IntN(len(c.rec.Events))
	if random.IntN(2) == 0 {
		// The longer the disk had no flush, the more can be lost: go to the end of that time.
		for p.events < len(c.rec.Events) && !c.rec.Events[p.events].Flush {
			p.events++
		}
	}
	return p
}

// choose gives n points in the order of their moments: all systematic ones and others, or a part of both.
func (c *cuts) choose(n int) []point {
	systematic := int(drawn) * len(c.writes)
	var numbers []int
	if n >= systematic {
		for i := range n {
			numbers = append(numbers, i)
		}
	} else {
		random := rand.New(rand.NewPCG(c.seed, 1<<63))
		numbers = random.Perm(systematic)[:n/2]
		for i := range n - n/2 {
			numbers = append(numbers, systematic+i)
		}
	}
	points := make([]point, len(numbers))
	for i, number := range numbers {
		points[i] = c.point(number)
	}
	slices.SortFunc(points, func(a, b point) int { return a.events - b.events })
	return points
}

// replay brings disks to the points of a recording, whose moments must not go backwards.
type replay struct {
	rec     *recording
	at      int
	disks   [disks]*scratch
	sums    [disks]uint64 // of the flushed content
	pending [disks][]event
	lost    losses
}

// losses counts what power cuts did to writes.
type losses struct{ kept, lost, torn int }

func newReplay(rec *recording) *replay {
	r := &replay{rec: rec}
	for d, base := range rec.base {
		if base != nil {
			r.disks[d] = newScratch(base.clone())
		}
	}
	return r
}

// advance gives the disks the first n events: what a flush covers becomes part of the base.
func (r *replay) advance(n int) {
	for ; r.at < n; r.at++ {
		e := r.rec.Events[r.at]
		if !e.Flush {
			r.pending[e.Disk] = append(r.pending[e.Disk], e)
			continue
		}
		for _, w := range r.pending[e.Disk] {
			r.sums[e.Disk] ^= r.disks[e.Disk].base.changed(w.Data, w.Off)
		}
		r.pending[e.Disk] = r.pending[e.Disk][:0]
	}
}

// cut makes the state of a point. The disks must be unused.
func (r *replay) cut(p point) {
	if p.events < r.at {
		panic(fmt.Sprintf("point %d lies behind: %d < %d", p.number, p.events, r.at))
	}
	r.advance(p.events)
	r.lost = losses{}
	last := -1
	if p.events > 0 {
		last = r.rec.Events[p.events-1].Disk
	}
	src := p.random()
	chance := []float64{0.02, 0.2, 0.5, 0.8, 0.98}[src.IntN(5)]
	for d, s := range r.disks {
		if s == nil {
			continue
		}
		s.reset()
		for i, e := range r.pending[d] {
			newest := d == last && i == len(r.pending[d])-1
			switch {
			case p.kind == allWritten, p.kind == lastAlone && newest, p.kind == lastTorn && !newest,
				p.kind == drawn && src.Float64() >= chance:
				s.WriteAt(e.Data, e.Off)
				r.lost.kept++
			case p.kind == lastTorn, p.kind == drawn && src.IntN(6) == 0:
				tear(s, e, r.rec.Sectors[d], src)
				r.lost.torn++
			default:
				r.lost.lost++
			}
		}
	}
}

// tear writes some sectors: the first or the last ones, or any.
func tear(s *scratch, e event, sector int, random *rand.Rand) {
	n := max(1, len(e.Data)/sector)
	kind, at := random.IntN(3), random.IntN(n)
	superBlock := false
	for i := range n {
		off := int64(i * sector)
		keep := kind == 0 && i < at || kind == 1 && i >= at || kind == 2 && random.IntN(2) == 0
		// The super block of ext4 has two sectors and one checksum: torn, it makes ext4 refuse the disk, whatever
		// else is there. It counts as one sector.
		switch e.Off + off {
		case 1024:
			superBlock = keep
		case 1024 + sectorSize:
			keep = superBlock
		}
		if keep {
			s.WriteAt(e.Data[off:min(off+int64(sector), int64(len(e.Data)))], e.Off+off)
		}
	}
}

// digest tells the states of one disk of a recording apart.
func (r *replay) digest(d int) uint64 { return r.sums[d] ^ r.disks[d].digest() }
