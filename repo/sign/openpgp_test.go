package sign_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"photree/repo/sign"
)

// gnupg is a GnuPG home. gpg is not what is tested here, but the one that others sign with.
type gnupg struct {
	t    testing.TB
	home string
}

func newGnuPG(t testing.TB) *gnupg {
	t.Helper()
	if _, err := exec.LookPath("gpg"); err != nil {
		t.Fatal("these tests verify what gpg signs: install the package gnupg")
	}
	// The sockets of the agent stand in the home, and their names must be short.
	home, err := os.MkdirTemp("/tmp", "gpg")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = exec.Command("gpgconf", "--homedir", home, "--kill", "all").Run()
		os.RemoveAll(home)
	})
	return &gnupg{t, home}
}

func (g *gnupg) run(stdin []byte, args ...string) []byte {
	g.t.Helper()
	cmd := exec.Command("gpg", append([]string{"--homedir", g.home, "--batch", "--quiet", "--yes", "--passphrase", ""}, args...)...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &out, &errs
	if err := cmd.Run(); err != nil {
		g.t.Fatalf("gpg %v: %v\n%s", args, err, errs.String())
	}
	return out.Bytes()
}

// key makes a key and returns its fingerprint.
func (g *gnupg) key(user, algorithm string, more ...string) string {
	g.t.Helper()
	g.run(nil, append(more, "--quick-gen-key", user, algorithm, "sign", "never")...)
	return g.fingerprint(user)
}

func (g *gnupg) fingerprint(user string) string {
	out := string(g.run(nil, "--with-colons", "--list-secret-keys", user))
	m := regexp.MustCompile(`(?m)^fpr:+([0-9A-F]+):`).FindAllStringSubmatch(out, -1)
	return m[len(m)-1][1]
}

func (g *gnupg) export(users ...string) []byte {
	return g.run(nil, append([]string{"--export"}, users...)...)
}

func (g *gnupg) sign(data []byte, user string, more ...string) []byte {
	return g.run(data, append(append([]string{"--local-user", user}, more...), "--detach-sign")...)
}

func parse(t testing.TB, data []byte) *sign.Ring {
	t.Helper()
	r, err := sign.ParseRing(data)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

var message = []byte("a commit\n")

func TestOpenPGPSignaturesOfEachKindOfKey(t *testing.T) {
	g := newGnuPG(t)
	for _, algorithm := range []string{"rsa2048", "ed25519", "nistp256"} {
		user := algorithm + " <" + algorithm + "@example.org>"
		g.key(user, algorithm)
		ring := parse(t, g.export(algorithm))
		for _, more := range [][]string{nil, {"--digest-algo", "SHA512"}, {"--textmode"}} {
			sig := g.sign(message, algorithm, more...)
			if who, err := ring.Verify(message, [][]byte{sig}).Good(); err != nil || !strings.HasSuffix(who, user) {
				t.Errorf("%s %v: %q, %v", algorithm, more, who, err)
			}
			if _, err := ring.Verify(append([]byte("x"), message...), [][]byte{sig}).Good(); err == nil {
				t.Errorf("%s %v: a good signature of something else", algorithm, more)
			}
			for i := len(sig) - 30; i < len(sig); i++ { // the number itself
				bad := bytes.Clone(sig)
				bad[i] ^= 4
				if _, err := ring.Verify(message, [][]byte{bad}).Good(); err == nil {
					t.Errorf("%s %v: still good with byte %d changed", algorithm, more, i)
				}
			}
		}
	}
}

// TestOpenPGPRefusals has a row for each reason why a signature by a key that was trusted is not.
func TestOpenPGPRefusals(t *testing.T) {
	g := newGnuPG(t)
	const past = "20200101T000000!"
	alice := g.key("Alice <alice@example.org>", "ed25519")
	g.run(nil, "--faked-system-time", past, "--quick-gen-key", "Old <old@example.org>", "ed25519", "sign", "1y")
	old := g.sign(message, "Old", "--faked-system-time", past)
	revoked := g.key("Gone <gone@example.org>", "ed25519")
	before := g.sign(message, "Gone")
	certificate, err := os.ReadFile(filepath.Join(g.home, "openpgp-revocs.d", revoked+".rev"))
	if err != nil {
		t.Fatal(err)
	}
	g.run(bytes.Replace(certificate, []byte(":-----BEGIN"), []byte("-----BEGIN"), 1), "--import")
	g.key("Bob <bob@example.org>", "ed25519")
	bob := g.sign(message, "Bob")
	g.key("Brief <brief@example.org>", "ed25519", "--faked-system-time", past)
	brief := g.sign(message, "Brief", "--faked-system-time", past, "--default-sig-expire", "1d")
	ring := parse(t, g.export("Alice", "Old", "Gone", "Brief"))
	good := g.sign(message, "Alice")
	for _, row := range []struct {
		why  string
		sigs [][]byte
		want string
	}{
		{"one good signature is enough", [][]byte{old, bob, good, before}, ""},
		{"also in one file", [][]byte{bytes.Join([][]byte{old, bob, good}, nil)}, ""},
		{"there is none", nil, "GPG verification enabled, but no signatures found"},
		{"it is garbage", [][]byte{[]byte("borkborkbork")}, "no signatures found"},
		{"it is cut off", [][]byte{good[:len(good)/2]}, "no signatures found"},
		{"the key is not known", [][]byte{bob}, "Can't check signature: public key not found"},
		{"the key has expired since", [][]byte{old}, "BAD signature from \"Old <old@example.org>\"\nKey expired "},
		{"the key was revoked since", [][]byte{before}, "BAD signature from \"Gone <gone@example.org>\"\nKey revoked"},
		{"the signature has expired", [][]byte{brief}, "Expired signature from \"Brief <brief@example.org>\"\nSignature expired Thu Jan  2"},
		{"the digest is weak", [][]byte{g.sign(message, "Alice", "--digest-algo", "SHA1")}, "too weak (SHA-1)"},
		{"it is a key, not a signature", [][]byte{g.export("Alice")}, "It is not a signature of a document"},
		{"it is of something else", [][]byte{g.sign([]byte("else"), "Alice")}, "BAD signature from \"Alice <alice@example.org>\""},
		{"it is not of a document", [][]byte{g.run(message, "--local-user", "Alice", "--clearsign")}, "no signatures found"},
	} {
		who, err := ring.Verify(message, row.sigs).Good()
		switch {
		case row.want == "" && (err != nil || !strings.HasPrefix(who, alice)):
			t.Errorf("%s: %q, %v", row.why, who, err)
		case row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)):
			t.Errorf("%s: %q, %v; want a message with %q", row.why, who, err, row.want)
		}
	}
}

