package ostree

import (
	"fmt"
	"strings"

	"photree/cli"
	"photree/repo"

	"github.com/spf13/cobra"
)

func init() { register(newConfig) }

func newConfig(env *cli.Env) *cobra.Command {
	var group string
	c := &cobra.Command{Use: "config (get KEY|set KEY VALUE|unset KEY)", Short: "Change repo configuration settings",
		Args: need(1, -1, "OPERATION must be specified")}
	at := addRepo(c)
	c.Flags().StringVar(&group, "group", "", "Group `NAME`; without it KEY is GROUP.NAME")
	c.RunE = withRepo(env, at, func(r *repo.Repo, args []string) error { return config(env, r, group, args[0], args[1:]) })
	return c
}

func config(env *cli.Env, r *repo.Repo, group, op string, args []string) error {
	operands := map[string]int{"get": 1, "set": 2, "unset": 1}
	want, ok := operands[op]
	switch {
	case !ok:
		return cli.Fail("Unknown operation %s", op)
	case len(args) == 0:
		return cli.Fail("KEY must be specified")
	case len(args) < want:
		return cli.Fail("GROUP name or VALUE must be specified")
	case len(args) > want:
		return cli.Fail("Too many arguments given for %s", op)
	}
	key := args[0]
	if group == "" {
		// The name of a group may hold dots (a remote's does), that of a key may not.
		i := strings.LastIndexByte(key, '.')
		if i < 1 {
			return cli.Fail("Key must be of the form \"sectionname.keyname\"")
		}
		group, key = key[:i], key[i+1:]
	}
	conf := r.Config()
	switch op {
	case "get":
		if !conf.Has(group) {
			return cli.Fail("Key file does not have group “%s”", group)
		}
		value, ok := conf.Get(group, key)
		if !ok {
			return cli.Fail("Key file does not have key “%s” in group “%s”", key, group)
		}
		fmt.Fprintln(env.Stdout, value)
		return nil
	case "set":
		conf.Set(group, key, args[1])
	case "unset":
		conf.Delete(group, key)
	}
	return r.SetConfig(conf)
}
