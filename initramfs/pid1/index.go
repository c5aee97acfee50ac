package pid1

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// index is what the image knows about its kernel modules; initramfs.Build writes its text form and documents it.
type index struct {
	modules map[string]*module
	buses   map[string]string // bus -> lines of "NAME PATTERN"
}

type module struct {
	name, path  string
	late        bool
	blacklisted bool
	needs, then []string
	options     string
}

// readIndex reads the index of the image. An image without one has no modules.
func readIndex(path string) (*index, error) {
	data, err := readFile(path)
	if err == unix.ENOENT {
		err = nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the index of kernel modules: %w", err)
	}
	return parseIndex(string(data))
}

func parseIndex(text string) (*index, error) {
	idx := &index{map[string]*module{}, map[string]string{}}
	var m *module
	for text != "" && text[0] != '[' {
		var line string
		line, text, _ = strings.Cut(text, "\n")
		word, rest, _ := strings.Cut(line, " ")
		if word == "module" {
			name, path, ok := strings.Cut(rest, " ")
			if !ok {
				return nil, fmt.Errorf("reading the index of kernel modules: %q has no path", line)
			}
			m = &module{name: name, path: path}
			idx.modules[name] = m
			continue
		}
		if m == nil {
			return nil, fmt.Errorf("reading the index of kernel modules: %q stands before the first module", line)
		}
		switch word {
		case "late":
			m.late = true
		case "needs":
			m.needs = strings.Fields(rest)
		case "then":
			m.then = strings.Fields(rest)
		case "options":
			m.options = rest
		case "blacklist":
			m.blacklisted = true
		}
	}
	return idx, idx.parseAliases(text)
}

// parseAliases finds the sections without reading their lines: a machine has devices of few buses, and few of each.
func (idx *index) parseAliases(text string) error {
	for text != "" {
		head, rest, _ := strings.Cut(text, "\n")
		if len(head) < 2 || head[0] != '[' || head[len(head)-1] != ']' {
			return fmt.Errorf("reading the index of kernel modules: %q is no section", head)
		}
		end := strings.Index(rest, "\n[")
		if end < 0 {
			end = len(rest)
		} else {
			end++
		}
		idx.buses[head[1:len(head)-1]] = rest[:end]
		text = rest[end:]
	}
	return nil
}

// match returns the modules for an alias that a device or the kernel names.
func (idx *index) match(alias string) []*module {
	bus, _, found := strings.Cut(alias, ":")
	if !found {
		bus = ""
	}
	var out []*module
	for lines := idx.buses[bus]; lines != ""; {
		var line string
		line, lines, _ = strings.Cut(lines, "\n")
		name, pattern, _ := strings.Cut(line, " ")
		if glob(pattern, alias) && idx.modules[name] != nil {
			out = append(out, idx.modules[name])
		}
	}
	return out
}

// glob matches *, ? and [...], where no character is special in the text, "/" neither.
func glob(pat, s string) bool {
	for pat != "" {
		switch pat[0] {
		case '*':
			for pat != "" && pat[0] == '*' {
				pat = pat[1:]
			}
			if pat == "" {
				return true
			}
			for i := 0; i <= len(s); i++ {
				if glob(pat, s[i:]) {
					return true
				}
			}
			return false
		case '[':
			end := strings.IndexByte(pat, ']')
			if end < 0 || s == "" || !inSet(pat[1:end], s[0]) {
				return false
			}
			pat, s = pat[end+1:], s[1:]
		default:
			if s == "" || pat[0] != '?' && pat[0] != s[0] {
				return false
			}
			pat, s = pat[1:], s[1:]
		}
	}
	return s == ""
}

func inSet(set string, c byte) bool {
	negate := set != "" && (set[0] == '!' || set[0] == '^')
	if negate {
		set = set[1:]
	}
	for i := 0; i < len(set); i++ {
		if i+2 < len(set) && set[i+1] == '-' {
			if set[i] <= c && c <= set[i+2] {
				return !negate
			}
			i += 2
			continue
		}
		if set[i] == c {
			return !negate
		}
	}
	return negate
}
