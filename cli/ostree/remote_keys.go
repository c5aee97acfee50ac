package ostree

import (
	"errors"
	"fmt"
	"io"
	"os"

	"photree/cli"
	"photree/internal/durable"
	"photree/repo"
	"photree/repo/object"
	"photree/repo/sign"

	"github.com/spf13/cobra"
)

func newRemoteImport(env *cli.Env) *cobra.Command {
	var files []string
	var stdin bool
	c := &cobra.Command{Use: "gpg-import NAME [KEY-ID...]", Short: "Import GPG keys", Args: need(1, -1, "NAME must be specified")}
	at := addRepo(c)
	c.Flags().StringArrayVarP(&files, "keyring", "k", nil, "Import keys from the keyring `FILE` (repeatable)")
	c.Flags().BoolVar(&stdin, "stdin", false, "Import keys from standard input")
	c.RunE = withRepo(env, at, func(r *repo.Repo, args []string) error {
		if _, err := findRemote(r, args[0]); err != nil {
			return err
		}
		if stdin == (len(files) > 0) {
			return errors.New("name the keys with --keyring=FILE or give them with --stdin, one of both")
		}
		var keys []byte
		if stdin {
			data, err := io.ReadAll(io.LimitReader(env.Stdin, object.MaxMetadataSize))
			if err != nil {
				return err
			}
			keys = data
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			keys = append(keys, data...)
		}
		return importKeys(env, r, args[0], keys, args[1:]...)
	})
	return c
}

// importKeys adds public keys to the key ring of a remote; ids restricts them to those with these fingerprints' ends.
func importKeys(env *cli.Env, r *repo.Repo, name string, data []byte, ids ...string) error {
	file := sign.RingFile(r, name)
	old, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	ring, count, err := sign.Merge(old, data, ids...)
	if err != nil {
		return fmt.Errorf("importing keys for remote %q: %w", name, err)
	}
	if err := durable.WriteFile(file, ring, 0o644); err != nil {
		return err
	}
	plural := "s"
	if count == 1 {
		plural = ""
	}
	fmt.Fprintf(env.Stdout, "Imported %d GPG key%s to remote \"%s\"\n", count, plural, name)
	return nil
}
