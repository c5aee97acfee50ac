package ostree

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"photree/cli"
	"photree/repo"
	"photree/repo/object"

	"github.com/spf13/cobra"
)

func init() {
	register(newRefs)
	register(newRevParse)
	register(newReset)
}

type refsOptions struct {
	remove, list, revision, alias, collections, force, json bool
	create                                                  string
}

func newRefs(env *cli.Env) *cobra.Command {
	var o refsOptions
	c := &cobra.Command{Use: "refs [PREFIX]", Short: "List refs", Args: need(0, 1, "")}
	at := addRepo(c)
	f := c.Flags()
	f.BoolVar(&o.remove, "delete", false, "Delete refs which match PREFIX, rather than listing them")
	f.BoolVar(&o.list, "list", false, "Do not remove the prefix from the refs")
	f.BoolVarP(&o.revision, "revision", "r", false, "Show the commit of each ref")
	f.BoolVarP(&o.alias, "alias", "A", false, "If used with --create, create an alias, otherwise just list aliases")
	f.StringVar(&o.create, "create", "", "Create `NEWREF` for an existing commit")
	f.BoolVarP(&o.collections, "collections", "c", false, "Enable listing collection IDs for refs")
	f.BoolVar(&o.force, "force", false, "Overwrite existing refs when creating")
	cli.AddJSON(c, &o.json)
	c.RunE = withRepo(env, at, func(r *repo.Repo, args []string) error {
		prefix := strings.Join(args, "")
		switch {
		case o.create != "":
			return createRef(env, r, o, prefix)
		case o.remove:
			return deleteRefs(env, r, prefix)
		}
		return listRefs(env, r, o, prefix)
	})
	return c
}

// refLine is one line of the listing and one element of its JSON.
type refLine struct {
	Ref        string    `json:"ref"`
	Commit     object.ID `json:"commit"`
	Alias      string    `json:"alias,omitempty"`
	Collection string    `json:"collection,omitempty"`
}

func listRefs(env *cli.Env, r *repo.Repo, o refsOptions, prefix string) error {
	matches, err := matchRefs(r, prefix)
	if err != nil {
		return err
	}
	lines := []refLine{}
	for _, ref := range matches {
		if o.alias && ref.Alias == "" || o.collections != (ref.Collection != "") {
			continue
		}
		name := ref.String()
		if !o.list && prefix != "" {
			name = stripPrefix(ref, prefix)
		}
		lines = append(lines, refLine{Ref: name, Commit: ref.ID, Alias: ref.Alias, Collection: ref.Collection})
	}
	if o.json {
		return cli.PrintJSON(env.Stdout, lines)
	}
	for _, l := range lines {
		switch {
		case o.alias:
			fmt.Fprintf(env.Stdout, "%s -> %s\n", l.Ref, l.Alias)
		case o.collections:
			fmt.Fprintf(env.Stdout, "(%s, %s)\n", l.Collection, l.Ref)
		case o.revision:
			fmt.Fprintf(env.Stdout, "%s\t%s\n", l.Ref, l.Commit)
		default:
			fmt.Fprintln(env.Stdout, l.Ref)
		}
	}
	return nil
}

// matchRefs returns the refs below prefix, which is a directory of refs (REMOTE:DIR too) or a whole ref.
func matchRefs(r *repo.Repo, prefix string) ([]repo.Ref, error) {
	refs, err := r.Refs()
	if err != nil || prefix == "" {
		return refs, err
	}
	remote, dir, ok := strings.Cut(prefix, ":")
	if !ok {
		remote, dir = "", prefix
	}
	dir = strings.Trim(dir, "/")
	var found []repo.Ref
	for _, ref := range refs {
		if ref.Remote == remote && ref.Collection == "" && (dir == "" || ref.Name == dir || strings.HasPrefix(ref.Name, dir+"/")) {
			found = append(found, ref)
		}
	}
	return found, nil
}

func stripPrefix(ref repo.Ref, prefix string) string {
	_, dir, ok := strings.Cut(prefix, ":")
	if !ok {
		dir = prefix
	}
	short := strings.TrimPrefix(strings.TrimPrefix(ref.Name, strings.Trim(dir, "/")), "/")
	if short == "" {
		return ref.Name
	}
	if ref.Remote != "" {
		return ref.Remote + ":" + short
	}
	return short
}

