package treefile

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"sort"
	"strings"
)

// Options change how a treefile is read. The zero value works.
type Options struct {
	// Arch is the machine to compose for, as "x86_64"; empty means this one.
	Arch string
}

// Load reads a treefile and everything it includes.
func Load(path string) (*Treefile, error) { return LoadWith(path, Options{}) }

// LoadWith is Load with options.
func LoadWith(path string, opts Options) (*Treefile, error) {
	if opts.Arch == "" {
		opts.Arch = machine()
	}
	ld := loader{arch: opts.Arch}
	l, err := ld.file(path, nil)
	if err != nil {
		return nil, err
	}
	t := &l.Treefile
	t.Path, t.Dir = path, filepath.Dir(path)
	if err := t.finish(opts.Arch); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

// machine is the name that RPM distributions have for this machine.
func machine() string {
	names := map[string]string{"amd64": "x86_64", "arm64": "aarch64", "386": "i386", "arm": "armhfp"}
	if n, ok := names[runtime.GOARCH]; ok {
		return n
	}
	return runtime.GOARCH
}

type loader struct {
	arch string
}

// file reads one file and merges its includes. chain are the files that led to
// it, for the message about a loop.
func (ld *loader) file(path string, chain []string) (*layer, error) {
	id, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if resolved, err := filepath.EvalSymlinks(id); err == nil {
		id = resolved
	}
	if i := slices.Index(chain, id); i >= 0 {
		return nil, fmt.Errorf("the treefile includes itself: %s; remove one of these includes",
			strings.Join(append(chain[i:], id), " -> "))
	}
	if len(chain) >= maxDepth {
		return nil, fmt.Errorf("includes nest deeper than %d: %s", maxDepth, path)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading treefile: %w", err)
	}
	isJSON := looksLikeJSON(path, data)
	parse := parseYAML
	if isJSON {
		parse = parseJSON
	}
	root, err := parse(data)
	if err != nil {
		return nil, at(path, 0, "", err)
	}
	return ld.layer(path, root, isJSON, append(slices.Clip(chain), id))
}

// looksLikeJSON decides by the name, and without a telling name by the content.
func looksLikeJSON(path string, data []byte) bool {
	switch strings.ToLower(filepath.Ext(path)) {
	case ".json":
		return true
	case ".yaml", ".yml":
		return false
	}
	text := strings.TrimSpace(string(blankComments(data)))
	return strings.HasPrefix(text, "{")
}

// at says where an error is. A line that the error itself knows is better.
func at(file string, line int, key string, err error) error {
	var le *lineError
	if errors.As(err, &le) && le.line > 0 {
		line = le.line
	}
	where := file
	if line > 0 {
		where = fmt.Sprintf("%s:%d", file, line)
	}
	if key != "" {
		return fmt.Errorf("%s: %q: %w", where, key, err)
	}
	return fmt.Errorf("%s: %w", where, err)
}

// layer reads the keys of a mapping and merges what it includes.
func (ld *loader) layer(file string, root node, lenient bool, chain []string) (*layer, error) {
	l := &layer{file: file}
	if root.kind != isMap {
		return nil, at(file, root.line, "", fmt.Errorf("a treefile must be a mapping, not %s", root.kind))
	}
	seen := map[string]int{}
	for _, p := range root.pairs {
		key := strings.ReplaceAll(p.key, "_", "-")
		if strings.HasPrefix(key, "packages-") {
			key = "packages-" + p.key[len("packages-"):] // "packages-x86_64"
		}
		if first, twice := seen[key]; twice && !noEffect[key] {
			return nil, at(file, p.line, p.key, fmt.Errorf("is already given in line %d", first))
		}
		seen[key] = p.line
		if err := ld.field(l, key, p, lenient); err != nil {
			return nil, at(file, p.line, p.key, err)
		}
	}
	return l, ld.mergeIncludes(l, lenient, chain)
}

func (ld *loader) field(l *layer, key string, p pair, lenient bool) error {
	if arch, ok := strings.CutPrefix(key, "packages-"); ok {
		var pkgs []string
		err := p.value.words(&pkgs)
		if arch == ld.arch {
			l.Packages = append(l.Packages, pkgs...)
		}
		return err
	}
	if _, ok := unsupported[key]; ok {
		if v := p.value; v.kind == isNull || v.kind == isBool && v.text == "false" || len(v.list)+len(v.pairs) == 0 && v.text == "" {
			return nil
		}
		return errors.New("is not supported by photree: remove it")
	}
	if p.value.kind == isNull {
		return nil
	}
	read, ok := fields[key]
	switch {
	case ok:
		return read(l, p.value)
	case lenient || noEffect[key]:
		return nil
	}
	if guess := nearest(key); guess != "" {
		return fmt.Errorf("is not a key of a treefile; did you mean %q?", guess)
	}
	return errors.New("is not a key of a treefile")
}

// nearest gives a known key that differs in at most two letters.
func nearest(key string) string {
	for _, k := range slices.Sorted(maps.Keys(fields)) {
		if distance(key, k) <= 2 {
			return k
		}
	}
	return ""
}

func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		prev := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := prev
			if a[i] != b[j] {
				cost = 1 + min(prev, row[j], row[j+1])
			}
			prev, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}

