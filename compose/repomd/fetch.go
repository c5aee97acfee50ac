package repomd

import (
	"context"
	"crypto/md5"  //nolint:gosec // old repositories state nothing better
	"crypto/sha1" //nolint:gosec
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// idleTimeout ends a transfer of which nothing arrives any more.
const idleTimeout = 60 * time.Second

var errIdle = fmt.Errorf("nothing arrived for %s", idleTimeout)

// ChecksumError says that a file is not what the repository's metadata states.
type ChecksumError struct {
	Name, URL, Type, Got, Want string
}

func (e *ChecksumError) Error() string {
	return fmt.Sprintf("%s from %s is damaged: its %s is %s, the repository states %s; "+
		"the file or the metadata is out of date: try again later or from another mirror, or make the metadata anew if the repository is yours",
		e.Name, e.URL, e.Type, e.Got, e.Want)
}

// statusError is an answer of a server that was not the file.
type statusError struct {
	url  string
	code int
}

func (e *statusError) Error() string {
	return fmt.Sprintf("%s: the server answered %d %s", e.url, e.code, http.StatusText(e.code))
}

// temporary says whether it makes sense to ask again.
func temporary(err error) bool {
	var s *statusError
	var sum *ChecksumError
	switch {
	case errors.As(err, &s):
		return s.code >= 500 || s.code == http.StatusRequestTimeout || s.code == http.StatusTooManyRequests
	case errors.As(err, &sum), errors.Is(err, os.ErrNotExist), errors.Is(err, os.ErrPermission), errors.Is(err, errTooLarge), errors.Is(err, errLocal):
		return false
	}
	return true
}

var (
	errTooLarge = errors.New("it is larger than it may be")
	errLocal    = errors.New("writing to the cache")
)

type fetcher struct {
	cfg     Config
	client  *http.Client
	retries int
	pause   time.Duration // before the first retry; doubles
}

func newFetcher(cfg Config, opts Options) *fetcher {
	f := &fetcher{cfg: cfg, client: opts.Client, retries: opts.Retries, pause: opts.retryPause}
	if f.client == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.ResponseHeaderTimeout = idleTimeout
		t.MaxIdleConnsPerHost = 16
		if cfg.InsecureTLS {
			t.TLSClientConfig = &tls.Config{InsecureSkipVerify: true} //nolint:gosec // the .repo file says sslverify=0
		}
		f.client = &http.Client{Transport: t}
	}
	switch {
	case f.retries == 0:
		f.retries = 3
	case f.retries < 0:
		f.retries = 0
	}
	if f.pause == 0 {
		f.pause = time.Second
	}
	return f
}

// localPath gives the path of a file: URL or a plain absolute path.
func localPath(u string) (string, bool) {
	if rest, ok := strings.CutPrefix(u, "file:"); ok {
		rest = strings.TrimPrefix(rest, "//localhost")
		if strings.HasPrefix(rest, "//") {
			rest = "/" + strings.TrimLeft(rest, "/")
		}
		if _, err := os.Lstat(rest); err != nil && strings.Contains(rest, "%") {
			if p, err := url.PathUnescape(rest); err == nil {
				rest = p
			}
		}
		return rest, true
	}
	return u, strings.HasPrefix(u, "/")
}

// join appends a location of the metadata to a base URL.
func join(base, href string) string {
	if strings.Contains(href, "://") {
		return href
	}
	base = strings.TrimSuffix(base, "/")
	if p, ok := localPath(base); ok {
		return "file://" + filepath.Join(p, href)
	}
	if _, err := url.PathUnescape(href); err != nil || !strings.Contains(href, "%") {
		href = (&url.URL{Path: href}).EscapedPath()
	}
	return base + "/" + strings.TrimPrefix(href, "./")
}

// open starts to read a URL at an offset. partial says whether it did start
// there and not at the beginning.
func (f *fetcher) open(ctx context.Context, u string, offset int64) (r io.ReadCloser, partial bool, err error) {
	if p, ok := localPath(u); ok {
		file, err := os.Open(p)
		if err != nil {
			return nil, false, err
		}
		return file, false, nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		cancel(nil)
		return nil, false, err
	}
	if s := req.URL.Scheme; s != "http" && s != "https" {
		cancel(nil)
		return nil, false, fmt.Errorf("%s: only file:, http: and https: URLs can be read: %w", u, os.ErrNotExist)
	}
	req.Header.Set("User-Agent", "photree")
	// Indexes are compressed already, and their digests are of what is sent.
	req.Header.Set("Accept-Encoding", "identity")
	if offset > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	if f.cfg.Username != "" {
		req.SetBasicAuth(f.cfg.Username, f.cfg.Password)
	}
	resp, err := f.client.Do(req) //nolint:bodyclose // idleReader closes it
	if err != nil {
		cancel(nil)
		return nil, false, err
	}
	body := &idleReader{r: resp.Body, cancel: cancel, ctx: ctx}
	body.timer = time.AfterFunc(idleTimeout, func() { cancel(errIdle) })
	switch {
	case resp.StatusCode == http.StatusOK:
		return body, false, nil
	case resp.StatusCode == http.StatusPartialContent && offset > 0:
		return body, true, nil
	}
	return nil, false, errors.Join(&statusError{u, resp.StatusCode}, body.Close())
}

