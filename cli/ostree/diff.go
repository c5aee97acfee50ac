package ostree

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"photree/cli"
	"photree/repo"
	"photree/repo/object"
	"photree/repo/tree"

	"github.com/pkg/xattr"
	"github.com/spf13/cobra"
)

func init() { register(newDiff) }

type diffOptions struct {
	stats, fsDiff, noXattrs, json bool
	uid, gid                      int
}

func newDiff(env *cli.Env) *cobra.Command {
	var o diffOptions
	c := &cobra.Command{Use: "diff REV_OR_DIR [REV_OR_DIR]", Short: "Compare directory TARGETDIR against revision REV",
		Long: "Compare two commits or directories, or a commit with its parent. A directory begins with / or ./ .",
		Args: need(1, 2, "REV must be specified")}
	at := addRepo(c)
	f := c.Flags()
	f.BoolVar(&o.stats, "stats", false, "Print various statistics")
	f.BoolVar(&o.fsDiff, "fs-diff", false, "Print filesystem diff")
	f.BoolVar(&o.noXattrs, "no-xattrs", false, "Skip output of extended attributes")
	f.IntVar(&o.uid, "owner-uid", -1, "Use file ownership user `UID` for local files")
	f.IntVar(&o.gid, "owner-gid", -1, "Use file ownership group `GID` for local files")
	cli.AddJSON(c, &o.json)
	c.RunE = withRepo(env, at, func(r *repo.Repo, args []string) error {
		from, to := args[0]+"^", args[0]
		if len(args) == 2 {
			from, to = args[0], args[1]
		}
		if o.stats {
			if err := diffStats(env, r, from, to); err != nil || !o.fsDiff {
				return err
			}
		}
		return diff(env, r, o, from, to)
	})
	return c
}

// changeJSON is one difference in the JSON.
type changeJSON struct {
	Change string `json:"change"`
	Path   string `json:"path"`
}

func diff(env *cli.Env, r *repo.Repo, o diffOptions, from, to string) error {
	changes, err := changesBetween(r, o, from, to)
	if err != nil {
		return err
	}
	if o.json {
		list := []changeJSON{}
		for _, c := range changes {
			list = append(list, changeJSON{string(c.Op), c.Path})
		}
		return cli.PrintJSON(env.Stdout, list)
	}
	for _, c := range changes {
		name := c.Path
		if c.Op == 'A' && isDir(to) {
			name = strings.TrimPrefix(name, "/") // as ostree names what is in a directory only
		}
		fmt.Fprintf(env.Stdout, "%c    %s\n", c.Op, name)
	}
	return nil
}

func changesBetween(r *repo.Repo, o diffOptions, from, to string) ([]tree.Change, error) {
	if !isDir(from) && !isDir(to) {
		a, err := r.ResolveRev(from)
		if err != nil {
			return nil, err
		}
		b, err := r.ResolveRev(to)
		if err != nil {
			return nil, err
		}
		return tree.Diff(r, a, b)
	}
	a, err := snapshot(r, o, from)
	if err != nil {
		return nil, err
	}
	b, err := snapshot(r, o, to)
	if err != nil {
		return nil, err
	}
	return compare(a, b), nil
}

func isDir(arg string) bool { return strings.HasPrefix(arg, "/") || strings.HasPrefix(arg, "./") }

// place is what stands at a path: a file, or a directory with its own metadata.
type place struct {
	dir bool
	id  object.ID
}

func snapshot(r *repo.Repo, o diffOptions, arg string) (map[string]place, error) {
	if isDir(arg) {
		return directorySnapshot(o, arg)
	}
	id, err := r.ResolveRev(arg)
	if err != nil {
		return nil, err
	}
	commit, err := r.LoadCommit(id)
	if err != nil {
		return nil, err
	}
	found := map[string]place{}
	err = tree.Walk(r, commit.Root, commit.RootMeta, func(e tree.Entry) error {
		if e.Dir {
			found[e.Path] = place{true, e.Meta}
		} else {
			found[e.Path] = place{false, e.ID}
		}
		return nil
	})
	return found, err
}

func directorySnapshot(o diffOptions, dir string) (map[string]place, error) {
	found := map[string]place{}
	err := filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, file)
		if err != nil {
			return err
		}
		found[path.Join("/", rel)], err = readPlace(o, file)
		return err
	})
	return found, err
}

