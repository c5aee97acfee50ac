// Package bls reads and writes boot loader entries: the small text files under
// /boot/loader/entries that name one bootable kernel each.
//
// An Entry is a list of key-value lines. The order of lines, keys that this
// package does not know and repeated keys (one initrd line per image) all
// survive Parse followed by Format; comments and blank lines do not. The
// package is pure: it opens no file.
package bls

import (
	"bytes"
	"fmt"
	"path"
	"sort"
	"strconv"
	"strings"
)

// Keys that deployments and boot loaders care about.
const (
	Title      = "title"
	Version    = "version"
	Options    = "options"
	Linux      = "linux"
	Initrd     = "initrd"
	Devicetree = "devicetree"
)

// Line is one "key value" line of an entry.
type Line struct {
	Key   string
	Value string
}

// Entry is one boot loader entry.
type Entry struct {
	// Name is the file name inside the entries directory, with ".conf".
	Name string
	// Lines holds the entry's lines in file order.
	Lines []Line
}

// Parse reads the text of one entry file. A line without a value is kept with
// an empty value, because a boot loader may give it a meaning.
func Parse(name string, data []byte) (Entry, error) {
	e := Entry{Name: name}
	for n, raw := range strings.Split(string(data), "\n") {
		line := strings.TrimSpace(raw)
		if line == "" || line[0] == '#' {
			continue
		}
		if strings.IndexByte(line, 0) >= 0 {
			return Entry{}, fmt.Errorf("parsing boot entry %q: line %d holds a NUL byte", name, n+1)
		}
		key, value := line, ""
		if i := strings.IndexAny(line, " \t"); i >= 0 {
			key, value = line[:i], strings.TrimLeft(line[i:], " \t")
		}
		e.Lines = append(e.Lines, Line{Key: key, Value: value})
	}
	return e, nil
}

// Format gives the text of the entry file, lines in the order of e.Lines.
func (e Entry) Format() []byte {
	var b bytes.Buffer
	for _, l := range e.Lines {
		b.WriteString(l.Key)
		if l.Value != "" {
			b.WriteByte(' ')
			b.WriteString(l.Value)
		}
		b.WriteByte('\n')
	}
	return b.Bytes()
}

// Get returns the first value of key, or "".
func (e Entry) Get(key string) string {
	for _, l := range e.Lines {
		if l.Key == key {
			return l.Value
		}
	}
	return ""
}

// All returns every value of key in order. The specification lets "options"
// and "initrd" appear more than once.
func (e Entry) All(key string) []string {
	var out []string
	for _, l := range e.Lines {
		if l.Key == key {
			out = append(out, l.Value)
		}
	}
	return out
}

// Set makes values the values of key. Lines that exist are changed in place,
// surplus ones removed, missing ones added behind the last line of that key or,
// when there is none, at the end.
func (e *Entry) Set(key string, values ...string) {
	out := make([]Line, 0, len(e.Lines)+len(values))
	at := -1
	for _, l := range e.Lines {
		if l.Key != key {
			out = append(out, l)
			continue
		}
		if len(values) > 0 {
			out = append(out, Line{Key: key, Value: values[0]})
			values = values[1:]
			at = len(out)
		}
	}
	if at < 0 {
		at = len(out)
	}
	rest := append([]Line(nil), out[at:]...)
	out = out[:at]
	for _, v := range values {
		out = append(out, Line{Key: key, Value: v})
	}
	e.Lines = append(out, rest...)
}

// Clone returns a copy that shares no memory with e.
func (e Entry) Clone() Entry {
	return Entry{Name: e.Name, Lines: append([]Line(nil), e.Lines...)}
}

// KernelArgs returns the kernel command line: all options lines joined.
func (e Entry) KernelArgs() string {
	return strings.Join(e.All(Options), " ")
}

// IsEntryName reports whether a file of this name in the entries directory is
// an entry that belongs to ostree deployments. Other entries (a rescue kernel,
// a second system) are not ours to read or remove.
func IsEntryName(name string) bool {
	return strings.HasPrefix(name, "ostree-") && strings.HasSuffix(name, ".conf") && path.Base(name) == name
}

// Sort orders entries as the menu shows them: the highest version first. Versions
// that both are whole numbers compare as numbers, all others as names do.
func Sort(entries []Entry) {
	sort.SliceStable(entries, func(i, j int) bool { return less(entries[j], entries[i]) })
}

func less(a, b Entry) bool {
	if c := CompareVersions(a.Get(Version), b.Get(Version)); c != 0 {
		return c < 0
	}
	return CompareVersions(a.Name, b.Name) < 0
}

// CompareVersions orders two version strings: digit runs compare as numbers,
// everything between them byte by byte.
func CompareVersions(a, b string) int {
	for a != "" && b != "" {
		if isDigit(a[0]) && isDigit(b[0]) {
			na, ra := digits(a)
			nb, rb := digits(b)
			if c := compareNumbers(na, nb); c != 0 {
				return c
			}
			a, b = ra, rb
			continue
		}
		if a[0] != b[0] {
			return strings.Compare(a, b)
		}
		a, b = a[1:], b[1:]
	}
	return len(a) - len(b)
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func digits(s string) (number, rest string) {
	i := 0
	for i < len(s) && isDigit(s[i]) {
		i++
	}
	return strings.TrimLeft(s[:i], "0"), s[i:]
}

// compareNumbers compares digit strings without leading zeros, of any length.
func compareNumbers(a, b string) int {
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	return strings.Compare(a, b)
}

// DeploymentEntry is what a deployment's entry says.
type DeploymentEntry struct {
	// Index is the deployment's place in the list, 0 is booted by default.
	Index int
	// Count is the number of deployments in the list.
	Count int
	// Title is the menu text.
	Title string
	// Stateroot goes into the file name where StaterootInName is set, as
	// ostree before 2024.5 names entries.
	Stateroot       string
	StaterootInName bool
	Options         string
	Linux           string
	Initrds         []string
	Devicetree      string
	// Extra holds lines of keys that are none of the above, kept verbatim.
	Extra []Line
}

// ForDeployment builds the entry of one deployment in ostree's order of keys.
// The version counts down from the top of the list, so that a boot loader which
// takes the highest version boots index 0.
func ForDeployment(d DeploymentEntry) Entry {
	version := strconv.Itoa(d.Count - d.Index)
	name := "ostree-" + version
	if d.StaterootInName {
		name += "-" + d.Stateroot
	}
	e := Entry{Name: name + ".conf"}
	add := func(key, value string) { e.Lines = append(e.Lines, Line{Key: key, Value: value}) }
	add(Title, d.Title)
	add(Version, version)
	add(Options, d.Options)
	if d.Devicetree != "" {
		add(Devicetree, d.Devicetree)
	}
	add(Linux, d.Linux)
	for _, i := range d.Initrds {
		add(Initrd, i)
	}
	e.Lines = append(e.Lines, d.Extra...)
	return e
}

// ExtraLines returns the lines whose keys ForDeployment does not write itself.
func (e Entry) ExtraLines() []Line {
	var out []Line
	for _, l := range e.Lines {
		switch l.Key {
		case Title, Version, Options, Linux, Initrd, Devicetree:
		default:
			out = append(out, l)
		}
	}
	return out
}
