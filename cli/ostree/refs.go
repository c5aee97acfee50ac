package ostree

import (
	"errors"
	"fmt"
	"path"
	"slices"
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
	c := &cobra.Command{Use: "refs [PREFIX...]", Short: "List refs", Args: cobra.ArbitraryArgs}
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
		switch {
		case o.create != "" && len(args) != 1:
			return cli.Fail("You must specify only 1 existing ref when creating a new ref")
		case o.create != "":
			return createRef(env, r, o, args[0])
		case o.remove:
			return deleteRefs(env, r, o, args)
		}
		return listRefs(env, r, o, args)
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

func listRefs(env *cli.Env, r *repo.Repo, o refsOptions, prefixes []string) error {
	if len(prefixes) == 0 {
		prefixes = []string{""}
	}
	lines := []refLine{}
	for _, prefix := range prefixes {
		matches, err := matchRefs(r, prefix, o.collections)
		if err != nil {
			return err
		}
		for _, ref := range matches {
			if o.alias && ref.Alias == "" {
				continue
			}
			name := ref.String()
			switch {
			case o.collections:
				name = ref.Name
			case !o.list && prefix != "":
				name = stripPrefix(ref, prefix)
			}
			lines = append(lines, refLine{Ref: name, Commit: ref.ID, Alias: ref.Alias, Collection: ref.Collection})
		}
	}
	if o.json {
		return cli.PrintJSON(env.Stdout, lines)
	}
	for _, l := range lines {
		switch {
		case o.alias:
			fmt.Fprintf(env.Stdout, "%s -> %s\n", l.Ref, l.Alias)
		case o.collections && o.revision:
			fmt.Fprintf(env.Stdout, "(%s, %s)\t%s\n", l.Collection, l.Ref, l.Commit)
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

// matchRefs returns the refs below prefix, which is a directory of refs (REMOTE:DIR too) or a whole ref. With collections
// prefix is the id of one.
func matchRefs(r *repo.Repo, prefix string, collections bool) ([]repo.Ref, error) {
	if collections {
		refs, err := r.CollectionRefs(true)
		return slices.DeleteFunc(refs, func(ref repo.Ref) bool { return prefix != "" && ref.Collection != prefix }), err
	}
	refs, err := r.Refs()
	if err != nil {
		return nil, err
	}
	remote, dir, ok := strings.Cut(prefix, ":")
	if !ok {
		remote, dir = "", prefix
	}
	if dir = strings.Trim(dir, "/"); dir == "." {
		dir = ""
	}
	var found []repo.Ref
	for _, ref := range refs {
		of := prefix == "" || ref.Remote == remote
		if ref.Collection == "" && of && (dir == "" || ref.Name == dir || strings.HasPrefix(ref.Name, dir+"/")) {
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
	exists := func(err error) error {
		if err == nil && !o.force {
			return cli.Fail("--create specified but ref %s already exists", o.create)
		}
		if err != nil && !errors.Is(err, repo.ErrNotFound) {
			return err
		}
		return nil
	}
	if collection, name, ok := strings.Cut(o.create, ":"); o.collections {
		if !ok {
			return cli.Fail("Invalid collection ref %s: it is COLLECTION:REF", o.create)
		}
		_, err := r.CollectionRef(collection, name)
		if err := exists(err); err != nil {
			return err
		}
		return transact(env, r, func(txn *repo.Txn) error {
			id, err := r.ResolveRev(from)
			if err != nil {
				return err
			}
			return txn.SetCollectionRef(collection, name, id)
		})
	}
	remote, name, err := repo.ParseRefspec(o.create)
	if err != nil {
		return err
	}
	if o.alias {
		return createAlias(env, r, remote, name, path.Clean(from))
	}
	_, err = r.Ref(remote, name)
	if err := exists(err); err != nil {
		return err
	}
	return transact(env, r, func(txn *repo.Txn) error {
		id, err := r.ResolveRev(from)
		if err != nil {
			return err
		}
		return txn.SetRef(remote, name, id)
	})
}

// createAlias makes a ref that leads to another, or has one that is there lead elsewhere.
func createAlias(env *cli.Env, r *repo.Repo, remote, name, target string) error {
	if remote != "" {
		return cli.Fail("Cannot create alias to remote ref: %s:%s", remote, name)
	}
	_, err := r.Ref("", target)
	if errors.Is(err, repo.ErrNotFound) {
		return cli.Fail("Cannot create alias to non-existent ref: %s", target)
	}
	if err != nil {
		return err
	}
	return transact(env, r, func(txn *repo.Txn) error { return txn.SetAlias(name, target) })
}

func deleteRefs(env *cli.Env, r *repo.Repo, o refsOptions, prefixes []string) error {
	if len(prefixes) == 0 {
		return cli.Fail("At least one PREFIX is required when deleting refs")
	}
	var matches []repo.Ref
	for _, prefix := range prefixes {
		found, err := matchRefs(r, prefix, o.collections)
		if err != nil {
			return err
		}
		matches = append(matches, found...)
	}
	return transact(env, r, func(txn *repo.Txn) error {
		for _, ref := range matches {
			var err error
			switch {
			case o.collections && ref.Remote != "":
				continue // it is the remote's, not one that is mirrored
			case o.collections:
				err = txn.SetCollectionRef(ref.Collection, ref.Name, object.ID{})
			default:
				if err = refuseAliased(r, matches, ref); err == nil {
					err = txn.SetRef(ref.Remote, ref.Name, object.ID{})
				}
			}
			if err != nil {
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
