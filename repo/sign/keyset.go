package sign

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"photree/internal/gvariant"
)

// The types of raw signatures.
const (
	Ed25519 = "ed25519" // the text of a key is base64: 32 bytes of a public key, 64 of a secret one
	SPKI    = "spki"    // PEM, or base64 of DER: a SubjectPublicKeyInfo, a PKCS #8 secret key
	Dummy   = "dummy"   // the key is the signature: only for the tests of ostree
)

// Types are the types of raw signatures, as sign-verify=true tries them.
func Types() []string { return []string{Ed25519, SPKI, Dummy} }

// ErrUnknownType is wrapped by the error for a type of signature that there is not.
var ErrUnknownType = errors.New("Requested signature type is not implemented") //nolint:staticcheck // ostree's words

var errDummy = errors.New("dummy signature type is only for ostree testing")

// CheckType returns an error for a type that there is not. The empty one is not a type.
func CheckType(typ string) error {
	for _, t := range Types() {
		if t == typ {
			return nil
		}
	}
	return fmt.Errorf("%w: %q (there are %s)", ErrUnknownType, typ, strings.Join(Types(), ", "))
}

// MetadataKey is the key of the dictionary that signatures of a type stand under.
func MetadataKey(typ string) string { return "ostree.sign." + typ }

// publicKey is one raw public key.
type publicKey interface {
	verify(data, sig []byte) bool
	// String names the key for people; equal keys have equal names.
	String() string
}

// parsePublic reads one public key.
func parsePublic(typ, text string) (publicKey, error) {
	switch typ {
	case Ed25519:
		return parseEd25519(text)
	case SPKI:
		return parseSPKI(text)
	case Dummy:
		return dummyKey(text), nil
	}
	return nil, CheckType(typ)
}

// NewSecret returns a signer with a raw secret key.
func NewSecret(typ, text string) (Signer, error) {
	switch typ {
	case Ed25519:
		return newEd25519Secret(text)
	case SPKI:
		return newSPKISecret(text)
	case Dummy:
		return dummySecret(text), nil
	}
	return nil, CheckType(typ)
}

// LoadSecrets returns signers with the secret keys of a file.
func LoadSecrets(typ, path string) ([]Signer, error) {
	texts, err := keyTexts(typ, path)
	if err != nil {
		return nil, err
	}
	var signers []Signer
	for _, text := range texts {
		s, err := NewSecret(typ, text)
		if err != nil {
			return nil, fmt.Errorf("reading the secret keys of %s: %w", path, err)
		}
		signers = append(signers, s)
	}
	if len(signers) == 0 {
		return nil, fmt.Errorf("there is no %s key in %s", typ, path)
	}
	return signers, nil
}

// KeySet is a set of trusted raw public keys of one type.
type KeySet struct {
	Type string
	keys []publicKey
}

// Len returns how many keys the set has.
func (k *KeySet) Len() int { return len(k.keys) }

// Add adds a key.
func (k *KeySet) Add(text string) error {
	key, err := parsePublic(k.Type, text)
	if err == nil {
		k.keys = append(k.keys, key)
	}
	return err
}

// AddFile adds the keys of a file: one a line, for spki also PEM. Empty lines and those that begin with # say nothing.
func (k *KeySet) AddFile(path string) error {
	texts, err := keyTexts(k.Type, path)
	if err != nil {
		return err
	}
	for _, text := range texts {
		if err := k.Add(text); err != nil {
			return fmt.Errorf("reading the keys of %s: %w", path, err)
		}
	}
	return nil
}

// SystemDirs are the directories of a system where keys for all remotes stand.
func SystemDirs() []string { return []string{"/etc/ostree", "/usr/share/ostree"} }

// AddDirs adds the keys of trusted.TYPE and trusted.TYPE.d/* in directories.
func (k *KeySet) AddDirs(dirs ...string) error { return k.addDirs("trusted", dirs) }

