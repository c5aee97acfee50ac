package ostree

import (
	"fmt"
	"slices"
	"time"

	"photree/cli"
	"photree/repo"
	"photree/repo/pull"

	"github.com/spf13/cobra"
)

func newRemoteAddCookie(env *cli.Env) *cobra.Command {
	c := &cobra.Command{Use: "add-cookie NAME DOMAIN PATH COOKIE_NAME VALUE", Short: "Add a cookie to remote",
		Args: need(5, 5, "NAME, DOMAIN, PATH, COOKIE_NAME and VALUE must be specified")}
	at := addRepo(c)
	c.RunE = withRepo(env, at, func(r *repo.Repo, args []string) error {
		kept, _, err := withoutCookie(r, args)
		if err != nil {
			return err
		}
		return pull.SetCookies(r, args[0], append(kept, pull.Cookie{Domain: args[1], Path: args[2], Name: args[3], Value: args[4],
			Expires: time.Now().AddDate(25, 0, 0)}))
	})
	return c
}

func newRemoteDeleteCookie(env *cli.Env) *cobra.Command {
	c := &cobra.Command{Use: "delete-cookie NAME DOMAIN PATH COOKIE_NAME", Short: "Remove one cookie from remote",
		Args: need(4, 5, "NAME, DOMAIN, PATH and COOKIE_NAME must be specified")}
	at := addRepo(c)
	c.RunE = withRepo(env, at, func(r *repo.Repo, args []string) error {
		kept, found, err := withoutCookie(r, args)
		if err != nil {
			return err
		}
		if !found {
			return cli.Fail("Cookie not found in jar")
		}
		return pull.SetCookies(r, args[0], kept)
	})
	return c
}

// withoutCookie returns the cookies of a remote without the one that args name: NAME DOMAIN PATH COOKIE_NAME.
func withoutCookie(r *repo.Repo, args []string) (kept []pull.Cookie, found bool, err error) {
	rem, err := findRemote(r, args[0])
	if err != nil {
		return nil, false, err
	}
	all, err := pull.Cookies(r, rem.Name)
	kept = slices.DeleteFunc(all, func(c pull.Cookie) bool {
		same := c.Domain == args[1] && c.Path == args[2] && c.Name == args[3]
		found = found || same
		return same
	})
	return kept, found, err
}

func newRemoteListCookies(env *cli.Env) *cobra.Command {
	c := &cobra.Command{Use: "list-cookies NAME", Short: "Show remote repository cookies", Args: need(1, 1, "NAME must be specified")}
	at := addRepo(c)
	var asJSON bool
	cli.AddJSON(c, &asJSON)
	c.RunE = withRepo(env, at, func(r *repo.Repo, args []string) error {
		rem, err := findRemote(r, args[0])
		if err != nil {
			return err
		}
		cookies, err := pull.Cookies(r, rem.Name)
		if err != nil {
			return err
		}
		if asJSON {
			return cli.PrintJSON(env.Stdout, append([]pull.Cookie{}, cookies...))
		}
		for _, k := range cookies {
			expires := "never"
			if !k.Expires.IsZero() {
				expires = k.Expires.UTC().Format("2006-01-02 15:04:05 -0700")
			}
			fmt.Fprintf(env.Stdout, "--\nDomain: %s\nPath: %s\nName: %s\nSecure: %s\nExpires: %s\nValue: %s\n", k.Domain, k.Path, k.Name,
				map[bool]string{true: "yes", false: "no"}[k.Secure], expires, k.Value)
		}
		return nil
	})
	return c
}
