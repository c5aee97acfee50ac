// Package ostree is the `ostree` command line: the verbs on a repository and, under `admin`, those on a sysroot, with
// the options and the output formats that scripts written for the original expect. Each verb parses, calls one library
// function and prints.
//
// A file of this package adds its verbs with register in an init function, so that the tree is the sum of its files.
package ostree

import (
	"photree/cli"

	"github.com/spf13/cobra"
)

var constructors []func(*cli.Env) *cobra.Command

// register adds a verb to the tree.
func register(new func(*cli.Env) *cobra.Command) { constructors = append(constructors, new) }

// New returns the command tree.
func New(env *cli.Env) *cobra.Command {
	root := &cobra.Command{
		Use:   "ostree",
		Short: "Keep versions of whole file system trees, and boot them",
	}
	cli.AddVersion(root, "libostree", "photree", "release", "gpgme", "sign-ed25519", "sign-spki")
	for _, construct := range constructors {
		root.AddCommand(construct(env))
	}
	root.AddCommand(newAdmin(env))
	cli.AddVerbose(root)
	addExtension(env, root)
	return root
}