func TestSubkeysAndTheirExpiry(t *testing.T) {
	g := newGnuPG(t)
	primary := g.key("Alice <alice@example.org>", "ed25519")
	g.run(nil, "--quick-add-key", primary, "ed25519", "sign", "never")
	sig := g.sign(message, "Alice")
	full := g.export("Alice")
	report := parse(t, full).Verify(message, [][]byte{sig})
	if len(report) != 1 || !report[0].Valid() || report[0].Primary != primary || report[0].Fingerprint == primary {
		t.Fatalf("%+v", report)
	}
	for _, id := range []string{primary, primary[24:], report[0].Fingerprint, strings.ToLower(report[0].KeyID), "0x" + primary[32:]} {
		if !report[0].Matches(id) {
			t.Errorf("it does not match %s", id)
		}
	}
	if report[0].Matches("") || report[0].Matches("ABCD") || report[0].Matches("0000000000000000") {
		t.Error("it matches anything")
	}
	// Without the subkey the signature is one of an unknown key.
	minimal := g.run(nil, "--export-filter", "drop-subkey=expired -f || key_algo == 22", "--export", "Alice")
	if _, err := parse(t, minimal).Verify(message, [][]byte{sig}).Good(); err == nil || !strings.Contains(err.Error(), "public key not found") {
		t.Errorf("without the subkey: %v", err)
	}
}

func TestMergeKeepsRevocationsAndTakesNewExpiry(t *testing.T) {
	g := newGnuPG(t)
	alice := g.key("Alice <alice@example.org>", "ed25519")
	g.key("Bob <bob@example.org>", "ed25519")
	sig := g.sign(message, "Alice")
	fresh, both := g.export("Alice"), g.run(nil, "--armor", "--export", "Alice")
	both = append(both, g.run(nil, "--armor", "--export", "Bob")...)

	ring, n, err := sign.Merge(nil, both)
	if err != nil || n != 2 || parse(t, ring).Len() != 2 {
		t.Fatalf("two armoured blocks: %d keys, %v", n, err)
	}
	again, n, err := sign.Merge(ring, both)
	if err != nil || n != 0 || !bytes.Equal(again, ring) {
		t.Errorf("the same again: %d new keys, %v", n, err)
	}
	one, n, err := sign.Merge(nil, both, alice[24:])
	if err != nil || n != 1 || parse(t, one).Keys()[0].Fingerprint != alice {
		t.Errorf("one of them by its ID: %d keys, %v", n, err)
	}
	if _, _, err := sign.Merge(nil, both, "0123456789ABCDEF"); err == nil {
		t.Error("a key that is not there was imported")
	}
	for _, bad := range []string{"", "garbage", "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nabc", "-----BEGIN PGP PRIVATE KEY BLOCK-----\n"} {
		if _, _, err := sign.Merge(ring, []byte(bad)); err == nil {
			t.Errorf("%q was taken for keys", bad)
		}
	}
	if _, _, err := sign.Merge(nil, g.run(nil, "--export-secret-keys", "Alice")); err == nil {
		t.Error("a secret key was taken for a public one")
	}

	certificate, err := os.ReadFile(filepath.Join(g.home, "openpgp-revocs.d", alice+".rev"))
	if err != nil {
		t.Fatal(err)
	}
	g.run(bytes.Replace(certificate, []byte(":-----BEGIN"), []byte("-----BEGIN"), 1), "--import")
	dead, _, err := sign.Merge(ring, g.export("Alice"))
	if err != nil {
		t.Fatal(err)
	}
	if dead, _, err = sign.Merge(dead, fresh); err != nil { // an old copy does not bring it back
		t.Fatal(err)
	}
	for _, k := range parse(t, dead).Keys() {
		if k.Revoked != (k.Fingerprint == alice) {
			t.Errorf("key %s: revoked is %v", k.Fingerprint, k.Revoked)
		}
	}
	if _, err := parse(t, dead).Verify(message, [][]byte{sig}).Good(); err == nil || !strings.Contains(err.Error(), "Key revoked") {
		t.Errorf("a revoked key: %v", err)
	}
}

