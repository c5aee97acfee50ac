package ostree

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"photree/cli"
	"photree/repo"
	"photree/repo/pull"

	"github.com/spf13/cobra"
)

func init() {
	register(newPull)
	register(newPullLocal)
}

// pullOptions are the options of pull and pull-local; each declares those that it has.
type pullOptions struct {
	pull.Options
	agent           string // that is appended to ours
	caches, headers []string
	lowSpeedSeconds int
	retries         int
	noRetry         bool
	untrust         bool
	frequency       int
	json            bool
}

func newPull(env *cli.Env) *cobra.Command {
	var o pullOptions
	c := &cobra.Command{Use: "pull REMOTE [BRANCH...]", Short: "Download data from remote repository",
		Long: "Download the commits that BRANCH... name (BRANCH, BRANCH@COMMIT or COMMIT), or the branches that the remote's\nconfiguration names. REMOTE:BRANCH stands for both.",
		Args: need(1, -1, "REMOTE must be specified")}
	at := addRepo(c)
	addPullOptions(c, &o)
	f := c.Flags()
	f.BoolVar(&o.Mirror, "mirror", false, "Write refs suitable for a mirror and fetches all refs if none provided")
	f.StringArrayVar(&o.Subpaths, "subpath", nil, "Only pull the provided sub`PATH`(s)")
	f.StringVar(&o.URL, "url", "", "Pull objects from this `URL` instead of the one from the remote config")
	f.StringArrayVar(&o.headers, "http-header", nil, "Add `NAME=VALUE` as HTTP header to all requests")
	f.StringVar(&o.agent, "append-user-agent", "", "Append `STRING` to the user agent")
	_ = f.MarkHidden("append-user-agent")
	f.IntVar(&o.frequency, "update-frequency", 0, "Ignored: progress is shown ten times a second on a terminal, in `MILLISECONDS`")
	f.StringVar(&o.CacheDir, "cache-dir", "", "Keep the summary in `DIR`")
	f.IntVar(&o.retries, "network-retries", 5, "Retry each download `N` times when the network or the server fails")
	f.BoolVar(&o.noRetry, "disable-retry-on-network-errors", false, "Fail at the first error of the network")
	f.Int64Var(&o.LowSpeedBytes, "low-speed-limit-bytes", 1000, "Give up a download that is slower than `N` bytes per second")
	f.IntVar(&o.lowSpeedSeconds, "low-speed-time-seconds", 30, "... for `N` seconds")
	f.IntVar(&o.MaxOutstanding, "max-outstanding-fetcher-requests", 8, "Run `N` downloads at once")
	f.StringArrayVarP(&o.caches, "localcache-repo", "L", nil, "Add `REPO` as local cache source for objects during this pull")
	f.BoolVarP(&o.TimestampCheck, "timestamp-check", "T", false, "Require fetched commits to have newer timestamps")
	f.StringVar(&o.TimestampCheckFrom, "timestamp-check-from-rev", "", "Require fetched commits to have newer timestamps than `REV`")
	c.RunE = withRepo(env, at, func(r *repo.Repo, args []string) error { return runPull(env, r, o, args) })
	return c
}

// addPullOptions declares what pull and pull-local share.
func addPullOptions(c *cobra.Command, o *pullOptions) {
	f := c.Flags()
	f.BoolVar(&o.CommitMetadataOnly, "commit-metadata-only", false, "Fetch only the commit metadata")
	f.IntVar(&o.Depth, "depth", 0, "Traverse `DEPTH` parents (-1=infinite)")
	f.BoolVar(&o.untrust, "untrusted", false, "Verify checksums of local sources (always enabled for HTTP pulls)")
	f.BoolVar(&o.DisableVerifyBindings, "disable-verify-bindings", false, "Do not verify commit bindings")
	f.BoolVar(&o.UserOnlyFiles, "bareuseronly-files", false, "Reject regular files with mode outside of 0775 (world writable, suid, etc.)")
	f.BoolVar(&o.NoFlush, "disable-fsync", false, "Do not flush what was pulled to the disk")
	f.Bool("per-object-fsync", false, "Ignored: objects are flushed together")
	f.BoolVar(&o.DisableStaticDeltas, "disable-static-deltas", false, "Do not use static deltas")
	f.BoolVar(&o.RequireStaticDeltas, "require-static-deltas", false, "Require static deltas")
	cli.AddJSON(c, &o.json)
}

func runPull(env *cli.Env, r *repo.Repo, o pullOptions, args []string) error {
	if err := o.finish(); err != nil {
		return err
	}
	o.Remote, o.Refs = args[0], args[1:]
	if remote, ref, ok := strings.Cut(args[0], ":"); ok {
		if len(o.Refs) > 0 {
			return fmt.Errorf("name the branch once: as %s, or behind the remote %s", args[0], remote)
		}
		o.Remote, o.Refs = remote, []string{ref}
	}
	if _, err := findRemote(r, o.Remote); err != nil {
		return err
	}
	for _, path := range o.caches {
		cache, err := repo.Open(path)
		if err != nil {
			return err
		}
		defer cache.Close()
		o.Caches = append(o.Caches, cache)
	}
	o.UserAgent = strings.TrimSpace("libostree/" + env.Version + " " + o.agent) // servers tell clients by it
	p := newPullProgress(env, "fetched", o.json)
	o.Progress = p.show
	res, err := pull.Pull(env.Ctx, r, o.Options)
	p.end()
	if err != nil {
		return err
	}
	return p.report(res)
}

