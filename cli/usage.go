package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func usage(c *cobra.Command) error {
	printUsage(c, c.OutOrStderr())
	return nil
}

// printUsage writes what a command does and takes, in the layout that people know from the original tools.
func printUsage(c *cobra.Command, w io.Writer) {
	verbs := Verbs(c)
	synopsis := strings.TrimSuffix(c.UseLine(), " [flags]")
	if name, rest, ok := strings.Cut(strings.TrimPrefix(synopsis, c.CommandPath()), " "); ok && name == "" && rest != "" {
		synopsis = c.CommandPath() + " [OPTION…] " + rest
	} else {
		synopsis = c.CommandPath() + " [OPTION…]"
		if len(verbs) > 0 {
			synopsis += " COMMAND"
		}
	}
	fmt.Fprintf(w, "Usage:\n  %s\n\n", synopsis)
	switch {
	case c.Long != "":
		fmt.Fprintf(w, "%s\n\n", strings.TrimSpace(c.Long))
	case c.Short != "":
		fmt.Fprintf(w, "%s\n\n", c.Short)
	}
	if len(verbs) > 0 {
		heading := "Builtin Commands:"
		if c.HasParent() {
			heading = fmt.Sprintf("Builtin %q Commands:", c.Name())
		}
		fmt.Fprintln(w, heading)
		width := 0
		for _, v := range verbs {
			width = max(width, len(v.Name()))
		}
		for _, v := range verbs {
			fmt.Fprintf(w, "  %-*s  %s\n", width+1, v.Name(), v.Short)
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintf(w, "Options:\n%s\n", optionTable(Options(c)))
}

// Verbs returns the visible subcommands, in the order of their names.
func Verbs(c *cobra.Command) []*cobra.Command {
	var verbs []*cobra.Command
	for _, child := range c.Commands() {
		if !child.Hidden {
			verbs = append(verbs, child)
		}
	}
	return verbs
}

// Options returns the visible options of a command, its own before those of its parents.
func Options(c *cobra.Command) []*pflag.Flag {
	var own, inherited []*pflag.Flag
	seen := map[string]bool{}
	add := func(to *[]*pflag.Flag) func(*pflag.Flag) {
		return func(f *pflag.Flag) {
			if f.Hidden || seen[f.Name] {
				return
			}
			seen[f.Name] = true
			*to = append(*to, f)
		}
	}
	c.LocalNonPersistentFlags().VisitAll(add(&own))
	c.PersistentFlags().VisitAll(add(&own))
	c.InheritedFlags().VisitAll(add(&inherited))
	return append(own, inherited...)
}

// OptionSyntax writes an option as a manual does: `-b, --branch=BRANCH`. The placeholder is the word that stands between
// backquotes in the option's description.
func OptionSyntax(f *pflag.Flag) (syntax, help string) {
	placeholder, help := pflag.UnquoteUsage(f)
	if f.Shorthand != "" {
		syntax = "-" + f.Shorthand + ", "
	}
	syntax += "--" + f.Name
	if f.NoOptDefVal == "" {
		if !strings.Contains(f.Usage, "`") {
			placeholder = strings.ToUpper(placeholder)
		}
		syntax += "=" + placeholder
	}
	return syntax, help
}

func optionTable(flags []*pflag.Flag) string {
	width := 0
	for _, f := range flags {
		syntax, _ := OptionSyntax(f)
		width = max(width, len(syntax))
	}
	var b strings.Builder
	for _, f := range flags {
		syntax, help := OptionSyntax(f)
		fmt.Fprintf(&b, "  %-*s  %s\n", width, syntax, help)
	}
	return b.String()
}
