package treefile

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// layer is one file, or one inline include, before it is merged.
type layer struct {
	Treefile
	file     string
	includes []include
}

type include struct {
	node node // a string: a path; a mapping: the included treefile itself
	cond []string
}

// field reads the value of one key into a layer.
type field func(l *layer, n node) error

func str(to func(*Treefile) *string) field {
	return func(l *layer, n node) error { return n.str(to(&l.Treefile)) }
}

func flag(to func(*Treefile) **bool) field {
	return func(l *layer, n node) error {
		if n.kind != isBool {
			return n.mustBe(isBool)
		}
		v := n.text == "true"
		*to(&l.Treefile) = &v
		return nil
	}
}

func strs(to func(*Treefile) *[]string) field {
	return func(l *layer, n node) error { return n.strs(to(&l.Treefile)) }
}

// words reads lists of packages, where one string may hold several.
func words(to func(*Treefile) *[]string) field {
	return func(l *layer, n node) error { return n.words(to(&l.Treefile)) }
}

func oneOf(to func(*Treefile) *string, values ...string) field {
	return func(l *layer, n node) error {
		if err := n.str(to(&l.Treefile)); err != nil {
			return err
		}
		if v := *to(&l.Treefile); !slices.Contains(values, v) {
			return fmt.Errorf("%q is not one of %s", v, strings.Join(values, ", "))
		}
		return nil
	}
}

// fields are the keys of a treefile, spelled with "-".
var fields = map[string]field{
	"edition":               oneOf(func(t *Treefile) *string { return &t.Edition }, "2014", "2024"),
	"ref":                   str(func(t *Treefile) *string { return &t.Ref }),
	"releasever":            str(func(t *Treefile) *string { return &t.Releasever }),
	"basearch":              str(func(t *Treefile) *string { return &t.Basearch }),
	"repos":                 strs(func(t *Treefile) *[]string { return &t.Repos }),
	"packages":              words(func(t *Treefile) *[]string { return &t.Packages }),
	"bootstrap-packages":    words(func(t *Treefile) *[]string { return &t.Packages }),
	"exclude-packages":      words(func(t *Treefile) *[]string { return &t.Exclude }),
	"recommends":            flag(func(t *Treefile) **bool { return &t.Recommends }),
	"documentation":         flag(func(t *Treefile) **bool { return &t.Documentation }),
	"install-langs":         strs(func(t *Treefile) *[]string { return &t.InstallLangs }),
	"selinux":               flag(func(t *Treefile) **bool { return &t.SELinux }),
	"boot-location":         oneOf(func(t *Treefile) *string { return &t.BootLocation }, "new", "both", "modules"),
	"initramfs-args":        strs(func(t *Treefile) *[]string { return &t.InitramfsArgs }),
	"no-initramfs":          flag(func(t *Treefile) **bool { return &t.NoInitramfs }),
	"units":                 strs(func(t *Treefile) *[]string { return &t.Units }),
	"default-target":        str(func(t *Treefile) *string { return &t.DefaultTarget }),
	"remove-files":          strs(func(t *Treefile) *[]string { return &t.RemoveFiles }),
	"etc-group-members":     strs(func(t *Treefile) *[]string { return &t.EtcGroupMembers }),
	"preserve-passwd":       flag(func(t *Treefile) **bool { return &t.PreservePasswd }),
	"ignore-removed-users":  strs(func(t *Treefile) *[]string { return &t.IgnoreRemovedUsers }),
	"ignore-removed-groups": strs(func(t *Treefile) *[]string { return &t.IgnoreRemovedGroups }),
	"sysusers":              oneOf(func(t *Treefile) *string { return &t.Sysusers }, "compose-auto", "compose-forced"),

	"automatic-version-prefix": str(func(t *Treefile) *string { return &t.VersionPrefix }),
	"automatic-version-suffix": str(func(t *Treefile) *string { return &t.VersionSuffix }),
	"mutate-os-release":        str(func(t *Treefile) *string { return &t.MutateOSRelease }),
	"repo-metadata":            oneOf(func(t *Treefile) *string { return &t.RepoMetadata }, "inline", "detached", "disabled"),
	"tmp-is-dir":               flag(func(t *Treefile) **bool { return &t.TmpIsDir }),
	"machineid-compat":         flag(func(t *Treefile) **bool { return &t.MachineIDCompat }),
	"opt-usrlocal":             oneOf(func(t *Treefile) *string { return &t.OptUsrlocal }, "var", "root"),
	"readonly-executables":     flag(func(t *Treefile) **bool { return &t.ReadonlyExecutables }),
	"gpg-key":                  str(func(t *Treefile) *string { return &t.GPGKey }),
	"rpmdb":                    oneOf(func(t *Treefile) *string { return &t.RPMDB }, "target", "sqlite", "bdb", "ndb", "host"),

	"variables":            (*layer).readVariables,
	"repovars":             (*layer).readRepoVars,
	"repo-packages":        (*layer).readRepoPackages,
	"remove-from-packages": (*layer).readRemoveFromPackages,
	"add-files":            (*layer).readAddFiles,
	"postprocess":          (*layer).readPostprocess,
	"postprocess-script":   (*layer).readPostprocessScript,
	"add-commit-metadata":  (*layer).readMetadata,
	"check-passwd":         func(l *layer, n node) error { return l.readCheck(n, &l.CheckPasswd) },
	"check-groups":         func(l *layer, n node) error { return l.readCheck(n, &l.CheckGroups) },
	"include":              func(l *layer, n node) error { return l.readInclude(n, nil) },
	"arch-include":         (*layer).readArchInclude,
	"conditional-include":  (*layer).readConditionalInclude,
}

