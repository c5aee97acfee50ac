package repo

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"

	"photree/internal/gvariant"
	"photree/repo/object"
)

// objectSize is how much of a commit an object is.
type objectSize struct{ archived, unpacked uint64 }

// Sizes returns the value of the key ostree.sizes for a tree that is staged or published, of type aay: a client knows by
// it how much it must fetch. The repository must be an archive, whose files have the size that is fetched.
func (t *Txn) Sizes(root, meta object.ID) (gvariant.Value, error) {
	if t.r.mode != ModeArchive {
		return gvariant.Value{}, fmt.Errorf("sizes are recorded by repositories of mode archive only, and %s is %s", t.r.path, t.r.mode)
	}
	sizes := map[object.Name]objectSize{}
	load := func(n object.Name) ([]byte, error) {
		data, err := t.LoadMetadata(n)
		sizes[n] = objectSize{uint64(len(data)), uint64(len(data))}
		return data, err
	}
	var failed error
	c := &closure{r: t.r, load: load, seen: Set{}, missing: func(_ object.Name, err error) error { return err }}
	c.files = func(n object.Name) {
		size, err := t.fileSize(n)
		sizes[n] = size
		failed = errors.Join(failed, err)
	}
	if err := errors.Join(c.meta(meta), c.tree(root), failed); err != nil {
		return gvariant.Value{}, fmt.Errorf("summing up sizes: %w", err)
	}
	entries := make([]gvariant.Value, 0, len(sizes))
	for n, s := range sizes {
		b := binary.AppendUvarint(slices.Clone(n.ID[:]), s.archived)
		b = append(binary.AppendUvarint(b, s.unpacked), byte(n.Kind))
		entries = append(entries, gvariant.Bytes(b))
	}
	slices.SortFunc(entries, func(a, b gvariant.Value) int { return slices.Compare(a.Bytes(), b.Bytes()) })
	return gvariant.Array("ay", entries...), nil
}

// fileSize returns the size of a file object as it is stored, and of its content.
func (t *Txn) fileSize(n object.Name) (objectSize, error) {
	path := t.stagedPath(n)
	if path == "" {
		path = t.r.ObjectPath(n)
	}
	st, err := os.Stat(path)
	if err != nil {
		return objectSize{}, err
	}
	_, size, content, err := openArchived(path)
	if err != nil {
		return objectSize{}, err
	}
	content.Close()
	return objectSize{uint64(st.Size()), uint64(size)}, nil
}
