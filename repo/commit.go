package repo

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"sync"
	"syscall"

	"photree/internal/durable"
	"photree/repo/object"
)

var errNotDir = syscall.ENOTDIR

// step is one step of the publication of a transaction.
type step struct {
	name string
	run  func(*Txn) error
}

// commitSteps is the publication. The order upholds R2 and R3: a commit is seen only when what it names is durable, a
// ref only when its commit is. A process may die, and power may go, after any of them; the tests stop after each prefix.
var commitSteps = []step{
	{"be told to fail", func(*Txn) error { return toldToFail() }},
	{"flush staged objects", (*Txn).flushStaged},
	{"publish files", func(t *Txn) error { return t.publish(object.KindFile) }},
	{"publish trees", func(t *Txn) error { return t.publish(object.KindDirTree, object.KindDirMeta) }},
	{"flush published names", (*Txn).flushPublished},
	{"publish detached metadata", (*Txn).publishDetached},
	{"publish commits", func(t *Txn) error { return t.publish(object.KindCommit) }},
	{"flush commits", (*Txn).flushCommits},
	{"write refs", (*Txn).writeRefs},
	{"clear partial marks", (*Txn).clearPartial},
	{"update the summary", (*Txn).updateSummary},
	{"remove staging", func(t *Txn) error { return t.stage.remove() }},
}

// Commit publishes the transaction and ends it. When it fails before the first ref is written no ref has changed; what
// was published without one is swept up by the next prune.
func (t *Txn) Commit() error {
	t.mu.Lock()
	if t.done {
		t.mu.Unlock()
		return errEnded
	}
	t.done = true
	t.mu.Unlock()
	defer t.lock.release()
	err := t.ctx.Err()
	for _, s := range commitSteps {
		if err != nil {
			break
		}
		if err = s.run(t); err != nil {
			err = fmt.Errorf("committing to %s: %s: %w", t.r.path, s.name, err)
		}
	}
	if errors.Is(err, errToldToFail) {
		// What a process leaves that dies here; its lock goes with it.
		os.Remove(t.stage.dir + "-lock")
		t.stage.lockFile.Close()
	} else if err != nil {
		_ = t.stage.remove()
	}
	return err
}

var errToldToFail = errors.New("OSTREE_REPO_TEST_ERROR_PRE_COMMIT")

// toldToFail is for tests that want to see what a process leaves that dies before it publishes anything.
func toldToFail() error {
	if os.Getenv("OSTREE_REPO_TEST_ERROR") == "pre-commit" {
		return errToldToFail
	}
	return nil
}

// flushStaged makes the content of all staged objects durable, in one go.
func (t *Txn) flushStaged() error {
	if !t.fsync || len(t.staged) == 0 {
		return nil
	}
	return durable.Syncfs(t.stage.dir)
}

