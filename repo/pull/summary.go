package pull

import (
	"fmt"

	"photree/repo"
	"photree/repo/object"
)

// The most bytes that each file of a server may have before its digest is known (R7).
const (
	maxSummary  = object.MaxMetadataSize
	maxConfig   = 1 << 20
	maxRef      = 1 << 10
	maxMetadata = object.MaxMetadataSize
)

// Summary is the list of refs that a server offers, with the files that it came in.
type Summary struct {
	repo.Summary
	Raw        []byte
	signatures []byte // the file summary.sig, where it was checked
}

func parseSummary(data []byte) (*Summary, error) {
	s, err := repo.DecodeSummary(data)
	if err != nil {
		return nil, fmt.Errorf("reading the summary: %w", err)
	}
	return &Summary{Summary: s, Raw: data}, nil
}
