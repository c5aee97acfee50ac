package pull

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"photree/internal/gvariant"
	"photree/repo"
	"photree/repo/object"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// The keys of detached metadata that signatures stand under.
const (
	gpgSignatures     = "ostree.gpgsigs"
	ed25519Signatures = "ostree.sign.ed25519"
)

// The directories of a system where keys for all remotes stand.
const globalKeyRings = "/usr/share/ostree/trusted.gpg.d"

var systemKeyDirs = []string{"/etc/ostree", "/usr/share/ostree"}

// signKey is where a remote's configuration says that public keys stand.
type signKey struct{ inline, file string }

// verifier checks signatures as a remote's configuration asks for. The zero value asks for none. Where both kinds are
// asked for, both must hold.
type verifier struct {
	remote                 string
	gpgCommit, gpgSummary  bool
	signCommit, signDigest bool
	ring                   openpgp.EntityList
	keys                   []ed25519.PublicKey
}

// newVerifier loads the keys. A remote that asks for signatures and has no key is refused at once: nothing that its
// server sends could be used.
func newVerifier(r *repo.Repo, o *Options, remote remoteConfig) (*verifier, error) {
	v := &verifier{remote: remote.name}
	if o.DisableSignatures || remote.plain {
		return v, nil
	}
	v.gpgCommit, v.gpgSummary = remote.gpgVerify, remote.gpgVerifySummary
	v.signCommit, v.signDigest = remote.signVerify, remote.signVerifySummary
	if v.gpgCommit || v.gpgSummary {
		if err := v.loadRings(r, remote); err != nil {
			return nil, err
		}
		if len(v.ring) == 0 {
			return nil, fmt.Errorf("remote %q has gpg-verify on and there is no key to verify with: "+
				"import one with `ostree remote gpg-import %s -k FILE`, or set gpg-verify=false to pull without verifying who made the commits",
				remote.name, remote.name)
		}
	}
	if v.signCommit || v.signDigest {
		if err := v.loadKeys(remote); err != nil {
			return nil, err
		}
		if len(v.keys) == 0 {
			return nil, fmt.Errorf("remote %q has sign-verify on and there is no ed25519 key to verify with: "+
				"set verification-ed25519-key or verification-ed25519-file", remote.name)
		}
	}
	return v, nil
}

// loadRings reads the key ring of the remote; only without one do the global rings count.
func (v *verifier) loadRings(r *repo.Repo, remote remoteConfig) error {
	own := filepath.Join(r.Path(), remote.name+".trustedkeys.gpg")
	paths := append([]string{}, remote.gpgKeyPaths...)
	if _, err := os.Stat(own); err == nil {
		paths = append(paths, own)
	}
	if len(paths) == 0 {
		paths = []string{globalKeyRings}
	}
	for _, path := range paths {
		files := []string{path}
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			files = nil
			for _, pattern := range []string{"*.gpg", "*.asc"} {
				found, err := filepath.Glob(filepath.Join(path, pattern))
				if err != nil {
					return err
				}
				files = append(files, found...)
			}
		} else if os.IsNotExist(err) {
			continue
		}
		for _, file := range files {
			if err := v.loadRing(file); err != nil {
				return fmt.Errorf("reading the keys of remote %q from %s: %w", remote.name, file, err)
			}
		}
	}
	return nil
}

func (v *verifier) loadRing(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if len(data) == 0 {
		return nil
	}
	ring, err := readKeys(data)
	v.ring = append(v.ring, ring...)
	return err
}

// loadKeys reads ed25519 keys: those of the remote or, if it names none, those of the system less the revoked ones.
func (v *verifier) loadKeys(remote remoteConfig) error {
	for _, k := range remote.sign {
		text := k.inline
		if k.file != "" {
			data, err := os.ReadFile(k.file)
			if err != nil {
				return fmt.Errorf("reading the keys of remote %q: %w", remote.name, err)
			}
			text = string(data)
		}
		keys, err := parseKeys(text)
		if err != nil {
			return fmt.Errorf("reading the keys of remote %q: %w", remote.name, err)
		}
		v.keys = append(v.keys, keys...)
	}
	if len(remote.sign) > 0 {
		return nil
	}
	trusted, err := systemKeys("trusted")
	if err != nil {
		return err
	}
	revoked, err := systemKeys("revoked")
	if err != nil {
		return err
	}
	for _, key := range trusted {
		bad := false
		for _, r := range revoked {
			bad = bad || key.Equal(r)
		}
		if !bad {
			v.keys = append(v.keys, key)
		}
	}
	return nil
}

