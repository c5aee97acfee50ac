package sign

import (
	"bytes"
	"crypto"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// Signature is what is known about one OpenPGP signature after it was checked with a ring.
type Signature struct {
	Made      time.Time
	Algorithm string // of the key: RSA, DSA, ECDSA or EdDSA
	KeyID     string // of the key that made it
	// KeyMissing says that the ring does not have the key; what follows is unknown then.
	KeyMissing bool
	// Err is why the signature is not good; nil when it is.
	Err error
	// Fingerprint is that of the key, Primary that of the key which it is a subkey of, or the same.
	Fingerprint, Primary string
	UserName, UserEmail  string
	// When the signature and the keys expire or did; zero for never.
	Expires, KeyExpires, PrimaryExpires time.Time
	// What was found wrong besides Err.
	Expired, KeyExpired, PrimaryExpired, Revoked bool
}

// Valid reports whether the signature counts.
func (s *Signature) Valid() bool { return !s.KeyMissing && s.Err == nil }

// Who names the key and its owner.
func (s *Signature) Who() string {
	return fmt.Sprintf("%s %s <%s>", s.Primary, s.UserName, s.UserEmail)
}

// Matches reports whether the signature was made by the key, or a subkey of the key, whose fingerprint ends in id.
func (s *Signature) Matches(id string) bool {
	for _, f := range []string{s.Fingerprint, s.Primary, s.KeyID} {
		if raw, err := hex.DecodeString(f); err == nil && matchesKey(id, raw) {
			return true
		}
	}
	return false
}

// Report is what is known about all signatures of one thing.
type Report []Signature

// Good returns who made the first good signature. Without one the error describes them all.
func (r Report) Good() (string, error) {
	if len(r) == 0 {
		return "", errors.New("GPG verification enabled, but no signatures found (use gpg-verify=false in remote config to disable)")
	}
	var all []string
	for i := range r {
		if r[i].Valid() {
			return r[i].Who(), nil
		}
		all = append(all, strings.TrimSuffix(r[i].Describe(""), "\n"))
	}
	return "", errors.New(strings.Join(all, "\n\n"))
}

// Describe writes what is known in the words of ostree, a line each, which scripts look for. prefix goes before each line.
func (s *Signature) Describe(prefix string) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, prefix+format+"\n", args...) }
	line("Signature made %s using %s key ID %s", clock(s.Made), s.Algorithm, s.KeyID)
	switch {
	case s.KeyMissing && s.Err != nil:
		line("Can't check signature: %v", s.Err)
		return b.String()
	case s.KeyMissing:
		line("Can't check signature: public key not found")
		return b.String()
	case s.Err == nil:
		line("Good signature from \"%s <%s>\"", s.UserName, s.UserEmail)
	case s.Expired:
		line("Expired signature from \"%s <%s>\"", s.UserName, s.UserEmail)
	default:
		line("BAD signature from \"%s <%s>\"", s.UserName, s.UserEmail)
	}
	if s.Fingerprint != s.Primary {
		line("Primary key ID %s", s.Primary[max(len(s.Primary)-16, 0):])
	}
	expiry := func(what string, at time.Time, over bool) {
		switch {
		case at.IsZero():
		case over:
			line("%s expired %s", what, clock(at))
		default:
			line("%s expires %s", what, clock(at))
		}
	}
	if s.Revoked {
		line("Key revoked")
	}
	expiry("Signature", s.Expires, s.Expired)
	expiry("Key", s.KeyExpires, s.KeyExpired)
	if s.Fingerprint != s.Primary {
		expiry("Primary key", s.PrimaryExpires, s.PrimaryExpired)
	}
	var other *unusualError
	if errors.As(s.Err, &other) {
		line("%s", other.text)
	}
	return b.String()
}

func clock(t time.Time) string { return t.Local().Format("Mon Jan _2 15:04:05 2006") }

// unusualError is a reason for which ostree has no words of its own.
type unusualError struct{ text string }

func (e *unusualError) Error() string { return e.text }

// Verify checks signatures of data. Each of them may be more than one packet. What is not a signature is left out.
func (r *Ring) Verify(data []byte, sigs [][]byte) Report {
	var report Report
	now := time.Now()
	for _, raw := range sigs {
		packets := packet.NewReader(bytes.NewReader(raw))
		for {
			p, err := packets.Next()
			if err != nil {
				break // the end, or garbage: what cannot be read cannot be good
			}
			if sig, ok := p.(*packet.Signature); ok {
				report = append(report, r.check(data, sig, now))
			}
		}
	}
	return report
}

func (r *Ring) check(data []byte, sig *packet.Signature, now time.Time) Signature {
	s := Signature{Made: sig.CreationTime, Algorithm: algorithm(sig.PubKeyAlgo), KeyID: "0000000000000000"}
	if sig.IssuerKeyId == nil {
		s.KeyMissing = true
		return s
	}
	s.KeyID = fmt.Sprintf("%016X", *sig.IssuerKeyId)
	keys, err := r.find(*sig.IssuerKeyId)
	if len(keys) == 0 {
		s.KeyMissing = true
		if err != nil {
			s.Err = fmt.Errorf("the public key cannot be used: %w", err)
		}
		return s
	}
	// Two keys can have one ID: any of them may be the one.
	var first Signature
	for i := range keys {
		t := s
		t.checkWith(&keys[i], data, sig, now)
		if t.Err == nil {
			return t
		}
		if i == 0 {
			first = t
		}
	}
	return first
}

