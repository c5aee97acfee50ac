package rpmostree

import (
	"fmt"
	"strings"
	"time"

	"photree/cli"
	"photree/deploy"
	"photree/host"
	"photree/internal/gvariant"
	"photree/repo/sign"

	"github.com/spf13/cobra"
)

func init() { register(newStatus) }

type statusVerb struct {
	*hostVerb
	verbose, booted, pending77, asJSON bool
	jsonPath                           string
}

func newStatus(env *cli.Env) *cobra.Command {
	c := &cobra.Command{Use: "status", Short: "Get the version of the booted system", Args: cobra.NoArgs}
	v := &statusVerb{hostVerb: newHostVerb(env, c)}
	f := c.Flags()
	f.BoolVarP(&v.verbose, "verbose", "v", false, "Print additional fields (e.g. StateRoot)")
	f.BoolVarP(&v.verbose, "pretty", "p", false, "The same as --verbose")
	f.Lookup("pretty").Hidden = true
	f.BoolVar(&v.asJSON, "json", false, "Output JSON")
	f.StringVarP(&v.jsonPath, "jsonpath", "J", "", "Filter JSONPath `EXPRESSION`")
	f.BoolVarP(&v.booted, "booted", "b", false, "Only print the booted deployment")
	f.BoolP("advisories", "a", false, "Ignored: advisories are not listed")
	f.BoolVar(&v.pending77, "pending-exit-77", false, "If pending deployment available, exit 77")
	c.RunE = v.Reading(func(s *deploy.Sysroot, _ []string) error { return v.run(s) })
	return c
}

func (v *statusVerb) run(s *deploy.Sysroot) error {
	st, err := s.Load()
	if err != nil {
		return err
	}
	v.PrintWarnings(st)
	list := st.Deployments
	if v.booted {
		b := st.Booted()
		if b == nil {
			return cli.Fail("This option can only be used when booted")
		}
		list = []*deploy.Deployment{b}
	}
	switch {
	case v.asJSON && v.jsonPath != "":
		return cli.Fail("Cannot specify both --json and --jsonpath")
	case v.asJSON || v.jsonPath != "":
		err = v.printJSON(s, list)
	default:
		v.printText(s, st, list)
	}
	if err == nil && v.pending77 && st.Booted() != nil && st.Pending(st.Booted().Stateroot) != nil {
		return &cli.ExitError{Code: 77}
	}
	return err
}

func (v *statusVerb) printText(s *deploy.Sysroot, st *deploy.State, list []*deploy.Deployment) {
	w := v.Env.Stdout
	fmt.Fprintln(w, "State: idle")
	if v.verbose {
		fmt.Fprintln(w, "AutomaticUpdates: disabled")
	}
	fmt.Fprintln(w, "Deployments:")
	if len(list) == 0 {
		fmt.Fprintln(w, "  (none)")
	}
	for i, d := range list {
		if i > 0 {
			fmt.Fprintln(w)
		}
		v.printDeployment(s, st, d)
	}
}

// keyWidth is the column that the names of fields end at.
const keyWidth = 26

