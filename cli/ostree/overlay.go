package ostree

import (
	"context"
	"fmt"
	"strings"

	"photree/cli"
	"photree/repo"
	"photree/repo/object"
	"photree/repo/tree"
)

// treeSource is one of the trees that a commit is laid together from: a directory or a commit.
type treeSource struct {
	dir, rev string
	asItIs   bool // the options that change files do not apply
}

// sources lists the trees to commit, from the bottom up.
func (o *commitOptions) sources(args []string) ([]treeSource, error) {
	var trees []treeSource
	if o.base != "" {
		trees = append(trees, treeSource{rev: o.base, asItIs: true})
	}
	for _, t := range o.trees {
		kind, value, ok := strings.Cut(t, "=")
		switch {
		case !ok:
			return nil, cli.Fail("Missing type in tree specification")
		case kind == "dir":
			trees = append(trees, treeSource{dir: value})
		case kind == "ref":
			trees = append(trees, treeSource{rev: value})
		default:
			return nil, cli.Fail("Unknown tree type %s: use dir=PATH or ref=COMMIT", kind)
		}
	}
	switch {
	case len(args) == 1 && len(o.trees) > 0:
		return nil, fmt.Errorf("name the tree once: as --tree or as %s", args[0])
	case len(args) == 1:
		trees = append(trees, treeSource{dir: args[0]})
	case len(o.trees) == 0:
		trees = append(trees, treeSource{dir: "."})
	}
	return trees, nil
}

// writeTrees stages the trees and lays each over those before it. The metadata of a directory is that of the topmost
// tree which has it. hits counts the files that were known without reading.
func writeTrees(ctx context.Context, txn *repo.Txn, trees []treeSource, o tree.WriteOptions) (root, meta object.ID, hits int, err error) {
	for i, t := range trees {
		above, aboveMeta, cached, err := writeTree(ctx, txn, t, o)
		if err != nil {
			return root, meta, hits, err
		}
		hits += cached
		if i == 0 {
			root = above
		} else if root, err = overlay(txn, root, above); err != nil {
			return root, meta, hits, err
		}
		meta = aboveMeta
	}
	return root, meta, hits, nil
}

func writeTree(ctx context.Context, txn *repo.Txn, t treeSource, o tree.WriteOptions) (root, meta object.ID, hits int, err error) {
	if t.rev == "" {
		var st tree.Stats
		root, meta, st, err = tree.Write(ctx, txn, t.dir, o)
		return root, meta, st.CacheHits, err
	}
	id, err := txn.Repo().ResolveRev(t.rev)
	if err != nil {
		return root, meta, 0, err
	}
	commit, err := txn.Repo().LoadCommit(id)
	if err != nil || t.asItIs {
		return commit.Root, commit.RootMeta, 0, err
	}
	root, meta, err = tree.Rewrite(ctx, txn, commit.Root, commit.RootMeta, o)
	return root, meta, 0, err
}

// overlay stages the union of two dirtrees: names of above win, directories that both have are laid together.
func overlay(txn *repo.Txn, below, above object.ID) (object.ID, error) {
	if below == above {
		return above, nil
	}
	b, err := loadTree(txn, below)
	if err != nil {
		return object.ID{}, err
	}
	a, err := loadTree(txn, above)
	if err != nil {
		return object.ID{}, err
	}
	merged := object.DirTree{Files: a.Files}
	for _, f := range b.Files {
		_, file := a.File(f.Name)
		_, dir := a.Dir(f.Name)
		if !file && !dir {
			merged.Files = append(merged.Files, f)
		}
	}
	for _, d := range a.Dirs {
		if old, ok := b.Dir(d.Name); ok {
			if d.Tree, err = overlay(txn, old.Tree, d.Tree); err != nil {
				return object.ID{}, err
			}
		}
		merged.Dirs = append(merged.Dirs, d)
	}
	for _, d := range b.Dirs {
		_, file := a.File(d.Name)
		_, dir := a.Dir(d.Name)
		if !file && !dir {
			merged.Dirs = append(merged.Dirs, d)
		}
	}
	merged.Sort()
	return txn.WriteMetadata(object.KindDirTree, merged.Encode())
}

func loadTree(txn *repo.Txn, id object.ID) (object.DirTree, error) {
	data, err := txn.LoadMetadata(object.Name{ID: id, Kind: object.KindDirTree})
	if err != nil {
		return object.DirTree{}, err
	}
	return object.DecodeDirTree(data)
}
