package ostree

import (
	"fmt"
	"io"
	"strings"
	"time"

	"photree/cli"
	"photree/internal/gvariant"
	"photree/repo"
	"photree/repo/object"

	"github.com/spf13/cobra"
)

func init() { register(newLog) }

func newLog(env *cli.Env) *cobra.Command {
	var raw, asJSON bool
	c := &cobra.Command{Use: "log REV", Short: "Show log starting at commit or ref", Args: need(1, 1, "A rev argument is required")}
	at := addRepo(c)
	c.Flags().BoolVar(&raw, "raw", false, "Show raw variant data")
	cli.AddJSON(c, &asJSON)
	c.RunE = withRepo(env, at, func(r *repo.Repo, args []string) error {
		id, err := r.ResolveRev(args[0])
		if err != nil {
			return err
		}
		commits, ids, absent, err := history(r, id)
		if err != nil {
			return err
		}
		if asJSON {
			return printHistoryJSON(env.Stdout, ids, commits)
		}
		for i, commit := range commits {
			printCommit(env.Stdout, ids[i], commit, raw)
		}
		if !absent.IsZero() && !raw {
			fmt.Fprint(env.Stdout, "<< History beyond this commit not fetched >>\n")
		}
		return nil
	})
	return c
}

// history loads a commit and its parents, as far as they are here; absent is the first parent that is not.
func history(r *repo.Repo, id object.ID) (commits []object.Commit, ids []object.ID, absent object.ID, err error) {
	for !id.IsZero() {
		has, err := r.HasObject(object.Name{ID: id, Kind: object.KindCommit})
		if err != nil {
			return nil, nil, absent, err
		}
		if !has && len(ids) > 0 {
			return commits, ids, id, nil
		}
		commit, err := r.LoadCommit(id)
		if err != nil {
			return nil, nil, absent, err
		}
		commits, ids = append(commits, commit), append(ids, id)
		id = commit.Parent
	}
	return commits, ids, absent, nil
}

// commitVersion returns the key "version" of a commit, or "".
func commitVersion(c object.Commit) string { return c.Metadata.GetString("version") }

// printCommit writes one commit as `ostree log` and `ostree show` do.
func printCommit(w io.Writer, id object.ID, c object.Commit, raw bool) {
	fmt.Fprintf(w, "commit %s\n", id)
	if raw {
		fmt.Fprintln(w, formatRaw(object.CommitType, c.Encode()))
		return
	}
	if !c.Parent.IsZero() {
		fmt.Fprintf(w, "Parent:  %s\n", c.Parent)
	}
	fmt.Fprintf(w, "ContentChecksum:  %s\n", c.ContentChecksum())
	fmt.Fprintf(w, "Date:  %s\n", c.Time().Format("2006-01-02 15:04:05 -0700"))
	if v := commitVersion(c); v != "" {
		fmt.Fprintf(w, "Version: %s\n", v)
	}
	fmt.Fprintln(w)
	if c.Subject == "" {
		fmt.Fprintln(w, "(no subject)")
	} else {
		indent(w, c.Subject)
	}
	fmt.Fprintln(w)
	if c.Body != "" {
		indent(w, c.Body)
		fmt.Fprintln(w)
	}
}

func indent(w io.Writer, text string) {
	for line := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n") {
		fmt.Fprintf(w, "    %s\n", line)
	}
}

// formatRaw prints a metadata object in GVariant text with the integers in this machine's order.
func formatRaw(typ string, data []byte) string {
	v, err := gvariant.Parse(typ, data)
	if err != nil {
		return err.Error()
	}
	return formatText(gvariant.Byteswap(v), true)
}

// commitJSON is one commit in the JSON of `log` and `show`.
type commitJSON struct {
	Commit   object.ID         `json:"commit"`
	Parent   string            `json:"parent,omitempty"`
	Content  object.ID         `json:"contentChecksum"`
	Date     string            `json:"date"`
	Version  string            `json:"version,omitempty"`
	Subject  string            `json:"subject"`
	Body     string            `json:"body,omitempty"`
	Metadata map[string]string `json:"metadata,omitempty"`
}

func toJSON(id object.ID, c object.Commit) commitJSON {
	j := commitJSON{Commit: id, Content: c.ContentChecksum(), Date: c.Time().Format(time.RFC3339),
		Version: commitVersion(c), Subject: c.Subject, Body: c.Body, Metadata: map[string]string{}}
	if !c.Parent.IsZero() {
		j.Parent = c.Parent.String()
	}
	for _, e := range c.Metadata {
		j.Metadata[e.Key] = formatText(unwrap(e.Value), false)
	}
	return j
}

func printHistoryJSON(w io.Writer, ids []object.ID, commits []object.Commit) error {
	list := []commitJSON{}
	for i, c := range commits {
		list = append(list, toJSON(ids[i], c))
	}
	return cli.PrintJSON(w, list)
}

func unwrap(v gvariant.Value) gvariant.Value {
	if v.Type() == "v" {
		return v.Variant()
	}
	return v
}
