package distro

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"photree/qemu-tests/distro/repodata"
	"photree/qemu-tests/distro/rpmwriter"
)

//go:embed *.go rpmwriter/*.go repodata/*.go
var sources embed.FS

// Options say where to make the distribution.
type Options struct {
	// CacheDir holds the finished distributions and the downloads; empty means "photree" in the user's cache
	// directory.
	CacheDir string
	// Progress, if set, is told of each step.
	Progress func(step string)
}

// Distro is a finished distribution.
type Distro struct {
	// Dir holds the repositories v1 and v2, and manifest.json.
	Dir string
	// Manifest says what is in the releases.
	Manifest Manifest
}

// Manifest is manifest.json.
type Manifest struct {
	Releases map[string]ReleaseInfo `json:"releases"`
}

// ReleaseInfo describes one release.
type ReleaseInfo struct {
	Packages  map[string]string `json:"packages"` // name -> [epoch:]version-release
	Debian    map[string]string `json:"debian"`   // name -> Debian's version
	Installed int64             `json:"installed_bytes"`
	Kernel    string            `json:"kernel"` // what uname -r says
}

// Repo is the directory of a release's repository.
func (d *Distro) Repo(release string) string { return filepath.Join(d.Dir, release) }

// CacheDir is the directory that caches of whole-machine tests live in: outside of the tree, and kept between runs.
func CacheDir() (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("looking for a cache directory (set HOME or XDG_CACHE_HOME): %w", err)
	}
	return filepath.Join(base, "photree"), nil
}

// Make gives the distribution, from the cache or newly made.
func Make(ctx context.Context, o Options) (*Distro, error) {
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	if o.CacheDir == "" {
		dir, err := CacheDir()
		if err != nil {
			return nil, err
		}
		o.CacheDir = dir
	}
	key, err := sourceKey()
	if err != nil {
		return nil, err
	}
	final := filepath.Join(o.CacheDir, "distro-"+key)
	if d, err := load(final); err == nil {
		return d, nil
	}
	unlock, err := lock(filepath.Join(o.CacheDir, "distro.lock"))
	if err != nil {
		return nil, err
	}
	defer unlock()
	if d, err := load(final); err == nil {
		return d, nil // another caller made it while this one waited
	}
	tmp, err := os.MkdirTemp(o.CacheDir, "making-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	out := filepath.Join(tmp, "out")
	if err := build(ctx, o, tmp, out); err != nil {
		return nil, fmt.Errorf("making the test distribution: %w", err)
	}
	if err := os.Rename(out, final); err != nil {
		return nil, err
	}
	return load(final)
}

// sourceKey is a digest of everything that decides the result but the archives: this package's source holds the
// package list too.
func sourceKey() (string, error) {
	h := sha256.New()
	err := fs.WalkDir(sources, ".", func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || strings.HasSuffix(p, "_test.go") {
			return err
		}
		data, err := sources.ReadFile(p)
		fmt.Fprintf(h, "%s %d\n", p, len(data))
		h.Write(data)
		return err
	})
	return hex.EncodeToString(h.Sum(nil))[:16], err
}

func load(dir string) (*Distro, error) {
	data, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		return nil, err
	}
	d := &Distro{Dir: dir}
	return d, json.Unmarshal(data, &d.Manifest)
}

func lock(path string) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("locking %q: %w", path, err)
	}
	return func() { f.Close() }, nil
}

// build makes both releases in out.
func build(ctx context.Context, o Options, tmp, out string) error {
	a, err := newApt(ctx, filepath.Join(tmp, "apt"))
	if err != nil {
		return err
	}
	o.Progress("reading Debian's package lists")
	if err := a.update(ctx); err != nil {
		return err
	}
	plans, err := plan(ctx, a)
	if err != nil {
		return err
	}
	debs := filepath.Join(o.CacheDir, "debs")
	if err := os.MkdirAll(debs, 0o755); err != nil {
		return err
	}
	var all []candidate
	for _, p := range plans {
		all = append(all, p.packages...)
	}
	o.Progress(fmt.Sprintf("downloading packages (%d in %s, %d in %s)", len(plans[0].packages), plans[0].release.name, len(plans[1].packages), plans[1].release.name))
	if err := a.download(ctx, debs, unique(all)); err != nil {
		return err
	}
	manifest := Manifest{Releases: map[string]ReleaseInfo{}}
	c := &converter{debs: debs, done: map[string]*converted{}}
	for _, p := range plans {
		o.Progress("converting release " + p.release.name)
		info, err := c.release(ctx, p, filepath.Join(out, p.release.name))
		if err != nil {
			return fmt.Errorf("release %s: %w", p.release.name, err)
		}
		manifest.Releases[p.release.name] = info
	}
	data, err := json.MarshalIndent(manifest, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(out, "manifest.json"), append(data, '\n'), 0o644)
}

func unique(list []candidate) []candidate {
	seen := map[string]bool{}
	var out []candidate
	for _, c := range list {
		if !seen[c.id()] {
			seen[c.id()] = true
			out = append(out, c)
		}
	}
	return out
}

// writeRepo writes packages that are in no repository yet into dir and describes it.
func writeRepo(dir string, pkgs []*rpmwriter.Package) error {
	var entries []repodata.Entry
	for _, p := range pkgs {
		info, err := writePackage(filepath.Join(dir, p.FileName()), p)
		if err != nil {
			return err
		}
		entries = append(entries, repodata.Entry{Package: p, Info: info, Location: p.FileName()})
	}
	return repodata.Write(dir, entries, buildTime)
}

func writePackage(path string, p *rpmwriter.Package) (rpmwriter.Info, error) {
	f, err := os.Create(path)
	if err != nil {
		return rpmwriter.Info{}, err
	}
	info, err := p.Write(f)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return info, err
}
