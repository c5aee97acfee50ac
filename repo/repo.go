// Package repo is the object store: an ostree repository in a directory, in ostree's formats byte for byte.
//
// It reads and writes objects, refs, remotes, detached metadata and the summary of one repository, in the modes archive,
// bare, bare-user and bare-user-only. It never looks at the network, and never touches a file outside the repository.
// docs/repository.md describes the directory, docs/formats.md the encodings.
//
// Every write goes through a [Txn]: objects are verified and staged, flushed once, and then published in an order that
// keeps these true at any time, also after a power cut:
//
//   - R1 a published object holds the bytes that its name says;
//   - R2 a ref only names a commit whose closure is durable;
//   - R3 a commit without its whole closure carries a partial mark;
//   - R4 writers hold the repository lock shared, prune exclusive, readers none;
//   - R5 prune removes names before what they name.
//
// A Repo and a Txn may be used from several goroutines. Several processes may work on one repository, stock ostree's
// among them: the locks are the same.
package repo

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"photree/internal/durable"
	"photree/internal/keyfile"
	"photree/repo/object"
)

// Mode is how a repository stores files; the values are those of core.mode in its configuration.
type Mode string

// The modes.
const (
	ModeBare         Mode = "bare"           // files as they are: for systems, as root
	ModeBareUser     Mode = "bare-user"      // content as it is, owner and attributes in an attribute: for builds without root
	ModeBareUserOnly Mode = "bare-user-only" // content and mode only: ids are equal for files of uid and gid 0 without attributes
	ModeArchive      Mode = "archive-z2"     // compressed: for servers
)

// ParseMode reads the name of a mode; "archive" is short for "archive-z2".
func ParseMode(s string) (Mode, error) {
	switch m := Mode(s); m {
	case ModeBare, ModeBareUser, ModeBareUserOnly, ModeArchive:
		return m, nil
	case "archive":
		return ModeArchive, nil
	}
	return "", fmt.Errorf("%q is not a repository mode; use bare, bare-user, bare-user-only or archive", s)
}

// ErrNotFound is wrapped by every error that says that an object, a ref or a remote is not in the repository; pull and
// traversal branch on it.
var ErrNotFound = errors.New("not found")

// Repo is an open repository.
type Repo struct {
	path     string
	mode     Mode
	noXattrs bool  // core.disable-xattrs: attributes are neither read from nor given to files
	parent   *Repo // where objects and refs that are not here are looked for, or nil

	mu     sync.Mutex
	config *keyfile.File
}

// InitOptions are the choices of Init.
type InitOptions struct {
	Mode         Mode   // bare when empty
	CollectionID string // the collection that the refs of this repository belong to, or empty
}

// Init makes a repository at path, or opens the one that is there when its mode is the same.
func Init(path string, opts InitOptions) (*Repo, error) {
	mode, err := ParseMode(string(opts.Mode))
	if opts.Mode == "" {
		mode, err = ModeBare, nil
	}
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(path, "config")); err == nil {
		r, err := Open(path)
		if err == nil && r.mode != mode {
			return nil, fmt.Errorf("making a repository at %s: there is one already, of mode %s", path, r.mode)
		}
		return r, err
	}
	for _, d := range append([]string{""}, layout...) {
		if err := os.MkdirAll(filepath.Join(path, d), 0o755); err != nil {
			return nil, fmt.Errorf("making a repository: %w", err)
		}
	}
	f := &keyfile.File{}
	f.Set("core", "repo_version", "1")
	f.Set("core", "mode", string(mode))
	if opts.CollectionID != "" {
		f.Set("core", "collection-id", opts.CollectionID)
	}
	// The configuration comes last: a directory with it is a repository.
	if err := durable.Syncfs(path); err != nil {
		return nil, fmt.Errorf("making a repository: %w", err)
	}
	if err := durable.WriteFile(filepath.Join(path, "config"), f.Format(), 0o644); err != nil {
		return nil, fmt.Errorf("making a repository: %w", err)
	}
	return Open(path)
}

// layout is the directories that every repository has.
var layout = []string{"objects", "tmp", "tmp/cache", "extensions", "state", "refs", "refs/heads", "refs/mirrors", "refs/remotes"}

// Open opens the repository at path.
func Open(path string) (*Repo, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	r := &Repo{path: abs}
	if err := r.ReloadConfig(); err != nil {
		return nil, fmt.Errorf("opening repository %s: %w", path, err)
	}
	// Whoever clears a repository's temporary files may have taken their directory with them.
	if err := os.Mkdir(filepath.Join(abs, "tmp"), 0o755); err != nil && !errors.Is(err, os.ErrExist) &&
		!errors.Is(err, os.ErrPermission) && !errors.Is(err, syscall.EROFS) {
		return nil, fmt.Errorf("opening repository %s: %w", path, err)
	}
	if parent, ok := r.config.Get("core", "parent"); ok && parent != "" {
		if r.parent, err = Open(parent); err != nil {
			return nil, fmt.Errorf("opening repository %s: its parent: %w", path, err)
		}
	}
	return r, nil
}

// ReloadConfig reads the configuration again.
func (r *Repo) ReloadConfig() error {
	data, err := os.ReadFile(filepath.Join(r.path, "config"))
	if err != nil {
		if os.IsNotExist(err) {
			return fmt.Errorf("%w: it has no file \"config\", so it is not an ostree repository", ErrNotFound)
		}
		return err
	}
	f, err := keyfile.Parse(data)
	if err != nil {
		return fmt.Errorf("config: %w", err)
	}
	if v, _ := f.Get("core", "repo_version"); v != "1" {
		return fmt.Errorf("config: core.repo_version is %q; only version 1 is known", v)
	}
	name, ok := f.Get("core", "mode")
	if !ok {
		name = string(ModeBare)
	}
	mode, err := ParseMode(name)
	if err != nil {
		return fmt.Errorf("config: core.mode: %w", err)
	}
	noXattrs, err := f.Bool("core", "disable-xattrs", false)
	if err != nil {
		return fmt.Errorf("config: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.config, r.mode, r.noXattrs = f, mode, noXattrs
	return nil
}

// Path returns the absolute path of the repository.
func (r *Repo) Path() string { return r.path }

// Mode returns how the repository stores files.
func (r *Repo) Mode() Mode { return r.mode }

// DisablesXattrs says whether core.disable-xattrs is set: extended attributes are then no part of what is recorded.
func (r *Repo) DisablesXattrs() bool { return r.noXattrs }

// Close releases what the repository holds open. Transactions end by Commit or Abort, not by Close.
func (r *Repo) Close() error { return nil }

// Config returns a copy of the configuration.
func (r *Repo) Config() *keyfile.File {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.config.Clone()
}

// SetConfig writes a new configuration.
func (r *Repo) SetConfig(f *keyfile.File) error {
	if err := durable.WriteFile(filepath.Join(r.path, "config"), f.Format(), 0o644); err != nil {
		return fmt.Errorf("writing the configuration of %s: %w", r.path, err)
	}
	return r.ReloadConfig()
}

// ObjectPath returns the path that an object has, whether it is there or not.
func (r *Repo) ObjectPath(n object.Name) string {
	return filepath.Join(r.path, "objects", r.loosePath(n))
}

// loosePath returns the path of an object below objects/ or a staging directory.
func (r *Repo) loosePath(n object.Name) string {
	s := n.ID.String()
	return s[:2] + "/" + s[2:] + "." + r.suffix(n.Kind)
}

func (r *Repo) suffix(k object.Kind) string {
	if k == object.KindFile && r.mode == ModeArchive {
		return "filez"
	}
	return k.String()
}
