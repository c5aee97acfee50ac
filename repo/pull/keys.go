package pull

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"github.com/ProtonMail/go-crypto/openpgp"
)

// MergeKeys returns the key ring at path with the OpenPGP public keys of data (armoured or not) added, and how many keys
// want let through. A key that the ring has already is replaced: the new one may have a later expiry.
func MergeKeys(path string, data []byte, want func(fingerprint string) bool) (int, []byte, error) {
	added, err := readKeys(data)
	if err != nil {
		return 0, nil, err
	}
	var ring openpgp.EntityList
	old, err := os.ReadFile(path)
	if err == nil && len(old) > 0 {
		ring, err = readKeys(old)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return 0, nil, fmt.Errorf("reading %s: %w", path, err)
	}
	merged := map[string]*openpgp.Entity{}
	var order []string
	put := func(e *openpgp.Entity) {
		f := fmt.Sprintf("%X", e.PrimaryKey.Fingerprint)
		if merged[f] == nil {
			order = append(order, f)
		}
		merged[f] = e
	}
	for _, e := range ring {
		put(e)
	}
	count := 0
	for _, e := range added {
		if want(fmt.Sprintf("%X", e.PrimaryKey.Fingerprint)) {
			put(e)
			count++
		}
	}
	if count == 0 {
		return 0, nil, errors.New("none of the keys is the one that was asked for")
	}
	var out bytes.Buffer
	for _, f := range order {
		if err := merged[f].Serialize(&out); err != nil {
			return 0, nil, err
		}
	}
	return count, out.Bytes(), nil
}

// readKeys reads public keys; several armoured blocks may stand behind each other.
func readKeys(data []byte) (openpgp.EntityList, error) {
	const begin, end = "-----BEGIN PGP PUBLIC KEY BLOCK-----", "-----END PGP PUBLIC KEY BLOCK-----"
	if !bytes.Contains(data, []byte(begin)) {
		return openpgp.ReadKeyRing(bytes.NewReader(data))
	}
	var ring openpgp.EntityList
	for {
		i := bytes.Index(data, []byte(begin))
		if i < 0 {
			return ring, nil
		}
		data = data[i:]
		n := bytes.Index(data, []byte(end))
		if n < 0 {
			return nil, errors.New("reading keys: an armoured block has no end")
		}
		n += len(end)
		more, err := openpgp.ReadArmoredKeyRing(bytes.NewReader(append(bytes.Clone(data[:n]), '\n')))
		if err != nil {
			return nil, err
		}
		ring, data = append(ring, more...), data[n:]
	}
}
