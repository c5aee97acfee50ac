package rpmostree

import (
	"errors"
	"fmt"
	"path/filepath"

	"photree/cli"
	"photree/compose"
	"photree/compose/treefile"

	"github.com/spf13/cobra"
)

// newComposeInstall returns the verb `compose install`, the first part of
// `compose tree`.
func newComposeInstall(env *cli.Env) *cobra.Command {
	var o composeTree
	var postprocess bool
	c := &cobra.Command{
		Use:   "install TREEFILE DESTDIR",
		Short: "Install the packages of a treefile into a directory",
		Long: `Installs the packages that TREEFILE names into DESTDIR/rootfs, which must not
be there, and makes no commit. Change the tree as you like, then go on with
compose postprocess and compose commit.`,
		Args: cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			return o.install(env, args[0], filepath.Join(args[1], "rootfs"), postprocess)
		},
	}
	o.installFlags(c)
	c.Flags().StringVarP(&o.repo, "repo", "r", "", "Keep ids of accounts and count on the version of the previous commit in the repository at `PATH`")
	c.Flags().BoolVar(&postprocess, "postprocess", false, "Post-process the tree too")
	return c
}

// newComposeRootfs returns the verb `compose rootfs`.
func newComposeRootfs(env *cli.Env) *cobra.Command {
	var o composeTree
	c := &cobra.Command{
		Use:   "rootfs TREEFILE DEST",
		Short: "Make the tree of a treefile in a directory, without a commit",
		Args:  cobra.ExactArgs(2),
		RunE:  func(_ *cobra.Command, args []string) error { return o.install(env, args[0], args[1], true) },
	}
	o.installFlags(c)
	return c
}

func (o *composeTree) installFlags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&o.cachedir, "cachedir", "", "Keep indexes and packages in `DIR` for the next compose")
	f.BoolVar(&o.cacheOnly, "cache-only", false, "Use no network: take everything from the cache directory")
	f.BoolVar(&o.unifiedCore, "unified-core", false, "Accepted and ignored")
	_ = f.MarkHidden("unified-core")
}

func (o *composeTree) install(env *cli.Env, file, dest string, postprocess bool) error {
	tf, err := treefile.Load(file)
	if err != nil {
		return err
	}
	o.dryRun = o.repo == "" // no repository is needed
	opts, err := o.options(env, tf)
	if err != nil {
		return err
	}
	opts.DryRun = false
	if opts.Repo != nil {
		defer opts.Repo.Close()
	}
	if _, err := compose.Install(env.Ctx, opts, dest, postprocess); err != nil {
		return err
	}
	fmt.Fprintf(env.Stdout, "The tree is in %s\n", dest)
	return nil
}

// newComposePostprocess returns the verb `compose postprocess`.
func newComposePostprocess(env *cli.Env) *cobra.Command {
	return &cobra.Command{
		Use:   "postprocess ROOTFS [TREEFILE]",
		Short: "Turn an installed tree into one that can be committed",
		Long: `Does what TREEFILE says with a tree of compose install: units, files, scripts;
and what every tree needs: kernel, /etc, /var, accounts, initramfs.`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(_ *cobra.Command, args []string) error {
			tf := &treefile.Treefile{}
			if len(args) > 1 {
				var err error
				if tf, err = treefile.Load(args[1]); err != nil {
					return err
				}
			}
			return compose.Postprocess(env.Ctx, compose.Options{Treefile: tf, Log: newComposeLog(env)}, args[0])
		},
	}
}

// newComposeCommit returns the verb `compose commit`.
func newComposeCommit(env *cli.Env) *cobra.Command {
	var o composeTree
	c := &cobra.Command{
		Use:   "commit TREEFILE ROOTFS",
		Short: "Commit a tree to the ref of a treefile",
		Args:  cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			tf, err := treefile.Load(args[0])
			if err != nil {
				return err
			}
			if o.repo == "" {
				return errors.New("no repository: name one with --repo=PATH")
			}
			opts, err := o.options(env, tf)
			if err != nil {
				return err
			}
			defer opts.Repo.Close()
			res, err := compose.CommitTree(env.Ctx, opts, args[1])
			if err != nil {
				return err
			}
			return o.report(env, opts, res)
		},
	}
	f := c.Flags()
	f.StringVarP(&o.repo, "repo", "r", "", "Commit to the repository at `PATH`")
	o.commitFlags(c)
	return c
}

// commitFlags are the flags that say what the commit is.
func (o *composeTree) commitFlags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&o.touchIfChanged, "touch-if-changed", "", "Update the time of `FILE` when a commit was made")
	f.StringVar(&o.writeCommitID, "write-commitid-to", "", "Write the commit's id to `FILE` and move no ref")
	f.StringVar(&o.writeJSON, "write-composejson-to", "", "Write a description of the compose to `FILE` as JSON")
	f.StringArrayVar(&o.metadata, "add-metadata-string", nil, "Add `KEY=VALUE` to the commit's metadata")
	f.StringArrayVar(&o.metadataFiles, "add-metadata-from-json", nil, "Add the members of the JSON object in `FILE` to the commit's metadata")
	f.BoolVar(&o.noParent, "no-parent", false, "Make a commit without a parent")
	f.StringVar(&o.parent, "parent", "", "Make a commit with the parent `REV`")
	f.StringVar(&o.version, "version", "", "Give the commit the version `VERSION` in place of the automatic one")
}
