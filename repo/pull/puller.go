package pull

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"photree/repo"
	"photree/repo/object"
)

// puller fetches the closures of commits with several workers. Metadata is taken first and last found first, so that
// what is missing is known early and the list of waiting names stays short.
type puller struct {
	o          *Options
	collection string // that the refs belong to, or empty
	src        source
	keys       *verifier
	checks     map[object.ID][]want // the refs that each commit was asked for by
	deltas     map[object.ID]offer  // the static delta that brings a commit
	started    time.Time

	// gate is held shared by whoever works with txn, and alone by a checkpoint, which replaces it.
	gate    sync.RWMutex
	txn     *repo.Txn
	earlier int64 // bytes of content that transactions before a checkpoint wrote
	safe    bool  // there was a checkpoint

	mu        sync.Mutex
	wake      *sync.Cond
	meta      []job
	content   []object.ID
	seen      map[object.Name]bool
	seenSub   map[subKey]bool
	running   int
	err       error
	partial   []object.ID // commits that carry a mark, in the order they were found
	ours      []object.ID // those among them that this pull marked
	published bool
	signers   map[object.ID][]string

	metaDone, metaWanted, contentDone, contentWanted, scanned, metaLocal, contentLocal, detachedAsked atomic.Int64
}

// job is a metadata object to look at. path and filter are used with Options.Subpaths only.
type job struct {
	name  object.Name
	depth int    // of a commit: how many parents are wanted
	older bool   // of a commit: it is wanted as the parent of another
	path  string // of a dirtree: its place
}

type subKey struct {
	name object.Name
	path string
}

func newPuller(o *Options, remote remoteConfig, txn *repo.Txn, src source, keys *verifier, wanted []want) *puller {
	p := &puller{o: o, collection: remote.collection, txn: txn, src: src, keys: keys, started: time.Now(),
		checks: map[object.ID][]want{}, seen: map[object.Name]bool{}, seenSub: map[subKey]bool{},
		signers: map[object.ID][]string{}}
	p.wake = sync.NewCond(&p.mu)
	for _, w := range wanted {
		p.checks[w.commit] = append(p.checks[w.commit], w)
		p.enqueue(job{name: object.Name{ID: w.commit, Kind: object.KindCommit}, depth: o.Depth})
	}
	return p
}

// fetchAll works until nothing is missing or something fails.
func (p *puller) fetchAll(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stopTicker := p.tick()
	defer stopTicker()
	stopSaving := p.saveNowAndThen(ctx)
	defer stopSaving()
	unhook := context.AfterFunc(ctx, func() { p.fail(context.Cause(ctx)) })
	defer unhook()
	var workers sync.WaitGroup
	for range p.o.outstanding() {
		workers.Go(func() {
			if err := p.work(ctx); err != nil {
				p.fail(err)
				cancel(err) // stop the requests of the others
			}
		})
	}
	workers.Wait()
	return p.err
}

// fail notes the first failure and ends the wait of the workers.
func (p *puller) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		p.err = err
	}
	p.wake.Broadcast()
}

func (p *puller) work(ctx context.Context) error {
	for {
		next, file, ok := p.next()
		if !ok {
			return nil
		}
		if err := p.do(ctx, next, file); err != nil {
			return err
		}
		p.mu.Lock()
		p.running--
		if p.running == 0 {
			p.wake.Broadcast()
		}
		p.mu.Unlock()
	}
}

// do does one piece of work within one transaction.
func (p *puller) do(ctx context.Context, next job, file object.ID) error {
	p.gate.RLock()
	defer p.gate.RUnlock()
	if file.IsZero() {
		return p.visit(ctx, next)
	}
	return p.fetchContent(ctx, file)
}

// next waits for work. There is none left when all lists are empty and nobody is running who could add to them.
func (p *puller) next() (job, object.ID, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		switch {
		case p.err != nil:
			return job{}, object.ID{}, false
		case len(p.meta) > 0:
			j := p.meta[len(p.meta)-1]
			p.meta = p.meta[:len(p.meta)-1]
			p.running++
			return j, object.ID{}, true
		case len(p.content) > 0:
			id := p.content[len(p.content)-1]
			p.content = p.content[:len(p.content)-1]
			p.running++
			return job{}, id, true
		case p.running == 0:
			return job{}, object.ID{}, false
		}
		p.wake.Wait()
	}
}

// enqueue adds metadata objects that were not seen before.
func (p *puller) enqueue(jobs ...job) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, j := range jobs {
		if len(p.o.Subpaths) > 0 && j.path != "" {
			// The same tree may stand at a place that is wanted and at one that is not.
			if key := (subKey{j.name, j.path}); p.seenSub[key] {
				continue
			} else {
				p.seenSub[key] = true
			}
		} else if p.seen[j.name] {
			continue
		}
		p.seen[j.name] = true
		p.meta = append(p.meta, j)
		p.wake.Signal()
	}
}

