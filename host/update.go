package host

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"photree/deploy"
	"photree/internal/kargs"
	"photree/internal/keyfile"
	"photree/repo"
	"photree/repo/object"
	"photree/repo/pull"
)

// UpdateOptions say how a host gets its next tree.
type UpdateOptions struct {
	// Stateroot is the one to update; empty means that of the running system.
	Stateroot string
	// Refspec is what to follow from now on; the zero value keeps the branch.
	Refspec Refspec
	// Target is a commit or a version of the branch to deploy instead of its head.
	Target string
	// AllowDowngrade takes a tree that is older than the current one.
	AllowDowngrade bool
	// MetadataOnly stops when the new commit's package list is known.
	MetadataOnly bool
	// PullOnly stops when everything is in the repository; DeployOnly fetches
	// nothing.
	PullOnly, DeployOnly bool
	// EvenIfSame deploys also if the commit is the current one.
	EvenIfSame bool
	// KeepOldRef leaves the ref of the branch that is followed no more.
	KeepOldRef bool

	// Progress is told how far the download is.
	Progress func(pull.Stats)
	// Found is called once, when the commit is known and before it is deployed.
	Found func(Update)
}

// Update is the outcome.
type Update struct {
	Refspec Refspec
	// Current is the deployment that was followed; Commit is the new tree, equal
	// to that of Current if there is nothing new.
	Current *deploy.Deployment
	Commit  object.ID
	Version string
	Time    time.Time
	// Changed says that the commit is another one than Current's.
	Changed bool
	// Fetched counts the download; nil if nothing was asked of a remote.
	Fetched *pull.Stats
	// Deployed is nil if no deployment was made.
	Deployed *deploy.Result
	// DeletedRef is the old branch's ref if a rebase removed it, else "".
	DeletedRef string
}

// Upgrade brings a stateroot to the head of its branch, or, with Refspec or Target
// set, to another tree.
func Upgrade(ctx context.Context, s *deploy.Sysroot, o UpdateOptions) (*Update, error) {
	st, err := s.Load()
	if err != nil {
		return nil, err
	}
	cur, err := current(st, o.Stateroot)
	if err != nil {
		return nil, err
	}
	u := &Update{Current: cur}
	old, err := followed(cur, o)
	if err != nil {
		return nil, err
	}
	if u.Refspec = old; o.Refspec.Ref != "" {
		if u.Refspec = o.Refspec; u.Refspec == old && o.Target == "" {
			return nil, sentence("Old and new refs are equal: " + old.String())
		}
	}
	if err := u.follow(ctx, s.Repo(), o); err != nil {
		return nil, err
	}
	if o.Found != nil {
		o.Found(*u)
	}
	if o.MetadataOnly || o.PullOnly || !u.Changed && !o.EvenIfSame && u.Refspec == old {
		return u, nil
	}
	u.Deployed, err = s.Deploy(ctx, deploy.DeployOptions{
		Stateroot: cur.Stateroot, Commit: u.Commit, Origin: u.origin(o), Merge: st.Merge(cur.Stateroot), Kargs: cur.Kargs,
	})
	if err != nil {
		return u, err
	}
	if u.Refspec != old && !o.KeepOldRef && old.Remote != "" {
		if err := deleteRef(ctx, s.Repo(), old); err != nil {
			return u, err
		}
		u.DeletedRef = old.String()
	}
	return u, nil
}

// followed reads the origin of the current deployment. A new branch may replace
// one that cannot be read.
func followed(d *deploy.Deployment, o UpdateOptions) (Refspec, error) {
	spec := d.Refspec()
	if spec == "" {
		if o.Refspec.Ref != "" {
			return Refspec{}, nil
		}
		return Refspec{}, errors.New("the current deployment follows no branch: choose one with \"rpm-ostree rebase REMOTE:BRANCH\"")
	}
	if why, ok := d.Origin.Get("origin", "unconfigured-state"); ok && o.Refspec.Ref == "" {
		// Whoever made the installation medium says what to do before updates work.
		return Refspec{}, fmt.Errorf("origin unconfigured-state: %s", why)
	}
	return ParseRefspec(spec)
}

