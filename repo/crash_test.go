package repo_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"photree/repo"
	"photree/repo/object"
	"photree/repo/tree"
)

// begun stages a commit of dir and the move of its ref, and leaves the rest to the caller.
func begun(t *testing.T, r *repo.Repo, dir, ref string) (*repo.Txn, object.ID) {
	t.Helper()
	txn, err := r.Begin(context.Background())
	check(t, err)
	root, meta, _, err := tree.Write(context.Background(), txn, dir, tree.WriteOptions{})
	check(t, err)
	id, err := tree.WriteCommit(txn, root, meta, tree.CommitOptions{Ref: ref, Timestamp: time.Unix(1700000000, 0)})
	check(t, err)
	return txn, id
}

// TestPublicationStopsAnywhere attacks R1, R2 and R3: whatever prefix of the steps was done, the repository is sound,
// the ref names the old commit or the new one, and the same work done again succeeds.
func TestPublicationStopsAnywhere(t *testing.T) {
	dir := sample(t)
	for _, mode := range []repo.Mode{repo.ModeArchive, repo.ModeBare} {
		for n, name := range append([]string{"nothing"}, repo.CommitStepNames()...) {
			t.Run(fmt.Sprintf("%s after %s", mode, name), func(t *testing.T) {
				r := newRepo(t, mode)
				old := commit(t, r, t.TempDir(), "x")
				txn, id := begun(t, r, dir, "x")
				check(t, txn.StopCommitAfter(n))
				r, err := repo.Open(r.Path())
				check(t, err)
				sound(t, r)
				got, err := r.ResolveRev("x")
				if err != nil || got != old && got != id {
					t.Errorf("the ref names %s: %v", got, err)
				}
				txn, again := begun(t, r, dir, "x")
				check(t, txn.Commit())
				if got, err := r.ResolveRev("x"); err != nil || got != again {
					t.Errorf("done again, the ref names %s: %v", got, err)
				}
				sound(t, r)
				noStaging(t, r)
			})
		}
	}
}

func noStaging(t *testing.T, r *repo.Repo) {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(r.Path(), "tmp", "staging-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("staging left behind: %v, %v", left, err)
	}
}

// TestPruneStopsAnywhere attacks R5: every commit that is left is whole.
func TestPruneStopsAnywhere(t *testing.T) {
	dir := sample(t)
	for n, name := range append([]string{"nothing"}, repo.PruneStepNames()...) {
		for _, half := range []bool{false, true} {
			t.Run(fmt.Sprintf("after %s half=%v", name, half), func(t *testing.T) {
				r := newRepo(t, repo.ModeArchive)
				commit(t, r, t.TempDir(), "keep")
				for _, ref := range []string{"go", "go"} {
					check(t, os.WriteFile(filepath.Join(dir, "usr/var"+ref+fmt.Sprint(n)), []byte(time.Now().String()), 0o644))
					commit(t, r, dir, ref)
				}
				txn, err := r.Begin(context.Background())
				check(t, err)
				check(t, txn.SetRef("", "go", object.ID{}))
				check(t, txn.Commit())
				check(t, r.StopPruneAfter(repo.PruneOptions{RefsOnly: true}, n, half && n > 0))
				sound(t, r)
				_, err = r.Prune(context.Background(), repo.PruneOptions{RefsOnly: true})
				check(t, err)
				sound(t, r)
				left, err := r.ListObjects(object.KindFile, object.KindCommit, object.KindDirTree, object.KindDirMeta)
				if err != nil || len(left) != 3 {
					t.Errorf("%d objects are left of an empty directory's commit: %v", len(left), err)
				}
			})
		}
	}
}

