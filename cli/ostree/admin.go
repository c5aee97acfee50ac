package ostree

import (
	"fmt"
	"strconv"

	"photree/cli"
	"photree/cli/sysroot"
	"photree/deploy"

	"github.com/spf13/cobra"
)

// newAdmin returns the verbs on a sysroot.
func newAdmin(env *cli.Env) *cobra.Command {
	c := &cobra.Command{
		Use:   "admin",
		Short: "Commands for managing a host system booted with ostree",
	}
	a := &admin{Options: sysroot.Options{Env: env}}
	c.PersistentFlags().StringVar(&a.Path, "sysroot", "", "Use the sysroot at `PATH` (default: $OSTREE_SYSROOT, else the running system's)")
	c.PersistentFlags().BoolVar(&a.printDir, "print-current-dir", false, "Print the directory of the booted deployment, or of the default one, and end")
	for _, construct := range []func(*admin) *cobra.Command{
		newAdminStatus, newAdminDeploy, newAdminUpgrade, newAdminSwitch, newAdminUndeploy, newAdminSetDefault, newAdminPin,
		newAdminCleanup, newAdminConfigDiff, newAdminSetOrigin, newAdminKargs, newAdminInitFS, newAdminStaterootInit, newAdminInstutil,
	} {
		c.AddCommand(construct(a))
	}
	// --print-current-dir works without a verb, and with any.
	c.Args = cobra.ArbitraryArgs
	c.RunE = func(c *cobra.Command, args []string) error {
		switch {
		case a.printDir:
			return a.printCurrentDir()
		case len(args) == 0:
			return cli.UsageError(c, `No "admin" subcommand specified`)
		}
		return cli.UsageError(c, fmt.Sprintf(`Unknown "admin" subcommand '%s'`, args[0]))
	}
	return c
}

// admin is what the verbs share.
type admin struct {
	sysroot.Options
	printDir bool
}

type body func(s *deploy.Sysroot, args []string) error

// reading and writing wrap the bodies of verbs.
func (a *admin) reading(run body) func(*cobra.Command, []string) error {
	return a.unlessDir(a.Reading(run))
}

func (a *admin) writing(run body) func(*cobra.Command, []string) error {
	return a.unlessDir(a.Writing(run))
}

func (a *admin) unlessDir(run func(*cobra.Command, []string) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		if a.printDir {
			return a.printCurrentDir()
		}
		return run(c, args)
	}
}

func (a *admin) printCurrentDir() error {
	return a.Reading(a.printDirOf)(nil, nil)
}

func (a *admin) printDirOf(s *deploy.Sysroot, _ []string) error {
	st, err := s.Load()
	if err != nil {
		return err
	}
	d := st.Booted()
	if d == nil {
		if len(st.Deployments) == 0 {
			return cli.Fail("Unable to find a deployment in sysroot")
		}
		d = st.Deployments[0]
	}
	fmt.Fprintln(a.Env.Stdout, s.Path(d))
	return nil
}

func notBooted() error { return cli.Fail("Not currently booted into an OSTree system") }

// printResult says what a change did, in ostree's words.
func (a *admin) printResult(r *deploy.Result) {
	if r == nil {
		return
	}
	a.PrintEtc(r)
	what := "Transaction complete"
	if r.BootSwap && r.BootloaderSet {
		what = "Bootloader updated"
	}
	a.Printf("%s; bootconfig swap: %s; bootversion: boot.%d.%d, deployment count change: %d\n",
		what, sysroot.YesNo(r.BootSwap), r.BootVersion, r.SubBootVersion, r.CountChange)
	a.printFreed(r)
}

func (a *admin) printFreed(r *deploy.Result) {
	if r.Freed > 0 {
		a.Printf("Freed objects: %s\n", cli.FormatSize(r.Freed))
	}
}

// parseIndex reads the number of a deployment.
func parseIndex(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0, cli.Fail("Invalid index: %s", s)
	}
	return n, nil
}

// stateroot returns the one that is named, else that of the booted deployment.
func stateroot(st *deploy.State, name string) (string, error) {
	if name != "" {
		return name, nil
	}
	if b := st.Booted(); b != nil {
		return b.Stateroot, nil
	}
	return "", cli.Fail("Not currently booted into an OSTree system and no --os= argument given")
}

// addOS gives a verb the options that name a stateroot.
func addOS(c *cobra.Command, to *string) {
	c.Flags().StringVar(to, "os", "", "Use the stateroot `STATEROOT` instead of the booted one")
	c.Flags().StringVar(to, "stateroot", "", "The same as --os")
}
