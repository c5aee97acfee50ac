// Package keyfile reads and writes GLib key files: repository configurations, origins, remotes.
//
// A file that is read and written back unchanged has the same bytes: comments, blank lines, order and spelling stay.
// Only the line of a key that is set changes. Values are text; a value with line breaks or leading blanks is escaped as
// GLib does. Of groups or keys that stand twice, GLib merges the groups and takes the last key; so does this package.
package keyfile

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// File is a key file. The zero value is an empty one.
type File struct {
	lines []line
	open  bool // the last line had no line break, and still has none
}

// line is one line of the file: a group header, a key with its value, or other text kept as it is.
type line struct {
	text  string // without the line break
	group string // the group that the line belongs to or opens
	key   string // set for key lines only
	value string // still escaped
	head  bool
}

// Parse reads a key file.
func Parse(data []byte) (*File, error) {
	if !utf8.Valid(data) {
		return nil, fmt.Errorf("parsing a key file: not UTF-8")
	}
	f := &File{}
	text := string(data)
	if strings.IndexByte(text, 0) >= 0 {
		return nil, fmt.Errorf("parsing a key file: a NUL byte")
	}
	if text == "" {
		return f, nil
	}
	f.open = !strings.HasSuffix(text, "\n")
	group := ""
	for i, t := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		l, err := parseLine(t, group)
		if err != nil {
			return nil, fmt.Errorf("parsing a key file: line %d: %w", i+1, err)
		}
		group = l.group
		f.lines = append(f.lines, l)
	}
	return f, nil
}

func parseLine(t, group string) (line, error) {
	l := line{text: t, group: group}
	s := strings.TrimLeft(t, " \t\r\f\v")
	if s == "" || s[0] == '#' {
		return l, nil
	}
	if s[0] == '[' {
		name, rest, ok := strings.Cut(s[1:], "]")
		if !ok || strings.TrimSpace(rest) != "" || name == "" || strings.ContainsAny(name, "[") {
			return l, fmt.Errorf("%q is not a group", t)
		}
		l.group, l.head = name, true
		return l, nil
	}
	key, value, ok := strings.Cut(s, "=")
	key = strings.TrimRight(key, " \t\r\f\v")
	switch {
	case !ok || key == "":
		return l, fmt.Errorf("%q is not a key, group or comment", t)
	case group == "":
		return l, fmt.Errorf("%q stands before the first group", t)
	}
	l.key = key
	l.value = strings.TrimSuffix(strings.TrimLeft(value, " \t"), "\r")
	return l, nil
}

// Get returns the value of key in group.
func (f *File) Get(group, key string) (string, bool) {
	for i := len(f.lines) - 1; i >= 0; i-- {
		if l := f.lines[i]; l.group == group && l.key == key && key != "" {
			return unescape(l.value), true
		}
	}
	return "", false
}

// List returns a value that is a list with ';' or, as ostree also takes, ',' between its elements.
func (f *File) List(group, key string) []string {
	v, ok := f.Get(group, key)
	if !ok {
		return nil
	}
	var out []string
	for _, s := range strings.FieldsFunc(v, func(r rune) bool { return r == ';' || r == ',' }) {
		if s = strings.TrimSpace(s); s != "" {
			out = append(out, s)
		}
	}
	return out
}

// Bool returns a value that is "true" or "1", "false" or "0"; a missing key gives def.
func (f *File) Bool(group, key string, def bool) (bool, error) {
	v, ok := f.Get(group, key)
	if !ok {
		return def, nil
	}
	switch strings.TrimSpace(v) {
	case "true", "1":
		return true, nil
	case "false", "0":
		return false, nil
	}
	return def, fmt.Errorf("%s.%s: %q is not true or false", group, key, v)
}

