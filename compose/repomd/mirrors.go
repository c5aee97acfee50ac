package repomd

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// maxSmall bounds repomd.xml, mirror lists and metalinks.
const maxSmall = 16 << 20

// mirrors are the places that a repository is read from, best first.
type mirrors struct {
	bases []string
	// repomd digests that a metalink states, any of which may be right: the
	// current one and those of mirrors that are a little behind.
	sha256 []string
}

func (f *fetcher) mirrors(ctx context.Context) (mirrors, error) {
	c := f.cfg
	for _, u := range append([]string{c.MirrorList, c.Metalink}, c.BaseURLs...) {
		if v := variable.FindString(u); v != "" {
			return mirrors{}, fmt.Errorf("the URL %s uses the variable %s, which has no value: set releasever, basearch or repovars in the treefile", u, v)
		}
	}
	if len(c.BaseURLs) > 0 {
		return mirrors{bases: c.BaseURLs}, nil
	}
	if c.Metalink != "" {
		data, err := f.get(ctx, c.Metalink, maxSmall)
		if err != nil {
			return mirrors{}, fmt.Errorf("fetching the metalink: %w", err)
		}
		m, err := parseMetalink(data)
		if err != nil {
			return m, fmt.Errorf("parsing the metalink %s: %w", c.Metalink, err)
		}
		return m, nil
	}
	if c.MirrorList == "" {
		return mirrors{}, errors.New("it has neither baseurl, mirrorlist nor metalink")
	}
	data, err := f.get(ctx, c.MirrorList, maxSmall)
	if err != nil {
		return mirrors{}, fmt.Errorf("fetching the list of mirrors: %w", err)
	}
	if strings.Contains(string(data[:min(len(data), 2000)]), "<metalink") {
		return parseMetalink(data) // the key may name either, as in dnf
	}
	var m mirrors
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' && strings.Contains(line, ":/") {
			m.bases = append(m.bases, line)
		}
	}
	if len(m.bases) == 0 {
		return m, fmt.Errorf("the list of mirrors %s names none", c.MirrorList)
	}
	return m, nil
}

func parseMetalink(data []byte) (mirrors, error) {
	type hashes struct {
		Hash []struct {
			Type  string `xml:"type,attr"`
			Value string `xml:",chardata"`
		} `xml:"verification>hash"`
	}
	var doc struct {
		XMLName xml.Name `xml:"metalink"`
		Files   []struct {
			Name string `xml:"name,attr"`
			hashes
			Alternates []hashes `xml:"alternates>alternate"`
			URLs       []struct {
				Preference int    `xml:"preference,attr"`
				URL        string `xml:",chardata"`
			} `xml:"resources>url"`
		} `xml:"files>file"`
	}
	if err := xml.Unmarshal(data, &doc); err != nil {
		return mirrors{}, err
	}
	var m mirrors
	for _, f := range doc.Files {
		if f.Name != "repomd.xml" {
			continue
		}
		slices.SortStableFunc(f.URLs, func(a, b struct {
			Preference int    `xml:"preference,attr"`
			URL        string `xml:",chardata"`
		}) int {
			return b.Preference - a.Preference
		})
		for _, u := range f.URLs {
			base, ok := strings.CutSuffix(strings.TrimSpace(u.URL), "repodata/repomd.xml")
			if ok && (strings.HasPrefix(base, "http") || strings.HasPrefix(base, "file:")) {
				m.bases = append(m.bases, base)
			}
		}
		for _, hs := range append([]hashes{f.hashes}, f.Alternates...) {
			for _, h := range hs.Hash {
				if h.Type == "sha256" {
					m.sha256 = append(m.sha256, strings.ToLower(strings.TrimSpace(h.Value)))
				}
			}
		}
	}
	if len(m.bases) == 0 {
		return m, errors.New("it names no mirror of repomd.xml")
	}
	return m, nil
}