// idleReader gives up when a server keeps a connection open and sends nothing.
type idleReader struct {
	r      io.ReadCloser
	timer  *time.Timer
	ctx    context.Context
	cancel context.CancelCauseFunc
}

func (i *idleReader) Read(b []byte) (int, error) {
	n, err := i.r.Read(b)
	i.timer.Reset(idleTimeout)
	if err != nil && !errors.Is(err, io.EOF) && errors.Is(context.Cause(i.ctx), errIdle) {
		err = errIdle
	}
	return n, err
}

func (i *idleReader) Close() error {
	i.timer.Stop()
	i.cancel(nil)
	return i.r.Close()
}

// retry calls do until it works, the error is permanent or tries run out.
func (f *fetcher) retry(ctx context.Context, do func() error) error {
	pause := f.pause
	for try := 0; ; try++ {
		err := do()
		if err == nil || ctx.Err() != nil || try >= f.retries || !temporary(err) {
			if err != nil && try > 0 {
				err = fmt.Errorf("%w (tried %d times)", err, try+1)
			}
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
		pause *= 2
	}
}

// get reads a small file.
func (f *fetcher) get(ctx context.Context, u string, limit int64) (data []byte, err error) {
	err = f.retry(ctx, func() error {
		r, _, err := f.open(ctx, u, 0)
		if err != nil {
			return err
		}
		defer r.Close()
		data, err = io.ReadAll(io.LimitReader(r, limit+1))
		if err == nil && int64(len(data)) > limit {
			err = fmt.Errorf("%s: %w: %d bytes", u, errTooLarge, limit)
		}
		return err
	})
	return data, err
}

// want is what a file must be.
type want struct {
	name     string // for messages
	hashType string
	digest   string
	size     uint64 // 0: unknown
}

func newHash(kind string) (hash.Hash, error) {
	switch strings.ToLower(kind) {
	case "sha256":
		return sha256.New(), nil
	case "sha512":
		return sha512.New(), nil
	case "sha384":
		return sha512.New384(), nil
	case "sha224":
		return sha256.New224(), nil
	case "sha", "sha1":
		return sha1.New(), nil //nolint:gosec
	case "md5":
		return md5.New(), nil //nolint:gosec
	}
	return nil, fmt.Errorf("unknown checksum type %q", kind)
}

// maxUnsized bounds a file of which the metadata gives no size.
const maxUnsized = 8 << 30

// download writes a URL's content to dst and compares its digest. What arrived
// before a connection broke is kept and the rest asked for.
func (f *fetcher) download(ctx context.Context, u string, dst *os.File, w want, progress func(int)) error {
	limit := int64(w.size)
	if limit == 0 {
		limit = maxUnsized
	}
	h, err := newHash(w.hashType)
	if err != nil {
		return fmt.Errorf("%s: %w", w.name, err)
	}
	var have int64
	err = f.retry(ctx, func() error {
		r, partial, err := f.open(ctx, u, have)
		if err != nil {
			return err
		}
		defer r.Close()
		if !partial {
			progress(-int(have))
			have = 0
			h.Reset()
			if err := errors.Join(dst.Truncate(0), seekStart(dst)); err != nil {
				return fmt.Errorf("%w: %w", errLocal, err)
			}
		}
		n, err := copyCounted(dst, h, io.LimitReader(r, limit-have+1), progress)
		have += n
		if err == nil && w.size != 0 && have < int64(w.size) {
			err = fmt.Errorf("%s: the server stopped after %d of %d bytes", u, have, w.size)
		}
		return err
	})
	if err != nil {
		return err
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != w.digest {
		if w.size != 0 && have != int64(w.size) {
			got += fmt.Sprintf(" (and it has more than the %d bytes that the repository states)", w.size)
		}
		return &ChecksumError{w.name, u, w.hashType, got, w.digest}
	}
	return nil
}

func seekStart(f *os.File) error {
	_, err := f.Seek(0, io.SeekStart)
	return err
}

func copyCounted(dst *os.File, h hash.Hash, r io.Reader, progress func(int)) (total int64, err error) {
	buf := make([]byte, 128<<10)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			if _, werr := dst.Write(buf[:n]); werr != nil {
				return total, fmt.Errorf("%w: %w", errLocal, werr)
			}
			h.Write(buf[:n])
			total += int64(n)
			progress(n)
		}
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

// matches says whether a file on disk is what it must be.
func (w want) matches(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || w.size != 0 && st.Size() != int64(w.size) {
		return false, err
	}
	got, err := w.sum(f)
	return got == w.digest, err
}

func (w want) sum(r io.Reader) (string, error) {
	h, err := newHash(w.hashType)
	if err != nil {
		return "", fmt.Errorf("%s: %w", w.name, err)
	}
	if _, err := io.Copy(h, r); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
