package sign

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/ProtonMail/go-crypto/openpgp/ed448"
)

const pemBegin = "-----BEGIN "

// The standard library does not know ed448, which is what ostree's own examples of spki use: RFC 8410, RFC 8032.
var oidEd448 = asn1.ObjectIdentifier{1, 3, 101, 113}

const ed448KeySize = 57

// minRSABits is what an RSA key must have: shorter ones have been broken.
const minRSABits = 2048

// pemBlocks returns each PEM block of a file as a text.
func pemBlocks(data []byte) []string {
	var texts []string
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			return texts
		}
		texts = append(texts, string(pem.EncodeToMemory(block)))
	}
}

// derOf returns the DER of a key that is written as PEM or as base64.
func derOf(text, pemType string) ([]byte, error) {
	if block, _ := pem.Decode([]byte(text)); block != nil {
		if block.Type != pemType {
			return nil, fmt.Errorf("this PEM block is a %s, and a %s is needed", block.Type, pemType)
		}
		return block.Bytes, nil
	}
	der, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("this is neither PEM nor base64 of a %s", pemType)
	}
	return der, nil
}

// spkiKey is a public key of any of the algorithms.
type spkiKey struct {
	key any
	der []byte
}

func parseSPKI(text string) (publicKey, error) {
	der, err := derOf(text, "PUBLIC KEY")
	if err != nil {
		return nil, fmt.Errorf("reading an spki public key: %w", err)
	}
	k := &spkiKey{der: der}
	if raw, ok := ed448Public(der); ok {
		k.key = &ed448.PublicKey{Point: raw}
		return k, nil
	}
	key, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, fmt.Errorf("reading an spki public key: %w", err)
	}
	switch key := key.(type) {
	case ed25519.PublicKey, *ecdsa.PublicKey:
	case *rsa.PublicKey:
		if key.N.BitLen() < minRSABits {
			return nil, fmt.Errorf("reading an spki public key: an RSA key of %d bits is too weak: %d are needed", key.N.BitLen(), minRSABits)
		}
	default:
		return nil, fmt.Errorf("reading an spki public key: a %T cannot verify signatures: ed25519, ed448, RSA and ECDSA can", key)
	}
	k.key = key
	return k, nil
}

func ed448Public(der []byte) ([]byte, bool) {
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	rest, err := asn1.Unmarshal(der, &info)
	ok := err == nil && len(rest) == 0 && info.Algorithm.Algorithm.Equal(oidEd448) && len(info.Key.Bytes) == ed448KeySize
	return info.Key.Bytes, ok
}

// verify checks a signature as OpenSSL makes it without further parameters: RSA with PKCS #1 v1.5, RSA and ECDSA over
// SHA-256.
func (k *spkiKey) verify(data, sig []byte) bool {
	digest := sha256.Sum256(data)
	switch key := k.key.(type) {
	case ed25519.PublicKey:
		return len(sig) == ed25519.SignatureSize && ed25519.Verify(key, data, sig)
	case *ed448.PublicKey:
		return len(sig) == 2*ed448KeySize && ed448.Verify(key, data, sig)
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], sig) == nil
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(key, digest[:], sig)
	}
	return false
}

// String is the start of the key's digest: an RSA key is too long to be read.
func (k *spkiKey) String() string {
	sum := sha256.Sum256(k.der)
	return fmt.Sprintf("%x", sum[:])
}

type spkiSecret struct{ key any }

func newSPKISecret(text string) (Signer, error) {
	der, err := derOf(text, "PRIVATE KEY")
	if err != nil {
		return nil, fmt.Errorf("reading an spki secret key: %w", err)
	}
	if seed, ok := ed448Seed(der); ok {
		key := new(ed448.PrivateKey)
		if err := key.UnmarshalByteSecret(seed); err != nil {
			return nil, fmt.Errorf("reading an ed448 secret key: %w", err)
		}
		return spkiSecret{key}, nil
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("reading an spki secret key: %w", err)
	}
	switch key := key.(type) {
	case ed25519.PrivateKey, *ecdsa.PrivateKey, *rsa.PrivateKey:
		return spkiSecret{key}, nil
	}
	return nil, fmt.Errorf("reading an spki secret key: a %T cannot sign: ed25519, ed448, RSA and ECDSA can", key)
}

func ed448Seed(der []byte) ([]byte, bool) {
	var info struct {
		Version   int
		Algorithm pkix.AlgorithmIdentifier
		Key       []byte
	}
	if _, err := asn1.Unmarshal(der, &info); err != nil || !info.Algorithm.Algorithm.Equal(oidEd448) {
		return nil, false
	}
	var seed []byte
	rest, err := asn1.Unmarshal(info.Key, &seed)
	return seed, err == nil && len(rest) == 0 && len(seed) == ed448KeySize
}

func (k spkiSecret) Key() string { return MetadataKey(SPKI) }

func (k spkiSecret) Sign(_ context.Context, data []byte) ([]byte, error) {
	digest := sha256.Sum256(data)
	switch key := k.key.(type) {
	case ed25519.PrivateKey:
		return ed25519.Sign(key, data), nil
	case *ed448.PrivateKey:
		return ed448.Sign(key, data)
	case *rsa.PrivateKey:
		return rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, digest[:])
	case *ecdsa.PrivateKey:
		return ecdsa.SignASN1(rand.Reader, key, digest[:])
	}
	return nil, errors.New("signing: this kind of key cannot")
}
