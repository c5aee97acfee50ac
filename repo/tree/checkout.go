package tree

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"photree/repo"
	"photree/repo/object"
)

// Union says what Checkout does about names that exist in the destination.
type Union int

// The kinds of union.
const (
	UnionNone      Union = iota // the destination must not exist
	UnionFiles                  // files replace files and links; directories are shared
	UnionAdd                    // what exists stays
	UnionIdentical              // what exists must be the same file
)

// CheckoutOptions are the choices of Checkout; the zero value makes a new directory with owners and attributes, and
// hard links where the repository allows.
type CheckoutOptions struct {
	Subpath          string // start there instead of at the root; a file is put into the destination under its name
	UserMode         bool   // leave owners, attributes and set-id bits out
	RequireHardlinks bool   // fail rather than copy
	ForceCopy        bool   // never make hard links
	Union            Union
	Whiteouts        bool // names .wh.X remove X, as in container layers
	// PassWhiteouts makes names .ostree-wh.X devices X that overlayfs takes for removed files, so that a tree can hold
	// the layers of an overlay.
	PassWhiteouts bool
	UserOnlyDirs  bool                   // directories are not writable by others, nor set-id or sticky
	DisableCache  bool                   // do not share the files of checkouts of an archive repository in user mode
	Skip          func(path string) bool // names for which it is true are left out; paths begin at Subpath
	Workers       int                    // 0: one a processor
	Progress      func(done int)         // told the number of files so far, from several goroutines
}

// checkout is one call of Checkout.
type checkout struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	r      *repo.Repo
	o      CheckoutOptions
	link   bool   // files can be hard links
	cache  bool   // ... to files in the cache of an archive repository
	sub    string // the path that the checkout starts at, without a slash at its end
	files  atomic.Int64
	temps  atomic.Int64 // names of files that replace others

	dirs   map[object.ID]object.DirMeta
	closed []dirClose
}

// dirClose is a directory whose owner, mode and time are set once everything is in it.
type dirClose struct {
	path string
	meta object.DirMeta
}

// Checkout makes the directory dest from a commit. Files that are hard links are shared with the repository and must
// not be written to (D4). What it made is not flushed; callers that need it durable call durable.Syncfs.
func Checkout(ctx context.Context, r *repo.Repo, commit object.ID, dest string, opts CheckoutOptions) error {
	c, err := r.LoadCommit(commit)
	if err != nil {
		return fmt.Errorf("checking out: %w", err)
	}
	if err := CheckoutTree(ctx, r, c.Root, c.RootMeta, dest, opts); err != nil {
		return fmt.Errorf("checking out commit %s: %w", commit, err)
	}
	return nil
}

// CheckoutTree is Checkout for a tree that no commit needs to name.
func CheckoutTree(ctx context.Context, r *repo.Repo, root, meta object.ID, dest string, opts CheckoutOptions) error {
	if opts.ForceCopy && opts.RequireHardlinks {
		return errors.New("hard links cannot be both required and forbidden")
	}
	cctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c := &checkout{ctx: cctx, cancel: cancel, r: r, o: opts, dirs: map[object.ID]object.DirMeta{}}
	if err := c.planLinks(); err != nil {
		return err
	}
	start := Entry{Path: "/", Dir: true, ID: root, Meta: meta}
	if sub := strings.Trim(opts.Subpath, "/"); sub != "" {
		var err error
		if start, err = Lookup(r, root, meta, "/"+sub); err != nil {
			return err
		}
		c.sub = start.Path
	}
	return c.run(start, dest)
}

// planLinks finds out whether files can be hard links: the stored file must be just what the checkout shall have.
func (c *checkout) planLinks() error {
	switch c.r.Mode() {
	case repo.ModeBare:
		c.link = !c.o.UserMode
	case repo.ModeBareUser:
		c.link = c.o.UserMode
	case repo.ModeBareUserOnly:
		c.link = true
	case repo.ModeArchive:
		on, err := c.r.Config().Bool("core", "enable-uncompressed-cache", true)
		if err != nil {
			return fmt.Errorf("config: %w", err)
		}
		c.cache = on && c.o.UserMode && !c.o.DisableCache && !c.o.ForceCopy
	}
	c.link = c.link && !c.o.ForceCopy
	return nil
}

// cannotLink is the error for a file that should be a hard link and cannot be one, in words that scripts look for.
func (c *checkout) cannotLink() error {
	switch c.r.Mode() {
	case repo.ModeBare:
		return errors.New("Bare repository mode cannot hardlink in user checkout mode") //nolint:staticcheck
	case repo.ModeBareUser:
		return errors.New("User repository mode requires user checkout mode to hardlink") //nolint:staticcheck
	}
	return fmt.Errorf("files of a repository of mode %s cannot be hard links in such a checkout", c.r.Mode())
}

// job is the files of one directory that a worker makes.
type job struct {
	dir   string // on disk
	path  string // in the tree
	files []object.TreeFile
}

func (c *checkout) run(start Entry, dest string) error {
	workers := c.o.Workers
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	jobs := make(chan job, 4*workers)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for j := range jobs {
				for _, f := range j.files {
					if c.ctx.Err() != nil {
						break
					}
					if err := c.file(j.dir, f.Name, f.ID); err != nil {
						c.cancel(fmt.Errorf("%s: %w", join(j.path, f.Name), err))
					}
				}
			}
		})
	}
	err := c.start(start, dest, jobs)
	if err != nil {
		c.cancel(err)
	}
	close(jobs)
	wg.Wait()
	if c.ctx.Err() != nil {
		return context.Cause(c.ctx)
	}
	// Children first: a directory's time changes as names are put into it, and its mode may forbid that.
	for i := len(c.closed) - 1; i >= 0; i-- {
		if err := c.closeDir(c.closed[i]); err != nil {
			return err
		}
	}
	return nil
}

