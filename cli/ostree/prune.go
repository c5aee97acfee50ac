package ostree

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"photree/cli"
	"photree/repo"
	"photree/repo/object"

	"github.com/spf13/cobra"
)

func init() { register(newPrune) }

type pruneOptions struct {
	noPrune, refsOnly, json    bool
	commitOnly, deltasOnly     bool
	depth                      int
	deleteCommit, younger      string
	retainDepths, onlyBranches []string
}

func newPrune(env *cli.Env) *cobra.Command {
	var o pruneOptions
	c := &cobra.Command{Use: "prune", Short: "Search for unreachable objects", Args: need(0, 0, "")}
	at := addRepo(c)
	f := c.Flags()
	f.BoolVar(&o.noPrune, "no-prune", false, "Only display unreachable objects; don't delete")
	f.BoolVar(&o.refsOnly, "refs-only", false, "Only compute reachability via refs")
	f.IntVar(&o.depth, "depth", -1, "Only traverse `DEPTH` parents for each commit (-1=infinite)")
	f.StringVar(&o.deleteCommit, "delete-commit", "", "Delete `COMMIT`")
	f.StringVar(&o.younger, "keep-younger-than", "", "Prune all commits older than `DATE` (\"2026-01-31\", \"2026-01-31 12:00:00 +0100\", \"30 days ago\")")
	f.BoolVar(&o.deltasOnly, "static-deltas-only", false, "Change the behavior of delete-commit and keep-younger-than to prune only static deltas")
	f.StringArrayVar(&o.retainDepths, "retain-branch-depth", nil, "Additionally retain `BRANCH=DEPTH` commits")
	f.StringArrayVar(&o.onlyBranches, "only-branch", nil, "Only prune `BRANCH` (may be specified multiple times)")
	f.BoolVar(&o.commitOnly, "commit-only", false, "Only traverse and delete commit objects.")
	cli.AddJSON(c, &o.json)
	c.RunE = withRepo(env, at, func(r *repo.Repo, _ []string) error { return prune(env, r, o) })
	return c
}

func prune(env *cli.Env, r *repo.Repo, o pruneOptions) error {
	opts := repo.PruneOptions{Depth: o.depth, DryRun: o.noPrune, OnlyRefs: o.onlyBranches, CommitsOnly: o.commitOnly,
		RefsOnly: o.refsOnly || o.younger != "" || len(o.retainDepths) > 0 || len(o.onlyBranches) > 0}
	if o.deltasOnly && o.deleteCommit == "" {
		return cli.Fail("--static-deltas-only requires --delete-commit; see --help")
	}
	var err error
	if opts.RetainDepth, err = o.retained(); err != nil {
		return err
	}
	if o.deleteCommit != "" {
		if o.noPrune {
			return cli.Fail("Cannot specify both --delete-commit and --no-prune")
		}
		id, err := r.ResolveRev(o.deleteCommit)
		if err != nil {
			return err
		}
		if o.deltasOnly {
			return pruneDeltas(r, id)
		}
		opts.DeleteCommit = id
	}
	if o.younger != "" {
		t, err := parseDate(o.younger, time.Now())
		if err != nil {
			return err
		}
		opts.KeepYoungerThan = t
	}
	res, err := r.Prune(env.Ctx, opts)
	if err != nil {
		return err
	}
	if o.json {
		return cli.PrintJSON(env.Stdout, map[string]any{"total": res.Total, "pruned": res.Pruned, "freed": res.Freed, "dryRun": o.noPrune})
	}
	fmt.Fprintf(env.Stdout, "Total objects: %d\n", res.Total)
	size := cli.FormatSize(res.Freed)
	switch {
	case res.Pruned == 0:
		fmt.Fprintln(env.Stdout, "No unreachable objects")
	case o.noPrune:
		fmt.Fprintf(env.Stdout, "Would delete: %d objects, freeing %s\n", res.Pruned, size)
	default:
		fmt.Fprintf(env.Stdout, "Deleted %d objects, %s freed\n", res.Pruned, size)
	}
	return nil
}

// retained reads the options --retain-branch-depth.
func (o *pruneOptions) retained() (map[string]int, error) {
	depths := map[string]int{}
	for _, text := range o.retainDepths {
		ref, depth, ok := strings.Cut(text, "=")
		if !ok {
			return nil, cli.Fail("Invalid value %s, must specify BRANCH=DEPTH", text)
		}
		n, err := strconv.Atoi(depth)
		if err != nil || n < -1 {
			return nil, cli.Fail("Invalid depth %s", depth)
		}
		depths[ref] = n
	}
	return depths, nil
}

// pruneDeltas removes the static deltas to one commit.
func pruneDeltas(r *repo.Repo, to object.ID) error {
	deltas, err := r.Deltas()
	if err != nil {
		return err
	}
	for _, d := range deltas {
		if d.To == to {
			if err := r.DeleteDelta(d); err != nil {
				return err
			}
		}
	}
	return nil
}

var dateLayouts = []string{
	time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05 -0700", "2006-01-02 15:04:05 MST",
	"2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02",
	time.RFC1123Z, time.RFC1123, time.UnixDate, time.ANSIC,
	"January 2 2006", "January 2, 2006", "Jan 2 2006", "Jan 2, 2006", "2 January 2006", "2 Jan 2006",
	"January 2 2006 15:04:05", "2 January 2006 15:04:05",
}

// parseDate reads the dates that people give to scripts: a full one, a day, seconds since 1970, or a number of units ago.
func parseDate(text string, now time.Time) (time.Time, error) {
	text = strings.TrimSpace(text)
	if seconds, ok := strings.CutPrefix(text, "@"); ok {
		n, err := strconv.ParseInt(seconds, 10, 64)
		return time.Unix(n, 0), err
	}
	for _, layout := range dateLayouts {
		if t, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return t, nil
		}
	}
	if t, ok := ago(strings.Fields(strings.ToLower(text)), now); ok {
		return t, nil
	}
	return time.Time{}, cli.Fail("Could not parse '%s'", text)
}

// ago reads "3 days ago", "-3 days", "yesterday", "now".
func ago(words []string, now time.Time) (time.Time, bool) {
	if len(words) == 1 {
		switch words[0] {
		case "now":
			return now, true
		case "yesterday":
			return now.AddDate(0, 0, -1), true
		}
		return now, false
	}
	n, err := strconv.Atoi(words[0])
	past := len(words) == 3 && words[2] == "ago"
	if err != nil || len(words) != 2 && !past || past && n < 0 {
		return now, false
	}
	if past {
		n = -n
	}
	switch strings.TrimSuffix(words[1], "s") {
	case "second", "sec":
		return now.Add(time.Duration(n) * time.Second), true
	case "minute", "min":
		return now.Add(time.Duration(n) * time.Minute), true
	case "hour":
		return now.Add(time.Duration(n) * time.Hour), true
	case "day":
		return now.AddDate(0, 0, n), true
	case "week":
		return now.AddDate(0, 0, 7*n), true
	case "month":
		return now.AddDate(0, n, 0), true
	case "year":
		return now.AddDate(n, 0, 0), true
	}
	return now, false
}
