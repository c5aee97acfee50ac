package repo_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"photree/internal/gvariant"
	"photree/repo"
	"photree/repo/object"
	"photree/repo/tree"
)

var allModes = []repo.Mode{repo.ModeArchive, repo.ModeBare, repo.ModeBareUser, repo.ModeBareUserOnly}

// ostree runs the stock program and returns what it prints.
func ostree(t testing.TB, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath("ostree"); err != nil {
		t.Fatal("these tests compare with stock ostree: install the package ostree")
	}
	cmd := exec.Command("ostree", args...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("ostree %v: %v: %s", args, err, errs.String())
	}
	return strings.TrimSpace(string(out))
}

// newRepo makes a repository that must be sound when the test ends.
func newRepo(t testing.TB, mode repo.Mode) *repo.Repo {
	t.Helper()
	r, err := repo.Init(filepath.Join(t.TempDir(), "repo"), repo.InitOptions{Mode: mode})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// sound checks the repository with our fsck and with stock's.
func sound(t testing.TB, r *repo.Repo) {
	t.Helper()
	if problems := fsck(t, r); len(problems) > 0 {
		t.Errorf("fsck of %s: %v", r.Path(), problems)
	}
	ostree(t, "--repo="+r.Path(), "fsck", "-q")
}

func fsck(t testing.TB, r *repo.Repo) []repo.FsckProblem {
	t.Helper()
	res, err := r.Fsck(context.Background(), repo.FsckOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return res.Problems
}

// sample makes a directory with all that a commit can hold.
func sample(t testing.TB) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("these tests set owners: run them as root")
	}
	dir := filepath.Join(t.TempDir(), "sample")
	rnd := rand.New(rand.NewSource(1))
	big := make([]byte, 3<<20)
	rnd.Read(big[:1<<20])
	write := func(name string, data []byte, mode os.FileMode, uid int) {
		path := filepath.Join(dir, name)
		check(t, os.MkdirAll(filepath.Dir(path), 0o755))
		check(t, os.WriteFile(path, data, 0o644))
		check(t, os.Chown(path, uid, uid))
		check(t, unix.Chmod(path, uint32(mode)))
	}
	write("usr/bin/tool", []byte("#!/bin/sh\n"), 0o755, 0)
	write("usr/bin/su", bytes.Repeat([]byte("su"), 5000), 0o4755, 0)
	write("usr/etc/shadow", []byte("root:*:\n"), 0, 0)
	write("usr/lib/big", big, 0o644, 0)
	write("usr/lib/empty", nil, 0o644, 7)
	write("usr/lib/größe", []byte("utf-8"), 0o600, 12)
	check(t, os.Link(filepath.Join(dir, "usr/lib/big"), filepath.Join(dir, "usr/lib/big2")))
	check(t, unix.Setxattr(filepath.Join(dir, "usr/bin/tool"), "user.note", []byte("a\x00b"), 0))
	check(t, unix.Setxattr(filepath.Join(dir, "usr/bin/tool"), "user.empty", nil, 0)) // is not recorded
	check(t, os.Symlink("usr/bin", filepath.Join(dir, "bin")))
	check(t, os.Symlink("/nowhere/at/all", filepath.Join(dir, "usr/lib/dangling")))
	check(t, os.Lchown(filepath.Join(dir, "usr/lib/dangling"), 5, 6))
	check(t, os.MkdirAll(filepath.Join(dir, "var/tmp"), 0o755))
	check(t, unix.Chmod(filepath.Join(dir, "var/tmp"), 0o1777))
	check(t, os.Chown(filepath.Join(dir, "var"), 3, 4))
	check(t, unix.Setxattr(filepath.Join(dir, "var"), "user.dir", []byte("x"), 0))
	return dir
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func commit(t testing.TB, r *repo.Repo, dir, ref string) object.ID {
	t.Helper()
	id, _, err := tree.Commit(context.Background(), r, dir, tree.CommitOptions{Ref: ref, Subject: "one", Body: "more\n",
		Timestamp: time.Unix(1700000000, 0), Metadata: gvariant.Dict{{Key: "version", Value: gvariant.String("1.0")}}})
	check(t, err)
	return id
}

// stockCommit makes the same commit with the stock program.
func stockCommit(t testing.TB, repoDir, dir, ref string) object.ID {
	t.Helper()
	id, err := object.ParseID(ostree(t, "--repo="+repoDir, "commit", "-b", ref, "-s", "one", "-m", "more\n",
		"--timestamp=@1700000000", "--add-metadata-string=version=1.0", dir))
	check(t, err)
	return id
}

// listing describes every file below dir, one line each, by path. Files of archive repositories are listed by name
// only: their compressed bytes may differ.
func listing(t testing.TB, dir string, times bool) []string {
	t.Helper()
	var out []string
	check(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		line := fmt.Sprintf("%s %o %d:%d", rel, st.Mode, st.Uid, st.Gid)
		xattrs, err := repo.PathXattrs(path)
		if err != nil {
			return err
		}
		line += fmt.Sprintf(" %q", xattrs)
		switch {
		case d.Type()&fs.ModeSymlink != 0:
			target, _ := os.Readlink(path)
			line += " -> " + target
		case d.Type().IsRegular() && !strings.HasSuffix(rel, ".filez"):
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			line += " " + object.MetadataID(data).String()
			if times {
				line += fmt.Sprint(" ", st.Mtim.Sec)
			}
		case d.IsDir() && times:
			line += fmt.Sprint(" ", st.Mtim.Sec)
		}
		out = append(out, line)
		return nil
	}))
	sort.Strings(out)
	return out
}

