package pull

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// stallWatch cancels a request that brings next to nothing. Only the time spent waiting for the server counts: a slow
// disk on this side must not look like a slow server.
type stallWatch struct {
	limit  stallLimit
	timer  *time.Timer
	since  time.Time
	waited time.Duration // in this window
	bytes  int64         // in this window
}

func newStallWatch(limit stallLimit, cancel context.CancelCauseFunc) *stallWatch {
	w := &stallWatch{limit: limit}
	// The timer runs only while the request waits, between begin and end.
	w.timer = time.AfterFunc(time.Hour, func() {
		cancel(fmt.Errorf("the server sent fewer than %d bytes per second for %v", limit.bytes, limit.window))
	})
	w.timer.Stop()
	return w
}

// begin starts a wait. It gives what is left of the window: a server that trickles is cut like one that is silent.
func (w *stallWatch) begin() {
	w.since = time.Now()
	w.timer.Reset(w.limit.window - w.waited)
}

// end notes what the wait brought and opens a new window once this one has brought enough.
func (w *stallWatch) end(n int) {
	w.timer.Stop()
	w.waited += time.Since(w.since)
	w.bytes += int64(n)
	if float64(w.bytes) >= float64(w.limit.bytes)*max(w.waited.Seconds(), 1) {
		w.waited, w.bytes = 0, 0
	}
	if w.waited >= w.limit.window {
		w.waited = w.limit.window - time.Millisecond
	}
}

func (w *stallWatch) stop() { w.timer.Stop() }

// watchedBody is the body of an answer: it feeds the watch and the counters, and remembers a failure of the network so
// that it can be told from a failure of whoever reads.
type watchedBody struct {
	f     *fetcher
	body  io.Reader
	watch *stallWatch
	ctx   context.Context
	err   error
}

func (b *watchedBody) Read(p []byte) (int, error) {
	b.watch.begin()
	n, err := b.body.Read(p)
	b.watch.end(n)
	b.f.bytes.Add(int64(n))
	if err != nil && !errors.Is(err, io.EOF) {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = fmt.Errorf("Download incomplete: the answer ended early: %w", err) //nolint:staticcheck // words that scripts look for
		}
		if cause := context.Cause(b.ctx); cause != nil {
			err = cause
		}
		b.err = err
	}
	return n, err
}