// RemoveRevoked removes the keys of revoked.TYPE and revoked.TYPE.d/* in directories.
func (k *KeySet) RemoveRevoked(dirs ...string) error {
	revoked := &KeySet{Type: k.Type}
	if err := revoked.addDirs("revoked", dirs); err != nil {
		return err
	}
	bad := map[string]bool{}
	for _, key := range revoked.keys {
		bad[key.String()] = true
	}
	kept := k.keys[:0:0]
	for _, key := range k.keys {
		if !bad[key.String()] {
			kept = append(kept, key)
		}
	}
	k.keys = kept
	return nil
}

func (k *KeySet) addDirs(kind string, dirs []string) error {
	if k.Type == Dummy {
		return nil // there are no such files
	}
	for _, dir := range dirs {
		name := filepath.Join(dir, kind+"."+k.Type)
		entries, err := os.ReadDir(name + ".d")
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("reading the system's keys: %w", err)
		}
		files := []string{name}
		for _, e := range entries {
			files = append(files, filepath.Join(name+".d", e.Name()))
		}
		for _, file := range files {
			if err := k.AddFile(file); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// keyTexts returns the texts of the keys in a file.
func keyTexts(typ, path string) ([]string, error) {
	data, err := readKeyFile(path)
	if err != nil {
		return nil, fmt.Errorf("Can't open file '%s' with keys: %w", path, err) //nolint:staticcheck // ostree's words
	}
	if typ == SPKI && bytes.Contains(data, []byte(pemBegin)) {
		return pemBlocks(data), nil
	}
	var texts []string
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, maxRing)
	for lines.Scan() {
		if line := strings.TrimSpace(lines.Text()); line != "" && !strings.HasPrefix(line, "#") {
			texts = append(texts, line)
		}
	}
	return texts, lines.Err()
}

// Match is the key that a good signature was made with.
type Match struct{ Type, Key string }

// String says so in the words of ostree.
func (m Match) String() string {
	if m.Type == Dummy {
		return "dummy: Signature verified"
	}
	return fmt.Sprintf("%s: Signature verified successfully with key '%s'", m.Type, m.Key)
}

// Who names the key.
func (m Match) Who() string { return m.Type + " key " + m.Key }

// Verify wants one good signature by one of the keys.
func (k *KeySet) Verify(data []byte, sigs [][]byte) (Match, error) {
	switch {
	case k.Type == Dummy && !dummyEnabled():
		return Match{}, errDummy
	case len(sigs) == 0:
		return Match{}, fmt.Errorf("%s: commit have no signatures of my type", k.Type)
	case len(k.keys) == 0:
		return Match{}, fmt.Errorf("%s: no keys loaded", k.Type)
	}
	for _, sig := range sigs {
		for _, key := range k.keys {
			if key.verify(data, sig) {
				return Match{k.Type, key.String()}, nil
			}
		}
	}
	if k.Type == Dummy {
		return Match{}, fmt.Errorf("signature: dummy: incorrect signatures found: %d", len(sigs))
	}
	if len(k.keys) == 1 {
		return Match{}, fmt.Errorf("%s: Signature couldn't be verified with: key '%s'", k.Type, k.keys[0])
	}
	return Match{}, fmt.Errorf("%s: Signature couldn't be verified; tried %s", k.Type, plural(len(k.keys), "key"))
}

// KeySets are key sets of several types. A signature that one of them accepts is enough.
type KeySets []*KeySet

// Verify checks the signatures of data in d.
func (ks KeySets) Verify(data []byte, d gvariant.Dict) (Match, error) {
	var all []string
	any := false
	for _, k := range ks {
		sigs := Signatures(d, MetadataKey(k.Type))
		any = any || len(sigs) > 0
		good, err := k.Verify(data, sigs)
		if err == nil {
			return good, nil
		}
		all = append(all, err.Error())
	}
	if !any && len(d) == 0 {
		return Match{}, fmt.Errorf("No signatures found (%s)", strings.Join(all, "; ")) //nolint:staticcheck // ostree's words
	}
	return Match{}, errors.New(strings.Join(all, "; "))
}
