package ostree

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"photree/cli"
	"photree/repo"
	"photree/repo/sign"

	"github.com/spf13/cobra"
)

func newRemoteListKeys(env *cli.Env) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{Use: "gpg-list-keys [NAME]", Short: "Show remote GPG keys",
		Long: "Show the OpenPGP keys of a remote's own ring or, without NAME, those that are trusted for all remotes without one.",
		Args: need(0, 1, "")}
	at := addRepo(c)
	cli.AddJSON(c, &asJSON)
	c.RunE = withRepo(env, at, func(r *repo.Repo, args []string) error {
		var ring *sign.Ring
		var err error
		if len(args) == 0 {
			ring, err = sign.LoadGlobalRing()
		} else {
			if _, err := findRemote(r, args[0]); err != nil {
				return err
			}
			if ring, err = sign.LoadRing(sign.RingFile(r, args[0])); errors.Is(err, os.ErrNotExist) {
				ring, err = &sign.Ring{}, nil
			}
		}
		if err != nil {
			return err
		}
		if asJSON {
			return cli.PrintJSON(env.Stdout, ring.Keys())
		}
		for _, key := range ring.Keys() {
			printKeyInfo(env.Stdout, key)
		}
		return nil
	})
	return c
}

func printKeyInfo(w io.Writer, key sign.KeyInfo) {
	line := func(indent, what, value string, revoked bool) {
		note := ""
		if revoked {
			note = " (revoked)"
		}
		fmt.Fprintf(w, "%s%s: %s%s\n", indent, what, value, note)
	}
	times := func(indent string, created, expires time.Time, expired bool) {
		line(indent, "Created", clock(created), false)
		switch {
		case expires.IsZero():
		case expired:
			line(indent, "Expired", clock(expires), false)
		default:
			line(indent, "Expires", clock(expires), false)
		}
	}
	line("", "Key", key.Fingerprint, key.Revoked)
	if key.Problem != "" {
		line("  ", "Cannot be used", key.Problem, false)
	}
	times("  ", key.Created, key.Expires, key.Expired)
	for _, u := range key.UserIDs {
		line("  ", "UID", u.Name, u.Revoked)
		if u.AdvancedURL != "" {
			line("  ", "Advanced update URL", u.AdvancedURL, false)
			line("  ", "Direct update URL", u.DirectURL, false)
		}
	}
	for _, s := range key.Subkeys {
		line("  ", "Subkey", s.Fingerprint, s.Revoked)
		times("    ", s.Created, s.Expires, s.Expired)
	}
}

func clock(t time.Time) string { return t.Local().Format("Mon Jan _2 15:04:05 2006") }
