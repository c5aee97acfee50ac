package sign_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"photree/internal/gvariant"
	"photree/repo/sign"
)

// pair returns the texts of a new ed25519 key.
func pair(t testing.TB) (secret, public string) {
	t.Helper()
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(key), base64.StdEncoding.EncodeToString(pub)
}

func write(t testing.TB, path string, lines ...string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestEd25519Vector is the second test of RFC 8032 section 7.1.
func TestEd25519Vector(t *testing.T) {
	const seed = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"
	const pub = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
	const want = "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
	raw, _ := hex.DecodeString(seed + pub)
	s, err := sign.NewSecret(sign.Ed25519, base64.StdEncoding.EncodeToString(raw))
	if err != nil {
		t.Fatal(err)
	}
	sig, err := s.Sign(context.Background(), []byte{0x72})
	if err != nil || hex.EncodeToString(sig) != want {
		t.Errorf("%x, %v", sig, err)
	}
	raw[40] ^= 1
	if _, err := sign.NewSecret(sign.Ed25519, base64.StdEncoding.EncodeToString(raw)); err == nil {
		t.Error("a key whose halves do not fit was taken")
	}
}

func TestEd25519KeySets(t *testing.T) {
	secret, public := pair(t)
	_, other := pair(t)
	s, err := sign.NewSecret(sign.Ed25519, secret)
	if err != nil {
		t.Fatal(err)
	}
	var d gvariant.Dict
	if err := sign.Sign(context.Background(), &d, message, s); err != nil {
		t.Fatal(err)
	}
	sigs := sign.Signatures(d, "ostree.sign.ed25519")
	dir := t.TempDir()
	file := write(t, filepath.Join(dir, "keys"), "# ours", "", other, public)
	write(t, filepath.Join(dir, "sys/trusted.ed25519"), other)
	write(t, filepath.Join(dir, "sys/trusted.ed25519.d/mine"), public)
	write(t, filepath.Join(dir, "rev/trusted.ed25519"), public)
	write(t, filepath.Join(dir, "rev/revoked.ed25519.d/mine"), public)
	write(t, filepath.Join(dir, "bad/trusted.ed25519"), "garbage")
	inline := func(keys ...string) func(*sign.KeySet) error {
		return func(k *sign.KeySet) error {
			for _, key := range keys {
				if err := k.Add(key); err != nil {
					return err
				}
			}
			return nil
		}
	}
	dirs := func(name string) func(*sign.KeySet) error {
		return func(k *sign.KeySet) error {
			if err := k.AddDirs(filepath.Join(dir, name)); err != nil {
				return err
			}
			return k.RemoveRevoked(filepath.Join(dir, name))
		}
	}
	for _, row := range []struct {
		why  string
		keys func(*sign.KeySet) error
		data []byte
		sigs [][]byte
		want string
	}{
		{"the key", inline(public), message, sigs, ""},
		{"one of several", inline(other, public, other), message, sigs, ""},
		{"one of a file", func(k *sign.KeySet) error { return k.AddFile(file) }, message, sigs, ""},
		{"one of the system", dirs("sys"), message, sigs, ""},
		{"one good signature is enough", inline(public), message, [][]byte{make([]byte, 64), {}, sigs[0]}, ""},
		{"revoked", dirs("rev"), message, sigs, "no keys loaded"},
		{"no keys", dirs("none"), message, sigs, "no keys loaded"},
		{"another key", inline(other), message, sigs, "ed25519: Signature couldn't be verified with: key '"},
		{"other keys", inline(other, other), message, sigs, "ed25519: Signature couldn't be verified; tried 2 keys"},
		{"something else", inline(public), []byte("else"), sigs, "couldn't be verified"},
		{"no signature", inline(public), message, nil, "ed25519: commit have no signatures of my type"},
		{"a short signature", inline(public), message, [][]byte{sigs[0][:63]}, "couldn't be verified"},
		{"no key at all", inline("abc"), message, sigs, "not an ed25519 public key"},
		{"garbage of the system", dirs("bad"), message, sigs, "not an ed25519 public key"},
		{"a file that is not there", func(k *sign.KeySet) error { return k.AddFile(dir + "/none") }, message, sigs, "none"},
		{"a directory", func(k *sign.KeySet) error { return k.AddFile(dir) }, message, sigs, "directory"},
	} {
		set := &sign.KeySet{Type: sign.Ed25519}
		err := row.keys(set)
		var good sign.Match
		if err == nil {
			good, err = set.Verify(row.data, row.sigs)
		}
		switch {
		case row.want == "" && (err != nil || !strings.HasPrefix(good.String(), "ed25519: Signature verified successfully with key '")):
			t.Errorf("%s: %v, %v", row.why, good, err)
		case row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)):
			t.Errorf("%s: %v, %v; want a message with %q", row.why, good, err, row.want)
		}
	}
}

