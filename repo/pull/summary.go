package pull

import (
	"fmt"

	"photree/internal/gvariant"
	"photree/repo/object"
)

// The most bytes that each file of a server may have before its digest is known (R7).
const (
	maxSummary  = object.MaxMetadataSize
	maxConfig   = 1 << 20
	maxRef      = 1 << 10
	maxMetadata = object.MaxMetadataSize
)

// summaryType is the GVariant type of a summary: refs with size, checksum and metadata, then metadata of its own.
const summaryType = "(a(s(taya{sv}))a{sv})"

// Summary is the list of refs that a server offers.
type Summary struct {
	Refs []SummaryRef // in the order of the file, which is by name
	// Metadata holds the keys of the summary itself.
	Metadata gvariant.Dict
	// Raw is the file.
	Raw        []byte
	signatures []byte // the file summary.sig, where it was checked
}

// SummaryRef is one ref of a summary.
type SummaryRef struct {
	Name       string
	Commit     object.ID
	CommitSize uint64
	Metadata   gvariant.Dict
}

// Ref returns the commit that the ref name has.
func (s *Summary) Ref(name string) (object.ID, bool) {
	for _, ref := range s.Refs {
		if ref.Name == name {
			return ref.Commit, true
		}
	}
	return object.ID{}, false
}

// ParseSummary reads a summary file.
func ParseSummary(data []byte) (*Summary, error) {
	v, err := gvariant.Parse(summaryType, data)
	if err != nil {
		return nil, fmt.Errorf("reading the summary: %w", err)
	}
	s := &Summary{Metadata: v.Index(1).Dict(), Raw: data}
	refs := v.Index(0)
	for i := range refs.Len() {
		entry := refs.Index(i)
		ref := SummaryRef{Name: entry.Index(0).Str()}
		body := entry.Index(1)
		ref.CommitSize = body.Index(0).Uint64()
		if n := copy(ref.Commit[:], body.Index(1).ByteSlice()); n != len(ref.Commit) || body.Index(1).Len() != n {
			return nil, fmt.Errorf("reading the summary: ref %q has a checksum of %d bytes", ref.Name, body.Index(1).Len())
		}
		ref.Metadata = body.Index(2).Dict()
		s.Refs = append(s.Refs, ref)
	}
	return s, nil
}
