package ostree

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"photree/cli"
	"photree/repo"

	"github.com/spf13/cobra"
)

// The repository of the running system, by the names that it has there.
var systemRepos = []string{"/ostree/repo", "/sysroot/ostree/repo"}

// addRepo gives a verb the option --repo.
func addRepo(c *cobra.Command) *string {
	return c.Flags().String("repo", "", "Use the repository at `PATH` (default: the current directory if it is one, else $OSTREE_REPO, else the system's)")
}

// openRepo opens the repository that the option --repo, the current directory, the environment or the system names.
func openRepo(env *cli.Env, path string) (*repo.Repo, error) {
	if path == "" {
		path = defaultRepo(env)
	}
	if path == "" {
		return nil, errors.New("no repository: name one with --repo=PATH")
	}
	return repo.Open(path)
}

func defaultRepo(env *cli.Env) string {
	if looksLikeRepo(".") {
		return "."
	}
	if path := env.Environ("OSTREE_REPO"); path != "" {
		return path
	}
	for _, path := range systemRepos {
		if looksLikeRepo(path) {
			return path
		}
	}
	return ""
}

func looksLikeRepo(dir string) bool {
	for _, name := range []string{"objects", "refs", "config"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return false
		}
	}
	return true
}

// withRepo wraps the body of a verb that works on one repository.
func withRepo(env *cli.Env, path *string, run func(r *repo.Repo, args []string) error) func(*cobra.Command, []string) error {
	return func(_ *cobra.Command, args []string) error {
		r, err := openRepo(env, *path)
		if err != nil {
			return err
		}
		defer r.Close()
		return run(r, args)
	}
}

// need returns a check of the number of operands, with the words that ostree has for too few. max < 0 is no limit.
func need(min, max int, tooFew string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) < min {
			return cli.UsageError(c, tooFew)
		}
		if max >= 0 && len(args) > max {
			return cli.UsageError(c, fmt.Sprintf("Too many arguments: %q", args[max:]))
		}
		return nil
	}
}
