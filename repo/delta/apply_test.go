package delta_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"photree/repo"
	"photree/repo/delta"
	"photree/repo/object"
)

func TestGoldenInlineDelta(t *testing.T) {
	data := golden(t)
	s, err := delta.Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.To.String(); got != "e62ce07107e19a6ab0d887ef738a900236d30808c6abacdf29d48ee3a0633030" || !s.From.IsZero() || s.Swapped || s.Guessed {
		t.Errorf("it leads from %s to %s, swapped %v, guessed %v", s.From, got, s.Swapped, s.Guessed)
	}
	if again := s.Encode(); !bytes.Equal(again, data) {
		t.Error("decoded and encoded it has other bytes")
	}
	path := filepath.Join(t.TempDir(), "delta")
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, mode := range modes {
		r := newRepo(t, mode)
		id, err := delta.Apply(ctx, r, path, delta.ApplyOptions{})
		if err != nil || id != s.To {
			t.Errorf("%s: %s, %v", mode, id, err)
			continue
		}
		if err := setRef(r, id); err != nil {
			t.Fatal(err)
		}
		fsck(t, r)
	}
}

func setRef(r *repo.Repo, id object.ID) error {
	txn, err := r.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = txn.Abort() }()
	if err := txn.SetRef("", "main", id); err != nil {
		return err
	}
	return txn.Commit()
}

// TestApplyStock applies what the original program generates, from something and from nothing, in both byte orders, as
// files and inline, into every mode.
func TestApplyStock(t *testing.T) {
	r, a, b := twoCommits(t)
	for _, c := range []struct {
		name  string
		empty bool
		args  []string
	}{
		{"from A", false, []string{"--from=" + a.String()}},
		{"from nothing", true, []string{"--empty"}},
		{"big-endian", false, []string{"--from=" + a.String(), "--set-endianness=B"}},
		{"inline", false, []string{"--from=" + a.String(), "--inline"}},
		{"several parts", false, []string{"--from=" + a.String(), "--max-chunk-size=1", "--min-fallback-size=0"}},
		{"without bsdiff", false, []string{"--from=" + a.String(), "--disable-bsdiff"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			stock(t, append([]string{"--repo=" + r.Path(), "static-delta", "generate", "--to=" + b.String()}, c.args...)...)
			from := a
			if c.empty {
				from = object.ID{}
			}
			dir := filepath.Join(r.Path(), delta.Dir(from, b))
			for _, mode := range modes {
				var dst *repo.Repo
				if c.empty {
					dst = newRepo(t, mode)
				} else {
					dst = clone(t, r, mode, a)
				}
				id, err := delta.Apply(ctx, dst, dir, delta.ApplyOptions{})
				if err != nil || id != b {
					t.Fatalf("%s: %s, %v", mode, id, err)
				}
				if err := setRef(dst, id); err != nil {
					t.Fatal(err)
				}
				if partial, err := dst.IsPartial(b); partial || err != nil {
					t.Errorf("%s: partial %v, %v", mode, partial, err)
				}
				fsck(t, dst)
			}
		})
	}
}
