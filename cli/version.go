package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

// AddVersion gives a tree the option --version. It prints a small YAML document: scripts look up the feature list in it.
func AddVersion(root *cobra.Command, name string, features ...string) {
	root.PersistentFlags().BoolFunc("version", "Print version information and exit", func(string) error {
		return &versionAsked{name: name, features: features}
	})
}

// versionAsked travels as an error, so that --version wins over missing verbs and arguments wherever it stands.
type versionAsked struct {
	name     string
	features []string
}

func (v *versionAsked) Error() string { return "version asked for" }

func (v *versionAsked) print(w io.Writer, version string) {
	fmt.Fprintf(w, "%s:\n Version: '%s'\n", v.name, version)
	if len(v.features) == 0 {
		return
	}
	fmt.Fprintln(w, " Features:")
	for _, f := range v.features {
		fmt.Fprintf(w, "  - %s\n", f)
	}
}

// AddVerbose gives every command of a finished tree the option -v, --verbose, which the original tools take everywhere.
// A verb that has declared either name itself keeps its own (`summary -v` views, `status -v` says more).
func AddVerbose(c *cobra.Command) {
	const name, short, usage = "verbose", "v", "Print debug information during command processing"
	f := c.Flags()
	switch {
	case f.Lookup(name) != nil:
	case f.ShorthandLookup(short) != nil:
		f.Bool(name, false, usage)
	default:
		f.BoolP(name, short, false, usage)
	}
	for _, child := range c.Commands() {
		AddVerbose(child)
	}
}
