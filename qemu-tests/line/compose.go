package line

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"photree/qemu-tests/distro"
)

// Composed are the repositories that the line ends in, side by side in one directory to be served.
type Composed struct {
	Dir    string
	V1, V2 string // commits
}

// First is an archive repository whose branch ends in v1: what machines are installed from.
func (c *Composed) First() string { return filepath.Join(c.Dir, "first") }

// Both is an archive repository whose branch has v1 and, as its child, v2: what machines are updated from.
func (c *Composed) Both() string { return filepath.Join(c.Dir, "both") }

// Treefile writes the treefile of a release, with its repositories, into dir.
func (l *Line) Treefile(dir, release, photreeRepo string) (string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	return distro.WriteTreefile(dir, distro.TreefileOptions{
		Repos: []distro.RepoURL{
			{ID: "photree-test", URL: "file://" + l.Distro.Repo(release)},
			{ID: "photree", URL: "file://" + photreeRepo},
		},
		Packages: append(distro.Packages(), "photree"),
	})
}

// ComposeCached gives both releases composed with the present programs, from the cache if they were composed before.
func (l *Line) ComposeCached(ctx context.Context) (*Composed, error) {
	cache, err := distro.CacheDir()
	if err != nil {
		return nil, err
	}
	key, err := l.key()
	if err != nil {
		return nil, err
	}
	unlock, err := lock(filepath.Join(cache, "composed.lock"))
	if err != nil {
		return nil, err
	}
	defer unlock()
	final := filepath.Join(cache, "composed-"+key)
	if c, err := openComposed(final); err == nil {
		return c, nil
	}
	tmp, err := os.MkdirTemp(cache, "composing-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	if _, err := l.Compose(ctx, tmp); err != nil {
		return nil, err
	}
	if err := dropOld(cache); err != nil {
		return nil, err
	}
	for _, scratch := range []string{"rpms", "tree", "cache"} {
		if err := os.RemoveAll(filepath.Join(tmp, scratch)); err != nil {
			return nil, err
		}
	}
	if err := os.Rename(tmp, final); err != nil {
		return nil, err
	}
	return openComposed(final)
}

// dropOld removes composed repositories of earlier programs: each build of photree makes new ones.
func dropOld(cache string) error {
	old, err := filepath.Glob(filepath.Join(cache, "composed-*"))
	if err != nil {
		return err
	}
	for _, dir := range old {
		fi, err := os.Stat(dir)
		if err == nil && time.Since(fi.ModTime()) > 24*time.Hour {
			err = os.RemoveAll(dir)
		}
		if err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	return nil
}

func openComposed(dir string) (*Composed, error) {
	data, err := os.ReadFile(filepath.Join(dir, "commits"))
	if err != nil {
		return nil, err
	}
	ids := strings.Fields(string(data))
	if len(ids) != 2 {
		return nil, fmt.Errorf("reading composed repositories in %q: %q are not two commits", dir, data)
	}
	return &Composed{Dir: dir, V1: ids[0], V2: ids[1]}, nil
}

// Compose composes v1, then v2 on top of it, below dir.
func (l *Line) Compose(ctx context.Context, dir string) (*Composed, error) {
	c := &Composed{Dir: dir}
	rpms := filepath.Join(dir, "rpms")
	l.options.Progress("packing photree")
	if err := l.PackagePhotree(ctx, rpms); err != nil {
		return nil, err
	}
	if _, err := l.Photree(ctx, "ostree", "init", "--repo="+c.Both(), "--mode=archive"); err != nil {
		return nil, err
	}
	var err error
	if c.V1, err = l.ComposeRelease(ctx, c, "v1", rpms); err != nil {
		return nil, err
	}
	if err := l.Copy(ctx, c.Both(), c.First()); err != nil {
		return nil, err
	}
	if c.V2, err = l.ComposeRelease(ctx, c, "v2", rpms); err != nil {
		return nil, err
	}
	return c, os.WriteFile(filepath.Join(dir, "commits"), []byte(c.V1+"\n"+c.V2+"\n"), 0o644)
}

// Copy copies a repository. Objects never change and refs are replaced, so hard links make a copy.
func (l *Line) Copy(ctx context.Context, from, to string) error {
	_, err := l.run(ctx, "cp", "-al", from, to)
	return err
}

// ComposeRelease composes one release into c.Both and gives the commit.
func (l *Line) ComposeRelease(ctx context.Context, c *Composed, release, photreeRepo string) (string, error) {
	treefile, err := l.Treefile(filepath.Join(c.Dir, "tree", release), release, photreeRepo)
	if err != nil {
		return "", err
	}
	l.options.Progress("composing release " + release)
	if _, err := l.Photree(ctx, "compose", "tree", "--repo="+c.Both(), "--cachedir="+filepath.Join(c.Dir, "cache"), treefile); err != nil {
		return "", err
	}
	id, err := l.Photree(ctx, "ostree", "rev-parse", "--repo="+c.Both(), distro.Ref)
	if err != nil {
		return "", err
	}
	_, err = l.Photree(ctx, "ostree", "summary", "--update", "--repo="+c.Both())
	return strings.TrimSpace(id), err
}

// key is a digest of what decides the composed trees.
func (l *Line) key() (string, error) {
	h := sha256.New()
	fmt.Fprintln(h, l.Distro.Dir)
	for _, name := range []string{"photree", "photree-init", "ostree-prepare-root"} {
		f, err := os.Open(filepath.Join(l.Bin, name))
		if err != nil {
			return "", err
		}
		_, err = io.Copy(h, f)
		f.Close()
		if err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil))[:16], nil
}

func lock(path string) (unlock func(), err error) {
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
