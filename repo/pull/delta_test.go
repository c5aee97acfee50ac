package pull_test

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"photree/repo"
	"photree/repo/delta"
	"photree/repo/object"
	"photree/repo/pull"
	"photree/repo/serve"
	"photree/repo/tree"
)

// deltaServer is a repository with two commits and the delta between them, made by one of the programs.
func deltaServer(t *testing.T, generate func(r *repo.Repo, a, b object.ID)) (r *repo.Repo, a, b object.ID, c *counter, url string) {
	t.Helper()
	r = newRepo(t, repo.ModeArchive)
	files := manyFiles(50)
	a = commit(t, r, "main", files, tree.CommitOptions{})
	files = maps.Clone(files)
	for _, name := range []string{"big", "d1/sub/f1", "d2/sub/f42", "d3/sub/f33"} {
		files[name] = strings.Repeat("changed ", 5) + files[name] + "end"
	}
	files["new"] = strings.Repeat("new", 1000)
	b = commit(t, r, "main", files, tree.CommitOptions{Parent: &a})
	generate(r, a, b)
	if err := r.UpdateSummary(t.Context(), repo.SummaryOptions{}); err != nil {
		t.Fatal(err)
	}
	c = &counter{h: serve.Handler(r.Path())}
	return r, a, b, c, serving(t, c)
}

// ours generates with our program.
func ours(t *testing.T, o delta.GenerateOptions) func(*repo.Repo, object.ID, object.ID) {
	return func(r *repo.Repo, a, b object.ID) {
		t.Helper()
		o.From, o.To = a, b
		if _, err := delta.Generate(t.Context(), r, o); err != nil {
			t.Fatal(err)
		}
	}
}