// Set gives key in group a value; a new key goes to the end of its group, a new group to the end of the file.
func (f *File) Set(group, key, value string) {
	f.open = false
	nl := line{group: group, key: key, value: escape(value)}
	nl.text = key + "=" + nl.value
	at := -1
	for i := len(f.lines) - 1; i >= 0; i-- {
		l := f.lines[i]
		if l.group != group {
			continue
		}
		if l.key == key {
			f.lines[i] = nl
			return
		}
		// Behind the last line of the group that is not blank.
		if at < 0 && strings.TrimSpace(l.text) != "" {
			at = i + 1
		}
	}
	if at >= 0 {
		f.lines = append(f.lines[:at], append([]line{nl}, f.lines[at:]...)...)
		return
	}
	if len(f.lines) > 0 {
		last := &f.lines[len(f.lines)-1]
		f.lines = append(f.lines, line{group: last.group})
	}
	f.lines = append(f.lines, line{text: "[" + group + "]", group: group, head: true}, nl)
}

// Delete removes key from group and says whether it was there.
func (f *File) Delete(group, key string) bool {
	return f.remove(func(l line) bool { return l.group == group && l.key == key && key != "" })
}

// DeleteGroup removes a group with its keys and comments and says whether it was there.
func (f *File) DeleteGroup(group string) bool {
	return f.remove(func(l line) bool { return l.group == group && group != "" })
}

func (f *File) remove(match func(line) bool) bool {
	kept := f.lines[:0:0]
	for _, l := range f.lines {
		if !match(l) {
			kept = append(kept, l)
		}
	}
	found := len(kept) != len(f.lines)
	f.lines = kept
	return found
}

// Has says whether the group is there.
func (f *File) Has(group string) bool {
	for _, l := range f.lines {
		if l.head && l.group == group {
			return true
		}
	}
	return false
}

// Groups returns the names of the groups, in order.
func (f *File) Groups() []string {
	var out []string
	seen := map[string]bool{}
	for _, l := range f.lines {
		if l.head && !seen[l.group] {
			seen[l.group] = true
			out = append(out, l.group)
		}
	}
	return out
}

// Keys returns the keys of a group, in order.
func (f *File) Keys(group string) []string {
	var out []string
	seen := map[string]bool{}
	for _, l := range f.lines {
		if l.group == group && l.key != "" && !seen[l.key] {
			seen[l.key] = true
			out = append(out, l.key)
		}
	}
	return out
}

// Clone returns a copy that can be changed without changing f.
func (f *File) Clone() *File {
	return &File{append([]line(nil), f.lines...), f.open}
}

// Format returns the text of the file.
func (f *File) Format() []byte {
	var b strings.Builder
	for i, l := range f.lines {
		b.WriteString(l.text)
		if !f.open || i < len(f.lines)-1 {
			b.WriteByte('\n')
		}
	}
	return []byte(b.String())
}

// escape writes what GLib cannot hold plainly: line breaks, backslashes, and blanks in front.
func escape(v string) string {
	var b strings.Builder
	lead := true
	for i := 0; i < len(v); i++ {
		switch c := v[i]; {
		case c == ' ' && lead:
			b.WriteString(`\s`)
		case c == '\t' && lead:
			b.WriteString(`\t`)
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\r':
			b.WriteString(`\r`)
		case c == '\\':
			b.WriteString(`\\`)
		default:
			b.WriteByte(c)
			lead = false
		}
	}
	return b.String()
}

func unescape(v string) string {
	if strings.IndexByte(v, '\\') < 0 {
		return v
	}
	var b strings.Builder
	for i := 0; i < len(v); i++ {
		if v[i] != '\\' || i+1 == len(v) {
			b.WriteByte(v[i])
			continue
		}
		i++
		switch v[i] {
		case 's':
			b.WriteByte(' ')
		case 't':
			b.WriteByte('\t')
		case 'n':
			b.WriteByte('\n')
		case 'r':
			b.WriteByte('\r')
		case '\\':
			b.WriteByte('\\')
		default: // not an escape: as it stands, for example "\;" in a list
			b.WriteByte('\\')
			b.WriteByte(v[i])
		}
	}
	return b.String()
}