func (l *layer) readInclude(n node, cond []string) error {
	switch n.kind {
	case isString, isMap:
		l.includes = append(l.includes, include{n, cond})
	case isList:
		for _, item := range n.list {
			if item.kind != isString && item.kind != isMap {
				return &lineError{item.line, errors.New("each item must be a file name or a mapping")}
			}
			l.includes = append(l.includes, include{item, cond})
		}
	default:
		return errors.New("must be a file name, a list of them or a mapping")
	}
	return nil
}

func (l *layer) readArchInclude(n node) error {
	if n.kind != isMap {
		return n.mustBe(isMap)
	}
	for _, p := range n.pairs {
		if err := l.readInclude(p.value, []string{"basearch == " + p.key}); err != nil {
			return err
		}
	}
	return nil
}

func (l *layer) readConditionalInclude(n node) error {
	if n.kind != isList {
		return n.mustBe(isList)
	}
	for _, item := range n.list {
		var cond []string
		var what *node
		for _, p := range item.pairs {
			switch p.key {
			case "if":
				if p.value.kind == isString {
					cond = []string{p.value.text}
				} else if err := p.value.strs(&cond); err != nil {
					return &lineError{p.line, fmt.Errorf("\"if\" %w", err)}
				}
			case "include":
				what = &p.value
			default:
				return &lineError{p.line, fmt.Errorf("%q is not a key here", p.key)}
			}
		}
		if len(cond) == 0 || what == nil {
			return &lineError{item.line, errors.New("each item must have \"if\" and \"include\"")}
		}
		if err := l.readInclude(*what, cond); err != nil {
			return err
		}
	}
	return nil
}

func (ld *loader) mergeIncludes(l *layer, lenient bool, chain []string) error {
	for _, inc := range l.includes {
		holds, err := ld.holds(l, inc.cond)
		if err != nil {
			return at(l.file, inc.node.line, "include", err)
		}
		if !holds {
			continue
		}
		var base *layer
		if inc.node.kind == isMap {
			base, err = ld.layer(l.file, inc.node, lenient, chain)
		} else {
			base, err = ld.file(l.beside(inc.node.text), chain)
			if err != nil && errors.Is(err, os.ErrNotExist) {
				err = at(l.file, inc.node.line, "include", err)
			}
		}
		if err != nil {
			return err
		}
		l.merge(&base.Treefile)
	}
	return nil
}

var condition = regexp.MustCompile(`^\s*([A-Za-z0-9_-]+)\s*(==|!=|<=|>=|<|>)\s*(.+?)\s*$`)

