package delta

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"photree/repo"
	"photree/repo/object"
)

// item is one object that the delta has to bring.
type item struct {
	name   object.Name
	path   string // of a file, one of those that it has in the tree
	info   object.FileInfo
	size   int64
	source object.ID // a file of the source commit that is probably similar, or zero
}

// plan says what a delta has to bring, in the order in which it is packed.
type plan struct {
	metadata []item
	files    []item // regular files with a source first, and what is alike close together
	links    []item
}

// content is the file objects and metadata of one commit: files by one of their paths.
type content struct {
	metadata map[object.Name]bool
	order    []object.Name // of the metadata
	files    map[object.ID]string
	byPath   map[string]object.ID
	paths    []string
}

// loadTree walks the tree of a commit.
func loadTree(r *repo.Repo, id object.ID) (*content, object.Commit, error) {
	t := &content{metadata: map[object.Name]bool{}, files: map[object.ID]string{}, byPath: map[string]object.ID{}}
	c, err := r.LoadCommit(id)
	if err != nil {
		return nil, c, err
	}
	t.meta(object.Name{ID: c.RootMeta, Kind: object.KindDirMeta})
	if err := t.walk(r, "/", c.Root); err != nil {
		return nil, c, fmt.Errorf("walking commit %s: %w", id, err)
	}
	return t, c, nil
}

func (t *content) meta(n object.Name) bool {
	if t.metadata[n] {
		return false
	}
	t.metadata[n] = true
	t.order = append(t.order, n)
	return true
}

func (t *content) walk(r *repo.Repo, dir string, id object.ID) error {
	// A directory that stands at two places gives its files the path of the first.
	again := !t.meta(object.Name{ID: id, Kind: object.KindDirTree})
	tree, err := r.LoadDirTree(id)
	if err != nil {
		return err
	}
	for _, f := range tree.Files {
		p := path.Join(dir, f.Name)
		t.byPath[p] = f.ID
		t.paths = append(t.paths, p)
		if _, known := t.files[f.ID]; !known {
			t.files[f.ID] = p
		}
	}
	if again && len(t.paths) > 1<<22 {
		return errors.New("the same directories stand in it at more than four million places")
	}
	for _, d := range tree.Dirs {
		t.meta(object.Name{ID: d.Meta, Kind: object.KindDirMeta})
		if err := t.walk(r, path.Join(dir, d.Name), d.Tree); err != nil {
			return err
		}
	}
	return nil
}

// makePlan compares two commits; from is nil for a delta from nothing.
func makePlan(r *repo.Repo, from, to *content) (*plan, error) {
	p := &plan{}
	if from == nil {
		from = &content{}
	}
	for _, n := range to.order {
		if !from.metadata[n] {
			p.metadata = append(p.metadata, item{name: n})
		}
	}
	find := newSourceFinder(r, from)
	for id, name := range to.files {
		if _, old := from.files[id]; old {
			continue
		}
		it := item{name: object.Name{ID: id, Kind: object.KindFile}, path: name}
		var err error
		if it.info, it.size, err = r.LoadFileInfo(id); err != nil {
			return nil, err
		}
		if it.info.IsSymlink() {
			p.links = append(p.links, it)
			continue
		}
		p.files = append(p.files, it)
	}
	for i := range p.files {
		it := &p.files[i]
		var err error
		if it.source, err = find.source(it); err != nil {
			return nil, err
		}
	}
	// The order is part of the bytes: nothing may be left to the order of a map. Files of one kind and one name stand
	// close together, where the compression sees what they have in common.
	slices.SortFunc(p.files, func(a, b item) int {
		if x, y := a.source.IsZero(), b.source.IsZero(); x != y {
			if y {
				return 1
			}
			return -1
		}
		return cmp.Or(strings.Compare(path.Ext(plainName(a.path)), path.Ext(plainName(b.path))),
			strings.Compare(path.Base(a.path), path.Base(b.path)), strings.Compare(a.path, b.path))
	})
	slices.SortFunc(p.links, func(a, b item) int { return strings.Compare(a.path, b.path) })
	return p, nil
}

// sourceFinder looks for the file of the source commit that a new file was probably made from.
type sourceFinder struct {
	r      *repo.Repo
	from   *content
	byName map[string][]string // base name -> paths
	byLike map[string][]string // base name without digits -> paths
	infos  map[object.ID]sourceInfo
}

type sourceInfo struct {
	usable bool
	size   int64
}

func newSourceFinder(r *repo.Repo, from *content) *sourceFinder {
	f := &sourceFinder{r: r, from: from, byName: map[string][]string{}, byLike: map[string][]string{}, infos: map[object.ID]sourceInfo{}}
	for _, p := range from.paths {
		f.byName[path.Base(p)] = append(f.byName[path.Base(p)], p)
		f.byLike[plainName(path.Base(p))] = append(f.byLike[plainName(path.Base(p))], p)
	}
	return f
}

// plainName leaves out digits, so that the versions in two names do not make them differ.
func plainName(s string) string {
	return strings.Map(func(c rune) rune {
		if c >= '0' && c <= '9' {
			return -1
		}
		return c
	}, s)
}

// source returns the best file, or zero: the one at the same path, else one of the same name, else one whose name
// differs in digits only; the one whose path and size are closest.
func (f *sourceFinder) source(it *item) (object.ID, error) {
	if it.size == 0 {
		return object.ID{}, nil
	}
	if id, ok := f.from.byPath[it.path]; ok {
		if fit, err := f.fits(id, it.size); fit || err != nil {
			return id, err
		}
	}
	for _, paths := range [][]string{f.byName[path.Base(it.path)], f.byLike[plainName(path.Base(it.path))]} {
		var best object.ID
		var bestKey [2]int64
		for _, p := range paths[:min(len(paths), 64)] {
			id := f.from.byPath[p]
			fit, err := f.fits(id, it.size)
			if err != nil {
				return id, err
			}
			if !fit {
				continue
			}
			key := [2]int64{-int64(commonPrefix([]byte(plainName(p)), []byte(plainName(it.path)))), abs(f.infos[id].size - it.size)}
			if best.IsZero() || slices.Compare(key[:], bestKey[:]) < 0 {
				best, bestKey = id, key
			}
		}
		if !best.IsZero() {
			return best, nil
		}
	}
	return object.ID{}, nil
}

func abs(x int64) int64 { return max(x, -x) }

// fits says whether a file can be the source of one of size bytes: a regular file that everybody may read, since the
// client may not be root, and not of a wholly different size.
func (f *sourceFinder) fits(id object.ID, size int64) (bool, error) {
	s, known := f.infos[id]
	if !known {
		info, n, err := f.r.LoadFileInfo(id)
		if err != nil {
			return false, err
		}
		s = sourceInfo{usable: info.IsRegular() && info.Mode&0o004 != 0 && n > 0, size: n}
		f.infos[id] = s
	}
	return s.usable && s.size <= 8*size && size <= 8*s.size, nil
}
