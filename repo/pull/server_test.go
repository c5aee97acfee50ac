package pull_test

import (
	"bytes"
	"compress/flate"
	"encoding/hex"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"photree/repo"
	"photree/repo/object"
	"photree/repo/pull"
	"photree/repo/serve"
	"photree/repo/tree"
)

// endless writes until the client goes away, or until so much has gone that the client cannot have a limit.
func endless(t *testing.T, w http.ResponseWriter, chunk []byte) {
	for total := 0; total < 2<<30; {
		n, err := w.Write(chunk)
		if err != nil {
			return
		}
		total += n
	}
	t.Error("the client read 2 GiB of an endless answer")
}

// TestServersThatMisbehave attacks R1, R3 and R7: whatever a server sends, the error names the thing, no ref is set,
// nothing unsound is published, and (unless the failure may pass) the repository is as it was.
func TestServersThatMisbehave(t *testing.T) {
	src := newRepo(t, repo.ModeArchive)
	id := commit(t, src, "main", manyFiles(20), tree.CommitOptions{})
	other := commit(t, src, "other", map[string]string{"f": "another commit"}, tree.CommitOptions{})
	inflating := bomb(t)
	is := func(suffix string) func(string) bool {
		return func(path string) bool { return strings.HasSuffix(path, suffix) }
	}
	commitPath := "/objects/" + id.String()[:2] + "/" + id.String()[2:] + ".commit"
	send := func(data string) func(*testing.T, http.ResponseWriter, string) {
		return func(_ *testing.T, w http.ResponseWriter, _ string) { io.WriteString(w, data) }
	}
	read := func(path string) []byte {
		data, err := os.ReadFile(filepath.Join(src.Path(), path))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	status := func(code int) func(*testing.T, http.ResponseWriter, string) {
		return func(_ *testing.T, w http.ResponseWriter, _ string) { http.Error(w, "no", code) }
	}
	for _, row := range []struct {
		why     string
		when    func(path string) bool
		answer  func(t *testing.T, w http.ResponseWriter, path string)
		message string
		passing bool // what has arrived may stay
	}{
		{why: "a web site and no repository", when: is(""), answer: send("<html>welcome</html>"), message: "is this the address of an ostree repository?"},
		{why: "nothing at the address", when: is(""), answer: status(404), message: "is http"},
		{why: "access is refused", when: is(""), answer: status(403), message: "refuses access"},
		{why: "a bare repository", when: is("/config"), answer: send("[core]\nrepo_version=1\nmode=bare\n"), message: `mode "bare"`},
		{why: "a configuration without end", when: is("/config"), answer: func(t *testing.T, w http.ResponseWriter, _ string) {
			endless(t, w, bytes.Repeat([]byte("#\n"), 1<<12))
		}, message: "limit"},
		{why: "the ref is garbage", when: is("/refs/heads/main"), answer: send("not a checksum"), message: "64 hexadecimal digits"},
		{why: "the ref is not there", when: is("/refs/heads/main"), answer: status(404), message: `ref "main"`},
		{why: "the ref is a directory listing", when: is("/refs/heads/main"), answer: send(strings.Repeat("<a>", 1000)), message: "limit"},
		{why: "the summary is garbage", when: is("/summary"), answer: send("garbage"), message: "summary"},
		{why: "the commit is not there", when: is(commitPath), answer: status(404), message: "pulling commit " + id.String()},
		{why: "another commit comes", when: is(commitPath), answer: func(_ *testing.T, w http.ResponseWriter, _ string) {
			w.Write(read("objects/" + other.String()[:2] + "/" + other.String()[2:] + ".commit"))
		}, message: "Corrupted commit object"},
		{why: "a tree is garbage", when: is(".dirtree"), answer: send("garbage"), message: ".dirtree"},
		{why: "a tree is not there", when: is(".dirtree"), answer: status(404), message: ".dirtree"},
		{why: "a dirmeta is garbage", when: is(".dirmeta"), answer: send("garbage"), message: ".dirmeta"},
		{why: "a tree without end", when: is(".dirtree"), answer: func(t *testing.T, w http.ResponseWriter, _ string) {
			endless(t, w, make([]byte, 1<<16))
		}, message: "limit"},
		{why: "a tree that says it is huge", when: is(".dirtree"), answer: func(_ *testing.T, w http.ResponseWriter, _ string) {
			w.Header().Set("Content-Length", "1099511627776")
			w.Write([]byte("x"))
		}, message: "1099511627776 bytes long"},
		{why: "a file is garbage", when: is(".filez"), answer: send("garbage"), message: ".file"},
		{why: "a file is not there", when: is(".filez"), answer: status(404), message: ".file: fetching"},
		{why: "a file is empty", when: is(".filez"), answer: send(""), message: ".file"},
		{why: "a file is the web site", when: is(".filez"), answer: send("<html>welcome, nothing here</html>"), message: ".file"},
		{why: "a file lacks its end and the server says so", when: is(".filez"), answer: func(_ *testing.T, w http.ResponseWriter, path string) {
			data := read(path)
			w.Header().Set("Content-Length", "100000")
			w.Write(data[:len(data)/2])
		}, message: "ended early", passing: true},
		{why: "a file lacks its end and the server hides it", when: is(".filez"), answer: func(_ *testing.T, w http.ResponseWriter, path string) {
			data := read(path)
			w.Write(data[:len(data)-1])
		}, message: ".file"},
		{why: "a file goes on behind its end", when: is(".filez"), answer: func(_ *testing.T, w http.ResponseWriter, path string) {
			w.Write(append(read(path), "more"...))
		}, message: ".file"},
		{why: "a file inflates without end", when: is(".filez"), answer: func(_ *testing.T, w http.ResponseWriter, _ string) {
			w.Write(inflating)
		}, message: ".file"},
		{why: "a file is a sound one of another name", when: is(".filez"), answer: func(_ *testing.T, w http.ResponseWriter, _ string) {
			w.Write((object.FileInfo{Mode: object.ModeSymlink | 0o777, Target: "/etc/shadow"}).ArchiveHeader(0))
		}, message: ".file"},
		{why: "the server fails for ever", when: is(".filez"), answer: status(500), message: "HTTP 500 Internal Server Error (tried 3 times)", passing: true},
		{why: "the server hangs up", when: is(".filez"), answer: func(*testing.T, http.ResponseWriter, string) { panic(http.ErrAbortHandler) }, message: "tried 3 times", passing: true},
		{why: "the server sends in a circle", when: is(".filez"), answer: func(_ *testing.T, w http.ResponseWriter, path string) {
			w.Header().Set("Location", path)
			w.WriteHeader(http.StatusFound)
		}, message: "redirects", passing: true},
		{why: "the server says nothing", when: is(".filez"), answer: func(_ *testing.T, _ http.ResponseWriter, _ string) { time.Sleep(2 * time.Second) }, message: "fewer than", passing: true},
		{why: "the server trickles", when: is(".filez"), answer: func(_ *testing.T, w http.ResponseWriter, path string) {
			w.Header().Set("Content-Length", "1000000")
			for _, b := range read(path)[:40] {
				w.Write([]byte{b})
				w.(http.Flusher).Flush()
				time.Sleep(25 * time.Millisecond)
			}
		}, message: "fewer than", passing: true},
	} {
		t.Run(row.why, func(t *testing.T) {
			dst := newRepo(t, repo.ModeBareUser)
			before := snapshot(t, dst.Path())
			c := &counter{h: serve.Handler(src.Path())}
			c.answer = func(w http.ResponseWriter, path string, _ int) bool {
				if !row.when(path) {
					return false
				}
				row.answer(t, w, path)
				return true
			}
			addRemote(t, dst, serving(t, c))
			before["config"] = true
			o := quick(pull.Options{Refs: []string{"main"}, NetworkRetries: 2, LowSpeedTime: 200 * time.Millisecond})
			_, err := pull.Pull(t.Context(), dst, o)
			if err == nil {
				t.Fatal("the pull succeeded")
			}
			if !strings.Contains(err.Error(), row.message) {
				t.Errorf("the message %q lacks %q", err, row.message)
			}
			if n := strings.Count(err.Error(), "\n"); n > 0 {
				t.Errorf("the message has %d line breaks: %q", n, err)
			}
			if _, err := dst.Ref("origin", "main"); err == nil {
				t.Error("the ref was set")
			}
			if row.passing {
				return
			}
			for name := range snapshot(t, dst.Path()) {
				if !before[name] {
					t.Errorf("left behind: %s", name)
				}
			}
		})
	}
}

// snapshot lists the files of a repository, except the lock.
func snapshot(t *testing.T, dir string) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && d.Name() != ".lock" {
			rel, _ := filepath.Rel(dir, path)
			found[rel] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// bomb is a file object whose header promises ten bytes and whose content inflates to 256 MiB.
func bomb(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	b.Write((object.FileInfo{Mode: object.ModeRegular | 0o644}).ArchiveHeader(10))
	w, err := flate.NewWriter(&b, flate.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	zeros := make([]byte, 1<<20)
	for range 256 {
		w.Write(zeros)
	}
	w.Close()
	return b.Bytes()
}

// TestFailuresThatPass has a server fail each request once or twice, in every way that may pass.
func TestFailuresThatPass(t *testing.T) {
	src := newRepo(t, repo.ModeArchive)
	id := commit(t, src, "main", manyFiles(30), tree.CommitOptions{})
	for _, row := range []struct {
		why  string
		fail func(w http.ResponseWriter)
	}{
		{"500", func(w http.ResponseWriter) { http.Error(w, "oops", http.StatusInternalServerError) }},
		{"503 with a time to come back", func(w http.ResponseWriter) {
			w.Header().Set("Retry-After", "0")
			http.Error(w, "busy", http.StatusServiceUnavailable)
		}},
		{"408", func(w http.ResponseWriter) { http.Error(w, "slow", http.StatusRequestTimeout) }},
		{"a connection cut before the answer", func(http.ResponseWriter) { panic(http.ErrAbortHandler) }},
		{"an answer cut short", func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "500")
			w.Write([]byte("half"))
		}},
	} {
		t.Run(row.why, func(t *testing.T) {
			dst := newRepo(t, repo.ModeBare)
			c := &counter{h: serve.Handler(src.Path())}
			c.answer = func(w http.ResponseWriter, _ string, n int) bool {
				if n > 2 {
					return false
				}
				row.fail(w)
				return true
			}
			addRemote(t, dst, serving(t, c))
			if _, err := pull.Pull(t.Context(), dst, quick(pull.Options{Refs: []string{"main"}})); err != nil {
				t.Fatal(err)
			}
			wantRef(t, dst, "origin", "main", id)
		})
	}
}

func TestMessagesNameTheRemedy(t *testing.T) {
	src := newRepo(t, repo.ModeArchive)
	commit(t, src, "os/one", map[string]string{"f": "1"}, tree.CommitOptions{})
	if err := src.UpdateSummary(t.Context(), repo.SummaryOptions{}); err != nil {
		t.Fatal(err)
	}
	url := serving(t, serve.Handler(src.Path()))
	for _, row := range []struct {
		why     string
		options []repo.Option
		refs    []string
		message string
	}{
		{"a ref that is not there", nil, []string{"os/two"}, `ref "os/two"`},
		{"... and which are", nil, []string{"os/two"}, "the server offers os/one"},
		{"no branches", nil, nil, `remote "origin" has no branches configured: name the refs to pull; the server offers os/one`},
		{"no url", []repo.Option{{Key: "url", Value: ""}}, []string{"x"}, `No "url" option`},
		{"a mirror list", []repo.Option{{Key: "url", Value: "mirrorlist=http://x"}}, []string{"x"}, "reading the list of mirrors"},
		{"another protocol", []repo.Option{{Key: "url", Value: "ftp://x/y"}}, []string{"x"}, "Invalid URI scheme"},
		{"a server that is not there", []repo.Option{{Key: "url", Value: "http://127.0.0.1:1"}}, []string{"x"}, "connection refused"},
		{"signatures without keys", []repo.Option{{Key: "gpg-verify", Value: "true"}}, []string{"x"}, "ostree remote gpg-import origin"},
		{"a spelling mistake", []repo.Option{{Key: "gpg-verify", Value: "maybe"}}, []string{"x"}, "must be true or false"},
		{"a bad checksum", nil, []string{"os/one@12"}, "64 hexadecimal digits"},
		{"dots in a ref", nil, []string{"../../etc/passwd"}, "Invalid ref name"},
	} {
		dst := newRepo(t, repo.ModeBareUser)
		options := []repo.Option{{Key: "url", Value: url}, {Key: "gpg-verify", Value: "false"}}
		for _, o := range row.options {
			for i := range options {
				if options[i].Key == o.Key {
					options[i] = o
				}
			}
		}
		if err := dst.AddRemote(repo.Remote{Name: "origin", Options: options}, true); err != nil {
			t.Fatal(err)
		}
		_, err := pull.Pull(t.Context(), dst, quick(pull.Options{Refs: row.refs, NetworkRetries: -1}))
		if err == nil || !strings.Contains(err.Error(), row.message) {
			t.Errorf("%s: %v; want a message with %q", row.why, err, row.message)
		}
	}
	dst := newRepo(t, repo.ModeBareUser)
	if _, err := pull.Pull(t.Context(), dst, quick(pull.Options{Refs: []string{"x"}})); err == nil || !strings.Contains(err.Error(), "origin") {
		t.Errorf("a remote that is not there: %v", err)
	}
}

// TestProgressIsTold checks that the last report is complete.
func TestProgressIsTold(t *testing.T) {
	src, dst := newRepo(t, repo.ModeArchive), newRepo(t, repo.ModeBareUser)
	commit(t, src, "main", manyFiles(30), tree.CommitOptions{})
	addRemote(t, dst, serving(t, serve.Handler(src.Path())))
	var last pull.Stats
	res, err := pull.Pull(t.Context(), dst, quick(pull.Options{Refs: []string{"main"}, Progress: func(s pull.Stats) { last = s }}))
	if err != nil {
		t.Fatal(err)
	}
	if !last.Done || last.Content != res.Stats.Content || last.Content != last.ContentWanted || last.Metadata != last.MetadataWanted || last.Transferred == 0 {
		t.Errorf("the last report is %+v", last)
	}
}

// TestHeadersAndContentURL: objects come from another server, and each request carries the caller's header.
func TestHeadersAndContentURL(t *testing.T) {
	src, dst := newRepo(t, repo.ModeArchive), newRepo(t, repo.ModeBareUser)
	id := commit(t, src, "main", map[string]string{"f": "1"}, tree.CommitOptions{})
	var refused string
	content := serving(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Token") != hex.EncodeToString([]byte("secret")) {
			refused = r.URL.Path
		}
		serve.Handler(src.Path()).ServeHTTP(w, r)
	}))
	main := serving(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, ".filez") {
			http.Error(w, "no files here", http.StatusForbidden)
			return
		}
		serve.Handler(src.Path()).ServeHTTP(w, r)
	}))
	addRemote(t, dst, main, repo.Option{Key: "contenturl", Value: content})
	o := quick(pull.Options{Refs: []string{"main"}, Header: http.Header{"X-Token": {hex.EncodeToString([]byte("secret"))}}})
	if _, err := pull.Pull(t.Context(), dst, o); err != nil {
		t.Fatal(err)
	}
	if refused != "" {
		t.Errorf("the request for %s lacked the header", refused)
	}
	wantRef(t, dst, "origin", "main", id)
}