func (c *checkout) start(e Entry, dest string, jobs chan<- job) error {
	if e.Dir {
		return c.dir(e, dest, jobs)
	}
	if err := os.MkdirAll(dest, 0o755); err != nil {
		return err
	}
	name := filepath.Base(e.Path)
	jobs <- job{dest, filepath.Dir(e.Path), []object.TreeFile{{Name: name, ID: e.ID}}}
	return nil
}

func (c *checkout) dir(e Entry, dest string, jobs chan<- job) error {
	if err := c.ctx.Err(); err != nil {
		return context.Cause(c.ctx)
	}
	tree, err := c.r.LoadDirTree(e.ID)
	if err != nil {
		return err
	}
	meta, ok := c.dirs[e.Meta]
	if !ok {
		if meta, err = c.r.LoadDirMeta(e.Meta); err != nil {
			return err
		}
		c.dirs[e.Meta] = meta
	}
	if err := c.makeDir(dest, meta); err != nil {
		return err
	}
	if c.o.Whiteouts {
		if tree, err = c.whiteouts(dest, tree); err != nil {
			return err
		}
	}
	if c.o.Skip != nil {
		tree = c.skip(e.Path, tree)
	}
	for files := tree.Files; len(files) > 0; {
		n := min(len(files), 4*batchSize)
		select {
		case jobs <- job{dest, e.Path, files[:n]}:
		case <-c.ctx.Done():
			return context.Cause(c.ctx)
		}
		files = files[n:]
	}
	for _, d := range tree.Dirs {
		sub := Entry{Path: join(e.Path, d.Name), Dir: true, ID: d.Tree, Meta: d.Meta}
		if err := c.dir(sub, filepath.Join(dest, d.Name), jobs); err != nil {
			return err
		}
	}
	return nil
}

func (c *checkout) skip(path string, t object.DirTree) object.DirTree {
	path = "/" + strings.TrimPrefix(strings.TrimPrefix(path, c.sub), "/")
	var out object.DirTree
	for _, f := range t.Files {
		if !c.o.Skip(join(path, f.Name)) {
			out.Files = append(out.Files, f)
		}
	}
	for _, d := range t.Dirs {
		if !c.o.Skip(join(path, d.Name)) {
			out.Dirs = append(out.Dirs, d)
		}
	}
	return out
}

// whiteouts removes what the files .wh.X hide and leaves them out. ".wh..wh..opq" hides all that was there before.
func (c *checkout) whiteouts(dest string, t object.DirTree) (object.DirTree, error) {
	const prefix = ".wh."
	out := object.DirTree{Dirs: t.Dirs}
	for _, f := range t.Files {
		name, ok := strings.CutPrefix(f.Name, prefix)
		if !ok {
			out.Files = append(out.Files, f)
			continue
		}
		if name == ".wh..opq" {
			entries, err := os.ReadDir(dest)
			if err != nil {
				return out, err
			}
			for _, e := range entries {
				if err := os.RemoveAll(filepath.Join(dest, e.Name())); err != nil {
					return out, err
				}
			}
			continue
		}
		if err := object.CheckFilename(name); err != nil {
			return out, err
		}
		if err := os.RemoveAll(filepath.Join(dest, name)); err != nil {
			return out, err
		}
	}
	return out, nil
}

func (c *checkout) makeDir(dest string, meta object.DirMeta) error {
	err := unix.Mkdir(dest, 0o700)
	if err == unix.EEXIST && c.o.Union != UnionNone {
		var st unix.Stat_t
		if err := unix.Lstat(dest, &st); err != nil {
			return &os.PathError{Op: "lstat", Path: dest, Err: err}
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			if !c.o.Whiteouts {
				return fmt.Errorf("%s exists and is not a directory", dest)
			}
			// A layer above may make a directory of a file.
			if err := os.Remove(dest); err != nil {
				return err
			}
			return c.makeDir(dest, meta)
		}
		// An existing directory keeps its owner and time, as ostree leaves it; only those made here are set.
		return nil
	}
	if err != nil {
		return &os.PathError{Op: "mkdir", Path: dest, Err: err}
	}
	c.closed = append(c.closed, dirClose{dest, meta})
	return nil
}

// closeDir sets what a finished directory has; the time is 0, so that all checkouts are alike.
func (c *checkout) closeDir(d dirClose) error {
	mode := d.meta.Mode & 0o7777
	if c.o.UserOnlyDirs || c.r.Mode() == repo.ModeBareUserOnly {
		mode &= 0o775
	}
	if !c.o.UserMode && c.r.Mode() != repo.ModeBareUserOnly {
		if err := unix.Lchown(d.path, int(d.meta.UID), int(d.meta.GID)); err != nil {
			return fmt.Errorf("setting the owner of %s: %w; without root, check out in user mode", d.path, err)
		}
		for _, x := range c.xattrs(d.meta.Xattrs) {
			if err := unix.Lsetxattr(d.path, x.Name, x.Value, 0); err != nil {
				return fmt.Errorf("setting extended attribute %s of %s: %w", x.Name, d.path, err)
			}
		}
	}
	if err := unix.Chmod(d.path, mode); err != nil {
		return &os.PathError{Op: "chmod", Path: d.path, Err: err}
	}
	times := [2]unix.Timespec{{Nsec: unix.UTIME_OMIT}, {}}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, d.path, times[:], 0); err != nil {
		return &os.PathError{Op: "utimes", Path: d.path, Err: err}
	}
	return nil
}

// xattrs returns the attributes that are set on what is made.
func (c *checkout) xattrs(x object.Xattrs) object.Xattrs {
	if c.r.DisablesXattrs() {
		return nil
	}
	return x
}
