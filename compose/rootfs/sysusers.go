package rootfs

import (
	"fmt"
	"path"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// sysusersFiles lists the sysusers.d files of the tree in the order in which
// systemd reads them: by name, /etc before /usr/lib.
func sysusersFiles(root *rootDir) ([]string, error) {
	byName := map[string]string{}
	for _, d := range []string{"/usr/lib/sysusers.d", "/etc/sysusers.d"} {
		list, err := root.readDir(d)
		if err != nil {
			return nil, err
		}
		for _, e := range list {
			if strings.HasSuffix(e.Name(), ".conf") {
				byName[e.Name()] = path.Join(d, e.Name())
			}
		}
	}
	var out []string
	for _, f := range byName {
		out = append(out, f)
	}
	sort.Slice(out, func(i, j int) bool { return path.Base(out[i]) < path.Base(out[j]) })
	return out, nil
}

// sysusers adds accounts to the tree's files.
type sysusers struct {
	root  *rootDir
	epoch int64
	files map[string]*accountFile
	uids  map[uint32]bool
	gids  map[uint32]bool
	// earlier are accounts whose ids are taken again where a line states none.
	earlier Accounts
}

// accountFile is one of passwd, group, shadow and gshadow.
type accountFile struct {
	name  string
	mode  uint32
	lines []string
	dirty bool
}

// sysuser is one line of a sysusers.d file.
type sysuser struct {
	kind, name, id, gecos, home, shell string
}

// applySysusers makes the users and groups that the files declare and the
// tree lacks. Ids that are not stated are given downwards from 999, as systemd
// does; the result depends on the tree alone. Trees without /etc/passwd are
// left alone: they have no accounts to add to.
func applySysusers(root *rootDir, files []string, epoch int64, earlier Accounts, warn func(string)) error {
	if !root.exists("/etc/passwd") || !root.exists("/etc/group") {
		return nil
	}
	s := readAccounts(root, epoch)
	s.earlier = earlier
	if err := s.apply(files, warn); err != nil {
		return err
	}
	return s.store()
}

// readAccounts reads the tree's account files.
func readAccounts(root *rootDir, epoch int64) *sysusers {
	s := &sysusers{root: root, epoch: epoch, files: map[string]*accountFile{}, uids: map[uint32]bool{}, gids: map[uint32]bool{}}
	for name, mode := range map[string]uint32{"passwd": 0o644, "group": 0o644, "shadow": 0o000, "gshadow": 0o000} {
		f := &accountFile{name: "/etc/" + name, mode: mode}
		if data, err := root.readFile(f.name); err == nil {
			f.lines = strings.Split(strings.TrimRight(string(data), "\n"), "\n")
		}
		s.files[name] = f
	}
	for name, ids := range map[string]map[uint32]bool{"passwd": s.uids, "group": s.gids} {
		for _, l := range s.files[name].lines {
			if n, err := strconv.ParseUint(field(strings.Split(l, ":"), 2), 10, 32); err == nil {
				ids[uint32(n)] = true
			}
		}
	}
	return s
}

// store writes the files that changed.
func (s *sysusers) store() error {
	for _, name := range []string{"passwd", "group", "shadow", "gshadow"} {
		f := s.files[name]
		if !f.dirty {
			continue
		}
		if err := s.root.rewriteFile(f.name, []byte(strings.Join(f.lines, "\n")+"\n"), f.mode); err != nil {
			return fmt.Errorf("adding accounts: %w", err)
		}
	}
	return nil
}

func (s *sysusers) apply(files []string, warn func(string)) error {
	var items []sysuser
	for _, f := range files {
		data, err := s.root.readFile(f)
		if err != nil {
			continue // masked by a link to /dev/null
		}
		for _, l := range strings.Split(string(data), "\n") {
			if it, ok := parseSysuser(l); ok {
				items = append(items, it)
			}
		}
	}
	// Groups before users before members; stated ids before chosen ones, so
	// that a chosen id never takes one that a later line states.
	order := func(it sysuser) int {
		n := map[string]int{"g": 0, "u": 2, "u!": 2, "m": 4}[it.kind]
		if it.id == "" || it.id == "-" {
			n++
		}
		return n
	}
	slices.SortStableFunc(items, func(a, b sysuser) int { return order(a) - order(b) })
	for _, it := range items {
		var err error
		switch it.kind {
		case "g":
			_, err = s.group(it.name, it.id)
		case "u", "u!":
			err = s.user(it)
		case "m":
			err = s.member(it)
		}
		if err != nil {
			warn(fmt.Sprintf("sysusers: %s: %v", it.name, err))
		}
	}
	return nil
}

// parseSysuser reads a line: type, name, id, "description", home, shell.
func parseSysuser(l string) (sysuser, bool) {
	l = strings.TrimSpace(l)
	if l == "" || l[0] == '#' {
		return sysuser{}, false
	}
	var f []string
	for l != "" {
		var w string
		if q := l[0]; q == '"' || q == '\'' {
			end := strings.IndexByte(l[1:], q)
			if end < 0 {
				return sysuser{}, false
			}
			w, l = l[1:end+1], l[end+2:]
		} else if i := strings.IndexAny(l, " \t"); i >= 0 {
			w, l = l[:i], l[i:]
		} else {
			w, l = l, ""
		}
		if w == "-" {
			w = ""
		}
		f = append(f, w)
		l = strings.TrimLeft(l, " \t")
	}
	if len(f) < 2 || strings.ContainsAny(f[1], ":%/") {
		return sysuser{}, false
	}
	return sysuser{f[0], f[1], field(f, 2), field(f, 3), field(f, 4), field(f, 5)}, true
}

func (f *accountFile) find(name string) []string {
	for _, l := range f.lines {
		if strings.HasPrefix(l, name+":") {
			return strings.Split(l, ":")
		}
	}
	return nil
}

// add puts a line at the end, before the entries of a name service.
func (f *accountFile) add(line string) {
	f.dirty = true
	at := len(f.lines)
	for at > 0 && strings.HasPrefix(f.lines[at-1], "+") {
		at--
	}
	if at == 1 && f.lines[0] == "" {
		f.lines, at = nil, 0
	}
	f.lines = slices.Insert(f.lines, at, line)
}

// stated resolves an id that a line states: a number, or a file of the tree
// whose owner it is.
func (s *sysusers) stated(id string, group bool) (uint32, bool) {
	if path.IsAbs(id) {
		st, ok := s.root.lstat(id)
		if group {
			return st.Gid, ok
		}
		return st.Uid, ok
	}
	n, err := strconv.ParseUint(id, 10, 32)
	return uint32(n), err == nil
}

// free gives the highest id below 1000 that neither users nor groups have.
func (s *sysusers) free() (uint32, error) {
	for n := uint32(999); n > 0; n-- {
		if !s.uids[n] && !s.gids[n] {
			return n, nil
		}
	}
	return 0, fmt.Errorf("no system id is free")
}

// earlierID looks a name up in the account file of an earlier tree.
func earlierID(file []byte, name string) (uint32, bool) {
	for _, f := range splitLines(file) {
		if f[0] == name {
			n, err := strconv.ParseUint(field(f, 2), 10, 32)
			return uint32(n), err == nil
		}
	}
	return 0, false
}

func (s *sysusers) group(name, id string) (uint32, error) {
	if f := s.files["group"].find(name); f != nil {
		n, err := strconv.ParseUint(field(f, 2), 10, 32)
		return uint32(n), err
	}
	gid, ok := s.stated(id, true)
	if !ok {
		gid, ok = earlierID(s.earlier.Group, name)
	}
	if !ok || s.gids[gid] {
		var err error
		if gid, err = s.free(); err != nil {
			return 0, err
		}
	}
	s.gids[gid] = true
	s.files["group"].add(fmt.Sprintf("%s:x:%d:", name, gid))
	if s.root.exists("/etc/gshadow") {
		s.files["gshadow"].add(name + ":!::")
	}
	return gid, nil
}

func (s *sysusers) user(it sysuser) error {
	if s.files["passwd"].find(it.name) != nil {
		return nil
	}
	id, groupID, both := strings.Cut(it.id, ":")
	var gid uint32
	var err error
	switch n, nerr := strconv.ParseUint(groupID, 10, 32); {
	case both && nerr == nil:
		gid = uint32(n)
	case both:
		f := s.files["group"].find(groupID)
		if f == nil {
			return fmt.Errorf("group %q does not exist", groupID)
		}
		n, err = strconv.ParseUint(field(f, 2), 10, 32)
		gid = uint32(n)
	default:
		gid, err = s.group(it.name, id)
	}
	if err != nil {
		return err
	}
	uid, ok := s.stated(id, false)
	if !ok {
		uid, ok = earlierID(s.earlier.Passwd, it.name)
	}
	if !ok {
		uid = gid // as systemd: the same number for both where it is free
	}
	if s.uids[uid] {
		if uid, err = s.free(); err != nil {
			return err
		}
	}
	s.uids[uid] = true
	home, shell := it.home, it.shell
	if home == "" {
		home = "/"
	}
	if shell == "" {
		shell = "/usr/sbin/nologin"
		if uid == 0 {
			shell = "/bin/sh"
		}
	}
	s.files["passwd"].add(fmt.Sprintf("%s:x:%d:%d:%s:%s:%s", it.name, uid, gid, it.gecos, home, shell))
	if s.root.exists("/etc/shadow") && s.files["shadow"].find(it.name) == nil {
		s.files["shadow"].add(fmt.Sprintf("%s:!*:%d::::::", it.name, s.epoch/86400))
	}
	return nil
}

// member adds a user to a group, making both where they are missing.
func (s *sysusers) member(it sysuser) error {
	group := it.id
	if group == "" {
		return fmt.Errorf("no group is named")
	}
	if err := s.user(sysuser{kind: "u", name: it.name}); err != nil {
		return err
	}
	if _, err := s.group(group, ""); err != nil {
		return err
	}
	g := s.files["group"]
	for i, l := range g.lines {
		f := strings.Split(l, ":")
		if f[0] != group || len(f) < 4 {
			continue
		}
		members := strings.FieldsFunc(f[3], func(r rune) bool { return r == ',' })
		if !slices.Contains(members, it.name) {
			f[3] = strings.Join(append(members, it.name), ",")
			g.lines[i], g.dirty = strings.Join(f, ":"), true
		}
	}
	return nil
}
