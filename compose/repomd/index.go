package repomd

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"strings"
)

// index is repomd.xml: the list of a repository's indexes with their digests.
type index struct {
	Data []indexFile `xml:"data"`
}

type indexFile struct {
	Type     string `xml:"type,attr"`
	Checksum struct {
		Type  string `xml:"type,attr"`
		Value string `xml:",chardata"`
	} `xml:"checksum"`
	Location struct {
		Href string `xml:"href,attr"`
		Base string `xml:"base,attr"`
	} `xml:"location"`
	Timestamp float64 `xml:"timestamp"` // createrepo of old wrote fractions
	Size      uint64  `xml:"size"`
	OpenSize  uint64  `xml:"open-size"`
}

func parseIndex(data []byte) (*index, error) {
	var doc struct {
		XMLName xml.Name `xml:"repomd"`
		index
	}
	if err := xml.Unmarshal(data, &doc); err != nil {
		if html := bytes.ToLower(data[:min(len(data), 512)]); bytes.Contains(html, []byte("<html")) {
			return nil, errors.New("it is a web page, not a repository's repomd.xml: the base URL is wrong or a proxy answers in its place")
		}
		return nil, fmt.Errorf("it is not a repository's repomd.xml: %w", err)
	}
	for i := range doc.Data {
		f := &doc.Data[i]
		f.Checksum.Value = strings.ToLower(strings.TrimSpace(f.Checksum.Value))
	}
	return &doc.index, nil
}

// file gives the entry of one index, or nil.
func (x *index) file(kind string) *indexFile {
	for i := range x.Data {
		if x.Data[i].Type == kind {
			return &x.Data[i]
		}
	}
	return nil
}

func (x *index) timestamp() uint64 {
	var newest uint64
	for _, f := range x.Data {
		if f.Timestamp > 0 && f.Timestamp < 1<<53 {
			newest = max(newest, uint64(f.Timestamp))
		}
	}
	return newest
}