// maxRebases is how many branches in a row may say that they end and where they
// go on.
const maxRebases = 8

// follow fetches the head of the branch, and of the one that takes its place if
// the head says that the branch has ended.
func (u *Update) follow(ctx context.Context, r *repo.Repo, o UpdateOptions) error {
	for range maxRebases {
		if err := u.fetch(ctx, r, o); err != nil {
			return err
		}
		if err := u.examine(r, o); err != nil {
			return err
		}
		c, err := r.LoadCommit(u.Commit)
		if err != nil {
			return err
		}
		next := c.Metadata.GetString("ostree.endoflife-rebase")
		if next == "" || o.Target != "" {
			return nil
		}
		u.Refspec.Ref = next
	}
	return fmt.Errorf("branch %s: more than %d branches end one in favour of the next", u.Refspec, maxRebases)
}

func (u *Update) fetch(ctx context.Context, r *repo.Repo, o UpdateOptions) error {
	if u.Refspec.Remote == "" || o.DeployOnly {
		return nil
	}
	p := pull.Options{
		Remote: u.Refspec.Remote, Refs: []string{u.Refspec.Ref}, Progress: o.Progress, CommitMetadataOnly: o.MetadataOnly,
	}
	if !o.AllowDowngrade && !u.Current.Commit.IsZero() {
		// Refused before the branch moves and before anything of the older tree is fetched.
		p.TimestampCheckFrom = u.Current.Commit.String()
	}
	if o.Target != "" {
		id, err := findTarget(ctx, r, u.Refspec, o)
		if err != nil {
			return err
		}
		p.Refs = []string{u.Refspec.Ref + "@" + id.String()}
	}
	res, err := pull.Pull(ctx, r, p)
	var older *pull.OlderError
	if errors.As(err, &older) {
		return &OlderError{older.Error() + "; use --allow-downgrade to permit"}
	}
	if err != nil {
		return err
	}
	u.Fetched = &res.Stats
	return nil
}

// findTarget turns a version into the commit of the branch that has it, by
// fetching the branch's history without any trees.
func findTarget(ctx context.Context, r *repo.Repo, spec Refspec, o UpdateOptions) (object.ID, error) {
	if id, err := object.ParseID(o.Target); err == nil {
		return id, nil
	}
	_, err := pull.Pull(ctx, r, pull.Options{
		Remote: spec.Remote, Refs: []string{spec.Ref}, Depth: -1, CommitMetadataOnly: true, Progress: o.Progress,
	})
	if err != nil {
		return object.ID{}, err
	}
	return findVersion(r, spec, o.Target)
}

func findVersion(r *repo.Repo, spec Refspec, version string) (object.ID, error) {
	id, err := resolve(r, spec)
	if err != nil {
		return id, err
	}
	for !id.IsZero() {
		c, err := r.LoadCommit(id)
		if errors.Is(err, repo.ErrNotFound) {
			break // the history that a server keeps has an end
		}
		if err != nil {
			return id, err
		}
		if c.Metadata.GetString("version") == version {
			return id, nil
		}
		id = c.Parent
	}
	return id, fmt.Errorf("version %q was not found on branch %s: \"ostree log %s\" lists what there is", version, spec, spec)
}

