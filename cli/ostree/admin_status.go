package ostree

import (
	"fmt"
	"strings"

	"photree/cli"
	"photree/deploy"

	"github.com/spf13/cobra"
)

// deploymentJSON is one deployment as `admin status --json` prints it.
type deploymentJSON struct {
	Checksum  string `json:"checksum"`
	Stateroot string `json:"stateroot"`
	Refspec   string `json:"refspec,omitempty"`
	Serial    int    `json:"serial"`
	Index     int    `json:"index"`
	Booted    bool   `json:"booted"`
	Pending   bool   `json:"pending"`
	Rollback  bool   `json:"rollback"`
	Staged    bool   `json:"staged"`
	Pinned    bool   `json:"pinned"`
	Unlocked  string `json:"unlocked"`
	Version   string `json:"version,omitempty"`
	Title     string `json:"source-title,omitempty"`
}

func newAdminStatus(a *admin) *cobra.Command {
	var asJSON, isDefault bool
	c := &cobra.Command{Use: "status", Short: "List deployments", Args: need(0, 0, "")}
	c.Flags().BoolVarP(&asJSON, "json", "J", false, "Print the list as JSON")
	c.Flags().BoolVarP(&isDefault, "is-default", "D", false, "Print \"default\" if the booted deployment is the default, else \"not-default\"")
	skip := c.Flags().BoolP("skip-signatures", "S", false, "Skip signatures in output")
	verify := c.Flags().BoolP("verify", "V", false, "Print the commit verification status, and fail if it is not good")
	c.RunE = a.reading(func(s *deploy.Sysroot, _ []string) error {
		st, err := s.Load()
		if err != nil {
			return err
		}
		a.PrintWarnings(st)
		switch {
		case isDefault:
			return printIsDefault(a, st)
		case asJSON:
			return cli.PrintJSON(a.Env.Stdout, map[string]any{"deployments": statusJSON(st)})
		}
		if len(st.Deployments) == 0 {
			fmt.Fprintln(a.Env.Stdout, "No deployments.")
		}
		for _, d := range st.Deployments {
			a.printDeployment(st, d)
			if *skip {
				continue
			}
			if err := printDeploymentSignatures(a.Env.Stdout, s.Repo(), d, *verify); err != nil {
				return err
			}
		}
		return nil
	})
	return c
}

func printIsDefault(a *admin, st *deploy.State) error {
	b := st.Booted()
	switch {
	case b == nil:
		return notBooted()
	case b.Index == 0:
		fmt.Fprintln(a.Env.Stdout, "default")
	default:
		fmt.Fprintln(a.Env.Stdout, "not-default")
	}
	return nil
}

// role tells what will or may become of a deployment, seen from the booted one.
func role(st *deploy.State, d *deploy.Deployment) string {
	b := st.Booted()
	switch {
	case b == nil:
	case st.Pending(b.Stateroot) == d:
		return "pending"
	case st.Rollback(b.Stateroot) == d:
		return "rollback"
	}
	return ""
}

func (a *admin) printDeployment(st *deploy.State, d *deploy.Deployment) {
	w := a.Env.Stdout
	mark, note := " ", ""
	if d.Booted {
		mark = "*"
	}
	if r := role(st, d); r != "" {
		note = " (" + r + ")"
	}
	fmt.Fprintf(w, "%s %s %s%s\n", mark, d.Stateroot, d.Name(), note)
	if d.Version != "" {
		fmt.Fprintf(w, "    Version: %s\n", d.Version)
	}
	if d.Pinned {
		fmt.Fprintln(w, "    Pinned: yes")
	}
	if u := unlocked(d); u != "none" {
		fmt.Fprintf(w, "    Unlocked: %s\n", u)
	}
	if spec := d.Refspec(); spec != "" {
		fmt.Fprintf(w, "    origin refspec: %s\n", spec)
	} else {
		fmt.Fprintln(w, "    origin: none")
	}
	if d.SourceTitle != "" {
		fmt.Fprintf(w, "    `- %s\n", d.SourceTitle)
	}
}

func unlocked(d *deploy.Deployment) string {
	if v, ok := d.Origin.Get("origin", "unlocked"); ok {
		return strings.TrimSpace(v)
	}
	return "none"
}

func statusJSON(st *deploy.State) []deploymentJSON {
	out := []deploymentJSON{}
	for _, d := range st.Deployments {
		r := role(st, d)
		out = append(out, deploymentJSON{
			Checksum: d.Commit.String(), Stateroot: d.Stateroot, Refspec: d.Refspec(), Serial: d.Serial, Index: d.Index,
			Booted: d.Booted, Pending: r == "pending", Rollback: r == "rollback", Pinned: d.Pinned, Unlocked: unlocked(d), Version: d.Version,
			Title: d.SourceTitle,
		})
	}
	return out
}
