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
	// refs returns the refs themselves where they can be listed without a summary; else nil.
	refs(ctx context.Context) (*Summary, error)
	// summaryFile and signatureFile return the bytes of the files summary and summary.sig, nil for one that is not there.
	summaryFile(ctx context.Context) ([]byte, error)
	signatureFile(ctx context.Context) ([]byte, error)
	// ref returns the commit of one ref.
	ref(ctx context.Context, name string) (object.ID, error)
	// detached returns the detached metadata of a commit, nil when there is none.
	detached(ctx context.Context, commit object.ID) (gvariant.Dict, error)
	// metadata returns the bytes of a metadata object.
	metadata(ctx context.Context, n object.Name) ([]byte, error)
	// trusted says whether the source's word is taken that its objects are what their names say.
	trusted() bool
	// stage stages a metadata object that was just read, once it is found to have its name.
	stage(txn *repo.Txn, n object.Name, data []byte) error
	// content stages a file object; the transaction verifies it.
	content(ctx context.Context, txn *repo.Txn, id object.ID) error
	// file returns a file of the repository that is no object, nil when it is not there.
	file(ctx context.Context, path string, limit int64) ([]byte, error)
	// traffic returns the requests and bytes so far.
	traffic() (requests, bytes int64)
}

// httpSource is an archive repository behind HTTP.
type httpSource struct {
	main, objects *fetcher
	verified      []byte // the summary, where a metalink has named its digest
}

func newHTTPSource(ctx context.Context, o *Options, remote remoteConfig) (*httpSource, error) {
	s := &httpSource{}
	if remote.metalink != "" {
		var err error
		if remote.url, s.verified, err = followMetalink(ctx, remote.metalink, o, remote); err != nil {
			return nil, err
		}
	}
	var err error
	if s.main, err = fetcherFor(ctx, remote.url, o, remote); err != nil {
		return nil, err
	}
	s.objects = s.main
	if remote.contentURL != "" {
		if s.objects, err = fetcherFor(ctx, remote.contentURL, o, remote); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func fetcherFor(ctx context.Context, address string, o *Options, remote remoteConfig) (*fetcher, error) {
	bases, err := addresses(ctx, address, o, remote)
	if err != nil {
		return nil, err
	}
	return newFetcher(bases, o, remote)
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
		return fmt.Errorf("%w: is %s the address of an ostree repository?", err, s.main.bases[0])
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
		return fmt.Errorf("the repository at %s is in mode %q; over HTTP only mode archive can be pulled from", s.main.bases[0], mode)
	}
	return nil
}

func (s *httpSource) refs(context.Context) (*Summary, error) { return nil, nil }

func (s *httpSource) summaryFile(ctx context.Context) ([]byte, error) {
	if s.verified != nil {
		return s.verified, nil
	}
	return s.optional(ctx, "summary", maxSummary)
}

func (s *httpSource) signatureFile(ctx context.Context) ([]byte, error) {
	return s.optional(ctx, "summary.sig", maxMetadata)
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

// detached takes what cannot be read for nothing: where signatures are asked for there are then none.
func (s *httpSource) detached(ctx context.Context, commit object.ID) (gvariant.Dict, error) {
	data, err := s.optional(ctx, loosePath(object.Name{ID: commit, Kind: object.KindCommitMeta}), maxMetadata)
	if data != nil && len(data) == 0 {
		return gvariant.Dict{}, nil
	}
	return parseDict(data), err
}

// optional fetches a file that need not be there: then it returns nil, and an empty slice for an empty file.
func (s *httpSource) optional(ctx context.Context, path string, limit int64) ([]byte, error) {
	data, err := s.main.small(ctx, path, limit)
	if errors.Is(err, errNotFound) {
		return nil, nil
	}
	return data, err
}

func (s *httpSource) metadata(ctx context.Context, n object.Name) ([]byte, error) {
	limit := int64(maxMetadata)
	if n.Kind == object.KindCommit {
		limit = maxCommit
	}
	return s.objects.small(ctx, loosePath(n), limit)
}

func (s *httpSource) trusted() bool { return false }

func (s *httpSource) stage(txn *repo.Txn, n object.Name, data []byte) error {
	return txn.ImportMetadata(n, data)
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
