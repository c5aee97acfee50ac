package tree

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"photree/repo"
	"photree/repo/object"
)

// Entry is one name of a tree.
type Entry struct {
	Path string // starts with "/"
	Dir  bool
	ID   object.ID // the file, or the dirtree of a directory
	Meta object.ID // the dirmeta of a directory
}

// ErrSkipDir is returned by the function given to Walk to pass over a directory.
var ErrSkipDir = errors.New("skip this directory")

// Walk calls fn for the root and everything below it: a directory, then its files, then its subdirectories, by name.
func Walk(r *repo.Repo, root, meta object.ID, fn func(Entry) error) error {
	return walk(r, Entry{Path: "/", Dir: true, ID: root, Meta: meta}, fn)
}

// WalkFrom is Walk from an entry that Lookup returned.
func WalkFrom(r *repo.Repo, e Entry, fn func(Entry) error) error { return walk(r, e, fn) }

func walk(r *repo.Repo, e Entry, fn func(Entry) error) error {
	err := fn(e)
	if errors.Is(err, ErrSkipDir) {
		return nil
	}
	if err != nil || !e.Dir {
		return err
	}
	children, err := List(r, e)
	if err != nil {
		return err
	}
	for _, c := range children {
		if err := walk(r, c, fn); err != nil {
			return err
		}
	}
	return nil
}

// List returns what is in a directory: files first, then subdirectories, each by name.
func List(r *repo.Repo, e Entry) ([]Entry, error) {
	t, err := r.LoadDirTree(e.ID)
	if err != nil {
		return nil, err
	}
	out := make([]Entry, 0, len(t.Files)+len(t.Dirs))
	for _, f := range t.Files {
		out = append(out, Entry{Path: join(e.Path, f.Name), ID: f.ID})
	}
	for _, d := range t.Dirs {
		out = append(out, Entry{Path: join(e.Path, d.Name), Dir: true, ID: d.Tree, Meta: d.Meta})
	}
	return out, nil
}

// Lookup returns the entry at path. Symbolic links are not followed. The error wraps repo.ErrNotFound when there is none.
func Lookup(r *repo.Repo, root, meta object.ID, path string) (Entry, error) {
	e := Entry{Path: "/", Dir: true, ID: root, Meta: meta}
	for name := range strings.SplitSeq(path, "/") {
		if name == "" || name == "." {
			continue
		}
		if !e.Dir {
			return e, fmt.Errorf("%s: %s: %w: %w", path, e.Path, unix.ENOTDIR, repo.ErrNotFound)
		}
		t, err := r.LoadDirTree(e.ID)
		if err != nil {
			return e, err
		}
		next := Entry{Path: join(e.Path, name)}
		if id, ok := t.File(name); ok {
			next.ID = id
		} else if d, ok := t.Dir(name); ok {
			next.Dir, next.ID, next.Meta = true, d.Tree, d.Meta
		} else {
			return e, fmt.Errorf("no such file or directory: %s: %w", next.Path, repo.ErrNotFound)
		}
		e = next
	}
	return e, nil
}

// LookupFollow is Lookup in a commit that follows symbolic links, absolute ones from the root of the tree.
func LookupFollow(r *repo.Repo, commit object.ID, path string) (Entry, error) {
	c, err := r.LoadCommit(commit)
	if err != nil {
		return Entry{}, err
	}
	todo := strings.Split(path, "/")
	root := Entry{Path: "/", Dir: true, ID: c.Root, Meta: c.RootMeta}
	at := []Entry{root}
	for links := 0; len(todo) > 0; {
		name := todo[0]
		todo = todo[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			at = at[:max(1, len(at)-1)]
			continue
		}
		dir := at[len(at)-1]
		e, err := Lookup(r, dir.ID, dir.Meta, name)
		if err != nil || !dir.Dir {
			return e, fmt.Errorf("no such file or directory: %s: %w", path, repo.ErrNotFound)
		}
		e.Path = join(dir.Path, name)
		if !e.Dir {
			info, _, err := r.LoadFileInfo(e.ID)
			if err != nil {
				return e, err
			}
			if info.IsSymlink() {
				if links++; links > 40 {
					return e, fmt.Errorf("%s: too many symbolic links", path)
				}
				todo = append(strings.Split(info.Target, "/"), todo...)
				if strings.HasPrefix(info.Target, "/") {
					at = []Entry{root}
				}
				continue
			}
		}
		at = append(at, e)
	}
	return at[len(at)-1], nil
}

// ReadFile returns the content of a regular file of a commit, of at most 64 MiB; symbolic links within the tree are
// followed.
func ReadFile(r *repo.Repo, commit object.ID, path string) ([]byte, error) {
	e, err := LookupFollow(r, commit, path)
	if err != nil {
		return nil, err
	}
	if e.Dir {
		return nil, fmt.Errorf("%s is a directory", path)
	}
	_, size, rc, err := r.OpenFile(e.ID)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	if size > 64<<20 {
		return nil, fmt.Errorf("%s has %d bytes, which is too much to read at once", path, size)
	}
	return io.ReadAll(rc)
}

// Change is one difference of two trees.
type Change struct {
	Op   byte // 'M', 'D' or 'A'
	Path string
}

// Diff compares two commits: all modified names, then all deleted, then all added, in ostree's order, which is that of a
// walk. A directory is modified when its owner, mode or attributes are; of a deleted one only itself is named, of an
// added one everything in it.
func Diff(r *repo.Repo, a, b object.ID) ([]Change, error) {
	ca, err := r.LoadCommit(a)
	if err != nil {
		return nil, err
	}
	cb, err := r.LoadCommit(b)
	if err != nil {
		return nil, err
	}
	var d differ
	err = d.dirs(r, Entry{Path: "/", Dir: true, ID: ca.Root, Meta: ca.RootMeta},
		Entry{Path: "/", Dir: true, ID: cb.Root, Meta: cb.RootMeta})
	return slices.Concat(d.modified, d.deleted, d.added), err
}

type differ struct{ modified, deleted, added []Change }

func (d *differ) dirs(r *repo.Repo, a, b Entry) error {
	if a.ID == b.ID {
		return nil
	}
	la, err := List(r, a)
	if err != nil {
		return err
	}
	lb, err := List(r, b)
	if err != nil {
		return err
	}
	now := make(map[string]Entry, len(lb))
	for _, e := range lb {
		now[e.Path] = e
	}
	for _, old := range la {
		e, ok := now[old.Path]
		delete(now, old.Path)
		switch {
		case !ok:
			d.deleted = append(d.deleted, Change{'D', old.Path})
			continue
		case old.Dir != e.Dir, e.Dir && old.Meta != e.Meta, !e.Dir && old.ID != e.ID:
			d.modified = append(d.modified, Change{'M', e.Path})
		}
		if old.Dir && e.Dir {
			if err := d.dirs(r, old, e); err != nil {
				return err
			}
		}
	}
	for _, e := range lb {
		if _, added := now[e.Path]; !added {
			continue
		}
		if err := walk(r, e, func(x Entry) error {
			d.added = append(d.added, Change{'A', x.Path})
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}
