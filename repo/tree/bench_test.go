package tree_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"photree/repo"
	"photree/repo/object"
	"photree/repo/tree"
)

// The benchmarks compare photree with stock ostree on a real tree: set PHOTREE_BENCH_TREE to a directory of some
// hundred megabytes and run
//
//	go test ./repo/tree -run '^$' -bench . -benchtime 1x -count 3
//
// Every row exists twice, as photree and as stock, and does the same work in the same directory.

func benchTree(b *testing.B) (src, work string) {
	b.Helper()
	src = os.Getenv("PHOTREE_BENCH_TREE")
	if src == "" {
		b.Skip("set PHOTREE_BENCH_TREE to a directory to measure with")
	}
	// Beside the tree, so that it is the same file system.
	work, err := os.MkdirTemp(filepath.Dir(filepath.Clean(src)), "bench-")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { os.RemoveAll(work) })
	return src, work
}

func stock(b testing.TB, args ...string) {
	b.Helper()
	if out, err := exec.Command("ostree", args...).CombinedOutput(); err != nil {
		b.Fatalf("ostree %v: %v\n%s", args, err, out)
	}
}

func fresh(b *testing.B, work string, mode repo.Mode) *repo.Repo {
	b.Helper()
	path := filepath.Join(work, "repo")
	if err := os.RemoveAll(path); err != nil {
		b.Fatal(err)
	}
	r, err := repo.Init(path, repo.InitOptions{Mode: mode})
	if err != nil {
		b.Fatal(err)
	}
	return r
}

// pair runs one row as photree and as stock; prepare runs before each round, outside of the time.
func pair(b *testing.B, prepare, ours, theirs func(b *testing.B)) {
	for _, v := range []struct {
		name string
		run  func(b *testing.B)
	}{{"photree", ours}, {"stock", theirs}} {
		b.Run(v.name, func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				prepare(b)
				b.StartTimer()
				v.run(b)
			}
		})
	}
}

func commitTree(b testing.TB, r *repo.Repo, src string) object.ID {
	b.Helper()
	id, _, err := tree.Commit(context.Background(), r, src, tree.CommitOptions{Ref: "x"})
	if err != nil {
		b.Fatal(err)
	}
	return id
}

func BenchmarkCommit(b *testing.B) {
	for _, mode := range []repo.Mode{repo.ModeArchive, repo.ModeBare} {
		b.Run(string(mode), func(b *testing.B) {
			src, work := benchTree(b)
			var r *repo.Repo
			pair(b, func(b *testing.B) { r = fresh(b, work, mode) },
				func(b *testing.B) { commitTree(b, r, src) },
				func(b *testing.B) { stock(b, "--repo="+r.Path(), "commit", "-b", "x", src) })
		})
	}
}

func BenchmarkCommitAgain(b *testing.B) {
	src, work := benchTree(b)
	r := fresh(b, work, repo.ModeArchive)
	commitTree(b, r, src)
	pair(b, func(*testing.B) {},
		func(b *testing.B) { commitTree(b, r, src) },
		func(b *testing.B) { stock(b, "--repo="+r.Path(), "commit", "-b", "x", src) })
}

func BenchmarkFsck(b *testing.B) {
	for _, mode := range []repo.Mode{repo.ModeArchive, repo.ModeBare} {
		b.Run(string(mode), func(b *testing.B) {
			src, work := benchTree(b)
			r := fresh(b, work, mode)
			commitTree(b, r, src)
			pair(b, func(*testing.B) {},
				func(b *testing.B) {
					res, err := r.Fsck(context.Background(), repo.FsckOptions{})
					if err != nil || len(res.Problems) > 0 {
						b.Fatal(res.Problems, err)
					}
				},
				func(b *testing.B) { stock(b, "--repo="+r.Path(), "fsck", "-q") })
		})
	}
}

func BenchmarkCheckout(b *testing.B) {
	for _, row := range []struct {
		name string
		mode repo.Mode
		opts tree.CheckoutOptions
		args []string
	}{
		{"hardlinks", repo.ModeBare, tree.CheckoutOptions{RequireHardlinks: true}, []string{"-H"}},
		{"copy", repo.ModeBare, tree.CheckoutOptions{ForceCopy: true}, []string{"-C"}},
		{"archive", repo.ModeArchive, tree.CheckoutOptions{}, nil},
	} {
		b.Run(row.name, func(b *testing.B) {
			src, work := benchTree(b)
			r := fresh(b, work, row.mode)
			id := commitTree(b, r, src)
			dest := filepath.Join(work, "out")
			pair(b, func(b *testing.B) {
				if err := os.RemoveAll(dest); err != nil {
					b.Fatal(err)
				}
			},
				func(b *testing.B) {
					if err := tree.Checkout(context.Background(), r, id, dest, row.opts); err != nil {
						b.Fatal(err)
					}
				},
				func(b *testing.B) {
					args := append([]string{"--repo=" + r.Path(), "checkout"}, row.args...)
					stock(b, append(args, id.String(), dest)...)
				})
		})
	}
}

func BenchmarkPrune(b *testing.B) {
	src, work := benchTree(b)
	var r *repo.Repo
	pair(b, func(b *testing.B) {
		r = fresh(b, work, repo.ModeBare)
		commitTree(b, r, src)
		stock(b, "--repo="+r.Path(), "refs", "--delete", "x")
	},
		func(b *testing.B) {
			if _, err := r.Prune(context.Background(), repo.PruneOptions{RefsOnly: true}); err != nil {
				b.Fatal(err)
			}
		},
		func(b *testing.B) { stock(b, "--repo="+r.Path(), "prune", "--refs-only") })
}
