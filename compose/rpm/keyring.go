package rpm

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	pgperrors "github.com/ProtonMail/go-crypto/openpgp/errors"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// Keyring holds the OpenPGP public keys that signatures may come from. The zero
// value holds none.
type Keyring struct {
	ring openpgp.EntityList
	now  func() time.Time // nil: the clock; tests set it
}

// SignedBy is a signature that holds.
type SignedBy struct {
	Key     string // id of the key, 16 hex digits
	User    string // whose key it is
	Hash    crypto.Hash
	Created time.Time
}

// Weak says that the signature is over a SHA-1 digest. It holds, as distributors
// still sign so, Photon among them; but whoever can have something signed could
// sign something else with it.
func (s SignedBy) Weak() bool { return s.Hash == crypto.SHA1 }

// SignatureProblem is what is wrong with a signature.
type SignatureProblem int

// The problems, in the order in which one hides another: of several signatures
// the one with the highest is told.
const (
	Unsigned    SignatureProblem = iota // no signature at all
	Unsupported                         // an algorithm that is not known here or not safe
	UnknownKey                          // by keys that the key ring does not hold
	Untrusted                           // the key is expired or revoked, or the signature is
	Uncovered                           // nothing that is signed covers the whole file
	Wrong                               // by a known key, and over something else
)

// SignatureError says why a file counts as not signed. Who reports it branches
// on Problem to name the remedy.
type SignatureError struct {
	Problem SignatureProblem
	Keys    []string // ids of the keys that made the signatures
	Detail  string
}

func (e *SignatureError) Error() string {
	keys := "key " + strings.Join(e.Keys, ", ")
	if len(e.Keys) != 1 {
		keys = "keys " + strings.Join(e.Keys, ", ")
	}
	if len(e.Keys) == 0 {
		keys = "a key without id"
	}
	switch e.Problem {
	case Unsigned:
		return "it is not signed"
	case Unsupported:
		return "its signature cannot be checked: " + e.Detail
	case UnknownKey:
		return "it is signed with the unknown " + keys
	case Untrusted:
		return "it is signed with the " + keys + ", but " + e.Detail
	case Uncovered:
		return "it is signed with the " + keys + ", but the signature does not cover the payload"
	}
	return "its signature by the " + keys + " is wrong: it was changed after it was signed"
}

const beginKey, endKey = "-----BEGIN PGP PUBLIC KEY BLOCK-----", "-----END PGP PUBLIC KEY BLOCK-----"

// Add reads public keys, armored or not. Of armored ones there may be several
// blocks, with text between them.
func (k *Keyring) Add(data []byte) error {
	if !bytes.Contains(data, []byte(beginKey)) {
		if bytes.Contains(data, []byte("-----BEGIN PGP")) {
			return errors.New("it holds no public key")
		}
		return k.add(data)
	}
	for {
		_, rest, found := bytes.Cut(data, []byte(beginKey))
		if !found {
			return nil
		}
		body, rest, found := bytes.Cut(rest, []byte(endKey))
		if !found {
			return errors.New("a key block has no end")
		}
		block, err := armor.Decode(strings.NewReader(beginKey + string(body) + endKey + "\n"))
		if err != nil {
			return fmt.Errorf("decoding a key block: %w", err)
		}
		raw, err := io.ReadAll(block.Body)
		if err != nil {
			return fmt.Errorf("decoding a key block: %w", err)
		}
		if err := k.add(raw); err != nil {
			return err
		}
		data = rest
	}
}

func (k *Keyring) add(raw []byte) error {
	ring, err := openpgp.ReadKeyRing(bytes.NewReader(raw))
	if err != nil {
		return err
	}
	if len(ring) == 0 {
		return errors.New("it holds no public key")
	}
	for _, e := range ring {
		k.addKey(e)
	}
	return nil
}

// addKey adds one key. Of two copies of one the later counts, which may have
// another expiry, but a revocation stays.
func (k *Keyring) addKey(e *openpgp.Entity) {
	for i, old := range k.ring {
		if bytes.Equal(old.PrimaryKey.Fingerprint, e.PrimaryKey.Fingerprint) {
			if len(old.Revocations) == 0 {
				k.ring[i] = e
			}
			return
		}
	}
	k.ring = append(k.ring, e)
}

// IDs are the ids of the keys, without subkeys, in the order of reading.
func (k *Keyring) IDs() []string {
	ids := make([]string, 0, len(k.ring))
	for _, e := range k.ring {
		if id := e.PrimaryKey.KeyIdString(); !slices.Contains(ids, strings.ToLower(id)) {
			ids = append(ids, strings.ToLower(id))
		}
	}
	return ids
}

// CheckDetached verifies a signature, armored or not, of data.
func (k *Keyring) CheckDetached(data, signature []byte) (SignedBy, error) {
	if bytes.HasPrefix(bytes.TrimSpace(signature), []byte("-----BEGIN")) {
		block, err := armor.Decode(bytes.NewReader(signature))
		if err != nil {
			return SignedBy{}, fmt.Errorf("decoding the signature: %w", err)
		}
		if signature, err = io.ReadAll(block.Body); err != nil {
			return SignedBy{}, fmt.Errorf("decoding the signature: %w", err)
		}
	}
	return k.check([][]byte{signature}, func() (io.Reader, error) { return bytes.NewReader(data), nil })
}

// maxSignatures bounds what a file can make us compute.
const maxSignatures = 16

