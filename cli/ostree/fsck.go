package ostree

import (
	"fmt"

	"photree/cli"
	"photree/repo"

	"github.com/spf13/cobra"
)

func init() { register(newFsck) }

type fsckOptions struct{ quiet, all, remove, bindings, backRefs, json bool }

func newFsck(env *cli.Env) *cobra.Command {
	var o fsckOptions
	c := &cobra.Command{Use: "fsck", Short: "Check the repository for consistency", Args: need(0, 0, "")}
	at := addRepo(c)
	f := c.Flags()
	f.BoolVarP(&o.quiet, "quiet", "q", false, "Only print error messages")
	f.BoolVarP(&o.all, "all", "a", false, "Don't stop on first error")
	f.BoolVar(&o.remove, "delete", false, "Remove corrupted objects")
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
	say("Validating refs...\n")
	if o.bindings || o.backRefs {
		if err := checkBindings(r, o.backRefs); err != nil {
			return err
		}
	}
	say("Enumerating commits...\n")
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
		j := fsckJSON{Commits: res.Commits, Partial: res.Partial, Objects: res.Objects, Problems: []string{}}
		for _, p := range res.Problems {
			j.Problems = append(j.Problems, p.Error())
		}
		if err := cli.PrintJSON(env.Stdout, j); err != nil {
			return err
		}
	} else {
		for _, p := range res.Problems {
			fmt.Fprintln(env.Stderr, p.Error())
		}
	}
	if res.Partial > 0 {
		say("%d partial commits not verified\n", res.Partial)
	}
	if len(res.Problems) > 0 {
		return cli.Fail("Repository corruption encountered")
	}
	say("object fsck of %d commits completed successfully - no errors found.\n", res.Commits)
	return nil
}

// checkBindings compares each ref with what its commit says that it belongs to and, with back, each commit with the refs
// that it names.
func checkBindings(r *repo.Repo, back bool) error {
	refs, err := r.Refs()
	if err != nil {
		return err
	}
	for _, ref := range refs {
		if ref.Alias != "" {
			continue
		}
		commit, err := r.LoadCommit(ref.ID)
		if err != nil {
			return cli.Fail("Loading commit for ref %s: %w", ref, err)
		}
		v, ok := commit.Metadata.Get("ostree.ref-binding")
		if !ok {
			continue
		}
		bound := unwrap(v).Strv()
		found := false
		for _, name := range bound {
			found = found || name == ref.Name
			if _, err := r.ResolveRev(name); back && err != nil {
				return cli.Fail("Commit %s is bound to ref %s, which is not here: %w", ref.ID, name, err)
			}
		}
		if !found {
			return cli.Fail("Commit %s: Commit has no requested ref ‘%s’ in ref binding metadata (%q)", ref.ID, ref.Name, bound)
		}
	}
	return nil
}
