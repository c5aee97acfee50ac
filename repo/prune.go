package repo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"photree/internal/durable"
	"photree/repo/object"
)

// PruneOptions are the choices of Prune.
type PruneOptions struct {
	// RefsOnly lets commits go that no ref leads to. Without it every commit stays, and only objects that no commit
	// needs go.
	RefsOnly bool
	// Depth is how many ancestors of the commit of a ref stay, with RefsOnly; -1 keeps all.
	Depth int
	// KeepYoungerThan keeps ancestors that were made after it, beyond Depth.
	KeepYoungerThan time.Time
	// RetainDepth is Depth for the refs that it names, whose commits are kept at any age.
	RetainDepth map[string]int
	// OnlyRefs are the refs whose history is shortened; that of all others stays whole.
	OnlyRefs []string
	// CommitsOnly lets commit objects go and nothing else.
	CommitsOnly  bool
	DeleteCommit object.ID // goes, although others stay; an error when a ref names it
	DryRun       bool      // only count
}

// PruneResult says what went, or would have gone.
type PruneResult struct {
	Total, Pruned int
	Freed         int64
}

// prune is one call of Prune.
type prune struct {
	r    *Repo
	ctx  context.Context
	opts PruneOptions
	keep Set
	drop map[object.Kind][]string // paths to remove
	ids  []object.ID              // commits to remove
	res  PruneResult
}

type pruneStep struct {
	name string
	run  func(*prune) error
}

// pruneSteps upholds R5 and R3: a name goes, durably, before what it names. A prune that is killed after any of them
// leaves a repository in which every commit is whole.
var pruneSteps = []pruneStep{
	{"find what stays", (*prune).mark},
	{"find what goes", (*prune).find},
	{"write tombstones", (*prune).tombstones},
	{"remove static deltas", (*prune).deltas},
	{"remove commits", func(p *prune) error { return p.remove(object.KindCommit) }},
	{"remove detached metadata", func(p *prune) error { return p.remove(object.KindCommitMeta) }},
	{"remove trees", func(p *prune) error { return p.remove(object.KindDirTree, object.KindDirMeta) }},
	{"remove files", func(p *prune) error { return p.remove(object.KindFile, object.KindPayloadLink) }},
	{"remove marks", (*prune).marks},
	{"remove leftovers", (*prune).leftovers},
	{"clear the cache of uncompressed files", (*prune).uncompressed},
	{"forget summaries of remotes that are gone", (*prune).summaries},
}

// Prune removes what nothing leads to. It holds the repository lock alone (R4).
func (r *Repo) Prune(ctx context.Context, opts PruneOptions) (PruneResult, error) {
	lock, err := r.lock(ctx, true)
	if err != nil {
		return PruneResult{}, err
	}
	defer lock.release()
	p := &prune{r: r, ctx: ctx, opts: opts, keep: Set{}, drop: map[object.Kind][]string{}}
	for _, s := range pruneSteps {
		if err := s.run(p); err != nil {
			return p.res, fmt.Errorf("pruning %s: %s: %w", r.path, s.name, err)
		}
	}
	return p.res, nil
}

// mark collects what stays.
func (p *prune) mark() error {
	refs, err := p.r.Refs()
	if err != nil {
		return err
	}
	for _, ref := range refs {
		if ref.ID == p.opts.DeleteCommit {
			return fmt.Errorf("commit %s is named by ref %s: delete the ref first", ref.ID, ref)
		}
	}
	if err := p.checkOnly(refs); err != nil {
		return err
	}
	var keep []object.ID
	if p.opts.RefsOnly {
		keep, err = p.history(refs)
	} else {
		keep, err = p.allCommits()
	}
	if err != nil {
		return err
	}
	for _, id := range keep {
		if err := p.ctx.Err(); err != nil {
			return err
		}
		if err := p.r.Reachable(p.keep, id); err != nil {
			return fmt.Errorf("commit %s cannot be walked, so nothing is removed (fsck tells more): %w", id, err)
		}
	}
	return nil
}

