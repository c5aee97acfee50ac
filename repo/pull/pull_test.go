package pull_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"photree/internal/gvariant"
	"photree/repo"
	"photree/repo/object"
	"photree/repo/pull"
	"photree/repo/serve"
	"photree/repo/tree"
)

// newRepo makes an empty repository; whatever a test does to it, it must pass fsck in the end.
func newRepo(t *testing.T, mode repo.Mode) *repo.Repo {
	t.Helper()
	r, err := repo.Init(filepath.Join(t.TempDir(), "repo"), repo.InitOptions{Mode: mode})
	if err != nil {
		t.Fatal(err)
	}
	// What a pull leaves behind after a power cut is tested where transactions are; here flushing only takes time.
	conf := r.Config()
	conf.Set("core", "fsync", "false")
	if err := r.SetConfig(conf); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		fsck(t, r)
		r.Close()
	})
	return r
}

func fsck(t *testing.T, r *repo.Repo) {
	t.Helper()
	res, err := r.Fsck(context.Background(), repo.FsckOptions{})
	if err != nil {
		t.Errorf("fsck: %v", err)
	}
	for _, p := range res.Problems {
		t.Errorf("fsck: %v", p)
	}
}

// commit records files as a commit on a head. A name that ends in "/" is a directory, a content that starts with "->" a
// symbolic link.
func commit(t *testing.T, r *repo.Repo, ref string, files map[string]string, o tree.CommitOptions) object.ID {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if target, ok := strings.CutPrefix(content, "->"); ok {
			if err := os.Symlink(target, path); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	o.Ref = ref
	if o.Timestamp.IsZero() {
		o.Timestamp = time.Unix(1700000000, 0)
	}
	id, _, err := tree.Commit(t.Context(), r, dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// manyFiles is a tree of n files in ten directories, of sizes around the size of buffers.
func manyFiles(n int) map[string]string {
	files := map[string]string{"link": "->d0/f0", "empty": ""}
	for i := range n {
		files[fmt.Sprintf("d%d/sub/f%d", i%10, i)] = strings.Repeat(fmt.Sprintf("line %d\n", i), 1+i*7)
	}
	files["big"] = strings.Repeat("0123456789abcdef", 1<<16)
	return files
}

// serving starts an HTTP server and returns its address.
func serving(t *testing.T, h http.Handler) string {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv.URL
}

// addRemote configures the remote "origin" without signatures.
func addRemote(t *testing.T, r *repo.Repo, url string, options ...repo.Option) {
	t.Helper()
	options = append([]repo.Option{{Key: "url", Value: url}, {Key: "gpg-verify", Value: "false"}}, options...)
	if err := r.AddRemote(repo.Remote{Name: "origin", Options: options}, true); err != nil {
		t.Fatal(err)
	}
}

// quick makes retries fast enough for a test.
func quick(o pull.Options) pull.Options {
	o.Remote = "origin"
	o.Backoff = time.Millisecond
	return o
}

func wantRef(t *testing.T, r *repo.Repo, remote, ref string, id object.ID) {
	t.Helper()
	if got, err := r.Ref(remote, ref); err != nil || got != id {
		t.Errorf("ref %s:%s is %s (%v), want %s", remote, ref, got, err, id)
	}
	if partial, err := r.IsPartial(id); err != nil || partial {
		t.Errorf("commit %s: partial is %v (%v), want false", id, partial, err)
	}
}

// stock runs the original ostree.
func stock(t *testing.T, args ...string) string {
	t.Helper()
	path, err := exec.LookPath("ostree")
	if err != nil {
		t.Fatal("these tests compare with the original ostree: install the package ostree")
	}
	out, err := exec.Command(path, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("ostree %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func TestPullIntoEachMode(t *testing.T) {
	src := newRepo(t, repo.ModeArchive)
	files := manyFiles(200)
	id := commit(t, src, "os/x86/base", files, tree.CommitOptions{Write: tree.WriteOptions{CanonicalPermissions: true}})
	url := serving(t, serve.Handler(src.Path()))
	for _, mode := range []repo.Mode{repo.ModeBare, repo.ModeArchive, repo.ModeBareUser, repo.ModeBareUserOnly} {
		t.Run(string(mode), func(t *testing.T) {
			dst := newRepo(t, mode)
			addRemote(t, dst, url)
			res, err := pull.Pull(t.Context(), dst, quick(pull.Options{Refs: []string{"os/x86/base"}}))
			if err != nil {
				t.Fatal(err)
			}
			wantRef(t, dst, "origin", "os/x86/base", id)
			if res.Stats.Content != int64(len(files)) || res.Stats.Metadata < 20 {
				t.Errorf("fetched %d content objects and %d metadata, want %d and at least 20", res.Stats.Content, res.Stats.Metadata, len(files))
			}
			data, err := tree.ReadFile(dst, id, "/big")
			if err != nil || string(data) != files["big"] {
				t.Errorf("the file /big is not what was committed (%d bytes, %v)", len(data), err)
			}
			stock(t, "--repo="+dst.Path(), "fsck")
			again, err := pull.Pull(t.Context(), dst, quick(pull.Options{Refs: []string{"os/x86/base"}}))
			if err != nil {
				t.Fatal(err)
			}
			if again.Stats.Metadata+again.Stats.Content != 0 || again.Stats.Requests > 4 { // config, summary, ref, signatures
				t.Errorf("a second pull fetched %d objects with %d requests", again.Stats.Metadata+again.Stats.Content, again.Stats.Requests)
			}
		})
	}
}

// TestOnlyTheMissingIsFetched pulls a second commit that changes one file.
func TestOnlyTheMissingIsFetched(t *testing.T) {
	src, dst := newRepo(t, repo.ModeArchive), newRepo(t, repo.ModeBare)
	files := manyFiles(50)
	first := commit(t, src, "main", files, tree.CommitOptions{})
	addRemote(t, dst, serving(t, http.FileServer(http.Dir(src.Path()))))
	if _, err := pull.Pull(t.Context(), dst, quick(pull.Options{Refs: []string{"main"}})); err != nil {
		t.Fatal(err)
	}
	wantRef(t, dst, "origin", "main", first)
	files["d3/sub/f3"] = "changed"
	second := commit(t, src, "main", files, tree.CommitOptions{})
	res, err := pull.Pull(t.Context(), dst, quick(pull.Options{Refs: []string{"main"}}))
	if err != nil {
		t.Fatal(err)
	}
	wantRef(t, dst, "origin", "main", second)
	// The commit, the root, d3 and d3/sub; and the file.
	if res.Stats.Metadata != 4 || res.Stats.Content != 1 {
		t.Errorf("fetched %d metadata and %d content objects, want 4 and 1", res.Stats.Metadata, res.Stats.Content)
	}
	if res.Refs[0].Before != first {
		t.Errorf("the ref was %s before, want %s", res.Refs[0].Before, first)
	}
}

func TestStockPullsFromUsAndWeFromStock(t *testing.T) {
	dir := t.TempDir()
	ours := newRepo(t, repo.ModeArchive)
	id := commit(t, ours, "main", manyFiles(40), tree.CommitOptions{})
	if err := ours.UpdateSummary(t.Context(), repo.SummaryOptions{}); err != nil {
		t.Fatal(err)
	}
	theirs := filepath.Join(dir, "theirs")
	stock(t, "init", "--repo="+theirs, "--mode=archive")
	stock(t, "remote", "add", "--repo="+theirs, "--no-gpg-verify", "o", serving(t, serve.Handler(ours.Path())))
	stock(t, "pull", "--repo="+theirs, "--mirror", "o", "main")
	stock(t, "fsck", "--repo="+theirs)
	if got := strings.TrimSpace(stock(t, "rev-parse", "--repo="+theirs, "main")); got != id.String() {
		t.Errorf("the original has %s, want %s", got, id)
	}
	src := filepath.Join(dir, "src")
	if err := os.MkdirAll(filepath.Join(src, "etc"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(src, "etc/file"), []byte("made by the original"), 0o600); err != nil {
		t.Fatal(err)
	}
	stock(t, "commit", "--repo="+theirs, "-b", "second", "-s", "by the original", src)
	dst := newRepo(t, repo.ModeBareUser)
	addRemote(t, dst, serving(t, serve.Handler(theirs)), repo.Option{Key: "branches", Value: "main;second;"})
	if _, err := pull.Pull(t.Context(), dst, quick(pull.Options{})); err != nil {
		t.Fatal(err)
	}
	wantRef(t, dst, "origin", "main", id)
	second, err := dst.Ref("origin", "second")
	if err != nil {
		t.Fatal(err)
	}
	if data, err := tree.ReadFile(dst, second, "/etc/file"); err != nil || string(data) != "made by the original" {
		t.Errorf("the file reads %q (%v)", data, err)
	}
	stock(t, "fsck", "--repo="+dst.Path())
}

// counter counts the requests for objects and may answer some itself.
type counter struct {
	h  http.Handler
	mu sync.Mutex
	n  map[string]int
	// answer returns true when it has answered the n-th request for a path.
	answer func(w http.ResponseWriter, path string, n int) bool
}

func (c *counter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	if c.n == nil {
		c.n = map[string]int{}
	}
	c.n[r.URL.Path]++
	n := c.n[r.URL.Path]
	c.mu.Unlock()
	if c.answer != nil && c.answer(w, r.URL.Path, n) {
		return
	}
	c.h.ServeHTTP(w, r)
}

// objects counts the files that were asked for.
func (c *counter) objects() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	total := 0
	for path, n := range c.n {
		if strings.HasSuffix(path, ".filez") {
			total += n
		}
	}
	return total
}

// TestInterruptedPullIsResumed attacks R3: it stops pulls half way, each in another way, and pulls again.
func TestInterruptedPullIsResumed(t *testing.T) {
	src := newRepo(t, repo.ModeArchive)
	files := manyFiles(120)
	id := commit(t, src, "main", files, tree.CommitOptions{})
	for _, row := range []struct {
		why  string
		stop func(cancel context.CancelFunc, w http.ResponseWriter)
	}{
		{"the user interrupts", func(cancel context.CancelFunc, w http.ResponseWriter) {
			cancel()
			http.Error(w, "late", http.StatusServiceUnavailable)
		}},
		{"the server goes away", func(_ context.CancelFunc, _ http.ResponseWriter) { panic(http.ErrAbortHandler) }},
		{"the server is overloaded", func(_ context.CancelFunc, w http.ResponseWriter) {
			http.Error(w, "busy", http.StatusServiceUnavailable)
		}},
	} {
		t.Run(row.why, func(t *testing.T) {
			dst := newRepo(t, repo.ModeBare)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			broken := true
			served := 0
			c := &counter{h: serve.Handler(src.Path())}
			var mu sync.Mutex
			c.answer = func(w http.ResponseWriter, path string, _ int) bool {
				mu.Lock()
				defer mu.Unlock()
				if !broken || !strings.HasSuffix(path, ".filez") {
					return false
				}
				if served++; served <= 60 {
					return false
				}
				row.stop(cancel, w)
				return true
			}
			addRemote(t, dst, serving(t, c))
			o := quick(pull.Options{Refs: []string{"main"}, NetworkRetries: 2})
			if _, err := pull.Pull(ctx, dst, o); err == nil {
				t.Fatal("the pull succeeded although it was stopped")
			}
			if _, err := dst.Ref("origin", "main"); err == nil {
				t.Error("a ref names a commit that is not complete")
			}
			if has, err := dst.HasObject(object.Name{ID: id, Kind: object.KindCommit}); err != nil || has {
				if partial, err := dst.IsPartial(id); err != nil || !partial {
					t.Errorf("the commit is here without its tree and not marked (%v)", err)
				}
			}
			mu.Lock()
			broken = false
			mu.Unlock()
			before := c.objects()
			if _, err := pull.Pull(t.Context(), dst, o); err != nil {
				t.Fatal(err)
			}
			wantRef(t, dst, "origin", "main", id)
			if asked := c.objects() - before; asked > len(files)-50 {
				t.Errorf("the second pull asked for %d of %d files: it did not use what the first one brought", asked, len(files))
			}
			stock(t, "fsck", "--repo="+dst.Path())
		})
	}
}

// TestCheckpoints attacks R2 and R3: a pull that publishes as it goes, beside a prune, and one that fails after that.
func TestCheckpoints(t *testing.T) {
	src := newRepo(t, repo.ModeArchive)
	files := manyFiles(60)
	id := commit(t, src, "main", files, tree.CommitOptions{})
	c := &counter{h: serve.Handler(src.Path())}
	var broken atomic.Bool
	c.answer = func(w http.ResponseWriter, path string, _ int) bool {
		if !strings.HasSuffix(path, ".filez") {
			return false
		}
		time.Sleep(5 * time.Millisecond)
		if broken.Load() && c.objects() > 40 {
			io.WriteString(w, "garbage")
			return true
		}
		return false
	}
	url := serving(t, c)
	o := quick(pull.Options{Refs: []string{"main"}, CheckpointEvery: 10 * time.Millisecond, MaxOutstanding: 4})

	dst := newRepo(t, repo.ModeBareUser)
	addRemote(t, dst, url)
	pruned := make(chan error)
	go func() {
		time.Sleep(20 * time.Millisecond)
		_, err := dst.Prune(context.Background(), repo.PruneOptions{RefsOnly: true})
		pruned <- err
	}()
	if _, err := pull.Pull(t.Context(), dst, o); err != nil {
		t.Fatal(err)
	}
	if err := <-pruned; err != nil {
		t.Fatal(err)
	}
	wantRef(t, dst, "origin", "main", id)

	dst = newRepo(t, repo.ModeBareUser)
	addRemote(t, dst, url)
	c.n = nil
	broken.Store(true)
	if _, err := pull.Pull(t.Context(), dst, o); err == nil {
		t.Fatal("garbage was pulled")
	}
	has, err := dst.HasObject(object.Name{ID: id, Kind: object.KindCommit})
	if err != nil {
		t.Fatal(err)
	}
	if partial, err := dst.IsPartial(id); err != nil || !has || !partial {
		t.Errorf("after a checkpoint: the commit is here: %v, marked: %v (%v)", has, partial, err)
	}
	broken.Store(false)
	before := c.objects()
	if _, err := pull.Pull(t.Context(), dst, o); err != nil {
		t.Fatal(err)
	}
	if asked := c.objects() - before; asked >= len(files)-10 {
		t.Errorf("asked again for %d of %d files", asked, len(files))
	}
	wantRef(t, dst, "origin", "main", id)
}

func TestDepthAndMetadataOnly(t *testing.T) {
	src := newRepo(t, repo.ModeArchive)
	var ids []object.ID
	for i := range 4 {
		ids = append(ids, commit(t, src, "main", map[string]string{"f": fmt.Sprint(i)}, tree.CommitOptions{}))
	}
	url := serving(t, serve.Handler(src.Path()))
	for _, row := range []struct {
		depth, want int
	}{{0, 1}, {1, 2}, {-1, 4}} {
		dst := newRepo(t, repo.ModeBareUser)
		addRemote(t, dst, url)
		if _, err := pull.Pull(t.Context(), dst, quick(pull.Options{Refs: []string{"main"}, Depth: row.depth})); err != nil {
			t.Fatal(err)
		}
		found := 0
		for _, id := range ids {
			if has, err := dst.HasObject(object.Name{ID: id, Kind: object.KindCommit}); err == nil && has {
				found++
			}
		}
		if found != row.want {
			t.Errorf("depth %d: %d commits, want %d", row.depth, found, row.want)
		}
	}
	dst := newRepo(t, repo.ModeArchive)
	addRemote(t, dst, url)
	o := quick(pull.Options{Refs: []string{"main"}, Depth: -1, CommitMetadataOnly: true})
	res, err := pull.Pull(t.Context(), dst, o)
	if err != nil {
		t.Fatal(err)
	}
	if res.Stats.Metadata != 4 || res.Stats.Content != 0 {
		t.Errorf("commit metadata only: %d metadata and %d content objects, want 4 and 0", res.Stats.Metadata, res.Stats.Content)
	}
	if partial, err := dst.IsPartial(ids[3]); err != nil || !partial {
		t.Errorf("a commit without its tree is not marked partial (%v)", err)
	}
	o.CommitMetadataOnly = false
	if _, err := pull.Pull(t.Context(), dst, o); err != nil {
		t.Fatal(err)
	}
	wantRef(t, dst, "origin", "main", ids[3])
	wantRef(t, dst, "origin", "main", ids[3])
}

func TestHistoryThatTheServerPruned(t *testing.T) {
	src, dst := newRepo(t, repo.ModeArchive), newRepo(t, repo.ModeBareUser)
	commit(t, src, "main", map[string]string{"f": "1"}, tree.CommitOptions{})
	id := commit(t, src, "main", map[string]string{"f": "2"}, tree.CommitOptions{})
	if _, err := src.Prune(t.Context(), repo.PruneOptions{RefsOnly: true, Depth: 0}); err != nil {
		t.Fatal(err)
	}
	addRemote(t, dst, serving(t, serve.Handler(src.Path())))
	if _, err := pull.Pull(t.Context(), dst, quick(pull.Options{Refs: []string{"main"}, Depth: -1})); err != nil {
		t.Fatal(err)
	}
	wantRef(t, dst, "origin", "main", id)
}

func TestMirror(t *testing.T) {
	src, dst := newRepo(t, repo.ModeArchive), newRepo(t, repo.ModeArchive)
	a := commit(t, src, "a", map[string]string{"f": "1"}, tree.CommitOptions{})
	b := commit(t, src, "b/c", map[string]string{"f": "2"}, tree.CommitOptions{})
	if err := src.UpdateSummary(t.Context(), repo.SummaryOptions{}); err != nil {
		t.Fatal(err)
	}
	addRemote(t, dst, serving(t, serve.Handler(src.Path())))
	if _, err := pull.Pull(t.Context(), dst, quick(pull.Options{Mirror: true})); err != nil {
		t.Fatal(err)
	}
	wantRef(t, dst, "", "a", a)
	wantRef(t, dst, "", "b/c", b)
	want, _ := os.ReadFile(filepath.Join(src.Path(), "summary"))
	if got, err := os.ReadFile(filepath.Join(dst.Path(), "summary")); err != nil || string(got) != string(want) {
		t.Errorf("the summary of the mirror differs from the server's (%v)", err)
	}
}

func TestSubpath(t *testing.T) {
	src, dst := newRepo(t, repo.ModeArchive), newRepo(t, repo.ModeBareUser)
	same := "the same bytes at two places"
	id := commit(t, src, "main", map[string]string{"usr/etc/a": "1", "usr/lib/b": "2", "usr/lib/etc/a": same, "opt/etc/a": same}, tree.CommitOptions{})
	addRemote(t, dst, serving(t, serve.Handler(src.Path())))
	res, err := pull.Pull(t.Context(), dst, quick(pull.Options{Refs: []string{"main"}, Subpaths: []string{"/usr/lib"}}))
	if err != nil {
		t.Fatal(err)
	}
	if res.Stats.Content != 2 {
		t.Errorf("fetched %d files, want the 2 below /usr/lib", res.Stats.Content)
	}
	if partial, err := dst.IsPartial(id); err != nil || !partial {
		t.Errorf("a commit without all of its tree is not marked partial (%v)", err)
	}
	if data, err := tree.ReadFile(dst, id, "/usr/lib/etc/a"); err != nil || string(data) != same {
		t.Errorf("/usr/lib/etc/a reads %q (%v)", data, err)
	}
	if _, err := pull.Pull(t.Context(), dst, quick(pull.Options{Refs: []string{"main"}})); err != nil {
		t.Fatal(err)
	}
	wantRef(t, dst, "origin", "main", id)
}

func TestCacheSparesTheNetwork(t *testing.T) {
	src, cache, dst := newRepo(t, repo.ModeArchive), newRepo(t, repo.ModeBareUser), newRepo(t, repo.ModeBareUser)
	files := manyFiles(30)
	commit(t, src, "main", files, tree.CommitOptions{})
	c := &counter{h: serve.Handler(src.Path())}
	url := serving(t, c)
	addRemote(t, cache, url)
	addRemote(t, dst, url)
	if _, err := pull.Pull(t.Context(), cache, quick(pull.Options{Refs: []string{"main"}})); err != nil {
		t.Fatal(err)
	}
	files["new"] = "only on the server"
	id := commit(t, src, "main", files, tree.CommitOptions{})
	before := c.objects()
	if _, err := pull.Pull(t.Context(), dst, quick(pull.Options{Refs: []string{"main"}, Caches: []*repo.Repo{cache}})); err != nil {
		t.Fatal(err)
	}
	if asked := c.objects() - before; asked != 1 {
		t.Errorf("asked the server for %d files, want 1", asked)
	}
	wantRef(t, dst, "origin", "main", id)
}

func TestLocal(t *testing.T) {
	for _, row := range []struct {
		why      string
		src, dst repo.Mode
		linked   bool
	}{
		{"the same mode shares files", repo.ModeBareUser, repo.ModeBareUser, true},
		{"bare to bare", repo.ModeBare, repo.ModeBare, true},
		{"archive to bare", repo.ModeArchive, repo.ModeBare, false},
		{"bare to archive", repo.ModeBare, repo.ModeArchive, false},
		{"bare-user to bare", repo.ModeBareUser, repo.ModeBare, false},
	} {
		t.Run(row.why, func(t *testing.T) {
			src, dst := newRepo(t, row.src), newRepo(t, row.dst)
			a := commit(t, src, "a", manyFiles(10), tree.CommitOptions{})
			b := commit(t, src, "b", map[string]string{"x": "y"}, tree.CommitOptions{})
			if _, err := pull.Local(t.Context(), dst, src, pull.Options{}); err != nil {
				t.Fatal(err)
			}
			wantRef(t, dst, "", "a", a)
			wantRef(t, dst, "", "b", b)
			entry, err := tree.LookupFollow(dst, a, "/big")
			if err != nil {
				t.Fatal(err)
			}
			n := object.Name{ID: entry.ID, Kind: object.KindFile}
			one, err1 := os.Stat(src.ObjectPath(n))
			two, err2 := os.Stat(dst.ObjectPath(n))
			if err1 != nil || err2 != nil || os.SameFile(one, two) != row.linked {
				t.Errorf("shared is %v (%v, %v), want %v", os.SameFile(one, two), err1, err2, row.linked)
			}
			stock(t, "fsck", "--repo="+dst.Path())
		})
	}
}

// TestLocalDoesNotSpreadDamage attacks R1: a source with a damaged object must not be copied when it is not trusted.
func TestLocalDoesNotSpreadDamage(t *testing.T) {
	src, err := repo.Init(filepath.Join(t.TempDir(), "src"), repo.InitOptions{Mode: repo.ModeBareUser})
	if err != nil {
		t.Fatal(err)
	}
	id := commit(t, src, "main", map[string]string{"f": "good"}, tree.CommitOptions{})
	entry, err := tree.LookupFollow(src, id, "/f")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(src.ObjectPath(object.Name{ID: entry.ID, Kind: object.KindFile}), []byte("evil"), 0o644); err != nil {
		t.Fatal(err)
	}
	dst := newRepo(t, repo.ModeBareUser)
	if _, err := pull.Local(t.Context(), dst, src, pull.Options{Untrusted: true}); err == nil {
		t.Error("a damaged object was pulled")
	}
	addRemote(t, dst, "file://"+src.Path())
	if _, err := pull.Pull(t.Context(), dst, quick(pull.Options{Refs: []string{"main"}})); err == nil {
		t.Error("a damaged object was pulled by a file: URL")
	}
	if _, err := dst.Ref("", "main"); err == nil {
		t.Error("the ref was set")
	}
}

func TestBindingsAndTimestamps(t *testing.T) {
	src := newRepo(t, repo.ModeArchive)
	old := commit(t, src, "main", map[string]string{"f": "1"}, tree.CommitOptions{Timestamp: time.Unix(1000, 0)})
	young := commit(t, src, "main", map[string]string{"f": "2"}, tree.CommitOptions{Timestamp: time.Unix(2000, 0)})
	txn, err := src.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := txn.SetRef("", "other", young); err != nil {
		t.Fatal(err)
	}
	if err := txn.Commit(); err != nil {
		t.Fatal(err)
	}
	dst := newRepo(t, repo.ModeBareUser)
	addRemote(t, dst, serving(t, serve.Handler(src.Path())))
	pullRefs := func(o pull.Options, refs ...string) error {
		o.Refs = refs
		_, err := pull.Pull(t.Context(), dst, quick(o))
		return err
	}
	if err := pullRefs(pull.Options{}, "other"); err == nil || !strings.Contains(err.Error(), "no requested ref ‘other’ in ref binding metadata") {
		t.Errorf("a commit of another branch: %v", err)
	}
	if err := pullRefs(pull.Options{DisableVerifyBindings: true}, "other"); err != nil {
		t.Errorf("without the check of bindings: %v", err)
	}
	if err := pullRefs(pull.Options{}, "main"); err != nil {
		t.Fatal(err)
	}
	if err := pullRefs(pull.Options{TimestampCheck: true}, "main@"+old.String()); err == nil || !strings.Contains(err.Error(), "chronologically older") {
		t.Errorf("an older commit: %v", err)
	}
	wantRef(t, dst, "origin", "main", young)
	if err := pullRefs(pull.Options{}, "main@"+old.String()); err != nil {
		t.Fatal(err)
	}
	wantRef(t, dst, "origin", "main", old)
	if err := pullRefs(pull.Options{TimestampCheckFrom: young.String()}, "main@"+old.String()); err == nil {
		t.Error("an older commit than the one to compare with was pulled")
	}
}

func TestDetachedMetadataComesAlong(t *testing.T) {
	src, dst := newRepo(t, repo.ModeArchive), newRepo(t, repo.ModeBareUser)
	var d gvariant.Dict
	d.Set("note", gvariant.String("beside the commit"))
	id := commit(t, src, "main", map[string]string{"f": "1"}, tree.CommitOptions{Detached: d})
	addRemote(t, dst, serving(t, serve.Handler(src.Path())))
	if _, err := pull.Pull(t.Context(), dst, quick(pull.Options{Refs: []string{"main"}})); err != nil {
		t.Fatal(err)
	}
	got, err := dst.DetachedMetadata(id)
	if err != nil || got.GetString("note") != "beside the commit" {
		t.Errorf("detached metadata is %v (%v)", got, err)
	}
}