func systemKeys(kind string) ([]ed25519.PublicKey, error) {
	var keys []ed25519.PublicKey
	for _, dir := range systemKeyDirs {
		more, err := filepath.Glob(filepath.Join(dir, kind+".ed25519.d", "*"))
		if err != nil {
			return nil, err
		}
		for _, file := range append([]string{filepath.Join(dir, kind+".ed25519")}, more...) {
			data, err := os.ReadFile(file)
			if os.IsNotExist(err) {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("reading the system's keys: %w", err)
			}
			found, err := parseKeys(string(data))
			if err != nil {
				return nil, fmt.Errorf("reading the system's keys from %s: %w", file, err)
			}
			keys = append(keys, found...)
		}
	}
	return keys, nil
}

// parseKeys reads one key in base64 a line.
func parseKeys(text string) ([]ed25519.PublicKey, error) {
	var keys []ed25519.PublicKey
	for _, line := range strings.Fields(text) {
		key, err := base64.StdEncoding.DecodeString(line)
		if err != nil || len(key) != ed25519.PublicKeySize {
			return nil, fmt.Errorf("%q is not an ed25519 public key in base64", line)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func (v *verifier) summaryRequired() bool { return v.gpgSummary || v.signDigest }

// checkCommit verifies the bytes of a commit against its detached metadata and returns who signed it.
func (v *verifier) checkCommit(id object.ID, data []byte, detached gvariant.Dict) ([]string, error) {
	signers, err := v.check(data, detached, v.gpgCommit, v.signCommit)
	if err != nil {
		return nil, fmt.Errorf("verifying commit %s from remote %q: %w", id, v.remote, err)
	}
	return signers, nil
}

func (v *verifier) checkSummary(data []byte, detached gvariant.Dict) error {
	if _, err := v.check(data, detached, v.gpgSummary, v.signDigest); err != nil {
		return fmt.Errorf("verifying the summary of remote %q: %w", v.remote, err)
	}
	return nil
}

func (v *verifier) check(data []byte, detached gvariant.Dict, gpg, sign bool) ([]string, error) {
	var signers []string
	if gpg {
		who, err := v.checkGPG(data, signatures(detached, gpgSignatures))
		if err != nil {
			return nil, err
		}
		signers = append(signers, who)
	}
	if sign {
		who, err := v.checkEd25519(data, signatures(detached, ed25519Signatures))
		if err != nil {
			return nil, err
		}
		signers = append(signers, who)
	}
	return signers, nil
}

// signatures returns the entries of a value of type aay.
func signatures(d gvariant.Dict, key string) [][]byte {
	v, ok := d.Get(key)
	if !ok {
		return nil
	}
	if v.Type() == "v" {
		v = v.Variant()
	}
	if v.Type() != "aay" {
		return nil
	}
	sigs := make([][]byte, v.Len())
	for i := range sigs {
		sigs[i] = v.Index(i).ByteSlice()
	}
	return sigs
}

// checkGPG wants one good signature by a key of the ring.
func (v *verifier) checkGPG(data []byte, sigs [][]byte) (string, error) {
	if len(sigs) == 0 {
		return "", errors.New("GPG verification enabled, but no signatures found (use gpg-verify=false in remote config to disable)")
	}
	var last error
	for _, sig := range sigs {
		signer, err := openpgp.CheckDetachedSignature(v.ring, bytes.NewReader(data), bytes.NewReader(sig),
			&packet.Config{Time: time.Now})
		if err == nil {
			return fingerprint(signer), nil
		}
		last = err
	}
	return "", fmt.Errorf("GPG signatures found, but none are in trusted keyring or good (%w)", last)
}

func fingerprint(e *openpgp.Entity) string {
	who := fmt.Sprintf("%X", e.PrimaryKey.Fingerprint)
	if id := e.PrimaryIdentity(); id != nil {
		who += " " + id.Name
	}
	return who
}

// checkEd25519 wants one good signature by one of the keys.
func (v *verifier) checkEd25519(data []byte, sigs [][]byte) (string, error) {
	if len(sigs) == 0 {
		return "", errors.New("no ed25519 signatures found (use sign-verify=false in remote config to disable)")
	}
	for _, sig := range sigs {
		for _, key := range v.keys {
			if len(sig) == ed25519.SignatureSize && ed25519.Verify(key, data, sig) {
				return "ed25519 " + base64.StdEncoding.EncodeToString(key), nil
			}
		}
	}
	return "", errors.New("ed25519 signatures found, but none are by a trusted key")
}