// noEffect are keys that say something about other tools or nothing at all.
// "osname" is in Photon's treefiles: the name is chosen on the host.
var noEffect = map[string]bool{
	"comment": true, "osname": true, "rpmdb-normalize": true, "metadata": true, "advisories-metadata": true,
	"container": true, "container-cmd": true, "lockfile-repos": true, "selinux-label-version": true,
}

// unsupported are keys of rpm-ostree that would change the tree and that photree
// does not implement. They are errors in both forms unless they are off.
var unsupported = map[string]string{
	"ostree-layers": "", "ostree-override-layers": "", "modules": "", "rojig": "", "platform-module": "",
	"cliwrap": "", "cliwrap-binaries": "", "ima": "",
	"ignore-devices": "",
}

func (n node) mustBe(k kind) error { return fmt.Errorf("must be %s, not %s", k, n.kind) }

// str accepts numbers too, as "releasever: 5.0", with the text as written.
func (n node) str(to *string) error {
	if n.kind != isString && n.kind != isNumber {
		return n.mustBe(isString)
	}
	*to = n.text
	return nil
}

func (n node) strs(to *[]string) error {
	if n.kind != isList {
		return n.mustBe(isList)
	}
	for i, item := range n.list {
		var s string
		if err := item.str(&s); err != nil {
			return &lineError{item.line, fmt.Errorf("item %d %w", i+1, err)}
		}
		*to = append(*to, s)
	}
	if *to == nil {
		*to = []string{} // present and empty is not absent
	}
	return nil
}

func (n node) words(to *[]string) error {
	var raw []string
	if err := n.strs(&raw); err != nil {
		return err
	}
	for _, s := range raw {
		w, err := splitWords(s)
		if err != nil {
			return err
		}
		*to = append(*to, w...)
	}
	return nil
}

