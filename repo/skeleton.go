package repo

import (
	"context"
	"errors"
	"io"
	"time"

	"photree/internal/gvariant"
	"photree/repo/object"
)

var errSoon = errors.New("not in this build yet")

// Ref is one name for a commit. Remote is empty for the repository's own refs (heads).
type Ref struct {
	Remote     string
	Collection string // set for refs of mirrors
	Name       string
	ID         object.ID
	Alias      string // the name that it is a link to, or empty
}

// String returns the refspec: NAME or REMOTE:NAME.
func (r Ref) String() string {
	if r.Remote == "" {
		return r.Name
	}
	return r.Remote + ":" + r.Name
}

// RefNotFoundError says that a ref, refspec or abbreviated checksum names nothing here. It wraps ErrNotFound.
type RefNotFoundError struct{ Rev string }

func (e *RefNotFoundError) Error() string { return "Refspec '" + e.Rev + "' not found" }

// Unwrap returns ErrNotFound.
func (e *RefNotFoundError) Unwrap() error { return ErrNotFound }

// Refs returns all refs: heads first, then those of remotes, by name.
func (r *Repo) Refs() ([]Ref, error) { return nil, errSoon }

// Ref returns the commit that a ref names; remote is empty for heads.
func (r *Repo) Ref(remote, name string) (object.ID, error) { return object.ID{}, errSoon }

// ResolveRev returns the commit that rev names: a ref, REMOTE:REF, a ref of any remote when heads have none of that
// name, a checksum or the start of one, each with any number of ^ behind it for the parent.
func (r *Repo) ResolveRev(rev string) (object.ID, error) { return object.ID{}, errSoon }

// LoadMetadata returns the bytes of a metadata object.
func (r *Repo) LoadMetadata(n object.Name) ([]byte, error) { return nil, errSoon }

// LoadCommit returns a commit.
func (r *Repo) LoadCommit(id object.ID) (object.Commit, error) { return object.Commit{}, errSoon }

// LoadDirTree returns a dirtree.
func (r *Repo) LoadDirTree(id object.ID) (object.DirTree, error) { return object.DirTree{}, errSoon }

// LoadDirMeta returns a dirmeta.
func (r *Repo) LoadDirMeta(id object.ID) (object.DirMeta, error) { return object.DirMeta{}, errSoon }

// LoadFileInfo returns the header of a file object and the size of its content.
func (r *Repo) LoadFileInfo(id object.ID) (object.FileInfo, int64, error) {
	return object.FileInfo{}, 0, errSoon
}

// OpenFile returns the header of a file object, the size of its content, and the content; the reader is empty for
// symbolic links.
func (r *Repo) OpenFile(id object.ID) (object.FileInfo, int64, io.ReadCloser, error) {
	return object.FileInfo{}, 0, nil, errSoon
}

// HasObject says whether an object is published here.
func (r *Repo) HasObject(n object.Name) (bool, error) { return false, errSoon }

// IsPartial says whether a commit carries a partial mark.
func (r *Repo) IsPartial(commit object.ID) (bool, error) { return false, errSoon }

// DetachedMetadata returns the detached metadata of a commit, nil when there is none.
func (r *Repo) DetachedMetadata(commit object.ID) (gvariant.Dict, error) { return nil, errSoon }

// Txn is a transaction. What it is given becomes visible at Commit, in the order that R2 and R3 ask for, or never.
type Txn struct{}

// TxnStats counts what a transaction wrote.
type TxnStats struct {
	MetadataTotal, MetadataWritten int
	ContentTotal, ContentWritten   int
	ContentBytes                   int64 // bytes of content written, before compression
	StoredBytes                    int64 // bytes that the new objects take in the repository
}

// Begin starts a transaction: it takes the repository lock shared (R4) and makes a staging directory.
func (r *Repo) Begin(ctx context.Context) (*Txn, error) { return nil, errSoon }

// Repo returns the repository of the transaction.
func (t *Txn) Repo() *Repo { return nil }

// Has says whether an object is published or staged by this transaction.
func (t *Txn) Has(n object.Name) (bool, error) { return false, errSoon }

// WriteMetadata stages a metadata object and returns its name. The bytes must decode as that kind.
func (t *Txn) WriteMetadata(kind object.Kind, data []byte) (object.ID, error) {
	return object.ID{}, errSoon
}

// WriteContent stages a file object. Exactly size bytes are read from r; r may be nil for symbolic links.
func (t *Txn) WriteContent(info object.FileInfo, size int64, r io.Reader) (object.ID, error) {
	return object.ID{}, errSoon
}

// ImportMetadata stages a metadata object that came from elsewhere, after checking that the bytes have that name (R1, R7).
func (t *Txn) ImportMetadata(n object.Name, data []byte) error { return errSoon }

