package photree

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"photree/cli"
	"photree/cli/ostree"
	"photree/cli/rpmostree"

	"github.com/spf13/cobra"
)

func init() {
	register(newMan)
	register(newCompletion)
}

// programs are the names that the binary is called by, with their trees.
func programs(env *cli.Env) []*cobra.Command {
	own := New(env)
	// `photree ostree refs` has its page as ostree-refs.
	for _, c := range own.Commands() {
		if c.Name() == "ostree" || c.Name() == "rpm-ostree" {
			c.Hidden = true
		}
	}
	return []*cobra.Command{own, ostree.New(env), rpmostree.New(env), rpmostree.NewMkostreerepo(env)}
}

func newMan(env *cli.Env) *cobra.Command {
	return &cobra.Command{
		Use:   "man DIRECTORY",
		Short: "Write the manual pages",
		Long:  "Write one manual page for each command of photree, ostree, rpm-ostree and mkostreerepo into DIRECTORY.",
		Args:  cobra.ExactArgs(1),
		RunE:  func(_ *cobra.Command, args []string) error { return writePages(env, args[0]) },
	}
}

func writePages(env *cli.Env, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("making the directory of the pages: %w", err)
	}
	for _, root := range programs(env) {
		cli.Prepare(root)
		if err := writePage(env, dir, root); err != nil {
			return err
		}
	}
	return nil
}

func writePage(env *cli.Env, dir string, c *cobra.Command) error {
	name := strings.ReplaceAll(c.CommandPath(), " ", "-") + ".1"
	if err := os.WriteFile(filepath.Join(dir, name), []byte(cli.ManPage(c, env.Version)), 0o644); err != nil {
		return fmt.Errorf("writing a manual page: %w", err)
	}
	for _, verb := range cli.Verbs(c) {
		if err := writePage(env, dir, verb); err != nil {
			return err
		}
	}
	return nil
}

func newCompletion(env *cli.Env) *cobra.Command {
	var program string
	c := &cobra.Command{
		Use:       "completion bash|zsh|fish",
		Short:     "Print the completion script for a shell",
		Args:      cobra.ExactArgs(1),
		ValidArgs: []string{"bash", "zsh", "fish"},
		RunE:      func(_ *cobra.Command, args []string) error { return complete(env, program, args[0]) },
	}
	c.Flags().StringVar(&program, "program", "photree", "Complete the program `NAME`: photree, ostree, rpm-ostree or mkostreerepo")
	return c
}

func complete(env *cli.Env, program, shell string) error {
	for _, root := range programs(env) {
		if root.Name() != program {
			continue
		}
		switch shell {
		case "bash":
			return root.GenBashCompletionV2(env.Stdout, true)
		case "zsh":
			return root.GenZshCompletion(env.Stdout)
		case "fish":
			return root.GenFishCompletion(env.Stdout, true)
		}
		return fmt.Errorf("no completion for the shell %q: choose bash, zsh or fish", shell)
	}
	return fmt.Errorf("no program %q: choose photree, ostree, rpm-ostree or mkostreerepo", program)
}
