package ostree

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"photree/cli"
	"photree/internal/gvariant"
	"photree/repo"
	"photree/repo/object"
	"photree/repo/sign"
	"photree/repo/tree"

	"github.com/spf13/cobra"
)

func init() { register(newSummary) }

type summaryOptions struct {
	update, view, raw, listKeys, json bool
	key                               string
	add                               []string
	sign                              signFlags
	report                            sign.Report
}

func newSummary(env *cli.Env) *cobra.Command {
	var o summaryOptions
	// A text behind -u is taken and means nothing: the Photon book writes one.
	c := &cobra.Command{Use: "summary", Short: "Manage summary metadata", Args: cobra.ArbitraryArgs}
	at := addRepo(c)
	f := c.Flags()
	f.BoolVarP(&o.update, "update", "u", false, "Update the summary")
	f.BoolVarP(&o.view, "view", "v", false, "View the local summary file")
	f.BoolVar(&o.raw, "raw", false, "View the raw bytes of the summary file")
	f.BoolVar(&o.listKeys, "list-metadata-keys", false, "List the available metadata keys")
	f.StringVar(&o.key, "print-metadata-key", "", "Print the value of metadata `KEY`")
	f.StringArrayVarP(&o.add, "add-metadata", "m", nil, "Additional metadata field to add to the summary: `KEY=VALUE`")
	o.sign.add(f, "summary")
	cli.AddJSON(c, &o.json)
	c.RunE = withRepo(env, at, func(r *repo.Repo, _ []string) error {
		switch {
		case o.update:
			return updateSummary(env, r, o)
		case o.view || o.raw || o.listKeys || o.key != "" || o.json:
			return viewSummary(env.Stdout, r, o)
		}
		return cli.Fail("No option specified; use -u to update summary")
	})
	return c
}

func updateSummary(env *cli.Env, r *repo.Repo, o summaryOptions) error {
	var d gvariant.Dict
	for _, kv := range o.add {
		key, text, ok := strings.Cut(kv, "=")
		if !ok {
			return cli.Fail("Missing '=' in KEY=VALUE metadata '%s'", kv)
		}
		v, err := parseText(text)
		if err != nil {
			return cli.Fail("Parsing %s: %w", kv, err)
		}
		d.Set(key, v)
	}
	opts := repo.SummaryOptions{Metadata: d}
	signers, err := o.sign.signers()
	if err != nil {
		return err
	}
	if len(signers) > 0 {
		opts.Sign = func(summary []byte) (gvariant.Dict, error) {
			var d gvariant.Dict
			err := sign.Sign(env.Ctx, &d, summary, signers...)
			return d, err
		}
	}
	if r.CollectionID() != "" {
		if err := commitMetadata(env, r, d, signers); err != nil {
			return err
		}
	}
	return r.UpdateSummary(env.Ctx, opts)
}

func viewSummary(w io.Writer, r *repo.Repo, o summaryOptions) error {
	s, err := r.LoadSummary()
	if errors.Is(err, repo.ErrNotFound) {
		return errors.New("the repository has no summary; make one with `ostree summary -u`")
	}
	if err != nil {
		return err
	}
	return printSummary(w, s, o)
}

// printSummary writes a summary as `ostree summary -v` and `ostree remote summary` do.
func printSummary(w io.Writer, s repo.Summary, o summaryOptions) error {
	switch {
	case o.raw:
		_, err := fmt.Fprintln(w, formatRaw(repo.SummaryType, s.Encode()))
		return err
	case o.listKeys:
		for _, e := range sortedEntries(s.Metadata) {
			fmt.Fprintln(w, e.Key)
		}
		return nil
	case o.key != "":
		v, ok := s.Metadata.Get(o.key)
		if !ok {
			return cli.Fail("No such metadata key '%s'", o.key)
		}
		_, err := fmt.Fprintln(w, formatText(gvariant.Byteswap(unwrap(v)), true))
		return err
	case o.json:
		return cli.PrintJSON(w, summaryToJSON(s))
	}
	collections, err := s.Collections()
	if err != nil {
		return err
	}
	if s.Metadata.GetString("ostree.summary.collection-id") == "" {
		printSummaryRefs(w, "%s", s.Refs)
	}
	for _, c := range collections {
		printSummaryRefs(w, "("+c.ID+", %s)", c.Refs)
	}
	for _, e := range s.Metadata {
		if e.Key == "ostree.summary.collection-map" {
			continue // just printed
		}
		fmt.Fprintln(w, summaryKey(e.Key, unwrap(e.Value)))
	}
	if o.report != nil {
		fmt.Fprintln(w)
		printReport(w, "GPG: Verification enabled, found", o.report)
	}
	return nil
}

