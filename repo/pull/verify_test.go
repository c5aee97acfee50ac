package pull_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"photree/internal/gvariant"
	"photree/repo"
	"photree/repo/object"
	"photree/repo/pull"
	"photree/repo/serve"
	"photree/repo/tree"

	"github.com/ProtonMail/go-crypto/openpgp"
)

// signer is someone who signs commits.
type signer struct {
	t   *testing.T
	gpg *openpgp.Entity
	pub ed25519.PublicKey
	key ed25519.PrivateKey
}

func newSigner(t *testing.T, name string) *signer {
	t.Helper()
	e, err := openpgp.NewEntity(name, "", name+"@example.com", nil)
	if err != nil {
		t.Fatal(err)
	}
	pub, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &signer{t, e, pub, key}
}

// publicKey returns the OpenPGP key as a key ring.
func (s *signer) publicKey() []byte {
	var b bytes.Buffer
	if err := s.gpg.Serialize(&b); err != nil {
		s.t.Fatal(err)
	}
	return b.Bytes()
}

// signature returns detached metadata with signatures of data.
func (s *signer) signature(data []byte, gpg, ed bool) gvariant.Dict {
	var d gvariant.Dict
	if gpg {
		var b bytes.Buffer
		if err := openpgp.DetachSign(&b, s.gpg, bytes.NewReader(data), nil); err != nil {
			s.t.Fatal(err)
		}
		d.Set("ostree.gpgsigs", gvariant.Array("ay", gvariant.Bytes(b.Bytes())))
	}
	if ed {
		d.Set("ostree.sign.ed25519", gvariant.Array("ay", gvariant.Bytes(ed25519.Sign(s.key, data))))
	}
	return d
}

// sign gives a commit signatures.
func (s *signer) sign(r *repo.Repo, id object.ID, gpg, ed bool) {
	data, err := r.LoadMetadata(object.Name{ID: id, Kind: object.KindCommit})
	if err != nil {
		s.t.Fatal(err)
	}
	txn, err := r.Begin(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	if err := txn.SetDetachedMetadata(id, s.signature(data, gpg, ed)); err != nil {
		s.t.Fatal(err)
	}
	if err := txn.Commit(); err != nil {
		s.t.Fatal(err)
	}
}

func (s *signer) ed25519Key() string { return base64.StdEncoding.EncodeToString(s.pub) }

// TestSignatures attacks R7: nothing that is not signed as the remote asks may get in.
func TestSignatures(t *testing.T) {
	alice, mallory := newSigner(t, "alice"), newSigner(t, "mallory")
	src := newRepo(t, repo.ModeArchive)
	refs := map[string]func(id object.ID){
		"unsigned":   func(object.ID) {},
		"gpg":        func(id object.ID) { alice.sign(src, id, true, false) },
		"ed25519":    func(id object.ID) { alice.sign(src, id, false, true) },
		"both":       func(id object.ID) { alice.sign(src, id, true, true) },
		"by-mallory": func(id object.ID) { mallory.sign(src, id, true, true) },
		"of-another": func(id object.ID) {
			txn, _ := src.Begin(t.Context())
			txn.SetDetachedMetadata(id, alice.signature([]byte("another commit"), true, true))
			if err := txn.Commit(); err != nil {
				t.Fatal(err)
			}
		},
	}
	for ref, sign := range refs {
		sign(commit(t, src, ref, map[string]string{"f": ref}, tree.CommitOptions{}))
	}
	url := serving(t, serve.Handler(src.Path()))
	gpg := []repo.Option{{Key: "gpg-verify", Value: "true"}}
	ed := []repo.Option{{Key: "gpg-verify", Value: "false"}, {Key: "sign-verify", Value: "true"}, {Key: "verification-ed25519-key", Value: alice.ed25519Key()}}
	keyFile := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(keyFile, []byte(mallory.ed25519Key()+"\n"+alice.ed25519Key()+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		why     string
		options []repo.Option
		ref     string
		message string // empty: it is pulled
	}{
		{"GPG asked for and given", gpg, "gpg", ""},
		{"GPG asked for, both given", gpg, "both", ""},
		{"GPG asked for, nothing given", gpg, "unsigned", "GPG verification enabled, but no signatures found"},
		{"GPG asked for, the other kind given", gpg, "ed25519", "no signatures found"},
		{"GPG by somebody else", gpg, "by-mallory", "Can't check signature: public key not found"},
		{"GPG over something else", gpg, "of-another", "BAD signature from"},
		{"ed25519 asked for and given", ed, "ed25519", ""},
		{"ed25519 asked for, nothing given", ed, "unsigned", "ed25519: commit have no signatures of my type"},
		{"ed25519 by somebody else", ed, "by-mallory", "Signature couldn't be verified"},
		{"ed25519 over something else", ed, "of-another", "Signature couldn't be verified"},
		{"ed25519 by one of the keys in a file", []repo.Option{{Key: "gpg-verify", Value: "false"}, {Key: "sign-verify", Value: "ed25519"},
			{Key: "verification-ed25519-file", Value: keyFile}}, "by-mallory", ""},
		{"both asked for and given", []repo.Option{gpg[0], ed[1], ed[2]}, "both", ""},
		{"both asked for, GPG given", []repo.Option{gpg[0], ed[1], ed[2]}, "gpg", "ed25519: commit have no signatures of my type"},
		{"both asked for, ed25519 given", []repo.Option{gpg[0], ed[1], ed[2]}, "ed25519", "no signatures found"},
		{"nothing asked for", []repo.Option{{Key: "gpg-verify", Value: "false"}}, "unsigned", ""},
		{"a kind of signature that is not known", []repo.Option{{Key: "sign-verify", Value: "pkcs7"}}, "both", "Requested signature type is not implemented"},
		{"a key that is none", []repo.Option{{Key: "gpg-verify", Value: "false"}, {Key: "sign-verify", Value: "true"}, {Key: "verification-ed25519-key", Value: "abc"}}, "both", "not an ed25519 public key"},
	} {
		t.Run(row.why, func(t *testing.T) {
			dst := newRepo(t, repo.ModeBareUser)
			if err := dst.AddRemote(repo.Remote{Name: "origin", Options: append([]repo.Option{{Key: "url", Value: url}}, row.options...)}, true); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dst.Path(), "origin.trustedkeys.gpg"), alice.publicKey(), 0o644); err != nil {
				t.Fatal(err)
			}
			before := snapshot(t, dst.Path())
			res, err := pull.Pull(t.Context(), dst, quick(pull.Options{Refs: []string{row.ref}}))
			if row.message == "" {
				if err != nil {
					t.Fatal(err)
				}
				if row.why == "GPG asked for and given" && (len(res.Refs[0].SignaturesBy) != 1 || !strings.Contains(res.Refs[0].SignaturesBy[0], "alice")) {
					t.Errorf("signed by %q", res.Refs[0].SignaturesBy)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), row.message) {
				t.Errorf("%v; want a message with %q", err, row.message)
			}
			for name := range snapshot(t, dst.Path()) {
				if !before[name] {
					t.Errorf("left behind: %s", name)
				}
			}
		})
	}
}

