package serve

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const object = "/repo/objects/aa/bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb.filez"

func site(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	files := map[string]string{
		"secret":                   "outside",
		"site/repo/config":         "[core]\nmode=archive-z2\n",
		"site/repo/.lock":          "",
		"site/repo/summary":        "0123456789",
		"site/repo/a b&<c>":        "odd name",
		"site/repo/index.html":     "a file like any other",
		"site" + object:            "object",
		"site/repo/refs/heads/x/y": "id\n",
	}
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{"out": "../../secret", "abs": filepath.Join(dir, "secret"), "in": "summary"} {
		if err := os.Symlink(target, filepath.Join(dir, "site/repo", link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "site/repo/fifo"), 0o644); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "site")
}

func TestAnswers(t *testing.T) {
	h := Handler(site(t))
	for _, row := range []struct {
		why, method, path string
		header            [2]string
		status            int
		body              string
	}{
		{why: "a file", path: "/repo/summary", status: 200, body: "0123456789"},
		{why: "a link inside", path: "/repo/in", status: 200, body: "0123456789"},
		{why: "a range", path: "/repo/summary", header: [2]string{"Range", "bytes=2-4"}, status: 206, body: "234"},
		{why: "a range past the end", path: "/repo/summary", header: [2]string{"Range", "bytes=20-"}, status: 416},
		{why: "a directory with its slash", path: "/repo/", status: 200, body: `<a href="./a%20b&amp;%3Cc%3E">a b&amp;&lt;c&gt;</a>`},
		{why: "a directory without its slash", path: "/repo", status: 200, body: `<base href="./repo/">`},
		{why: "the root", path: "/", status: 200, body: `<a href="./repo/">repo/</a>`},
		{why: "an index file is no index", path: "/repo/index.html", status: 200, body: "a file like any other"},
		{why: "nothing there", path: "/repo/none", status: 404},
		{why: "a file used as a directory", path: "/repo/summary/x", status: 404},
		{why: "dots that climb", path: "/repo/../../secret", status: 404},
		{why: "dots that climb, encoded", path: "/repo/%2e%2e/%2e%2e/secret", status: 404},
		{why: "a relative link out", path: "/repo/out", status: 404},
		{why: "an absolute link out", path: "/repo/abs", status: 404},
		{why: "a hidden file", path: "/repo/.lock", status: 404},
		{why: "a FIFO", path: "/repo/fifo", status: 404},
		{why: "a NUL byte", path: "/repo/%00", status: 404},
		{why: "another method", method: "PUT", path: "/repo/summary", status: 405},
		{why: "a HEAD", method: "HEAD", path: "/repo/summary", status: 200},
	} {
		method := row.method
		if method == "" {
			method = "GET"
		}
		req := httptest.NewRequest(method, "http://host"+row.path, nil)
		if row.header[0] != "" {
			req.Header.Set(row.header[0], row.header[1])
		}
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, req)
		if rec.Code != row.status {
			t.Errorf("%s: status %d, want %d", row.why, rec.Code, row.status)
		}
		if !strings.Contains(rec.Body.String(), row.body) {
			t.Errorf("%s: body %q lacks %q", row.why, rec.Body, row.body)
		}
		if strings.Contains(rec.Body.String(), "outside") {
			t.Errorf("%s: a file outside was served", row.why)
		}
	}
}

func TestConditionalRequests(t *testing.T) {
	dir := site(t)
	h := Handler(dir)
	get := func(path string, header ...string) *httptest.ResponseRecorder {
		req := httptest.NewRequest(http.MethodGet, "http://host"+path, nil)
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, req)
		return rec
	}
	first := get("/repo/summary")
	tag, date := first.Header().Get("ETag"), first.Header().Get("Last-Modified")
	if tag == "" || date == "" {
		t.Fatalf("headers %v lack ETag or Last-Modified", first.Header())
	}
	if rec := get("/repo/summary", "If-None-Match", tag); rec.Code != 304 {
		t.Errorf("same tag: status %d, want 304", rec.Code)
	}
	if rec := get("/repo/summary", "If-Modified-Since", date); rec.Code != 304 {
		t.Errorf("same date: status %d, want 304", rec.Code)
	}
	// A summary that is replaced within the same tick by one of the same size must not look unchanged.
	path := filepath.Join(dir, "repo/summary")
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".new", []byte("9876543210"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path+".new", info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	if rec := get("/repo/summary", "If-None-Match", tag); rec.Code != 200 || rec.Body.String() != "9876543210" {
		t.Errorf("replaced file: status %d body %q, want 200 and the new bytes", rec.Code, rec.Body)
	}
	if cache := get(object).Header().Get("Cache-Control"); !strings.Contains(cache, "immutable") {
		t.Errorf("an object may be cached for ever, but Cache-Control is %q", cache)
	}
	if cache := first.Header().Get("Cache-Control"); cache != "no-cache" {
		t.Errorf("the summary must be asked for again, but Cache-Control is %q", cache)
	}
}

func TestRunStopsGracefully(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	started, release := make(chan bool), make(chan bool)
	var log bytes.Buffer
	h := Log(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(started)
		<-release
		io.WriteString(w, "finished")
	}), &log)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- Run(ctx, l, h) }()
	answer := make(chan string)
	go func() {
		res, err := http.Get("http://" + l.Addr().String() + "/x%0ay")
		if err != nil {
			answer <- err.Error()
			return
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		answer <- string(body)
	}()
	<-started
	stop()
	time.Sleep(20 * time.Millisecond)
	close(release)
	if got := <-answer; got != "finished" {
		t.Errorf("the running answer was cut: %q", got)
	}
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
	if got := log.String(); !strings.Contains(got, `"GET /x%0ay HTTP/1.1" 200 8`) || strings.Count(got, "\n") != 1 {
		t.Errorf("log is %q", got)
	}
}
