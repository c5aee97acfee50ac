package rpmostree

import (
	"fmt"

	"photree/cli"
	"photree/deploy"
	"photree/host"

	"github.com/spf13/cobra"
)

func init() {
	register(newUpgrade)
	register(newRebase)
	register(newDeploy)
	register(newRollback)
}

// updateVerb is what upgrade, rebase and deploy share.
type updateVerb struct {
	*hostVerb
	o                                 host.UpdateOptions
	check, preview, checkDiff, cached bool
	download                          bool
}

func newUpdateVerb(env *cli.Env, c *cobra.Command) *updateVerb {
	v := &updateVerb{hostVerb: newHostVerb(env, c)}
	v.mayReboot(c)
	f := c.Flags()
	f.BoolVarP(&v.cached, "cache-only", "C", false, "Do not download latest ostree data: deploy what was downloaded")
	f.BoolVar(&v.download, "download-only", false, "Just download latest ostree data, don't deploy")
	f.Bool("bypass-driver", false, "Ignored: there is no update driver")
	f.Bool("lock-finalization", false, "Not offered: a deployment is complete when the command ends")
	return v
}

func newUpgrade(env *cli.Env) *cobra.Command {
	c := &cobra.Command{Use: "upgrade", Aliases: []string{"update"}, Short: "Perform a system upgrade", Args: cobra.NoArgs}
	v := newUpdateVerb(env, c)
	v.may77(c)
	f := c.Flags()
	f.BoolVar(&v.o.AllowDowngrade, "allow-downgrade", false, "Permit deployment of chronologically older trees")
	f.BoolVar(&v.check, "check", false, "Just check if an upgrade is available")
	f.BoolVar(&v.preview, "preview", false, "Just preview package differences")
	f.BoolVar(&v.checkDiff, "check-diff", false, "Just preview package differences, one package a line")
	c.RunE = v.Writing(func(s *deploy.Sysroot, _ []string) error {
		v.Printf("Updating from: %s\n\n", v.following(s))
		return v.run(c, s, "No upgrade available.")
	})
	return c
}

// following is the branch of the current deployment, for the first line of output.
func (v *updateVerb) following(s *deploy.Sysroot) string {
	st, err := s.Load()
	if err != nil {
		return ""
	}
	if spec, err := host.Following(st, v.stateroot); err == nil {
		return spec.String()
	}
	return "(no branch)"
}

func newRebase(env *cli.Env) *cobra.Command {
	var branch, remote string
	var noDowngrade bool
	c := &cobra.Command{Use: "rebase [REFSPEC [REVISION]]", Short: "Switch to a different tree", Args: cobra.MaximumNArgs(2),
		Long: "REFSPEC is REMOTE:BRANCH, REMOTE: for the same branch of another remote, or BRANCH of the same remote."}
	v := newUpdateVerb(env, c)
	f := c.Flags()
	f.StringVarP(&branch, "branch", "b", "", "Rebase to branch `BRANCH`; use --remote to change remote as well")
	f.StringVarP(&remote, "remote", "m", "", "Rebase to current branch name using `REMOTE`; may also be combined with --branch")
	f.BoolVar(&v.o.KeepOldRef, "skip-purge", false, "Keep previous refspec after rebase")
	f.BoolVar(&noDowngrade, "disallow-downgrade", false, "Forbid deployment of chronologically older trees")
	f.Bool("experimental", false, "Ignored")
	c.RunE = v.Writing(func(s *deploy.Sysroot, args []string) error {
		target, err := rebaseArgument(args, branch, remote)
		if err != nil {
			return err
		}
		st, err := s.Load()
		if err != nil {
			return err
		}
		if v.o.Refspec, err = host.RebaseTarget(st, v.stateroot, target); err != nil {
			return err
		}
		if len(args) == 2 {
			v.o.Target = args[1]
		}
		v.o.AllowDowngrade = !noDowngrade
		v.Printf("Rebasing to %s\n", v.o.Refspec)
		return v.run(c, s, "")
	})
	return c
}

func rebaseArgument(args []string, branch, remote string) (string, error) {
	switch {
	case len(args) > 0 && (branch != "" || remote != ""):
		return "", cli.Fail("Can't use --branch or --remote with a REFSPEC")
	case len(args) > 0:
		return args[0], nil
	case remote != "":
		return remote + ":" + branch, nil
	case branch != "":
		return branch, nil
	}
	return "", cli.Fail("Must specify refspec, or -b branch or -m remote")
}