func createRef(env *cli.Env, r *repo.Repo, o refsOptions, from string) error {
	if from == "" {
		return errors.New("--create needs a commit or a ref to name")
	}
	remote, name, err := repo.ParseRefspec(o.create)
	if err != nil {
		return err
	}
	if _, err := r.Ref(remote, name); err == nil && !o.force {
		return fmt.Errorf("--create specified but ref %s already exists", o.create)
	} else if err != nil && !errors.Is(err, repo.ErrNotFound) {
		return err
	}
	return transact(env, r, func(txn *repo.Txn) error {
		if o.alias {
			if _, err := r.Ref("", path.Clean(from)); err != nil {
				return fmt.Errorf("making the alias %s: %w", name, err)
			}
			return txn.SetAlias(name, path.Clean(from))
		}
		id, err := r.ResolveRev(from)
		if err != nil {
			return err
		}
		return txn.SetRef(remote, name, id)
	})
}

func deleteRefs(env *cli.Env, r *repo.Repo, prefix string) error {
	if prefix == "" {
		return cli.Fail("At least one PREFIX is required when deleting refs")
	}
	matches, err := matchRefs(r, prefix)
	if err != nil {
		return err
	}
	return transact(env, r, func(txn *repo.Txn) error {
		for _, ref := range matches {
			if err := refuseAliased(r, matches, ref); err != nil {
				return err
			}
			if err := txn.SetRef(ref.Remote, ref.Name, object.ID{}); err != nil {
				return err
			}
		}
		return nil
	})
}

// refuseAliased keeps a ref that an alias, which stays, leads to.
func refuseAliased(r *repo.Repo, going []repo.Ref, ref repo.Ref) error {
	refs, err := r.Refs()
	if err != nil {
		return err
	}
	for _, other := range refs {
		if other.Remote != ref.Remote || other.Alias != ref.Name {
			continue
		}
		stays := true
		for _, g := range going {
			stays = stays && g.String() != other.String()
		}
		if stays {
			return cli.Fail("Ref '%s' has an active alias: '%s'", ref.Name, other.Name)
		}
	}
	return nil
}

// transact runs do in a transaction of its own.
func transact(env *cli.Env, r *repo.Repo, do func(*repo.Txn) error) error {
	txn, err := r.Begin(env.Ctx)
	if err != nil {
		return err
	}
	defer txn.Abort()
	if err := do(txn); err != nil {
		return err
	}
	return txn.Commit()
}

func newRevParse(env *cli.Env) *cobra.Command {
	var single bool
	c := &cobra.Command{Use: "rev-parse REV...", Short: "Output the target of a rev", Args: cobra.ArbitraryArgs}
	at := addRepo(c)
	c.Flags().BoolVarP(&single, "single", "S", false, "If the repository has exactly one commit, then print it; any other case will result in an error")
	c.RunE = func(c *cobra.Command, args []string) error {
		r, err := openRepo(env, *at)
		if err != nil {
			return err
		}
		defer r.Close()
		if single {
			return printSingle(env, r)
		}
		if len(args) == 0 {
			return cli.UsageError(c, "REV must be specified")
		}
		for _, rev := range args {
			id, err := r.ResolveRev(rev)
			if err != nil {
				return err
			}
			fmt.Fprintln(env.Stdout, id)
		}
		return nil
	}
	return c
}

func printSingle(env *cli.Env, r *repo.Repo) error {
	commits, err := r.ListObjects(object.KindCommit)
	switch {
	case err != nil:
		return err
	case len(commits) == 0:
		return cli.Fail("No commit objects found")
	case len(commits) > 1:
		return cli.Fail("Multiple commit objects found")
	}
	fmt.Fprintln(env.Stdout, commits[0].ID)
	return nil
}

func newReset(env *cli.Env) *cobra.Command {
	c := &cobra.Command{Use: "reset REF COMMIT", Short: "Reset a REF to a previous COMMIT", Args: need(2, 2, "A REF and COMMIT argument is required")}
	at := addRepo(c)
	c.RunE = withRepo(env, at, func(r *repo.Repo, args []string) error {
		remote, name, err := repo.ParseRefspec(args[0])
		if err != nil {
			return err
		}
		if _, err := r.Ref(remote, name); err != nil {
			return err
		}
		id, err := r.ResolveRev(args[1])
		if err != nil {
			return err
		}
		return transact(env, r, func(txn *repo.Txn) error { return txn.SetRef(remote, name, id) })
	})
	return c
}
