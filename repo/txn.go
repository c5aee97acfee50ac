package repo

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	"photree/internal/gvariant"
	"photree/repo/object"
)

// Txn is a transaction. What it is given becomes visible at Commit, in the order that R2 and R3 ask for, or never.
// Its methods may be called from several goroutines until Commit or Abort.
type Txn struct {
	r        *Repo
	ctx      context.Context
	lock     *repoLock
	stage    *staging
	space    *space
	fsync    bool
	userOnly bool // refuse files that no bare-user-only repository could have
	level    int  // of compression

	mu       sync.Mutex
	staged   map[object.Name]string // name -> path in the staging directory
	detached map[object.ID]gvariant.Dict
	refs     map[refKey]refValue
	partial  map[object.ID]bool // true: marked, false: to be cleared
	stats    TxnStats
	done     bool
}

// TxnStats counts what a transaction wrote.
type TxnStats struct {
	MetadataTotal, MetadataWritten int
	ContentTotal, ContentWritten   int
	ContentBytes                   int64 // bytes of content written, before compression
	StoredBytes                    int64 // bytes that the new objects take in the repository
}

type refKey struct{ remote, collection, name string }

type refValue struct {
	id    object.ID // zero deletes
	alias string    // or the name to link to
}

// Begin starts a transaction: it takes the repository lock shared (R4) and makes a staging directory. ctx ends the wait
// for the lock and, later, Commit before it has published anything.
func (r *Repo) Begin(ctx context.Context) (*Txn, error) {
	lock, err := r.lock(ctx, false)
	if err != nil {
		return nil, err
	}
	t := &Txn{r: r, ctx: ctx, lock: lock, staged: map[object.Name]string{}, detached: map[object.ID]gvariant.Dict{},
		refs: map[refKey]refValue{}, partial: map[object.ID]bool{}}
	cfg := r.Config()
	if t.fsync, err = cfg.Bool("core", "fsync", true); err == nil {
		t.level, err = compressionLevel(cfg)
	}
	if err == nil {
		t.space, err = newSpace(r.path, cfg)
	}
	if err == nil {
		t.stage, err = r.openStaging()
	}
	if err != nil {
		lock.release()
		return nil, fmt.Errorf("starting a transaction in %s: %w", r.path, err)
	}
	return t, nil
}

// SetFlush says whether Commit flushes what it publishes; core.fsync in the configuration says it before. Without, a
// power cut soon after may leave refs to objects that are not there (R2 does not hold).
func (t *Txn) SetFlush(on bool) { t.fsync = on }

// Repo returns the repository of the transaction.
func (t *Txn) Repo() *Repo { return t.r }

// Stats returns what was written so far.
func (t *Txn) Stats() TxnStats {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.stats
}

// Has says whether an object is published or staged by this transaction.
func (t *Txn) Has(n object.Name) (bool, error) {
	t.mu.Lock()
	_, ok := t.staged[n]
	if !ok {
		// Left by a transaction of this boot that was killed: complete, so it is taken over. Only when it is asked for:
		// nobody knows whether the rest still holds together.
		if path, left := t.stage.leftovers[n]; left {
			t.staged[n] = path
			ok = true
		}
	}
	t.mu.Unlock()
	if ok {
		return true, nil
	}
	return t.r.HasObject(n)
}

// LoadMetadata returns the bytes of a metadata object, staged or published.
func (t *Txn) LoadMetadata(n object.Name) ([]byte, error) {
	if path := t.stagedPath(n); path != "" {
		data, err := readLimited(path)
		if err != nil {
			return nil, fmt.Errorf("loading staged object %s: %w", n, err)
		}
		return data, nil
	}
	return t.r.LoadMetadata(n)
}

func (t *Txn) stagedPath(n object.Name) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if path := t.staged[n]; path != "" {
		return filepath.Join(t.stage.dir, path)
	}
	return ""
}

// SetRef makes a ref name a commit once the transaction is committed; remote is empty for heads, a zero id deletes.
func (t *Txn) SetRef(remote, name string, id object.ID) error {
	if _, _, err := ParseRefspec(Ref{Remote: remote, Name: name}.String()); err != nil {
		return err
	}
	return t.setRef(refKey{remote: remote, name: name}, refValue{id: id})
}

// SetMirrorRef is SetRef for a ref of a collection that this repository mirrors.
func (t *Txn) SetMirrorRef(collection, name string, id object.ID) error {
	if err := errors.Join(CheckRemoteName(collection), CheckRefName(name)); err != nil {
		return err
	}
	return t.setRef(refKey{collection: collection, name: name}, refValue{id: id})
}

// SetAlias makes the head name a link to the head target.
func (t *Txn) SetAlias(name, target string) error {
	if err := errors.Join(CheckRefName(name), CheckRefName(target)); err != nil {
		return err
	}
	return t.setRef(refKey{name: name}, refValue{alias: target})
}

func (t *Txn) setRef(k refKey, v refValue) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.refs[k] = v
	return nil
}

// SetDetachedMetadata gives a commit its detached metadata; nil removes it.
func (t *Txn) SetDetachedMetadata(commit object.ID, d gvariant.Dict) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.detached[commit] = d
	return nil
}

// Abort ends the transaction and leaves the repository as it was, but for partial marks. After Commit it does nothing,
// so it can be deferred.
func (t *Txn) Abort() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.done {
		return nil
	}
	t.done = true
	err := t.stage.remove()
	t.lock.release()
	return err
}
