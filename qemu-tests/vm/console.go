package vm

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
)

// console holds what the machine has said and nobody has consumed yet.
type console struct {
	mu      sync.Mutex
	unread  []byte
	recent  tail
	closed  bool
	changed chan struct{} // closed and replaced at each change
	copyTo  io.Writer
	line    []byte // the part of a line that copyTo has not had
}

func newConsole(copyTo io.Writer) *console {
	return &console{changed: make(chan struct{}), copyTo: copyTo}
}

// noise is what terminals are told about colours and positions.
var noise = regexp.MustCompile("\x1b\\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]|\x1bc|\x1b[78=>]|\x00")

// overwritten is what a progress line said before it was written over.
var overwritten = regexp.MustCompile("[^\n]*\r+([^\r\n])")

// plain gives text as it ends up on a screen. A last carriage return stays for what comes next to tell its meaning.
func plain(b []byte) []byte {
	b = noise.ReplaceAll(b, nil)
	b = overwritten.ReplaceAll(b, []byte("$1"))
	return bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n"))
}

func (c *console) add(b []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unread = append(c.unread, b...)
	c.recent.Write(b)
	c.signal()
	if c.copyTo == nil {
		return
	}
	c.line = append(c.line, b...)
	if i := bytes.LastIndexByte(c.line, '\n'); i >= 0 {
		c.copyTo.Write(plain(c.line[:i+1]))
		c.line = append([]byte(nil), c.line[i+1:]...)
	}
}

func (c *console) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.signal()
}

func (c *console) signal() {
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *console) tail() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return "the console ends with:\n" + c.recent.String()
}

// expect waits for the pattern and consumes the text up to its end. It gives the text before the match, and the match with
// its groups.
func (c *console) expect(ctx context.Context, pattern *regexp.Regexp) (before string, match []string, err error) {
	for {
		c.mu.Lock()
		text := plain(c.unread)
		at := pattern.FindSubmatchIndex(text)
		changed, closed := c.changed, c.closed
		if at != nil {
			c.unread = append([]byte(nil), text[at[1]:]...)
		}
		c.mu.Unlock()
		if at != nil {
			for i := 0; i < len(at); i += 2 {
				if at[i] < 0 {
					match = append(match, "")
				} else {
					match = append(match, string(text[at[i]:at[i+1]]))
				}
			}
			return string(text[:at[0]]), match, nil
		}
		if closed {
			return "", nil, fmt.Errorf("the machine ended while %q was expected; %s", pattern, c.tail())
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return "", nil, fmt.Errorf("expecting %q on the console: %w; %s", pattern, context.Cause(ctx), c.tail())
		}
	}
}

// tail is a writer that remembers the last few thousand bytes.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, b...)
	if n := len(t.buf); n > 6000 {
		t.buf = append([]byte(nil), t.buf[n-3000:]...)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(plain(t.buf)))
}