// TestPruneRemovesWhatACutLeftOfRefs: the power-cut explorer found these behind a cut while refs were written (seed 11,
// point 400 of an upgrade with a new kernel).
func TestPruneRemovesWhatACutLeftOfRefs(t *testing.T) {
	r := newRepo(t, repo.ModeArchive)
	id := commit(t, r, t.TempDir(), "x/y")
	for _, name := range []string{"refs/heads/x/.y.tmp-6056-8", "state/." + id.String() + ".commitpartial.tmp-1-a"} {
		check(t, os.MkdirAll(filepath.Dir(filepath.Join(r.Path(), name)), 0o755))
		check(t, os.WriteFile(filepath.Join(r.Path(), name), nil, 0o644))
	}
	_, err := r.Prune(context.Background(), repo.PruneOptions{})
	check(t, err)
	for _, dir := range []string{"refs/heads/x", "state"} {
		left, err := filepath.Glob(filepath.Join(r.Path(), dir, ".*"))
		if err != nil || len(left) > 0 {
			t.Errorf("%q are left, %v", left, err)
		}
	}
	if got, err := r.ResolveRev("x/y"); got != id {
		t.Errorf("the ref names %s: %v", got, err)
	}
}

func TestKilledImportIsTakenOver(t *testing.T) {
	dir := sample(t)
	src, dst := newRepo(t, repo.ModeArchive), newRepo(t, repo.ModeArchive)
	id := commit(t, src, dir, "x")
	set := repo.Set{}
	check(t, src.Reachable(set, id))
	txn, err := dst.Begin(context.Background())
	check(t, err)
	for n := range set {
		check(t, txn.ImportObject(src, n, repo.ImportOptions{}))
	}
	check(t, txn.StopCommitAfter(0))
	txn, err = dst.Begin(context.Background())
	check(t, err)
	for n := range set {
		ok, err := txn.Has(n)
		check(t, err)
		if want := n.Kind == object.KindFile; ok != want {
			if n.Kind == object.KindCommit || want {
				t.Errorf("%s was taken over: %v", n, ok)
			}
		}
		check(t, txn.ImportObject(src, n, repo.ImportOptions{}))
	}
	check(t, txn.SetRef("", "x", id))
	check(t, txn.Commit())
	sound(t, dst)
	noStaging(t, dst)
}

func TestStagingOfAnotherBootIsThrownAway(t *testing.T) {
	r := newRepo(t, repo.ModeArchive)
	t.Setenv("OSTREE_BOOTID", "11111111-1111-1111-1111-111111111111")
	txn, _ := begun(t, r, sample(t), "x")
	check(t, txn.StopCommitAfter(0))
	t.Setenv("OSTREE_BOOTID", "22222222-2222-2222-2222-222222222222")
	commit(t, r, t.TempDir(), "y")
	noStaging(t, r)
	sound(t, r)
}

func TestAbortLeavesNothing(t *testing.T) {
	r := newRepo(t, repo.ModeArchive)
	before := listing(t, r.Path(), false)
	txn, _ := begun(t, r, sample(t), "x")
	check(t, txn.Abort())
	after := listing(t, r.Path(), false)
	// The lock file is made by the first writer.
	if len(after) != len(before)+1 {
		t.Errorf("before %q\nafter %q", before, after)
	}
	if err := txn.Commit(); err == nil {
		t.Error("an aborted transaction was committed")
	}
}

// TestFullDiskLeavesTheRepositoryAsItWas fills a small file system; without the limit on free space the write fails,
// with it the transaction refuses earlier.
func TestFullDiskLeavesTheRepositoryAsItWas(t *testing.T) {
	for _, row := range []struct{ percent, want string }{{"0", "no space left"}, {"60", "core.min-free-space-percent is 60"}} {
		t.Run(row.percent, func(t *testing.T) {
			mnt := t.TempDir()
			if err := unix.Mount("tmpfs", mnt, "tmpfs", 0, "size=8m"); err != nil {
				t.Fatalf("mounting a tmpfs: %v: run this test as root", err)
			}
			t.Cleanup(func() { check(t, unix.Unmount(mnt, 0)) })
			r, err := repo.Init(filepath.Join(mnt, "repo"), repo.InitOptions{Mode: repo.ModeBare})
			check(t, err)
			cfg := r.Config()
			cfg.Set("core", "min-free-space-percent", row.percent)
			check(t, r.SetConfig(cfg))
			commit(t, r, t.TempDir(), "x")
			before := listing(t, r.Path(), false)
			dir := t.TempDir()
			for i := range 40 {
				check(t, os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), bytes.Repeat([]byte{byte(i), 1, 2}, 100000), 0o644))
			}
			_, _, err = tree.Commit(context.Background(), r, dir, tree.CommitOptions{Ref: "x"})
			if err == nil || !strings.Contains(err.Error(), row.want) || !strings.Contains(err.Error(), "free") {
				t.Errorf("committing 12 MB into 8: %v", err)
			}
			diff(t, "repository", listing(t, r.Path(), false), before)
			sound(t, r)
		})
	}
}

