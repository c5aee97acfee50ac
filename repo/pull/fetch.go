package pull

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// errNotFound says that the server answered 404 or 410. Optional files (summary, signatures) branch on it.
var errNotFound = errors.New("not found on the server")

// transientError is a failure that may pass: the request is worth repeating.
type transientError struct {
	err   error
	after time.Duration // what the server asked for, or 0
}

func (e *transientError) Error() string { return e.err.Error() }
func (e *transientError) Unwrap() error { return e.err }

// transient marks a failure of the network as worth repeating.
func transient(err error) error { return &transientError{err: err} }

// fetcher gets files from one repository over HTTP.
type fetcher struct {
	client  *http.Client
	bases   []string // one or more mirrors, without a slash at their end
	cookies []Cookie
	header  http.Header
	retries int
	backoff time.Duration // before the first repetition; doubles
	stall   stallLimit

	requests, bytes atomic.Int64
}

// stallLimit gives up a connection that brings fewer than bytes per second for a whole window of waiting.
type stallLimit struct {
	window time.Duration
	bytes  int64
}

// parseURL refuses what is not the address of something on a web server.
func parseURL(address string) (*url.URL, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("reading the URL %q: %w", address, err)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		//nolint:staticcheck // words that scripts look for
		return nil, fmt.Errorf("Invalid URI scheme in %s: it must be of the form http://HOST/PATH, https://HOST/PATH or file:///PATH", address)
	}
	return u, nil
}

func newFetcher(bases []string, o *Options, remote remoteConfig) (*fetcher, error) {
	for i, base := range bases {
		if _, err := parseURL(base); err != nil {
			return nil, err
		}
		bases[i] = strings.TrimRight(base, "/")
	}
	transport, err := newTransport(o, remote)
	if err != nil {
		return nil, err
	}
	f := &fetcher{
		client:  &http.Client{Transport: transport},
		bases:   bases,
		cookies: remote.cookies,
		header:  o.Header.Clone(),
		retries: 5,
		backoff: o.Backoff,
		stall:   stallLimit{window: 30 * time.Second, bytes: 1000},
	}
	if f.header == nil {
		f.header = http.Header{}
	}
	if f.header.Get("User-Agent") == "" {
		f.header.Set("User-Agent", cmp.Or(o.UserAgent, "photree"))
	}
	if f.backoff == 0 {
		f.backoff = 200 * time.Millisecond
	}
	switch {
	case o.NetworkRetries > 0:
		f.retries = o.NetworkRetries
	case o.NetworkRetries < 0:
		f.retries = 0
	}
	if o.LowSpeedTime > 0 {
		f.stall.window = o.LowSpeedTime
	}
	if o.LowSpeedBytes > 0 {
		f.stall.bytes = o.LowSpeedBytes
	}
	return f, nil
}

// newTransport applies what the remote's configuration says about proxies and TLS.
func newTransport(o *Options, remote remoteConfig) (*http.Transport, error) {
	outstanding := o.outstanding()
	t := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		MaxIdleConnsPerHost:   outstanding,
		MaxConnsPerHost:       outstanding,
		IdleConnTimeout:       30 * time.Second,
		TLSHandshakeTimeout:   30 * time.Second,
		ExpectContinueTimeout: time.Second,
		// Objects are compressed already, and a transparent gzip would hide the length of what is read.
		DisableCompression:     true,
		ForceAttemptHTTP2:      remote.http2,
		MaxResponseHeaderBytes: 64 << 10,
		ReadBufferSize:         32 << 10,
	}
	if remote.proxy != "" {
		u, err := url.Parse(remote.proxy)
		if err != nil {
			return nil, fmt.Errorf("reading the proxy of remote %q: %w", remote.name, err)
		}
		t.Proxy = http.ProxyURL(u)
	}
	conf := &tls.Config{InsecureSkipVerify: remote.tlsPermissive, MinVersion: tls.VersionTLS12}
	if remote.tlsCA != "" {
		pem, err := os.ReadFile(remote.tlsCA)
		if err != nil {
			return nil, fmt.Errorf("reading tls-ca-path of remote %q: %w", remote.name, err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("reading tls-ca-path of remote %q: no certificate in %s", remote.name, remote.tlsCA)
		}
	}
	if remote.tlsCert != "" {
		cert, err := tls.LoadX509KeyPair(remote.tlsCert, remote.tlsKey)
		if err != nil {
			return nil, fmt.Errorf("reading the client certificate of remote %q: %w", remote.name, err)
		}
		conf.Certificates = []tls.Certificate{cert}
	}
	t.TLSClientConfig = conf
	return t, nil
}

func (f *fetcher) close() { f.client.CloseIdleConnections() }

// url gives the address of a file of the repository on the first mirror, to name it by.
func (f *fetcher) url(path string) string { return join(f.bases[0], path) }

// join gives the address of a file of the repository at base; names of refs may hold any character.
func join(base, path string) string {
	if path == "" {
		return base
	}
	return base + "/" + (&url.URL{Path: path}).EscapedPath()
}

