package ostree

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"photree/cli"
	"photree/repo"
	"photree/repo/object"
	"photree/repo/tree"

	"github.com/spf13/cobra"
)

func init() { register(newCheckout) }

type checkoutOptions struct {
	tree.CheckoutOptions
	union, unionAdd, unionIdentical, allowMissing, fromStdin bool
	fromFile, skipList                                       string
}

func newCheckout(env *cli.Env) *cobra.Command {
	var o checkoutOptions
	c := &cobra.Command{Use: "checkout COMMIT [DESTINATION]", Short: "Check out a commit into a filesystem tree", Args: cobra.MaximumNArgs(2)}
	at := addRepo(c)
	f := c.Flags()
	f.BoolVarP(&o.UserMode, "user-mode", "U", false, "Do not change file ownership or initialize extended attributes")
	f.BoolVar(&o.DisableCache, "disable-cache", false, "Do not update or use the internal repository uncompressed object cache")
	f.StringVar(&o.Subpath, "subpath", "", "Checkout sub-directory `PATH`")
	f.BoolVar(&o.union, "union", false, "Keep existing directories, overwrite existing files")
	f.BoolVar(&o.unionAdd, "union-add", false, "Keep existing files/directories, only add new")
	f.BoolVar(&o.unionIdentical, "union-identical", false, "When layering checkouts, error out if a file would be replaced with a different version, but add new files and directories")
	f.BoolVar(&o.Whiteouts, "whiteouts", false, "Process 'whiteout' (Docker style) entries")
	f.BoolVar(&o.PassWhiteouts, "process-passthrough-whiteouts", false, "Enable overlayfs whiteout extraction into char 0:0 devices")
	f.BoolVarP(&o.UserOnlyDirs, "bareuseronly-dirs", "M", false, "Suppress mode bits outside of 0775 for directories (suid, world writable, etc.)")
	f.BoolP("force-copy-zerosized", "z", false, "Ignored: empty files are always copies")
	_ = f.MarkHidden("force-copy-zerosized")
	f.BoolVar(&o.allowMissing, "allow-noent", false, "Do nothing if specified path does not exist")
	f.BoolVar(&o.fromStdin, "from-stdin", false, "Process many checkouts from standard input")
	f.StringVar(&o.fromFile, "from-file", "", "Process many checkouts from input `FILE`")
	f.String("fsync", "", "Ignored: a checkout is not flushed, whatever the `POLICY`")
	f.BoolVarP(&o.RequireHardlinks, "require-hardlinks", "H", false, "Do not fall back to full copies if hardlinking fails")
	f.BoolVarP(&o.ForceCopy, "force-copy", "C", false, "Never hardlink (but may reflink if available)")
	f.StringVar(&o.skipList, "skip-list", "", "`FILE` containing list of files to skip")
	c.RunE = func(c *cobra.Command, args []string) error {
		r, err := openRepo(env, *at)
		if err != nil {
			return err
		}
		defer r.Close()
		if err := o.finish(); err != nil {
			return err
		}
		if o.fromStdin || o.fromFile != "" {
			return checkoutMany(env, r, o, args)
		}
		if len(args) == 0 {
			return cli.UsageError(c, "COMMIT must be specified")
		}
		id, err := r.ResolveRev(args[0])
		if err != nil {
			return err
		}
		dest := id.String()
		if len(args) == 2 {
			dest = args[1]
		}
		return checkoutOne(env, r, o, id, dest)
	}
	return c
}

// finish turns the options that stand for one choice into it.
func (o *checkoutOptions) finish() error {
	chosen := 0
	for union, on := range map[tree.Union]bool{tree.UnionFiles: o.union, tree.UnionAdd: o.unionAdd, tree.UnionIdentical: o.unionIdentical} {
		if on {
			o.Union = union
			chosen++
		}
	}
	switch {
	case chosen > 1:
		return cli.Fail("Cannot specify more than one of --union, --union-add and --union-identical")
	case o.unionIdentical && !o.RequireHardlinks:
		return errors.New("--union-identical requires --require-hardlinks")
	case o.RequireHardlinks && o.ForceCopy:
		return cli.Fail("Cannot specify both --require-hardlinks and --force-copy")
	}
	if o.skipList == "" {
		return nil
	}
	lines, err := readLines(o.skipList)
	if err != nil {
		return err
	}
	skip := map[string]bool{}
	for _, line := range lines {
		skip[path.Clean(line)] = true
	}
	o.Skip = func(p string) bool { return skip[p] }
	return nil
}

func checkoutOne(env *cli.Env, r *repo.Repo, o checkoutOptions, id object.ID, dest string) error {
	if o.allowMissing && o.Subpath != "" {
		commit, err := r.LoadCommit(id)
		if err != nil {
			return err
		}
		_, err = tree.Lookup(r, commit.Root, commit.RootMeta, path.Join("/", o.Subpath))
		if errors.Is(err, repo.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return tree.Checkout(env.Ctx, r, id, dest, o.CheckoutOptions)
}

// checkoutMany reads pairs of a commit and a path in it, each ended by NUL, and checks them out over one another.
func checkoutMany(env *cli.Env, r *repo.Repo, o checkoutOptions, args []string) error {
	if len(args) != 1 {
		return errors.New("a list of checkouts needs one DESTINATION")
	}
	in := env.Stdin
	if o.fromFile != "" {
		f, err := os.Open(o.fromFile)
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	}
	data, err := io.ReadAll(in)
	if err != nil {
		return fmt.Errorf("reading the list of checkouts: %w", err)
	}
	fields := strings.Split(string(bytes.TrimSuffix(data, []byte{0})), "\x00")
	if len(fields)%2 != 0 {
		return errors.New("the list of checkouts ends within a pair: it is COMMIT NUL PATH NUL, and so on")
	}
	if o.Union == tree.UnionNone {
		o.Union = tree.UnionFiles
	}
	for i := 0; i < len(fields); i += 2 {
		id, err := r.ResolveRev(fields[i])
		if err != nil {
			return err
		}
		o.Subpath = fields[i+1]
		if err := checkoutOne(env, r, o, id, args[0]); err != nil {
			return err
		}
	}
	return nil
}
