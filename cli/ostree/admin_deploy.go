package ostree

import (
	"errors"
	"fmt"
	"os"

	"photree/cli"
	"photree/deploy"
	"photree/host"
	"photree/internal/kargs"
	"photree/internal/keyfile"

	"github.com/spf13/cobra"
)

// kargOptions are how a verb changes kernel arguments.
type kargOptions struct {
	set, add, remove []string
	none, fromProc   bool
}

func (k *kargOptions) register(c *cobra.Command) {
	f := c.Flags()
	f.StringArrayVar(&k.set, "karg", nil, "Set kernel argument, like root=/dev/sda1; this overrides any earlier argument with the same name: `NAME=VALUE`")
	f.StringArrayVar(&k.add, "karg-append", nil, "Append kernel argument; useful with e.g. console= that can be used multiple times: `NAME=VALUE`")
	f.StringArrayVar(&k.remove, "karg-delete", nil, "Delete kernel argument `NAME=VALUE` or NAME")
	f.BoolVar(&k.none, "karg-none", false, "Do not import kernel arguments")
	f.BoolVar(&k.fromProc, "karg-proc-cmdline", false, "Import current /proc/cmdline")
}

func (k *kargOptions) check() error {
	switch {
	case k.none && k.fromProc:
		return cli.Fail("Can't specify both --karg-proc-cmdline and --karg-none")
	case k.none && len(k.remove) > 0:
		return cli.Fail("Can't specify both --karg-none and --karg-delete")
	}
	return nil
}

// apply edits the arguments of the merge deployment.
func (k *kargOptions) apply(from kargs.List) (kargs.List, error) {
	l := from
	switch {
	case k.none:
		l = nil
	case k.fromProc:
		data, err := os.ReadFile("/proc/cmdline")
		if err != nil {
			return nil, err
		}
		// These are the boot loader's, not the system's.
		l = kargs.Parse(string(data)).RemoveKeys("BOOT_IMAGE", "initrd", "ostree")
	}
	for _, a := range k.remove {
		var err error
		if l, err = l.Delete(a); err != nil {
			return nil, err
		}
	}
	for _, a := range k.set {
		l = l.Set(a)
	}
	for _, a := range k.add {
		l = l.Append(a)
	}
	if l == nil {
		l = kargs.List{}
	}
	return l, nil
}

func newAdminDeploy(a *admin) *cobra.Command {
	var o deploy.DeployOptions
	var k kargOptions
	var originFile string
	var stage, lock bool
	c := &cobra.Command{Use: "deploy REFSPEC", Short: "Checkout revision REFSPEC as the new default deployment", Args: need(1, 1, "REF must be specified")}
	addOS(c, &o.Stateroot)
	f := c.Flags()
	f.StringVar(&originFile, "origin-file", "", "Specify origin file `FILENAME`")
	f.BoolVar(&o.NoPrune, "no-prune", false, "Don't prune the repo when done")
	f.BoolVar(&o.NoMerge, "no-merge", false, "Do not apply configuration (/etc and kernel arguments) from booted deployment")
	f.BoolVar(&o.Retain, "retain", false, "Do not delete previous deployments")
	f.BoolVar(&o.RetainPending, "retain-pending", false, "Do not delete pending deployments")
	f.BoolVar(&o.RetainRollback, "retain-rollback", false, "Do not delete rollback deployments")
	f.BoolVar(&o.NotAsDefault, "not-as-default", false, "Append rather than prepend new deployment")
	f.BoolVar(&stage, "stage", false, "Not offered: a deployment is complete when the command ends")
	f.BoolVar(&lock, "lock-finalization", false, "Not offered, as --stage")
	k.register(c)
	c.RunE = a.writing(func(s *deploy.Sysroot, args []string) error {
		if stage || lock {
			if d, err := s.Booted(); err == nil && d == nil {
				return cli.Fail("Cannot stage deployment: Not currently booted into an OSTree system")
			}
			return errors.New("deployments cannot be staged for shutdown: leave --stage and --lock-finalization out")
		}
		if o.NoMerge && len(k.remove) > 0 {
			return cli.Fail("Can't specify both --no-merge and --karg-delete")
		}
		if err := k.check(); err != nil {
			return err
		}
		return a.deploy(s, o, k, originFile, args[0])
	})
	return c
}