// examine finds out what the branch names now and whether that is an update.
func (u *Update) examine(r *repo.Repo, o UpdateOptions) (err error) {
	if u.Refspec.Remote == "" && o.Target != "" {
		if u.Commit, err = object.ParseID(o.Target); err != nil {
			u.Commit, err = findVersion(r, u.Refspec, o.Target)
		}
	} else {
		u.Commit, err = resolve(r, u.Refspec)
	}
	if err != nil {
		return err
	}
	c, err := r.LoadCommit(u.Commit)
	if err != nil {
		return err
	}
	u.Version, u.Time = c.Metadata.GetString("version"), c.Time()
	u.Changed = u.Commit != u.Current.Commit
	if u.Changed && !o.AllowDowngrade && u.Time.Before(u.Current.Timestamp) {
		const form = "Mon 02 Jan 2006 15:04:05 UTC"
		return &OlderError{
			fmt.Sprintf("Upgrade target revision '%s' with timestamp '%s' is chronologically older than current revision '%s' with timestamp '%s'; use --allow-downgrade to permit",
				u.Commit, u.Time.Format(form), u.Current.Commit, u.Current.Timestamp.Format(form)),
		}
	}
	return nil
}

// OlderError says that the branch's head is older than the current tree. It has
// the words that ostree has for it.
type OlderError struct{ text string }

func (e *OlderError) Error() string { return e.text }

// origin is the new deployment's: the old one's, with the branch and the target.
func (u *Update) origin(o UpdateOptions) *keyfile.File {
	f := u.Current.Origin.Clone()
	key := "refspec"
	if _, ok := f.Get("origin", "baserefspec"); ok {
		key = "baserefspec"
	}
	f.Set("origin", key, u.Refspec.String())
	f.Delete("origin", "override-commit")
	f.Delete("origin", "unconfigured-state")
	if o.Target != "" {
		f.Set("origin", "override-commit", u.Commit.String())
	}
	return f
}

func deleteRef(ctx context.Context, r *repo.Repo, spec Refspec) error {
	txn, err := r.Begin(ctx)
	if err != nil {
		return err
	}
	if err := txn.SetRef(spec.Remote, spec.Ref, object.ID{}); err != nil {
		return errors.Join(err, txn.Abort())
	}
	return txn.Commit()
}

// SetKargs makes a deployment like the one with this index (-1 for the pending or
// booted one), with the arguments that edit returns. Without a change it makes
// none and returns nil.
func SetKargs(ctx context.Context, s *deploy.Sysroot, index int, edit func(kargs.List) (kargs.List, error)) (*deploy.Result, error) {
	st, err := s.Load()
	if err != nil {
		return nil, err
	}
	from, err := pick(st, index)
	if err != nil {
		return nil, err
	}
	args, err := edit(from.Kargs)
	if err != nil || args.String() == from.Kargs.String() {
		return nil, err
	}
	return s.Deploy(ctx, deploy.DeployOptions{
		Stateroot: from.Stateroot, Commit: from.Commit, Origin: from.Origin, Kargs: args, Merge: st.Merge(from.Stateroot),
	})
}

// Kargs returns the arguments of the deployment with this index, or with -1 of
// the pending or booted one.
func Kargs(s *deploy.Sysroot, index int) (kargs.List, error) {
	st, err := s.Load()
	if err != nil {
		return nil, err
	}
	d, err := pick(st, index)
	if err != nil {
		return nil, err
	}
	return d.Kargs, nil
}

func pick(st *deploy.State, index int) (*deploy.Deployment, error) {
	if index < 0 {
		return current(st, "")
	}
	if index >= len(st.Deployments) {
		return nil, &deploy.IndexError{Index: index, Count: len(st.Deployments)}
	}
	return st.Deployments[index], nil
}

// Following returns the branch that a stateroot follows.
func Following(st *deploy.State, stateroot string) (Refspec, error) {
	cur, err := current(st, stateroot)
	if err != nil {
		return Refspec{}, err
	}
	return followed(cur, UpdateOptions{})
}

// Target reads what to deploy: a version, a checksum, or one of them behind
// "version=" or "revision=".
func Target(s string) string {
	for _, prefix := range []string{"revision=", "version="} {
		if rest, ok := strings.CutPrefix(s, prefix); ok {
			return rest
		}
	}
	return s
}