// finish turns the options' text into values.
func (o *pullOptions) finish() error {
	if o.RequireStaticDeltas && o.DisableStaticDeltas {
		return fmt.Errorf("--require-static-deltas and --disable-static-deltas exclude each other")
	}
	for _, h := range o.headers {
		name, value, ok := strings.Cut(h, "=")
		if !ok {
			return cli.Fail("Missing '=' in --http-header '%s'", h)
		}
		if o.Header == nil {
			o.Header = http.Header{}
		}
		o.Header.Add(name, value)
	}
	o.NetworkRetries = o.retries
	if o.noRetry || o.retries == 0 {
		o.NetworkRetries = -1
	}
	o.LowSpeedTime = time.Duration(o.lowSpeedSeconds) * time.Second
	o.Untrusted = o.untrust
	return nil
}

func newPullLocal(env *cli.Env) *cobra.Command {
	var o pullOptions
	c := &cobra.Command{Use: "pull-local SRC_REPO [REFS...]", Short: "Copy data from SRC_REPO",
		Args: need(1, -1, "DESTINATION must be specified")}
	at := addRepo(c)
	addPullOptions(c, &o)
	c.Flags().StringVar(&o.Remote, "remote", "", "Add `REMOTE` to refspec")
	c.Flags().BoolVar(&o.GPGVerify, "gpg-verify", false, "GPG verify commits (must specify --remote)")
	c.Flags().BoolVar(&o.GPGVerifySummary, "gpg-verify-summary", false, "GPG verify summary (must specify --remote)")
	c.RunE = withRepo(env, at, func(r *repo.Repo, args []string) error {
		o.retries = 5
		if err := o.finish(); err != nil {
			return err
		}
		src, err := repo.Open(args[0])
		if err != nil {
			return err
		}
		defer src.Close()
		o.Refs = args[1:]
		p := newPullProgress(env, "imported", o.json)
		o.Progress = p.show
		res, err := pull.Local(env.Ctx, r, src, o.Options)
		p.end()
		if err != nil {
			return err
		}
		return p.report(res)
	})
	return c
}

// pullProgress shows a pull on a terminal while it runs, and sums it up at its end.
type pullProgress struct {
	env  *cli.Env
	verb string
	json bool
	line *cli.Line
}

func newPullProgress(env *cli.Env, verb string, json bool) *pullProgress {
	return &pullProgress{env: env, verb: verb, json: json, line: cli.NewLine(env.Stdout)}
}

func (p *pullProgress) show(s pull.Stats) {
	if p.json || !p.line.Live() || s.Done {
		return
	}
	seconds := s.Elapsed.Seconds()
	rate := cli.FormatSize(int64(float64(s.Transferred)/max(seconds, 0.1))) + "/s"
	if s.Content == 0 && s.ContentWanted == 0 {
		p.line.Show(fmt.Sprintf("Receiving metadata objects: %d/(estimating) %s %s", s.Metadata, rate, cli.FormatSize(s.Transferred)))
		return
	}
	done, all := s.Metadata+s.Content, s.MetadataWanted+s.ContentWanted
	p.line.Show(fmt.Sprintf("Receiving objects: %d%% (%d/%d) %s %s", 100*done/max(all, 1), done, all, rate, cli.FormatSize(s.Transferred)))
}

func (p *pullProgress) end() { p.line.End() }

// pulledJSON is a ref in the JSON of a pull.
type pulledJSON struct {
	Ref    string   `json:"ref,omitempty"`
	Commit string   `json:"commit"`
	Before string   `json:"before,omitempty"`
	Signed []string `json:"signedBy,omitempty"`
}

func (p *pullProgress) report(res pull.Result) error {
	s := res.Stats
	if p.json {
		refs := []pulledJSON{}
		for _, ref := range res.Refs {
			j := pulledJSON{Ref: ref.Name, Commit: ref.Commit.String(), Signed: ref.SignaturesBy}
			if !ref.Before.IsZero() {
				j.Before = ref.Before.String()
			}
			refs = append(refs, j)
		}
		return cli.PrintJSON(p.env.Stdout, map[string]any{"refs": refs, "metadata": s.Metadata, "content": s.Content,
			"transferred": s.Transferred, "requests": s.Requests, "contentBytes": s.ContentBytes, "seconds": s.Elapsed.Seconds()})
	}
	for _, ref := range res.Refs {
		for _, who := range ref.SignaturesBy {
			fmt.Fprintf(p.env.Stdout, "Good signature on %s by %s\n", ref.Commit, who)
		}
	}
	moved := ""
	if s.LocalMetadata+s.LocalContent > 0 {
		moved = fmt.Sprintf(" (%d meta, %d content local)", s.LocalMetadata, s.LocalContent)
	}
	if p.verb == "fetched" {
		moved += fmt.Sprintf("; %s transferred in %d seconds", transferred(s.Transferred), int(s.Elapsed.Seconds()))
	}
	_, err := fmt.Fprintf(p.env.Stdout, "%d metadata, %d content objects %s%s; %s content written\n",
		s.Metadata+s.Detached, s.Content, p.verb, moved, cli.FormatSize(s.ContentBytes))
	return err
}

// transferred writes the bytes of a transfer in the units that logs of pulls always had: B and KiB.
func transferred(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%d KiB", n/1024)
}
