package repo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sort"
	"sync"
	"syscall"

	"photree/internal/durable"
	"photree/repo/object"
)

// FsckOptions are the choices of Fsck.
type FsckOptions struct {
	Delete  bool // remove damaged objects and mark the commits that lose something partial
	Quick   bool // only look whether files are there, do not read them
	Workers int  // 0: one a processor
	// Progress is told how many of the objects are checked, from one goroutine at a time.
	Progress func(done, total int)
}

// FsckResult is what Fsck found.
type FsckResult struct {
	Commits int // that were checked, the partial ones among them
	Partial int // commits with a partial mark
	Objects int // that were checked
	// Damaged counts the commits among the partial ones that a check before this one has marked.
	Damaged int
	// Marked are the commits that were marked partial now, because they lack something.
	Marked []object.ID
	// Problems is what is missing or damaged, by commit and object; empty when the repository is sound.
	Problems []FsckProblem
}

// FsckProblem is one missing or damaged object, or a ref that names no commit.
type FsckProblem struct {
	Object object.Name
	Commit object.ID // the first commit found to need it; zero for a ref
	Ref    string
	Err    error
}

// Missing says whether the object is not there at all, so that deleting it is no remedy.
func (p FsckProblem) Missing() bool { return errors.Is(p.Err, ErrNotFound) }

// Error words the problem as ostree does: scripts look for that.
func (p FsckProblem) Error() string {
	switch {
	case p.Ref != "":
		return fmt.Sprintf("Loading commit for ref %s: %v", p.Ref, p.Err)
	case p.Missing():
		return fmt.Sprintf("Object missing in commits %s: %s", p.Commit, p.Object)
	}
	return fmt.Sprintf("In commits %s: %s: %v", p.Commit, p.Object, p.Err)
}

// fsck is one call of Fsck.
type fsck struct {
	r    *Repo
	ctx  context.Context
	opts FsckOptions
	res  FsckResult
	todo []fsckFile
	bad  map[object.Name]error

	damaged []object.ID // commits that a check before this one has marked

	mu   sync.Mutex
	done int
}

type fsckFile struct {
	name    object.Name
	commit  object.ID
	partial bool
}

// Fsck verifies every object that a commit needs: that it is there, is well formed, and holds the bytes that its name
// says (R1). Objects that a commit with a partial mark lacks are no problem (R3). The error says that it could not be
// run to its end; what is wrong with the repository is in the result.
func (r *Repo) Fsck(ctx context.Context, opts FsckOptions) (FsckResult, error) {
	f := &fsck{r: r, ctx: ctx, opts: opts, bad: map[object.Name]error{}}
	err := f.metadata()
	if err == nil {
		err = f.files()
	}
	if err == nil {
		err = f.refs()
	}
	if err == nil {
		err = f.heal()
	}
	if err == nil {
		err = f.mark()
	}
	if err == nil && opts.Delete {
		err = f.delete()
	}
	if err != nil {
		return f.res, fmt.Errorf("checking repository %s: %w", r.path, err)
	}
	sort.SliceStable(f.res.Problems, func(i, j int) bool {
		return f.res.Problems[i].Object.String() < f.res.Problems[j].Object.String()
	})
	return f.res, nil
}

// metadata verifies commits and trees, and collects the files.
func (f *fsck) metadata() error {
	commits, err := f.r.ListObjects(object.KindCommit)
	if err != nil {
		return err
	}
	partial := map[object.ID]bool{}
	for _, c := range commits {
		if partial[c.ID], err = f.r.IsPartial(c.ID); err != nil {
			return err
		}
	}
	// Whole commits first: what they need must be there, also when a partial one needs it too.
	sort.Slice(commits, func(i, j int) bool {
		a, b := commits[i].ID, commits[j].ID
		if partial[a] != partial[b] {
			return partial[b]
		}
		return string(a[:]) < string(b[:])
	})
	seen := Set{}
	for _, c := range commits {
		if err := f.ctx.Err(); err != nil {
			return err
		}
		f.res.Commits++
		p := partial[c.ID]
		if p {
			f.res.Partial++
			if reason, err := os.ReadFile(f.r.partialPath(c.ID)); err == nil && string(reason) == markedByFsck {
				f.damaged = append(f.damaged, c.ID)
			}
		}
		w := &closure{r: f.r, load: f.load, seen: seen}
		w.files = func(n object.Name) { f.todo = append(f.todo, fsckFile{n, c.ID, p}) }
		w.missing = func(n object.Name, err error) error { f.problem(n, c.ID, p, err); return nil }
		if err := w.commit(c.ID); err != nil {
			return err
		}
	}
	f.done = len(seen) - len(f.todo)
	f.res.Objects = len(seen)
	return nil
}

// load reads a metadata object and verifies its name.
func (f *fsck) load(n object.Name) ([]byte, error) {
	data, err := f.r.LoadMetadata(n)
	if err != nil {
		return nil, err
	}
	if got := object.MetadataID(data); got != n.ID {
		return nil, &CorruptedError{n, got}
	}
	return data, nil
}