func TestSignedSummary(t *testing.T) {
	alice, mallory := newSigner(t, "alice"), newSigner(t, "mallory")
	for _, row := range []struct {
		why     string
		sign    func(summary []byte) gvariant.Dict
		message string
	}{
		{"a good signature", func(b []byte) gvariant.Dict { return alice.signature(b, true, false) }, ""},
		{"none", func([]byte) gvariant.Dict { return nil }, "no signatures found"},
		{"by somebody else", func(b []byte) gvariant.Dict { return mallory.signature(b, true, false) }, "public key not found"},
		{"of an older summary", func([]byte) gvariant.Dict { return alice.signature([]byte("old"), true, false) }, "BAD signature"},
	} {
		t.Run(row.why, func(t *testing.T) {
			src, dst := newRepo(t, repo.ModeArchive), newRepo(t, repo.ModeBareUser)
			id := commit(t, src, "main", map[string]string{"f": "1"}, tree.CommitOptions{})
			if err := src.UpdateSummary(t.Context(), repo.SummaryOptions{}); err != nil {
				t.Fatal(err)
			}
			data, err := os.ReadFile(filepath.Join(src.Path(), "summary"))
			if err != nil {
				t.Fatal(err)
			}
			if sig := row.sign(data); sig != nil {
				if err := os.WriteFile(filepath.Join(src.Path(), "summary.sig"), sig.Value().Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			addRemote(t, dst, serving(t, serve.Handler(src.Path())), repo.Option{Key: "gpg-verify-summary", Value: "true"})
			if err := os.WriteFile(filepath.Join(dst.Path(), "origin.trustedkeys.gpg"), alice.publicKey(), 0o644); err != nil {
				t.Fatal(err)
			}
			_, err = pull.Pull(t.Context(), dst, quick(pull.Options{Refs: []string{"main"}}))
			if row.message == "" {
				if err != nil {
					t.Fatal(err)
				}
				wantRef(t, dst, "origin", "main", id)
				return
			}
			if err == nil || !strings.Contains(err.Error(), row.message) {
				t.Errorf("%v; want a message with %q", err, row.message)
			}
		})
	}
}

// TestSummaryReplacedBetweenRequests has a server that publishes a new summary after a client has fetched the old
// signature: no attack, and no reason to fail.
func TestSummaryReplacedBetweenRequests(t *testing.T) {
	alice := newSigner(t, "alice")
	src := newRepo(t, repo.ModeArchive)
	publish := func(ref string) []byte {
		t.Helper()
		commit(t, src, ref, map[string]string{"f": ref}, tree.CommitOptions{})
		err := src.UpdateSummary(t.Context(), repo.SummaryOptions{Sign: func(data []byte) (gvariant.Dict, error) {
			return alice.signature(data, true, true), nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		_, signatures, err := src.LoadSummaryFiles()
		if err != nil {
			t.Fatal(err)
		}
		return signatures
	}
	old := publish("a")
	publish("b")
	for _, row := range []struct {
		stale int32
		good  bool
	}{{1, true}, {3, true}, {1000, false}} {
		var asked atomic.Int32
		files := serve.Handler(src.Path())
		url := serving(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/summary.sig") && asked.Add(1) <= row.stale {
				w.Write(old)
				return
			}
			files.ServeHTTP(w, r)
		}))
		dst := newRepo(t, repo.ModeArchive)
		addRemote(t, dst, url, repo.Option{Key: "gpg-verify-summary", Value: "true"}, repo.Option{Key: "sign-verify-summary", Value: "ed25519"},
			repo.Option{Key: "verification-ed25519-key", Value: alice.ed25519Key()})
		if err := os.WriteFile(filepath.Join(dst.Path(), "origin.trustedkeys.gpg"), alice.publicKey(), 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := pull.Pull(t.Context(), dst, quick(pull.Options{Refs: []string{"b"}}))
		if (err == nil) != row.good {
			t.Errorf("the first %d signatures are old ones: %v", row.stale, err)
		}
	}
}