// enqueueContent adds files that were not seen before and are missing.
func (p *puller) enqueueContent(ids []object.ID) error {
	p.mu.Lock()
	fresh := ids[:0]
	for _, id := range ids {
		n := object.Name{ID: id, Kind: object.KindFile}
		if !p.seen[n] {
			p.seen[n] = true
			fresh = append(fresh, id)
		}
	}
	p.mu.Unlock()
	missing := fresh[:0]
	for _, id := range fresh {
		has, err := p.txn.Has(object.Name{ID: id, Kind: object.KindFile})
		if err != nil {
			return err
		}
		if !has {
			missing = append(missing, id)
		}
	}
	p.contentWanted.Add(int64(len(missing)))
	p.mu.Lock()
	defer p.mu.Unlock()
	p.content = append(p.content, missing...)
	for range missing {
		p.wake.Signal()
	}
	return nil
}

// visit makes sure that a metadata object is here and looks for what it names.
func (p *puller) visit(ctx context.Context, j job) error {
	if j.name.Kind == object.KindCommit {
		return p.visitCommit(ctx, j)
	}
	data, err := p.obtain(ctx, j.name)
	if err != nil || j.name.Kind != object.KindDirTree {
		return err
	}
	tree, err := object.DecodeDirTree(data)
	if err != nil {
		return fmt.Errorf("reading %s: %w", j.name, err)
	}
	p.scanned.Add(1)
	jobs := make([]job, 0, 2*len(tree.Dirs))
	for _, d := range tree.Dirs {
		path := j.path + "/" + d.Name
		if p.wants(path, true) {
			jobs = append(jobs, job{name: object.Name{ID: d.Tree, Kind: object.KindDirTree}, path: path})
		}
		jobs = append(jobs, job{name: object.Name{ID: d.Meta, Kind: object.KindDirMeta}})
	}
	files := make([]object.ID, 0, len(tree.Files))
	for _, f := range tree.Files {
		if p.wants(j.path+"/"+f.Name, false) {
			files = append(files, f.ID)
		}
	}
	p.enqueue(jobs...)
	return p.enqueueContent(files)
}

// wants reports whether a name is below, or for a directory above, one of the subpaths.
func (p *puller) wants(path string, dir bool) bool {
	if len(p.o.Subpaths) == 0 {
		return true
	}
	for _, sub := range p.o.Subpaths {
		sub = "/" + strings.Trim(sub, "/")
		if sub == "/" || path == sub || strings.HasPrefix(path, sub+"/") || dir && strings.HasPrefix(sub, path+"/") {
			return true
		}
	}
	return false
}

// obtain returns a metadata object: from the repository, from a cache, or fetched and staged.
func (p *puller) obtain(ctx context.Context, n object.Name) ([]byte, error) {
	has, err := p.txn.Has(n)
	if err != nil {
		return nil, err
	}
	if has {
		if n.Kind == object.KindDirMeta {
			return nil, nil
		}
		return p.txn.LoadMetadata(n)
	}
	data, err := p.fromCache(n)
	if err != nil {
		return nil, err
	}
	local := data != nil
	if !local {
		p.metaWanted.Add(1)
		if data, err = p.src.metadata(ctx, n); err != nil {
			return nil, fmt.Errorf("pulling object %s: %w", n, err)
		}
	}
	if err := p.src.stage(p.txn, n, data); err != nil {
		return nil, fmt.Errorf("pulling object %s: %w", n, err)
	}
	if local {
		p.metaLocal.Add(1)
	} else {
		p.metaDone.Add(1)
	}
	return data, nil
}

// fromCache returns a metadata object that one of the caches has, or nil.
func (p *puller) fromCache(n object.Name) ([]byte, error) {
	for _, cache := range p.o.Caches {
		data, err := cache.LoadMetadata(n)
		if err == nil {
			return data, nil
		}
		if !errors.Is(err, repo.ErrNotFound) {
			return nil, err
		}
	}
	return nil, nil
}

func (p *puller) fetchContent(ctx context.Context, id object.ID) error {
	n := object.Name{ID: id, Kind: object.KindFile}
	for _, cache := range p.o.Caches {
		if has, err := cache.HasObject(n); err != nil || !has {
			continue
		}
		if err := p.txn.ImportObject(cache, n, repo.ImportOptions{}); err == nil {
			p.contentLocal.Add(1)
			return nil
		}
		// A cache is only a short cut: what it has damaged comes from the server.
	}
	if err := p.src.content(ctx, p.txn, id); err != nil {
		return fmt.Errorf("pulling object %s: %w", n, err)
	}
	p.contentDone.Add(1)
	return nil
}