// atCommit makes a repository whose ref is at the first commit of the server, fetched without deltas.
func atCommit(t *testing.T, mode repo.Mode, url string, a object.ID) *repo.Repo {
	t.Helper()
	r := newRepo(t, mode)
	addRemote(t, r, url)
	_, err := pull.Pull(t.Context(), r, quick(pull.Options{Remote: "origin", Refs: []string{"main@" + a.String()}, DisableStaticDeltas: true}))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestDeltaIsUsed(t *testing.T) {
	for _, c := range []struct {
		name     string
		generate func(r *repo.Repo, a, b object.ID)
	}{
		{"ours", ours(t, delta.GenerateOptions{})},
		{"ours, inline", ours(t, delta.GenerateOptions{Inline: true})},
		{"stock's", func(r *repo.Repo, a, b object.ID) {
			stock(t, "--repo="+r.Path(), "static-delta", "generate", "--from="+a.String(), "--to="+b.String())
		}},
		{"by its index", func(r *repo.Repo, a, b object.ID) {
			conf := r.Config()
			conf.Set("core", "no-deltas-in-summary", "true")
			if err := r.SetConfig(conf); err != nil {
				t.Fatal(err)
			}
			ours(t, delta.GenerateOptions{})(r, a, b)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, a, b, count, url := deltaServer(t, c.generate)
			for _, mode := range []repo.Mode{repo.ModeArchive, repo.ModeBareUser} {
				r := atCommit(t, mode, url, a)
				before := count.objects()
				if _, err := pull.Pull(t.Context(), r, quick(pull.Options{Remote: "origin", Refs: []string{"main"}, RequireStaticDeltas: true})); err != nil {
					t.Fatalf("%s: %v", mode, err)
				}
				wantRef(t, r, "origin", "main", b)
				if n := count.objects() - before; n > 0 {
					t.Errorf("%s: %d objects were fetched beside the delta", mode, n)
				}
			}
			// And the original program, from the same server.
			r := newRepo(t, repo.ModeBareUser)
			stock(t, "--repo="+r.Path(), "remote", "add", "--no-gpg-verify", "origin", url)
			stock(t, "--repo="+r.Path(), "pull", "origin", "main@"+a.String())
			// It says what it does: how many parts it has used.
			if out := stock(t, "--repo="+r.Path(), "pull", "--require-static-deltas", "origin", "main"); c.name != "ours, inline" && !strings.Contains(out, "delta parts") {
				t.Errorf("the original says %q", out)
			}
			wantRef(t, r, "origin", "main", b)
		})
	}
}

func TestDeltaFromNothing(t *testing.T) {
	server, a, b, count, url := deltaServer(t, func(r *repo.Repo, _, b object.ID) { ours(t, delta.GenerateOptions{})(r, object.ID{}, b) })
	r := newRepo(t, repo.ModeBareUser)
	addRemote(t, r, url)
	if _, err := pull.Pull(t.Context(), r, quick(pull.Options{Remote: "origin", Refs: []string{"main"}})); err != nil {
		t.Fatal(err)
	}
	wantRef(t, r, "origin", "main", b)
	if n := count.objects(); n > 0 {
		t.Errorf("%d objects were fetched beside the delta", n)
	}
	// With an earlier commit there is little to fetch, and a delta from nothing would bring all of it.
	r = atCommit(t, repo.ModeBareUser, url, a)
	before := count.objects()
	if _, err := pull.Pull(t.Context(), r, quick(pull.Options{Remote: "origin", Refs: []string{"main"}})); err != nil {
		t.Fatal(err)
	}
	if n := count.objects() - before; n < 5 {
		t.Errorf("only %d objects were fetched: the delta from nothing was used", n)
	}
	// From a directory of this machine only on request.
	r = newRepo(t, repo.ModeBareUser)
	if _, err := pull.Local(t.Context(), r, server, pull.Options{Refs: []string{"main"}, RequireStaticDeltas: true}); err != nil {
		t.Fatal(err)
	}
	wantRef(t, r, "", "main", b)
}

func TestDeltaIsRequiredAndMissing(t *testing.T) {
	_, a, _, _, url := deltaServer(t, func(*repo.Repo, object.ID, object.ID) {})
	r := atCommit(t, repo.ModeBareUser, url, a)
	_, err := pull.Pull(t.Context(), r, quick(pull.Options{Remote: "origin", Refs: []string{"main"}, RequireStaticDeltas: true}))
	if err == nil || !strings.Contains(err.Error(), "Static deltas required, but none found for "+a.String()) {
		t.Errorf("%v", err)
	}
	wantRef(t, r, "origin", "main", a)
}

// TestDeltasThatLie serves deltas that are not what they should be.
func TestDeltasThatLie(t *testing.T) {
	for _, c := range []struct {
		name   string
		damage func(dir string, s *delta.Superblock) error
		want   string // of the error; empty: the pull succeeds all the same
	}{
		{"a part is damaged", func(dir string, _ *delta.Superblock) error {
			return flip(filepath.Join(dir, "0"))
		}, "the bytes have the checksum"},
		{"a part is missing", func(dir string, _ *delta.Superblock) error {
			return os.Remove(filepath.Join(dir, "0"))
		}, ""},
		{"the superblock was replaced after the summary", func(dir string, s *delta.Superblock) error {
			s.Timestamp++
			return os.WriteFile(filepath.Join(dir, "superblock"), s.Encode(), 0o644)
		}, "not the one that the server announced"},
	} {
		t.Run(c.name, func(t *testing.T) {
			server, a, b, _, url := deltaServer(t, ours(t, delta.GenerateOptions{}))
			dir := filepath.Join(server.Path(), delta.Dir(a, b))
			s, _, err := delta.Open(dir, nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.damage(dir, s); err != nil {
				t.Fatal(err)
			}
			r := atCommit(t, repo.ModeBareUser, url, a)
			_, err = pull.Pull(t.Context(), r, quick(pull.Options{Remote: "origin", Refs: []string{"main"}}))
			if c.want == "" {
				if err != nil {
					t.Error(err)
				}
				wantRef(t, r, "origin", "main", b)
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
			wantRef(t, r, "origin", "main", a)
		})
	}
	// One that leaves out most of what it should bring: what is missing comes by its name (R3).
	server, a, b, _, url := deltaServer(t, func(r *repo.Repo, a, b object.ID) {
		ours(t, delta.GenerateOptions{MaxChunkSize: 2000})(r, a, b)
		dir := filepath.Join(r.Path(), delta.Dir(a, b))
		s, _, err := delta.Open(dir, nil)
		if err != nil {
			t.Fatal(err)
		}
		s.Parts = s.Parts[:1]
		if err := os.WriteFile(filepath.Join(dir, "superblock"), s.Encode(), 0o644); err != nil {
			t.Fatal(err)
		}
	})
	r := atCommit(t, repo.ModeBareUser, url, a)
	if _, err := delta.Apply(context.Background(), r, filepath.Join(server.Path(), delta.Dir(a, b)), delta.ApplyOptions{}); err == nil {
		t.Error("applied although objects are missing")
	}
	if _, err := pull.Pull(t.Context(), r, quick(pull.Options{Remote: "origin", Refs: []string{"main"}})); err != nil {
		t.Error(err)
	}
	wantRef(t, r, "origin", "main", b)
}

func flip(path string) error {
	data, err := os.ReadFile(path)
	if err == nil {
		data[len(data)/2] ^= 1
		err = os.WriteFile(path, data, 0o644)
	}
	return err
}
