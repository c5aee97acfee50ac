package rpm

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// testNow is when these tests are: the keys of the real packages have not
// expired then.
var testNow = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// keyring reads files of testdata/signed; none is an empty one.
func keyring(t *testing.T, names ...string) *Keyring {
	t.Helper()
	k := &Keyring{now: func() time.Time { return testNow }}
	for _, n := range names {
		data, err := os.ReadFile(filepath.Join("testdata/signed", n))
		if err == nil {
			err = k.Add(data)
		}
		if err != nil {
			t.Fatalf("%s: %v", n, err)
		}
	}
	return k
}

// expect compares the outcome of a check with the id of a key, or with words of
// the error.
func expect(t *testing.T, what string, by SignedBy, err error, want string) {
	t.Helper()
	switch {
	case err == nil && by.Key != want:
		t.Errorf("%s: signed by %q, want %q", what, by.Key, want)
	case err != nil && (want == "" || !strings.Contains(err.Error(), want)):
		t.Errorf("%s: %v, want %q", what, err, want)
	}
}

// What others have signed: rpm's and rpm-rs's own test packages, and a package
// for Photon 5 with its maker's key.
func TestSignaturesOfOthers(t *testing.T) {
	const rsaTest = "rpm.org-rsa-2048-test.pub"
	for _, c := range []struct{ file, keys, want string }{
		{"php85-8.5.8-1.photon5.x86_64.rpm", "photon-php.asc", "944ff08095823205"}, // a subkey
		{"php85-8.5.8-1.photon5.x86_64.rpm", "VMWARE-RPM-GPG-KEY-4096", "unknown key 944ff08095823205"},
		{"hello-2.0-1.x86_64-signed.rpm", rsaTest, "4344591e1964c5fc"},
		{"hello-2.0-1.x86_64-signed.rpm", "alice.asc", "unknown key 4344591e1964c5fc"},
		{"hello-2.0-1.x86_64-signed.rpm", "alice.asc photon-php.asc " + rsaTest, "4344591e1964c5fc"},
		{"hello-2.0-1.x86_64-v3-signed.rpm", rsaTest, "4344591e1964c5fc"},
		{"hello-2.0-1.x86_64-v3-signed.rpm", "alice.asc", "unknown key 4344591e1964c5fc"},
		{"../hlinktest-1.0-1.noarch-v3sig.rpm", rsaTest, "4344591e1964c5fc"},
		{"hello-2.0-1.x86_64-corrupted.rpm", rsaTest, "the payload SHA-256 digest is"},
		{"hello-2.0-1.x86_64-signed-with-subkey.rpm", "alice.asc", "1f71177215217ee0"},
		{"hello-2.0-1.x86_64-signed-with-subkey.rpm", "alice-expired-subkey.asc", "1f71177215217ee0, but the key has expired"},
		{"hello-2.0-1.x86_64-signed-with-subkey.rpm", "alice-revoked-subkey.asc", "1f71177215217ee0, but the key is revoked"},
		{"hello-2.0-1.x86_64-signed-with-subkey.rpm", "alice-expired-subkey.asc alice.asc", "1f71177215217ee0"}, // renewed
		{"hello-2.0-1.x86_64-signed-with-new-subkey.rpm", rsaTest, "unknown key 6323c42711450b6c"},
		{"hello-2.0-1.x86_64-signed-with-new-subkey.rpm", "rpm.org-rsa-2048-add-subkey.asc", "6323c42711450b6c"},
		{"v4-ecdsa.rpm", "rpm-testkey-v4-ecdsa-nistp256.asc", "105c3db6d139a931"},
		{"v4-ed25519.rpm", "rpm-testkey-v4-keyring.asc", "522e846427933839"},
		{"v6-multiple.rpm", "rpm-testkey-v6-ed25519.asc", "715619ae2365d909"},
		{"v6-multiple.rpm", "rpm-testkey-v6-rsa4k.asc", "12e1f31e46105918"},
		{"v6-multiple.rpm", "alice.asc", "unknown keys "},
		{"v6-mldsa65.rpm", "rpm-testkey-v6-mldsa65-ed25519.asc", "23cde04477b8bbcf"},
		{"../Rimmer-1.0.2-2.x86_64.rpm", rsaTest, "it is not signed"},
		{"../ipvsadm-1.27-7.el7.x86_64.rpm", rsaTest, "unknown key 24c6a8a7f4a80eb5"},
	} {
		by, err := CheckSignature(filepath.Join("testdata/signed", c.file), keyring(t, strings.Fields(c.keys)...))
		expect(t, c.file+" with "+c.keys, by, err, c.want)
	}
}