func (a *admin) deploy(s *deploy.Sysroot, o deploy.DeployOptions, k kargOptions, originFile, spec string) error {
	st, err := s.Load()
	if err != nil {
		return err
	}
	if o.Stateroot, err = stateroot(st, o.Stateroot); err != nil {
		return err
	}
	if o.Commit, err = s.Repo().ResolveRev(spec); err != nil {
		return err
	}
	o.Origin = deploy.NewOrigin(spec)
	if originFile != "" {
		data, err := os.ReadFile(originFile)
		if err != nil {
			return err
		}
		if o.Origin, err = keyfile.Parse(data); err != nil {
			return fmt.Errorf("reading %s: %w", originFile, err)
		}
	}
	var from kargs.List
	if o.Merge = st.Merge(o.Stateroot); o.Merge != nil && !o.NoMerge {
		from = o.Merge.Kargs
	}
	if o.Kargs, err = k.apply(from); err != nil {
		return err
	}
	r, err := s.Deploy(a.Env.Ctx, o)
	a.printResult(r)
	return err
}

func newAdminUndeploy(a *admin) *cobra.Command {
	c := &cobra.Command{Use: "undeploy INDEX", Short: "Delete deployment INDEX", Args: need(1, 1, "INDEX must be specified")}
	c.RunE = a.writing(func(s *deploy.Sysroot, args []string) error {
		i, err := parseIndex(args[0])
		if err != nil {
			return err
		}
		r, err := s.Undeploy(a.Env.Ctx, i)
		a.printResult(r)
		if err != nil {
			return err
		}
		for _, d := range r.Removed {
			fmt.Fprintf(a.Env.Stdout, "Deleted deployment %s\n", d.Name())
		}
		return nil
	})
	return c
}

func newAdminSetDefault(a *admin) *cobra.Command {
	c := &cobra.Command{Use: "set-default INDEX", Short: "Make deployment INDEX the default for the next boot", Args: need(1, 1, "INDEX must be specified")}
	c.RunE = a.writing(func(s *deploy.Sysroot, args []string) error {
		i, err := parseIndex(args[0])
		if err != nil {
			return err
		}
		r, err := s.SetDefault(a.Env.Ctx, i)
		a.printResult(r)
		return err
	})
	return c
}

func newAdminCleanup(a *admin) *cobra.Command {
	c := &cobra.Command{Use: "cleanup", Short: "Delete untagged deployments and repository objects", Args: need(0, 0, "")}
	c.RunE = a.writing(func(s *deploy.Sysroot, _ []string) error {
		r, err := s.Cleanup(a.Env.Ctx)
		if err != nil {
			return err
		}
		a.printFreed(r)
		return nil
	})
	return c
}

func newAdminInitFS(a *admin) *cobra.Command {
	var o deploy.InitFSOptions
	var epoch int
	c := &cobra.Command{Use: "init-fs PATH", Short: "Initialize a root filesystem", Args: need(1, 1, "PATH must be specified")}
	c.Flags().BoolVar(&o.Modern, "modern", false, "Equivalent to --epoch=1")
	c.Flags().IntVarP(&epoch, "epoch", "E", 0, "`EPOCH`: 0 for directories of the running system at the top level, 1 or more for only boot and ostree")
	c.RunE = func(_ *cobra.Command, args []string) error {
		o.Modern = o.Modern || epoch > 0
		return deploy.InitFS(args[0], o)
	}
	return c
}

