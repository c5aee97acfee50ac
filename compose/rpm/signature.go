package rpm

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
)

// CheckSignature verifies that one of the keys has signed a package file, all
// of it: a signature of the header is enough where the header holds the digest
// of the payload, which is then compared; else one of header and payload is
// asked for, as packages before rpm 4.14 carry it. A *SignatureError says why a
// package does not pass, a *DigestError that the file is damaged.
//
// The signature is over the very bytes that Open reads, so what passes here is
// what Open gives.
func CheckSignature(path string, keys *Keyring) (SignedBy, error) {
	f, err := os.Open(path)
	if err != nil {
		return SignedBy{}, fmt.Errorf("opening package: %w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return SignedBy{}, fmt.Errorf("opening package: %w", err)
	}
	_, sig, h, err := readHeaders(io.NewSectionReader(f, 0, st.Size()))
	if err != nil {
		return SignedBy{}, fmt.Errorf("reading package %s: %w", path, err)
	}
	start := int64(len(emptyLead) + len(sig.raw) + pad(len(sig.raw)) + len(h.raw))
	c := signatureCheck{keys: keys, sig: sig, header: h, payload: func() io.Reader {
		return io.NewSectionReader(f, start, st.Size()-start)
	}}
	return c.check()
}

// signatureCheck is what the signatures of one package are compared with.
type signatureCheck struct {
	keys        *Keyring
	sig, header header
	payload     func() io.Reader // from its start
}

func (c *signatureCheck) check() (SignedBy, error) {
	headerSigs, err := c.headerSignatures()
	if err != nil {
		return SignedBy{}, err
	}
	by, err := c.keys.check(headerSigs, func() (io.Reader, error) { return bytes.NewReader(c.header.raw), nil })
	var bad *SignatureError
	switch {
	case err == nil:
		covered, err := c.payloadDigest()
		if err != nil {
			return SignedBy{}, err
		}
		if covered {
			return by, nil
		}
		bad = &SignatureError{Problem: Uncovered, Keys: []string{by.Key}}
	case !errors.As(err, &bad) || bad.Problem == Wrong:
		return SignedBy{}, err
	}
	var both [][]byte
	for _, tag := range []int{sigPGP, sigGPG} {
		if b := c.sig.bytes(tag); len(b) > 0 {
			both = append(both, b)
		}
	}
	by, err = c.keys.check(both, func() (io.Reader, error) {
		return io.MultiReader(bytes.NewReader(c.header.raw), c.payload()), nil
	})
	var worse *SignatureError
	if errors.As(err, &worse) && worse.Problem < bad.Problem {
		err = bad
	}
	return by, err
}

// headerSignatures are the signatures of the header. rpm 6 puts each of them in
// one tag, as text, and repeats one where older versions look for it.
func (c *signatureCheck) headerSignatures() (sigs [][]byte, err error) {
	for _, text := range c.sig.strings(sigOpenPGP) {
		b, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return nil, fmt.Errorf("decoding a signature: %w", err)
		}
		sigs = append(sigs, b)
	}
	for _, tag := range []int{sigRSAHeader, sigDSAHeader} {
		b := c.sig.bytes(tag)
		known := len(b) == 0
		for _, s := range sigs {
			known = known || bytes.Equal(s, b)
		}
		if !known {
			sigs = append(sigs, b)
		}
	}
	return sigs, nil
}

// payloadDigest compares the payload with the digest that the header holds, and
// says whether it holds one.
func (c *signatureCheck) payloadDigest() (bool, error) {
	h, what, want, err := payloadDigest(c.header)
	if h == nil || err != nil {
		return false, err
	}
	if _, err := io.Copy(h, c.payload()); err != nil {
		return false, fmt.Errorf("reading the payload: %w", err)
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != want {
		return false, &DigestError{what, got, want}
	}
	return true, nil
}