func (p *prune) allCommits() ([]object.ID, error) {
	names, err := p.r.ListObjects(object.KindCommit)
	var out []object.ID
	for _, n := range names {
		if n.ID != p.opts.DeleteCommit {
			out = append(out, n.ID)
		}
	}
	if err == nil && !p.opts.DeleteCommit.IsZero() && len(out) == len(names) {
		err = &NotFoundError{object.Name{ID: p.opts.DeleteCommit, Kind: object.KindCommit}}
	}
	return out, err
}

// checkOnly refuses the names of refs that are not there: with one that is misspelt all would stay.
func (p *prune) checkOnly(refs []Ref) error {
	for _, name := range p.opts.OnlyRefs {
		if !slices.ContainsFunc(refs, func(r Ref) bool { return r.String() == name }) {
			return &RefNotFoundError{name}
		}
	}
	return nil
}

// reach is how far back the history of a ref stays.
type reach struct {
	depth int       // so many ancestors more; -1 for all
	young time.Time // and all that are younger, where it is set
}

// covers says whether a walk with r from a commit keeps all that one with o would.
func (r reach) covers(o reach) bool {
	deep := r.depth < 0 || o.depth >= 0 && r.depth >= o.depth
	return deep && (o.young.IsZero() || !r.young.IsZero() && !r.young.After(o.young))
}

// reachOf returns how far back the history of one ref stays.
func (p *prune) reachOf(ref Ref) reach {
	if depth, ok := p.opts.RetainDepth[ref.String()]; ok {
		return reach{depth: depth}
	}
	if len(p.opts.OnlyRefs) > 0 && !slices.Contains(p.opts.OnlyRefs, ref.String()) {
		return reach{depth: -1}
	}
	r := reach{p.opts.Depth, p.opts.KeepYoungerThan}
	if !r.young.IsZero() && r.depth < 0 {
		r.depth = 0 // the age alone decides
	}
	return r
}

// history returns the commits that refs lead to within the depth or the age that was asked for.
func (p *prune) history(refs []Ref) ([]object.ID, error) {
	if id := p.opts.DeleteCommit; !id.IsZero() {
		n := object.Name{ID: id, Kind: object.KindCommit}
		if has, err := p.r.HasObject(n); err != nil {
			return nil, err
		} else if !has {
			return nil, &NotFoundError{n}
		}
	}
	at := map[object.ID]reach{}
	var out []object.ID
	for _, ref := range refs {
		left := p.reachOf(ref)
		for id, first := ref.ID, true; !id.IsZero(); first = false {
			if before, ok := at[id]; ok && before.covers(left) {
				break
			}
			if id == p.opts.DeleteCommit {
				break // and what only it leads to goes too
			}
			c, err := p.r.LoadCommit(id)
			if errors.Is(err, ErrNotFound) {
				break // pruned before, or never pulled; fsck reports refs to nothing
			}
			if err != nil {
				return nil, err
			}
			if !first {
				if young := !left.young.IsZero() && c.Time().After(left.young); left.depth == 0 && !young {
					break
				}
				if left.depth > 0 {
					left.depth--
				}
			}
			if _, ok := at[id]; !ok {
				out = append(out, id)
			}
			at[id] = left
			id = c.Parent
		}
	}
	return out, nil
}

// find lists what goes. Detached metadata goes with its commit.
func (p *prune) find() error {
	return p.r.eachLoose(func(prefix, file string) error {
		n, ok := p.r.parseLoose(prefix, file)
		if !ok {
			return nil
		}
		p.res.Total++
		if p.keep.Has(n) {
			return nil
		}
		if p.opts.CommitsOnly && n.Kind != object.KindCommit && n.Kind != object.KindCommitMeta {
			return nil
		}
		switch n.Kind {
		case object.KindFile, object.KindDirTree, object.KindDirMeta, object.KindPayloadLink:
		case object.KindCommit:
			p.ids = append(p.ids, n.ID)
		case object.KindCommitMeta:
			if p.keep.Has(object.Name{ID: n.ID, Kind: object.KindCommit}) {
				return nil
			}
		default:
			return nil // tombstones and kinds that are not ours to judge
		}
		path := filepath.Join(p.r.path, "objects", prefix, file)
		if st, err := os.Lstat(path); err == nil {
			p.res.Freed += st.Size()
		}
		p.res.Pruned++
		p.drop[n.Kind] = append(p.drop[n.Kind], path)
		return nil
	})
}

