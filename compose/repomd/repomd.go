// Package repomd reads rpm-md repositories: .repo files, mirror lists, metalinks,
// repomd.xml, the primary and filelists indexes, and it downloads packages.
//
// It reads from file: and http(s): URLs. Nothing is parsed past a size limit or
// before its digest holds (R7): repomd.xml names the digest of each index, an
// index that of each package. Downloads get their final name only after the
// check, and a cached file is checked again before it is used, so a cache needs
// no flush to disk and may be deleted at any time.
//
// Where a .repo file sets repo_gpgcheck, repomd.xml is not used before its
// signature holds, and where it sets gpgcheck a package is handed out only when
// one of the keys of gpgkey has signed it (R7). A *TrustError says that they did
// not, and is not one that skip_if_unavailable covers.
//
// It does not decide what is installed.
package repomd

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"photree/compose/rpm"
)

// Options change how a repository is read. The zero value works.
type Options struct {
	// CacheDir keeps indexes and packages, keyed by repository id. Empty: no
	// cache is kept, and Download fails for packages that are not local files.
	CacheDir string
	// CacheOnly uses no network: what is not cached is an error.
	CacheOnly bool
	// Client is used for http and https; nil is a client with sane timeouts.
	Client *http.Client
	// Retries of a request that failed for a reason that may pass; 0 means 3,
	// negative none.
	Retries int
	// Workers is the number of parallel downloads; 0 means 4.
	Workers int
	// Progress, when set, is told of each download; it is called from several
	// goroutines, one call at a time.
	Progress func(Progress)
	// Notice, when set, is told what is weak about the signatures of a
	// repository. It is called from several goroutines.
	Notice func(repo, text string)

	retryPause time.Duration // tests shorten it
}

// Progress is the state of a download.
type Progress struct {
	Repo        string
	Name        string // what was finished or is under way
	Done, Total int    // packages
	Bytes       int64  // so far
	TotalBytes  int64
}

// Repo is an opened repository.
type Repo struct {
	Config Config

	opts     Options
	fetch    *fetcher
	bases    []string
	index    *index
	checksum string
	pkgs     []*Package
	byID     map[string][]*Package // by checksum, made when filelists are read
	keys     *rpm.Keyring          // of gpgkey=; nil when no signatures are asked for
	weak     sync.Once             // the notice of weak signatures
}

// Open fetches and reads the repository's repomd.xml and primary index. Indexes
// whose checksum did not change come from the cache.
func Open(ctx context.Context, cfg Config, opts Options) (*Repo, error) {
	r := &Repo{Config: cfg, opts: opts, fetch: newFetcher(cfg, opts)}
	if err := r.open(ctx); err != nil {
		return nil, fmt.Errorf("opening repository %q: %w", cfg.ID, err)
	}
	return r, nil
}

// OpenAll opens repositories in parallel. Those that cannot be read and have
// skip_if_unavailable set are left out; skipped tells why.
func OpenAll(ctx context.Context, cfgs []Config, opts Options) (repos []*Repo, skipped []error, err error) {
	all := make([]*Repo, len(cfgs))
	errs := make([]error, len(cfgs))
	if p := opts.Progress; p != nil {
		var mu sync.Mutex
		opts.Progress = func(v Progress) {
			mu.Lock()
			defer mu.Unlock()
			p(v)
		}
	}
	var wg sync.WaitGroup
	for i, c := range cfgs {
		wg.Go(func() { all[i], errs[i] = Open(ctx, c, opts) })
	}
	wg.Wait()
	for i, e := range errs {
		switch {
		case e == nil:
			repos = append(repos, all[i])
		case cfgs[i].MaySkip(e) && ctx.Err() == nil:
			skipped = append(skipped, e)
		default:
			return nil, nil, e
		}
	}
	return repos, skipped, nil
}