// get fetches path and hands its body to use, repeating both when the network or the server fails for a while.
// An error of use itself is final. use must not keep the body.
func (f *fetcher) get(ctx context.Context, path string, use func(body io.Reader, size int64) error) error {
	wait := f.backoff
	for attempt := 0; ; attempt++ {
		err := f.tryAll(ctx, path, use)
		var again *transientError
		if err == nil || ctx.Err() != nil || !errors.As(err, &again) {
			return err
		}
		if attempt >= f.retries {
			if attempt > 0 {
				return fmt.Errorf("%w (tried %d times)", err, attempt+1)
			}
			return err
		}
		pause := max(wait/2+rand.N(wait/2+1), min(again.after, 30*time.Second))
		wait = min(2*wait, 10*time.Second)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}

// tryAll asks one mirror after the other for a file. That one lacks it or does not answer counts only when all do.
func (f *fetcher) tryAll(ctx context.Context, path string, use func(io.Reader, int64) error) error {
	var worst error
	for _, base := range f.bases {
		err := f.try(ctx, join(base, path), use)
		var again *transientError
		passing := errors.As(err, &again)
		if err == nil || ctx.Err() != nil || !passing && !errors.Is(err, errNotFound) {
			return err
		}
		if worst == nil || passing {
			worst = err
		}
	}
	return worst
}

// request makes a request with the headers and cookies of the remote.
func (f *fetcher) request(ctx context.Context, address string) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, fmt.Errorf("fetching %s: %w", address, err)
	}
	req.Header = f.header.Clone()
	addCookies(req, f.cookies)
	f.requests.Add(1)
	return req, nil
}

// try does one request.
func (f *fetcher) try(ctx context.Context, address string, use func(io.Reader, int64) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	req, err := f.request(ctx, address)
	if err != nil {
		return err
	}
	watch := newStallWatch(f.stall, cancel)
	defer watch.stop()
	watch.begin()
	res, err := f.client.Do(req)
	watch.end(0)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return f.failure(address, err, transient)
	}
	body := &resumingBody{f: f, ctx: ctx, url: address, tag: strongTag(res), size: res.ContentLength, tries: f.retries,
		watch: watch, res: res, body: &watchedBody{f: f, body: res.Body, watch: watch, ctx: ctx}}
	defer body.close()
	if err := f.status(address, res); err != nil {
		return err
	}
	if err := use(body, res.ContentLength); err != nil {
		if body.body.err != nil { // the network failed under use, whatever use made of it
			return f.failure(address, body.body.err, transient)
		}
		return f.failure(address, err, nil)
	}
	return nil
}

// failure names the address and the reason, without the words that net/http puts around them.
func (f *fetcher) failure(address string, err error, mark func(error) error) error {
	var outer *url.Error
	if errors.As(err, &outer) {
		err = outer.Err
	}
	var certificate *tls.CertificateVerificationError
	if errors.As(err, &certificate) {
		mark = nil
	}
	err = fmt.Errorf("fetching %s: %w", address, err)
	if mark != nil {
		return mark(err)
	}
	return err
}

// status turns what the server says about the request into an error.
func (f *fetcher) status(address string, res *http.Response) error {
	switch code := res.StatusCode; {
	case code == http.StatusOK:
		return nil
	case code == http.StatusNotFound, code == http.StatusGone:
		return fmt.Errorf("fetching %s: %w (HTTP %d)", address, errNotFound, code)
	case code == http.StatusForbidden, code == http.StatusUnauthorized:
		return fmt.Errorf("fetching %s: the server refuses access (HTTP %s)", address, res.Status)
	case code >= 500, code == http.StatusRequestTimeout, code == http.StatusTooManyRequests:
		seconds, _ := strconv.Atoi(res.Header.Get("Retry-After"))
		return &transientError{
			err:   fmt.Errorf("fetching %s: the server answered HTTP %s", address, res.Status),
			after: time.Duration(max(seconds, 0)) * time.Second,
		}
	default:
		return fmt.Errorf("fetching %s: the server answered HTTP %s", address, res.Status)
	}
}

// small fetches a file that is kept in memory, and refuses one that is larger than limit (R7).
func (f *fetcher) small(ctx context.Context, path string, limit int64) ([]byte, error) {
	var data []byte
	err := f.get(ctx, path, func(body io.Reader, size int64) (err error) {
		if size > limit {
			return fmt.Errorf("it is %d bytes long, which exceeded maximum size, the limit of %d", size, limit)
		}
		data, err = readLimited(body, size, limit)
		return err
	})
	return data, err
}

// readLimited reads a body whose size the server announced (or -1), up to limit.
func readLimited(body io.Reader, size, limit int64) ([]byte, error) {
	// The announced size is only trusted for a small first allocation.
	buf := make([]byte, 0, min(max(size, 0), 64<<10)+512)
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := body.Read(buf[len(buf):min(cap(buf), len(buf)+64<<10)])
		buf = buf[:len(buf)+n]
		if int64(len(buf)) > limit {
			return nil, fmt.Errorf("it exceeded maximum size, the limit of %d bytes", limit)
		}
		if err == io.EOF {
			return buf, nil
		}
		if err != nil {
			return nil, err
		}
	}
}