// TestSPKIIsOpenSSLs signs with OpenSSL and verifies here, and the reverse, with each algorithm.
func TestSPKIIsOpenSSLs(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Fatal("this test compares with OpenSSL: install the package openssl")
	}
	dir := t.TempDir()
	openssl := func(args ...string) []byte {
		t.Helper()
		cmd := exec.Command("openssl", args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("openssl %v: %v\n%s", args, err, out)
		}
		return out
	}
	write(t, filepath.Join(dir, "message"), strings.TrimSuffix(string(message), "\n"))
	for name, args := range map[string][]string{
		"ed25519": {"-algorithm", "ed25519"},
		"ed448":   {"-algorithm", "ed448"},
		"rsa":     {"-algorithm", "rsa", "-pkeyopt", "rsa_keygen_bits:2048"},
		"p256":    {"-algorithm", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"},
		"p384":    {"-algorithm", "ec", "-pkeyopt", "ec_paramgen_curve:P-384"},
	} {
		t.Run(name, func(t *testing.T) {
			openssl(append([]string{"genpkey", "-out", name + ".key"}, args...)...)
			openssl("pkey", "-in", name+".key", "-pubout", "-out", name+".pub")
			der := openssl("pkey", "-in", name+".key", "-pubout", "-outform", "DER")
			set := &sign.KeySet{Type: sign.SPKI}
			if err := set.AddFile(filepath.Join(dir, name+".pub")); err != nil {
				t.Fatal(err)
			}
			how := []string{"-rawin"} // signs the message itself, with SHA-256 where a digest is needed
			if name != "ed25519" && name != "ed448" {
				how = append(how, "-digest", "sha256")
			}
			openssl(append([]string{"pkeyutl", "-sign", "-inkey", name + ".key", "-in", "message", "-out", "sig"}, how...)...)
			theirs, err := os.ReadFile(filepath.Join(dir, "sig"))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := set.Verify(message, [][]byte{theirs}); err != nil {
				t.Error(err)
			}
			if _, err := set.Verify([]byte("else"), [][]byte{theirs}); err == nil {
				t.Error("a good signature of something else")
			}
			inline := &sign.KeySet{Type: sign.SPKI}
			if err := inline.Add(base64.StdEncoding.EncodeToString(der)); err != nil {
				t.Fatal(err)
			}
			signers, err := sign.LoadSecrets(sign.SPKI, filepath.Join(dir, name+".key"))
			if err != nil {
				t.Fatal(err)
			}
			ours, err := signers[0].Sign(context.Background(), message)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := inline.Verify(message, [][]byte{ours}); err != nil {
				t.Error(err)
			}
			write(t, filepath.Join(dir, "ours"))
			if err := os.WriteFile(filepath.Join(dir, "ours"), ours, 0o644); err != nil {
				t.Fatal(err)
			}
			out := openssl(append([]string{"pkeyutl", "-verify", "-pubin", "-inkey", name + ".pub", "-in", "message", "-sigfile", "ours"}, how...)...)
			if !bytes.Contains(out, []byte("Signature Verified Successfully")) {
				t.Errorf("openssl: %s", out)
			}
		})
	}
	openssl("genpkey", "-out", "weak.key", "-algorithm", "rsa", "-pkeyopt", "rsa_keygen_bits:1024")
	openssl("pkey", "-in", "weak.key", "-pubout", "-out", "weak.pub")
	openssl("genpkey", "-out", "x.key", "-algorithm", "x25519")
	openssl("pkey", "-in", "x.key", "-pubout", "-out", "x.pub")
	for file, want := range map[string]string{"weak.pub": "too weak", "x.pub": "cannot verify signatures", "x.key": "PUBLIC KEY is needed"} {
		set := &sign.KeySet{Type: sign.SPKI}
		if err := set.AddFile(filepath.Join(dir, file)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want a message with %q", file, err, want)
		}
	}
}

func TestDummyNeedsTheEnvironment(t *testing.T) {
	s, err := sign.NewSecret(sign.Dummy, "key")
	if err != nil {
		t.Fatal(err)
	}
	set := &sign.KeySet{Type: sign.Dummy}
	if err := set.Add("key"); err != nil {
		t.Fatal(err)
	}
	for _, env := range []string{"", "1"} {
		t.Setenv("OSTREE_DUMMY_SIGN_ENABLED", env)
		_, err1 := s.Sign(context.Background(), message)
		_, err2 := set.Verify(message, [][]byte{[]byte("key")})
		if (err1 == nil) != (env != "") || (err2 == nil) != (env != "") {
			t.Errorf("OSTREE_DUMMY_SIGN_ENABLED=%s: %v, %v", env, err1, err2)
		}
	}
}

func TestUnknownType(t *testing.T) {
	for _, typ := range []string{"", "rsa", "../x"} {
		if err := sign.CheckType(typ); err == nil || !strings.Contains(err.Error(), "Requested signature type is not implemented") {
			t.Errorf("%q: %v", typ, err)
		}
	}
}

func FuzzKeys(f *testing.F) {
	_, public := pair(f)
	f.Add(sign.Ed25519, public, []byte("x"))
	f.Add(sign.SPKI, "MCowBQYDK2VwAyEA"+public[:43], make([]byte, 64))
	f.Add(sign.SPKI, "-----BEGIN PUBLIC KEY-----\nMCow\n-----END PUBLIC KEY-----\n", []byte{})
	f.Fuzz(func(t *testing.T, typ, text string, sig []byte) {
		set := &sign.KeySet{Type: typ}
		if set.Add(text) == nil && typ != sign.Dummy {
			if _, err := set.Verify(message, [][]byte{sig}); err == nil {
				t.Errorf("a signature out of nothing: %s", fmt.Sprint(typ, text))
			}
		}
		_, _ = sign.NewSecret(typ, text)
	})
}