func TestReadKeys(t *testing.T) {
	// A subkey that its owner has not bound to the key would let anybody sign
	// for it: CVE-2021-3521.
	for _, name := range []string{"CVE-2021-3521-badbind.asc", "CVE-2021-3521-nosubsig.asc"} {
		data, err := os.ReadFile(filepath.Join("testdata/signed", name))
		if err != nil {
			t.Fatal(err)
		}
		k := &Keyring{}
		if err := k.Add(data); err == nil && len(signers{k.ring}.KeysByIdUsage(0x1f71177215217ee0, 0)) > 0 {
			t.Errorf("%s: the subkey may sign", name)
		}
	}
	var all []byte
	for _, name := range []string{"photon-php.asc", "VMWARE-RPM-GPG-KEY-4096", "photon-php.asc"} {
		data, err := os.ReadFile(filepath.Join("testdata/signed", name))
		if err != nil {
			t.Fatal(err)
		}
		all = append(append(all, "a comment\n"...), data...)
	}
	k := &Keyring{}
	if err := k.Add(all); err != nil || !slices.Equal(k.IDs(), []string{"6881c8af151c5ec4", "75c009ea8a6a826d"}) {
		t.Errorf("several blocks: %v, %v", k.IDs(), err)
	}
	for _, bad := range []string{"", "not a key", "-----BEGIN PGP SIGNATURE-----\n", beginKey + "\n\nmQINBG", beginKey + "\n\n!!\n" + endKey, "\x99\x02\x0d\x04"} {
		if err := (&Keyring{}).Add([]byte(bad)); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

// newKey makes a key, at a time and with a lifetime in seconds.
func newKey(t *testing.T, algo packet.PublicKeyAlgorithm, made time.Time, lifetime uint32) *openpgp.Entity {
	t.Helper()
	e, err := openpgp.NewEntity("test", "", "test@example.com", &packet.Config{Algorithm: algo, RSABits: 2048, KeyLifetimeSecs: lifetime,
		Time: func() time.Time { return made }})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// ring is a key ring of public keys that went through an armored file.
func ring(t *testing.T, keys ...*openpgp.Entity) *Keyring {
	t.Helper()
	k := keyring(t)
	for _, e := range keys {
		var out bytes.Buffer
		w, err := armor.Encode(&out, openpgp.PublicKeyType, nil)
		if err == nil {
			err = errors.Join(e.Serialize(w), w.Close())
		}
		if err == nil {
			err = k.Add(out.Bytes())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return k
}

func sign(t *testing.T, e *openpgp.Entity, data ...[]byte) []byte {
	t.Helper()
	var out bytes.Buffer
	at := e.PrimaryKey.CreationTime.Add(time.Hour)
	err := openpgp.DetachSign(&out, e, bytes.NewReader(bytes.Join(data, nil)), &packet.Config{Time: func() time.Time { return at }})
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// signV3 makes a packet of version 3, as gpg 1 did for rpm.
func signV3(t *testing.T, e *openpgp.Entity, hash crypto.Hash, id byte, data ...[]byte) []byte {
	t.Helper()
	body := []byte{3, 5, 0}
	body = binary.BigEndian.AppendUint32(body, uint32(e.PrimaryKey.CreationTime.Add(time.Hour).Unix()))
	h := hash.New()
	h.Write(bytes.Join(data, nil))
	h.Write(body[2:7])
	digest := h.Sum(nil)
	sig, err := rsa.SignPKCS1v15(rand.Reader, e.PrivateKey.PrivateKey.(*rsa.PrivateKey), hash, digest)
	if err != nil {
		t.Fatal(err)
	}
	body = binary.BigEndian.AppendUint64(body, e.PrimaryKey.KeyId)
	body = append(body, 1, id, digest[0], digest[1])
	body = binary.BigEndian.AppendUint16(body, uint16(len(sig)*8))
	body = append(body, sig...)
	return append(binary.BigEndian.AppendUint16([]byte{0x89}, uint16(len(body))), body...)
}

// parts are a package file that gets another signature header.
type parts struct{ lead, header, payload []byte }

func split(t *testing.T, name string) parts {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	lead, sig, h, err := readHeaders(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	start := len(lead) + len(sig.raw) + pad(len(sig.raw))
	return parts{lead, h.raw, data[start+len(h.raw):]}
}

// file writes the package with the tags of a signature header.
func (p parts) file(t *testing.T, tags map[uint32][]byte) string {
	t.Helper()
	var index, data []byte
	var nums []uint32
	for n := range tags {
		nums = append(nums, n)
	}
	slices.Sort(nums)
	for _, n := range nums {
		typ, count, value := uint32(7), len(tags[n]), tags[n]
		if n == sigOpenPGP { // one line a signature
			typ, count, value = 8, bytes.Count(value, []byte("\n")), bytes.ReplaceAll(value, []byte("\n"), []byte{0})
		}
		for _, v := range []uint32{n, typ, uint32(len(data)), uint32(count)} {
			index = binary.BigEndian.AppendUint32(index, v)
		}
		data = append(data, value...)
	}
	out := append(bytes.Clone(p.lead), headerMagic...)
	out = binary.BigEndian.AppendUint32(out, uint32(len(nums)))
	out = binary.BigEndian.AppendUint32(out, uint32(len(data)))
	out = append(append(out, index...), data...)
	out = append(out, make([]byte, pad(len(out)-len(p.lead)))...)
	name := filepath.Join(t.TempDir(), "test.rpm")
	if err := os.WriteFile(name, append(append(out, p.header...), p.payload...), 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

// flipped is a copy with one bit changed.
func flipped(b []byte, at int) []byte {
	b = bytes.Clone(b)
	b[at] ^= 1
	return b
}

func lines(sigs ...[]byte) (out []byte) {
	for _, s := range sigs {
		out = append(append(out, base64.StdEncoding.EncodeToString(s)...), '\n')
	}
	return out
}

// Packages that are signed here, well and badly.
func TestCheckSignature(t *testing.T) {
	made := testNow.AddDate(-1, 0, 0)
	rsaKey := newKey(t, packet.PubKeyAlgoRSA, made, 0)
	edKey := newKey(t, packet.PubKeyAlgoEdDSA, made, 0)
	otherKey := newKey(t, packet.PubKeyAlgoEdDSA, made, 0)
	expired := newKey(t, packet.PubKeyAlgoRSA, made, 86400)
	future := newKey(t, packet.PubKeyAlgoEdDSA, testNow.AddDate(1, 0, 0), 0)
	keys := ring(t, rsaKey, edKey, expired, future)
	id := func(e *openpgp.Entity) string { return strings.ToLower(e.PrimaryKey.KeyIdString()) }

	p := split(t, "payload-test-0.1-w9.gzdio.x86_64.rpm") // with a digest of the payload
	old := split(t, "ipvsadm-1.27-7.el7.x86_64.rpm")      // without
	changed := p
	changed.header = bytes.Replace(p.header, []byte("x86_64\x00"), []byte("x86_65\x00"), 1)
	if bytes.Equal(changed.header, p.header) {
		t.Fatal("the header was not changed")
	}
	tampered, oldTampered := p, old
	tampered.payload = flipped(p.payload, len(p.payload)/2)
	oldTampered.payload = flipped(old.payload, len(old.payload)/2)
	longer := p
	longer.payload = append(bytes.Clone(p.payload), 0)

	good, ed := sign(t, rsaKey, p.header), sign(t, edKey, p.header)
	both := sign(t, rsaKey, old.header, old.payload)
	unknown := "unknown key " + id(otherKey)
	wrong := "wrong: it was changed after it was signed"
	for _, c := range []struct {
		what string
		p    parts
		tags map[uint32][]byte
		want string
	}{
		{"RSA", p, map[uint32][]byte{sigRSAHeader: good}, id(rsaKey)},
		{"ed25519", p, map[uint32][]byte{sigDSAHeader: ed}, id(edKey)},
		{"as rpm 6 signs", p, map[uint32][]byte{sigOpenPGP: lines(ed), sigDSAHeader: ed}, id(edKey)},
		{"signed twice", p, map[uint32][]byte{sigOpenPGP: lines(good, ed)}, id(rsaKey)},
		{"also by a stranger", p, map[uint32][]byte{sigOpenPGP: lines(sign(t, otherKey, p.header), ed)}, id(edKey)},
		{"version 3 and SHA-1, as Photon signs", p, map[uint32][]byte{sigRSAHeader: signV3(t, rsaKey, crypto.SHA1, 2, p.header)}, id(rsaKey)},
		{"version 3 and SHA-256", p, map[uint32][]byte{sigRSAHeader: signV3(t, rsaKey, crypto.SHA256, 8, p.header)}, id(rsaKey)},
		{"header and payload, as before rpm 4.14", old, map[uint32][]byte{sigRSAHeader: sign(t, rsaKey, old.header), sigPGP: both}, id(rsaKey)},
		{"header and payload only", old, map[uint32][]byte{sigGPG: sign(t, edKey, old.header, old.payload)}, id(edKey)},

		{"not signed", p, nil, "it is not signed"},
		{"by a stranger", p, map[uint32][]byte{sigDSAHeader: sign(t, otherKey, p.header)}, unknown},
		{"by a stranger, version 3", p, map[uint32][]byte{sigRSAHeader: signV3(t, newKey(t, packet.PubKeyAlgoRSA, made, 0), crypto.SHA256, 8, p.header)}, "unknown key"},
		{"by an expired key", p, map[uint32][]byte{sigRSAHeader: sign(t, expired, p.header)}, id(expired) + ", but the key has expired"},
		{"by an expired key, version 3", p, map[uint32][]byte{sigRSAHeader: signV3(t, expired, crypto.SHA256, 8, p.header)}, id(expired) + ", but the key has expired"},
		{"by a key of the future", p, map[uint32][]byte{sigDSAHeader: sign(t, future, p.header)}, "but the key has expired"},
		{"changed header", changed, map[uint32][]byte{sigRSAHeader: good}, wrong},
		{"changed header, version 3", changed, map[uint32][]byte{sigRSAHeader: signV3(t, rsaKey, crypto.SHA256, 8, p.header)}, wrong},
		{"changed header, signed anew by a stranger", changed, map[uint32][]byte{sigOpenPGP: lines(good, sign(t, otherKey, changed.header))}, wrong},
		{"changed header, one signature left", changed, map[uint32][]byte{sigRSAHeader: good, sigDSAHeader: sign(t, edKey, changed.header)}, wrong},
		{"changed payload", tampered, map[uint32][]byte{sigRSAHeader: good}, "the payload SHA-256 digest is"},
		{"something behind the payload", longer, map[uint32][]byte{sigRSAHeader: good}, "the payload SHA-256 digest is"},
		{"changed payload of an old package", oldTampered, map[uint32][]byte{sigRSAHeader: sign(t, rsaKey, old.header), sigPGP: both}, wrong},
		{"payload that nothing covers", old, map[uint32][]byte{sigRSAHeader: sign(t, rsaKey, old.header)}, "does not cover the payload"},
		{"payload covered by a stranger", old, map[uint32][]byte{sigRSAHeader: sign(t, rsaKey, old.header), sigGPG: sign(t, otherKey, old.header, old.payload)}, "does not cover the payload"},
		{"signature of another file", p, map[uint32][]byte{sigRSAHeader: sign(t, rsaKey, old.header)}, wrong},
		{"broken signature", p, map[uint32][]byte{sigRSAHeader: flipped(good, len(good)-5)}, wrong},
		{"cut signature", p, map[uint32][]byte{sigRSAHeader: good[:len(good)-5]}, "cannot be checked: it is damaged"},
		{"cut signature, version 3", p, map[uint32][]byte{sigRSAHeader: signV3(t, rsaKey, crypto.SHA256, 8, p.header)[:15]}, "cannot be checked"},
		{"no signature packet", p, map[uint32][]byte{sigRSAHeader: {0xb4, 1, 'x'}}, "cannot be checked"},
		{"bytes", p, map[uint32][]byte{sigRSAHeader: []byte("what is this")}, "cannot be checked"},
		{"bad base64", p, map[uint32][]byte{sigOpenPGP: []byte("!!\n")}, "decoding a signature"},
		{"MD5", p, map[uint32][]byte{sigRSAHeader: signV3(t, rsaKey, crypto.MD5, 1, p.header)}, "digest that is not safe, MD5"},
		{"very many", p, map[uint32][]byte{sigRSAHeader: bytes.Repeat(good, 17)}, "more than 16"},
	} {
		by, err := CheckSignature(c.p.file(t, c.tags), keys)
		expect(t, c.what, by, err, c.want)
		if by.Weak() != strings.Contains(c.what, "SHA-1") {
			t.Errorf("%s: weak is %v", c.what, by.Weak())
		}
	}
}

func TestCheckDetached(t *testing.T) {
	e := newKey(t, packet.PubKeyAlgoEdDSA, testNow.AddDate(-1, 0, 0), 0)
	k := ring(t, e)
	data := []byte("repomd")
	sig := sign(t, e, data)
	var armored bytes.Buffer
	w, err := armor.Encode(&armored, openpgp.SignatureType, nil)
	if err == nil {
		_, err = w.Write(sig)
	}
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	id := k.IDs()[0]
	for _, c := range []struct {
		what string
		data string
		sig  []byte
		want string
	}{
		{"binary", "repomd", sig, id},
		{"armored", "repomd", armored.Bytes(), id},
		{"other data", "repomD", sig, "is wrong"},
		{"empty", "repomd", nil, "not signed"},
		{"cut armor", "repomd", armored.Bytes()[:40], "decoding the signature"},
	} {
		by, err := k.CheckDetached([]byte(c.data), c.sig)
		expect(t, c.what, by, err, c.want)
	}
}

// What the real rpmsign and gpg sign passes.
func TestAgainstRpmsign(t *testing.T) {
	home, err := os.MkdirTemp("/tmp", "gpg") // short: the agent's socket is in it
	if err != nil {
		t.Fatal(err)
	}
	run := func(name string, args ...string) []byte {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Env = append(os.Environ(), "GNUPGHOME="+home)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %s: %v (install rpm and gnupg)\n%s", name, strings.Join(args, " "), err, out)
		}
		return out
	}
	t.Cleanup(func() {
		run("gpgconf", "--kill", "all")
		os.RemoveAll(home)
	})
	gpg, err := exec.LookPath("gpg")
	if err != nil {
		t.Fatal("gpg is not installed: install the package gnupg")
	}
	for _, algo := range []string{"rsa2048", "ed25519", "dsa2048"} {
		run("gpg", "--batch", "--passphrase", "", "--quick-generate-key", algo, algo, "sign", "2y")
		name := filepath.Join(t.TempDir(), "test.rpm")
		data, err := os.ReadFile("testdata/payload-test-0.1-w9.gzdio.x86_64.rpm")
		if err == nil {
			err = os.WriteFile(name, data, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
		run("rpmsign", "--define", "_gpg_name "+algo, "--define", "__gpg "+gpg, "--addsign", name)
		k := &Keyring{}
		if err := k.Add(run("gpg", "--armor", "--export", algo)); err != nil {
			t.Fatal(err)
		}
		by, err := CheckSignature(name, k)
		expect(t, algo, by, err, k.IDs()[0])
		p, err := Open(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := unpack(p); err != nil {
			t.Errorf("%s: %v", algo, err)
		}
		p.Close()
		if by, err = CheckSignature(name, keyring(t, "alice.asc")); err == nil {
			t.Errorf("%s: passes with another key: %v", algo, by)
		}
	}
}

// No bytes make the check panic, and none that differ pass.
func FuzzCheckSignature(f *testing.F) {
	data, err := os.ReadFile("testdata/signed/v4-ecdsa.rpm")
	if err != nil {
		f.Fatal(err)
	}
	keyData, err := os.ReadFile("testdata/signed/rpm-testkey-v4-ecdsa-nistp256.asc")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(300, byte(1))
	f.Add(len(data)-1, byte(255))
	f.Fuzz(func(t *testing.T, at int, with byte) {
		k := &Keyring{now: func() time.Time { return testNow }}
		if err := k.Add(keyData); err != nil {
			t.Fatal(err)
		}
		_, sig, _, err := readHeaders(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		start := len(emptyLead) + len(sig.raw) + pad(len(sig.raw))
		if at < 0 || at >= len(data) || with == 0 {
			return
		}
		b := bytes.Clone(data)
		b[at] ^= with
		_, s, h, err := readHeaders(bytes.NewReader(b))
		if err != nil {
			return
		}
		rest := len(emptyLead) + len(s.raw) + pad(len(s.raw)) + len(h.raw)
		c := signatureCheck{keys: k, sig: s, header: h, payload: func() io.Reader { return bytes.NewReader(b[rest:]) }}
		if _, err := c.check(); err == nil && at >= start {
			t.Errorf("passes with a change at %d", at)
		}
	})
}
