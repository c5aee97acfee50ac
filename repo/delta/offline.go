package delta

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"photree/internal/gvariant"
	"photree/repo"
	"photree/repo/object"
)

// Verifier checks the signatures of a superblock: data is what was signed. Packages that know keys provide it.
type Verifier func(data []byte, signatures gvariant.Dict) error

// ApplyOptions are the choices of Apply.
type ApplyOptions struct {
	// Verify, where set, is asked before anything of the delta is used; a delta without signatures is then refused.
	Verify Verifier
}

// readFile returns the bytes of a file of at most limit bytes.
func readFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a file", path)
	}
	if st.Size() > limit {
		return nil, fmt.Errorf("%s is %d bytes long and may have %d", path, st.Size(), limit)
	}
	data := make([]byte, st.Size())
	if _, err := io.ReadFull(f, data); err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	return data, nil
}

// Open reads the superblock of a delta from a file, or from the file superblock of a directory. It returns the
// directory that the parts are in too.
func Open(path string, verify Verifier) (*Superblock, string, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, "", err
	}
	if st.IsDir() {
		path = filepath.Join(path, "superblock")
	}
	data, err := readFile(path, MaxSuperblock)
	if err != nil {
		return nil, "", fmt.Errorf("opening a static delta: %w", err)
	}
	if verify != nil {
		if err := Verify(data, verify); err != nil {
			return nil, "", fmt.Errorf("verifying static delta %s: %w", path, err)
		}
	}
	s, err := Decode(data)
	if err != nil {
		return nil, "", fmt.Errorf("opening %s: %w", path, err)
	}
	return s, filepath.Dir(path), nil
}

// Verify checks the signatures of a superblock.
func Verify(data []byte, verify Verifier) error {
	inner, signatures, err := Unwrap(data)
	if err != nil {
		return err
	}
	if signatures == nil {
		return errors.New("no signatures in static-delta")
	}
	return verify(inner, signatures)
}

// ReadPart returns the bytes of part i: the inline ones, or those of the file in dir.
func (s *Superblock) ReadPart(dir string, i int) ([]byte, error) {
	if data, ok := s.Inline(i); ok {
		return data, nil
	}
	return readFile(filepath.Join(dir, fmt.Sprint(i)), s.Parts[i].FileLimit())
}

// FileLimit is the most bytes that the file of the part may have (R7).
func (h *Part) FileLimit() int64 { return int64(min(h.Size, maxPayload)) }

// Apply applies the delta in a file or directory and returns its commit. No ref is changed.
func Apply(ctx context.Context, r *repo.Repo, path string, o ApplyOptions) (object.ID, error) {
	s, dir, err := Open(path, o.Verify)
	if err != nil {
		return object.ID{}, err
	}
	if len(s.Fallbacks) > 0 {
		return s.To, fmt.Errorf("applying static delta %s: it leaves out %d objects that have to be fetched by their names: "+
			"Cannot execute delta offline: contains nonempty http fallback entries (generate it with --min-fallback-size=0)", s.Name(), len(s.Fallbacks))
	}
	txn, err := r.Begin(ctx)
	if err != nil {
		return s.To, err
	}
	defer func() { _ = txn.Abort() }()
	if err := s.Begin(txn); err != nil {
		return s.To, err
	}
	if err := s.applyAll(ctx, txn, dir); err != nil {
		return s.To, err
	}
	if err := s.finish(txn); err != nil {
		return s.To, fmt.Errorf("applying static delta %s: %w", s.Name(), err)
	}
	return s.To, txn.Commit()
}

// applyAll applies the parts in dir, two at once: one is unpacked while the files of the other are written.
func (s *Superblock) applyAll(ctx context.Context, txn *repo.Txn, dir string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	const atOnce = 2
	errs := make([]error, atOnce)
	next := atomic.Int64{}
	var workers sync.WaitGroup
	for w := range atOnce {
		workers.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(s.Parts) || ctx.Err() != nil {
					return
				}
				if errs[w] = s.applyFile(ctx, txn, dir, i); errs[w] != nil {
					cancel()
					return
				}
			}
		})
	}
	workers.Wait()
	for _, err := range errs {
		if err != nil && !errors.Is(err, context.Canceled) {
			return err
		}
	}
	return errors.Join(append(errs, context.Cause(ctx))...)
}