func (f *fsck) problem(n object.Name, commit object.ID, partial bool, err error) {
	if partial && errors.Is(err, ErrNotFound) {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, known := f.bad[n]; !known {
		f.bad[n] = err
		f.res.Problems = append(f.res.Problems, FsckProblem{Object: n, Commit: commit, Err: err})
	}
}

// files verifies the content of files, several at a time.
func (f *fsck) files() error {
	workers := f.opts.Workers
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	next := make(chan []fsckFile)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for batch := range next {
				for _, file := range batch {
					if err := f.file(file.name); err != nil {
						f.problem(file.name, file.commit, file.partial, err)
					}
				}
				f.progress(len(batch))
			}
		})
	}
	total := len(f.todo)
	for i := 0; i < total && f.ctx.Err() == nil; i += 32 {
		next <- f.todo[i:min(i+32, total)]
	}
	close(next)
	wg.Wait()
	return f.ctx.Err()
}

func (f *fsck) progress(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.done += n
	if f.opts.Progress != nil {
		f.opts.Progress(f.done, f.res.Objects)
	}
}

// file verifies one file object.
func (f *fsck) file(n object.Name) error {
	if f.opts.Quick {
		ok, err := f.r.HasObject(n)
		if err == nil && !ok {
			err = &NotFoundError{n}
		}
		return err
	}
	return f.r.verifyFile(n)
}

// verifyFile reads a file object and checks that it is what its name says.
func (r *Repo) verifyFile(n object.Name) error {
	if r.mode == ModeArchive {
		file, err := os.Open(r.ObjectPath(n))
		if err == nil {
			defer file.Close()
			var damaged *CorruptedError
			if _, _, err = verifyArchived(n, file); err != nil && !errors.As(err, &damaged) {
				err = fmt.Errorf("Corrupted file object; %w", err) //nolint:staticcheck // words that scripts look for
			}
			return err
		}
		if !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	info, size, rc, err := r.OpenFile(n.ID)
	if err != nil {
		return err
	}
	defer rc.Close()
	h := object.NewHash(info)
	if !info.IsSymlink() {
		if err := copyExactly(h, rc, size); err != nil {
			return err
		}
	}
	if got := object.SumID(h); got != n.ID {
		return &CorruptedError{n, got}
	}
	return nil
}

// refs reports refs that name no commit.
func (f *fsck) refs() error {
	refs, err := f.r.Refs()
	if err != nil {
		return err
	}
	for _, ref := range refs {
		n := object.Name{ID: ref.ID, Kind: object.KindCommit}
		if ok, err := f.r.HasObject(n); err != nil {
			return err
		} else if !ok {
			f.res.Problems = append(f.res.Problems, FsckProblem{Object: n, Ref: ref.String(), Err: &NotFoundError{n}})
		}
	}
	return nil
}

// markedByFsck is what ostree writes into a partial mark when its fsck makes it.
const markedByFsck = "f"

// heal removes the marks that a check has made from the commits that are whole again, because what they lacked was
// committed or pulled since.
func (f *fsck) heal() error {
	for _, id := range f.damaged {
		whole := true
		set := Set{}
		w := &closure{r: f.r, load: f.load, seen: set, missing: func(object.Name, error) error { whole = false; return nil }}
		if err := w.commit(id); err != nil {
			return err
		}
		for n := range set {
			if f.bad[n] != nil {
				whole = false
			}
			if n.Kind == object.KindFile && whole {
				has, err := f.r.HasObject(n)
				if err != nil {
					return err
				}
				whole = has
			}
		}
		if !whole {
			f.res.Damaged++
			continue
		}
		if err := durable.Remove(f.r.partialPath(id)); err != nil {
			return err
		}
		f.res.Partial--
	}
	return nil
}

// mark marks every commit partial that lacks an object, or will once the damaged ones are deleted (R3): a pull then
// fetches what is missing.
func (f *fsck) mark() error {
	gone := Set{}
	for n, why := range f.bad {
		if errors.Is(why, ErrNotFound) || f.opts.Delete {
			gone[n] = struct{}{}
		}
	}
	if len(gone) == 0 {
		return nil
	}
	lock, err := f.r.lock(f.ctx, true)
	if errors.Is(err, os.ErrPermission) || errors.Is(err, syscall.EROFS) {
		return nil // who may only read can still be told what is wrong
	}
	if err != nil {
		return err
	}
	defer lock.release()
	commits, err := f.r.ListObjects(object.KindCommit)
	if err != nil {
		return err
	}
	for _, c := range commits {
		set := Set{}
		w := &closure{r: f.r, load: f.load, seen: set, missing: func(object.Name, error) error { return nil }}
		if err := w.commit(c.ID); err != nil {
			return err
		}
		for n := range gone {
			if set.Has(n) || n == c {
				marked, err := f.r.IsPartial(c.ID)
				if err == nil && !marked {
					f.res.Marked = append(f.res.Marked, c.ID)
					err = f.r.markPartial(c.ID, []byte(markedByFsck))
				}
				if err != nil {
					return err
				}
				break
			}
		}
	}
	return nil
}

// delete removes the damaged objects.
func (f *fsck) delete() error {
	if len(f.bad) == 0 {
		return nil
	}
	lock, err := f.r.lock(f.ctx, true)
	if err != nil {
		return err
	}
	defer lock.release()
	for n, why := range f.bad {
		if errors.Is(why, ErrNotFound) {
			continue
		}
		if err := durable.Remove(f.r.ObjectPath(n)); err != nil {
			return err
		}
	}
	return nil
}
