// Package rpmostree is the `rpm-ostree` command line: the verbs that people type on a host, and `compose` on a server.
// Each verb parses, calls one library function and prints; nothing here decides how a host is changed.
//
// A file of this package adds its verbs with register in an init function, so that the tree is the sum of its files.
package rpmostree

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
		Use:   "rpm-ostree",
		Short: "Manage a host that is updated as one image made of RPM packages",
	}
	cli.AddVersion(root, "rpm-ostree", "compose")
	for _, construct := range constructors {
		root.AddCommand(construct(env))
	}
	return root
}
