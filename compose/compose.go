package compose

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"photree/compose/repomd"
	"photree/compose/rootfs"
	"photree/compose/rpm"
	"photree/compose/treefile"
	"photree/internal/gvariant"
	"photree/repo"
	"photree/repo/object"
	"photree/repo/tree"
)

// Options say what is composed and where. Treefile and Repo are needed; the
// rest may be zero.
type Options struct {
	Treefile *treefile.Treefile
	Repo     *repo.Repo // may be nil for a DryRun

	// CacheDir keeps indexes and packages for the next compose; "" keeps
	// nothing.
	CacheDir string
	// CacheOnly takes everything from CacheDir and uses no network.
	CacheOnly bool
	// WorkDir is where the tree is built: a directory on a file system that
	// keeps owners and extended attributes, with room for the tree. "" is
	// /var/tmp.
	WorkDir string

	Force        bool // compose although nothing changed
	DryRun       bool // stop when the packages are chosen
	DownloadOnly bool // stop when the packages are fetched

	// Parent is the parent of the commit, and what it is compared with; nil is
	// the commit that the treefile's ref names. NoParent makes a commit without
	// one.
	Parent   *object.ID
	NoParent bool
	// NoRef leaves the ref where it is: the caller moves it.
	NoRef bool
	// Version overrides the treefile's automatic version.
	Version string
	// Metadata is added to that of the commit.
	Metadata gvariant.Dict
	// Time is the commit's; zero is SOURCE_DATE_EPOCH of the process, or now.
	Time time.Time

	Log Log // nil: silent
}

// Log is told how a compose goes. Calls come from one goroutine at a time.
type Log interface {
	// Step begins a step.
	Step(name string)
	// Note is a fact that a person wants to read, in one line.
	Note(text string)
	// Warn is something that went wrong and did not end the compose.
	Warn(text string)
	// Progress is how far a step is; what names the present item.
	Progress(done, total int, what string)
}

// Result is what a compose made.
type Result struct {
	Ref       string
	Commit    object.ID // zero when none was made
	Previous  object.ID // the commit that the ref named; zero when none
	Version   string
	InputHash string
	Packages  []rpm.NEVRA // in the order of installation
	KVER      string
	Unchanged bool // the inputs are those of Previous, which is Commit
	Content   object.ID
	Stats     tree.Stats
	Timestamp time.Time
	Steps     []StepTime
	Scripts   []rootfs.ScriptTime
}

// StepTime says how long one step took.
type StepTime struct {
	Name string
	Time time.Duration
}

// run is one compose under way.
type run struct {
	Options
	log     *steps
	workDir *workDir
	work    string // its path
	result  Result
	prev    *object.Commit
	repos   []*repomd.Repo
	states  []repoState
	chosen  []*repomd.Package
	files   []string // of the packages
	initBin string   // the program that becomes /init
	built   *rootfs.Tree
	tree    string // its path

	installOnly bool
}

// Compose makes the commit.
func Compose(ctx context.Context, o Options) (*Result, error) {
	r := &run{Options: o, log: &steps{log: o.Log}}
	return r.take(ctx, r.previous, r.metadata, r.solve, r.inputs, r.download, r.install, r.checkAccounts, r.commit)
}

// stage is a step of a compose; done ends it before the others.
type stage func(context.Context) (done bool, err error)

// take takes the stages in their order, in a work directory.
func (r *run) take(ctx context.Context, stages ...stage) (_ *Result, err error) {
	o := r.Options
	if o.Treefile == nil {
		return nil, errors.New("composing: no treefile")
	}
	if err := r.prepare(); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.workDir.remove()) }()
	for _, stage := range stages {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		done, err := stage(ctx)
		if err != nil && ctx.Err() != nil {
			return nil, fmt.Errorf("composing %q was interrupted, the repository is as it was: %w", o.Treefile.Path, ctx.Err())
		}
		if err != nil {
			return nil, err
		}
		if done {
			break
		}
	}
	r.result.Steps = r.log.end()
	r.result.Scripts = r.scripts()
	return &r.result, nil
}

func (r *run) scripts() []rootfs.ScriptTime {
	if r.built == nil {
		return nil
	}
	return r.built.Scripts
}

// prepare makes the work directory.
func (r *run) prepare() error {
	base := r.WorkDir
	if base == "" {
		base = "/var/tmp"
	}
	w, err := newWorkDir(base)
	if err != nil {
		return err
	}
	r.workDir, r.work = w, w.path
	if r.CacheDir == "" {
		r.CacheDir = filepath.Join(r.work, "cache")
	}
	if r.Time.IsZero() {
		if r.Time, err = commitTime(); err != nil {
			return errors.Join(err, w.remove())
		}
	}
	return nil
}