func (p *prune) remove(kinds ...object.Kind) error {
	any := false
	for _, k := range kinds {
		for _, path := range p.drop[k] {
			if p.opts.DryRun {
				continue
			}
			if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
			any = true
		}
	}
	if !any {
		return nil
	}
	// Durable before the next kind goes: a power cut must not bring back a commit whose trees are gone.
	return durable.Syncfs(filepath.Join(p.r.path, "objects"))
}

// tombstones records the commits that go, where the configuration asks for it.
func (p *prune) tombstones() error {
	on, err := p.r.Config().Bool("core", "tombstone-commits", false)
	if err != nil || !on || p.opts.DryRun {
		return err
	}
	for _, id := range p.ids {
		if err := p.r.writeTombstone(id); err != nil {
			return err
		}
	}
	return nil
}

func (r *Repo) writeTombstone(id object.ID) error {
	path := r.ObjectPath(object.Name{ID: id, Kind: object.KindTombstone})
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return durable.WriteFile(path, object.EncodeTombstone(id), 0o644)
}

// AddTombstone notes that a commit was deleted, and has the configuration say that there are such notes.
func (r *Repo) AddTombstone(commit object.ID) error {
	f := r.Config()
	on, err := f.Bool("core", "tombstone-commits", false)
	if err != nil {
		return err
	}
	if !on {
		f.Set("core", "tombstone-commits", "true")
		if err := r.SetConfig(f); err != nil {
			return err
		}
	}
	if err := r.writeTombstone(commit); err != nil {
		return fmt.Errorf("noting that commit %s was deleted: %w", commit, err)
	}
	return nil
}

// deltas removes the static deltas to commits that go or are gone.
func (p *prune) deltas() error {
	deltas, err := p.r.Deltas()
	if err != nil {
		return err
	}
	for _, d := range deltas {
		if p.keep.Has(object.Name{ID: d.To, Kind: object.KindCommit}) || p.opts.DryRun {
			continue
		}
		if err := os.RemoveAll(filepath.Join(p.r.path, d.Dir)); err != nil {
			return err
		}
	}
	return nil
}

// uncompressed removes from the cache of a checkout in user mode what no checkout has any more.
func (p *prune) uncompressed() error {
	files, err := filepath.Glob(filepath.Join(p.r.path, UncompressedCache, "??", "*"))
	if err != nil || p.opts.DryRun {
		return err
	}
	for _, path := range files {
		var st unix.Stat_t
		if unix.Lstat(path, &st) == nil && st.Nlink == 1 {
			if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// marks removes the partial marks of commits that are gone.
func (p *prune) marks() error {
	if p.opts.DryRun {
		return nil
	}
	entries, err := os.ReadDir(filepath.Join(p.r.path, "state"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		s, ok := strings.CutSuffix(e.Name(), ".commitpartial")
		id, err := object.ParseID(s)
		if !ok || err != nil || p.keep.Has(object.Name{ID: id, Kind: object.KindCommit}) {
			continue
		}
		if err := os.Remove(filepath.Join(p.r.path, "state", e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// leftovers removes what transactions that were cut off have left of refs and marks. The lock keeps others away.
func (p *prune) leftovers() error {
	if p.opts.DryRun {
		return nil
	}
	if err := durable.RemoveTemps(filepath.Join(p.r.path, "state"), ""); err != nil {
		return err
	}
	return filepath.WalkDir(filepath.Join(p.r.path, "refs"), func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.IsDir() {
			return err
		}
		return durable.RemoveTemps(path, "")
	})
}
