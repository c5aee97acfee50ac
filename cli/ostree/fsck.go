package ostree

import (
	"errors"
	"fmt"

	"photree/cli"
	"photree/repo"
	"photree/repo/object"
	"photree/repo/pull"

	"github.com/spf13/cobra"
)

func init() { register(newFsck) }

type fsckOptions struct{ quiet, all, remove, tombstones, bindings, backRefs, json bool }

func newFsck(env *cli.Env) *cobra.Command {
	var o fsckOptions
	c := &cobra.Command{Use: "fsck", Short: "Check the repository for consistency", Args: need(0, 0, "")}
	at := addRepo(c)
	f := c.Flags()
	f.BoolVarP(&o.quiet, "quiet", "q", false, "Only print error messages")
	f.BoolVarP(&o.all, "all", "a", false, "Don't stop on first error")
	f.BoolVar(&o.remove, "delete", false, "Remove corrupted objects")
	f.BoolVar(&o.tombstones, "add-tombstones", false, "Add tombstones for missing commits")
	f.BoolVar(&o.bindings, "verify-bindings", false, "Verify ref bindings")
	f.BoolVar(&o.backRefs, "verify-back-refs", false, "Verify back-references (implies --verify-bindings)")
	cli.AddJSON(c, &o.json)
	c.RunE = withRepo(env, at, func(r *repo.Repo, _ []string) error { return fsck(env, r, o) })
	return c
}

type fsckJSON struct {
	Commits  int      `json:"commits"`
	Partial  int      `json:"partialCommits"`
	Objects  int      `json:"objects"`
	Problems []string `json:"problems"`
}

func fsck(env *cli.Env, r *repo.Repo, o fsckOptions) error {
	chatty := !o.quiet && !o.json
	line := cli.NewLine(env.Stdout)
	say := func(format string, args ...any) {
		if chatty {
			fmt.Fprintf(env.Stdout, format, args...)
		}
	}
	say("Validating refs...\nValidating refs in collections...\n")
	if o.bindings || o.backRefs {
		if err := checkBindings(r); err != nil {
			return err
		}
	}
	say("Enumerating commits...\n")
	if o.backRefs {
		if err := checkBackRefs(r); err != nil {
			return err
		}
	}
	if o.tombstones {
		if err := addTombstones(env, r); err != nil {
			return err
		}
	}
	if chatty {
		if err := sayHowMany(r, say); err != nil {
			return err
		}
	}
	opts := repo.FsckOptions{Delete: o.remove}
	if chatty {
		opts.Progress = func(done, total int) {
			line.Show(fmt.Sprintf("fsck objects (%d/%d) %d%%", done, total, 100*done/max(total, 1)))
		}
	}
	res, err := r.Fsck(env.Ctx, opts)
	line.End()
	if err != nil {
		return err
	}
	if o.json {
		if err := fsckAsJSON(env, res); err != nil {
			return err
		}
	} else {
		for _, p := range res.Problems {
			fmt.Fprintln(env.Stderr, p.Error())
		}
		for _, id := range res.Marked {
			fmt.Fprintf(env.Stderr, "Marking commit as partial: %s\n", id)
		}
	}
	if res.Partial > 0 {
		say("%d partial commits not verified\n", res.Partial)
	}
	if err := verdict(res, o); err != nil {
		return err
	}
	say("object fsck of %d commits completed successfully - no errors found.\n", res.Commits)
	return nil
}

// verdict is the error that a check ends with.
func verdict(res repo.FsckResult, o fsckOptions) error {
	for _, p := range res.Problems {
		// What neither is missing nor was to be deleted is the first that ostree stops at.
		if p.Ref != "" || !p.Missing() && !o.remove && !o.all {
			return p
		}
	}
	switch {
	case len(res.Problems) > 0:
		return cli.Fail("Repository corruption encountered")
	case res.Damaged > 0:
		return cli.Fail("%d partial commits from fsck-detected corruption", res.Damaged)
	}
	return nil
}

func fsckAsJSON(env *cli.Env, res repo.FsckResult) error {
	j := fsckJSON{Commits: res.Commits, Partial: res.Partial, Objects: res.Objects, Problems: []string{}}
	for _, p := range res.Problems {
		j.Problems = append(j.Problems, p.Error())
	}
	return cli.PrintJSON(env.Stdout, j)
}

func sayHowMany(r *repo.Repo, say func(string, ...any)) error {
	commits, err := r.ListObjects(object.KindCommit)
	if err != nil {
		return err
	}
	whole := 0
	for _, c := range commits {
		partial, err := r.IsPartial(c.ID)
		if err != nil {
			return err
		}
		if !partial {
			whole++
		}
	}
	say("Verifying content integrity of %d commit objects...\n", whole)
	return nil
}

// checkBindings compares each ref with what its commit says that it belongs to.
func checkBindings(r *repo.Repo) error {
	refs, err := r.Refs()
	if err != nil {
		return err
	}
	own, _ := r.Config().Get("core", "collection-id")
	for _, ref := range refs {
		if ref.Alias != "" {
			continue
		}
		commit, err := r.LoadCommit(ref.ID)
		if err != nil {
			return cli.Fail("Loading commit for ref %s: %w", ref, err)
		}
		collection := ref.Collection
		if ref.Remote == "" && collection == "" {
			collection = own
		}
		if err := pull.CheckBinding(commit, collection, ref.Name); err != nil {
			return cli.Fail("Commit %s: %w", ref.ID, err)
		}
	}
	return nil
}

// checkBackRefs looks whether the refs that the commits are bound to are there.
func checkBackRefs(r *repo.Repo) error {
	commits, err := r.ListObjects(object.KindCommit)
	if err != nil {
		return err
	}
	own, _ := r.Config().Get("core", "collection-id")
	for _, n := range commits {
		commit, err := r.LoadCommit(n.ID)
		if err != nil {
			continue // the check of the objects has more to say about it
		}
		v, ok := commit.Metadata.Get("ostree.ref-binding")
		if !ok {
			continue
		}
		collection := commit.Metadata.GetString("ostree.collection-binding")
		for _, name := range unwrap(v).Strv() {
			if collection == "" || collection == own {
				_, err = r.Ref("", name)
			} else {
				_, err = r.MirrorRef(collection, name)
			}
			switch {
			case err == nil:
			case !errors.Is(err, repo.ErrNotFound):
				return err
			case collection != "":
				return cli.Fail("Collection–ref (%s, %s) in bindings for commit %s does not exist", collection, name, n.ID)
			default:
				return cli.Fail("Ref ‘%s’ in bindings for commit %s does not exist", name, n.ID)
			}
		}
	}
	return nil
}

// addTombstones notes the parents that are not here as deleted, so that a pull from here does not ask for them.
func addTombstones(env *cli.Env, r *repo.Repo) error {
	commits, err := r.ListObjects(object.KindCommit)
	if err != nil {
		return err
	}
	for _, n := range commits {
		commit, err := r.LoadCommit(n.ID)
		if err != nil || commit.Parent.IsZero() {
			continue
		}
		if has, err := r.HasObject(object.Name{ID: commit.Parent, Kind: object.KindCommit}); err != nil || has {
			if err != nil {
				return err
			}
			continue
		}
		if err := r.AddTombstone(commit.Parent); err != nil {
			return err
		}
		fmt.Fprintf(env.Stdout, "Adding tombstone for commit %s\n", commit.Parent)
	}
	return nil
}