// damage changes one byte of a file in place.
func damage(t *testing.T, path string, at int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	check(t, err)
	defer f.Close()
	b := make([]byte, 1)
	_, err = f.ReadAt(b, at)
	check(t, err)
	b[0] ^= 0x40
	_, err = f.WriteAt(b, at)
	check(t, err)
}

func TestFsckFindsDamage(t *testing.T) {
	dir := sample(t)
	type change struct {
		name string
		kind object.Kind
		do   func(t *testing.T, path string)
	}
	changes := []change{
		{"a flipped byte in a commit", object.KindCommit, func(t *testing.T, p string) { damage(t, p, 40) }},
		{"a flipped byte in a tree", object.KindDirTree, func(t *testing.T, p string) { damage(t, p, 3) }},
		{"a flipped byte in a dirmeta", object.KindDirMeta, func(t *testing.T, p string) { damage(t, p, 11) }},
		{"a flipped byte in a file", object.KindFile, func(t *testing.T, p string) { damage(t, p, 100) }},
		{"a file cut short", object.KindFile, func(t *testing.T, p string) { check(t, os.Truncate(p, 1000)) }},
		{"an empty file object", object.KindFile, func(t *testing.T, p string) { check(t, os.Truncate(p, 0)) }},
		{"a tree cut short", object.KindDirTree, func(t *testing.T, p string) { check(t, os.Truncate(p, 20)) }},
		{"a missing file", object.KindFile, func(t *testing.T, p string) { check(t, os.Remove(p)) }},
		{"a missing dirmeta", object.KindDirMeta, func(t *testing.T, p string) { check(t, os.Remove(p)) }},
	}
	for _, mode := range []repo.Mode{repo.ModeArchive, repo.ModeBare, repo.ModeBareUser} {
		all := changes
		if mode == repo.ModeBare {
			all = append(all[:len(all):len(all)], change{"a changed mode", object.KindFile,
				func(t *testing.T, p string) { check(t, os.Chmod(p, 0o600)) }})
		}
		for _, c := range all {
			t.Run(fmt.Sprintf("%s: %s", mode, c.name), func(t *testing.T) {
				r := newRepo(t, mode)
				id := commit(t, r, dir, "x")
				e, err := tree.LookupFollow(r, id, "/usr/lib/big")
				check(t, err)
				com, err := r.LoadCommit(id)
				check(t, err)
				n := object.Name{ID: map[object.Kind]object.ID{object.KindCommit: id, object.KindDirTree: com.Root,
					object.KindDirMeta: com.RootMeta, object.KindFile: e.ID}[c.kind], Kind: c.kind}
				c.do(t, r.ObjectPath(n))
				problems := fsck(t, r)
				if len(problems) != 1 || problems[0].Object != n {
					t.Errorf("fsck reports %v, want %s", problems, n)
				}
				res, err := r.Fsck(context.Background(), repo.FsckOptions{Delete: true})
				check(t, err)
				// What is missing was marked by the first check, so that only that is left to say.
				if len(res.Problems) == 0 && res.Damaged == 0 {
					t.Error("fsck that deletes reports nothing")
				}
				if c.kind == object.KindCommit {
					return
				}
				if partial, err := r.IsPartial(id); err != nil || !partial {
					t.Errorf("the commit is not marked partial: %v", err)
				}
				// Committed again, the object is back.
				commit(t, r, dir, "x")
				if problems := fsck(t, r); len(problems) > 0 {
					t.Errorf("after repair: %v", problems)
				}
			})
		}
	}
}