func (v *statusVerb) field(key, value string) {
	fmt.Fprintf(v.Env.Stdout, "%*s: %s\n", keyWidth, key, value)
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

func (v *statusVerb) printDeployment(s *deploy.Sysroot, st *deploy.State, d *deploy.Deployment) {
	mark := " "
	if d.Booted {
		mark = "●"
	}
	name := d.Commit.String()
	if spec := d.Refspec(); spec != "" {
		name = "ostree://" + spec
	}
	fmt.Fprintf(v.Env.Stdout, "%s %s\n", mark, name)
	if d.Version != "" {
		v.field("Version", fmt.Sprintf("%s (%s)", d.Version, stamp(d.Timestamp)))
	} else {
		v.field("Timestamp", stamp(d.Timestamp))
	}
	v.field("Commit", d.Commit.String())
	v.printSignatures(s, d)
	if v.verbose {
		for i, r := range rpmmdRepos(s, d) {
			mark := "├─"
			if i == len(rpmmdRepos(s, d))-1 {
				mark = "└─"
			}
			fmt.Fprintf(v.Env.Stdout, "%*s  %s %s (%s)\n", keyWidth, "", mark, r.id, stamp(r.time))
		}
		v.field("Staged", "no")
		v.field("StateRoot", d.Stateroot)
	}
	if b := st.Booted(); b != nil && !d.Booted && st.Pending(b.Stateroot) == d {
		if diff, err := host.Compare(v.Env.Ctx, s.Repo(), b.Commit, d.Commit); err == nil && !diff.IsEmpty() {
			v.field("Diff", summary(diff))
			if v.verbose {
				printBlocks(v.Env, diff, strings.Repeat(" ", keyWidth+2))
			}
		}
	}
	if o, ok := d.Origin.Get("origin", "override-commit"); ok {
		v.field("PinnedCommit", o)
	}
	if u, ok := d.Origin.Get("origin", "unlocked"); ok {
		v.field("Unlocked", u)
	}
	if d.Pinned {
		v.field("Pinned", "yes")
	}
}

// printSignatures says who signed the commit, where the remote wants it signed.
func (v *statusVerb) printSignatures(s *deploy.Sysroot, d *deploy.Deployment) {
	report, wanted := signatures(s, d)
	if !wanted {
		return
	}
	if len(report) == 0 {
		v.field("GPGSignature", "(unsigned)")
	}
	for i := range report {
		switch r := &report[i]; {
		case r.Valid():
			v.field("GPGSignature", "Valid signature by "+r.Fingerprint)
		case r.KeyMissing:
			v.field("GPGSignature", "Can't check signature: public key not found: "+r.KeyID)
		default:
			v.field("GPGSignature", "Invalid signature by "+r.Fingerprint)
		}
		if v.verbose {
			fmt.Fprint(v.Env.Stdout, report[i].Describe(strings.Repeat(" ", keyWidth+2)))
		}
	}
}

// signatures checks those of a deployment's commit; a status is worth printing without them, too.
func signatures(s *deploy.Sysroot, d *deploy.Deployment) (sign.Report, bool) {
	remote, _, ok := strings.Cut(d.Refspec(), ":")
	if !ok {
		return nil, false
	}
	report, wanted, err := sign.ReportFor(s.Repo(), remote, d.Commit)
	return report, wanted && err == nil
}

type rpmmdRepo struct {
	id   string
	time time.Time
}

// rpmmdRepos are the package repositories that the commit was composed from.
func rpmmdRepos(s *deploy.Sysroot, d *deploy.Deployment) []rpmmdRepo {
	c, err := s.Repo().LoadCommit(d.Commit)
	if err != nil {
		return nil
	}
	list, ok := c.Metadata.Get("rpmostree.rpmmd-repos")
	if !ok || list.Type() != "aa{sv}" {
		return nil
	}
	var out []rpmmdRepo
	for i := range list.Len() {
		entry := list.Index(i).Dict()
		r := rpmmdRepo{id: entry.GetString("id")}
		if t, ok := entry.Get("timestamp"); ok && t.Type() == "t" {
			r.time = time.Unix(int64(gvariant.BE64(t.Uint64())), 0)
		}
		out = append(out, r)
	}
	return out
}

// statusJSON has the keys that programs know from the original.
type statusJSON struct {
	Deployments  []deploymentJSON `json:"deployments"`
	Transaction  any              `json:"transaction"`
	CachedUpdate any              `json:"cached-update"`
	UpdateDriver any              `json:"update-driver"`
}

type deploymentJSON struct {
	ID               string         `json:"id"`
	OSName           string         `json:"osname"`
	Stateroot        string         `json:"stateroot"`
	Serial           int            `json:"serial"`
	Checksum         string         `json:"checksum"`
	BaseChecksum     string         `json:"base-checksum,omitempty"`
	Version          string         `json:"version,omitempty"`
	Timestamp        int64          `json:"timestamp"`
	Origin           string         `json:"origin,omitempty"`
	Booted           bool           `json:"booted"`
	Pinned           bool           `json:"pinned"`
	Staged           bool           `json:"staged"`
	Unlocked         string         `json:"unlocked"`
	RegenInitramfs   bool           `json:"regenerate-initramfs"`
	InitramfsArgs    []string       `json:"initramfs-args"`
	InitramfsEtc     []string       `json:"initramfs-etc"`
	Packages         []string       `json:"packages"`
	Requested        []string       `json:"requested-packages"`
	RequestedLocal   []string       `json:"requested-local-packages"`
	RequestedRemoval []string       `json:"requested-base-removals"`
	BaseRemovals     []string       `json:"base-removals"`
	BaseLocalReplace []string       `json:"base-local-replacements"`
	Modules          []string       `json:"modules"`
	GPGEnabled       bool           `json:"gpg-enabled"`
	BaseCommitMeta   map[string]any `json:"base-commit-meta"`
}

func (v *statusVerb) printJSON(s *deploy.Sysroot, list []*deploy.Deployment) error {
	out := statusJSON{Deployments: []deploymentJSON{}}
	none := []string{}
	for _, d := range list {
		j := deploymentJSON{
			ID: d.Stateroot + "-" + d.Name(), OSName: d.Stateroot, Stateroot: d.Stateroot, Serial: d.Serial, Checksum: d.Commit.String(),
			Version: d.Version, Timestamp: d.Timestamp.Unix(), Origin: d.Refspec(), Booted: d.Booted, Pinned: d.Pinned, Unlocked: "none",
			InitramfsArgs: none, InitramfsEtc: none, Packages: none, Requested: none, RequestedLocal: none, RequestedRemoval: none,
			BaseRemovals: none, BaseLocalReplace: none, Modules: none, BaseCommitMeta: commitMeta(s, d),
		}
		if u, ok := d.Origin.Get("origin", "unlocked"); ok {
			j.Unlocked = u
		}
		_, j.GPGEnabled = signatures(s, d)
		out.Deployments = append(out.Deployments, j)
	}
	if v.jsonPath == "" {
		return cli.PrintJSON(v.Env.Stdout, out)
	}
	found, err := jsonPath(out, v.jsonPath)
	if err != nil {
		return err
	}
	return cli.PrintJSON(v.Env.Stdout, found)
}

// commitMeta gives the plain values of the commit's metadata.
func commitMeta(s *deploy.Sysroot, d *deploy.Deployment) map[string]any {
	out := map[string]any{}
	c, err := s.Repo().LoadCommit(d.Commit)
	if err != nil {
		return out
	}
	for _, e := range c.Metadata {
		switch e.Value.Type() {
		case "s":
			out[e.Key] = e.Value.Str()
		case "b":
			out[e.Key] = e.Value.Bool()
		case "as":
			out[e.Key] = e.Value.Strv()
		}
	}
	return out
}
