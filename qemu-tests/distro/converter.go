package distro

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"photree/qemu-tests/distro/repodata"
	"photree/qemu-tests/distro/rpmwriter"
)

// converter turns .deb files into .rpm files, each version once: a package that both releases have is one file with two
// names.
type converter struct {
	debs string
	mu   sync.Mutex
	done map[string]*converted // by name=version
}

type converted struct {
	path string
	pkg  *rpmwriter.Package // without the files' bytes
	info rpmwriter.Info
}

func (c *converter) release(ctx context.Context, p planned, dir string) (ReleaseInfo, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return ReleaseInfo{}, err
	}
	info := ReleaseInfo{Packages: map[string]string{}, Debian: map[string]string{}}
	list := make([]*converted, len(p.packages)+2)
	for i, pkg := range []*rpmwriter.Package{filesystemPackage(), releasePackage(p.release)} {
		path := filepath.Join(dir, pkg.FileName())
		written, err := writePackage(path, pkg)
		if err != nil {
			return info, err
		}
		list[len(p.packages)+i] = &converted{path: path, pkg: pkg, info: written}
	}
	if err := c.convertAll(ctx, p.packages, dir, list); err != nil {
		return info, err
	}
	var entries []repodata.Entry
	for _, done := range list {
		name := filepath.Base(done.path)
		if filepath.Dir(done.path) != dir {
			if err := os.Link(done.path, filepath.Join(dir, name)); err != nil {
				return info, err
			}
		}
		entries = append(entries, repodata.Entry{Package: done.pkg, Info: done.info, Location: name})
		info.Packages[done.pkg.Name] = done.pkg.EVR()
		info.Installed += done.info.Installed
		if rest, ok := strings.CutPrefix(done.pkg.Name, "linux-image-"); ok && rest[0] >= '0' && rest[0] <= '9' {
			info.Kernel = rest
		}
	}
	for _, cand := range p.packages {
		info.Debian[cand.name] = cand.version
	}
	if info.Kernel == "" {
		return info, errors.New("it has no kernel")
	}
	return info, repodata.Write(dir, entries, buildTime)
}

// convertAll converts the candidates on all processors. Conflicts on virtual names depend on the whole release, but a
// package is written once for both: the names are taken from every .deb's Provides, which the package list already has.
func (c *converter) convertAll(ctx context.Context, cands []candidate, dir string, out []*converted) error {
	unversioned, err := unversionedProvides(cands)
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	work := make(chan int)
	errs := make(chan error, len(cands))
	for range runtime.GOMAXPROCS(0) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range work {
				done, err := c.one(cands[i], dir, unversioned)
				if err != nil {
					errs <- err
				}
				out[i] = done
			}
		}()
	}
	for i := range cands {
		if ctx.Err() != nil || len(errs) > 0 {
			break
		}
		work <- i
	}
	close(work)
	wg.Wait()
	close(errs)
	if err := <-errs; err != nil {
		return err
	}
	return ctx.Err()
}

func (c *converter) one(cand candidate, dir string, unversioned map[string]bool) (*converted, error) {
	c.mu.Lock()
	done := c.done[cand.id()]
	c.mu.Unlock()
	if done != nil {
		return done, nil
	}
	d, err := readDeb(filepath.Join(c.debs, cand.fileName()), cand.sha256)
	if err != nil {
		return nil, err
	}
	pkg, err := convert(d)
	if err != nil {
		return nil, err
	}
	dropVirtualConflicts(pkg, unversioned)
	path := filepath.Join(dir, pkg.FileName())
	info, err := writePackage(path, pkg)
	if err != nil {
		return nil, err
	}
	for i := range pkg.Files {
		pkg.Files[i].Body = nil
	}
	done = &converted{path: path, pkg: pkg, info: info}
	c.mu.Lock()
	c.done[cand.id()] = done
	c.mu.Unlock()
	return done, nil
}

// unversionedProvides gives the names that some package of the release provides without a version.
func unversionedProvides(cands []candidate) (map[string]bool, error) {
	out := map[string]bool{}
	for _, c := range cands {
		clauses, err := parseRelations(c.fields["Provides"])
		if err != nil {
			return nil, fmt.Errorf("package %s: %w", c.name, err)
		}
		for _, cl := range clauses {
			if cl[0].Version == "" {
				out[cl[0].Name] = true
			}
		}
	}
	return out, nil
}

// dropVirtualConflicts takes out conflicts with a version on names that some package provides without one. For Debian
// such a conflict never holds and for RPM it always does: perl-base would conflict with perl.
func dropVirtualConflicts(p *rpmwriter.Package, unversioned map[string]bool) {
	var left []rpmwriter.Dep
	for _, d := range p.Conflicts {
		if d.Version == "" || !unversioned[d.Name] {
			left = append(left, d)
		}
	}
	p.Conflicts = left
}