func printSummaryRefs(w io.Writer, name string, refs []repo.SummaryRef) {
	for _, ref := range refs {
		fmt.Fprintf(w, "* "+name+"\n    Latest Commit (%s):\n      %s\n", ref.Name, cli.FormatSize(int64(ref.Size)), ref.ID)
		for _, e := range ref.Metadata {
			fmt.Fprintf(w, "    %s\n", summaryKey(e.Key, unwrap(e.Value)))
		}
		fmt.Fprintln(w)
	}
}

// metadataRef is the ref that a repository with a collection id keeps the metadata of its summary under, so that it can
// be verified as a commit wherever it was mirrored to.
const metadataRef = "ostree-metadata"

// commitMetadata makes a commit of an empty tree with the metadata of the summary.
func commitMetadata(env *cli.Env, r *repo.Repo, d gvariant.Dict, signers []sign.Signer) error {
	return transact(env, r, func(txn *repo.Txn) error {
		root, err := txn.WriteMetadata(object.KindDirTree, object.DirTree{}.Encode())
		if err != nil {
			return err
		}
		meta, err := txn.WriteMetadata(object.KindDirMeta, object.DirMeta{Mode: object.ModeDir | 0o755}.Encode())
		if err != nil {
			return err
		}
		id, err := tree.WriteCommit(txn, root, meta, tree.CommitOptions{Ref: metadataRef, Metadata: d})
		if err != nil {
			return err
		}
		return signStaged(env.Ctx, txn, id, nil, signers)
	})
}

// summaryKey writes one key with its value; the known ones have a name for people.
func summaryKey(key string, v gvariant.Value) string {
	name, known := map[string]string{
		"ostree.summary.mode":              "Repository Mode",
		"ostree.summary.last-modified":     "Last-Modified",
		"ostree.summary.tombstone-commits": "Has Tombstone Commits",
		"ostree.summary.expires":           "Expires",
		"ostree.summary.collection-id":     "Collection ID",
		"ostree.static-deltas":             "Static Deltas",
		"ostree.commit.version":            "Version",
		"ostree.commit.timestamp":          "Timestamp",
	}[key]
	text := formatText(v, false)
	switch v.Type() {
	case "t":
		if known {
			text = time.Unix(int64(gvariant.BE64(v.Uint64())), 0).UTC().Format("2006-01-02T15:04:05-07")
		}
	case "b":
		if known {
			text = map[bool]string{true: "Yes", false: "No"}[v.Bool()]
		}
	case "s":
		text = v.Str()
	}
	if !known {
		return key + ": " + text
	}
	return fmt.Sprintf("%s (%s): %s", name, key, text)
}

type summaryRefJSON struct {
	Ref       string    `json:"ref"`
	Commit    object.ID `json:"commit"`
	Version   string    `json:"version,omitempty"`
	Timestamp string    `json:"timestamp,omitempty"`
}

func summaryToJSON(s repo.Summary) any {
	refs := []summaryRefJSON{}
	for _, ref := range s.Refs {
		j := summaryRefJSON{Ref: ref.Name, Commit: ref.ID, Version: ref.Metadata.GetString("ostree.commit.version")}
		if v, ok := ref.Metadata.Get("ostree.commit.timestamp"); ok && unwrap(v).Type() == "t" {
			j.Timestamp = time.Unix(int64(gvariant.BE64(unwrap(v).Uint64())), 0).UTC().Format(time.RFC3339)
		}
		refs = append(refs, j)
	}
	metadata := map[string]string{}
	for _, e := range s.Metadata {
		metadata[e.Key] = formatText(unwrap(e.Value), false)
	}
	return map[string]any{"refs": refs, "metadata": metadata}
}

func sortedEntries(d gvariant.Dict) gvariant.Dict {
	sorted := slices.Clone(d)
	slices.SortFunc(sorted, func(a, b gvariant.Entry) int { return strings.Compare(a.Key, b.Key) })
	return sorted
}