var userMeta = regexp.MustCompile(`\{"user.ostreemeta" "([^"\\]|\\.)*"\}`)

// plain leaves the attribute of bare-user repositories out of a listing.
func plain(lines []string) []string {
	for i := range lines {
		lines[i] = userMeta.ReplaceAllString(lines[i], "")
	}
	return lines
}

func diff(t testing.TB, what string, ours, theirs []string) {
	t.Helper()
	for _, l := range ours {
		if !slices.Contains(theirs, l) {
			t.Errorf("%s: only ours:   %s", what, l)
		}
	}
	for _, l := range theirs {
		if !slices.Contains(ours, l) {
			t.Errorf("%s: only stock's: %s", what, l)
		}
	}
}

func TestCommitIsStocksByteForByte(t *testing.T) {
	dir := sample(t)
	for _, mode := range allModes {
		t.Run(string(mode), func(t *testing.T) {
			r := newRepo(t, mode)
			theirs := filepath.Join(t.TempDir(), "stock")
			ostree(t, "--repo="+theirs, "init", "--mode="+string(mode))
			id, want := commit(t, r, dir, "os/main"), stockCommit(t, theirs, dir, "os/main")
			if id != want {
				t.Errorf("commit %s, stock's %s", id, want)
			}
			for _, sub := range []string{"objects", "refs"} {
				diff(t, sub, listing(t, filepath.Join(r.Path(), sub), false), listing(t, filepath.Join(theirs, sub), false))
			}
			sound(t, r)
		})
	}
}

func TestSecondCommitHasParentAndSharesObjects(t *testing.T) {
	dir := sample(t)
	r := newRepo(t, repo.ModeArchive)
	theirs := filepath.Join(t.TempDir(), "stock")
	ostree(t, "--repo="+theirs, "init", "--mode=archive")
	one := commit(t, r, dir, "x")
	stockCommit(t, theirs, dir, "x")
	check(t, os.WriteFile(filepath.Join(dir, "usr/new"), []byte("new"), 0o644))
	two, want := commit(t, r, dir, "x"), stockCommit(t, theirs, dir, "x")
	if two != want {
		t.Errorf("second commit %s, stock's %s", two, want)
	}
	c, err := r.LoadCommit(two)
	if err != nil || c.Parent != one {
		t.Errorf("parent %s, %v", c.Parent, err)
	}
	if got, err := r.ResolveRev("x^"); err != nil || got != one {
		t.Errorf("x^ is %s, %v", got, err)
	}
}

