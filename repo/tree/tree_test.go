package tree_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"photree/repo"
	"photree/repo/object"
	"photree/repo/tree"
)

var ctx = context.Background()

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newRepo(t *testing.T, mode repo.Mode) *repo.Repo {
	t.Helper()
	r, err := repo.Init(filepath.Join(t.TempDir(), "repo"), repo.InitOptions{Mode: mode})
	check(t, err)
	t.Cleanup(func() {
		res, err := r.Fsck(ctx, repo.FsckOptions{})
		if err != nil || len(res.Problems) > 0 {
			t.Errorf("fsck at the end: %v, %v", res.Problems, err)
		}
	})
	return r
}

// files makes a directory of files by name; a name that ends in "/" is a directory, a text "-> X" a link.
func files(t *testing.T, all map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range all {
		path := filepath.Join(dir, name)
		check(t, os.MkdirAll(filepath.Dir(path), 0o755))
		target, link := strings.CutPrefix(text, "-> ")
		switch {
		case strings.HasSuffix(name, "/"):
			check(t, os.MkdirAll(path, 0o755))
		case link:
			check(t, os.Symlink(target, path))
		default:
			check(t, os.WriteFile(path, []byte(text), 0o644))
		}
	}
	return dir
}

func commit(t *testing.T, r *repo.Repo, dir string, opts tree.WriteOptions) object.ID {
	t.Helper()
	id, _, err := tree.Commit(ctx, r, dir, tree.CommitOptions{Ref: "x", Write: opts, Timestamp: time.Unix(1, 0)})
	check(t, err)
	return id
}

// paths lists a commit as "path" or "path/".
func paths(t *testing.T, r *repo.Repo, id object.ID) []string {
	t.Helper()
	c, err := r.LoadCommit(id)
	check(t, err)
	var out []string
	check(t, tree.Walk(r, c.Root, c.RootMeta, func(e tree.Entry) error {
		p := e.Path
		if e.Dir && p != "/" {
			p += "/"
		}
		out = append(out, p)
		return nil
	}))
	return out
}

func TestFilterAndWalk(t *testing.T) {
	r := newRepo(t, repo.ModeArchive)
	dir := files(t, map[string]string{"b/f": "1", "b/skip": "2", "a": "3", "gone/x": "4", "empty/": ""})
	id := commit(t, r, dir, tree.WriteOptions{Filter: func(path string, mode uint32) bool {
		return path != "/gone" && path != "/b/skip"
	}})
	want := []string{"/", "/a", "/b/", "/b/f", "/empty/"}
	if got := paths(t, r, id); !slices.Equal(got, want) {
		t.Errorf("recorded %q, want %q", got, want)
	}
	dest := filepath.Join(t.TempDir(), "out")
	check(t, tree.Checkout(ctx, r, id, dest, tree.CheckoutOptions{Subpath: "/b"}))
	if got, err := os.ReadFile(filepath.Join(dest, "f")); err != nil || string(got) != "1" {
		t.Errorf("checkout of /b: %q, %v", got, err)
	}
	err := tree.Checkout(ctx, r, id, dest+"2", tree.CheckoutOptions{Subpath: "/nope"})
	if !errors.Is(err, repo.ErrNotFound) {
		t.Errorf("checkout of what is not there: %v", err)
	}
}

func TestModifyChangesWhatIsRecorded(t *testing.T) {
	r := newRepo(t, repo.ModeArchive)
	dir := files(t, map[string]string{"d/f": "1", "l": "-> d/f"})
	owner := uint32(7)
	id := commit(t, r, dir, tree.WriteOptions{OwnerUID: &owner, Modify: func(path string, info *object.FileInfo) {
		switch path {
		case "/d/f":
			info.Mode |= 0o4000
			info.Xattrs.Set("security.capability", []byte{1, 2})
		case "/d":
			info.GID = 9
		case "/l":
			info.Target = "elsewhere"
		}
	}})
	load := func(path string) object.FileInfo {
		t.Helper()
		c, err := r.LoadCommit(id)
		check(t, err)
		e, err := tree.Lookup(r, c.Root, c.RootMeta, path)
		check(t, err)
		if e.Dir {
			m, err := r.LoadDirMeta(e.Meta)
			check(t, err)
			return object.FileInfo{UID: m.UID, GID: m.GID, Mode: m.Mode, Xattrs: m.Xattrs}
		}
		info, _, err := r.LoadFileInfo(e.ID)
		check(t, err)
		return info
	}
	if f := load("/d/f"); f.UID != 7 || f.Mode != 0o104644 || len(f.Xattrs) != 1 {
		t.Errorf("file: %+v", f)
	}
	if d := load("/d"); d.UID != 7 || d.GID != 9 {
		t.Errorf("directory: %+v", d)
	}
	if l := load("/l"); l.Target != "elsewhere" {
		t.Errorf("link: %+v", l)
	}
}

