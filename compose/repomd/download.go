package repomd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"sync"
)

// Download fetches packages of one or more repositories into their caches and
// returns the path of each. A cached file is checked again before it is used;
// packages of file: repositories are checked and used where they are. Where
// gpgcheck is set a package must have been signed by a key of its repository.
// The first failure ends all downloads.
func Download(ctx context.Context, pkgs []*Package, opts Options) ([]string, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	workers := opts.Workers
	if workers <= 0 {
		workers = 4
	}
	d := downloads{report: opts.Progress, state: Progress{Total: len(pkgs)}}
	for _, p := range pkgs {
		d.state.TotalBytes += int64(p.Size)
	}
	paths := make([]string, len(pkgs))
	errs := make([]error, len(pkgs))
	next := make(chan int)
	var wg sync.WaitGroup
	for range min(workers, len(pkgs)) {
		wg.Go(func() {
			for i := range next {
				paths[i], errs[i] = pkgs[i].download(ctx, opts, &d)
				if errs[i] != nil {
					cancel()
				}
			}
		})
	}
feed:
	for i := range pkgs {
		select {
		case next <- i:
		case <-ctx.Done():
			break feed
		}
	}
	close(next)
	wg.Wait()
	// Of several errors the one that is not the cancellation by another.
	var canceled error
	for _, err := range errs {
		if errors.Is(err, context.Canceled) {
			canceled = err
		} else if err != nil {
			return nil, err
		}
	}
	if err := errors.Join(canceled, ctx.Err()); err != nil {
		return nil, fmt.Errorf("downloading packages: %w", ctx.Err())
	}
	return paths, nil
}

// downloads counts what several workers do.
type downloads struct {
	mu     sync.Mutex
	report func(Progress)
	state  Progress
}

func (d *downloads) add(p *Package, bytes, done int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.state.Bytes += int64(bytes)
	d.state.Done += done
	d.state.Repo, d.state.Name = p.Repo.Config.ID, p.String()
	if d.report != nil {
		d.report(d.state)
	}
}

func (p *Package) download(ctx context.Context, opts Options, d *downloads) (string, error) {
	file, err := p.obtain(ctx, opts, d)
	if err == nil {
		err = p.checkSignature(file)
	}
	if err != nil {
		return "", fmt.Errorf("downloading package %s: %w", p.NEVRA, err)
	}
	d.add(p, 0, 1)
	return file, nil
}

func (p *Package) obtain(ctx context.Context, opts Options, d *downloads) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	w := want{name: "package " + p.String(), hashType: p.ChecksumType, digest: p.Checksum, size: p.Size}
	if file, ok := p.localFile(); ok {
		return file, w.check(file, func() { d.add(p, int(p.Size), 0) })
	}
	dir := opts.CacheDir
	if dir == "" {
		dir = p.Repo.opts.CacheDir
	}
	if dir == "" {
		return "", errors.New("there is no cache directory to download it to")
	}
	dir = filepath.Join(dir, p.Repo.Config.ID, "packages")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	base := path.Base(p.Location)
	if base == "." || base == ".." || base == "/" {
		return "", fmt.Errorf("its location %q names no file", p.Location)
	}
	// Two repositories with one id may have different files of one name.
	file := filepath.Join(dir, p.Checksum[:min(len(p.Checksum), 16)]+"-"+base)
	if ok, err := w.matches(file); ok && err == nil {
		d.add(p, int(p.Size), 0)
		return file, nil
	}
	tmp, err := p.Repo.fetchTo(ctx, dir, p.Location, p.LocationBase, w, func(n int) { d.add(p, n, 0) })
	if err != nil {
		return "", err
	}
	return file, publish(tmp, file)
}

// localFile gives the path of a package in a file: repository.
func (p *Package) localFile() (string, bool) {
	base := p.LocationBase
	if base == "" {
		base = p.Repo.bases[0]
	}
	return localPath(join(base, p.Location))
}

func (w want) check(file string, done func()) error {
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("%w: the repository's metadata lists it: make the metadata anew", err)
	}
	defer f.Close()
	got, err := w.sum(f)
	if err != nil {
		return err
	}
	if got != w.digest {
		return &ChecksumError{w.name, file, w.hashType, got, w.digest}
	}
	done()
	return nil
}
