package rpmostree

import (
	"fmt"

	"photree/cli"
	"photree/cli/sysroot"
	"photree/compose/rpm"
	"photree/compose/rpmdb"
	"photree/deploy"
	"photree/host"

	"github.com/spf13/cobra"
)

// hostVerb is what the verbs on a host share.
type hostVerb struct {
	sysroot.Options
	stateroot string
	restart   bool
	same77    bool
}

// newHostVerb makes a verb with the options that all of them have.
func newHostVerb(env *cli.Env, c *cobra.Command) *hostVerb {
	v := &hostVerb{Options: sysroot.Options{Env: env}}
	f := c.Flags()
	f.StringVar(&v.Path, "sysroot", "", "Use system root `SYSROOT` (default: /)")
	f.StringVar(&v.stateroot, "os", "", "Operate on provided `STATEROOT`")
	f.StringVar(&v.stateroot, "stateroot", "", "The same as --os")
	f.BoolVarP(&v.Quiet, "quiet", "q", false, "Avoid printing most informational messages")
	f.Bool("peer", false, "Ignored: there is no daemon to talk to")
	f.Lookup("peer").Hidden = true
	return v
}

// mayReboot adds --reboot.
func (v *hostVerb) mayReboot(c *cobra.Command) {
	c.Flags().BoolVarP(&v.restart, "reboot", "r", false, "Initiate a reboot after operation is complete")
}

// may77 adds --unchanged-exit-77.
func (v *hostVerb) may77(c *cobra.Command) {
	c.Flags().BoolVar(&v.same77, "unchanged-exit-77", false, "If no new deployment was made, exit 77")
}

// unchanged ends a verb that had nothing to do.
func (v *hostVerb) unchanged() error {
	if v.same77 {
		return &cli.ExitError{Code: 77}
	}
	return nil
}

// printTransaction says what a change of the deployments did.
func (v *hostVerb) printTransaction(r *deploy.Result) {
	v.PrintEtc(r)
	v.Printf("Transaction complete; bootconfig swap: %s; deployment count change: %d\n", sysroot.YesNo(r.BootSwap), r.CountChange)
	if r.Freed > 0 {
		v.Printf("Freed: %s (pkgcache branches: 0)\n", cli.FormatSize(r.Freed))
	}
}

// finish prints how the packages of a new default differ from those of the
// running system, and reboots where that is wanted.
func (v *hostVerb) finish(s *deploy.Sysroot, from, to *deploy.Deployment) error {
	if err := v.printPackages(s, from, to); err != nil {
		return err
	}
	if v.restart {
		return v.Reboot()
	}
	v.Printf("Run \"systemctl reboot\" to start a reboot\n")
	return nil
}

func (v *hostVerb) printPackages(s *deploy.Sysroot, from, to *deploy.Deployment) error {
	if v.Quiet || from == nil || to == nil || from.Commit == to.Commit {
		return nil
	}
	d, err := host.Compare(v.Env.Ctx, s.Repo(), from.Commit, to.Commit)
	if err != nil {
		// The change is done; a tree without packages is no mistake of this verb.
		v.Printf("(no package list: %v)\n", err)
		return nil
	}
	printBlocks(v.Env, d, "")
	return nil
}

// runningOr returns the booted deployment, else the given one.
func runningOr(st *deploy.State, other *deploy.Deployment) *deploy.Deployment {
	if b := st.Booted(); b != nil {
		return b
	}
	return other
}

// printBlocks prints a comparison of packages in sections.
func printBlocks(env *cli.Env, d rpmdb.Difference, indent string) {
	changed := func(title string, list []rpmdb.Change) {
		if len(list) > 0 {
			fmt.Fprintf(env.Stdout, "%s%s:\n", indent, title)
		}
		for _, c := range list {
			fmt.Fprintf(env.Stdout, "%s  %s %s -> %s\n", indent, c.New.Name, c.Old.EVR, c.New.EVR)
		}
	}
	single := func(title string, list []rpm.NEVRA) {
		if len(list) > 0 {
			fmt.Fprintf(env.Stdout, "%s%s:\n", indent, title)
		}
		for _, p := range list {
			fmt.Fprintf(env.Stdout, "%s  %s\n", indent, p)
		}
	}
	changed("Upgraded", d.Upgraded)
	changed("Downgraded", d.Downgraded)
	single("Removed", d.Removed)
	single("Added", d.Added)
}

// printLines prints a comparison one package a line: "!" is what was, "=" what it
// is now, "-" removed, "+" added.
func printLines(env *cli.Env, d rpmdb.Difference) {
	for _, l := range diffLines(d) {
		fmt.Fprintln(env.Stdout, l)
	}
}

// summary counts a comparison: "1 upgraded, 2 added".
func summary(d rpmdb.Difference) string {
	text := ""
	for _, p := range []struct {
		n    int
		what string
	}{{len(d.Upgraded), "upgraded"}, {len(d.Downgraded), "downgraded"}, {len(d.Removed), "removed"}, {len(d.Added), "added"}} {
		if p.n > 0 {
			if text != "" {
				text += ", "
			}
			text += fmt.Sprintf("%d %s", p.n, p.what)
		}
	}
	return text
}