// TestSameTreeSameID attacks R6: neither workers nor times nor the order of making nor hard links change the id.
func TestSameTreeSameID(t *testing.T) {
	all := map[string]string{}
	for i := range 300 {
		all[fmt.Sprintf("d%d/f%d", i%7, i)] = fmt.Sprint(i % 50)
	}
	r := newRepo(t, repo.ModeArchive)
	a := commit(t, r, files(t, all), tree.WriteOptions{Workers: 1})
	again := files(t, all)
	check(t, os.Remove(filepath.Join(again, "d1/f1")))
	check(t, os.Link(filepath.Join(again, "d2/f51"), filepath.Join(again, "d1/f1")))
	check(t, os.Chtimes(filepath.Join(again, "d3"), time.Unix(5, 0), time.Unix(5, 0)))
	opts := tree.CommitOptions{Ref: "y", Parent: &object.ID{}, NoBindings: true, Timestamp: time.Unix(1, 0), Write: tree.WriteOptions{Workers: 8}}
	b, _, err := tree.Commit(ctx, r, again, opts)
	check(t, err)
	ca, err := r.LoadCommit(a)
	check(t, err)
	cb, err := r.LoadCommit(b)
	check(t, err)
	if ca.ContentChecksum() != cb.ContentChecksum() {
		t.Error("the same tree has two checksums")
	}
	t.Setenv("SOURCE_DATE_EPOCH", "1")
	opts.Timestamp = time.Time{}
	if c, _, err := tree.Commit(ctx, r, again, opts); err != nil || c != b {
		t.Errorf("with SOURCE_DATE_EPOCH: %s, %v, want %s", c, err, b)
	}
	t.Setenv("SOURCE_DATE_EPOCH", "soon")
	if _, _, err := tree.Commit(ctx, r, again, opts); err == nil {
		t.Error("SOURCE_DATE_EPOCH=soon was taken")
	}
}

func TestWhatNoCommitCanHoldIsRefused(t *testing.T) {
	r := newRepo(t, repo.ModeArchive)
	for _, row := range []struct {
		name string
		make func(dir string) error
		want string
	}{
		{"a fifo", func(d string) error { return unix.Mkfifo(d+"/fifo", 0o644) }, "/fifo"},
		{"a name that is not UTF-8", func(d string) error { return os.WriteFile(d+"/\xff", nil, 0o644) }, "UTF-8"},
		{"a target that is not UTF-8", func(d string) error { return os.Symlink("\xff", d+"/l") }, "UTF-8"},
	} {
		dir := t.TempDir()
		check(t, row.make(dir))
		_, _, err := tree.Commit(ctx, r, dir, tree.CommitOptions{Ref: "bad"})
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v", row.name, err)
		}
	}
	if _, _, err := tree.Commit(ctx, r, "/nonexistent", tree.CommitOptions{Ref: "bad"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a directory that is not there: %v", err)
	}
	dir := t.TempDir()
	check(t, unix.Mkfifo(dir+"/fifo", 0o644))
	if got := paths(t, r, commit(t, r, dir, tree.WriteOptions{SkipSpecial: true})); len(got) != 1 {
		t.Errorf("recorded %q", got)
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if _, _, err := tree.Commit(cancelled, r, dir, tree.CommitOptions{Ref: "bad"}); !errors.Is(err, context.Canceled) {
		t.Errorf("after the context has ended: %v", err)
	}
}

func TestReadFileFollowsLinks(t *testing.T) {
	r := newRepo(t, repo.ModeBareUser)
	dir := files(t, map[string]string{"usr/lib/os-release": "ID=photon\n", "etc/os-release": "-> ../usr/lib/os-release",
		"lib": "-> usr/lib", "abs": "-> /lib/os-release", "loop": "-> loop", "out": "-> ../../../lib/os-release"})
	id := commit(t, r, dir, tree.WriteOptions{})
	for path, want := range map[string]string{"/usr/lib/os-release": "ID=photon\n", "etc/os-release": "ID=photon\n",
		"lib/os-release": "ID=photon\n", "abs": "ID=photon\n", "out": "ID=photon\n", "loop": "", "usr": "", "no": "", "lib/no/x": ""} {
		got, err := tree.ReadFile(r, id, path)
		if string(got) != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v", path, got, err)
		}
	}
}

