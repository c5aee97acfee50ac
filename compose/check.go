package compose

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"photree/compose/treefile"
)

// accountIDs are the ids of accounts by name: uid and gid of users, gid of
// groups. Of a user the gid may be missing, where nobody says which it must be.
type accountIDs map[string][]int64

// parseAccounts reads files of the form of passwd and group, of which columns
// hold ids. Of a name that comes twice the first counts, as for the system.
func parseAccounts(data []byte, columns ...int) accountIDs {
	out := accountIDs{}
	for line := range strings.Lines(string(data)) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if f[0] == "" || f[0][0] == '#' || out[f[0]] != nil {
			continue
		}
		var ids []int64
		for _, c := range columns {
			if c >= len(f) {
				break
			}
			id, err := strconv.ParseInt(f[c], 10, 64)
			if err != nil {
				break
			}
			ids = append(ids, id)
		}
		if len(ids) == len(columns) {
			out[f[0]] = ids
		}
	}
	return out
}

// checkAccounts compares the accounts of the tree with those that check-passwd
// and check-groups ask for: files in the /var of hosts belong to ids.
func (r *run) checkAccounts(context.Context) (bool, error) {
	t := r.Treefile
	before := r.previousAccounts()
	for _, c := range []struct {
		key, kind  string
		check      *treefile.Check
		columns    []int
		previous   []byte
		files      []string
		ignoreGone []string
	}{
		{"check-passwd", "user", t.CheckPasswd, []int{2, 3}, before.Passwd, []string{"usr/etc/passwd", "usr/lib/passwd"}, t.IgnoreRemovedUsers},
		{"check-groups", "group", t.CheckGroups, []int{2}, before.Group, []string{"usr/etc/group", "usr/lib/group"}, t.IgnoreRemovedGroups},
	} {
		var want accountIDs
		switch {
		case c.check == nil && !t.WantPreservePasswd():
		case c.check == nil || c.check.Type == "previous":
			want = parseAccounts(c.previous, c.columns...) // none without a previous commit
		case c.check.Type == "file":
			want = parseAccounts([]byte(c.check.Content), c.columns...)
		case c.check.Type == "data":
			want = c.check.Entries
		}
		if len(want) == 0 {
			continue
		}
		data, err := treeFiles(r.tree, c.files)
		if err != nil {
			return false, fmt.Errorf("%s: %w", c.key, err)
		}
		if err := r.compareAccounts(c.kind, want, parseAccounts(data, c.columns...), c.ignoreGone); err != nil {
			return false, fmt.Errorf("%s: %w", c.key, err)
		}
	}
	return false, nil
}

func (r *run) compareAccounts(kind string, want, have accountIDs, ignoreGone []string) error {
	gone := map[int64]string{}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		ids, ok := have[name]
		if !ok {
			if !slices.Contains(ignoreGone, name) && !slices.Contains(ignoreGone, "*") {
				gone[want[name][0]] = name
			}
			continue
		}
		for i, id := range want[name] {
			if i < len(ids) && ids[i] != id {
				return fmt.Errorf("%s %q has the %s %d and must have %d: files on hosts belong to it; give it that id in the package or in sysusers.d, or state the new one in the treefile",
					kind, name, idName(kind, i), ids[i], id)
			}
		}
	}
	if len(gone) == 0 {
		return nil
	}
	owned, err := firstOwned(r.tree, kind, gone)
	if err != nil {
		return err
	}
	for _, id := range slices.Sorted(maps.Keys(gone)) {
		if file := owned[id]; file != "" {
			return fmt.Errorf("%s %q is missing and %q belongs to its id %d: install what makes it, or name it in ignore-removed-%ss", kind, gone[id], file, id, kind)
		}
		r.log.note(fmt.Sprintf("The %s %s is no more", kind, gone[id]))
	}
	return nil
}

func idName(kind string, i int) string {
	if kind == "user" && i == 0 {
		return "uid"
	}
	return "gid"
}

// treeFiles reads files of a tree, those that are there, one behind the other.
// No link leads out of the tree.
func treeFiles(tree string, names []string) (all []byte, err error) {
	root, err := os.OpenRoot(tree)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	for _, n := range names {
		data, err := root.ReadFile(n)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		all = append(append(all, data...), '\n')
	}
	return all, nil
}

// firstOwned gives for each id a file of the tree that belongs to it.
func firstOwned(tree, kind string, ids map[int64]string) (map[int64]string, error) {
	out := map[int64]string{}
	err := filepath.WalkDir(tree, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		id := int64(st.Uid)
		if kind == "group" {
			id = int64(st.Gid)
		}
		if _, gone := ids[id]; gone && out[id] == "" {
			out[id] = strings.TrimPrefix(name, filepath.Clean(tree))
		}
		return nil
	})
	return out, err
}