// holds evaluates "variable OP value" terms, all of which must be true. Numbers
// compare as numbers.
func (ld *loader) holds(l *layer, terms []string) (bool, error) {
	for _, term := range terms {
		m := condition.FindStringSubmatch(term)
		if m == nil {
			return false, fmt.Errorf("the condition %q is not \"variable OP value\"", term)
		}
		have, ok := l.Variables[m[1]]
		switch {
		case m[1] == "basearch":
			have = ld.arch
		case m[1] == "releasever" && l.Releasever != "":
			have = l.Releasever
		case !ok:
			return false, fmt.Errorf("the condition %q uses the variable %q, which has no value here", term, m[1])
		}
		if !compare(have, m[2], strings.Trim(m[3], `"'`)) {
			return false, nil
		}
	}
	return true, nil
}

func compare(a, op, b string) bool {
	c := strings.Compare(a, b)
	var x, y float64
	if _, err := fmt.Sscanf(a+" "+b, "%g %g", &x, &y); err == nil {
		switch {
		case x < y:
			c = -1
		case x > y:
			c = 1
		default:
			c = 0
		}
	}
	switch op {
	case "==":
		return c == 0
	case "!=":
		return c != 0
	case "<":
		return c < 0
	case "<=":
		return c <= 0
	case ">":
		return c > 0
	}
	return c >= 0
}

var reference = regexp.MustCompile(`\$\{([^}]*)\}`)

// finish replaces variables and verifies what only the whole can tell.
func (t *Treefile) finish(arch string) error {
	if t.Basearch != "" && t.Basearch != arch {
		return fmt.Errorf("it is for the architecture %s, and this composes for %s", t.Basearch, arch)
	}
	t.Basearch = arch
	vars := maps.Clone(t.Variables)
	if vars == nil {
		vars = map[string]string{}
	}
	vars["basearch"] = arch
	if t.Releasever != "" {
		vars["releasever"] = t.Releasever
	}
	for key, s := range map[string]*string{
		"ref": &t.Ref, "automatic-version-prefix": &t.VersionPrefix, "mutate-os-release": &t.MutateOSRelease,
	} {
		if err := expand(s, vars); err != nil {
			return fmt.Errorf("%q: %w", key, err)
		}
	}
	return t.validate()
}

func expand(s *string, vars map[string]string) (err error) {
	*s = reference.ReplaceAllStringFunc(*s, func(m string) string {
		v, ok := vars[m[2:len(m)-1]]
		if !ok && err == nil {
			known := slices.Sorted(maps.Keys(vars))
			err = fmt.Errorf("the variable %s has no value; those that have one are %s", m, strings.Join(known, ", "))
		}
		return v
	})
	return err
}

var (
	validRef  = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*$`)
	validUnit = regexp.MustCompile(`^[A-Za-z0-9:_.@\\-]+\.[a-z]+$`)
)

func (t *Treefile) validate() error {
	if t.Ref != "" && !validRef.MatchString(t.Ref) {
		return fmt.Errorf("\"ref\": %q is not a valid ref", t.Ref)
	}
	if len(t.Packages)+len(t.RepoPackages) > 0 && len(t.Repos) == 0 {
		return errors.New("\"repos\": there are packages and no repository to take them from; name the ids of .repo files beside the treefile")
	}
	for _, u := range t.Units {
		if !validUnit.MatchString(u) {
			return fmt.Errorf("\"units\": %q is not the name of a unit, as \"sshd.service\"", u)
		}
	}
	if d := t.DefaultTarget; d != "" && !strings.HasSuffix(d, ".target") {
		return fmt.Errorf("\"default-target\": %q is not the name of a target, as \"multi-user.target\"", d)
	}
	if len(t.VersionSuffix) > 1 {
		return fmt.Errorf("\"automatic-version-suffix\": %q is more than one character", t.VersionSuffix)
	}
	for i, f := range t.RemoveFiles {
		p, err := inTree(f)
		if err != nil {
			return fmt.Errorf("\"remove-files\": %w", err)
		}
		t.RemoveFiles[i] = p
	}
	if k := sortedDuplicates(t.Repos); k != "" {
		return fmt.Errorf("\"repos\": %q is given twice", k)
	}
	return nil
}

func sortedDuplicates(s []string) string {
	s = slices.Clone(s)
	sort.Strings(s)
	for i := 1; i < len(s); i++ {
		if s[i] == s[i-1] {
			return s[i]
		}
	}
	return ""
}