func TestDiff(t *testing.T) {
	r := newRepo(t, repo.ModeArchive)
	a := files(t, map[string]string{"same": "1", "mod": "1", "gone": "1", "dir/f": "1", "old/x": "1", "turn": "1", "meta/": "", "m2/x": "1"})
	b := files(t, map[string]string{"same": "1", "mod": "2", "new": "1", "dir/f": "2", "add/d/y": "1", "turn/z": "1", "meta/": "", "m2/y": "1"})
	check(t, errors.Join(os.Chmod(b+"/meta", 0o700), os.Chmod(b+"/m2", 0o700)))
	got, err := tree.Diff(r, commit(t, r, a, tree.WriteOptions{}), commit(t, r, b, tree.WriteOptions{}))
	check(t, err)
	var lines []string
	for _, c := range got {
		lines = append(lines, string(c.Op)+" "+c.Path)
	}
	// As stock ostree 2022.7 lists the same two trees.
	want := []string{"M /mod", "M /turn", "M /dir/f", "M /m2", "M /meta", "D /gone", "D /m2/x", "D /old", "A /m2/y", "A /new",
		"A /add", "A /add/d", "A /add/d/y"}
	if !slices.Equal(lines, want) {
		t.Errorf("diff %q\nwant %q", lines, want)
	}
}

func TestWhiteouts(t *testing.T) {
	r := newRepo(t, repo.ModeBare)
	low := commit(t, r, files(t, map[string]string{"a": "1", "b": "1", "d/x": "1", "d/y": "1"}), tree.WriteOptions{})
	up := commit(t, r, files(t, map[string]string{".wh.a": "", "d/.wh..wh..opq": "", "d/z": "1"}), tree.WriteOptions{})
	dest := filepath.Join(t.TempDir(), "out")
	check(t, tree.Checkout(ctx, r, low, dest, tree.CheckoutOptions{}))
	check(t, tree.Checkout(ctx, r, up, dest, tree.CheckoutOptions{Union: tree.UnionFiles, Whiteouts: true}))
	for name, want := range map[string]bool{"a": false, "b": true, "d/x": false, "d/y": false, "d/z": true} {
		if _, err := os.Lstat(filepath.Join(dest, name)); (err == nil) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCheckoutFailsCleanly(t *testing.T) {
	r, err := repo.Init(filepath.Join(t.TempDir(), "repo"), repo.InitOptions{Mode: repo.ModeBare})
	check(t, err)
	id := commit(t, r, files(t, map[string]string{"f": "1"}), tree.WriteOptions{})
	dest := t.TempDir()
	if err := tree.Checkout(ctx, r, id, dest, tree.CheckoutOptions{}); !errors.Is(err, os.ErrExist) {
		t.Errorf("into a directory that exists: %v", err)
	}
	e, err := tree.LookupFollow(r, id, "f")
	check(t, err)
	check(t, os.Remove(r.ObjectPath(object.Name{ID: e.ID, Kind: object.KindFile})))
	err = tree.Checkout(ctx, r, id, dest+"2", tree.CheckoutOptions{})
	if !errors.Is(err, repo.ErrNotFound) || !strings.Contains(err.Error(), "/f") {
		t.Errorf("with an object missing: %v", err)
	}
}
