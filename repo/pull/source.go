package pull

import (
	"context"
	"errors"
	"fmt"
	"io"

	"photree/internal/gvariant"
	"photree/internal/keyfile"
	"photree/repo"
	"photree/repo/object"
)

// source is where objects and refs come from. What it returns is not verified yet, unless a method says so. Its errors
// wrap errNotFound or repo.ErrNotFound for what the source does not have.
type source interface {
	// check looks whether the source can be pulled from at all.
	check(ctx context.Context) error
	// summary returns the list of refs; a source without one returns an error that wraps repo.ErrNotFound.
	summary(ctx context.Context) (*Summary, error)
	// summarySignatures returns the detached metadata of the summary.
	summarySignatures(ctx context.Context) (gvariant.Dict, []byte, error)
	// ref returns the commit of one ref.
	ref(ctx context.Context, name string) (object.ID, error)
	// detached returns the detached metadata of a commit, nil when there is none.
	detached(ctx context.Context, commit object.ID) (gvariant.Dict, error)
	// metadata returns the bytes of a metadata object.
	metadata(ctx context.Context, n object.Name) ([]byte, error)
	// content stages a file object; the transaction verifies it.
	content(ctx context.Context, txn *repo.Txn, id object.ID) error
	// traffic returns the requests and bytes so far.
	traffic() (requests, bytes int64)
}

// httpSource is an archive repository behind HTTP.
type httpSource struct {
	main, objects *fetcher
}

func newHTTPSource(o *Options, remote remoteConfig) (*httpSource, error) {
	main, err := newFetcher(remote.url, o, remote)
	if err != nil {
		return nil, err
	}
	s := &httpSource{main: main, objects: main}
	if remote.contentURL != "" {
		if s.objects, err = newFetcher(remote.contentURL, o, remote); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *httpSource) close() {
	s.main.close()
	s.objects.close()
}

func (s *httpSource) traffic() (requests, bytes int64) {
	requests, bytes = s.main.requests.Load(), s.main.bytes.Load()
	if s.objects != s.main {
		requests += s.objects.requests.Load()
		bytes += s.objects.bytes.Load()
	}
	return requests, bytes
}

func (s *httpSource) check(ctx context.Context) error {
	data, err := s.main.small(ctx, "config", maxConfig)
	if errors.Is(err, errNotFound) {
		return fmt.Errorf("%w: is %s the address of an ostree repository?", err, s.main.base)
	}
	if err != nil {
		return err
	}
	conf, err := keyfile.Parse(data)
	if err != nil {
		return fmt.Errorf("reading %s: %w: is this the address of an ostree repository?", s.main.url("config"), err)
	}
	mode, _ := conf.Get("core", "mode")
	if m, err := repo.ParseMode(mode); err != nil || m != repo.ModeArchive {
		return fmt.Errorf("the repository at %s is in mode %q; over HTTP only mode archive can be pulled from", s.main.base, mode)
	}
	return nil
}

func (s *httpSource) summary(ctx context.Context) (*Summary, error) {
	data, err := s.main.small(ctx, "summary", maxSummary)
	if errors.Is(err, errNotFound) {
		return nil, fmt.Errorf("%w: %w", err, repo.ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	return parseSummary(data)
}

func (s *httpSource) summarySignatures(ctx context.Context) (gvariant.Dict, []byte, error) {
	return s.dict(ctx, "summary.sig")
}

func (s *httpSource) ref(ctx context.Context, name string) (object.ID, error) {
	data, err := s.main.small(ctx, "refs/heads/"+name, maxRef)
	if err != nil {
		return object.ID{}, err
	}
	if n := len(data); n > 0 && data[n-1] == '\n' {
		data = data[:n-1]
	}
	id, err := object.ParseID(string(data))
	if err != nil {
		return id, fmt.Errorf("reading %s: %w", s.main.url("refs/heads/"+name), err)
	}
	return id, nil
}

func (s *httpSource) detached(ctx context.Context, commit object.ID) (gvariant.Dict, error) {
	d, _, err := s.dict(ctx, loosePath(object.Name{ID: commit, Kind: object.KindCommitMeta}))
	return d, err
}

// dict fetches an optional file of type a{sv}.
func (s *httpSource) dict(ctx context.Context, path string) (gvariant.Dict, []byte, error) {
	data, err := s.main.small(ctx, path, maxMetadata)
	if errors.Is(err, errNotFound) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	v, err := gvariant.Parse("a{sv}", data)
	if err != nil {
		return nil, nil, fmt.Errorf("reading %s: %w", s.main.url(path), err)
	}
	return v.Dict(), data, nil
}

func (s *httpSource) metadata(ctx context.Context, n object.Name) ([]byte, error) {
	return s.main.small(ctx, loosePath(n), maxMetadata)
}

func (s *httpSource) content(ctx context.Context, txn *repo.Txn, id object.ID) error {
	path := loosePath(object.Name{ID: id, Kind: object.KindFile})
	return s.objects.get(ctx, path, func(body io.Reader, _ int64) error {
		if err := txn.ImportArchived(id, body); err != nil {
			return err
		}
		// Reading to the end hands the connection back for the next request.
		if n, _ := io.ReadFull(body, make([]byte, 1)); n > 0 {
			return errors.New("the answer goes on behind the end of the object")
		}
		return nil
	})
}

// loosePath is where an archive repository has an object.
func loosePath(n object.Name) string {
	id := n.ID.String()
	suffix := n.Kind.String()
	if n.Kind == object.KindFile {
		suffix = "filez"
	}
	return "objects/" + id[:2] + "/" + id[2:] + "." + suffix
}
