package delta

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"

	"photree/repo"
)

// generator packs objects into parts. Files are read and compared by several workers, and parts are compressed beside
// that; the order in which things are packed does not depend on who is done first.
type generator struct {
	r         *repo.Repo
	o         *GenerateOptions
	w         *deltaWriter
	stats     GenerateStats
	fallbacks []Fallback
	parts     *partQueue
	part      *partWriter
}

// packed is a file in the form in which it goes into a part.
type packed struct {
	content *blob // of a file that goes in whole or in runs
	patch   []byte
	runs    []run
	leave   bool // leave it to a fallback
	err     error
}

func (g *generator) pack(ctx context.Context, p *plan) (err error) {
	g.parts = newPartQueue(g.w)
	defer func() { err = errors.Join(err, g.parts.wait()) }()
	g.part = newPartWriter()
	total := len(p.metadata) + len(p.files) + len(p.links)
	done := 0
	tell := func() {
		if g.o.Progress != nil {
			g.o.Progress(done, total)
		}
		done++
	}
	for _, it := range p.metadata {
		data, err := g.r.LoadMetadata(it.name)
		if err != nil {
			return err
		}
		if err := g.room(len(data)); err != nil {
			return err
		}
		g.part.metadata(it.name, data)
		tell()
	}
	err = g.inOrder(ctx, p.files, func(it item, x packed) error {
		tell()
		return g.add(it, x)
	})
	if err != nil {
		return err
	}
	for _, it := range p.links {
		if err := g.room(len(it.info.Target)); err != nil {
			return err
		}
		g.part.whole(it.name, it.info, nil)
		g.stats.Whole++
		tell()
	}
	if len(g.part.head.Objects) == 0 && g.stats.Parts > 0 {
		return nil
	}
	return g.close() // a delta has one part at least, as ostree's have, even if there is nothing in it
}

// room begins a new part when n more bytes would be too many for this one.
func (g *generator) room(n int) error {
	if len(g.part.blob) == 0 || int64(len(g.part.blob)+n) <= g.o.MaxChunkSize {
		return nil
	}
	return g.close()
}

// close hands the part over to be compressed and begins another.
func (g *generator) close() error {
	g.stats.Parts++
	g.stats.Objects += len(g.part.head.Objects)
	g.stats.Unpacked += int64(g.part.head.USize)
	full := g.part
	g.part = newPartWriter()
	return g.parts.add(full, &g.stats)
}

func (g *generator) add(it item, x packed) error {
	switch {
	case x.leave:
		st, err := os.Lstat(g.r.ObjectPath(it.name))
		if err != nil {
			return err
		}
		g.stats.Fallbacks++
		g.stats.FallbackSize += st.Size()
		g.fallbacks = append(g.fallbacks, Fallback{Object: it.name, Size: uint64(st.Size()), USize: uint64(it.size)})
	case x.patch != nil:
		if err := g.room(len(x.patch)); err != nil {
			return err
		}
		g.stats.Patched++
		g.part.patched(it.name, it.info, int(it.size), it.source, x.patch)
	case x.runs != nil:
		own := 0
		for _, r := range x.runs {
			if !r.copied {
				own += r.n
			}
		}
		if err := g.room(own); err != nil {
			return err
		}
		g.stats.Copied++
		g.part.copied(it.name, it.info, it.source, x.runs, x.content.data)
	default:
		if err := g.room(len(x.content.data)); err != nil {
			return err
		}
		g.stats.Whole++
		g.part.whole(it.name, it.info, x.content.data)
	}
	return nil
}

// inFlight is how many bytes of files and of what goes with them may be held at once.
const inFlight = 32 << 20

// inOrder prepares files with several workers and hands them to use in their order.
func (g *generator) inOrder(ctx context.Context, items []item, use func(item, packed) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type slot struct {
		it   item
		cost int64
		out  chan packed
	}
	budget := newBudget(inFlight)
	defer context.AfterFunc(ctx, budget.stop)()
	queue, ordered := make(chan *slot), make(chan *slot, 1024)
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(queue)
		defer close(ordered)
		for _, it := range items {
			s := &slot{it: it, cost: min(cost(it), inFlight), out: make(chan packed, 1)}
			if !budget.take(s.cost) {
				return
			}
			ordered <- s
			queue <- s
		}
	})
	for range max(2, runtime.GOMAXPROCS(0)) {
		wg.Go(func() {
			for s := range queue {
				if ctx.Err() != nil {
					s.out <- packed{err: ctx.Err()}
					continue
				}
				s.out <- g.prepare(s.it)
			}
		})
	}
	var err error
	for s := range ordered {
		x := <-s.out
		if err == nil {
			err = x.err
		}
		if err == nil {
			err = use(s.it, x)
		}
		if x.content != nil {
			x.content.close()
		}
		if err != nil {
			cancel()
		}
		budget.give(s.cost)
	}
	wg.Wait()
	if err == nil {
		err = ctx.Err()
	}
	return err
}

