package ostree

import (
	"photree/cli"
	"photree/repo"

	"github.com/spf13/cobra"
)

func init() { register(newInit) }

// newInit takes operands and passes over them, as scripts rely on.
func newInit(env *cli.Env) *cobra.Command {
	var mode, collection string
	c := &cobra.Command{Use: "init", Short: "Initialize a new empty repository", Args: cobra.ArbitraryArgs}
	path := addRepo(c)
	c.Flags().StringVar(&mode, "mode", "bare", "Initialize repository in `MODE`: bare, bare-user, bare-user-only or archive")
	c.Flags().StringVar(&collection, "collection-id", "", "Globally unique `ID` of the collection of refs in this repository")
	c.RunE = func(*cobra.Command, []string) error {
		m, err := repo.ParseMode(mode)
		if err != nil {
			return err
		}
		dir := *path
		if dir == "" {
			if dir = env.Environ("OSTREE_REPO"); dir == "" {
				dir = "."
			}
		}
		r, err := repo.Init(dir, repo.InitOptions{Mode: m, CollectionID: collection})
		if err != nil {
			return err
		}
		return r.Close()
	}
	return c
}
