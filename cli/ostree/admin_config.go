package ostree

import (
	"fmt"
	"os"
	"strings"

	"photree/cli"
	"photree/deploy"
	"photree/internal/kargs"
	"photree/repo"

	"github.com/spf13/cobra"
)

func newAdminPin(a *admin) *cobra.Command {
	var unpin bool
	c := &cobra.Command{Use: "pin INDEX...", Short: `Change the "pinning" state of a deployment`,
		Long: "INDEX is a number, booted, pending or rollback.", Args: need(1, -1, "At least one DEPLOYMENT must be specified")}
	c.Flags().BoolVarP(&unpin, "unpin", "u", false, "Unset pin")
	c.RunE = a.writing(func(s *deploy.Sysroot, args []string) error {
		for _, arg := range args {
			i, err := a.indexByName(s, arg)
			if err != nil {
				return err
			}
			changed, err := s.Pin(a.Env.Ctx, i, !unpin)
			if err != nil {
				return err
			}
			state, form := "pinned", "Deployment %s is already %s\n"
			if unpin {
				state = "unpinned"
			}
			if changed {
				form = "Deployment %s is now %s\n"
			}
			fmt.Fprintf(a.Env.Stdout, form, arg, state)
		}
		return nil
	})
	return c
}

// indexByName reads a number or one of the names that stand for one.
func (a *admin) indexByName(s *deploy.Sysroot, arg string) (int, error) {
	st, err := s.Load()
	if err != nil {
		return 0, err
	}
	b := st.Booted()
	var d *deploy.Deployment
	switch {
	case arg == "booted":
		d = b
	case arg == "pending" && b != nil:
		d = st.Pending(b.Stateroot)
	case arg == "rollback" && b != nil:
		d = st.Rollback(b.Stateroot)
	case arg != "pending" && arg != "rollback":
		return parseIndex(arg)
	}
	if d == nil {
		return 0, fmt.Errorf("there is no %s deployment", arg)
	}
	return d.Index, nil
}

func newAdminConfigDiff(a *admin) *cobra.Command {
	var name string
	c := &cobra.Command{Use: "config-diff", Short: "Diff current /etc configuration versus default", Args: need(0, 0, "")}
	addOS(c, &name)
	c.RunE = a.reading(func(s *deploy.Sysroot, _ []string) error {
		st, err := s.Load()
		if err != nil {
			return err
		}
		if name, err = stateroot(st, name); err != nil {
			return err
		}
		d := st.Merge(name)
		if d == nil {
			return cli.Fail("No deployment for OS '%s'", name)
		}
		changes, err := s.ConfigDiff(a.Env.Ctx, d)
		if err != nil {
			return err
		}
		for _, ch := range changes {
			fmt.Fprintf(a.Env.Stdout, "%c    %s\n", ch.Op, ch.Path)
		}
		return nil
	})
	return c
}

func newAdminSetOrigin(a *admin) *cobra.Command {
	var index int
	var sets []string
	c := &cobra.Command{Use: "set-origin REMOTENAME URL [BRANCH]", Short: "Set Origin and create a new origin file",
		Args: need(2, 3, "Not enough arguments")}
	c.Flags().IntVar(&index, "index", -1, "Operate on the deployment `INDEX`, starting from zero")
	c.Flags().StringArrayVarP(&sets, "set", "s", nil, "Set config option `KEY=VALUE` for remote")
	c.RunE = a.writing(func(s *deploy.Sysroot, args []string) error {
		st, err := s.Load()
		if err != nil {
			return err
		}
		if index < 0 {
			if b := st.Booted(); b != nil {
				index = b.Index
			} else if index = 0; len(st.Deployments) == 0 {
				return cli.Fail("No deployments.")
			}
		}
		if index >= len(st.Deployments) {
			return &deploy.IndexError{Index: index, Count: len(st.Deployments)}
		}
		branch := branchOf(st.Deployments[index])
		if len(args) == 3 {
			branch = args[2]
		}
		if branch == "" {
			return cli.Fail("No branch: the deployment follows none and none is given")
		}
		if err := addOriginRemote(s.Repo(), args[0], args[1], sets); err != nil {
			return err
		}
		return s.SetOrigin(a.Env.Ctx, index, args[0]+":"+branch)
	})
	return c
}