// cost estimates the memory that preparing a file takes: itself, its source, the patch, and the sorted suffixes.
func cost(it item) int64 {
	if it.source.IsZero() {
		return it.size
	}
	return 3*it.size + 5*min(it.size, newWindow+2*oldMargin)
}

// prepare finds the form in which a file takes the least room.
func (g *generator) prepare(it item) packed {
	if it.source.IsZero() {
		if it.size > g.o.MinFallbackSize {
			return packed{leave: true}
		}
		_, content, err := loadContent(g.r, it.name.ID)
		return packed{content: content, err: err}
	}
	_, content, err := loadContent(g.r, it.name.ID)
	if err != nil {
		return packed{err: err}
	}
	_, old, err := loadContent(g.r, it.source)
	if err != nil {
		content.close()
		return packed{err: fmt.Errorf("the source of %s: %w", it.path, err)}
	}
	defer old.close()
	if !g.o.DisableBsdiff && it.size <= g.o.MaxBsdiffSize && int64(len(old.data)) <= g.o.MaxBsdiffSize {
		if patch, ok := makePatch(old.data, content.data, len(content.data)+len(content.data)/8+64); ok && worthPatching(patch, content.data) {
			content.close()
			return packed{patch: patch}
		}
		// It packs better with its like than alone, as which a client would fetch it otherwise.
		return packed{content: content}
	}
	if runs, copied := copyRuns(old.data, content.data); copied > 0 {
		return packed{content: content, runs: runs}
	}
	if it.size > g.o.MinFallbackSize {
		content.close()
		return packed{leave: true}
	}
	return packed{content: content}
}

// worthPatching estimates whether a patch takes less room than the file. The bytes of a patch that are not zero are few
// and alike where it fits, and as many as in the file where it does not.
func worthPatching(patch, data []byte) bool {
	if zeros := bytes.Count(patch, []byte{0}); len(patch)-zeros < len(data)/16 {
		return true
	}
	return packedSize(patch) < packedSize(data)+16
}

// budget bounds what is under way at once.
type budget struct {
	mu      sync.Mutex
	changed *sync.Cond
	left    int64
	stopped bool
}

func newBudget(n int64) *budget {
	b := &budget{left: n}
	b.changed = sync.NewCond(&b.mu)
	return b
}

func (b *budget) take(n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.left < n && !b.stopped {
		b.changed.Wait()
	}
	b.left -= n
	return !b.stopped
}

func (b *budget) give(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left += n
	b.changed.Broadcast()
}

func (b *budget) stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stopped = true
	b.changed.Broadcast()
}

// partQueue compresses parts beside the work that fills them, and stores them in their order. Half of the processors
// compress: a part takes a hundred megabytes, and to find patches takes as long as to compress them.
type partQueue struct {
	w     *deltaWriter
	slots chan struct{}
	order chan chan compressed
	done  chan struct{}
	once  sync.Once

	mu  sync.Mutex
	err error
}

type compressed struct {
	head  Part
	data  []byte
	stats *GenerateStats
}

func newPartQueue(w *deltaWriter) *partQueue {
	q := &partQueue{w: w, slots: make(chan struct{}, max(1, min(4, runtime.GOMAXPROCS(0)/2))), order: make(chan chan compressed, 64), done: make(chan struct{})}
	go func() {
		defer close(q.done)
		for c := range q.order {
			x := <-c
			x.stats.Packed += int64(len(x.data))
			q.fail(q.w.part(x.head, x.data))
		}
	}()
	return q
}

func (q *partQueue) fail(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err == nil {
		q.err = err
	}
}

// add waits for a free place and compresses the part.
func (q *partQueue) add(p *partWriter, stats *GenerateStats) error {
	q.slots <- struct{}{}
	c := make(chan compressed, 1)
	q.order <- c
	go func() {
		head, data := p.finish()
		<-q.slots
		c <- compressed{head, data, stats}
	}()
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.err
}

// wait returns once all parts are stored.
func (q *partQueue) wait() error {
	q.once.Do(func() { close(q.order) })
	<-q.done
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.err
}