// splitWords splits at blanks. Quotes keep blanks, as in "'foo >= 2'"; so do the
// parentheses of a rich dependency.
func splitWords(s string) ([]string, error) {
	var out []string
	var word strings.Builder
	var quote rune
	depth, open := 0, false
	for _, c := range s {
		switch {
		case quote != 0:
			if c == quote {
				quote = 0
			} else {
				word.WriteRune(c)
			}
			continue
		case c == '"' || c == '\'':
			quote, open = c, true
			continue
		case c == '(':
			depth++
		case c == ')':
			depth--
		case (c == ' ' || c == '\t' || c == '\n' || c == '\r') && depth <= 0:
			if open {
				out = append(out, word.String())
				word.Reset()
				open = false
			}
			continue
		}
		word.WriteRune(c)
		open = true
	}
	if quote != 0 {
		return nil, fmt.Errorf("%q has an unclosed quote", s)
	}
	if open {
		out = append(out, word.String())
	}
	return out, nil
}

func (n node) stringMap(to *map[string]string) error {
	if n.kind != isMap {
		return n.mustBe(isMap)
	}
	*to = map[string]string{}
	for _, p := range n.pairs {
		if k := p.value.kind; k != isString && k != isNumber && k != isBool {
			return &lineError{p.line, fmt.Errorf("%q must be a string, a number, true or false", p.key)}
		}
		(*to)[p.key] = p.value.text
	}
	return nil
}

func (l *layer) readVariables(n node) error { return n.stringMap(&l.Variables) }
func (l *layer) readRepoVars(n node) error  { return n.stringMap(&l.RepoVars) }

func (l *layer) readRepoPackages(n node) error {
	if n.kind != isList {
		return n.mustBe(isList)
	}
	for _, item := range n.list {
		var r RepoPackages
		for _, p := range item.pairs {
			var err error
			switch p.key {
			case "repo":
				err = p.value.str(&r.Repo)
			case "packages":
				err = p.value.words(&r.Packages)
			default:
				err = fmt.Errorf("is not a key of repo-packages")
			}
			if err != nil {
				return &lineError{p.line, fmt.Errorf("%q %w", p.key, err)}
			}
		}
		if r.Repo == "" || len(r.Packages) == 0 {
			return &lineError{item.line, fmt.Errorf("each item must have \"repo\" and \"packages\"")}
		}
		l.RepoPackages = append(l.RepoPackages, r)
	}
	return nil
}

func (n node) lists() ([][]string, error) {
	if n.kind != isList {
		return nil, n.mustBe(isList)
	}
	out := make([][]string, len(n.list))
	for i, item := range n.list {
		if err := item.strs(&out[i]); err != nil {
			return nil, &lineError{item.line, fmt.Errorf("item %d: %w", i+1, err)}
		}
	}
	return out, nil
}

func (l *layer) readRemoveFromPackages(n node) error {
	lists, err := n.lists()
	if err != nil {
		return err
	}
	for i, item := range lists {
		if len(item) < 2 {
			return &lineError{n.list[i].line, fmt.Errorf("item %d must be a package and regular expressions", i+1)}
		}
		for _, re := range item[1:] {
			if _, err := regexp.Compile(re); err != nil {
				return &lineError{n.list[i].line, err}
			}
		}
	}
	l.RemoveFromPackages = lists
	return nil
}

// inTree makes a path relative to the root of the tree, and keeps it in there.
func inTree(p string) (string, error) {
	clean := path.Clean("/" + p)[1:]
	if clean == "" || slices.Contains(strings.Split(p, "/"), "..") || strings.ContainsRune(p, 0) {
		return "", fmt.Errorf("%q is not a path in the tree", p)
	}
	return clean, nil
}

// beside resolves a path that a treefile names.
func (l *layer) beside(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(filepath.Dir(l.file), name)
}

func (l *layer) readAddFiles(n node) error {
	lists, err := n.lists()
	if err != nil {
		return err
	}
	for i, item := range lists {
		if len(item) != 2 {
			return &lineError{n.list[i].line, fmt.Errorf("item %d must be a source and a destination", i+1)}
		}
		dest, err := inTree(item[1])
		if err == nil && !strings.HasPrefix(dest, "usr/") && !strings.HasPrefix(dest, "etc/") {
			err = fmt.Errorf("the destination %q is not under /usr or /etc", item[1])
		}
		if err != nil {
			return &lineError{n.list[i].line, err}
		}
		a := AddFile{Source: l.beside(item[0]), Name: item[0], Dest: dest}
		data, err := os.ReadFile(a.Source)
		if err != nil {
			return &lineError{n.list[i].line, err}
		}
		sum := sha256.Sum256(data)
		a.SHA256 = hex.EncodeToString(sum[:])
		l.AddFiles = append(l.AddFiles, a)
	}
	return nil
}

