// Package object is the pure part of the repository: the names of objects, their encodings and their checksums.
//
// It reads and writes bytes only, never files. An object is named by the SHA-256 of its canonical bytes: a metadata
// object by the digest of what is stored, a file by the digest of its header (owner, mode, symlink target, extended
// attributes) and its content, however a repository stores it (R1). Decoding then encoding gives the same bytes, or
// decoding fails; nothing is normalised in silence. docs/formats.md describes every encoding.
package object

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// ID is the SHA-256 that names an object.
type ID [sha256.Size]byte

// ParseID reads an ID from 64 lower-case hexadecimal digits.
func ParseID(s string) (ID, error) {
	var id ID
	if !IsIDString(s) {
		return id, fmt.Errorf("%q is not a checksum of 64 hexadecimal digits", s)
	}
	_, err := hex.Decode(id[:], []byte(s))
	return id, err
}

// IsIDString says whether s is 64 lower-case hexadecimal digits.
func IsIDString(s string) bool {
	return len(s) == 2*sha256.Size && strings.Trim(s, "0123456789abcdef") == ""
}

// String returns the 64 hexadecimal digits.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// IsZero says whether id is unset; no object has that name.
func (id ID) IsZero() bool { return id == ID{} }

// MarshalText writes the hexadecimal digits, for JSON.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads the hexadecimal digits.
func (id *ID) UnmarshalText(b []byte) error {
	x, err := ParseID(string(b))
	*id = x
	return err
}

// Kind is the type of an object; the numbers are those that static deltas and size lists carry.
type Kind uint8

// The kinds of objects.
const (
	KindFile            Kind = 1
	KindDirTree         Kind = 2
	KindDirMeta         Kind = 3
	KindCommit          Kind = 4
	KindTombstone       Kind = 5
	KindCommitMeta      Kind = 6 // detached metadata: named by its commit, not by its own digest
	KindPayloadLink     Kind = 7
	KindFileXattrs      Kind = 8
	KindFileXattrsLink  Kind = 9
	maxKind                  = KindFileXattrsLink
	MaxMetadataSize          = 128 << 20 // MaxMetadataSize is the most bytes a metadata object may have (R7).
	maxFileHeaderLength      = 16 << 20
)

var kindNames = [maxKind + 1]string{"", "file", "dirtree", "dirmeta", "commit", "tombstone-commit", "commitmeta",
	"payload-link", "file-xattrs", "file-xattrs-link"}

// String returns the name that the kind has as the suffix of a file name.
func (k Kind) String() string {
	if k == 0 || k > maxKind {
		return fmt.Sprintf("kind-%d", uint8(k))
	}
	return kindNames[k]
}

// ParseKind is the inverse of String.
func ParseKind(s string) (Kind, error) {
	for k, name := range kindNames {
		if k > 0 && name == s {
			return Kind(k), nil
		}
	}
	return 0, fmt.Errorf("%q is not a kind of object", s)
}

// IsMetadata says whether objects of this kind are GVariants named by the digest of their bytes.
func (k Kind) IsMetadata() bool {
	return k == KindDirTree || k == KindDirMeta || k == KindCommit
}

// Name names one object of a repository.
type Name struct {
	ID   ID
	Kind Kind
}

// String returns "CHECKSUM.kind".
func (n Name) String() string { return n.ID.String() + "." + n.Kind.String() }

// ParseName is the inverse of String.
func ParseName(s string) (Name, error) {
	hexID, suffix, _ := strings.Cut(s, ".")
	id, err := ParseID(hexID)
	if err != nil {
		return Name{}, err
	}
	kind, err := ParseKind(suffix)
	return Name{id, kind}, err
}

// MetadataID returns the name of a metadata object.
func MetadataID(data []byte) ID { return sha256.Sum256(data) }
