package delta

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"runtime"
	"sync"

	"photree/repo"
	"photree/repo/object"
)

// ApplyPart makes the objects of one part out of its bytes and stages those that are missing. Each is checked against
// its name (R1). The delta's source commit must be in the repository. Several parts may be applied at once.
func (s *Superblock) ApplyPart(ctx context.Context, txn *repo.Txn, i int, data []byte) error {
	if err := s.applyPart(ctx, txn, i, data); err != nil {
		return fmt.Errorf("applying part %d of static delta %s: %w", i, s.Name(), err)
	}
	return nil
}

func (s *Superblock) applyPart(ctx context.Context, txn *repo.Txn, i int, data []byte) error {
	h := &s.Parts[i]
	p, err := openPart(h, data, txn.Repo().Path()+"/tmp")
	if err != nil {
		return err
	}
	defer p.close()
	a := newApplier(ctx, txn)
	_, err = p.run(h, a.submit)
	// The workers read the payload: they must be done before it is given back.
	if failed := a.wait(); err == nil {
		err = failed
	}
	return err
}

// applier writes outputs with several workers.
type applier struct {
	txn  *repo.Txn
	ctx  context.Context
	jobs chan *output
	wg   sync.WaitGroup

	mu  sync.Mutex
	err error
}

func newApplier(ctx context.Context, txn *repo.Txn) *applier {
	a := &applier{txn: txn, ctx: ctx, jobs: make(chan *output, 64)}
	for range min(4, max(2, runtime.GOMAXPROCS(0))) {
		a.wg.Go(func() {
			for out := range a.jobs {
				if a.failed() == nil {
					a.fail(a.make(out))
				}
			}
		})
	}
	return a
}

func (a *applier) fail(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err == nil {
		a.err = err
	}
}

func (a *applier) failed() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err == nil {
		a.err = a.ctx.Err()
	}
	return a.err
}

func (a *applier) submit(out *output) error {
	if err := a.failed(); err != nil {
		return err
	}
	a.jobs <- out
	return nil
}

func (a *applier) wait() error {
	close(a.jobs)
	a.wg.Wait()
	return a.failed()
}

func (a *applier) make(out *output) error {
	err := a.write(out)
	if err != nil {
		return fmt.Errorf("making object %s: %w", out.name, err)
	}
	return nil
}

func (a *applier) write(out *output) error {
	has, err := a.txn.Has(out.name)
	if has || err != nil {
		return err
	}
	if out.name.Kind.IsMetadata() {
		return a.txn.ImportMetadata(out.name, bytes.Clone(out.metadata))
	}
	if err := out.info.Check(); err != nil {
		return err
	}
	content, done, err := a.open(out)
	defer done()
	if err != nil {
		return err
	}
	id, err := a.txn.WriteContent(out.info, int64(out.size), content)
	if err == nil && id != out.name.ID {
		err = fmt.Errorf("what the delta makes has the checksum %s", id)
	}
	return err
}

// open returns the content of a file, and a function that gives its sources back.
func (a *applier) open(out *output) (io.Reader, func(), error) {
	sources := map[object.ID]*blob{}
	done := func() {
		for _, b := range sources {
			b.close()
		}
	}
	readers := make([]io.Reader, 0, len(out.pieces))
	for _, p := range out.pieces {
		if p.source.IsZero() {
			readers = append(readers, bytes.NewReader(p.data))
			continue
		}
		src := sources[p.source]
		if src == nil {
			var err error
			if _, src, err = loadContent(a.txn.Repo(), p.source); err != nil {
				return nil, done, err
			}
			sources[p.source] = src
		}
		var r io.Reader
		var err error
		if p.patch {
			r, err = newPatchReader(src.data, p.data, p.n)
		} else {
			var data []byte
			data, err = cut(src.data, p.off, p.n)
			r = bytes.NewReader(data)
		}
		if err != nil {
			return nil, done, fmt.Errorf("using %s: %w", p.source, err)
		}
		readers = append(readers, r)
	}
	// A reader that cannot seek: what is read is hashed once, while it is stored.
	return io.MultiReader(readers...), done, nil
}