// branchOf is the part of a refspec behind the remote.
func branchOf(d *deploy.Deployment) string {
	spec := d.Refspec()
	if _, ref, ok := strings.Cut(spec, ":"); ok {
		return ref
	}
	return spec
}

func addOriginRemote(r *repo.Repo, name, url string, sets []string) error {
	rem := repo.Remote{Name: name, Options: []repo.Option{{Key: "url", Value: url}}}
	for _, kv := range sets {
		key, value, ok := strings.Cut(kv, "=")
		if !ok {
			return cli.Fail("Missing '=' in KEY=VALUE for --set")
		}
		rem.Options = append(rem.Options, repo.Option{Key: key, Value: value})
	}
	return r.AddRemote(rem, true)
}

func newAdminKargs(a *admin) *cobra.Command {
	group := &cobra.Command{Use: "kargs", Short: "Change kernel arguments"}
	var add, addMissing, set, remove []string
	c := &cobra.Command{Use: "edit-in-place", Short: "Set new kernel command line arguments in place (applies to all deployments by default)",
		Args: cobra.ArbitraryArgs}
	c.Flags().StringArrayVar(&add, "append", nil, "Append kernel argument `NAME=VALUE`")
	c.Flags().StringArrayVar(&addMissing, "append-if-missing", nil, "Append kernel argument `NAME=VALUE` if it is not present")
	c.Flags().StringArrayVar(&set, "replace", nil, "Set kernel argument `NAME=VALUE`, replacing others of that name")
	c.Flags().StringArrayVar(&remove, "delete", nil, "Delete kernel argument `NAME=VALUE` or NAME")
	c.RunE = a.writing(func(s *deploy.Sysroot, _ []string) error {
		r, err := s.EditKargs(a.Env.Ctx, func(l kargs.List) (_ kargs.List, err error) {
			for _, arg := range set {
				l = l.Set(arg)
			}
			for _, arg := range add {
				l = l.Append(arg)
			}
			for _, arg := range addMissing {
				l = l.AppendIfMissing(arg)
			}
			for _, arg := range remove {
				if l, err = l.Delete(arg); err != nil {
					return nil, err
				}
			}
			return l, nil
		})
		a.printResult(r)
		return err
	})
	group.AddCommand(c)
	return group
}

// newAdminInstutil holds the verbs that installers call.
func newAdminInstutil(a *admin) *cobra.Command {
	group := &cobra.Command{Use: "instutil", Short: "Provide instutil commands for installers", Hidden: true}
	var set, add []string
	var fromProc, merge bool
	c := &cobra.Command{Use: "set-kargs [ARG...]", Short: "Set new kernel command line arguments (not stable)"}
	c.Flags().BoolVar(&fromProc, "import-proc-cmdline", false, "Import current /proc/cmdline")
	c.Flags().BoolVar(&merge, "merge", false, "Merge with previous command line")
	c.Flags().StringArrayVar(&set, "replace", nil, "Set kernel argument `NAME=VALUE`, replacing others of that name")
	c.Flags().StringArrayVar(&add, "append", nil, "Append kernel argument `NAME=VALUE`")
	c.RunE = a.writing(func(s *deploy.Sysroot, args []string) error {
		st, err := s.Load()
		if err != nil {
			return err
		}
		if len(st.Deployments) == 0 {
			return cli.Fail("Unable to find a deployment in sysroot")
		}
		l := kargs.List{}
		if merge {
			l = st.Deployments[0].Kargs
		}
		if fromProc {
			data, err := os.ReadFile("/proc/cmdline")
			if err != nil {
				return err
			}
			l = l.Append(kargs.Parse(string(data)).RemoveKeys("BOOT_IMAGE", "initrd", "ostree").String())
		}
		for _, arg := range set {
			l = l.Set(arg)
		}
		for _, arg := range append(add, args...) {
			l = l.Append(arg)
		}
		r, err := s.SetKargs(a.Env.Ctx, 0, l)
		a.printResult(r)
		return err
	})
	group.AddCommand(c)
	return group
}