func TestStockChecksOutOursAndWeStocks(t *testing.T) {
	dir := sample(t)
	for _, mode := range []repo.Mode{repo.ModeArchive, repo.ModeBare, repo.ModeBareUser} {
		for _, user := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s user=%v", mode, user), func(t *testing.T) {
				r := newRepo(t, mode)
				id := commit(t, r, dir, "x")
				ours, theirs := filepath.Join(t.TempDir(), "ours"), filepath.Join(t.TempDir(), "stock")
				check(t, tree.Checkout(context.Background(), r, id, ours, tree.CheckoutOptions{UserMode: user}))
				args := []string{"--repo=" + r.Path(), "checkout", "x", theirs}
				if user {
					args = append(args, "-U")
				}
				ostree(t, args...)
				// We link every file of a bare-user repository, stock copies empty and unreadable ones.
				diff(t, "checkout", plain(listing(t, ours, false)), plain(listing(t, theirs, false)))
				if !user {
					check(t, unix.Removexattr(filepath.Join(dir, "usr/bin/tool"), "user.empty"))
					diff(t, "source", listing(t, ours, false), listing(t, dir, false))
					check(t, unix.Setxattr(filepath.Join(dir, "usr/bin/tool"), "user.empty", nil, 0))
				}
				sound(t, r)
			})
		}
	}
}

func TestHardlinkCheckout(t *testing.T) {
	dir := sample(t)
	r := newRepo(t, repo.ModeBare)
	id := commit(t, r, dir, "x")
	dest := filepath.Join(t.TempDir(), "out")
	check(t, tree.Checkout(context.Background(), r, id, dest, tree.CheckoutOptions{RequireHardlinks: true}))
	e, err := tree.LookupFollow(r, id, "bin/tool")
	check(t, err)
	a, err := os.Lstat(r.ObjectPath(object.Name{ID: e.ID, Kind: object.KindFile}))
	check(t, err)
	b, err := os.Lstat(filepath.Join(dest, "usr/bin/tool"))
	check(t, err)
	if !os.SameFile(a, b) {
		t.Error("the file is a copy")
	}
	// A commit of the checkout is the same tree, with no file read.
	opts := tree.CommitOptions{Ref: "x", SkipUnchanged: true, Write: tree.WriteOptions{LinkCheckoutSpeedup: true}}
	again, st, err := tree.Commit(context.Background(), r, dest, opts)
	if err != nil || again != id {
		t.Errorf("commit of the checkout is %s, not %s: %v", again, id, err)
	}
	if st.Bytes != 0 {
		t.Errorf("%d bytes were read of files that are known", st.Bytes)
	}
	archive := newRepo(t, repo.ModeArchive)
	id = commit(t, archive, dir, "x")
	err = tree.Checkout(context.Background(), archive, id, dest+"2", tree.CheckoutOptions{RequireHardlinks: true})
	if err == nil {
		t.Error("hard links into an archive repository")
	}
}

func TestUnions(t *testing.T) {
	r := newRepo(t, repo.ModeBare)
	mk := func(files map[string]string) object.ID {
		dir := t.TempDir()
		for name, text := range files {
			check(t, os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755))
			check(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
		}
		return commit(t, r, dir, "x")
	}
	a, b := mk(map[string]string{"d/one": "a", "d/both": "a"}), mk(map[string]string{"d/two": "b", "d/both": "b"})
	for _, row := range []struct {
		union tree.Union
		both  string // the content of d/both, or the error
	}{
		{tree.UnionFiles, "b"}, {tree.UnionAdd, "a"}, {tree.UnionIdentical, "error"}, {tree.UnionNone, "error"},
	} {
		dest := filepath.Join(t.TempDir(), "out")
		check(t, tree.Checkout(context.Background(), r, a, dest, tree.CheckoutOptions{}))
		err := tree.Checkout(context.Background(), r, b, dest, tree.CheckoutOptions{Union: row.union})
		got, _ := os.ReadFile(filepath.Join(dest, "d/both"))
		if err != nil {
			got = []byte("error")
		}
		if string(got) != row.both {
			t.Errorf("union %d: %q (%v), want %q", row.union, got, err, row.both)
		}
	}
}

