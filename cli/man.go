package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// ManPage writes the manual page of one command in roff, from its own description. The same tree gives the same bytes:
// there is no date in it, and the version is the caller's.
func ManPage(c *cobra.Command, version string) string {
	var b strings.Builder
	name := strings.ReplaceAll(c.CommandPath(), " ", "-")
	fmt.Fprintf(&b, ".\\\" made from the command itself\n.TH %s 1 \"\" %s \"User Commands\"\n",
		quoteRoff(strings.ToUpper(name)), quoteRoff("photree "+version))
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", escapeRoff(name), escapeRoff(c.Short))
	fmt.Fprintf(&b, ".SH SYNOPSIS\n.B %s\n", escapeRoff(c.CommandPath()))
	verbs := Verbs(c)
	if len(verbs) > 0 {
		b.WriteString("[\\fIOPTION\\fR]... \\fICOMMAND\\fR\n")
	} else {
		_, operands, _ := strings.Cut(c.Use, " ")
		fmt.Fprintf(&b, "[\\fIOPTION\\fR]... %s\n", escapeRoff(operands))
	}
	if c.Long != "" {
		b.WriteString(".SH DESCRIPTION\n")
		roffText(&b, c.Long)
	}
	if len(verbs) > 0 {
		b.WriteString(".SH COMMANDS\n")
		for _, v := range verbs {
			fmt.Fprintf(&b, ".TP\n\\fB%s\\fR\n%s\n", escapeRoff(v.Name()), escapeRoff(v.Short))
		}
	}
	b.WriteString(".SH OPTIONS\n")
	for _, f := range Options(c) {
		syntax, help := OptionSyntax(f)
		fmt.Fprintf(&b, ".TP\n\\fB%s\\fR\n%s\n", escapeRoff(syntax), escapeRoff(help))
	}
	if c.Example != "" {
		fmt.Fprintf(&b, ".SH EXAMPLES\n.nf\n%s\n.fi\n", escapeRoff(strings.TrimRight(c.Example, "\n")))
	}
	roffLinks(&b, c)
	return b.String()
}

// roffLinks names the pages of the commands around c.
func roffLinks(b *strings.Builder, c *cobra.Command) {
	related := Verbs(c)
	if c.HasParent() {
		related = append([]*cobra.Command{c.Parent()}, related...)
	}
	if len(related) == 0 {
		return
	}
	b.WriteString(".SH SEE ALSO\n")
	for i, r := range related {
		comma := ""
		if i < len(related)-1 {
			comma = " ,"
		}
		fmt.Fprintf(b, ".BR %s (1)%s\n", escapeRoff(strings.ReplaceAll(r.CommandPath(), " ", "-")), comma)
	}
}

// roffText writes paragraphs; a blank line divides them.
func roffText(b *strings.Builder, text string) {
	for i, paragraph := range strings.Split(strings.TrimSpace(text), "\n\n") {
		if i > 0 {
			b.WriteString(".PP\n")
		}
		fmt.Fprintln(b, escapeRoff(paragraph))
	}
}

// escapeRoff keeps text from being read as requests.
func escapeRoff(s string) string {
	s = strings.ReplaceAll(s, `\`, `\e`)
	s = strings.ReplaceAll(s, "-", `\-`)
	lines := strings.Split(s, "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			lines[i] = `\&` + line
		}
	}
	return strings.Join(lines, "\n")
}

func quoteRoff(s string) string { return `"` + strings.ReplaceAll(escapeRoff(s), `"`, `\(dq`) + `"` }
