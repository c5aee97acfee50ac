package repomd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// DefaultPriority is the priority of a repository that states none, as dnf's.
const DefaultPriority = 99

// Config is one section of a .repo file, variables replaced.
type Config struct {
	ID                string
	Name              string
	BaseURLs          []string
	MirrorList        string
	Metalink          string
	Enabled           bool
	GPGCheck          bool
	RepoGPGCheck      bool
	GPGKeys           []string
	SkipIfUnavailable bool
	Priority          int // lower wins
	Exclude           []string
	IncludePkgs       []string // when set, all others are excluded
	InsecureTLS       bool     // sslverify=0
	Username          string
	Password          string
	File              string // where it was read
	Line              int
}

// LoadConfigs reads every *.repo file of a directory, in the order of names. An
// id that comes twice is an error. vars replace $releasever, $basearch and
// others in all values; ${name} is accepted too.
func LoadConfigs(dir string, vars map[string]string) ([]Config, error) {
	names, err := filepath.Glob(filepath.Join(globEscape(dir), "*.repo"))
	if err != nil {
		return nil, fmt.Errorf("listing repositories of %s: %w", dir, err)
	}
	slices.Sort(names)
	var all []Config
	seen := map[string]Config{}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // an editor's dangling lock link
		}
		if err != nil {
			return nil, fmt.Errorf("reading repository file: %w", err)
		}
		configs, err := ParseConfig(name, data, vars)
		if err != nil {
			return nil, err
		}
		for _, c := range configs {
			if o, twice := seen[c.ID]; twice {
				return nil, fmt.Errorf("%s:%d: repository %q is already defined in %s:%d", c.File, c.Line, c.ID, o.File, o.Line)
			}
			seen[c.ID] = c
		}
		all = append(all, configs...)
	}
	return all, nil
}

func globEscape(dir string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(dir)
}

// Select gives the configurations with the wanted ids, in that order, whether
// enabled or not. dir is for the message that names an unknown id.
func Select(configs []Config, ids []string, dir string) ([]Config, error) {
	var out []Config
	for _, id := range ids {
		i := slices.IndexFunc(configs, func(c Config) bool { return c.ID == id })
		if i < 0 {
			have := make([]string, len(configs))
			for j, c := range configs {
				have[j] = c.ID
			}
			if len(have) == 0 {
				return nil, fmt.Errorf("repository %q is not defined: there is no .repo file in %s", id, dir)
			}
			return nil, fmt.Errorf("repository %q is not defined in the .repo files of %s, which define %s",
				id, dir, strings.Join(have, ", "))
		}
		out = append(out, configs[i])
	}
	return out, nil
}

var (
	validID  = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.:+-]*$`)
	variable = regexp.MustCompile(`\$(\w+|\{\w+\})`)
)

func substitute(s string, vars map[string]string) string {
	return variable.ReplaceAllStringFunc(s, func(m string) string {
		name := strings.Trim(m[1:], "{}")
		if v, ok := vars[name]; ok {
			return v
		}
		return m
	})
}

// ParseConfig reads one .repo file; name is for messages. Keys that mean nothing
// to a compose are ignored, as the files are shared with other tools.
func ParseConfig(name string, data []byte, vars map[string]string) ([]Config, error) {
	var configs []Config
	var cur *Config
	key, value, at := "", "", 0
	flush := func() error {
		if key == "" {
			return nil
		}
		err := cur.set(key, substitute(value, vars))
		key = ""
		if err != nil {
			return fmt.Errorf("%s:%d: %w", name, at, err)
		}
		return nil
	}
	for i, line := range strings.Split(string(data), "\n") {
		text := strings.TrimSpace(line)
		if text == "" || text[0] == '#' || text[0] == ';' {
			continue
		}
		if (line[0] == ' ' || line[0] == '\t') && key != "" {
			value += "\n" + text // a value that goes on
			continue
		}
		if err := flush(); err != nil {
			return nil, err
		}
		at = i + 1
		if text[0] == '[' {
			id, rest, ok := strings.Cut(text[1:], "]")
			id = substitute(id, vars)
			if !ok || strings.TrimSpace(rest) != "" || !validID.MatchString(id) {
				return nil, fmt.Errorf("%s:%d: %q is not a repository id in brackets", name, at, text)
			}
			configs = append(configs, Config{ID: id, Name: id, Enabled: true, Priority: DefaultPriority, File: name, Line: at})
			cur = &configs[len(configs)-1]
			continue
		}
		k, v, ok := strings.Cut(text, "=")
		if !ok {
			return nil, fmt.Errorf("%s:%d: %q is neither \"key=value\" nor \"[id]\"", name, at, text)
		}
		if cur == nil {
			return nil, fmt.Errorf("%s:%d: %q stands before the first \"[id]\"", name, at, text)
		}
		key, value = strings.TrimSpace(k), strings.TrimSpace(v)
	}
	return configs, flush()
}

func (c *Config) set(key, value string) (err error) {
	switch key {
	case "name":
		c.Name = value
	case "baseurl":
		c.BaseURLs = list(value)
	case "mirrorlist":
		c.MirrorList = value
	case "metalink":
		c.Metalink = value
	case "gpgkey":
		c.GPGKeys = list(value)
	case "exclude", "excludepkgs":
		c.Exclude = append(c.Exclude, list(value)...)
	case "includepkgs":
		c.IncludePkgs = append(c.IncludePkgs, list(value)...)
	case "username":
		c.Username = value
	case "password":
		c.Password = value
	case "enabled":
		c.Enabled, err = boolean(key, value)
	case "gpgcheck", "pkg_gpgcheck": // the newer name of dnf 5
		c.GPGCheck, err = boolean(key, value)
	case "repo_gpgcheck":
		c.RepoGPGCheck, err = boolean(key, value)
	case "skip_if_unavailable":
		c.SkipIfUnavailable, err = boolean(key, value)
	case "sslverify":
		var verify bool
		verify, err = boolean(key, value)
		c.InsecureTLS = !verify
	case "priority":
		c.Priority, err = strconv.Atoi(value)
		if err != nil || c.Priority < 1 {
			return fmt.Errorf("priority %q is not a number from 1 on", value)
		}
	}
	return err
}

func list(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || r == '\t' || r == '\n' || r == ',' })
}

func boolean(key, s string) (bool, error) {
	switch strings.ToLower(s) {
	case "1", "true", "yes", "on":
		return true, nil
	case "0", "false", "no", "off":
		return false, nil
	}
	return false, fmt.Errorf("%s=%s is neither 1 nor 0", key, s)
}
