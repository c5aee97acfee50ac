package repo

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"photree/internal/durable"
	"photree/internal/gvariant"
	"photree/repo/object"
)

// DeltaIndexPath returns where the index of the deltas to a commit stands below a repository. It is of type a{sv} and
// has the digests of their superblocks, as the summary has those of all.
func DeltaIndexPath(to object.ID) string {
	name := strings.ReplaceAll(base64.RawStdEncoding.EncodeToString(to[:]), "/", "_")
	return "delta-indexes/" + name[:2] + "/" + name[2:] + ".index"
}

// ReindexDeltas writes the indexes of the static deltas anew, or only that of the deltas to one commit when to is not
// zero, and removes those of commits that no delta leads to. Clients of ostree 2020.8 and later read them.
func (r *Repo) ReindexDeltas(to object.ID) error {
	if err := r.reindexDeltas(to); err != nil {
		return fmt.Errorf("indexing the static deltas of %s: %w", r.path, err)
	}
	return nil
}

func (r *Repo) reindexDeltas(only object.ID) error {
	digests, err := r.deltaDigests()
	if err != nil {
		return err
	}
	deltas, err := r.Deltas()
	if err != nil {
		return err
	}
	indexes := map[object.ID]gvariant.Dict{}
	for _, d := range deltas {
		if sum, ok := digests.Get(d.Name()); ok {
			dict := indexes[d.To]
			dict.Set(d.Name(), sum)
			indexes[d.To] = dict
		}
	}
	for to, dict := range indexes {
		if !only.IsZero() && to != only {
			continue
		}
		index := gvariant.Dict{{Key: "ostree.static-deltas", Value: dict.Value()}}
		if err := r.writeIndex(filepath.Join(r.path, DeltaIndexPath(to)), index.Value().Bytes()); err != nil {
			return err
		}
	}
	there, err := r.DeltaIndexes()
	if err != nil {
		return err
	}
	for _, to := range there {
		if _, needed := indexes[to]; needed || !only.IsZero() && to != only {
			continue
		}
		if err := durable.Remove(filepath.Join(r.path, DeltaIndexPath(to))); err != nil {
			return err
		}
	}
	return nil
}

func (r *Repo) writeIndex(path string, data []byte) error {
	old, err := readLimited(path)
	if err == nil && bytes.Equal(old, data) {
		return nil
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := durable.Mkdir(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return durable.WriteFile(path, data, 0o644)
}

// DeltaIndexes returns the commits that have an index of the deltas to them, in order.
func (r *Repo) DeltaIndexes() ([]object.ID, error) {
	files, err := filepath.Glob(filepath.Join(r.path, "delta-indexes", "??", "*.index"))
	if err != nil {
		return nil, err
	}
	var out []object.ID
	for _, f := range files {
		name := filepath.Base(filepath.Dir(f)) + strings.TrimSuffix(filepath.Base(f), ".index")
		if id, err := deltaID(name); err == nil {
			out = append(out, id)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].String() < out[j].String() })
	return out, nil
}

// DeleteDelta removes a static delta. The superblock goes first: without it there is no delta.
func (r *Repo) DeleteDelta(d Delta) error {
	dir := filepath.Join(r.path, d.Dir)
	if err := durable.Remove(filepath.Join(dir, "superblock")); err != nil {
		return fmt.Errorf("deleting static delta %s: %w", d.Name(), err)
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("deleting static delta %s: %w", d.Name(), err)
	}
	return nil
}
