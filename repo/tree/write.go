package tree

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"photree/repo"
	"photree/repo/object"
)

// WriteOptions are the choices of Write; the zero value records the directory as it is.
type WriteOptions struct {
	// Filter says whether a name is recorded; directories that are not are not entered. Paths start with "/", the root is
	// "/". It is called in the order of paths from one goroutine. Nil records all.
	Filter func(path string, mode uint32) bool
	// Modify may change owner, permissions and attributes of a file, a symbolic link (its target too) or a directory. It
	// is called from several goroutines at once.
	Modify func(path string, info *object.FileInfo)

	OwnerUID, OwnerGID   *uint32 // owner of everything, when set
	CanonicalPermissions bool    // owner 0:0, no attributes, no set-id or sticky bits, not writable by others than the owner
	NoXattrs             bool
	SkipSpecial          bool // pass over sockets, fifos and devices instead of refusing them
	LinkCheckoutSpeedup  bool // take a file that is a hard link to an object of the repository for that object, unread
	DevInoCanonical      bool // the same, and do not apply the other options to such a file
	Adopt                bool // the caller gives the files up: where they can become objects they are not copied
	Workers              int  // 0: one a processor

	userOnly bool // only what a bare-user-only repository can hold
}

// changes says whether what is recorded can differ from what is on the disk.
func (o *WriteOptions) changes() bool {
	return o.userOnly || o.Modify != nil || o.OwnerUID != nil || o.OwnerGID != nil || o.CanonicalPermissions || o.NoXattrs
}

// Stats says what Write did.
type Stats struct {
	Files, Dirs int
	Bytes       int64 // content of regular files
	CacheHits   int   // files that were hard links to objects
}

// node is a directory on its way to a dirtree.
type node struct {
	path  string // below the root, "/" for it
	meta  object.ID
	tree  object.DirTree
	child []*node // in the order of tree.Dirs
}

// writer is one call of Write.
type writer struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	txn    *repo.Txn
	dir    string
	opts   WriteOptions
	known  map[repo.DevIno]object.ID // objects of the repository by inode; read only

	bytes atomic.Int64
	hits  atomic.Int64
	mu    sync.Mutex
	links map[repo.DevIno]object.ID // files with several names, read once
}

// Write stages the tree below dir and returns the names of its root.
func Write(ctx context.Context, txn *repo.Txn, dir string, opts WriteOptions) (root, meta object.ID, st Stats, err error) {
	if txn.Repo().Mode() == repo.ModeBareUserOnly {
		opts.userOnly, opts.NoXattrs = true, true // the mode can hold nothing else
	}
	opts.NoXattrs = opts.NoXattrs || txn.Repo().DisablesXattrs()
	wctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	w := &writer{ctx: wctx, cancel: cancel, txn: txn, dir: dir, opts: opts, links: map[repo.DevIno]object.ID{}}
	if opts.LinkCheckoutSpeedup || opts.DevInoCanonical {
		if w.known, err = txn.Repo().DevInoCache(); err != nil {
			return root, meta, st, err
		}
	}
	tree, err := w.scan()
	if err == nil {
		root, st, err = w.finish(tree)
	}
	if err != nil {
		return root, meta, st, fmt.Errorf("reading %s: %w", dir, err)
	}
	st.Bytes, st.CacheHits = w.bytes.Load(), int(w.hits.Load())
	return root, tree.meta, st, nil
}

// task is a file to read: its name goes to the place that the directory has for it.
type task struct {
	path string
	id   *object.ID
}

// scan reads the directories in this goroutine and the files in others.
func (w *writer) scan() (*node, error) {
	workers := w.opts.Workers
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	tasks := make(chan []task, 4*workers)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for batch := range tasks {
				for _, t := range batch {
					if w.ctx.Err() != nil {
						break
					}
					if err := w.file(t); err != nil {
						w.cancel(fmt.Errorf("%s: %w", t.path, err))
					}
				}
			}
		})
	}
	root, err := w.scanDir("/", tasks)
	if err != nil {
		w.cancel(err)
	}
	close(tasks)
	wg.Wait()
	if w.ctx.Err() != nil {
		return nil, context.Cause(w.ctx)
	}
	return root, nil
}

