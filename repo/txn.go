package repo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"photree/internal/gvariant"
	"photree/repo/object"
)

// Txn is a transaction. What it is given becomes visible at Commit, in the order that R2 and R3 ask for, or never.
// Its methods may be called from several goroutines until Commit or Abort.
type Txn struct {
	r     *Repo
	ctx   context.Context
	lock  *repoLock
	stage *staging
	space *space
	fsync bool
	level int // of compression

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

// staging is a directory below tmp/ that holds the objects of one transaction until they are published. Its name has
// the boot's id in it: what a killed process left in this boot is complete and can be taken over; what another boot
// left may never have reached the disk and is removed.
type staging struct {
	dir       string
	lockFile  *os.File
	leftovers map[object.Name]string
}

func bootID() (string, error) {
	if id := os.Getenv("OSTREE_BOOTID"); id != "" {
		return id, nil
	}
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(b)), err
}

const stagingPrefix = "staging-"

func (r *Repo) openStaging() (*staging, error) {
	id, err := bootID()
	if err != nil {
		return nil, fmt.Errorf("reading the id of this boot: %w", err)
	}
	tmp := filepath.Join(r.path, "tmp")
	prefix := stagingPrefix + id + "-"
	entries, err := os.ReadDir(tmp)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if !e.IsDir() || !strings.HasPrefix(e.Name(), stagingPrefix) {
			continue
		}
		s, err := lockStaging(filepath.Join(tmp, e.Name()))
		if err != nil || s == nil {
			continue // in use, or gone
		}
		if !strings.HasPrefix(e.Name(), prefix) {
			_ = s.remove()
			continue
		}
		if err := s.adopt(r); err != nil {
			s.lockFile.Close()
			return nil, fmt.Errorf("taking over %s: %w", s.dir, err)
		}
		return s, nil
	}
	for range 100 {
		dir, err := os.MkdirTemp(tmp, prefix)
		if err != nil {
			return nil, err
		}
		// Another transaction may lock the new directory before we do; then it is theirs.
		if s, err := lockStaging(dir); err != nil || s != nil {
			return s, err
		}
	}
	return nil, errors.New("making a staging directory: others take each of them")
}

// lockStaging returns the staging directory if nobody holds it, nil if somebody does.
func lockStaging(dir string) (*staging, error) {
	path := dir + "-lock"
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	ok, err := tryLock(f, true)
	if err == nil && ok {
		// The holder before us may have removed both between our open and our lock.
		mine, err1 := f.Stat()
		now, err2 := os.Stat(path)
		_, err3 := os.Stat(dir)
		if err1 == nil && err2 == nil && err3 == nil && os.SameFile(mine, now) {
			return &staging{dir: dir, lockFile: f}, nil
		}
		if err2 == nil && err3 != nil && os.SameFile(mine, now) {
			os.Remove(path)
		}
	}
	f.Close()
	return nil, err
}

// adopt lists the complete objects of a staging directory that a killed process left, and removes all else. Commits are
// among the rest: the process may have died before it had their trees.
func (s *staging) adopt(r *Repo) error {
	s.leftovers = map[object.Name]string{}
	dirs, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, d := range dirs {
		if !d.IsDir() || len(d.Name()) != 2 {
			if err := os.RemoveAll(filepath.Join(s.dir, d.Name())); err != nil {
				return err
			}
			continue
		}
		files, err := os.ReadDir(filepath.Join(s.dir, d.Name()))
		if err != nil {
			return err
		}
		for _, f := range files {
			rel := d.Name() + "/" + f.Name()
			if n, ok := r.parseLoose(d.Name(), f.Name()); ok && (n.Kind == object.KindFile ||
				n.Kind == object.KindDirTree || n.Kind == object.KindDirMeta) {
				s.leftovers[n] = rel
			} else if err := os.RemoveAll(filepath.Join(s.dir, rel)); err != nil {
				return err
			}
		}
	}
	return nil
}

// parseLoose reads the name of an object from its path below objects/ or a staging directory.
func (r *Repo) parseLoose(prefix, file string) (object.Name, bool) {
	if len(prefix) != 2 || len(file) < 64 || file[62] != '.' {
		return object.Name{}, false
	}
	id, err := object.ParseID(prefix + file[:62])
	if err != nil {
		return object.Name{}, false
	}
	suffix := file[63:]
	if suffix == r.suffix(object.KindFile) {
		return object.Name{ID: id, Kind: object.KindFile}, true
	}
	k, err := object.ParseKind(suffix)
	return object.Name{ID: id, Kind: k}, err == nil && k != object.KindFile
}

// remove removes the directory, then its lock file, then lets the lock go.
func (s *staging) remove() error {
	err := os.RemoveAll(s.dir)
	err = errors.Join(err, os.Remove(s.dir+"-lock"))
	s.lockFile.Close()
	return err
}
