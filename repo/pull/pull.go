// Package pull fetches commits with all that they need into a repository: over HTTP from an archive repository on a
// server, or from another repository on this machine.
//
// It reads the server or the other repository, and writes only through one transaction of the destination: objects that
// are missing, refs, detached metadata, and for a mirror the summary. It never trusts the server: sizes are limited
// before anything is parsed, signatures are checked where the remote asks for them before the commit is decoded, and
// every object is verified against its name while it is written (R1, R7). Refs move after everything is durable (R2). A
// commit carries a partial mark from before it is stored until its closure is complete (R3); a pull that is interrupted
// keeps what arrived, and the next one fetches the rest. One that fails for good leaves the repository as it was.
package pull

import (
	"context"
	"errors"
	"net/http"
	"time"

	"photree/repo"
	"photree/repo/object"
)

// Options are the choices of Pull and Local; with the zero value Local copies all refs.
type Options struct {
	// Remote is the name of the remote: its configuration is used, and its name goes before the refs. Local may leave it
	// empty: then the refs become heads.
	Remote string
	// URL replaces the one of the remote.
	URL string
	// Refs are what to pull: REF, REF@COMMIT (the ref is set to that commit) or a commit. Without any, the branches of
	// the remote's configuration are, or with Mirror or Local all refs.
	Refs []string
	// Depth is how many parents of each commit are pulled too; -1 for all.
	Depth int
	// Mirror writes the refs as heads, and the summary too when the destination is an archive repository.
	Mirror bool
	// CommitMetadataOnly pulls the commit objects and no trees: they stay marked partial.
	CommitMetadataOnly bool
	// Subpaths restricts the trees to these directories or files: the commits stay marked partial.
	Subpaths []string
	// Caches are repositories on this machine that objects are taken from before the network is asked.
	Caches []*repo.Repo
	// TimestampCheck refuses a commit that is older than the one the ref has now, or than TimestampCheckFrom.
	TimestampCheck     bool
	TimestampCheckFrom string
	// DisableVerifyBindings takes a commit even if its metadata says that it belongs to another ref.
	DisableVerifyBindings bool
	// DisableSignatures skips all signature checks, whatever the remote's configuration asks for. Only Local from a
	// directory that the caller owns should set it.
	DisableSignatures bool
	// GPGVerify and GPGVerifySummary have Local check OpenPGP signatures with the keys of Remote.
	GPGVerify, GPGVerifySummary bool
	// CacheDir is where summaries are kept for the next time; without it in tmp/cache of the repository.
	CacheDir string
	// UserOnlyFiles refuses files with modes that a bare-user-only repository cannot have.
	UserOnlyFiles bool
	// Untrusted has Local verify each object of the source, also when it becomes a hard link.
	Untrusted bool

	// NoFlush leaves out the flush at the end: a power cut soon after may lose what was pulled.
	NoFlush bool

	// DisableStaticDeltas never uses static deltas; RequireStaticDeltas fails where there is none, and uses them from a
	// repository on this machine too.
	DisableStaticDeltas, RequireStaticDeltas bool

	// Header is added to each request.
	Header http.Header
	// UserAgent is what the requests say that they come from.
	UserAgent string
	// MaxOutstanding is how many requests run at once (8).
	MaxOutstanding int
	// NetworkRetries is how often a request is repeated when the network or the server fails (5; negative: never).
	NetworkRetries int
	// Backoff is the pause before the first repetition (200 ms); it doubles each time.
	Backoff time.Duration
	// A connection that brings less than LowSpeedBytes (1000) per second for LowSpeedTime (30 s) is given up.
	LowSpeedBytes int64
	LowSpeedTime  time.Duration
	// CheckpointEvery is how often what has arrived is made durable (60 s), so that a long pull over a slow line does not
	// start anew after a power cut.
	CheckpointEvery time.Duration
	// Progress is told now and then how far the pull is, and once at its end, from one goroutine at a time.
	Progress func(Stats)
}

func (o *Options) outstanding() int {
	if o.MaxOutstanding > 0 {
		return o.MaxOutstanding
	}
	return 8
}