// batchSize is how many files a worker takes at once: enough to make the channel free of cost, few enough to share work.
const batchSize = 16

func (w *writer) scanDir(path string, tasks chan<- []task) (*node, error) {
	full := filepath.Join(w.dir, path)
	n := &node{path: path}
	entries, err := w.openDir(n, full)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var files []fs.DirEntry
	for _, e := range entries { // sorted by name in byte order, which is the order of a dirtree
		keep, err := w.keep(path, e)
		if err != nil {
			return nil, err
		}
		switch {
		case !keep:
		case e.IsDir():
			n.tree.Dirs = append(n.tree.Dirs, object.TreeDir{Name: e.Name()})
		default:
			files = append(files, e)
		}
	}
	n.tree.Files = make([]object.TreeFile, len(files))
	batch := make([]task, 0, batchSize)
	for i, e := range files {
		n.tree.Files[i].Name = e.Name()
		batch = append(batch, task{join(path, e.Name()), &n.tree.Files[i].ID})
		if len(batch) == batchSize || i == len(files)-1 {
			select {
			case tasks <- batch:
			case <-w.ctx.Done():
				return nil, context.Cause(w.ctx)
			}
			batch = make([]task, 0, batchSize)
		}
	}
	for _, d := range n.tree.Dirs {
		c, err := w.scanDir(join(path, d.Name), tasks)
		if err != nil {
			return nil, err
		}
		n.child = append(n.child, c)
	}
	return n, w.ctx.Err()
}

func join(dir, name string) string {
	if dir == "/" {
		return "/" + name
	}
	return dir + "/" + name
}

// openDir lists a directory and stages its dirmeta.
func (w *writer) openDir(n *node, full string) ([]fs.DirEntry, error) {
	f, err := os.OpenFile(full, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, err
	}
	info, err := w.info(n.path, &st, func() (object.Xattrs, error) { return repo.FileXattrs(f) })
	if err != nil {
		return nil, err
	}
	meta := object.DirMeta{UID: info.UID, GID: info.GID, Mode: info.Mode, Xattrs: info.Xattrs}
	if err := meta.Check(); err != nil {
		return nil, err
	}
	if n.meta, err = w.txn.WriteMetadata(object.KindDirMeta, meta.Encode()); err != nil {
		return nil, err
	}
	return os.ReadDir(full)
}

// keep says whether an entry of a directory is recorded.
func (w *writer) keep(dir string, e fs.DirEntry) (bool, error) {
	path := join(dir, e.Name())
	if w.opts.Filter != nil {
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(w.dir, path), &st); err != nil {
			return false, fmt.Errorf("%s: %w", path, err)
		}
		if !w.opts.Filter(path, st.Mode) {
			return false, nil
		}
	}
	if !utf8.ValidString(e.Name()) {
		return false, fmt.Errorf("Invalid UTF-8 in filename: %q: no commit can hold it", path) //nolint:staticcheck // words that scripts look for
	}
	switch e.Type() & fs.ModeType {
	case 0, fs.ModeDir, fs.ModeSymlink:
		return true, nil
	}
	if w.opts.SkipSpecial {
		return false, nil
	}
	return false, fmt.Errorf("%s: neither a file, a directory nor a symbolic link; a commit cannot hold a %s", path, e.Type())
}

// info makes what is recorded of a file or directory out of what the file system says and the options.
func (w *writer) info(path string, st *unix.Stat_t, xattrs func() (object.Xattrs, error)) (object.FileInfo, error) {
	info := object.FileInfo{UID: st.Uid, GID: st.Gid, Mode: st.Mode}
	if !w.opts.NoXattrs && !w.opts.CanonicalPermissions {
		var err error
		if info.Xattrs, err = xattrs(); err != nil {
			return info, err
		}
	}
	if !info.IsSymlink() { // its target is not known yet
		w.opts.apply(path, &info)
	}
	return info, nil
}

// apply makes the changes that the options ask for.
func (o *WriteOptions) apply(path string, info *object.FileInfo) {
	if o.NoXattrs {
		info.Xattrs = nil
	}
	if o.OwnerUID != nil {
		info.UID = *o.OwnerUID
	}
	if o.OwnerGID != nil {
		info.GID = *o.OwnerGID
	}
	if o.CanonicalPermissions {
		canonical(info)
	}
	if o.Modify != nil {
		o.Modify(path, info)
	}
	if o.userOnly {
		canonical(info) // whatever was asked for
	}
}