func TestSummaryIsStocks(t *testing.T) {
	dir := sample(t)
	r := newRepo(t, repo.ModeArchive)
	commit(t, r, dir, "b/two")
	commit(t, r, dir, "a/one")
	f := r.Config()
	f.Set("core", "indexed-deltas", "true")
	check(t, r.SetConfig(f))
	check(t, r.UpdateSummary(context.Background(), repo.SummaryOptions{}))
	ours, err := r.LoadSummary()
	check(t, err)
	ostree(t, "--repo="+r.Path(), "summary", "-u")
	data, err := os.ReadFile(filepath.Join(r.Path(), "summary"))
	check(t, err)
	theirs, err := repo.DecodeSummary(data)
	check(t, err)
	when, _ := theirs.Metadata.Get("ostree.summary.last-modified")
	ours.Metadata.Set("ostree.summary.last-modified", when)
	if !bytes.Equal(ours.Encode(), data) {
		t.Errorf("summary\n%x\nstock's\n%x", ours.Encode(), data)
	}
	if ref, ok := ours.Find("b/two"); !ok || ref.Metadata.GetString("ostree.commit.version") != "1.0" {
		t.Errorf("b/two in the summary: %+v", ref)
	}
}

func TestGoldenSummary(t *testing.T) {
	data, err := os.ReadFile("object/testdata/golden.txt")
	check(t, err)
	_, text, _ := strings.Cut(string(data), "\nsummary ")
	text, _, _ = strings.Cut(text, "\n")
	var raw []byte
	_, err = fmt.Sscanf(text, "%x", &raw)
	check(t, err)
	s, err := repo.DecodeSummary(raw)
	check(t, err)
	if len(s.Refs) != 1 || s.Refs[0].Name != "m" || s.Refs[0].Size != 86 || !bytes.Equal(s.Encode(), raw) {
		t.Errorf("%+v", s)
	}
}

func FuzzSummary(f *testing.F) {
	s := repo.Summary{Refs: []repo.SummaryRef{{Name: "a", Size: 5}, {Name: "b/c"}}}
	f.Add(s.Encode())
	f.Add(repo.Summary{}.Encode())
	f.Fuzz(func(t *testing.T, data []byte) {
		if s, err := repo.DecodeSummary(data); err == nil && !bytes.Equal(s.Encode(), data) {
			t.Errorf("%x is taken and written as %x", data, s.Encode())
		}
	})
}

func TestRefs(t *testing.T) {
	dir := sample(t)
	r := newRepo(t, repo.ModeArchive)
	id := commit(t, r, dir, "os/main")
	other := commit(t, r, dir, "os/next")
	txn, err := r.Begin(context.Background())
	check(t, err)
	check(t, errors.Join(txn.SetRef("photon", "only/there", other), txn.SetRef("photon", "os/main", other),
		txn.SetAlias("stable", "os/main"), txn.SetRef("", "os/next", object.ID{}), txn.SetMirrorRef("org.x.Os", "m", id)))
	check(t, txn.Commit())
	refs, err := r.Refs()
	check(t, err)
	var got []string
	for _, ref := range refs {
		got = append(got, ref.String()+"="+ref.ID.String()[:4]+ref.Alias)
	}
	o, i := other.String()[:4], id.String()[:4]
	want := []string{"os/main=" + i, "stable=" + i + "os/main", "photon:only/there=" + o, "photon:os/main=" + o, "m=" + i}
	if !slices.Equal(got, want) {
		t.Errorf("refs %q, want %q", got, want)
	}
	for _, row := range []struct {
		rev  string
		want object.ID
		err  string
	}{
		{"os/main", id, ""},
		{"stable", id, ""},
		{"photon:os/main", other, ""},
		{"only/there", other, ""},
		{id.String(), id, ""},
		{id.String()[:7], id, ""},
		{"os/next", object.ID{}, "Refspec 'os/next' not found"},
		{"photon:x", object.ID{}, "Refspec 'photon:x' not found"},
		{"os/main^", object.ID{}, "has no parent"},
		{"os//main", object.ID{}, "Invalid ref name"},
		{"../config", object.ID{}, "Invalid ref name"},
		{"", object.ID{}, "Invalid ref name"},
	} {
		got, err := r.ResolveRev(row.rev)
		if row.err == "" && (err != nil || got != row.want) {
			t.Errorf("%q: %s, %v", row.rev, got, err)
		}
		if row.err != "" && (err == nil || !strings.Contains(err.Error(), row.err)) {
			t.Errorf("%q: %v, want %q", row.rev, err, row.err)
		}
	}
	if got := ostree(t, "--repo="+r.Path(), "rev-parse", "stable"); got != id.String() {
		t.Errorf("stock resolves the alias to %s", got)
	}
	var nf *repo.RefNotFoundError
	if _, err := r.ResolveRev("nope"); !errors.As(err, &nf) || !errors.Is(err, repo.ErrNotFound) {
		t.Errorf("error of a missing ref: %v", err)
	}
}

