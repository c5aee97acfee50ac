package deploy

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"photree/deploy/etcmerge"
	"photree/internal/durable"
	"photree/internal/kargs"
	"photree/internal/keyfile"
	"photree/repo/object"
	"photree/repo/tree"
)

// DeployOptions describe a new deployment.
type DeployOptions struct {
	// Stateroot must exist.
	Stateroot string
	// Commit must be in the sysroot's repository, whole.
	Commit object.ID
	// Origin is what the deployment will follow; nil takes that of Merge.
	Origin *keyfile.File
	// Merge is the deployment whose /etc and kernel arguments are taken over;
	// nil means State.Merge unless NoMerge is set.
	Merge   *Deployment
	NoMerge bool
	// Kargs are the kernel arguments; nil takes those of Merge.
	Kargs kargs.List
	// Customize may change the deployment before anything names it, /etc and the
	// stateroot's /var above all. It must not write to files outside of those.
	Customize func(ctx context.Context, dir string) error

	// Retain keeps all deployments of the stateroot, RetainPending those in front
	// of the booted one, RetainRollback those behind it. Otherwise the new, the
	// booted, the merged and pinned ones stay.
	Retain, RetainPending, RetainRollback bool
	// NotAsDefault puts the new deployment behind the booted one.
	NotAsDefault bool
	// NoPrune leaves objects that nothing needs any more in the repository.
	NoPrune bool
}

// Result says what a change did.
type Result struct {
	// Deployment is the new one, if the change made one.
	Deployment *Deployment
	// Removed are the deployments that are gone.
	Removed []*Deployment
	// Etc says what the merge did; nil if there was nothing to merge.
	Etc *etcmerge.Summary
	// BootSwap is set if the list of boot entries was switched, not only where
	// they lead to. The versions are those after the change.
	BootSwap                    bool
	BootVersion, SubBootVersion int
	// BootloaderSet is set if the repository's configuration names the boot loader (sysroot.bootloader).
	BootloaderSet bool
	// CountChange is the number of deployments after minus that before.
	CountChange int
	// FreedObjects and Freed say what pruning the repository gave.
	FreedObjects int
	Freed        int64
}

// job is one run of Deploy; its methods are the steps.
type job struct {
	*Sysroot
	o      DeployOptions
	state  *State
	dep    *Deployment
	merge  *Deployment
	kernel kernel
	list   []*Deployment
	dir    string
	result *Result
}

type step[T any] struct {
	name string
	run  func(T, context.Context) error
}

// deploySteps make the tree of a deployment. The steps of the switch follow
// (swapSteps), then those of the clean-up. A test stops behind each of them.
var deploySteps = []step[*job]{
	{"remove what earlier runs left", (*job).removeLeftovers},
	{"read the kernel", (*job).readKernel},
	{"count the space of /boot", (*job).countBootSpace},
	{"check out the tree", (*job).checkOut},
	{"make /etc", (*job).makeEtc},
	{"fill /var", (*job).fillVar},
	{"customize", (*job).customize},
	{"write the origin", (*job).writeOrigin},
}

// Deploy makes a deployment of a commit and puts it into the list, as the
// default unless told otherwise. Until the switch an error leaves the sysroot as
// it was.
func (s *Sysroot) Deploy(ctx context.Context, o DeployOptions) (*Result, error) {
	unlock, err := s.Lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	state, err := s.Load()
	if err != nil {
		return nil, err
	}
	j := &job{Sysroot: s, o: o, state: state, result: &Result{}}
	if err := j.prepare(); err != nil {
		return nil, err
	}
	if err := runSteps(ctx, s, deploySteps, j); err != nil {
		return nil, errors.Join(fmt.Errorf("deploying %s: %w", o.Commit, s.explainSpace(err)), j.undo())
	}
	w := &writer{Sysroot: s, old: state, list: j.list, result: j.result, noPrune: o.NoPrune}
	if err := w.run(ctx); err != nil {
		if w.switched {
			return j.result, &CleanupError{Err: s.explainSpace(err)}
		}
		return nil, errors.Join(fmt.Errorf("deploying %s: %w", o.Commit, s.explainSpace(err)), j.undo())
	}
	return j.result, nil
}

func runSteps[T any](ctx context.Context, s *Sysroot, steps []step[T], arg T) error {
	for _, st := range steps {
		if err := ctx.Err(); err != nil {
			return err
		}
		s.progress(st.name)
		if err := st.run(arg, ctx); err != nil {
			return err
		}
		if s.afterStep != nil {
			if err := s.afterStep(st.name); err != nil {
				return err
			}
		}
	}
	return nil
}

// prepare decides what the deployment will be; it leaves nothing behind.
func (j *job) prepare() error {
	if err := CheckStateroot(j.o.Stateroot); err != nil {
		return err
	}
	if st, err := os.Stat(j.ostree("deploy", j.o.Stateroot, "var")); err != nil || !st.IsDir() {
		return fmt.Errorf("deploying: no stateroot %q in sysroot %q: make it with \"ostree admin stateroot-init\"", j.o.Stateroot, j.root)
	}
	if err := checkBootLinks(j.boot()); err != nil {
		return fmt.Errorf("deploying: %w", err)
	}
	switch {
	case j.o.NoMerge:
	case j.o.Merge != nil:
		j.merge = j.o.Merge
	default:
		j.merge = j.state.Merge(j.o.Stateroot)
	}
	j.dep = &Deployment{Stateroot: j.o.Stateroot, Commit: j.o.Commit, Kargs: j.o.Kargs, Origin: j.o.Origin}
	if j.merge != nil {
		if j.dep.Kargs == nil {
			j.dep.Kargs = j.merge.Kargs.Clone()
		}
		if j.dep.Origin == nil {
			j.dep.Origin = j.merge.Origin.Clone()
		}
		j.dep.overlays, j.dep.extra = j.merge.overlays, j.merge.extra
	}
	if j.dep.Origin == nil {
		j.dep.Origin = NewOrigin("")
	}
	j.dep.Kargs = j.dep.Kargs.RemoveKeys("ostree")
	// What concerns only the old deployment stays with it.
	j.dep.Origin.DeleteGroup("libostree-transient")
	j.dep.Origin.Delete("origin", "unlocked")
	j.describe(j.dep)
	return nil
}

