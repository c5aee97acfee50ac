package repo

import (
	"errors"
	"fmt"

	"photree/repo/object"
)

// Set is a set of objects.
type Set map[object.Name]struct{}

// Has says whether n is in the set.
func (s Set) Has(n object.Name) bool { _, ok := s[n]; return ok }

// closure collects what commits need, each object once however many commits share it.
type closure struct {
	r *Repo
	// load reads a metadata object; Fsck verifies in it.
	load func(object.Name) ([]byte, error)
	// missing is told about an object that cannot be loaded and the error of it; what it returns ends the walk.
	missing func(object.Name, error) error
	seen    Set
	files   func(object.Name) // told each file object once
}

// Reachable adds to set what a commit needs: itself, its trees and files, not its parents. When the commit carries a
// partial mark, objects that are missing are passed over.
func (r *Repo) Reachable(set Set, commit object.ID) error {
	partial, err := r.IsPartial(commit)
	if err != nil {
		return err
	}
	c := &closure{r: r, load: r.LoadMetadata, seen: set}
	c.missing = func(n object.Name, err error) error {
		if partial && errors.Is(err, ErrNotFound) {
			return nil
		}
		return err
	}
	return c.commit(commit)
}

func (c *closure) commit(id object.ID) error {
	n := object.Name{ID: id, Kind: object.KindCommit}
	data, err := c.load(n)
	if err != nil {
		return c.missing(n, err)
	}
	c.seen[n] = struct{}{}
	commit, err := object.DecodeCommit(data)
	if err != nil {
		return c.missing(n, err)
	}
	return errors.Join(c.meta(commit.RootMeta), c.tree(commit.Root))
}

func (c *closure) meta(id object.ID) error {
	n := object.Name{ID: id, Kind: object.KindDirMeta}
	if c.seen.Has(n) {
		return nil
	}
	c.seen[n] = struct{}{}
	data, err := c.load(n)
	if err == nil {
		_, err = object.DecodeDirMeta(data)
	}
	if err != nil {
		return c.missing(n, err)
	}
	return nil
}

func (c *closure) tree(id object.ID) error {
	n := object.Name{ID: id, Kind: object.KindDirTree}
	if c.seen.Has(n) {
		return nil
	}
	c.seen[n] = struct{}{}
	data, err := c.load(n)
	if err != nil {
		return c.missing(n, err)
	}
	t, err := object.DecodeDirTree(data)
	if err != nil {
		return c.missing(n, err)
	}
	for _, f := range t.Files {
		fn := object.Name{ID: f.ID, Kind: object.KindFile}
		if !c.seen.Has(fn) {
			c.seen[fn] = struct{}{}
			if c.files != nil {
				c.files(fn)
			}
		}
	}
	for _, d := range t.Dirs {
		if err := c.meta(d.Meta); err != nil {
			return err
		}
		if err := c.tree(d.Tree); err != nil {
			return err
		}
	}
	return nil
}

// History returns a commit and up to depth of its ancestors that are in the repository; -1 returns all.
func (r *Repo) History(commit object.ID, depth int) ([]object.ID, error) {
	var out []object.ID
	seen := map[object.ID]bool{}
	for id := commit; !id.IsZero() && !seen[id]; {
		c, err := r.LoadCommit(id)
		if len(out) > 0 && errors.Is(err, ErrNotFound) {
			break // pruned, or never pulled
		}
		if err != nil {
			return out, fmt.Errorf("reading the history of %s: %w", commit, err)
		}
		seen[id] = true
		out = append(out, id)
		if depth >= 0 && len(out) > depth {
			break
		}
		id = c.Parent
	}
	return out, nil
}