func (r *Repo) open(ctx context.Context) error {
	if err := r.loadKeys(ctx); err != nil {
		return err
	}
	data, signature, err := r.repomd(ctx)
	if err != nil {
		return err
	}
	if r.index, err = parseIndex(data); err != nil {
		return fmt.Errorf("parsing repomd.xml of %s: %w", r.bases[0], err)
	}
	sum := sha256.Sum256(data)
	r.checksum = hex.EncodeToString(sum[:])
	primary := r.index.file("primary")
	if primary == nil {
		return fmt.Errorf("repomd.xml of %s names no primary index", r.bases[0])
	}
	err = r.readIndex(ctx, primary, func(in io.Reader) (err error) {
		r.pkgs, err = parsePrimary(in)
		return err
	})
	if err != nil {
		return err
	}
	for _, p := range r.pkgs {
		p.Repo = r
	}
	if err := r.exclude(); err != nil {
		return err
	}
	if r.opts.CacheDir == "" || r.opts.CacheOnly {
		return nil
	}
	if signature != nil {
		if err := r.cacheFile("repomd.xml.asc", signature); err != nil {
			return err
		}
	}
	return r.cacheFile("repomd.xml", data)
}

// repomd fetches repomd.xml from the first mirror that has it, with its
// signature where one is asked for, and leaves in r.bases that mirror first.
func (r *Repo) repomd(ctx context.Context) (data, signature []byte, err error) {
	if r.opts.CacheOnly && !r.isLocal() {
		r.bases = []string{"cache:" + r.Config.ID}
		return r.cachedRepomd()
	}
	m, err := r.fetch.mirrors(ctx)
	if err != nil {
		return nil, nil, err
	}
	var errs []error
	for i, base := range m.bases {
		data, signature, err := r.repomdOf(ctx, join(base, "repodata/repomd.xml"), m.sha256)
		if err == nil {
			r.bases = append([]string{base}, slices.Concat(m.bases[:i], m.bases[i+1:])...)
			return data, signature, nil
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, nil, fmt.Errorf("fetching repomd.xml: %w", joinErrors(errs))
}

// repomdOf fetches repomd.xml of one mirror. sums are what a metalink says.
func (r *Repo) repomdOf(ctx context.Context, u string, sums []string) (data, signature []byte, err error) {
	data, err = r.fetch.get(ctx, u, maxSmall)
	if err != nil {
		return nil, nil, err
	}
	if len(sums) > 0 {
		sum := sha256.Sum256(data)
		if got := hex.EncodeToString(sum[:]); !slices.Contains(sums, got) {
			return nil, nil, &ChecksumError{"repomd.xml", u, "sha256", got, sums[0]}
		}
	}
	if r.Config.RepoGPGCheck {
		signature, err = r.checkRepomd(ctx, u, data)
	}
	return data, signature, err
}

func (r *Repo) cachedRepomd() (data, signature []byte, err error) {
	data, err = os.ReadFile(r.cachePath("repomd.xml"))
	if err != nil {
		return nil, nil, fmt.Errorf("reading the cached repomd.xml, as only the cache may be used: %w", err)
	}
	if r.Config.RepoGPGCheck {
		signature, err = os.ReadFile(r.cachePath("repomd.xml.asc"))
		if err != nil {
			return nil, nil, fmt.Errorf("reading the cached signature of repomd.xml, as only the cache may be used: %w", err)
		}
		err = r.verifyRepomd("the cached repomd.xml", data, signature)
	}
	return data, signature, err
}

// joinErrors puts the errors of several mirrors on one line.
func joinErrors(errs []error) error {
	if len(errs) == 1 {
		return errs[0]
	}
	texts := make([]string, len(errs))
	distrust := false
	for i, e := range errs {
		texts[i] = e.Error()
		var t *TrustError
		distrust = distrust || errors.As(e, &t)
	}
	err := fmt.Errorf("none of %d mirrors has it: %s", len(errs), strings.Join(texts, "; "))
	if distrust {
		return &TrustError{err}
	}
	return err
}

func (r *Repo) isLocal() bool {
	for _, u := range r.Config.BaseURLs {
		if _, ok := localPath(u); ok {
			return true
		}
	}
	return false
}

func (r *Repo) cachePath(name string) string {
	return filepath.Join(r.opts.CacheDir, r.Config.ID, name)
}

// readIndex calls parse with the decompressed content of an index whose
// compressed form has the digest that repomd.xml states.
func (r *Repo) readIndex(ctx context.Context, x *indexFile, parse func(io.Reader) error) error {
	file, cleanup, err := r.indexFile(ctx, x)
	if err != nil {
		return fmt.Errorf("fetching the %s index: %w", x.Type, err)
	}
	defer cleanup()
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	br := bufio.NewReaderSize(f, 256<<10)
	var in io.Reader = br
	if head, _ := br.Peek(1); len(head) > 0 && head[0] != '<' {
		dec, err := rpm.Decompress(br, "")
		if err != nil {
			return fmt.Errorf("decompressing the %s index %s: %w", x.Type, x.Location.Href, err)
		}
		defer dec.Close()
		in = dec
	}
	limit := int64(maxUnsized)
	if x.OpenSize > 0 && x.OpenSize < maxUnsized {
		limit = int64(x.OpenSize)
	}
	limited := &limitReader{r: in, left: limit}
	if err := parse(limited); err != nil {
		return fmt.Errorf("parsing the %s index %s: %w", x.Type, x.Location.Href, err)
	}
	return nil
}

// limitReader fails, unlike io.LimitedReader, when there is more.
type limitReader struct {
	r    io.Reader
	left int64
}

func (l *limitReader) Read(b []byte) (int, error) {
	if l.left == 0 {
		if n, err := l.r.Read(make([]byte, 1)); n == 0 {
			return 0, err
		}
		return 0, fmt.Errorf("%w: than the size that repomd.xml states", errTooLarge)
	}
	if int64(len(b)) > l.left {
		b = b[:l.left]
	}
	n, err := l.r.Read(b)
	l.left -= int64(n)
	return n, err
}

// indexFile gives the path of a local, verified copy of an index.
func (r *Repo) indexFile(ctx context.Context, x *indexFile) (file string, cleanup func(), err error) {
	none := func() {}
	w := want{name: x.Type + " index", hashType: x.Checksum.Type, digest: x.Checksum.Value, size: x.Size}
	if w.digest == "" || x.Location.Href == "" {
		return "", none, errors.New("repomd.xml gives it no location or no checksum")
	}
	dir := os.TempDir()
	cached := ""
	if r.opts.CacheDir != "" {
		dir = r.cachePath("")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return "", none, err
		}
		base := path.Base(x.Location.Href)
		if !strings.Contains(base, w.digest) {
			base = w.digest + "-" + base
		}
		cached = r.cachePath(base)
		if ok, err := w.matches(cached); ok && err == nil {
			return cached, none, nil
		}
	}
	tmp, err := r.fetchTo(ctx, dir, x.Location.Href, x.Location.Base, w, func(int) {})
	if err != nil {
		return "", none, err
	}
	if r.opts.Progress != nil {
		r.opts.Progress(Progress{Repo: r.Config.ID, Name: w.name, Bytes: int64(x.Size), TotalBytes: int64(x.Size)})
	}
	if cached == "" {
		return tmp, func() { os.Remove(tmp) }, nil
	}
	r.dropOld(x.Type, cached)
	return cached, none, publish(tmp, cached)
}

// dropOld removes earlier versions of an index, so that a cache does not grow.
func (r *Repo) dropOld(kind, keep string) {
	old, err := filepath.Glob(filepath.Join(globEscape(r.cachePath("")), "*-"+kind+".xml*"))
	if err != nil {
		return
	}
	for _, o := range old {
		if o != keep {
			os.Remove(o)
		}
	}
}

// publish gives a verified file its name in the cache. A link and not a rename:
// what another process has put there in the meantime has the same digest, and
// must not vanish from under it.
func publish(tmp, final string) error {
	defer os.Remove(tmp)
	err := os.Link(tmp, final)
	if errors.Is(err, os.ErrExist) {
		// Of an earlier run and damaged, or it would have been used.
		os.Remove(final)
		if err = os.Link(tmp, final); errors.Is(err, os.ErrExist) {
			err = nil
		}
	}
	return err
}

// fetchTo downloads a location into a temporary file of dir, from the first
// mirror that has the right content.
func (r *Repo) fetchTo(ctx context.Context, dir, href, locationBase string, w want, progress func(int)) (tmp string, err error) {
	if r.opts.CacheOnly && !r.isLocal() {
		return "", fmt.Errorf("%s of repository %q is not in the cache, and only the cache may be used", w.name, r.Config.ID)
	}
	f, err := os.CreateTemp(dir, ".part-*")
	if err != nil {
		return "", err
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	bases := r.bases
	if locationBase != "" {
		bases = []string{locationBase}
	}
	var errs []error
	for _, base := range bases {
		err := r.fetch.download(ctx, join(base, href), f, w, progress)
		if err == nil {
			return f.Name(), f.Chmod(0o644)
		}
		errs = append(errs, err)
		if ctx.Err() != nil || errors.Is(err, errLocal) {
			break
		}
	}
	return "", joinErrors(errs)
}

// exclude applies exclude= and includepkgs= of the .repo file.
func (r *Repo) exclude() error {
	matches := func(p *Package, patterns []string) bool {
		return slices.ContainsFunc(patterns, func(g string) bool {
			for _, s := range []string{p.Name, p.Name + "." + p.Arch, p.String(), p.Name + "-" + p.EVR.String(), p.Name + "-" + p.Version} {
				if ok, _ := path.Match(g, s); ok {
					return true
				}
			}
			return false
		})
	}
	c := r.Config
	for _, g := range slices.Concat(c.Exclude, c.IncludePkgs) {
		if _, err := path.Match(g, ""); err != nil {
			return fmt.Errorf("the pattern %q of exclude or includepkgs in %s is not valid", g, c.File)
		}
	}
	if len(c.Exclude)+len(c.IncludePkgs) > 0 {
		r.pkgs = slices.DeleteFunc(r.pkgs, func(p *Package) bool {
			return matches(p, c.Exclude) || len(c.IncludePkgs) > 0 && !matches(p, c.IncludePkgs)
		})
	}
	return nil
}

// ID is the id of the repository.
func (r *Repo) ID() string { return r.Config.ID }

// Priority is the repository's priority; lower wins.
func (r *Repo) Priority() int {
	if r.Config.Priority == 0 {
		return DefaultPriority
	}
	return r.Config.Priority
}

// Timestamp is when the repository was made, in seconds since 1970: the newest
// timestamp of its indexes. It is what rpmostree.rpmmd-repos records.
func (r *Repo) Timestamp() uint64 { return r.index.timestamp() }

// Checksum is the SHA-256 of repomd.xml, in hex.
func (r *Repo) Checksum() string { return r.checksum }

// Packages are all packages that are not excluded, in the order of the index.
func (r *Repo) Packages() []*Package { return r.pkgs }

// FindFiles gives the packages that contain each of the paths. It fetches the
// filelists index, which primary makes unnecessary in most cases. A repository
// without that index has no such packages.
func (r *Repo) FindFiles(ctx context.Context, paths []string) (map[string][]*Package, error) {
	x := r.index.file("filelists")
	if x == nil || len(paths) == 0 {
		return nil, nil
	}
	if r.byID == nil {
		r.byID = make(map[string][]*Package, len(r.pkgs))
		for _, p := range r.pkgs {
			r.byID[p.Checksum] = append(r.byID[p.Checksum], p)
		}
	}
	wanted := make(map[string]bool, len(paths))
	for _, p := range paths {
		wanted[p] = true
	}
	out := map[string][]*Package{}
	err := r.readIndex(ctx, x, func(in io.Reader) error {
		return parseFilelists(in, wanted, func(id rpm.NEVRA, checksum, file string) {
			for _, p := range r.byID[checksum] {
				if p.NEVRA == id && !slices.Contains(out[file], p) {
					out[file] = append(out[file], p)
				}
			}
		})
	})
	if err != nil {
		return nil, fmt.Errorf("looking for files in repository %q: %w", r.Config.ID, err)
	}
	return out, nil
}
