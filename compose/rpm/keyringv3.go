package rpm

import (
	"crypto"
	//lint:ignore SA1019 packages of its time are signed with it
	"crypto/dsa" //nolint:staticcheck // the same
	"crypto/rsa"
	"encoding/binary"
	"fmt"
	"io"
	"math/big"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	pgperrors "github.com/ProtonMail/go-crypto/openpgp/errors"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// checkV3 verifies a signature packet of version 3, which the library does not
// know. rpm had gpg make such ones for long: packages of Photon and of CentOS 7
// carry them. RFC 4880, section 5.2.2.
func (k *Keyring) checkV3(b []byte, signed func() (io.Reader, error)) (SignedBy, *SignatureError, error) {
	unsupported := func(format string, args ...any) (SignedBy, *SignatureError, error) {
		return SignedBy{}, &SignatureError{Problem: Unsupported, Detail: fmt.Sprintf(format, args...)}, nil
	}
	if len(b) < 19 || b[1] != 5 {
		return unsupported("it is damaged")
	}
	if b[2] != byte(packet.SigTypeBinary) {
		return unsupported("it is a signature of something else than a file")
	}
	id := binary.BigEndian.Uint64(b[7:])
	hash := map[byte]crypto.Hash{1: crypto.MD5, 2: crypto.SHA1, 3: crypto.RIPEMD160,
		8: crypto.SHA256, 9: crypto.SHA384, 10: crypto.SHA512, 11: crypto.SHA224}[b[16]]
	if bad := unsafe(keyID(id), hash); bad != nil {
		return SignedBy{}, bad, nil
	}
	if hash == 0 || !hash.Available() {
		return unsupported("it is over a digest of the unknown kind %d", b[16])
	}
	keys := signers{k.ring}.KeysByIdUsage(id, 0)
	if len(keys) == 0 {
		return SignedBy{}, problemOf(keyID(id), pgperrors.ErrUnknownIssuer), nil
	}
	data, err := signed()
	if err != nil {
		return SignedBy{}, nil, err
	}
	h := hash.New()
	if _, err := io.Copy(h, data); err != nil {
		return SignedBy{}, nil, err
	}
	h.Write(b[2:7]) // the type and the time are signed too
	digest := h.Sum(nil)
	created := time.Unix(int64(binary.BigEndian.Uint32(b[3:])), 0)
	for _, key := range keys {
		if !verifyV3(key.PublicKey, packet.PublicKeyAlgorithm(b[15]), hash, digest, b[19:]) {
			continue
		}
		if err := k.trusts(key, created); err != nil {
			return SignedBy{}, problemOf(keyID(id), err), nil
		}
		return SignedBy{Key: keyID(id), User: user(key.Entity), Hash: hash, Created: created}, nil, nil
	}
	return SignedBy{}, problemOf(keyID(id), pgperrors.SignatureError("")), nil
}

func verifyV3(key *packet.PublicKey, algo packet.PublicKeyAlgorithm, hash crypto.Hash, digest, mpis []byte) bool {
	first, rest, ok := mpi(mpis)
	if !ok {
		return false
	}
	switch pub := key.PublicKey.(type) {
	case *rsa.PublicKey:
		if algo != packet.PubKeyAlgoRSA && algo != packet.PubKeyAlgoRSASignOnly || len(first) > pub.Size() {
			return false
		}
		sig := make([]byte, pub.Size())
		copy(sig[len(sig)-len(first):], first)
		return rsa.VerifyPKCS1v15(pub, hash, digest, sig) == nil
	case *dsa.PublicKey:
		second, _, ok := mpi(rest)
		if !ok || algo != packet.PubKeyAlgoDSA {
			return false
		}
		digest = digest[:min(len(digest), (pub.Q.BitLen()+7)/8)]
		return dsa.Verify(pub, digest, new(big.Int).SetBytes(first), new(big.Int).SetBytes(second))
	}
	return false
}

// mpi cuts off one number: its length in bits, and its bytes.
func mpi(b []byte) (number, rest []byte, ok bool) {
	if len(b) < 2 {
		return nil, nil, false
	}
	n := (int(binary.BigEndian.Uint16(b)) + 7) / 8
	if len(b) < 2+n {
		return nil, nil, false
	}
	return b[2 : 2+n], b[2+n:], true
}

// trusts is what the library asks of the key behind a signature.
func (k *Keyring) trusts(key openpgp.Key, created time.Time) error {
	now := time.Now()
	if k.now != nil {
		now = k.now()
	}
	e := key.Entity
	self, identity := e.PrimarySelfSignature()
	subkey := key.PublicKey != e.PrimaryKey
	switch {
	case e.Revoked(now), subkey && key.Revoked(now), identity != nil && identity.Revoked(now):
		return pgperrors.ErrKeyRevoked
	case e.PrimaryKey.KeyExpired(self, now), subkey && key.PublicKey.KeyExpired(key.SelfSignature, now):
		return pgperrors.ErrKeyExpired
	case created.After(now), self.SigExpired(now), subkey && key.SelfSignature.SigExpired(now):
		return pgperrors.ErrSignatureExpired
	}
	return nil
}