func readPlace(o diffOptions, file string) (place, error) {
	info, err := readInfo(file, !o.noXattrs)
	if err != nil {
		return place{}, err
	}
	if o.uid >= 0 {
		info.UID = uint32(o.uid)
	}
	if o.gid >= 0 {
		info.GID = uint32(o.gid)
	}
	id, err := checksumOf(file, info)
	return place{info.Mode&object.ModeType == object.ModeDir, id}, err
}

// readInfo reads what an object records of a file.
func readInfo(file string, withXattrs bool) (object.FileInfo, error) {
	var st syscall.Stat_t
	if err := syscall.Lstat(file, &st); err != nil {
		return object.FileInfo{}, &fs.PathError{Op: "stat", Path: file, Err: err}
	}
	info := object.FileInfo{UID: st.Uid, GID: st.Gid, Mode: st.Mode}
	if info.IsSymlink() {
		target, err := os.Readlink(file)
		if err != nil {
			return info, err
		}
		info.Target = target
	}
	if !withXattrs {
		return info, nil
	}
	names, err := xattr.LList(file)
	if err != nil && !errors.Is(err, syscall.ENOTSUP) {
		return info, fmt.Errorf("listing the attributes of %s: %w", file, err)
	}
	for _, name := range names {
		value, err := xattr.LGet(file, name)
		if err != nil {
			return info, fmt.Errorf("reading attribute %s of %s: %w", name, file, err)
		}
		info.Xattrs.Set(name, value)
	}
	return info, nil
}

// checksumOf names the object that a file, a symbolic link or a directory's metadata would have.
func checksumOf(file string, info object.FileInfo) (object.ID, error) {
	switch info.Mode & object.ModeType {
	case object.ModeDir:
		meta := object.DirMeta{UID: info.UID, GID: info.GID, Mode: info.Mode, Xattrs: info.Xattrs}
		return object.MetadataID(meta.Encode()), nil
	case object.ModeSymlink:
		return object.ContentID(info, nil)
	case object.ModeRegular:
		f, err := os.Open(file)
		if err != nil {
			return object.ID{}, err
		}
		defer f.Close()
		return object.ContentID(info, f)
	}
	return object.ID{}, fmt.Errorf("%s: only files, symbolic links and directories have checksums", file)
}

// compare lists what was modified, deleted and added, each by path.
func compare(a, b map[string]place) []tree.Change {
	var modified, deleted, added []tree.Change
	for p, was := range a {
		switch is, ok := b[p]; {
		case !ok:
			deleted = append(deleted, tree.Change{Op: 'D', Path: p})
		case was != is:
			modified = append(modified, tree.Change{Op: 'M', Path: p})
		}
	}
	for p := range b {
		if _, ok := a[p]; !ok {
			added = append(added, tree.Change{Op: 'A', Path: p})
		}
	}
	for _, list := range [][]tree.Change{modified, deleted, added} {
		slices.SortFunc(list, func(x, y tree.Change) int { return strings.Compare(x.Path, y.Path) })
	}
	return slices.Concat(modified, deleted, added)
}

func diffStats(env *cli.Env, r *repo.Repo, from, to string) error {
	var sets [2]map[object.Name]bool
	for i, rev := range []string{from, to} {
		id, err := r.ResolveRev(rev)
		if err != nil {
			return err
		}
		if sets[i], err = reachable(r, id); err != nil {
			return err
		}
	}
	shared := 0
	for n := range sets[0] {
		if sets[1][n] {
			shared++
		}
	}
	w := env.Stdout
	fmt.Fprintf(w, "[A] Object Count: %d\n[B] Object Count: %d\nCommon Object Count: %d\n", len(sets[0]), len(sets[1]), shared)
	return nil
}

// reachable lists the objects of a commit.
func reachable(r *repo.Repo, id object.ID) (map[object.Name]bool, error) {
	commit, err := r.LoadCommit(id)
	if err != nil {
		return nil, err
	}
	set := map[object.Name]bool{{ID: id, Kind: object.KindCommit}: true}
	err = tree.Walk(r, commit.Root, commit.RootMeta, func(e tree.Entry) error {
		if !e.Dir {
			set[object.Name{ID: e.ID, Kind: object.KindFile}] = true
			return nil
		}
		set[object.Name{ID: e.ID, Kind: object.KindDirTree}] = true
		set[object.Name{ID: e.Meta, Kind: object.KindDirMeta}] = true
		return nil
	})
	return set, err
}