func TestRefBelowRef(t *testing.T) {
	r := newRepo(t, repo.ModeArchive)
	dir := sample(t)
	commit(t, r, dir, "a/b")
	for _, ref := range []string{"a", "a/b/c"} {
		_, _, err := tree.Commit(context.Background(), r, dir, tree.CommitOptions{Ref: ref})
		if err == nil || !strings.Contains(err.Error(), "below another ref") {
			t.Errorf("ref %s beside a/b: %v", ref, err)
		}
	}
	txn, err := r.Begin(context.Background())
	check(t, err)
	check(t, txn.SetRef("", "a/b", object.ID{}))
	check(t, txn.Commit())
	commit(t, r, dir, "a") // the directory of a/b is gone
	sound(t, r)
}

func TestRemotes(t *testing.T) {
	r := newRepo(t, repo.ModeArchive)
	rem := repo.Remote{Name: "photon", Options: []repo.Option{{Key: "url", Value: "http://host/repo"}, {Key: "gpg-verify", Value: "false"}}}
	check(t, r.AddRemote(rem, false))
	if err := r.AddRemote(rem, false); !errors.Is(err, repo.ErrRemoteExists) {
		t.Errorf("adding twice: %v", err)
	}
	if got := ostree(t, "--repo="+r.Path(), "remote", "list", "-u"); got != "photon  http://host/repo" {
		t.Errorf("stock lists %q", got)
	}
	ostree(t, "--repo="+r.Path(), "remote", "add", "--no-gpg-verify", "other", "http://b")
	check(t, r.ReloadConfig())
	got, err := r.Remote("other")
	if err != nil || got.URL() != "http://b" {
		t.Errorf("%+v, %v", got, err)
	}
	check(t, r.DeleteRemote("photon"))
	if _, err := r.Remote("photon"); !errors.Is(err, repo.ErrNotFound) {
		t.Errorf("after deleting: %v", err)
	}
}

func TestDetachedMetadata(t *testing.T) {
	r := newRepo(t, repo.ModeArchive)
	id := commit(t, r, sample(t), "x")
	set := func(d gvariant.Dict) {
		t.Helper()
		txn, err := r.Begin(context.Background())
		check(t, err)
		check(t, txn.SetDetachedMetadata(id, d))
		check(t, txn.Commit())
	}
	set(gvariant.Dict{{Key: "note", Value: gvariant.String("hello")}})
	d, err := r.DetachedMetadata(id)
	if err != nil || d.GetString("note") != "hello" {
		t.Errorf("%v, %v", d, err)
	}
	if got := ostree(t, "--repo="+r.Path(), "show", "--print-detached-metadata-key=note", "x"); got != "'hello'" {
		t.Errorf("stock reads %q", got)
	}
	set(nil)
	if d, err := r.DetachedMetadata(id); d != nil || err != nil {
		t.Errorf("after removing: %v, %v", d, err)
	}
}