func newDeploy(env *cli.Env) *cobra.Command {
	var noDowngrade bool
	c := &cobra.Command{Use: "deploy REVISION", Short: "Deploy a specific commit", Args: cobra.ExactArgs(1),
		Long: "REVISION is a version of the current branch or the checksum of a commit; version=V and revision=CHECKSUM say which."}
	v := newUpdateVerb(env, c)
	v.may77(c)
	f := c.Flags()
	f.BoolVar(&v.preview, "preview", false, "Just preview package differences")
	f.BoolVar(&noDowngrade, "disallow-downgrade", false, "Forbid deployment of chronologically older trees")
	f.Bool("skip-branch-check", false, "Ignored: the commit need not be on the branch")
	c.RunE = v.Writing(func(s *deploy.Sysroot, args []string) error {
		v.o.Target = host.Target(args[0])
		v.o.AllowDowngrade = !noDowngrade
		return v.run(c, s, "")
	})
	return c
}

// run does the update and tells about it. nothing is what to say if there is
// none.
func (v *updateVerb) run(c *cobra.Command, s *deploy.Sysroot, nothing string) error {
	if f := c.Flags().Lookup("lock-finalization"); f.Changed {
		return fmt.Errorf("deployments cannot be locked: leave --lock-finalization out")
	}
	st, err := s.Load()
	if err != nil {
		return err
	}
	look := v.check || v.preview || v.checkDiff
	v.o.Stateroot, v.o.MetadataOnly, v.o.PullOnly, v.o.DeployOnly = v.stateroot, look, v.download, v.cached
	line := v.NewDownload()
	v.o.Progress = line.Show
	v.o.Found = func(u host.Update) {
		line.End(u.Fetched)
	}
	u, err := host.Upgrade(v.Env.Ctx, s, v.o)
	if u == nil {
		line.End(nil)
		return err
	}
	if u.Deployed != nil {
		v.printTransaction(u.Deployed)
	}
	if u.DeletedRef != "" {
		v.Printf("Deleting ref '%s'\n", u.DeletedRef)
	}
	switch {
	case err != nil:
		return err
	case look:
		return v.look(s, u)
	case v.download && u.Changed:
		v.Printf("Update downloaded.\n")
		return nil
	case u.Deployed == nil:
		if nothing == "" {
			nothing = "No change."
		}
		v.Printf("%s\n", nothing)
		return v.unchanged()
	}
	return v.finish(s, runningOr(st, u.Current), u.Deployed.Deployment)
}

// look prints what an upgrade would bring.
func (v *updateVerb) look(s *deploy.Sysroot, u *host.Update) error {
	if !u.Changed {
		v.Printf("No updates available.\n")
		if v.check || v.same77 {
			return &cli.ExitError{Code: 77}
		}
		return nil
	}
	d, err := host.Compare(v.Env.Ctx, s.Repo(), u.Current.Commit, u.Commit)
	if err != nil {
		return err
	}
	if v.checkDiff {
		printLines(v.Env, d)
		return nil
	}
	fmt.Fprintln(v.Env.Stdout, "AvailableUpdate:")
	p := &statusVerb{hostVerb: v.hostVerb}
	if u.Version != "" {
		p.field("Version", fmt.Sprintf("%s (%s)", u.Version, stamp(u.Time)))
	} else {
		p.field("Timestamp", stamp(u.Time))
	}
	p.field("Commit", u.Commit.String())
	if !d.IsEmpty() {
		p.field("Diff", summary(d))
	}
	if v.preview {
		printBlocks(v.Env, d, "")
	}
	return nil
}

func newRollback(env *cli.Env) *cobra.Command {
	c := &cobra.Command{Use: "rollback", Short: "Revert to the previously booted tree", Args: cobra.NoArgs}
	v := newHostVerb(env, c)
	v.mayReboot(c)
	c.RunE = v.Writing(func(s *deploy.Sysroot, _ []string) error {
		st, err := s.Load()
		if err != nil {
			return err
		}
		r, err := s.Rollback(env.Ctx)
		if r == nil {
			return err
		}
		v.Printf("Moving '%s' to be first deployment\n", r.Deployment.Name())
		v.printTransaction(r)
		if err != nil {
			return err
		}
		return v.finish(s, runningOr(st, st.Deployments[0]), r.Deployment)
	})
	return c
}
