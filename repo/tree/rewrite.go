package tree

import (
	"bytes"
	"context"
	"slices"

	"photree/repo"
	"photree/repo/object"
)

// rewriter is one call of Rewrite.
type rewriter struct {
	ctx  context.Context
	txn  *repo.Txn
	opts *WriteOptions
}

// Rewrite stages a tree that is in the repository again, with the changes that opts asks for, and returns the names of
// its root. Without changes they are those that it was given.
func Rewrite(ctx context.Context, txn *repo.Txn, root, meta object.ID, opts WriteOptions) (object.ID, object.ID, error) {
	if !opts.changes() && opts.Filter == nil {
		return root, meta, nil
	}
	if txn.Repo().Mode() == repo.ModeBareUserOnly {
		opts.userOnly = true
	}
	w := &rewriter{ctx, txn, &opts}
	return w.dir("/", root, meta)
}

func (w *rewriter) keeps(path string, mode uint32) bool {
	return w.opts.Filter == nil || w.opts.Filter(path, mode)
}

func (w *rewriter) dir(path string, tree, meta object.ID) (object.ID, object.ID, error) {
	none := object.ID{}
	if err := w.ctx.Err(); err != nil {
		return none, none, err
	}
	data, err := w.txn.LoadMetadata(object.Name{ID: tree, Kind: object.KindDirTree})
	if err != nil {
		return none, none, err
	}
	old, err := object.DecodeDirTree(data)
	if err != nil {
		return none, none, err
	}
	var out object.DirTree
	for _, f := range old.Files {
		id, keep, err := w.file(join(path, f.Name), f.ID)
		if err != nil {
			return none, none, err
		}
		if keep {
			out.Files = append(out.Files, object.TreeFile{Name: f.Name, ID: id})
		}
	}
	for _, d := range old.Dirs {
		sub := join(path, d.Name)
		if !w.keeps(sub, object.ModeDir) {
			continue
		}
		if d.Tree, d.Meta, err = w.dir(sub, d.Tree, d.Meta); err != nil {
			return none, none, err
		}
		out.Dirs = append(out.Dirs, d)
	}
	if meta, err = w.meta(path, meta); err != nil {
		return none, none, err
	}
	id, err := w.txn.WriteMetadata(object.KindDirTree, out.Encode())
	return id, meta, err
}

func (w *rewriter) meta(path string, id object.ID) (object.ID, error) {
	data, err := w.txn.LoadMetadata(object.Name{ID: id, Kind: object.KindDirMeta})
	if err != nil {
		return id, err
	}
	m, err := object.DecodeDirMeta(data)
	if err != nil {
		return id, err
	}
	info := object.FileInfo{UID: m.UID, GID: m.GID, Mode: m.Mode, Xattrs: m.Xattrs}
	w.opts.apply(path, &info)
	return w.txn.WriteMetadata(object.KindDirMeta,
		object.DirMeta{UID: info.UID, GID: info.GID, Mode: info.Mode, Xattrs: info.Xattrs}.Encode())
}

// file returns the object that a file becomes, and whether it stays.
func (w *rewriter) file(path string, id object.ID) (object.ID, bool, error) {
	was, size, content, err := w.txn.Repo().OpenFile(id)
	if err != nil {
		return id, false, err
	}
	defer content.Close()
	if !w.keeps(path, was.Mode) {
		return id, false, nil
	}
	info := was
	info.Xattrs = slices.Clone(was.Xattrs)
	w.opts.apply(path, &info)
	if bytes.Equal(info.Header(), was.Header()) {
		return id, true, nil
	}
	id, err = w.txn.WriteContent(info, size, content)
	return id, true, err
}
