package rpm

import (
	"bufio"
	"bytes"
	"crypto/sha1" //nolint:gosec // packages before rpm 4.14 carry nothing better
	"crypto/sha256"
	"crypto/sha3"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
)

// ErrNoPayload is returned by Payload for a package that came from a header.
var ErrNoPayload = errors.New("only the header is at hand, not the package file")

// DigestError says that a package is damaged: its content does not have the
// digest that it states. A caller may fetch the package again.
type DigestError struct {
	What      string // "header SHA-256", "payload sha256", ...
	Got, Want string // hex
}

func (e *DigestError) Error() string {
	return fmt.Sprintf("the %s digest is %s, the package states %s: the file is damaged", e.What, e.Got, e.Want)
}

// Open reads the headers of a package file and verifies the header's digests.
// The caller closes the package; Payload then reads on from the file.
func Open(path string) (*Package, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("opening package: %w", err)
	}
	p, err := Read(bufio.NewReaderSize(f, 64<<10))
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("reading package %s: %w", path, err)
	}
	p.closer = f
	return p, nil
}

// Read is Open for a stream, which it leaves at the start of the payload.
func Read(r io.Reader) (*Package, error) {
	lead, sig, h, err := readHeaders(r)
	if err != nil {
		return nil, err
	}
	p := &Package{header: h, sig: sig, rest: r}
	p.Source = lead[7] == 1
	if err := p.fill(); err != nil {
		return nil, err
	}
	return p, nil
}

// readHeaders reads what stands before the payload.
func readHeaders(r io.Reader) (lead []byte, sig, h header, err error) {
	lead = make([]byte, len(emptyLead))
	if _, err := io.ReadFull(r, lead); err != nil {
		return nil, sig, h, truncated(err)
	}
	if !bytes.Equal(lead[:4], emptyLead[:4]) {
		return nil, sig, h, fmt.Errorf("not an RPM package: it starts with % x", lead[:4])
	}
	if sig, err = readHeader(r); err != nil {
		return nil, sig, h, fmt.Errorf("reading signature header: %w", err)
	}
	if _, err := io.CopyN(io.Discard, r, int64(pad(len(sig.raw)))); err != nil {
		return nil, sig, h, truncated(err)
	}
	if h, err = readHeader(r); err != nil {
		return nil, sig, h, fmt.Errorf("reading header: %w", err)
	}
	return lead, sig, h, verifyHeader(sig, h)
}

// pad is what follows a signature header of n bytes: it is padded to eight
// bytes, the main header is not.
func pad(n int) int { return (8 - n%8) % 8 }

// verifyHeader compares the header with every digest of it that the signature
// header states.
func verifyHeader(sig, h header) error {
	for _, d := range []struct {
		what string
		tag  int
		sum  func([]byte) string
	}{
		{"header SHA3-256", sigSHA3Header, func(b []byte) string { s := sha3.Sum256(b); return hex.EncodeToString(s[:]) }},
		{"header SHA-256", sigSHA256Header, func(b []byte) string { s := sha256.Sum256(b); return hex.EncodeToString(s[:]) }},
		{"header SHA-1", sigSHA1Header, func(b []byte) string { s := sha1.Sum(b); return hex.EncodeToString(s[:]) }}, //nolint:gosec
	} {
		want := sig.str(d.tag)
		if want == "" {
			continue
		}
		if got := d.sum(h.raw); got != want {
			return &DigestError{d.what, got, want}
		}
	}
	return nil
}

// ParseHeader reads a header blob as an rpm database stores it: the index and
// the data without the magic.
func ParseHeader(blob []byte) (*Package, error) {
	if len(blob) < 8 {
		return nil, errors.New("parsing header: it ends too early")
	}
	raw := make([]byte, 0, len(headerMagic)+len(blob))
	raw = append(append(raw, headerMagic...), blob...)
	h, err := decodeHeader(raw)
	if err != nil {
		return nil, fmt.Errorf("parsing header: %w", err)
	}
	p := &Package{header: h}
	if err := p.fill(); err != nil {
		return nil, fmt.Errorf("parsing header: %w", err)
	}
	return p, nil
}

// Close closes the file that Open opened.
func (p *Package) Close() error {
	p.rest = nil
	if p.closer == nil {
		return nil
	}
	return p.closer.Close()
}

// HeaderBlob is the main header as an rpm database stores it: index and data
// without the eight bytes of magic. Callers must not change it.
func (p *Package) HeaderBlob() []byte { return p.header.raw[len(headerMagic):] }

// SignatureTags are the values of the signature header that an rpm database
// repeats beside the header. A missing one is empty.
type SignatureTags struct {
	SHA1Header   string // hex
	SHA256Header string // hex
	SHA3Header   string // hex
	MD5          []byte // of header and payload
	Size         uint64 // of header and payload
	ArchiveSize  uint64 // of the uncompressed payload
	RSAHeader    []byte
	DSAHeader    []byte
	PGP, GPG     []byte // of header and payload

	FileSignatures      []string // of IMA, one a file, hex
	FileSignatureLength uint32
	VeritySignatures    []string // of fs-verity, one a file, base64
	VerityAlgorithm     uint32
}

// Signature gives the tags of the signature header.
func (p *Package) Signature() SignatureTags {
	s := SignatureTags{
		SHA1Header: p.sig.str(sigSHA1Header), SHA256Header: p.sig.str(sigSHA256Header), SHA3Header: p.sig.str(sigSHA3Header),
		MD5: p.sig.bytes(sigMD5), RSAHeader: p.sig.bytes(sigRSAHeader), DSAHeader: p.sig.bytes(sigDSAHeader),
		PGP: p.sig.bytes(sigPGP), GPG: p.sig.bytes(sigGPG),
		FileSignatures: p.sig.strings(sigFileSigs), FileSignatureLength: uint32(p.sig.uint(sigFileSigLen)),
		VeritySignatures: p.sig.strings(sigVeritySigs), VerityAlgorithm: uint32(p.sig.uint(sigVerityAlgo)),
	}
	if v := p.sig.either(sigLongSize, sigSize); len(v) > 0 {
		s.Size = uint64(v[0])
	}
	if v := p.sig.either(sigLongArchive, sigArchiveSize); len(v) > 0 {
		s.ArchiveSize = uint64(v[0])
	}
	return s
}

// Strings gives a string tag of the main header by its number, or nil.
func (p *Package) Strings(tag int) []string { return p.header.strings(tag) }

// Ints gives an integer tag of any width of the main header, or nil.
func (p *Package) Ints(tag int) []int64 { return p.header.ints(tag) }

// Bytes gives a binary or 8-bit tag of the main header, or nil.
func (p *Package) Bytes(tag int) []byte { return p.header.bytes(tag) }
