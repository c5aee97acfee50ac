package rpmostree

import (
	"fmt"
	"os"

	"photree/cli"
	"photree/deploy"
	"photree/host"
	"photree/internal/kargs"

	"github.com/spf13/cobra"
)

func init() {
	register(newKargs)
	register(newCleanup)
}

// kargEdits are the changes of kernel arguments that the user asks for.
type kargEdits struct {
	add, addMissing, remove, removePresent, replace []string
}

func (k *kargEdits) any() bool {
	return len(k.add)+len(k.addMissing)+len(k.remove)+len(k.removePresent)+len(k.replace) > 0
}

func (k *kargEdits) apply(l kargs.List) (_ kargs.List, err error) {
	for _, a := range k.remove {
		if l, err = l.Delete(a); err != nil {
			return nil, err
		}
	}
	for _, a := range k.removePresent {
		if l, err = l.DeleteIfPresent(a); err != nil {
			return nil, err
		}
	}
	for _, a := range k.replace {
		if l, err = l.Replace(a); err != nil {
			return nil, err
		}
	}
	for _, a := range k.add {
		l = l.Append(a)
	}
	for _, a := range k.addMissing {
		l = l.AppendIfMissing(a)
	}
	return l, nil
}

func newKargs(env *cli.Env) *cobra.Command {
	var k kargEdits
	var index int
	var fromProc bool
	c := &cobra.Command{Use: "kargs", Short: "Query or modify kernel arguments", Args: cobra.NoArgs}
	v := newHostVerb(env, c)
	v.may77(c)
	f := c.Flags()
	f.BoolVar(&v.restart, "reboot", false, "Initiate a reboot after operation is complete")
	f.StringArrayVar(&k.add, "append", nil, "Append kernel argument `KEY=VALUE`; useful with e.g. console= that can be used multiple times")
	f.StringArrayVar(&k.addMissing, "append-if-missing", nil, "Append kernel argument `KEY=VALUE` if it is not there yet")
	f.StringArrayVar(&k.replace, "replace", nil, "Replace existing kernel argument: `KEY=VALUE` or KEY=OLD=NEW")
	f.StringArrayVar(&k.remove, "delete", nil, "Delete a specific kernel argument `KEY` or KEY=VALUE")
	f.StringArrayVar(&k.removePresent, "delete-if-present", nil, "Delete kernel argument `KEY=VALUE` if it is there")
	f.IntVar(&index, "deploy-index", -1, "Modify the kernel args from a specific deployment based on `INDEX`")
	f.BoolVar(&fromProc, "import-proc-cmdline", false, "Instead of modifying old kernel arguments, modify args from current /proc/cmdline")
	edit := v.Writing(func(s *deploy.Sysroot, _ []string) error { return v.editKargs(s, k, index, fromProc) })
	show := v.Reading(func(s *deploy.Sysroot, _ []string) error {
		l, err := host.Kargs(s, index)
		if err == nil {
			fmt.Fprintln(env.Stdout, l)
		}
		return err
	})
	c.RunE = func(c *cobra.Command, args []string) error {
		if k.any() || fromProc {
			return edit(c, args)
		}
		return show(c, args)
	}
	return c
}

func (v *hostVerb) editKargs(s *deploy.Sysroot, k kargEdits, index int, fromProc bool) error {
	r, err := host.SetKargs(v.Env.Ctx, s, index, func(l kargs.List) (kargs.List, error) {
		if fromProc {
			data, err := os.ReadFile("/proc/cmdline")
			if err != nil {
				return nil, err
			}
			l = kargs.Parse(string(data)).RemoveKeys("BOOT_IMAGE", "initrd", "ostree")
		}
		return k.apply(l)
	})
	if r == nil && err == nil {
		v.Printf("No changes.\n")
		return v.unchanged()
	}
	if r != nil {
		v.printTransaction(r)
	}
	if err != nil {
		return err
	}
	v.Printf("Kernel arguments updated.\n")
	return v.finish(s, nil, nil)
}

func newCleanup(env *cli.Env) *cobra.Command {
	var base, pending, rollback, metadata bool
	c := &cobra.Command{Use: "cleanup", Short: "Clear cached/pending data", Args: cobra.NoArgs}
	v := newHostVerb(env, c)
	f := c.Flags()
	f.BoolVarP(&base, "base", "b", false, "Clear temporary files; will leave deployments unchanged")
	f.BoolVarP(&pending, "pending", "p", false, "Remove pending deployment")
	f.BoolVarP(&rollback, "rollback", "r", false, "Remove rollback deployment")
	f.BoolVarP(&metadata, "repomd", "m", false, "Delete cached rpm repo metadata (a host keeps none)")
	c.RunE = v.Writing(func(s *deploy.Sysroot, _ []string) error {
		if !base && !pending && !rollback && !metadata {
			return cli.Fail("At least one cleanup option must be specified")
		}
		return v.cleanup(s, pending, rollback)
	})
	return c
}

func (v *hostVerb) cleanup(s *deploy.Sysroot, pending, rollback bool) error {
	st, err := s.Load()
	if err != nil {
		return err
	}
	if pending || rollback {
		name := v.stateroot
		if b := st.Booted(); name == "" && b != nil {
			name = b.Stateroot
		}
		if st.Booted() == nil {
			return cli.Fail("Not currently booted into an OSTree system: remove deployments with \"ostree admin undeploy\"")
		}
		r, err := s.RemoveSome(v.Env.Ctx, deploy.Drop{Stateroot: name, Pending: pending, Rollback: rollback})
		if r != nil {
			v.printTransaction(r)
		} else if err == nil {
			v.Printf("Deployments unchanged.\n")
		}
		return err
	}
	r, err := s.Cleanup(v.Env.Ctx)
	if err == nil && r.Freed > 0 {
		v.Printf("Freed: %s (pkgcache branches: 0)\n", cli.FormatSize(r.Freed))
	}
	return err
}