// publish renames the staged objects of some kinds into objects/. A name that is there already stays: it has the same
// bytes and may have hard links.
func (t *Txn) publish(kinds ...object.Kind) error {
	var names []object.Name
	for n := range t.staged {
		for _, k := range kinds {
			if n.Kind == k {
				names = append(names, n)
			}
		}
	}
	if len(names) == 0 {
		return nil
	}
	sort.Slice(names, func(i, j int) bool { return string(names[i].ID[:]) < string(names[j].ID[:]) })
	const workers = 2
	errs := make([]error, workers)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for _, n := range names[len(names)*w/workers : len(names)*(w+1)/workers] {
				if errs[w] = t.publishOne(n); errs[w] != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (t *Txn) publishOne(n object.Name) error {
	from, to := filepath.Join(t.stage.dir, t.staged[n]), t.r.ObjectPath(n)
	err := durable.Publish(from, to)
	if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if mkErr := os.Mkdir(filepath.Dir(to), 0o755); mkErr != nil && !errors.Is(mkErr, os.ErrExist) {
		return mkErr
	}
	return durable.Publish(from, to)
}

// flushPublished makes the names of files and trees durable before a commit can name them (R2). Their content is on
// the disk already, so this is one short flush however many directories there are.
func (t *Txn) flushPublished() error {
	if !t.fsync || len(t.staged) == 0 {
		return nil
	}
	return durable.Syncfs(filepath.Join(t.r.path, "objects"))
}

func (t *Txn) publishDetached() error {
	for id, d := range t.detached {
		path := t.r.ObjectPath(object.Name{ID: id, Kind: object.KindCommitMeta})
		if d == nil {
			if err := durable.Remove(path); err != nil {
				return err
			}
			continue
		}
		data := d.Value().Bytes()
		if equalFile(path, data) {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := durable.WriteFile(path, data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (t *Txn) flushCommits() error {
	for n := range t.staged {
		if n.Kind != object.KindCommit {
			continue
		}
		// A commit that is back is not deleted any more.
		tombstone := t.r.ObjectPath(object.Name{ID: n.ID, Kind: object.KindTombstone})
		if err := os.Remove(tombstone); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	if !t.fsync {
		return nil
	}
	dirs := map[string]bool{}
	for n := range t.staged {
		if n.Kind == object.KindCommit {
			dirs[filepath.Dir(t.r.ObjectPath(n))] = true
		}
	}
	for d := range dirs {
		if err := durable.SyncDir(d); err != nil {
			return err
		}
	}
	if len(dirs) > 0 {
		return durable.SyncDir(filepath.Join(t.r.path, "objects"))
	}
	return nil
}

// writeRefs writes what is new before it removes what is to go, so that a commit that moves from one ref to another is
// named at any time.
func (t *Txn) writeRefs() error {
	keys := make([]refKey, 0, len(t.refs))
	for k := range t.refs {
		keys = append(keys, k)
	}
	deleted := func(k refKey) bool { v := t.refs[k]; return v.id.IsZero() && v.alias == "" }
	sort.Slice(keys, func(i, j int) bool {
		if a, b := deleted(keys[i]), deleted(keys[j]); a != b {
			return b
		}
		return refDir(keys[i].remote, keys[i].collection)+keys[i].name < refDir(keys[j].remote, keys[j].collection)+keys[j].name
	})
	dirs := map[string]bool{}
	for _, k := range keys {
		dir, err := t.r.writeRef(k, t.refs[k], t.fsync)
		if err != nil {
			return fmt.Errorf("writing ref %s: %w", Ref{Remote: k.remote, Name: k.name}, err)
		}
		dirs[dir] = true
	}
	for d := range dirs {
		if !t.fsync {
			break
		}
		if err := durable.SyncDir(d); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// writeRef writes, links or deletes one ref and returns the directory that has changed.
func (r *Repo) writeRef(k refKey, v refValue, flush bool) (string, error) {
	base := filepath.Join(r.path, refDir(k.remote, k.collection))
	path := filepath.Join(base, k.name)
	dir := filepath.Dir(path)
	if v.id.IsZero() && v.alias == "" {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, errNotDir) {
			return dir, err
		}
		// Empty directories would be in the way of a ref of their name.
		for d := dir; d != base && os.Remove(d) == nil; d = filepath.Dir(d) {
			dir = filepath.Dir(d)
		}
		return dir, nil
	}
	write := func() error {
		if v.alias == "" && !flush {
			return durable.ReplaceFileUnflushed(path, []byte(v.id.String()+"\n"), 0o644)
		}
		if v.alias == "" {
			return durable.ReplaceFile(path, []byte(v.id.String()+"\n"), 0o644)
		}
		target, err := filepath.Rel(dir, filepath.Join(base, v.alias))
		if err != nil {
			return err
		}
		return durable.Symlink(target, path)
	}
	var err error
	for range 3 { // another writer may remove a directory that has become empty
		mkdir := durable.Mkdir
		if !flush {
			mkdir = os.MkdirAll
		}
		if err = mkdir(dir, 0o755); err != nil {
			break
		}
		if err = write(); !errors.Is(err, os.ErrNotExist) {
			break
		}
	}
	if errors.Is(err, errNotDir) || errors.Is(err, syscall.EISDIR) || errors.Is(err, os.ErrExist) {
		err = fmt.Errorf("a ref cannot stand below another ref, nor be one that others stand below: %w", err)
	}
	return dir, err
}

// clearPartial removes the marks of the commits that are complete now (R3).
func (t *Txn) clearPartial() error {
	cleared := false
	for id, marked := range t.partial {
		if marked {
			continue
		}
		err := os.Remove(t.r.partialPath(id))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		cleared = cleared || err == nil
	}
	if !cleared {
		return nil
	}
	return durable.SyncDir(filepath.Join(t.r.path, "state"))
}

// markPartial makes the partial mark of a commit; reason is empty, or "f" when fsck makes it.
func (r *Repo) markPartial(commit object.ID, reason []byte) error {
	if ok, err := r.IsPartial(commit); ok || err != nil {
		return err
	}
	if err := durable.WriteFile(r.partialPath(commit), reason, 0o644); err != nil {
		return fmt.Errorf("marking commit %s as partial: %w", commit, err)
	}
	return nil
}

// updateSummary keeps the summary up to date where the configuration asks for that.
func (t *Txn) updateSummary() error {
	cfg := t.r.Config()
	on, err := cfg.Bool("core", "auto-update-summary", false)
	if err == nil && !on {
		on, err = cfg.Bool("core", "commit-update-summary", false)
	}
	if err != nil || !on || len(t.refs) == 0 {
		return err
	}
	return t.r.UpdateSummary(t.ctx, SummaryOptions{})
}

// WriteCommit stages a commit object.
func (t *Txn) WriteCommit(c object.Commit) (object.ID, error) {
	return t.WriteMetadata(object.KindCommit, c.Encode())
}
