package rpm

import (
	"errors"
	"io"
)

// ErrNoPayload is returned by Payload for a package that came from a header.
var ErrNoPayload = errors.New("only the header is at hand, not the package file")

// Open reads the headers of a package file and verifies the header's digests.
// The caller closes the package; Payload then reads on from the file.
func Open(path string) (*Package, error) { return nil, errors.New("opening " + path) }

// Read is Open for a stream, which it leaves at the start of the payload.
func Read(r io.Reader) (*Package, error) { return nil, errors.New("reading") }

// ParseHeader reads a header blob as an rpm database stores it: the index and
// the data without the magic.
func ParseHeader(blob []byte) (*Package, error) { return nil, errors.New("parsing") }

// Close closes the file that Open opened.
func (p *Package) Close() error { return nil }

// HeaderBlob is the main header as an rpm database stores it: index and data
// without the eight bytes of magic. Callers must not change it.
func (p *Package) HeaderBlob() []byte { return nil }

// Signature values that an rpm database repeats beside the header. A missing
// one is empty.
type SignatureTags struct {
	SHA1Header   string // hex
	SHA256Header string // hex
	MD5          []byte // of header and payload
	Size         uint64 // of header and payload
	ArchiveSize  uint64 // of the uncompressed payload
	RSAHeader    []byte
	DSAHeader    []byte
	PGP, GPG     []byte
}

// Signature gives the tags of the signature header.
func (p *Package) Signature() SignatureTags { return SignatureTags{} }

// Strings, Ints and Bytes give the raw value of a header tag by its number, or
// nil when the header has none of that kind.
func (p *Package) Strings(tag int) []string { return nil }

// Ints gives an integer tag of any width.
func (p *Package) Ints(tag int) []int64 { return nil }

// Bytes gives a binary or 8-bit tag.
func (p *Package) Bytes(tag int) []byte { return nil }

type header struct{}

// Entry is one file of the payload.
type Entry struct {
	*File
	// Links are the other names of a hard-linked file. Such a set is one
	// entry: File is its first name.
	Links []*File
	// Size is the number of bytes that Read will give: zero for all but
	// regular files and, in older packages, symbolic links.
	Size uint64
}

// Payload iterates over the files of a package in the order of the archive.
type Payload struct{}

// Payload starts to read the payload; it can be read once. At its end it
// compares the digest of the payload, so a caller must reach io.EOF before it
// trusts what it read.
func (p *Package) Payload() (*Payload, error) { return nil, ErrNoPayload }

// Next goes to the next file, past what is left of this one; io.EOF ends.
func (a *Payload) Next() (*Entry, error) { return nil, io.EOF }

// Read reads the contents of the current file.
func (a *Payload) Read(b []byte) (int, error) { return 0, io.EOF }

// Close releases the decompressor.
func (a *Payload) Close() error { return nil }
