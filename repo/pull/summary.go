package pull

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"photree/internal/durable"
	"photree/repo"
	"photree/repo/object"
)

// The most bytes that each file of a server may have before its digest is known (R7).
const (
	maxSummary  = object.MaxMetadataSize
	maxConfig   = 1 << 20
	maxRef      = 1 << 10
	maxMetadata = object.MaxMetadataSize
	maxCommit   = 16 << 20 // no tree makes a commit large, and nobody has asked for what else it holds
)

// Summary is the list of refs that a server offers, with the files that it came in.
type Summary struct {
	repo.Summary
	Raw        []byte
	Signatures []byte // the file summary.sig, nil when there is none
}

func (f summaryFiles) parse() (*Summary, error) {
	s, err := repo.DecodeSummary(f.summary)
	if err != nil {
		return nil, fmt.Errorf("reading the summary: %w", err)
	}
	return &Summary{Summary: s, Raw: f.summary, Signatures: f.signatures}, nil
}

// loadSummary returns what a source says about its refs. Where signatures are asked for nothing is read from a summary
// before its signature holds (R7). The error wraps repo.ErrNotFound when there is no summary.
func loadSummary(ctx context.Context, r *repo.Repo, o *Options, src source, keys *verifier) (*Summary, error) {
	if !keys.summaryRequired() {
		if s, err := src.refs(ctx); s != nil || err != nil {
			return s, err
		}
	}
	if !keys.summaryRequired() && !o.Mirror {
		src = unsigned{src}
	}
	cache := newSummaryCache(r, o, src)
	files, err := fetchSummary(ctx, src, cache.load(), keys)
	if err != nil {
		return nil, err
	}
	s, err := files.parse()
	if err != nil {
		return nil, err
	}
	return s, cache.store(files)
}

// unsigned is a source whose summary's signatures nobody wants to see.
type unsigned struct{ source }

func (unsigned) signatureFile(context.Context) ([]byte, error) { return nil, nil }

// summaryFiles are the two files of a summary.
type summaryFiles struct{ summary, signatures []byte }

func (f summaryFiles) equal(g summaryFiles) bool {
	return bytes.Equal(f.summary, g.summary) && bytes.Equal(f.signatures, g.signatures)
}

// fetchSummary fetches the summary with its signatures. The two are two files: a server that replaces them in between may
// give the old one of one and the new one of the other. That is no attack, so they are fetched again for a second.
func fetchSummary(ctx context.Context, src source, cached summaryFiles, keys *verifier) (summaryFiles, error) {
	const tries = 5
	for try := 0; ; try++ {
		files, err := fetchSummaryOnce(ctx, src, cached, keys)
		if err != nil {
			return files, err
		}
		err = keys.checkSummary(files.summary, files.signatures)
		if err == nil || files.signatures == nil || try == tries-1 {
			return files, err
		}
		select {
		case <-ctx.Done():
			return files, context.Cause(ctx)
		case <-time.After(50 * time.Millisecond << try):
		}
	}
}

// fetchSummaryOnce fetches the signatures, and the summary only if they are not those of the one in the cache.
func fetchSummaryOnce(ctx context.Context, src source, cached summaryFiles, keys *verifier) (summaryFiles, error) {
	var files summaryFiles
	var err error
	if files.signatures, err = src.signatureFile(ctx); err != nil {
		return files, err
	}
	if cached.summary != nil && files.signatures != nil && bytes.Equal(cached.signatures, files.signatures) {
		if err = keys.checkSummary(cached.summary, cached.signatures); err == nil && keys.summaryRequired() {
			return cached, nil
		}
		if err != nil && os.Getenv("OSTREE_REPO_TEST_ERROR") == "invalid-cache" {
			return files, errors.New("OSTREE_REPO_TEST_ERROR_INVALID_CACHE")
		}
	}
	if files.summary, err = src.summaryFile(ctx); err != nil {
		return files, err
	}
	if files.summary == nil {
		missing := ""
		if keys.summaryRequired() {
			missing = "signatures of the summary are asked for, but no summary found (check that the configured URL in remote config is correct): "
		}
		return files, fmt.Errorf("%sthe summary: %w: %w", missing, errNotFound, repo.ErrNotFound)
	}
	return files, nil
}

// summaryCache keeps the signed summaries of remotes from one pull to the next: one whose signatures are still those of
// the server need not be fetched. The zero value keeps nothing.
type summaryCache struct{ file string }

func newSummaryCache(r *repo.Repo, o *Options, src source) summaryCache {
	if _, ok := src.(*httpSource); !ok || o.Remote == "" || o.URL != "" || os.Getenv("OSTREE_SKIP_CACHE") != "" {
		return summaryCache{}
	}
	dir := o.CacheDir
	if dir == "" {
		dir = filepath.Join(r.Path(), "tmp/cache")
	}
	return summaryCache{filepath.Join(dir, "summaries", o.Remote)}
}

// load returns what the cache has. A cache that cannot be read is an empty one.
func (c summaryCache) load() summaryFiles {
	var f summaryFiles
	if c.file != "" {
		f.summary, _ = os.ReadFile(c.file)
		f.signatures, _ = os.ReadFile(c.file + ".sig")
	}
	return f
}

// store keeps a summary that was found good, the summary first: beside the old signatures it is not used. A cache that
// cannot be written is left as it is.
func (c summaryCache) store(f summaryFiles) error {
	if c.file == "" || f.signatures == nil || f.equal(c.load()) {
		return nil
	}
	err := os.MkdirAll(filepath.Dir(c.file), 0o755)
	if err == nil {
		err = durable.WriteFile(c.file, f.summary, 0o644)
	}
	if err == nil {
		err = durable.WriteFile(c.file+".sig", f.signatures, 0o644)
	}
	if errors.Is(err, os.ErrPermission) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("keeping the summary: %w", err)
	}
	return nil
}