// removeLeftovers clears what an interrupted run left behind, so that its space
// and its names are free.
func (j *job) removeLeftovers(ctx context.Context) error {
	c := &cleaner{Sysroot: j.Sysroot, state: j.state}
	if err := runSteps(ctx, j.Sysroot, leftoverSteps, c); err != nil {
		return err
	}
	serial, err := j.nextSerial()
	if err != nil {
		return err
	}
	j.dep.Serial = serial
	j.dir = j.Path(j.dep)
	j.list = arrange(j.state, j.dep, j.merge, j.o)
	return nil
}

// nextSerial returns the first serial above those that exist.
func (s *job) nextSerial() (int, error) {
	entries, err := os.ReadDir(s.ostree("deploy", s.o.Stateroot, "deploy"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return 0, err
	}
	next := 0
	for _, e := range entries {
		rest, ok := strings.CutPrefix(e.Name(), s.o.Commit.String()+".")
		if !ok {
			continue
		}
		if n, err := strconv.Atoi(strings.TrimSuffix(rest, ".origin")); err == nil && n >= next {
			next = n + 1
		}
	}
	return next, nil
}

func (j *job) readKernel(context.Context) error {
	c, err := j.repo.LoadCommit(j.o.Commit)
	if err != nil {
		return err
	}
	if partial, err := j.repo.IsPartial(j.o.Commit); err != nil {
		return err
	} else if partial {
		return errors.New("the commit is in the repository without all of its files: pull it first")
	}
	if j.kernel, err = findKernel(commitTree{j.repo, c}, ""); err != nil {
		return err
	}
	j.dep.BootChecksum = j.kernel.checksum
	return nil
}

func (j *job) checkOut(ctx context.Context) error {
	if err := mkdirMode(filepath.Dir(j.dir), 0o755); err != nil {
		return err
	}
	if err := tree.Checkout(ctx, j.repo, j.o.Commit, j.dir, tree.CheckoutOptions{PassWhiteouts: true}); err != nil {
		return fmt.Errorf("checking out: %w", err)
	}
	return nil
}

// makeEtc copies the tree's defaults and merges the changes of the old
// deployment into them. All files are copies: /etc is written to (D4).
func (j *job) makeEtc(ctx context.Context) error {
	defaults, etc := filepath.Join(j.dir, "usr/etc"), filepath.Join(j.dir, "etc")
	if _, err := os.Stat(defaults); errors.Is(err, os.ErrNotExist) {
		if _, err := os.Stat(etc); err == nil {
			return errors.New("the tree has /etc instead of /usr/etc: compose it as an ostree tree")
		}
		return mkdirMode(etc, 0o755)
	}
	if _, err := os.Lstat(etc); err == nil {
		return errors.New("the tree has both /etc and /usr/etc: it must have only /usr/etc")
	}
	if err := etcmerge.Copy(ctx, defaults, etc); err != nil {
		return fmt.Errorf("making /etc: %w", err)
	}
	if j.merge == nil {
		return nil
	}
	old := j.Path(j.merge)
	if _, err := os.Stat(filepath.Join(old, "usr/etc")); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	sum, err := etcmerge.Merge(ctx, etcmerge.Dirs{
		Base: filepath.Join(old, "usr/etc"), Local: filepath.Join(old, "etc"), New: etc,
	})
	if err != nil {
		return fmt.Errorf("merging /etc: %w", err)
	}
	j.result.Etc = sum
	// systemd's stamps for "all here is as /usr wants it": that is not so any more. The one in /var is all that an update
	// takes from there, and no data (D5).
	for _, dir := range []string{etc, j.VarPath(j.o.Stateroot)} {
		if err := os.Remove(filepath.Join(dir, ".updated")); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// fillVar copies the tree's own /var into that of a stateroot that has no
// deployment yet. What is there stays (D5).
func (j *job) fillVar(ctx context.Context) error {
	for _, d := range j.state.Deployments {
		if d.Stateroot == j.o.Stateroot {
			return nil
		}
	}
	to := j.VarPath(j.o.Stateroot)
	if from := filepath.Join(j.dir, "var"); isDir(from) {
		if err := etcmerge.CopyMissing(ctx, from, to); err != nil {
			return fmt.Errorf("filling /var: %w", err)
		}
	}
	return legacyVar(to)
}

func isDir(path string) bool {
	st, err := os.Lstat(path)
	return err == nil && st.IsDir()
}

func (j *job) customize(ctx context.Context) error {
	if j.o.Customize == nil {
		return nil
	}
	return j.o.Customize(ctx, j.dir)
}

func (j *job) writeOrigin(context.Context) error {
	if err := durable.WriteFile(j.originPath(j.dep), j.dep.Origin.Format(), 0o644); err != nil {
		return err
	}
	j.result.Deployment = j.dep
	if j.opts.Mutable {
		return nil
	}
	return setImmutable(j.dir, true)
}

// undo removes a deployment that nothing names yet.
func (j *job) undo() error {
	if j.dir == "" {
		return nil
	}
	return j.removeTree(j.dep)
}
