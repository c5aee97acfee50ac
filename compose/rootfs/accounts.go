package rootfs

import (
	"strconv"
	"strings"
)

// accounts resolves the names of owners through the tree's own files.
type accounts struct {
	root   *rootDir
	loaded bool
	users  map[string]user
	groups map[string]uint32
}

type user struct{ uid, gid uint32 }

// forget makes the next look-up read the files again.
func (a *accounts) forget() { a.loaded = false }

func (a *accounts) load() {
	if a.loaded {
		return
	}
	a.loaded = true
	a.users = map[string]user{}
	a.groups = map[string]uint32{}
	// Later files do not override: /etc comes first, as for the C library.
	for _, f := range []string{"/etc/passwd", "/usr/lib/passwd"} {
		for _, l := range colonLines(a.root, f) {
			uid, err := strconv.ParseUint(field(l, 2), 10, 32)
			gid, err2 := strconv.ParseUint(field(l, 3), 10, 32)
			if _, have := a.users[l[0]]; have || err != nil || err2 != nil {
				continue
			}
			a.users[l[0]] = user{uint32(uid), uint32(gid)}
		}
	}
	for _, f := range []string{"/etc/group", "/usr/lib/group"} {
		for _, l := range colonLines(a.root, f) {
			gid, err := strconv.ParseUint(field(l, 2), 10, 32)
			if _, have := a.groups[l[0]]; have || err != nil {
				continue
			}
			a.groups[l[0]] = uint32(gid)
		}
	}
}

// user gives the id of a user; root needs no file.
func (a *accounts) user(name string) (uint32, bool) {
	if name == "root" || name == "" {
		return 0, true
	}
	a.load()
	u, ok := a.users[name]
	return u.uid, ok
}

// group gives the id of a group; root needs no file.
func (a *accounts) group(name string) (uint32, bool) {
	if name == "root" || name == "" {
		return 0, true
	}
	a.load()
	g, ok := a.groups[name]
	return g, ok
}

// colonLines reads a file of lines with fields between colons. A missing file
// has none.
func colonLines(root *rootDir, name string) [][]string {
	data, err := root.readFile(name)
	if err != nil {
		return nil
	}
	var out [][]string
	for _, l := range strings.Split(string(data), "\n") {
		if l = strings.TrimRight(l, "\r"); l != "" && !strings.HasPrefix(l, "#") {
			out = append(out, strings.Split(l, ":"))
		}
	}
	return out
}

func field(l []string, i int) string {
	if i < len(l) {
		return l[i]
	}
	return ""
}
