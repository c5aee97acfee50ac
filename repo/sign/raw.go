package sign

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
)

// ed25519Key is a public key in the RFC 8032 encoding.
type ed25519Key ed25519.PublicKey

func parseEd25519(text string) (publicKey, error) {
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(raw) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("%q is not an ed25519 public key: that is base64 of %d bytes", text, ed25519.PublicKeySize)
	}
	return ed25519Key(raw), nil
}

func (k ed25519Key) verify(data, sig []byte) bool {
	return len(sig) == ed25519.SignatureSize && ed25519.Verify(ed25519.PublicKey(k), data, sig)
}

func (k ed25519Key) String() string { return fmt.Sprintf("%x", []byte(k)) }

type ed25519Secret ed25519.PrivateKey

// newEd25519Secret reads a secret key: its seed and its public key. Both must fit, or what is signed with it cannot be
// verified, and worse, the secret could be computed from it.
func newEd25519Secret(text string) (Signer, error) {
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(raw) != ed25519.PrivateKeySize {
		return nil, fmt.Errorf("this is not an ed25519 secret key: that is base64 of %d bytes, the seed and the public key", ed25519.PrivateKeySize)
	}
	key := ed25519.NewKeyFromSeed(raw[:ed25519.SeedSize])
	if !bytes.Equal(key, raw) {
		return nil, errors.New("this ed25519 secret key is damaged: its public half is not that of its seed")
	}
	return ed25519Secret(key), nil
}

func (k ed25519Secret) Key() string { return MetadataKey(Ed25519) }

func (k ed25519Secret) Sign(_ context.Context, data []byte) ([]byte, error) {
	return ed25519.Sign(ed25519.PrivateKey(k), data), nil
}

// dummyEnabled tells whether the environment allows the signatures that are none.
func dummyEnabled() bool { return os.Getenv("OSTREE_DUMMY_SIGN_ENABLED") != "" }

type dummyKey string

func (k dummyKey) verify(_, sig []byte) bool { return dummyEnabled() && string(sig) == string(k) }
func (k dummyKey) String() string            { return string(k) }

type dummySecret string

func (k dummySecret) Key() string { return MetadataKey(Dummy) }

func (k dummySecret) Sign(context.Context, []byte) ([]byte, error) {
	if !dummyEnabled() {
		return nil, errDummy
	}
	return []byte(k), nil
}
