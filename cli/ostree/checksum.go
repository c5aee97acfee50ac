package ostree

import (
	"fmt"

	"photree/cli"

	"github.com/spf13/cobra"
)

func init() { register(newChecksum) }

func newChecksum(env *cli.Env) *cobra.Command {
	var ignoreXattrs, asJSON bool
	c := &cobra.Command{Use: "checksum PATH", Short: "Checksum a file or directory", Args: need(1, 1, "A filename must be given")}
	c.Flags().BoolVar(&ignoreXattrs, "ignore-xattrs", false, "Don't include xattrs in checksum")
	cli.AddJSON(c, &asJSON)
	c.RunE = func(_ *cobra.Command, args []string) error {
		info, err := readInfo(args[0], !ignoreXattrs)
		if err != nil {
			return err
		}
		id, err := checksumOf(args[0], info)
		if err != nil {
			return err
		}
		if asJSON {
			return cli.PrintJSON(env.Stdout, map[string]any{"path": args[0], "checksum": id})
		}
		fmt.Fprintln(env.Stdout, id)
		return nil
	}
	return c
}