// applyFile applies one part unless all of its objects are here.
func (s *Superblock) applyFile(ctx context.Context, txn *repo.Txn, dir string, i int) error {
	have, err := s.HavePart(txn, i)
	if err != nil || have {
		return err
	}
	data, err := s.ReadPart(dir, i)
	if err != nil {
		return fmt.Errorf("applying static delta %s: %w", s.Name(), err)
	}
	return s.ApplyPart(ctx, txn, i, data)
}

// Begin checks that the commit that the delta starts from is here with all that it needs, marks the new one partial and
// stages it (R3).
func (s *Superblock) Begin(txn *repo.Txn) error {
	if !s.From.IsZero() {
		if err := s.checkSource(txn.Repo()); err != nil {
			return fmt.Errorf("applying static delta %s: %w", s.Name(), err)
		}
	}
	n := object.Name{ID: s.To, Kind: object.KindCommit}
	has, err := txn.Has(n)
	if err != nil || has {
		return err
	}
	if err := txn.MarkPartial(s.To); err != nil {
		return err
	}
	if d, ok := s.Detached(); ok && len(d) > 0 {
		if err := txn.SetDetachedMetadata(s.To, d); err != nil {
			return err
		}
	}
	return txn.ImportMetadata(n, s.Commit)
}

func (s *Superblock) checkSource(r *repo.Repo) error {
	has, err := r.HasObject(object.Name{ID: s.From, Kind: object.KindCommit})
	if err != nil {
		return err
	}
	if !has {
		return fmt.Errorf("Commit %s, which is the delta source, is not in repository", s.From) //nolint:staticcheck // ostree's words
	}
	partial, err := r.IsPartial(s.From)
	if err == nil && partial {
		err = fmt.Errorf("commit %s, which is the delta source, is only partly in the repository", s.From)
	}
	return err
}

// HavePart says whether all objects of part i are in the repository or staged, so that it need not be fetched.
func (s *Superblock) HavePart(txn *repo.Txn, i int) (bool, error) {
	for _, n := range s.Parts[i].Objects {
		if has, err := txn.Has(n); err != nil || !has {
			return false, err
		}
	}
	return true, nil
}

// finish takes the partial mark away when the closure is complete: a delta can claim to hold all of a commit that it
// does not hold (R3).
func (s *Superblock) finish(txn *repo.Txn) error {
	c, err := object.DecodeCommit(s.Commit)
	if err != nil {
		return err
	}
	w := closure{txn: txn, seen: map[object.Name]bool{}}
	if err := w.need(object.Name{ID: c.RootMeta, Kind: object.KindDirMeta}); err != nil {
		return err
	}
	if err := w.tree(c.Root); err != nil {
		return err
	}
	return txn.ClearPartial(s.To)
}

// closure checks that all that a tree needs is published or staged.
type closure struct {
	txn  *repo.Txn
	seen map[object.Name]bool
}

func (w *closure) need(n object.Name) error {
	if w.seen[n] {
		return nil
	}
	w.seen[n] = true
	has, err := w.txn.Has(n)
	if err == nil && !has {
		err = fmt.Errorf("object %s is neither in the delta nor in the repository", n)
	}
	return err
}

func (w *closure) tree(id object.ID) error {
	n := object.Name{ID: id, Kind: object.KindDirTree}
	if w.seen[n] {
		return nil
	}
	if err := w.need(n); err != nil {
		return err
	}
	data, err := w.txn.LoadMetadata(n)
	if err != nil {
		return err
	}
	t, err := object.DecodeDirTree(data)
	if err != nil {
		return fmt.Errorf("reading %s: %w", n, err)
	}
	for _, f := range t.Files {
		if err := w.need(object.Name{ID: f.ID, Kind: object.KindFile}); err != nil {
			return err
		}
	}
	for _, d := range t.Dirs {
		if err := w.need(object.Name{ID: d.Meta, Kind: object.KindDirMeta}); err != nil {
			return err
		}
		if err := w.tree(d.Tree); err != nil {
			return err
		}
	}
	return nil
}