// Stats is how far a pull is.
type Stats struct {
	Metadata, MetadataWanted int64 // metadata objects that arrived, and that are known to be missing
	Content, ContentWanted   int64 // the same for files
	Detached                 int64 // detached metadata of commits that the server was asked for
	LocalMetadata            int64 // metadata objects that one of the caches had
	LocalContent             int64 // the same for files
	Scanned                  int64 // metadata objects looked through
	Transferred              int64 // bytes of all answers
	Requests                 int64
	ContentBytes             int64 // bytes of content written
	Elapsed                  time.Duration
	Done                     bool
}

// Result is what a pull did.
type Result struct {
	// Refs are the refs that were set, in the order they were asked for.
	Refs  []PulledRef
	Stats Stats
}

// PulledRef is a ref and the commit that it has now. Name is empty for a commit that was asked for by its id.
type PulledRef struct {
	Name          string
	Commit        object.ID
	Before        object.ID // what it was before, or zero
	SignaturesBy  []string  // who signed it, where that was checked
	FetchedCommit bool      // false: the commit was complete already
}

// Pull fetches refs of a remote.
func Pull(ctx context.Context, r *repo.Repo, o Options) (Result, error) {
	remote, err := loadRemote(r, &o)
	if err != nil {
		return Result{}, err
	}
	src, done, err := openSource(ctx, &o, remote)
	if err != nil {
		return Result{}, err
	}
	defer done()
	return run(ctx, r, &o, remote, src)
}

// Local copies refs from another repository on this machine, by hard link where both store files the same way.
func Local(ctx context.Context, r, src *repo.Repo, o Options) (Result, error) {
	return run(ctx, r, &o, remoteConfig{name: o.Remote, plain: true, collection: src.CollectionID()}, &localSource{repo: src, untrusted: o.Untrusted})
}

// FetchSummary returns the summary of a remote; the signature is checked where the remote asks for it. There is none
// when the error wraps repo.ErrNotFound.
func FetchSummary(ctx context.Context, r *repo.Repo, o Options) (*Summary, error) {
	remote, err := loadRemote(r, &o)
	if err != nil {
		return nil, err
	}
	keys, err := newVerifier(r, &o, remote)
	if err != nil {
		return nil, err
	}
	src, done, err := openSource(ctx, &o, remote)
	if err != nil {
		return nil, err
	}
	defer done()
	return loadSummary(ctx, r, &o, src, keys)
}

// run is the line of a pull: what is wanted, what of it is missing, fetch that, then let the refs name it.
func run(ctx context.Context, r *repo.Repo, o *Options, remote remoteConfig, src source) (Result, error) {
	keys, err := newVerifier(r, o, remote)
	if err != nil {
		return Result{}, err
	}
	if err := src.check(ctx); err != nil {
		return Result{}, err
	}
	wanted, summary, err := resolve(ctx, r, o, remote, src, keys)
	if err != nil {
		return Result{}, err
	}
	deltas, err := findDeltas(ctx, r, o, src, wanted, summary)
	if err != nil {
		return Result{}, err
	}
	txn, err := begin(ctx, r, o)
	if err != nil {
		return Result{}, err
	}
	p := newPuller(o, remote, txn, src, keys, wanted)
	p.deltas = deltas
	defer func() { _ = p.txn.Abort() }()
	if err := p.fetchAll(ctx); err != nil {
		return Result{Stats: p.stats()}, errors.Join(err, p.keep(err))
	}
	if err := p.publish(wanted, remote, summary); err != nil {
		return Result{Stats: p.stats()}, err
	}
	return p.result(wanted), nil
}

// begin starts a transaction that outlives ctx: what has arrived when the user interrupts is still to be kept.
func begin(ctx context.Context, r *repo.Repo, o *Options) (*repo.Txn, error) {
	waiting, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer context.AfterFunc(ctx, cancel)()
	txn, err := r.Begin(waiting)
	if err != nil {
		return nil, err
	}
	txn.SetUserOnlyModes(o.UserOnlyFiles)
	if o.NoFlush {
		txn.SetFlush(false)
	}
	return txn, nil
}
