package ostree

import (
	"photree/cli"

	"github.com/spf13/cobra"
)

// newAdmin returns the verbs on a sysroot.
func newAdmin(_ *cli.Env) *cobra.Command {
	admin := &cobra.Command{
		Use:   "admin",
		Short: "Commands for managing a host system booted with ostree",
	}
	admin.PersistentFlags().String("sysroot", "", "Use the OSTree sysroot at `PATH`")
	return admin
}
