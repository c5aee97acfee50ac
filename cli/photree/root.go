// Package photree is the `photree` command line: the ostree and rpm-ostree trees side by side, and what only photree
// has (serving, installing, building boot images).
//
// A file of this package adds its verbs with register in an init function, so that the tree is the sum of its files.
package photree

import (
	"photree/cli"
	"photree/cli/ostree"
	"photree/cli/rpmostree"

	"github.com/spf13/cobra"
)

var constructors []func(*cli.Env) *cobra.Command

// register adds a verb to the tree.
func register(new func(*cli.Env) *cobra.Command) { constructors = append(constructors, new) }

// New returns the command tree.
func New(env *cli.Env) *cobra.Command {
	root := &cobra.Command{
		Use:   "photree",
		Short: "From RPM packages to hosts that boot, update and roll back as one image",
	}
	cli.AddVersion(root, "photree")
	for _, construct := range constructors {
		root.AddCommand(construct(env))
	}
	root.AddCommand(ostree.New(env), rpmostree.New(env))
	if c := compose(env); c != nil {
		root.AddCommand(c)
	}
	return root
}

// compose lifts `rpm-ostree compose` to the top, where people look for it.
func compose(env *cli.Env) *cobra.Command {
	tree := rpmostree.New(env)
	for _, c := range tree.Commands() {
		if c.Name() == "compose" {
			tree.RemoveCommand(c)
			return c
		}
	}
	return nil
}
