package ostree

import (
	"errors"
	"fmt"

	"photree/cli"
	"photree/internal/gvariant"
	"photree/repo"
	"photree/repo/pull"
	"photree/repo/sign"

	"github.com/spf13/cobra"
)

func newRemoteList(env *cli.Env) *cobra.Command {
	var urls, asJSON bool
	c := &cobra.Command{Use: "list", Short: "List remote repository names", Args: need(0, 0, "")}
	at := addRepo(c)
	c.Flags().BoolVarP(&urls, "show-urls", "u", false, "Show remote URLs in list")
	cli.AddJSON(c, &asJSON)
	c.RunE = withRepo(env, at, func(r *repo.Repo, _ []string) error {
		remotes, err := r.Remotes()
		if err != nil {
			return err
		}
		if asJSON {
			return cli.PrintJSON(env.Stdout, remotesJSON(remotes))
		}
		width := 0
		for _, rem := range remotes {
			width = max(width, len(rem.Name))
		}
		for _, rem := range remotes {
			if urls {
				fmt.Fprintf(env.Stdout, "%-*s  %s\n", width, rem.Name, remoteURL(rem))
			} else {
				fmt.Fprintln(env.Stdout, rem.Name)
			}
		}
		return nil
	})
	return c
}

func remoteURL(rem repo.Remote) string {
	if link, ok := rem.Get("metalink"); ok {
		return "metalink=" + link
	}
	return rem.URL()
}

type remoteJSON struct {
	Name    string            `json:"name"`
	URL     string            `json:"url"`
	File    string            `json:"file,omitempty"`
	Options map[string]string `json:"options"`
}

func remotesJSON(remotes []repo.Remote) []remoteJSON {
	list := []remoteJSON{}
	for _, rem := range remotes {
		j := remoteJSON{Name: rem.Name, URL: remoteURL(rem), File: rem.File, Options: map[string]string{}}
		for _, o := range rem.Options {
			j.Options[o.Key] = o.Value
		}
		list = append(list, j)
	}
	return list
}

func newRemoteShowURL(env *cli.Env) *cobra.Command {
	c := &cobra.Command{Use: "show-url NAME", Short: "Show remote repository URL", Args: need(1, 1, "NAME must be specified")}
	at := addRepo(c)
	c.RunE = withRepo(env, at, func(r *repo.Repo, args []string) error {
		rem, err := findRemote(r, args[0])
		if err != nil {
			return err
		}
		fmt.Fprintln(env.Stdout, remoteURL(rem))
		return nil
	})
	return c
}

func newRemoteRefs(env *cli.Env) *cobra.Command {
	var revision, asJSON bool
	c := &cobra.Command{Use: "refs NAME", Short: "List remote refs", Args: need(1, 1, "NAME must be specified")}
	at := addRepo(c)
	c.Flags().BoolVarP(&revision, "revision", "r", false, "Show the commit of each ref")
	cache := c.Flags().String("cache-dir", "", "Keep the summary in `DIR`")
	cli.AddJSON(c, &asJSON)
	c.RunE = withRepo(env, at, func(r *repo.Repo, args []string) error {
		s, err := remoteSummary(env, r, args[0], *cache)
		if err != nil {
			return err
		}
		lines := []refLine{}
		for _, ref := range s.Refs {
			lines = append(lines, refLine{Ref: args[0] + ":" + ref.Name, Commit: ref.ID})
		}
		if asJSON {
			return cli.PrintJSON(env.Stdout, lines)
		}
		for _, l := range lines {
			if revision {
				fmt.Fprintf(env.Stdout, "%s\t%s\n", l.Ref, l.Commit)
			} else {
				fmt.Fprintln(env.Stdout, l.Ref)
			}
		}
		return nil
	})
	return c
}

// remoteSummary fetches the summary of a remote, without which its refs cannot be listed.
func remoteSummary(env *cli.Env, r *repo.Repo, name, cache string) (*pull.Summary, error) {
	if _, err := findRemote(r, name); err != nil {
		return nil, err
	}
	s, err := pull.FetchSummary(env.Ctx, r, pull.Options{Remote: name, CacheDir: cache})
	if errors.Is(err, repo.ErrNotFound) {
		return nil, cli.Fail("Remote refs not available; server has no summary file (run `ostree summary -u` there): %w", err)
	}
	return s, err
}

func newRemoteSummary(env *cli.Env) *cobra.Command {
	var o summaryOptions
	c := &cobra.Command{Use: "summary NAME", Short: "Show remote summary", Args: need(1, 1, "NAME must be specified")}
	at := addRepo(c)
	f := c.Flags()
	f.BoolVar(&o.raw, "raw", false, "Show raw variant data")
	f.BoolVar(&o.listKeys, "list-metadata-keys", false, "List the available metadata keys")
	f.StringVar(&o.key, "print-metadata-key", "", "Print the value of metadata `KEY`")
	cache := f.String("cache-dir", "", "Keep the summary in `DIR`")
	cli.AddJSON(c, &o.json)
	c.RunE = withRepo(env, at, func(r *repo.Repo, args []string) error {
		s, err := remoteSummary(env, r, args[0], *cache)
		if err != nil {
			return err
		}
		if o.report, err = summarySignatures(r, args[0], s); err != nil {
			return err
		}
		return printSummary(env.Stdout, s.Summary, o)
	})
	return c
}

// summarySignatures checks the OpenPGP signatures of a remote's summary where its configuration asks for that.
func summarySignatures(r *repo.Repo, name string, s *pull.Summary) (sign.Report, error) {
	rem, err := r.Remote(name)
	if err != nil {
		return nil, err
	}
	demand, err := sign.LoadDemand(r, rem)
	if err != nil || demand.Summary.Ring == nil {
		return nil, err
	}
	v, err := gvariant.Parse("a{sv}", s.Signatures)
	if err != nil {
		return nil, err
	}
	return demand.Summary.Ring.Verify(s.Raw, sign.Signatures(v.Dict(), sign.OpenPGP)), nil
}
