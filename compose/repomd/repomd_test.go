package repomd

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"photree/compose/rpm"
)

func sha(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

func gz(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	w.Write(b)
	w.Close()
	return out.Bytes()
}

const primaryHead = `<?xml version="1.0" encoding="UTF-8"?>
<metadata xmlns="http://linux.duke.edu/metadata/common" xmlns:rpm="http://linux.duke.edu/metadata/rpm" packages="2">
`

// primary describes two packages: alpha, whose file is content, and beta.
func primary(content []byte) string {
	return primaryHead + fmt.Sprintf(`<!-- a comment with <tags> -->
<package type="rpm"><name>alpha</name><arch>x86_64</arch><version epoch="1" ver="2.0" rel="3"/>
 <checksum type="sha256" pkgid="YES">%s</checksum><summary>A &amp; &#x42; &lt;c&gt;</summary><description/>
 <time file="5" build="7"/><size package="%d" installed="99" archive="1"/><location href="packages/alpha-2.0-3.x86_64.rpm"/>
 <format><rpm:license>x</rpm:license><rpm:sourcerpm>alpha.src.rpm</rpm:sourcerpm>
  <rpm:provides><rpm:entry name="alpha" flags="EQ" epoch="1" ver="2.0" rel="3"/></rpm:provides>
  <rpm:requires><rpm:entry name="libc.so.6()(64bit)"/><rpm:entry name="beta" flags="GE" epoch="0" ver="1" pre="1"/><rpm:entry name="(x &gt;= 1 or y)"/></rpm:requires>
  <rpm:recommends><rpm:entry name="gamma"/></rpm:recommends>
  <file>/usr/bin/alpha</file><file type="dir">/etc/alpha&amp;b</file></format></package>
<package type="rpm"><name>beta</name><arch>noarch</arch><version epoch="0" ver="1" rel="1"/>
 <checksum type="sha256" pkgid="YES">%s</checksum><location href="packages/beta-1-1.noarch.rpm"/><format/></package>
</metadata>
`, sha(content), len(content), strings.Repeat("b", 64))
}

const filelists = `<?xml version="1.0"?><filelists xmlns="http://linux.duke.edu/metadata/filelists" packages="2">
<package pkgid="%s" name="alpha" arch="x86_64"><version epoch="1" ver="2.0" rel="3"/><file>/usr/share/alpha/data</file><file>/usr/bin/alpha</file></package>
<package pkgid="%s" name="beta" arch="noarch"><version epoch="0" ver="1" rel="1"/><file>/usr/share/beta</file></package></filelists>`

// site is a repository in a directory.
type site struct {
	dir     string
	content []byte // of alpha's package file
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{dir: t.TempDir(), content: bytes.Repeat([]byte("package "), 5000)}
	s.write(t, "packages/alpha-2.0-3.x86_64.rpm", s.content)
	s.index(t, gz([]byte(primary(s.content))), "")
	return s
}

func (s *site) write(t *testing.T, name string, data []byte) {
	t.Helper()
	file := filepath.Join(s.dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// index writes the indexes; a digest replaces that of primary.
func (s *site) index(t *testing.T, primary []byte, digest string) {
	t.Helper()
	if digest == "" {
		digest = sha(primary)
	}
	fl := []byte(fmt.Sprintf(filelists, sha(s.content), strings.Repeat("b", 64)))
	s.write(t, "repodata/primary.xml.gz", primary)
	s.write(t, "repodata/filelists.xml", fl)
	s.write(t, "repodata/repomd.xml", []byte(fmt.Sprintf(`<repomd xmlns="http://linux.duke.edu/metadata/repo"><revision>1</revision>
<data type="primary"><checksum type="sha256">%s</checksum><location href="repodata/primary.xml.gz"/><timestamp>1700000001</timestamp><size>%d</size></data>
<data type="filelists"><checksum type="sha256">%s</checksum><location href="repodata/filelists.xml"/><timestamp>1700000000.5</timestamp></data></repomd>`,
		digest, len(primary), sha(fl))))
}

func (s *site) config() Config { return Config{ID: "test", BaseURLs: []string{"file://" + s.dir}} }

// serve serves the site; wrap may answer itself.
func (s *site) serve(t *testing.T, wrap func(w http.ResponseWriter, r *http.Request) bool) Config {
	t.Helper()
	files := http.FileServer(http.Dir(s.dir))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if wrap == nil || !wrap(w, r) {
			files.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(srv.Close)
	return Config{ID: "test", BaseURLs: []string{srv.URL + "/"}}
}

func fast(t *testing.T) Options {
	return Options{CacheDir: t.TempDir(), retryPause: time.Millisecond}
}

func TestOpen(t *testing.T) {
	s := newSite(t)
	var plain, zst bytes.Buffer
	w, err := zstd.NewWriter(&zst)
	if err != nil {
		t.Fatal(err)
	}
	w.Write([]byte(primary(s.content)))
	w.Close()
	plain.WriteString(primary(s.content))
	for name, data := range map[string][]byte{"gz": gz(plain.Bytes()), "plain": plain.Bytes(), "zst": zst.Bytes()} {
		s.index(t, data, "")
		r, err := Open(context.Background(), s.config(), Options{})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if len(r.Packages()) != 2 || r.Timestamp() != 1700000001 || r.ID() != "test" || len(r.Checksum()) != 64 {
			t.Fatalf("%s: %d packages, timestamp %d", name, len(r.Packages()), r.Timestamp())
		}
		a := r.Packages()[0]
		if a.String() != "alpha-1:2.0-3.x86_64" || a.Summary != "A & B <c>" || a.BuildTime != 7 || a.InstalledSize != 99 ||
			a.Location != "packages/alpha-2.0-3.x86_64.rpm" || a.SourceRPM != "alpha.src.rpm" || a.Repo != r {
			t.Errorf("%s: %+v", name, a)
		}
		if len(a.Files) != 2 || a.Files[1] != "/etc/alpha&b" {
			t.Errorf("%s: files %q", name, a.Files)
		}
		q := a.Requires
		if len(q) != 3 || q[0].String() != "libc.so.6()(64bit)" || q[1].String() != "beta >= 1" || q[1].Flags&rpm.SensePrereq == 0 || q[2].Rich == nil {
			t.Errorf("%s: requires %v", name, q)
		}
		if len(a.Provides) != 1 || a.Provides[0].String() != "alpha = 1:2.0-3" || len(a.Recommends) != 1 {
			t.Errorf("%s: provides %v, recommends %v", name, a.Provides, a.Recommends)
		}
	}
}

func TestFindFiles(t *testing.T) {
	r, err := Open(context.Background(), newSite(t).config(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	found, err := r.FindFiles(context.Background(), []string{"/usr/share/alpha/data", "/nowhere"})
	if err != nil || len(found) != 1 || len(found["/usr/share/alpha/data"]) != 1 || found["/usr/share/alpha/data"][0].Name != "alpha" {
		t.Errorf("got %v, %v", found, err)
	}
}

func TestCache(t *testing.T) {
	s := newSite(t)
	var primaries, packages atomic.Int32
	cfg := s.serve(t, func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "primary") {
			primaries.Add(1)
		}
		if strings.HasSuffix(r.URL.Path, ".rpm") {
			packages.Add(1)
		}
		return false
	})
	opts := fast(t)
	ctx := context.Background()
	var paths []string
	for range 2 {
		r, err := Open(ctx, cfg, opts)
		if err != nil {
			t.Fatal(err)
		}
		if paths, err = Download(ctx, r.Packages()[:1], opts); err != nil {
			t.Fatal(err)
		}
	}
	if primaries.Load() != 1 || packages.Load() != 1 {
		t.Errorf("primary was fetched %d times, the package %d times, with an unchanged repository", primaries.Load(), packages.Load())
	}
	if data, err := os.ReadFile(paths[0]); err != nil || !bytes.Equal(data, s.content) {
		t.Errorf("the cached package: %d bytes, %v", len(data), err)
	}
	offline := opts
	offline.CacheOnly = true
	if r, err := Open(ctx, cfg, offline); err != nil || len(r.Packages()) != 2 {
		t.Errorf("from the cache alone: %v", err)
	}
	if _, err := Open(ctx, Config{ID: "other", BaseURLs: cfg.BaseURLs}, offline); err == nil || !strings.Contains(err.Error(), "only the cache") {
		t.Errorf("what is not cached: %v", err)
	}
	// A file that was damaged in the cache is fetched again.
	if err := os.WriteFile(paths[0], bytes.Repeat([]byte("x"), len(s.content)), 0o644); err != nil {
		t.Fatal(err)
	}
	r, err := Open(ctx, cfg, opts)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = Download(ctx, r.Packages()[:1], opts); err != nil || packages.Load() != 2 {
		t.Errorf("after damage in the cache: %v, %d downloads", err, packages.Load())
	}
	if left, _ := filepath.Glob(filepath.Join(opts.CacheDir, "test", "packages", ".part*")); len(left) != 0 {
		t.Errorf("temporary files are left: %q", left)
	}
}

func TestDownloadProgressAndLocalFiles(t *testing.T) {
	s := newSite(t)
	r, err := Open(context.Background(), s.config(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	var last Progress
	paths, err := Download(context.Background(), r.Packages()[:1], Options{Progress: func(p Progress) { last = p }})
	if err != nil || paths[0] != filepath.Join(s.dir, "packages/alpha-2.0-3.x86_64.rpm") {
		t.Errorf("got %q, %v", paths, err)
	}
	if last.Done != 1 || last.Total != 1 || last.Bytes != int64(len(s.content)) || last.TotalBytes != last.Bytes {
		t.Errorf("progress %+v", last)
	}
}

func TestWrongDigest(t *testing.T) {
	for _, local := range []bool{true, false} {
		s := newSite(t)
		cfg := s.config()
		if !local {
			cfg = s.serve(t, nil)
		}
		opts := fast(t)
		r, err := Open(context.Background(), cfg, opts)
		if err != nil {
			t.Fatal(err)
		}
		bad := bytes.Clone(s.content)
		bad[3] = 'X'
		s.write(t, "packages/alpha-2.0-3.x86_64.rpm", bad)
		_, err = Download(context.Background(), r.Packages()[:1], opts)
		var sum *ChecksumError
		if !errors.As(err, &sum) {
			t.Fatalf("local %v: got %v", local, err)
		}
		for _, w := range []string{"alpha-1:2.0-3.x86_64", "alpha-2.0-3.x86_64.rpm", sha(bad), sha(s.content), "try again"} {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("local %v: %q is missing in %v", local, w, err)
			}
		}
		if left, _ := filepath.Glob(filepath.Join(opts.CacheDir, "test", "packages", "*")); len(left) != 0 {
			t.Errorf("local %v: the cache holds %q", local, left)
		}
	}
}

func TestBadRepositories(t *testing.T) {
	good := primary(nil)
	for _, c := range []struct {
		name  string
		spoil func(t *testing.T, s *site)
		want  []string
	}{
		{"no repomd.xml", func(t *testing.T, s *site) { os.Remove(filepath.Join(s.dir, "repodata/repomd.xml")) }, []string{"repomd.xml", "no such file"}},
		{"a web page", func(t *testing.T, s *site) {
			s.write(t, "repodata/repomd.xml", []byte("<!DOCTYPE html><html><body>Please log in<br></body></html>"))
		}, []string{"web page"}},
		{"garbage", func(t *testing.T, s *site) { s.write(t, "repodata/repomd.xml", []byte{0, 1, 2, 3}) }, []string{"not a repository's repomd.xml"}},
		{"an empty repomd.xml", func(t *testing.T, s *site) { s.write(t, "repodata/repomd.xml", nil) }, []string{"not a repository's repomd.xml"}},
		{"a primary with another digest", func(t *testing.T, s *site) { s.index(t, gz([]byte(good)), strings.Repeat("a", 64)) }, []string{"primary index", strings.Repeat("a", 64)}},
		{"a primary that is missing", func(t *testing.T, s *site) { os.Remove(filepath.Join(s.dir, "repodata/primary.xml.gz")) }, []string{"primary index"}},
		{"a truncated primary", func(t *testing.T, s *site) { s.index(t, gz([]byte(good[:len(good)/2])), "") }, []string{"primary", "truncated"}},
		{"a truncated gzip", func(t *testing.T, s *site) { b := gz([]byte(good)); s.index(t, b[:len(b)/2], "") }, []string{"primary"}},
		{"a primary that is not XML", func(t *testing.T, s *site) { s.index(t, []byte("<not"), "") }, []string{"primary"}},
		{"a primary of another kind", func(t *testing.T, s *site) { s.index(t, []byte("<filelists></filelists>"), "") }, []string{"<filelists> instead of <metadata>"}},
		{"tags that do not nest", func(t *testing.T, s *site) { s.index(t, []byte("<metadata><package></metadata></package>"), "") }, []string{"closes nothing"}},
		{"a package without a name", func(t *testing.T, s *site) { s.index(t, []byte("<metadata><package></package></metadata>"), "") }, []string{"package 1", "missing"}},
		{"an unknown compression", func(t *testing.T, s *site) { s.index(t, []byte("\x00ZCK1xxxxxxxxxxxxxxx"), "") }, []string{"unknown compression"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t)
			c.spoil(t, s)
			opts := fast(t)
			_, err := Open(context.Background(), s.config(), opts)
			if err == nil {
				t.Fatal("was accepted")
			}
			for _, w := range append(c.want, `"test"`) {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q is missing in: %v", w, err)
				}
			}
			if _, err := os.Stat(filepath.Join(opts.CacheDir, "test", "repomd.xml")); err == nil {
				t.Error("a bad repomd.xml was cached")
			}
		})
	}
}

func TestFlakyServers(t *testing.T) {
	ctx := context.Background()
	t.Run("errors that pass", func(t *testing.T) {
		var n atomic.Int32
		cfg := newSite(t).serve(t, func(w http.ResponseWriter, _ *http.Request) bool {
			if n.Add(1)%2 == 1 {
				w.WriteHeader(http.StatusServiceUnavailable)
				return true
			}
			return false
		})
		if _, err := Open(ctx, cfg, fast(t)); err != nil {
			t.Error(err)
		}
	})
	t.Run("an error that stays", func(t *testing.T) {
		var n atomic.Int32
		cfg := newSite(t).serve(t, func(w http.ResponseWriter, _ *http.Request) bool {
			n.Add(1)
			w.WriteHeader(http.StatusForbidden)
			return true
		})
		_, err := Open(ctx, cfg, fast(t))
		if err == nil || !strings.Contains(err.Error(), "403 Forbidden") || n.Load() != 1 {
			t.Errorf("got %v after %d requests", err, n.Load())
		}
	})
	t.Run("a server that stops half way", func(t *testing.T) {
		s := newSite(t)
		var broken, ranges atomic.Int32
		cfg := s.serve(t, func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.URL.Path, ".rpm") {
				return false
			}
			if r.Header.Get("Range") != "" {
				ranges.Add(1)
				return false
			}
			broken.Add(1)
			w.Header().Set("Content-Length", fmt.Sprint(len(s.content)))
			w.Write(s.content[:len(s.content)/3])
			if f, ok := w.(http.Flusher); ok {
				f.Flush()
			}
			panic(http.ErrAbortHandler)
		})
		opts := fast(t)
		r, err := Open(ctx, cfg, opts)
		if err != nil {
			t.Fatal(err)
		}
		paths, err := Download(ctx, r.Packages()[:1], opts)
		if err != nil || broken.Load() != 1 || ranges.Load() != 1 {
			t.Fatalf("%v; %d whole requests, %d for the rest", err, broken.Load(), ranges.Load())
		}
		if data, _ := os.ReadFile(paths[0]); !bytes.Equal(data, s.content) {
			t.Error("what was put together is not the file")
		}
	})
	t.Run("nobody listens", func(t *testing.T) {
		srv := httptest.NewServer(http.NotFoundHandler())
		srv.Close()
		opts := fast(t)
		opts.Retries = 1
		_, err := Open(ctx, Config{ID: "gone", BaseURLs: []string{srv.URL}}, opts)
		if err == nil || !strings.Contains(err.Error(), "connection refused") || !strings.Contains(err.Error(), "tried 2 times") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("the next mirror has it", func(t *testing.T) {
		s := newSite(t)
		cfg := s.serve(t, nil)
		cfg.BaseURLs = append([]string{"file:///nowhere/at/all"}, cfg.BaseURLs...)
		if _, err := Open(ctx, cfg, fast(t)); err != nil {
			t.Error(err)
		}
	})
}

func TestMirrorLists(t *testing.T) {
	s := newSite(t)
	base := "file://" + s.dir + "/"
	s.write(t, "mirrors", []byte("# a comment\n"+base+"\n"))
	md, err := os.ReadFile(filepath.Join(s.dir, "repodata/repomd.xml"))
	if err != nil {
		t.Fatal(err)
	}
	link := func(sum string) []byte {
		return []byte(`<metalink xmlns="http://www.metalinker.org/"><files><file name="repomd.xml"><verification><hash type="sha256">` + sum + `</hash></verification>
<resources><url protocol="rsync" preference="100">rsync://x/repodata/repomd.xml</url><url protocol="file" preference="90">` + base + `repodata/repomd.xml</url></resources></file></files></metalink>`)
	}
	s.write(t, "metalink", link(sha(md)))
	s.write(t, "badlink", link(strings.Repeat("0", 64)))
	for _, cfg := range []Config{{ID: "a", MirrorList: base + "mirrors"}, {ID: "b", Metalink: base + "metalink"}} {
		if r, err := Open(context.Background(), cfg, fast(t)); err != nil || len(r.Packages()) != 2 {
			t.Errorf("%s: %v", cfg.ID, err)
		}
	}
	if _, err := Open(context.Background(), Config{ID: "c", Metalink: base + "badlink"}, fast(t)); err == nil || !strings.Contains(err.Error(), "repomd.xml") {
		t.Errorf("a metalink with another digest: %v", err)
	}
	if _, err := Open(context.Background(), Config{ID: "d"}, fast(t)); err == nil || !strings.Contains(err.Error(), "neither baseurl") {
		t.Errorf("no URL: %v", err)
	}
	if _, err := Open(context.Background(), Config{ID: "e", BaseURLs: []string{"http://x/$releasever/"}}, fast(t)); err == nil || !strings.Contains(err.Error(), "$releasever") {
		t.Errorf("a variable without a value: %v", err)
	}
}

func TestOpenAllSkips(t *testing.T) {
	s := newSite(t)
	bad := Config{ID: "bad", BaseURLs: []string{"file:///nowhere"}}
	if _, _, err := OpenAll(context.Background(), []Config{s.config(), bad}, fast(t)); err == nil {
		t.Error("a repository that is needed was skipped")
	}
	bad.SkipIfUnavailable = true
	repos, skipped, err := OpenAll(context.Background(), []Config{bad, s.config()}, fast(t))
	if err != nil || len(repos) != 1 || len(skipped) != 1 || !strings.Contains(skipped[0].Error(), "bad") {
		t.Errorf("%d repositories, skipped %v, %v", len(repos), skipped, err)
	}
}

func TestParseConfig(t *testing.T) {
	text := `# a comment
[photon]
name=VMware Photon Linux $releasever ($basearch)
baseurl=https://packages.vmware.com/photon/$releasever/photon_release_${releasever}_$basearch
        https://mirror.example/$releasever
gpgkey=file:///etc/pki/rpm-gpg/VMWARE-RPM-GPG-KEY
gpgcheck=1
enabled=0
skip_if_unavailable=True
priority = 10
exclude=foo* bar, baz
metadata_expire=3600

[other]
name=Other
mirrorlist=http://x/?arch=$basearch&v=$unknown
`
	c, err := ParseConfig("x.repo", []byte(text), map[string]string{"releasever": "5.0", "basearch": "x86_64"})
	if err != nil || len(c) != 2 {
		t.Fatalf("%+v, %v", c, err)
	}
	p := c[0]
	if p.ID != "photon" || p.Name != "VMware Photon Linux 5.0 (x86_64)" || len(p.BaseURLs) != 2 ||
		p.BaseURLs[0] != "https://packages.vmware.com/photon/5.0/photon_release_5.0_x86_64" || p.BaseURLs[1] != "https://mirror.example/5.0" ||
		!p.GPGCheck || p.Enabled || !p.SkipIfUnavailable || p.Priority != 10 || len(p.Exclude) != 3 || p.Line != 2 {
		t.Errorf("%+v", p)
	}
	if c[1].Priority != 99 || !c[1].Enabled || c[1].MirrorList != "http://x/?arch=x86_64&v=$unknown" {
		t.Errorf("%+v", c[1])
	}
	for text, want := range map[string]string{
		"name=x\n":                  "x.repo:1",
		"[a/b]\n":                   "repository id",
		"[..]\n":                    "repository id",
		"[a]\nenabled=maybe\n":      "x.repo:2: enabled=maybe",
		"[a]\nno equals sign\n":     "x.repo:2",
		"[a]\npriority=high\n[b]\n": "priority",
	} {
		if _, err := ParseConfig("x.repo", []byte(text), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v", text, err)
		}
	}
}

func TestLoadConfigs(t *testing.T) {
	dir := t.TempDir()
	os.WriteFile(filepath.Join(dir, "b.repo"), []byte("[b]\nbaseurl=file:///b\n"), 0o644)
	os.WriteFile(filepath.Join(dir, "a.repo"), []byte("[a]\nbaseurl=file:///a\n"), 0o644)
	os.WriteFile(filepath.Join(dir, "ignored.txt"), []byte("[c]\n"), 0o644)
	all, err := LoadConfigs(dir, nil)
	if err != nil || len(all) != 2 || all[0].ID != "a" {
		t.Fatalf("%+v, %v", all, err)
	}
	if sel, err := Select(all, []string{"b"}, dir); err != nil || len(sel) != 1 || sel[0].ID != "b" {
		t.Errorf("%+v, %v", sel, err)
	}
	if _, err := Select(all, []string{"nope"}, dir); err == nil || !strings.Contains(err.Error(), `"nope"`) || !strings.Contains(err.Error(), "a, b") {
		t.Errorf("an unknown id: %v", err)
	}
	os.WriteFile(filepath.Join(dir, "z.repo"), []byte("[a]\n"), 0o644)
	if _, err := LoadConfigs(dir, nil); err == nil || !strings.Contains(err.Error(), "already defined") {
		t.Errorf("an id twice: %v", err)
	}
}

func TestExclude(t *testing.T) {
	s := newSite(t)
	cfg := s.config()
	cfg.Exclude = []string{"alph*"}
	r, err := Open(context.Background(), cfg, Options{})
	if err != nil || len(r.Packages()) != 1 || r.Packages()[0].Name != "beta" {
		t.Errorf("%v", err)
	}
	cfg.Exclude, cfg.IncludePkgs = nil, []string{"alpha"}
	if r, err = Open(context.Background(), cfg, Options{}); err != nil || len(r.Packages()) != 1 || r.Packages()[0].Name != "alpha" {
		t.Errorf("%v", err)
	}
}

func FuzzPrimary(f *testing.F) {
	f.Add([]byte(primary(nil)))
	f.Add([]byte(`<metadata><package a='>'/><!-- --><![CDATA[x]]>&#65;</metadata>`))
	f.Fuzz(func(t *testing.T, b []byte) {
		parsePrimary(bytes.NewReader(b))
	})
}

func BenchmarkPrimary(b *testing.B) {
	one := primary([]byte("x"))
	body := one[len(primaryHead) : len(one)-len("</metadata>\n")]
	doc := []byte(primaryHead + strings.Repeat(body, 10000) + "</metadata>\n")
	b.SetBytes(int64(len(doc)))
	for b.Loop() {
		if pkgs, err := parsePrimary(bytes.NewReader(doc)); err != nil || len(pkgs) != 20000 {
			b.Fatal(len(pkgs), err)
		}
	}
}