func (l *layer) readPostprocess(n node) error {
	var bodies []string
	if err := n.strs(&bodies); err != nil {
		return err
	}
	scripts := make([]Script, len(bodies))
	for i, b := range bodies {
		scripts[i] = Script{fmt.Sprintf("postprocess script %d of %s", i+1, l.file), b}
		if !strings.HasPrefix(b, "#!") {
			scripts[i].Body = "#!/bin/sh\n" + b
		}
	}
	l.Postprocess = append(scripts, l.Postprocess...)
	return nil
}

func (l *layer) readPostprocessScript(n node) error {
	var name string
	if err := n.str(&name); err != nil {
		return err
	}
	data, err := os.ReadFile(l.beside(name))
	if err != nil {
		return err
	}
	l.Postprocess = append(l.Postprocess, Script{"postprocess-script " + l.beside(name), string(data)})
	return nil
}

// plain converts a node to what encoding/json would give.
func (n node) plain() any {
	switch n.kind {
	case isBool:
		return n.text == "true"
	case isNumber:
		return json.Number(n.text)
	case isNull:
		return nil
	case isList:
		out := make([]any, len(n.list))
		for i, item := range n.list {
			out[i] = item.plain()
		}
		return out
	case isMap:
		out := map[string]any{}
		for _, p := range n.pairs {
			out[p.key] = p.value.plain()
		}
		return out
	}
	return n.text
}

func (l *layer) readMetadata(n node) error {
	if n.kind != isMap {
		return n.mustBe(isMap)
	}
	for _, p := range n.pairs {
		if p.value.kind == isNumber {
			if _, err := strconv.ParseInt(p.value.text, 0, 64); err != nil {
				return &lineError{p.line, fmt.Errorf("%q must be a whole number", p.key)}
			}
		}
	}
	l.CommitMetadata = n.plain().(map[string]any)
	return nil
}

func (l *layer) readCheck(n node, to **Check) error {
	if n.kind != isMap {
		return n.mustBe(isMap)
	}
	c := &Check{}
	for _, p := range n.pairs {
		var err error
		switch p.key {
		case "type":
			err = p.value.str(&c.Type)
		case "filename":
			err = p.value.str(&c.Filename)
		case "entries":
			c.Entries, err = p.value.ids()
		default:
			err = fmt.Errorf("is not a key here")
		}
		if err != nil {
			return &lineError{p.line, fmt.Errorf("%q %w", p.key, err)}
		}
	}
	switch c.Type {
	case "none", "previous":
	case "file":
		data, err := os.ReadFile(l.beside(c.Filename))
		if err != nil {
			return err
		}
		c.Content = string(data)
	case "data":
		if c.Entries == nil {
			return fmt.Errorf("type \"data\" must have \"entries\"")
		}
	default:
		return fmt.Errorf("the type %q is not one of none, previous, file, data", c.Type)
	}
	*to = c
	return nil
}

// ids reads {name: 12} and {name: [12, 34]}.
func (n node) ids() (map[string][]int64, error) {
	if n.kind != isMap {
		return nil, n.mustBe(isMap)
	}
	out := map[string][]int64{}
	for _, p := range n.pairs {
		items := p.value.list
		if p.value.kind != isList {
			items = []node{p.value}
		}
		for _, i := range items {
			id, err := strconv.ParseInt(i.text, 10, 64)
			if err != nil || id < 0 || id >= 1<<32 || len(items) > 2 {
				return nil, fmt.Errorf("has %q, which is not an id", p.key)
			}
			out[p.key] = append(out[p.key], id)
		}
	}
	return out, nil
}
