package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// AddJSON gives a listing the option --json, which every listing has.
func AddJSON(c *cobra.Command, to *bool) {
	c.Flags().BoolVar(to, "json", false, "Print the list as JSON")
}

// PrintJSON writes v as indented JSON with a line break at its end.
func PrintJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// UsageError prints the usage of c on stderr and returns the error that ends the command.
func UsageError(c *cobra.Command, message string) error {
	printUsage(c, c.ErrOrStderr())
	return fmt.Errorf("%s", message)
}

// FormatSize writes a number of bytes as GLib's g_format_size does: decimal units, one place.
func FormatSize(n int64) string {
	if n == 1 {
		return "1 byte"
	}
	if n < 1000 {
		return fmt.Sprintf("%d bytes", n)
	}
	f := float64(n)
	for _, unit := range []string{"kB", "MB", "GB", "TB", "PB"} {
		if f /= 1000; f < 999.95 || unit == "PB" {
			return fmt.Sprintf("%.1f\u00a0%s", f, unit)
		}
	}
	return ""
}

// Line shows one line of progress that is written over while w is a terminal, and nothing otherwise: logs stay readable.
type Line struct {
	w     io.Writer
	live  bool
	width int
	shown int
}

// NewLine makes a progress line on w.
func NewLine(w io.Writer) *Line { return &Line{w: w, live: IsTerminal(w), width: Width(w)} }

// Live reports whether anybody sees the line.
func (l *Line) Live() bool { return l.live }

// Show replaces the line.
func (l *Line) Show(text string) {
	if !l.live {
		return
	}
	runes := []rune(text)
	if len(runes) > l.width-1 {
		runes = runes[:l.width-1]
	}
	fmt.Fprintf(l.w, "\r%s%s", string(runes), strings.Repeat(" ", max(l.shown-len(runes), 0)))
	l.shown = len(runes)
}

// End removes the line, so that what comes next starts at its place.
func (l *Line) End() {
	if l.live && l.shown > 0 {
		fmt.Fprintf(l.w, "\r%s\r", strings.Repeat(" ", l.shown))
		l.shown = 0
	}
}