// canonical is what bare-user-only repositories can hold; the rule is ostree's.
func canonical(info *object.FileInfo) {
	info.UID, info.GID, info.Xattrs = 0, 0, nil
	if info.Mode&object.ModeType != object.ModeSymlink {
		info.Mode &= object.ModeType | 0o755
	}
}

// file stages one file or symbolic link.
func (w *writer) file(t task) (err error) {
	full := filepath.Join(w.dir, t.path)
	fd, err := unix.Open(full, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ELOOP) {
		*t.id, err = w.symlink(t.path, full)
		return err
	}
	if err != nil {
		return &os.PathError{Op: "open", Path: full, Err: err}
	}
	f := os.NewFile(uintptr(fd), full)
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	key := repo.DevIno{Dev: st.Dev, Ino: st.Ino}
	if id, ok := w.known[key]; ok {
		w.hits.Add(1)
		*t.id, err = w.cached(t.path, id, &st, f)
		return err
	}
	if st.Nlink > 1 && w.opts.Modify == nil {
		w.mu.Lock()
		id, ok := w.links[key]
		w.mu.Unlock()
		if ok {
			*t.id = id
			return nil
		}
	}
	info, err := w.info(t.path, &st, func() (object.Xattrs, error) { return repo.FileXattrs(f) })
	if err != nil {
		return err
	}
	if w.opts.Adopt {
		*t.id, err = w.txn.AdoptContent(info, st.Size, f, full)
	} else {
		*t.id, err = w.txn.WriteContent(info, st.Size, f)
	}
	if err != nil {
		return err
	}
	w.bytes.Add(st.Size)
	if st.Nlink > 1 {
		w.mu.Lock()
		w.links[key] = *t.id
		w.mu.Unlock()
	}
	return nil
}

// cached takes a file that is a hard link to the object id: that is what it stands for, and not the owner and mode that
// it has on disk, which in a repository of mode bare-user are others.
func (w *writer) cached(path string, id object.ID, st *unix.Stat_t, f *os.File) (object.ID, error) {
	if w.opts.DevInoCanonical || !w.opts.changes() {
		_, err := w.txn.Has(object.Name{ID: id, Kind: object.KindFile})
		return id, err
	}
	was, _, err := w.txn.Repo().LoadFileInfo(id)
	if err != nil {
		return id, err
	}
	info := was
	info.Xattrs = slices.Clone(was.Xattrs)
	w.opts.apply(path, &info)
	if bytes.Equal(info.Header(), was.Header()) {
		return id, nil
	}
	return w.txn.WriteContent(info, st.Size, f)
}

func (w *writer) symlink(path, full string) (object.ID, error) {
	var st unix.Stat_t
	if err := unix.Lstat(full, &st); err != nil {
		return object.ID{}, err
	}
	info, err := w.info(path, &st, func() (object.Xattrs, error) { return repo.PathXattrs(full) })
	if err != nil {
		return object.ID{}, err
	}
	if info.Target, err = os.Readlink(full); err != nil {
		return object.ID{}, err
	}
	if !utf8.ValidString(info.Target) {
		return object.ID{}, errors.New("the target of the symbolic link is not UTF-8, so no commit can hold it")
	}
	w.opts.apply(path, &info)
	return w.txn.WriteContent(info, 0, strings.NewReader(""))
}

// finish stages the dirtrees, children first.
func (w *writer) finish(n *node) (object.ID, Stats, error) {
	st := Stats{Files: len(n.tree.Files), Dirs: 1}
	for i, c := range n.child {
		id, sub, err := w.finish(c)
		if err != nil {
			return id, st, err
		}
		n.tree.Dirs[i].Tree, n.tree.Dirs[i].Meta = id, c.meta
		st.Files += sub.Files
		st.Dirs += sub.Dirs
	}
	id, err := w.txn.WriteMetadata(object.KindDirTree, n.tree.Encode())
	return id, st, err
}
