package repo

import (
	"context"
	"errors"
	"time"

	"photree/internal/gvariant"
	"photree/repo/object"
)

var errSoon = errors.New("not in this build yet")

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