// check verifies signatures of what signed gives anew each time. One that holds
// is enough, if none by a known key is wrong: signatures of other keys are for
// others.
func (k *Keyring) check(signatures [][]byte, signed func() (io.Reader, error)) (SignedBy, error) {
	var good *SignedBy
	worst := &SignatureError{Problem: Unsigned}
	count := 0
	for _, s := range signatures {
		packets := packet.NewOpaqueReader(bytes.NewReader(s))
		for {
			p, err := packets.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if count++; count > maxSignatures {
				return SignedBy{}, &SignatureError{Problem: Unsupported, Detail: fmt.Sprintf("it has more than %d", maxSignatures)}
			}
			if err != nil {
				worst.add(Unsupported, "", "it is damaged: "+err.Error())
				break
			}
			by, bad, err := k.checkPacket(p, signed)
			switch {
			case err != nil:
				return SignedBy{}, err
			case bad != nil:
				worst.add(bad.Problem, strings.Join(bad.Keys, ""), bad.Detail)
			case good == nil:
				good = &by
			}
		}
	}
	if good != nil && worst.Problem != Wrong {
		return *good, nil
	}
	return SignedBy{}, worst
}

func (e *SignatureError) add(p SignatureProblem, key, detail string) {
	if p < e.Problem {
		return
	}
	if p > e.Problem {
		*e = SignatureError{Problem: p}
	}
	if key != "" && !slices.Contains(e.Keys, key) {
		e.Keys = append(e.Keys, key)
	}
	e.Detail = detail
}

// checkPacket verifies one signature packet.
func (k *Keyring) checkPacket(p *packet.OpaquePacket, signed func() (io.Reader, error)) (SignedBy, *SignatureError, error) {
	const signatureTag = 2
	if p.Tag != signatureTag {
		return SignedBy{}, &SignatureError{Problem: Unsupported, Detail: "there is something else in its place"}, nil
	}
	if len(p.Contents) > 0 && (p.Contents[0] == 3 || p.Contents[0] == 2) {
		return k.checkV3(p.Contents, signed)
	}
	parsed, err := p.Parse()
	sig, ok := parsed.(*packet.Signature)
	switch {
	case err != nil:
		return SignedBy{}, &SignatureError{Problem: Unsupported, Detail: err.Error()}, nil
	case !ok || sig.IssuerKeyId == nil:
		return SignedBy{}, &SignatureError{Problem: Unsupported, Detail: "it names no key"}, nil
	case sig.SigType != packet.SigTypeBinary:
		return SignedBy{}, &SignatureError{Problem: Unsupported, Detail: "it is a signature of something else than a file"}, nil
	}
	id := keyID(*sig.IssuerKeyId)
	if bad := unsafe(id, sig.Hash); bad != nil {
		return SignedBy{}, bad, nil
	}
	var one bytes.Buffer
	if err := p.Serialize(&one); err != nil {
		return SignedBy{}, nil, err
	}
	data, err := signed()
	if err != nil {
		return SignedBy{}, nil, err
	}
	in := &errReader{r: data}
	// The first API and not the second: that one gives no error for a key that
	// has expired since.
	_, e, err := openpgp.VerifyDetachedSignature(signers{k.ring}, in, &one, &packet.Config{Time: k.now})
	if in.err != nil {
		return SignedBy{}, nil, in.err
	}
	if err != nil {
		return SignedBy{}, problemOf(id, err), nil
	}
	return SignedBy{Key: id, User: user(e), Hash: sig.Hash, Created: sig.CreationTime}, nil, nil
}

// errReader remembers that the data could not be read, which is no fault of the
// signature.
type errReader struct {
	r   io.Reader
	err error
}

func (e *errReader) Read(b []byte) (int, error) {
	n, err := e.r.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		e.err = err
	}
	return n, err
}

func keyID(id uint64) string { return fmt.Sprintf("%016x", id) }

// unsafe refuses digests of which forgeries can be made.
func unsafe(id string, h crypto.Hash) *SignatureError {
	switch h {
	case crypto.MD5, crypto.RIPEMD160:
		return &SignatureError{Problem: Unsupported, Keys: []string{id}, Detail: "it is over a digest that is not safe, " + h.String()}
	}
	return nil
}

func problemOf(id string, err error) *SignatureError {
	bad := &SignatureError{Keys: []string{id}, Problem: Wrong}
	var unsupported pgperrors.UnsupportedError
	switch {
	case errors.Is(err, pgperrors.ErrUnknownIssuer):
		bad.Problem = UnknownKey
	case errors.Is(err, pgperrors.ErrKeyExpired):
		bad.Problem, bad.Detail = Untrusted, "the key has expired"
	case errors.Is(err, pgperrors.ErrKeyRevoked):
		bad.Problem, bad.Detail = Untrusted, "the key is revoked"
	case errors.Is(err, pgperrors.ErrSignatureExpired):
		bad.Problem, bad.Detail = Untrusted, "the signature has expired or is from the future of this machine's clock"
	case errors.As(err, &unsupported):
		bad.Problem, bad.Detail = Unsupported, err.Error()
	}
	return bad
}

func user(e *openpgp.Entity) string {
	if i := e.PrimaryIdentity(); i != nil {
		return i.Name
	}
	return ""
}

// signers are the keys of a ring that may sign.
type signers struct{ openpgp.EntityList }

// KeysByIdUsage leaves out keys that lack what the library takes for granted, a
// signature that binds them to their owner; and lets in primary keys that do
// not say what they are for, as old ones do.
func (s signers) KeysByIdUsage(id uint64, _ byte) (keys []openpgp.Key) {
	for _, k := range s.KeysById(id) {
		self, _ := k.Entity.PrimarySelfSignature()
		if self == nil || k.SelfSignature == nil || k.SelfSignature.FlagsValid && !k.SelfSignature.FlagSign {
			continue
		}
		if k.PublicKey != k.Entity.PrimaryKey && k.SelfSignature.EmbeddedSignature == nil {
			continue
		}
		keys = append(keys, k)
	}
	return keys
}
