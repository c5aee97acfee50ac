package repo_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp"

	"photree/internal/gvariant"
	"photree/repo"
)

// summarySigner signs summaries, and is trusted by stock ostree in the directory ring.
type summarySigner struct {
	key  *openpgp.Entity
	ring string
}

func newSummarySigner(t *testing.T) *summarySigner {
	t.Helper()
	key, err := openpgp.NewEntity("alice", "", "alice@example.org", nil)
	check(t, err)
	var b bytes.Buffer
	check(t, key.Serialize(&b))
	s := &summarySigner{key, t.TempDir()}
	check(t, os.WriteFile(filepath.Join(s.ring, "alice.gpg"), b.Bytes(), 0o644))
	return s
}

func (s *summarySigner) sign(summary []byte) (gvariant.Dict, error) {
	var b bytes.Buffer
	err := openpgp.DetachSign(&b, s.key, bytes.NewReader(summary), nil)
	var d gvariant.Dict
	d.Set("ostree.gpgsigs", gvariant.Array("ay", gvariant.Bytes(b.Bytes())))
	return d, err
}

// good tells whether one of the signatures in a file fits a summary.
func (s *summarySigner) good(summary, file []byte) bool {
	v, err := gvariant.Parse("a{sv}", file)
	if err != nil || len(file) == 0 {
		return false
	}
	d := v.Dict()
	sigs, _ := d.Get("ostree.gpgsigs")
	if sigs.Type() == "v" {
		sigs = sigs.Variant()
	}
	for i := range sigs.Len() {
		if _, err := openpgp.CheckDetachedSignature(openpgp.EntityList{s.key}, bytes.NewReader(summary),
			bytes.NewReader(sigs.Index(i).ByteSlice()), nil); err == nil {
			return true
		}
	}
	return false
}

// TestSummaryIsNeverBesideAnotherSignature stops the publication of a signed summary behind each step. The two files
// that a reader then finds must fit; for stock ostree too, but for the moment in which GnuPG sees an old signature first.
func TestSummaryIsNeverBesideAnotherSignature(t *testing.T) {
	t.Setenv("OSTREE_SKIP_CACHE", "1")
	s := newSummarySigner(t)
	t.Setenv("OSTREE_GPG_HOME", s.ring)
	ctx := context.Background()
	for n := range 5 {
		const joint = 3
		t.Run(fmt.Sprintf("after step %d", n), func(t *testing.T) {
			r := newRepo(t, repo.ModeArchive)
			commit(t, r, t.TempDir(), "first")
			check(t, r.UpdateSummary(ctx, repo.SummaryOptions{Sign: s.sign}))
			commit(t, r, t.TempDir(), "second")
			check(t, r.StopSummaryAfter(repo.SummaryOptions{Sign: s.sign}, n))
			fits := func(why string) {
				t.Helper()
				summary, signatures, err := r.LoadSummaryFiles()
				check(t, err)
				if !s.good(summary, signatures) {
					t.Errorf("%s: the signature is that of another summary", why)
				}
				if why == "stopped" && n == joint {
					return
				}
				client := newRepo(t, repo.ModeArchive)
				ostree(t, "--repo="+client.Path(), "remote", "add", "--set=gpg-verify=false", "--set=gpg-verify-summary=true", "o", "file://"+r.Path())
				ostree(t, "--repo="+client.Path(), "pull", "o", "first")
			}
			fits("stopped")
			check(t, r.UpdateSummary(ctx, repo.SummaryOptions{Sign: s.sign}))
			fits("done again")
			_, signatures, err := r.LoadSummaryFiles()
			check(t, err)
			if v, err := gvariant.Parse("a{sv}", signatures); err != nil || v.Dict()[0].Value.Len() != 1 && v.Dict()[0].Value.Variant().Len() != 1 {
				t.Errorf("old signatures stay: %v", err)
			}
			check(t, r.UpdateSummary(ctx, repo.SummaryOptions{}))
			if _, signatures, err := r.LoadSummaryFiles(); err != nil || signatures != nil {
				t.Errorf("an unsigned summary has signatures: %v", err)
			}
		})
	}
}
