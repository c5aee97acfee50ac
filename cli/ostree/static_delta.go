package ostree

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"

	"photree/cli"
	"photree/internal/gvariant"
	"photree/repo"
	"photree/repo/delta"
	"photree/repo/object"
	"photree/repo/sign"

	"github.com/spf13/cobra"
)

func init() { register(newStaticDelta) }

func newStaticDelta(env *cli.Env) *cobra.Command {
	c := &cobra.Command{Use: "static-delta COMMAND", Short: "Static delta related commands"}
	c.AddCommand(newDeltaList(env), newDeltaShow(env), newDeltaDelete(env), newDeltaGenerate(env), newDeltaApply(env),
		newDeltaVerify(env), newDeltaIndexes(env), newDeltaReindex(env))
	c.RunE = func(c *cobra.Command, args []string) error {
		if len(args) > 0 {
			return cli.UsageError(c, fmt.Sprintf("Unknown command '%s'", args[0]))
		}
		return cli.UsageError(c, "No command specified")
	}
	return c
}

func newDeltaList(env *cli.Env) *cobra.Command {
	var json bool
	c := &cobra.Command{Use: "list", Short: "List static delta files", Args: cobra.ArbitraryArgs}
	at := addRepo(c)
	cli.AddJSON(c, &json)
	c.RunE = withRepo(env, at, func(r *repo.Repo, _ []string) error {
		deltas, err := r.Deltas()
		if err != nil {
			return err
		}
		names := make([]string, len(deltas))
		for i, d := range deltas {
			names[i] = d.Name()
		}
		return printNames(env, names, "(No static deltas)", json)
	})
	return c
}

func newDeltaIndexes(env *cli.Env) *cobra.Command {
	var json bool
	c := &cobra.Command{Use: "indexes", Short: "List static delta indexes", Args: cobra.ArbitraryArgs}
	at := addRepo(c)
	cli.AddJSON(c, &json)
	c.RunE = withRepo(env, at, func(r *repo.Repo, _ []string) error {
		ids, err := r.DeltaIndexes()
		if err != nil {
			return err
		}
		names := make([]string, len(ids))
		for i, id := range ids {
			names[i] = id.String()
		}
		return printNames(env, names, "(No static deltas indexes)", json)
	})
	return c
}

func printNames(env *cli.Env, names []string, none string, json bool) error {
	if json {
		return cli.PrintJSON(env.Stdout, names)
	}
	if len(names) == 0 {
		names = []string{none}
	}
	for _, name := range names {
		fmt.Fprintln(env.Stdout, name)
	}
	return nil
}

func newDeltaReindex(env *cli.Env) *cobra.Command {
	var to string
	c := &cobra.Command{Use: "reindex", Short: "Regenerate static delta indexes", Args: need(0, 0, "")}
	at := addRepo(c)
	c.Flags().StringVar(&to, "to", "", "Only update delta index to revision `REV`")
	c.RunE = withRepo(env, at, func(r *repo.Repo, _ []string) error {
		var id object.ID
		if to != "" {
			var err error
			if id, err = r.ResolveRev(to); err != nil {
				return err
			}
		}
		return r.ReindexDeltas(id)
	})
	return c
}

func newDeltaDelete(env *cli.Env) *cobra.Command {
	c := &cobra.Command{Use: "delete DELTA", Short: "Remove a delta", Args: need(1, 1, "DELTA must be specified")}
	at := addRepo(c)
	c.RunE = withRepo(env, at, func(r *repo.Repo, args []string) error {
		d, err := findDelta(r, args[0])
		if err != nil {
			return err
		}
		return r.DeleteDelta(d)
	})
	return c
}

// findDelta returns the delta of the repository that is called name.
func findDelta(r *repo.Repo, name string) (repo.Delta, error) {
	from, to, err := delta.ParseName(name)
	if err != nil {
		return repo.Delta{}, cli.Fail("Invalid rev %s", name)
	}
	d := repo.Delta{From: from, To: to, Dir: delta.Dir(from, to)}
	if _, err := os.Stat(filepath.Join(r.Path(), d.Dir, "superblock")); os.IsNotExist(err) {
		return d, cli.Fail("Can't find delta %s", name)
	}
	return d, nil
}

// deltaKeys are the options that name public keys.
type deltaKeys struct{ signOptions }

func (o *deltaKeys) add(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&o.typ, "sign-type", sign.Ed25519, "Signature `TYPE` to use: ed25519 or spki")
	f.StringVar(&o.file, "keys-file", "", "Read keys from `FILE`")
	f.StringVar(&o.keysDirs, "keys-dir", "", "Use the trusted.TYPE and revoked.TYPE files of `DIR`, not those of the system")
}

// verifier returns a check of the signatures of a delta with the keys that are named, or those of the system.
func (o *deltaKeys) verifier(keys []string) (delta.Verifier, *sign.KeySet, error) {
	if err := sign.CheckType(o.typ); err != nil {
		return nil, nil, err
	}
	set, err := o.publicKeys(keys)
	if err != nil {
		return nil, nil, err
	}
	return func(data []byte, d gvariant.Dict) error {
		_, err := set.Verify(data, sign.Signatures(d, sign.MetadataKey(o.typ)))
		return err
	}, set, nil
}

func newDeltaApply(env *cli.Env) *cobra.Command {
	var o deltaKeys
	c := &cobra.Command{Use: "apply-offline PATH [KEY-ID...]", Short: "Apply static delta file",
		Args: need(1, -1, "PATH must be specified")}
	at := addRepo(c)
	o.add(c)
	c.RunE = withRepo(env, at, func(r *repo.Repo, args []string) error {
		required, err := r.Config().Bool("core", "sign-verify-deltas", false)
		if err != nil {
			return err
		}
		var opts delta.ApplyOptions
		if required || len(args) > 1 || o.file != "" || o.keysDirs != "" {
			verify, set, err := o.verifier(args[1:])
			if err != nil {
				return err
			}
			if set.Len() == 0 {
				return cli.Fail("Key is mandatory to check delta signature")
			}
			opts.Verify = verify
		}
		defer debug.SetGCPercent(debug.SetGCPercent(20)) // as for generating
		_, err = delta.Apply(env.Ctx, r, args[0], opts)
		return err
	})
	return c
}

func newDeltaVerify(env *cli.Env) *cobra.Command {
	var o deltaKeys
	c := &cobra.Command{Use: "verify DELTA [KEY-ID...]", Short: "Verify static delta signatures",
		Long: "Verify the signatures of a static delta of the repository, or of one in a file or a directory.",
		Args: need(1, -1, "DELTA must be specified")}
	at := addRepo(c)
	o.add(c)
	c.RunE = withRepo(env, at, func(r *repo.Repo, args []string) error {
		verify, _, err := o.verifier(args[1:])
		if err != nil {
			return err
		}
		path := args[0]
		if from, to, err := delta.ParseName(path); err == nil {
			path = filepath.Join(r.Path(), delta.SuperblockPath(from, to))
		}
		if _, _, err := delta.Open(path, verify); err != nil {
			fmt.Fprintln(env.Stdout, "Verification fails")
			return err
		}
		fmt.Fprintln(env.Stdout, "Verification OK")
		return nil
	})
	return c
}
