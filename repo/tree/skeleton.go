package tree

import (
	"context"
	"errors"
	"time"

	"photree/internal/gvariant"
	"photree/repo"
	"photree/repo/object"
)

var errSoon = errors.New("not in this build yet")

// WriteOptions are the choices of Write; the zero value records the directory as it is.
type WriteOptions struct {
	// Filter says whether a name is recorded; directories that are not are not entered. Paths start with "/". It is
	// called in the order of paths from one goroutine. Nil records all.
	Filter func(path string, mode uint32) bool
	// Modify may change the owner, permissions and attributes of a file or symlink (Target too) or of a directory, which
	// it sees with only those fields set. It is called from several goroutines at once.
	Modify func(path string, info *object.FileInfo)

	OwnerUID, OwnerGID   *uint32 // owner of everything, when set
	CanonicalPermissions bool    // owner 0:0, no attributes, files 0644 or 0755, directories 0755
	NoXattrs             bool
	SkipSpecial          bool // pass over sockets, fifos and devices instead of refusing them
	LinkCheckoutSpeedup  bool // take a file that is a hard link to an object of the repository for that object, unread
	Consume              bool // remove the directory as it is read
	Workers              int  // 0: one a processor
}

// Stats says what Write did.
type Stats struct {
	Files, Dirs int
	Bytes       int64 // content of regular files
}

// Write stages the tree below dir and returns the names of its root.
func Write(ctx context.Context, txn *repo.Txn, dir string, opts WriteOptions) (root, meta object.ID, st Stats, err error) {
	return root, meta, st, errSoon
}

// CommitOptions describe a commit.
type CommitOptions struct {
	Write         WriteOptions
	Ref           string     // the head to move; empty makes a commit that no ref names
	Parent        *object.ID // nil: the commit that Ref names, if any; zero id: none
	Subject, Body string
	Metadata      gvariant.Dict
	Detached      gvariant.Dict
	BindRefs      []string  // further refs to name in ostree.ref-binding
	NoBindings    bool      // leave ostree.ref-binding out
	Timestamp     time.Time // zero: SOURCE_DATE_EPOCH if it is set, else now
	SkipUnchanged bool      // make no commit when the tree is that of the parent; the parent is returned
}

// Commit records dir as a commit, in a transaction of its own.
func Commit(ctx context.Context, r *repo.Repo, dir string, opts CommitOptions) (object.ID, Stats, error) {
	return object.ID{}, Stats{}, errSoon
}

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
	Subpath          string // start there instead of at the root
	UserMode         bool   // leave owners and attributes out
	RequireHardlinks bool   // fail rather than copy
	ForceCopy        bool   // never make hard links
	Union            Union
	Whiteouts        bool                           // names .wh.X remove X, as in container layers
	Skip             func(path string) bool         // names for which it is true are left out
	Workers          int                            // 0: one a processor
	Progress         func(done int)                 // told the number of files so far
	Modify           func(string, *object.FileInfo) // may change owner, mode or attributes of a file; such a file is copied
}

// Checkout makes the directory dest from a commit.
func Checkout(ctx context.Context, r *repo.Repo, commit object.ID, dest string, opts CheckoutOptions) error {
	return errSoon
}

// Entry is one name of a tree.
type Entry struct {
	Path string // starts with "/"
	Dir  bool
	ID   object.ID // the file, or the dirtree of a directory
	Meta object.ID // the dirmeta of a directory
}

// SkipDir is returned by the function given to Walk to pass over a directory.
var SkipDir = errors.New("skip this directory")

// Walk calls fn for the root and everything below it: a directory, then its files, then its subdirectories, by name.
func Walk(r *repo.Repo, root, meta object.ID, fn func(Entry) error) error { return errSoon }

// Lookup returns the entry at path. Symbolic links are not followed. The error wraps repo.ErrNotFound.
func Lookup(r *repo.Repo, root, meta object.ID, path string) (Entry, error) { return Entry{}, errSoon }

// ReadFile returns the content of a regular file of a commit; symbolic links within the tree are followed.
func ReadFile(r *repo.Repo, commit object.ID, path string) ([]byte, error) { return nil, errSoon }

// Change is one difference of two trees.
type Change struct {
	Op   byte // 'M', 'D' or 'A'
	Path string
}

// Diff compares two commits: all modified names, then all deleted, then all added.
func Diff(r *repo.Repo, a, b object.ID) ([]Change, error) { return nil, errSoon }