// TestImportRefusesDamage attacks R1 and R7: what does not have its name is not taken, in no form.
func TestImportRefusesDamage(t *testing.T) {
	dir := sample(t)
	src := newRepo(t, repo.ModeArchive)
	id := commit(t, src, dir, "x")
	e, err := tree.LookupFollow(src, id, "/usr/bin/su")
	check(t, err)
	good, err := os.ReadFile(src.ObjectPath(object.Name{ID: e.ID, Kind: object.KindFile}))
	check(t, err)
	flipped := bytes.Clone(good)
	flipped[len(flipped)-3] ^= 1
	mode := bytes.Clone(good)
	mode[8+8+11] ^= 1 // the lowest bit of the mode
	for _, dstMode := range []repo.Mode{repo.ModeArchive, repo.ModeBare} {
		r := newRepo(t, dstMode)
		txn, err := r.Begin(context.Background())
		check(t, err)
		for name, data := range map[string][]byte{"flipped content": flipped, "other mode": mode, "cut short": good[:len(good)-5],
			"trailing bytes": append(bytes.Clone(good), 0), "nothing": nil, "garbage": []byte("<html>404</html>")} {
			if err := txn.ImportArchived(e.ID, bytes.NewReader(data)); err == nil {
				t.Errorf("%s: %s was taken", dstMode, name)
			}
			if ok, _ := txn.Has(object.Name{ID: e.ID, Kind: object.KindFile}); ok {
				t.Fatalf("%s: %s is staged", dstMode, name)
			}
		}
		check(t, txn.ImportArchived(e.ID, bytes.NewReader(good)))
		com := object.Name{ID: id, Kind: object.KindCommit}
		if err := txn.ImportMetadata(com, []byte("garbage")); err == nil {
			t.Error("a commit of other bytes was taken")
		}
		check(t, txn.Abort())
		noStaging(t, r)
	}
}

func TestImportBetweenModes(t *testing.T) {
	dir := sample(t)
	for _, from := range allModes[:3] {
		src := newRepo(t, from)
		id := commit(t, src, dir, "x")
		set := repo.Set{}
		check(t, src.Reachable(set, id))
		for _, to := range allModes[:3] {
			for _, trusted := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s to %s trusted=%v", from, to, trusted), func(t *testing.T) {
					dst := newRepo(t, to)
					txn, err := dst.Begin(context.Background())
					check(t, err)
					for n := range set {
						check(t, txn.ImportObject(src, n, repo.ImportOptions{Trusted: trusted}))
					}
					check(t, txn.SetRef("", "x", id))
					check(t, txn.Commit())
					sound(t, dst)
				})
			}
		}
	}
}

func TestPartialMarks(t *testing.T) {
	src, r := newRepo(t, repo.ModeArchive), newRepo(t, repo.ModeArchive)
	id := commit(t, src, sample(t), "x")
	txn, err := r.Begin(context.Background())
	check(t, err)
	check(t, txn.MarkPartial(id))
	check(t, txn.ImportObject(src, object.Name{ID: id, Kind: object.KindCommit}, repo.ImportOptions{}))
	check(t, txn.Commit())
	res, err := r.Fsck(context.Background(), repo.FsckOptions{})
	if err != nil || res.Partial != 1 || len(res.Problems) > 0 {
		t.Errorf("%+v, %v", res, err)
	}
	ostree(t, "--repo="+r.Path(), "fsck", "-q")
	set := repo.Set{}
	check(t, src.Reachable(set, id))
	txn, err = r.Begin(context.Background())
	check(t, err)
	for n := range set {
		check(t, txn.ImportObject(src, n, repo.ImportOptions{}))
	}
	check(t, txn.ClearPartial(id))
	check(t, txn.Commit())
	if p, err := r.IsPartial(id); p || err != nil {
		t.Errorf("still partial: %v", err)
	}
	sound(t, r)
}

