package delta_test

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"photree/repo"
	"photree/repo/delta"
	"photree/repo/object"
)

// files returns what is in a directory.
func files(t testing.TB, dir string) map[string][]byte {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]byte{}
	for _, e := range entries {
		if out[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// TestGenerate generates deltas in every way and lets both programs apply them into every mode.
func TestGenerate(t *testing.T) {
	r, a, b := twoCommits(t)
	for i, c := range []struct {
		name  string
		o     delta.GenerateOptions
		parts int // at least
	}{
		{"from A", delta.GenerateOptions{From: a}, 1},
		{"from nothing", delta.GenerateOptions{}, 1},
		{"big-endian", delta.GenerateOptions{From: a, BigEndian: true}, 1},
		{"inline", delta.GenerateOptions{From: a, Inline: true}, 1},
		{"small parts", delta.GenerateOptions{From: a, MaxChunkSize: 50_000, DisableBsdiff: true}, 3},
		{"small parts from nothing", delta.GenerateOptions{MaxChunkSize: 100_000}, 5},
		{"without bsdiff", delta.GenerateOptions{From: a, DisableBsdiff: true}, 1},
		{"nothing new", delta.GenerateOptions{From: b}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.o.To = b
			stats, err := delta.Generate(ctx, r, c.o)
			if err != nil {
				t.Fatal(err)
			}
			if stats.Parts < c.parts {
				t.Errorf("%d parts: %+v", stats.Parts, stats)
			}
			dir := filepath.Join(r.Path(), delta.Dir(c.o.From, b))
			first := files(t, dir)
			if _, err := delta.Generate(ctx, r, c.o); err != nil {
				t.Fatal(err)
			}
			if again := files(t, dir); !maps.EqualFunc(first, again, bytes.Equal) {
				t.Errorf("twice generated the files differ: %v and %v", slices.Sorted(maps.Keys(first)), slices.Sorted(maps.Keys(again)))
			}
			for _, mode := range modes {
				if i > 1 && mode != repo.ModeArchive && mode != repo.ModeBareUser {
					continue // the form of files has nothing to do with the form of the delta
				}
				for _, who := range []string{"ours", "stock"} {
					if who == "stock" && mode == repo.ModeArchive && !c.o.From.IsZero() {
						continue // the original cannot apply anything but whole objects there
					}
					applyBy(t, who, r, mode, c.o.From, b, dir)
				}
			}
		})
	}
}

// applyBy applies a delta with one of the programs to a new repository that has the source commit, and checks it.
func applyBy(t *testing.T, who string, src *repo.Repo, mode repo.Mode, from, to object.ID, path string) {
	t.Helper()
	var dst *repo.Repo
	if from.IsZero() {
		dst = newRepo(t, mode)
	} else {
		dst = clone(t, src, mode, from)
	}
	if who == "stock" {
		stock(t, "--repo="+dst.Path(), "static-delta", "apply-offline", path)
	} else if _, err := delta.Apply(ctx, dst, path, delta.ApplyOptions{}); err != nil {
		t.Fatalf("%s: %v", mode, err)
	}
	stock(t, "--repo="+dst.Path(), "refs", "--create=main", to.String())
	fsck(t, dst)
}

func TestGenerateToAFile(t *testing.T) {
	r, a, b := twoCommits(t)
	stock(t, "--repo="+r.Path(), "commit", "-b", "main", "--add-detached-metadata-string=k=v", "--orphan", "--tree=ref="+b.String())
	for _, inline := range []bool{false, true} {
		path := filepath.Join(t.TempDir(), "update.delta")
		if _, err := delta.Generate(ctx, r, delta.GenerateOptions{From: a, To: b, Filename: path, Inline: inline}); err != nil {
			t.Fatal(err)
		}
		if n := len(files(t, filepath.Dir(path))); (n == 1) != inline {
			t.Errorf("inline %v: %d files", inline, n)
		}
		applyBy(t, "ours", r, repo.ModeBareUser, a, b, path)
		applyBy(t, "stock", r, repo.ModeBareUser, a, b, path)
	}
	if _, err := os.Stat(filepath.Join(r.Path(), "deltas")); err == nil {
		t.Error("the repository got deltas too")
	}
}

func TestFallbacks(t *testing.T) {
	r, a, b := twoCommits(t)
	stats, err := delta.Generate(ctx, r, delta.GenerateOptions{From: a, To: b, MinFallbackSize: 10_000})
	if err != nil {
		t.Fatal(err)
	}
	if stats.Fallbacks != 2 {
		t.Errorf("%d fallbacks, want those for usr/share/new and usr/noise", stats.Fallbacks)
	}
	dst := clone(t, r, repo.ModeBareUser, a)
	if _, err := delta.Apply(ctx, dst, filepath.Join(r.Path(), delta.Dir(a, b)), delta.ApplyOptions{}); err == nil {
		t.Error("applied without what it leaves out")
	}
	stock(t, "--repo="+r.Path(), "summary", "-u")
	stock(t, "--repo="+dst.Path(), "remote", "add", "--no-gpg-verify", "origin", "file://"+r.Path())
	stock(t, "--repo="+dst.Path(), "pull", "--require-static-deltas", "origin", "main")
	fsck(t, dst)
}

// TestDetachedMetadata sees that what is not part of a commit's name travels with a delta.
func TestDetachedMetadata(t *testing.T) {
	r, _, _ := twoCommits(t)
	dir := t.TempDir()
	writeTree(t, dir, map[string][]byte{"a": []byte("a\n")})
	id, err := object.ParseID(stock(t, "--repo="+r.Path(), "commit", "-b", "signed", "--add-detached-metadata-string=k=v", dir))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := delta.Generate(ctx, r, delta.GenerateOptions{To: id, Inline: true}); err != nil {
		t.Fatal(err)
	}
	for _, who := range []string{"ours", "stock"} {
		dst := newRepo(t, repo.ModeArchive)
		path := filepath.Join(r.Path(), delta.Dir(object.ID{}, id))
		if who == "stock" {
			stock(t, "--repo="+dst.Path(), "static-delta", "apply-offline", path)
		} else if _, err := delta.Apply(ctx, dst, path, delta.ApplyOptions{}); err != nil {
			t.Fatal(err)
		}
		if d, err := dst.DetachedMetadata(id); err != nil || d.GetString("k") != "v" {
			t.Errorf("%s: %v, %v", who, d, err)
		}
	}
}