// ImportArchived stages a file object that came as a .filez stream, after checking that it has the name id (R1, R7). In
// an archive repository the stream is stored as it came.
func (t *Txn) ImportArchived(id object.ID, r io.Reader) error { return errSoon }

// ImportOptions are the choices of ImportObject.
type ImportOptions struct {
	Trusted bool // take src's word that its objects are sound; hard links are made only then
}

// ImportObject stages an object of another repository on this machine: by hard link where src stores it in the same
// form on the same file system and opts.Trusted is set, else by a verified copy that shares blocks where the file
// system can.
func (t *Txn) ImportObject(src *Repo, n object.Name, opts ImportOptions) error { return errSoon }

// SetRef makes a ref name a commit once the transaction is committed; remote is empty for heads, a zero id deletes.
func (t *Txn) SetRef(remote, name string, id object.ID) error { return errSoon }

// SetMirrorRef is SetRef for a ref of a collection that this repository mirrors.
func (t *Txn) SetMirrorRef(collection, name string, id object.ID) error { return errSoon }

// SetAlias makes the head name a link to the head target.
func (t *Txn) SetAlias(name, target string) error { return errSoon }

// SetDetachedMetadata gives a commit its detached metadata; nil removes it.
func (t *Txn) SetDetachedMetadata(commit object.ID, d gvariant.Dict) error { return errSoon }

// MarkPartial marks a commit partial, durably and at once: it must be called before the commit object is staged if
// the closure may end up incomplete (R3).
func (t *Txn) MarkPartial(commit object.ID) error { return errSoon }

// ClearPartial removes the mark of a commit whose closure is complete, after the objects of this transaction are durable.
func (t *Txn) ClearPartial(commit object.ID) error { return errSoon }

// Stats returns what was written so far.
func (t *Txn) Stats() TxnStats { return TxnStats{} }

// Commit publishes the transaction and ends it.
func (t *Txn) Commit() error { return errSoon }

// Abort ends the transaction and leaves the repository as it was. After Commit it does nothing, so it can be deferred.
func (t *Txn) Abort() error { return errSoon }

// Remote is a place to pull from: a group [remote "NAME"] of the configuration.
type Remote struct {
	Name    string
	Options []Option
}

// Option is one key of a remote.
type Option struct{ Key, Value string }

// Get returns the value of an option.
func (r Remote) Get(key string) (string, bool) { return "", false }

// URL returns the option "url".
func (r Remote) URL() string { return "" }

// Remotes returns the remotes of the configuration and of /etc/ostree/remotes.d, by name.
func (r *Repo) Remotes() ([]Remote, error) { return nil, errSoon }

// Remote returns one remote; the error wraps ErrNotFound.
func (r *Repo) Remote(name string) (Remote, error) { return Remote{}, errSoon }

// AddRemote writes a new remote into the configuration; replace allows one that exists.
func (r *Repo) AddRemote(rem Remote, replace bool) error { return errSoon }

// DeleteRemote removes a remote with its refs and its key ring.
func (r *Repo) DeleteRemote(name string) error { return errSoon }

// SummaryOptions are the choices of UpdateSummary.
type SummaryOptions struct {
	Metadata gvariant.Dict // further keys
}

// UpdateSummary writes the file summary anew.
func (r *Repo) UpdateSummary(ctx context.Context, opts SummaryOptions) error { return errSoon }

// FsckOptions are the choices of Fsck.
type FsckOptions struct {
	Delete  bool // remove damaged objects and mark the commits that lose one partial
	Quick   bool // only look whether objects are there, do not read file content
	Workers int  // 0: one a processor
	// Progress is told how many of the objects are checked, from one goroutine at a time.
	Progress func(done, total int)
}

// FsckResult is what Fsck found.
type FsckResult struct {
	Commits, Partial, Objects int
	Problems                  []FsckProblem
}

// FsckProblem is one missing or damaged object.
type FsckProblem struct {
	Object object.Name
	Err    error
}

// Fsck verifies every object that a commit needs.
func (r *Repo) Fsck(ctx context.Context, opts FsckOptions) (FsckResult, error) {
	return FsckResult{}, errSoon
}

// PruneOptions are the choices of Prune.
type PruneOptions struct {
	RefsOnly         bool // commits that no ref leads to go
	Depth            int  // with RefsOnly: how many parents of a ref's commit stay; -1 all, 0 none
	KeepYoungerThan  time.Time
	DeleteCommit     object.ID
	DryRun           bool
	StaticDeltasOnly bool
}

// PruneResult says what went.
type PruneResult struct {
	Total, Pruned int
	Freed         int64
}

// Prune removes what nothing leads to.
func (r *Repo) Prune(ctx context.Context, opts PruneOptions) (PruneResult, error) {
	return PruneResult{}, errSoon
}
