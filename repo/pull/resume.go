package pull

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// resumingBody is a body that goes on with a new request where the network broke off, as long as the server still has
// the same file. What comes out is verified like any other answer.
type resumingBody struct {
	f     *fetcher
	ctx   context.Context
	url   string
	tag   string // of the file, strong
	size  int64
	got   int64
	tries int
	watch *stallWatch
	res   *http.Response
	body  *watchedBody
}

func (b *resumingBody) Read(p []byte) (int, error) {
	for {
		n, err := b.body.Read(p)
		b.got += int64(n)
		if err == nil || errors.Is(err, io.EOF) || n > 0 {
			if n > 0 && err != nil && !errors.Is(err, io.EOF) {
				err = nil // told again by the next read
			}
			return n, err
		}
		if b.again(err) != nil {
			return 0, err
		}
	}
}

// again asks for the rest. It returns cause when that cannot be.
func (b *resumingBody) again(cause error) error {
	// Without progress since the last time the whole request is better begun anew, after a pause.
	if b.got == 0 || b.got >= b.size || b.tries <= 0 || b.tag == "" || b.ctx.Err() != nil {
		return cause
	}
	b.tries--
	req, err := b.f.request(b.ctx, b.url)
	if err != nil {
		return cause
	}
	req.Header.Set("Range", fmt.Sprintf("bytes=%d-", b.got))
	req.Header.Set("If-Range", b.tag)
	b.watch.begin()
	res, err := b.f.client.Do(req)
	b.watch.end(0)
	if err != nil {
		return cause
	}
	if res.StatusCode != http.StatusPartialContent || res.ContentLength != b.size-b.got ||
		!strings.HasPrefix(res.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", b.got)) {
		res.Body.Close()
		return cause
	}
	b.res.Body.Close()
	b.res = res
	b.body = &watchedBody{f: b.f, body: res.Body, watch: b.watch, ctx: b.ctx}
	return nil
}

func (b *resumingBody) close() { b.res.Body.Close() }

// strongTag returns the tag of an answer by which the rest of just this file can be asked for, or "".
func strongTag(res *http.Response) string {
	if tag := res.Header.Get("ETag"); !strings.HasPrefix(tag, "W/") {
		return tag
	}
	return ""
}