// checkWith fills in what is known about the key, and decides.
func (s *Signature) checkWith(key *openpgp.Key, data []byte, sig *packet.Signature, now time.Time) {
	primary := key.Entity.PrimaryKey
	s.Fingerprint, s.Primary = fmt.Sprintf("%X", key.PublicKey.Fingerprint), fmt.Sprintf("%X", primary.Fingerprint)
	s.Algorithm = algorithm(key.PublicKey.PubKeyAlgo)
	self, id := key.Entity.PrimarySelfSignature()
	if id != nil && id.UserId != nil {
		s.UserName, s.UserEmail = id.UserId.Name, id.UserId.Email
		if s.UserName == "" && s.UserEmail == "" {
			s.UserName = id.Name
		}
	}
	if self == nil || key.SelfSignature == nil {
		s.Err = &unusualError{"The key is not bound to a user by itself"}
		return
	}
	sub := key.PublicKey != primary
	if life := sig.SigLifetimeSecs; life != nil && *life != 0 {
		s.Expires = sig.CreationTime.Add(time.Duration(*life) * time.Second)
		s.Expired = now.After(s.Expires)
	}
	s.PrimaryExpires, s.PrimaryExpired = expiry(primary, self, now)
	s.KeyExpires, s.KeyExpired = expiry(key.PublicKey, key.SelfSignature, now)
	s.Revoked = key.Entity.Revoked(now) || sub && key.Revoked(now) || id != nil && id.Revoked(now)
	err := verifyPacket(key.PublicKey, data, sig)
	switch {
	case err != nil:
		s.Err, s.Expired = err, false
	case s.Revoked:
		s.Err = errors.New("the key is revoked")
	case s.KeyExpired || s.PrimaryExpired:
		s.Err = errors.New("the key has expired")
	case s.Expired:
		s.Err = errors.New("the signature has expired")
	case !maySign(key):
		s.Err = &unusualError{"The key is not for signing"}
	default:
		s.Err = unknownNotation(sig, self, key.SelfSignature)
	}
}

// verifyPacket does the arithmetic.
func verifyPacket(key *packet.PublicKey, data []byte, sig *packet.Signature) error {
	switch sig.Hash {
	case crypto.SHA256, crypto.SHA384, crypto.SHA512, crypto.SHA224, crypto.SHA3_256, crypto.SHA3_512:
	default:
		return &unusualError{"The signature was made with a digest that is too weak (" + sig.Hash.String() + "): sign again"}
	}
	h, err := sig.PrepareVerify()
	if err != nil {
		return err
	}
	var w io.Writer = h
	switch sig.SigType {
	case packet.SigTypeBinary:
	case packet.SigTypeText:
		w = openpgp.NewCanonicalTextHash(h)
	default:
		return &unusualError{"It is not a signature of a document"}
	}
	if _, err := w.Write(data); err != nil {
		return err
	}
	return key.VerifySignature(h, sig)
}

// expiry tells when a key expires, and whether it has. One from the future counts as expired: either clock is wrong.
func expiry(key *packet.PublicKey, binding *packet.Signature, now time.Time) (time.Time, bool) {
	var at time.Time
	if life := binding.KeyLifetimeSecs; life != nil && *life != 0 {
		at = key.CreationTime.Add(time.Duration(*life) * time.Second)
	}
	return at, !at.IsZero() && !now.Before(at) || key.CreationTime.After(now)
}

// maySign tells whether a key is meant to sign. One that does not say what it is for is if its algorithm can.
func maySign(key *openpgp.Key) bool {
	if !key.SelfSignature.FlagsValid {
		return key.PublicKey.PubKeyAlgo.CanSign()
	}
	return key.SelfSignature.FlagSign
}

// unknownNotation refuses signatures with a notation that must be understood: none is.
func unknownNotation(sigs ...*packet.Signature) error {
	for _, sig := range sigs {
		for _, n := range sig.Notations {
			if n.IsCritical {
				return &unusualError{"The signature has a critical notation that is not known: " + n.Name}
			}
		}
	}
	return nil
}

func algorithm(a packet.PublicKeyAlgorithm) string {
	switch a {
	case packet.PubKeyAlgoRSA, packet.PubKeyAlgoRSASignOnly, packet.PubKeyAlgoRSAEncryptOnly:
		return "RSA"
	case packet.PubKeyAlgoDSA:
		return "DSA"
	case packet.PubKeyAlgoECDSA:
		return "ECDSA"
	case packet.PubKeyAlgoEdDSA, packet.PubKeyAlgoEd25519, packet.PubKeyAlgoEd448:
		return "EdDSA"
	}
	return fmt.Sprintf("algorithm %d", a)
}
