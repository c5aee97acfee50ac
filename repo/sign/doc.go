// Package sign makes and checks the signatures that a repository holds: of commits (in their detached metadata), of the
// summary (in summary.sig) and of static deltas (in the wrapper of the superblock).
//
// There are two families. OpenPGP signatures are checked with rings of public keys and made by GnuPG, because the secret
// key lives in a GnuPG home; no gpg is needed to check. Raw signatures have a type (ed25519, spki, or dummy, which only
// the tests of ostree use), their keys are text, and they are made and checked here.
//
// What is signed are always the raw bytes: of the commit object, of the summary, of the superblock. All signatures of a
// kind stand under one key of a dictionary, as a list of byte arrays; one good signature by one trusted key is enough.
// A key that has expired or was revoked is not trusted, whenever the signature was made.
//
// This package reads key files and calls gpg. It writes nothing; who stores a signature does so through package repo.
package sign

import (
	"context"
	"fmt"

	"photree/internal/gvariant"
)

// OpenPGP is the key of the dictionary that OpenPGP signatures stand under.
const OpenPGP = "ostree.gpgsigs"

// A Signer makes signatures.
type Signer interface {
	// Key is the key of the dictionary that the signature belongs under.
	Key() string
	// Sign returns a signature of data.
	Sign(ctx context.Context, data []byte) ([]byte, error)
}

// Sign adds a signature of data by each of the signers to d.
func Sign(ctx context.Context, d *gvariant.Dict, data []byte, signers ...Signer) error {
	for _, s := range signers {
		sig, err := s.Sign(ctx, data)
		if err != nil {
			return err
		}
		Set(d, s.Key(), append(Signatures(*d, s.Key()), sig))
	}
	return nil
}

// Signatures returns the signatures under a key of a dictionary.
func Signatures(d gvariant.Dict, key string) [][]byte {
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

// Set puts signatures under a key of a dictionary; without any the key goes.
func Set(d *gvariant.Dict, key string, sigs [][]byte) {
	if len(sigs) == 0 {
		d.Delete(key)
		return
	}
	vals := make([]gvariant.Value, len(sigs))
	for i, sig := range sigs {
		vals[i] = gvariant.Bytes(sig)
	}
	d.Set(key, gvariant.Array("ay", vals...))
}

// A Policy says what must be signed by whom. Each part that is set must be satisfied; the zero value asks for nothing.
type Policy struct {
	Ring *Ring   // an OpenPGP signature by one of these
	Keys KeySets // a raw signature by one key of one of these
}

// Required reports whether the policy asks for anything.
func (p Policy) Required() bool { return p.Ring != nil || p.Keys != nil }

// Check checks the signatures of data in d and says of each part what satisfied it.
func (p Policy) Check(data []byte, d gvariant.Dict) ([]string, error) {
	var good []string
	if p.Ring != nil {
		report := p.Ring.Verify(data, Signatures(d, OpenPGP))
		who, err := report.Good()
		if err != nil {
			return nil, err
		}
		good = append(good, who)
	}
	if p.Keys != nil {
		what, err := p.Keys.Verify(data, d)
		if err != nil {
			return nil, err
		}
		good = append(good, what.Who())
	}
	return good, nil
}

// plural writes a count of things.
func plural(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