func newAdminStaterootInit(a *admin) *cobra.Command {
	c := &cobra.Command{Use: "stateroot-init STATEROOT", Aliases: []string{"os-init"}, Short: "Initialize empty state for given operating system",
		Args: need(1, 1, "OSNAME must be specified")}
	c.RunE = a.writing(func(s *deploy.Sysroot, args []string) error {
		if err := s.InitStateroot(a.Env.Ctx, args[0]); err != nil {
			return err
		}
		fmt.Fprintf(a.Env.Stdout, "ostree/deploy/%s initialized as OSTree root\n", args[0])
		return nil
	})
	return c
}

func newAdminUpgrade(a *admin) *cobra.Command {
	var o host.UpdateOptions
	var restart, kexec, stage bool
	c := &cobra.Command{Use: "upgrade", Short: "Construct new tree from current origin and deploy it, if it changed", Args: need(0, 0, "")}
	addOS(c, &o.Stateroot)
	f := c.Flags()
	f.BoolVarP(&restart, "reboot", "r", false, "Reboot after a successful upgrade")
	f.BoolVarP(&kexec, "kexec", "k", false, "Not offered")
	f.BoolVar(&o.AllowDowngrade, "allow-downgrade", false, "Permit deployment of chronologically older trees")
	f.StringVar(&o.Target, "override-commit", "", "Deploy `CHECKSUM` instead of the latest tree")
	f.BoolVar(&o.PullOnly, "pull-only", false, "Do not create a deployment, just download")
	f.BoolVar(&o.DeployOnly, "deploy-only", false, "Do not pull, only deploy")
	f.BoolVar(&stage, "stage", false, "Not offered: a deployment is complete when the command ends")
	c.RunE = a.writing(func(s *deploy.Sysroot, _ []string) error {
		switch {
		case o.PullOnly && o.DeployOnly:
			return cli.Fail("Cannot simultaneously specify --pull-only and --deploy-only")
		case kexec || stage:
			return errors.New("--kexec and --stage are not offered: leave them out and reboot")
		}
		return a.update(s, o, restart)
	})
	return c
}

func newAdminSwitch(a *admin) *cobra.Command {
	var o host.UpdateOptions
	var restart bool
	c := &cobra.Command{Use: "switch REFSPEC", Short: "Construct new tree from REFSPEC and deploy it", Args: need(1, 1, "REFSPEC must be specified")}
	addOS(c, &o.Stateroot)
	c.Flags().BoolVarP(&restart, "reboot", "r", false, "Reboot after switching trees")
	c.RunE = a.writing(func(s *deploy.Sysroot, args []string) (err error) {
		if o.Refspec, err = switchTarget(s, o.Stateroot, args[0]); err != nil {
			return err
		}
		o.AllowDowngrade, o.KeepOldRef, o.EvenIfSame = true, false, true
		return a.update(s, o, restart)
	})
	return c
}

// switchTarget reads what to switch to: REMOTE:BRANCH, REMOTE: for the same branch
// of another remote, or a branch of the same remote.
func switchTarget(s *deploy.Sysroot, name, arg string) (host.Refspec, error) {
	st, err := s.Load()
	if err != nil {
		return host.Refspec{}, err
	}
	return host.RebaseTarget(st, name, arg)
}

func (a *admin) update(s *deploy.Sysroot, o host.UpdateOptions, restart bool) error {
	line := a.NewDownload()
	o.Progress = line.Show
	u, err := host.Upgrade(a.Env.Ctx, s, o)
	if u == nil {
		line.End(nil)
		return err
	}
	line.End(u.Fetched)
	a.printResult(u.Deployed)
	switch {
	case err != nil:
		return err
	case u.Deployed == nil && (!o.PullOnly || !u.Changed):
		fmt.Fprintln(a.Env.Stdout, "No update available.")
	case restart && u.Deployed != nil:
		return a.Reboot()
	}
	return nil
}
