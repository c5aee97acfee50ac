package pid1

import (
	"fmt"
	"os"
	"strings"
)

// index is what the image knows about its kernel modules; initramfs.Build writes its text form and documents it.
type index struct {
	modules map[string]*module
	exact   map[string][]*module // aliases without a wildcard
	pattern map[string][]pattern // the others, by the part before the first ":"
}

type module struct {
	name, path  string
	late        bool
	blacklisted bool
	needs, then []string
	options     string
}

type pattern struct {
	glob string
	mod  *module
}

// readIndex reads the index of the image. An image without one has no modules.
func readIndex(path string) (*index, error) {
	data, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		data, err = nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the index of kernel modules: %w", err)
	}
	return parseIndex(string(data))
}

func parseIndex(text string) (*index, error) {
	idx := &index{map[string]*module{}, map[string][]*module{}, map[string][]pattern{}}
	var m *module
	for text != "" {
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
			if line == "" {
				continue
			}
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
		case "alias":
			idx.addAlias(rest, m)
		}
	}
	return idx, nil
}

func (idx *index) addAlias(alias string, m *module) {
	if strings.ContainsAny(alias, "*?[") {
		key, _, _ := strings.Cut(alias, ":")
		idx.pattern[key] = append(idx.pattern[key], pattern{alias, m})
		return
	}
	idx.exact[alias] = append(idx.exact[alias], m)
}

// match returns the modules for an alias that a device or the kernel names.
func (idx *index) match(alias string) []*module {
	out := append([]*module(nil), idx.exact[alias]...)
	key, _, _ := strings.Cut(alias, ":")
	for _, p := range idx.pattern[key] {
		if glob(p.glob, alias) {
			out = append(out, p.mod)
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