// TestLocks attacks R4: transactions run beside each other, prune waits for them, and gives up in time.
func TestLocks(t *testing.T) {
	r := newRepo(t, repo.ModeArchive)
	cfg := r.Config()
	cfg.Set("core", "lock-timeout-secs", "0")
	check(t, r.SetConfig(cfg))
	a, err := r.Begin(context.Background())
	check(t, err)
	b, err := r.Begin(context.Background())
	check(t, err)
	if _, err := r.Prune(context.Background(), repo.PruneOptions{}); err == nil || !strings.Contains(err.Error(), "lock-timeout-secs") {
		t.Errorf("prune beside two transactions: %v", err)
	}
	cfg.Set("core", "lock-timeout-secs", "-1")
	check(t, r.SetConfig(cfg))
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := r.Prune(ctx, repo.PruneOptions{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("prune whose context ends: %v", err)
	}
	check(t, errors.Join(a.Abort(), b.Abort()))
	_, err = r.Prune(context.Background(), repo.PruneOptions{})
	check(t, err)
}

func TestPruneKeeps(t *testing.T) {
	r := newRepo(t, repo.ModeArchive)
	var ids []object.ID
	dir := t.TempDir()
	for i := range 4 {
		check(t, os.WriteFile(filepath.Join(dir, "f"), []byte{byte(i)}, 0o644))
		id, _, err := tree.Commit(context.Background(), r, dir, tree.CommitOptions{Ref: "x", Timestamp: time.Unix(int64(1000*i+1000), 0)})
		check(t, err)
		ids = append(ids, id)
	}
	left := func() int {
		names, err := r.ListObjects(object.KindCommit)
		check(t, err)
		sound(t, r)
		return len(names)
	}
	for _, row := range []struct {
		name string
		opts repo.PruneOptions
		want int
	}{
		{"nothing asked", repo.PruneOptions{}, 4},
		{"all of the history", repo.PruneOptions{RefsOnly: true, Depth: -1}, 4},
		{"only counted", repo.PruneOptions{RefsOnly: true, DryRun: true}, 4},
		{"young ones", repo.PruneOptions{RefsOnly: true, KeepYoungerThan: time.Unix(1500, 0)}, 3},
		{"one commit", repo.PruneOptions{DeleteCommit: ids[1]}, 2},
		{"depth one", repo.PruneOptions{RefsOnly: true, Depth: 1}, 2},
		{"the ref's alone", repo.PruneOptions{RefsOnly: true}, 1},
	} {
		if _, err := r.Prune(context.Background(), row.opts); err != nil {
			t.Errorf("%s: %v", row.name, err)
		}
		if got := left(); got != row.want {
			t.Errorf("%s: %d commits are left, want %d", row.name, got, row.want)
		}
	}
	if _, err := r.Prune(context.Background(), repo.PruneOptions{DeleteCommit: ids[3]}); err == nil {
		t.Error("a commit that a ref names was deleted")
	}
}

func FuzzImportArchived(f *testing.F) {
	info := object.FileInfo{Mode: 0o100644}
	f.Add(append(info.ArchiveHeader(6), 0xcb, 0x48, 0xcd, 0xc9, 0xc9, 0xe7, 0x02, 0x00))
	f.Add(object.FileInfo{Mode: 0o120777, Target: "a"}.ArchiveHeader(0))
	r := newRepo(f, repo.ModeArchive)
	txn, err := r.Begin(context.Background())
	check(f, err)
	f.Cleanup(func() { _ = txn.Abort() })
	id, err := object.ContentID(info, strings.NewReader("hello\n"))
	check(f, err)
	f.Fuzz(func(t *testing.T, data []byte) {
		// Whatever comes, only the one content may get the name.
		if txn.ImportArchived(id, bytes.NewReader(data)) != nil {
			return
		}
		if !bytes.HasPrefix(data, info.ArchiveHeader(6)) {
			t.Errorf("%x was taken as %s", data, id)
		}
		check(t, txn.Abort())
		txn, err = r.Begin(context.Background())
		check(t, err)
	})
}
