package pull

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"hash"
	"slices"
	"strings"

	"photree/repo"
)

// maxMirrorList is the most bytes that a list of mirrors or a metalink may have (R7).
const maxMirrorList = 1 << 20

// addresses returns the servers that an address stands for: itself, or those of the list behind "mirrorlist=".
func addresses(ctx context.Context, address string, o *Options, remote remoteConfig) ([]string, error) {
	list, ok := strings.CutPrefix(address, "mirrorlist=")
	if !ok {
		return []string{address}, nil
	}
	data, err := fetchURL(ctx, list, o, remote, maxMirrorList)
	if err != nil {
		return nil, fmt.Errorf("reading the list of mirrors: %w", err)
	}
	var mirrors []string
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if _, err := parseURL(line); err == nil {
			mirrors = append(mirrors, line)
		}
	}
	if len(mirrors) == 0 {
		return nil, fmt.Errorf("No valid mirrors were found in mirrorlist '%s'", list) //nolint:staticcheck // ostree's words
	}
	return mirrors, nil
}

// fetchURL fetches one file that need not be one of a repository.
func fetchURL(ctx context.Context, address string, o *Options, remote remoteConfig, limit int64) ([]byte, error) {
	f, err := newFetcher([]string{address}, o, remote)
	if err != nil {
		return nil, err
	}
	defer f.close()
	return f.small(ctx, "", limit)
}

// metalink is the part of a metalink document that names the summary of a repository, its digests and where it is.
type metalink struct {
	Files []struct {
		Name string `xml:"name,attr"`
		Size *int64 `xml:"size"`
		Hash []struct {
			Type  string `xml:"type,attr"`
			Value string `xml:",chardata"`
		} `xml:"verification>hash"`
		URLs []struct {
			Protocol   string `xml:"protocol,attr"`
			Preference int    `xml:"preference,attr"`
			Value      string `xml:",chardata"`
		} `xml:"resources>url"`
	} `xml:"files>file"`
}

// followMetalink fetches a metalink and then the summary that it names, from the first server that has the right one. It
// returns the address of that repository and the summary, which is used as it is: the next answer might be another.
func followMetalink(ctx context.Context, address string, o *Options, remote remoteConfig) (string, []byte, error) {
	data, err := fetchURL(ctx, address, o, remote, maxMirrorList)
	if err != nil {
		return "", nil, fmt.Errorf("reading the metalink: %w", err)
	}
	target, err := parseMetalink(data)
	if err != nil {
		return "", nil, fmt.Errorf("reading the metalink %s: %w", address, err)
	}
	for _, u := range target.urls {
		summary, tryErr := fetchURL(ctx, u, o, remote, target.size+maxRef)
		if tryErr == nil {
			if tryErr = target.check(summary); tryErr == nil {
				return strings.TrimSuffix(u, "/summary"), summary, nil
			}
		}
		if ctx.Err() != nil {
			return "", nil, ctx.Err()
		}
		err = fmt.Errorf("fetching %s, which the metalink names: %w", u, tryErr)
	}
	return "", nil, err
}

// metalinkTarget is what a metalink says about the summary.
type metalinkTarget struct {
	size   int64
	newSum func() hash.Hash
	digest []byte
	urls   []string
}

var errNoElement = errors.New("Document must begin with an element") //nolint:staticcheck // words that scripts look for

func parseMetalink(data []byte) (metalinkTarget, error) {
	var t metalinkTarget
	if !bytes.ContainsRune(data, '<') {
		return t, errNoElement
	}
	var doc metalink
	if err := xml.Unmarshal(data, &doc); err != nil {
		return t, err
	}
	for _, f := range doc.Files {
		if f.Name != "summary" {
			continue
		}
		if f.Size == nil || *f.Size < 0 || *f.Size > maxSummary {
			return t, errors.New("the size of the summary is missing or out of range")
		}
		t.size = *f.Size
		// The strongest digest counts, but one that is no digest is a damaged document.
		for _, known := range []struct {
			name   string
			newSum func() hash.Hash
		}{{"sha256", sha256.New}, {"sha512", sha512.New}} {
			for _, h := range f.Hash {
				if h.Type != known.name {
					continue
				}
				digest, err := hex.DecodeString(strings.TrimSpace(h.Value))
				if err != nil || len(digest) != known.newSum().Size() {
					return t, fmt.Errorf("Invalid hash digest for %s", known.name) //nolint:staticcheck // as above
				}
				t.newSum, t.digest = known.newSum, digest
			}
		}
		if t.newSum == nil {
			return t, errors.New("No <verification> element with known <hash type=> found") //nolint:staticcheck // as above
		}
		slices.SortStableFunc(f.URLs, func(a, b struct {
			Protocol   string `xml:"protocol,attr"`
			Preference int    `xml:"preference,attr"`
			Value      string `xml:",chardata"`
		}) int {
			return b.Preference - a.Preference
		})
		for _, u := range f.URLs {
			if address := strings.TrimSpace(u.Value); u.Protocol == "http" || u.Protocol == "https" {
				t.urls = append(t.urls, address)
			}
		}
		if len(t.urls) == 0 {
			return t, errors.New("No <url method='http'> elements found") //nolint:staticcheck // as above
		}
		return t, nil
	}
	return t, errors.New("it names no file \"summary\"")
}

func (t *metalinkTarget) check(data []byte) error {
	if int64(len(data)) != t.size {
		return fmt.Errorf("Expected size is %d bytes but content is %d bytes", t.size, len(data)) //nolint:staticcheck // as above
	}
	h := t.newSum()
	h.Write(data)
	if got := h.Sum(nil); !bytes.Equal(got, t.digest) {
		return fmt.Errorf("Expected checksum is %x but actual is %x", t.digest, got) //nolint:staticcheck // as above
	}
	return nil
}

// openSource makes the source that a remote's addresses stand for.
func openSource(ctx context.Context, o *Options, remote remoteConfig) (source, func(), error) {
	if dir, ok := fileURL(remote.url); ok && remote.metalink == "" {
		src, err := repo.Open(dir)
		if err != nil {
			return nil, nil, fmt.Errorf("pulling from remote %q: %w", o.Remote, err)
		}
		return &localSource{repo: src, untrusted: true}, func() { src.Close() }, nil
	}
	src, err := newHTTPSource(ctx, o, remote)
	if err != nil {
		return nil, nil, fmt.Errorf("pulling from remote %q: %w", o.Remote, err)
	}
	return src, src.close, nil
}