func TestLoadRing(t *testing.T) {
	g := newGnuPG(t)
	g.key("Alice <alice@example.org>", "ed25519")
	g.key("Bob <bob@example.org>", "ed25519")
	dir := t.TempDir()
	write := func(name string, data []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("alice.gpg", g.export("Alice"))
	write("bob.asc", g.run(nil, "--armor", "--export", "Bob"))
	write("README", []byte("not a key"))
	write("secring.gpg", g.run(nil, "--export-secret-keys", "Bob"))
	write("empty.gpg", nil)
	if r, err := sign.LoadRing(dir); err != nil || r.Len() != 2 {
		t.Errorf("a directory: %v", err)
	}
	if _, err := sign.LoadRing(dir, filepath.Join(dir, "none.asc")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	if r, err := sign.LoadHome(g.home); err != nil || r.Len() != 2 {
		t.Errorf("a GnuPG home: %v", err)
	}
	t.Setenv("OSTREE_GPG_HOME", dir)
	if r, err := sign.LoadGlobalRing(); err != nil || r.Len() != 2 {
		t.Errorf("the global ring: %v", err)
	}
	t.Setenv("OSTREE_GPG_HOME", filepath.Join(dir, "none"))
	if r, err := sign.LoadGlobalRing(); err != nil || r.Len() != 0 {
		t.Errorf("no global ring: %v", err)
	}
}

// TestDamagedKeyDoesNotHideOthers: a ring may hold keys that cannot be used.
func TestDamagedKeyDoesNotHideOthers(t *testing.T) {
	g := newGnuPG(t)
	g.key("Alice <alice@example.org>", "ed25519")
	g.key("Bob <bob@example.org>", "ed25519")
	sig, bobs := g.sign(message, "Alice"), g.sign(message, "Bob")
	bob := g.export("Bob")
	bob[len(bob)-1] ^= 1 // the self-signature
	ring := parse(t, append(bob, g.export("Alice")...))
	if _, err := ring.Verify(message, [][]byte{sig}).Good(); err != nil {
		t.Error(err)
	}
	if _, err := ring.Verify(message, [][]byte{bobs}).Good(); err == nil || !strings.Contains(err.Error(), "the public key cannot be used") {
		t.Errorf("signed by the damaged key: %v", err)
	}
}

func TestSignWithGPG(t *testing.T) {
	g := newGnuPG(t)
	g.key("Alice <alice@example.org>", "ed25519")
	ctx := context.Background()
	s := sign.NewGPG(g.home, "alice@example.org")
	sig, err := s.Sign(ctx, message)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parse(t, g.export()).Verify(message, [][]byte{sig}).Good(); err != nil {
		t.Error(err)
	}
	if by, err := sign.SignedBy(ctx, s, [][]byte{sig}); err != nil || !by {
		t.Errorf("signed by the key: %v, %v", by, err)
	}
	_, err = sign.NewGPG(g.home, "1234567812345678").Sign(ctx, message)
	if err == nil || !strings.Contains(err.Error(), "No gpg key found with ID 1234567812345678 (homedir: "+g.home+")") {
		t.Errorf("an unknown key: %v", err)
	}
	t.Setenv("PATH", t.TempDir())
	if _, err = s.Sign(ctx, message); err == nil || !strings.Contains(err.Error(), "install gnupg") {
		t.Errorf("without gpg: %v", err)
	}
}

func FuzzRing(f *testing.F) {
	g := newGnuPG(f)
	g.key("Alice <alice@example.org>", "ed25519")
	g.key("Bob <bob@example.org>", "rsa2048")
	f.Add(g.export(), g.sign(message, "Alice"))
	f.Add(g.run(nil, "--armor", "--export", "Bob"), g.sign(message, "Bob"))
	f.Add([]byte("\xc6\xff\xff\xff\xff\xff"), []byte("\xc2\xff\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, keys, sig []byte) {
		ring, err := sign.ParseRing(keys)
		if err != nil {
			return
		}
		for _, s := range ring.Verify(message, [][]byte{sig}) {
			_, _ = io.WriteString(io.Discard, s.Describe("")+s.Who())
		}
		for _, k := range ring.Keys() {
			_ = k.Fingerprint
		}
		if merged, _, err := sign.Merge(nil, keys); err == nil {
			if again, n, err := sign.Merge(merged, keys); err != nil || n != 0 || !bytes.Equal(again, merged) {
				t.Errorf("merged twice: %d new keys, %v", n, err)
			}
		}
	})
}
