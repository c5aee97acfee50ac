package rootfs

import (
	"context"
	"fmt"
	"os"
	"path"
	"slices"
	"sort"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// homes are the directories of the root that live below /var in a deployment.
var homes = [][2]string{
	{"/home", "/var/home"}, {"/root", "/var/roothome"}, {"/opt", "/var/opt"}, {"/srv", "/var/srv"}, {"/mnt", "/var/mnt"},
	{"/usr/local", "/var/usrlocal"},
}

// integration are the directories that every deployment's /var needs, for the
// links of its root.
const integration = `# Directories that the links of the root directory lead to.
d /var/home 0755 root root -
d /var/opt 0755 root root -
d /var/srv 0755 root root -
d /var/roothome 0700 root root -
d /var/mnt 0755 root root -
d /var/usrlocal 0755 root root -
d /var/usrlocal/bin 0755 root root -
d /var/usrlocal/etc 0755 root root -
d /var/usrlocal/games 0755 root root -
d /var/usrlocal/include 0755 root root -
d /var/usrlocal/lib 0755 root root -
d /var/usrlocal/man 0755 root root -
d /var/usrlocal/sbin 0755 root root -
d /var/usrlocal/share 0755 root root -
d /var/usrlocal/src 0755 root root -
d /run/media 0755 root root -
L /var/lib/rpm - - - - ../../usr/share/rpm
`

const (
	integrationConf = "/usr/lib/tmpfiles.d/rpm-ostree-0-integration.conf"
	autovarConf     = "/usr/lib/tmpfiles.d/rpm-ostree-1-autovar.conf"
)

// emptyVar turns what packages have in /var into lines of tmpfiles.d: /var
// belongs to the machine, a commit never has files there.
func (p *post) emptyVar(context.Context) error {
	if err := p.moveHomes(); err != nil {
		return err
	}
	known, err := p.tmpfilesPaths()
	if err != nil {
		return err
	}
	for _, l := range strings.Split(integration, "\n") {
		if f := strings.Fields(l); len(f) > 1 && f[0] != "#" {
			known[f[1]] = true
		}
	}
	names := p.ownerNames()
	if err := p.walkVar("/var", known, names); err != nil {
		return err
	}
	if len(p.dropped) > 0 {
		const most = 8
		list := p.dropped
		if len(list) > most {
			list = append(slices.Clone(list[:most]), fmt.Sprintf("and %d more", len(p.dropped)-most))
		}
		p.o.warn("Ignoring non-directory/non-symlink below /var: " + strings.Join(list, ", "))
	}
	if err := p.root.writeFile(integrationConf, []byte(integration), 0o644); err != nil {
		return err
	}
	return p.root.writeFile(autovarConf, []byte(strings.Join(p.tmpfiles, "")), 0o644)
}

// moveHomes moves /home, /opt and so on below /var, where toplevel makes links
// lead.
func (p *post) moveHomes() error {
	if _, err := p.root.dir("/var"); err != nil {
		return err
	}
	for _, h := range homes {
		if p.o.Layout.RootOpt && (h[0] == "/opt" || h[0] == "/usr/local") {
			continue
		}
		st, ok := p.root.lstat(h[0])
		if !ok || st.Mode&unix.S_IFMT != unix.S_IFDIR {
			continue
		}
		if _, there := p.root.lstat(h[1]); !there {
			if err := p.root.rename(h[0], h[1]); err != nil {
				return err
			}
			continue
		}
		list, err := p.root.readDir(h[0])
		if err != nil {
			return err
		}
		for _, e := range list {
			if _, there := p.root.lstat(path.Join(h[1], e.Name())); there {
				return fmt.Errorf("%s and %s both hold %q", h[0], h[1], e.Name())
			}
			if err := p.root.rename(path.Join(h[0], e.Name()), path.Join(h[1], e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// walkVar records what is below a directory and names what it leaves out.
func (p *post) walkVar(dir string, known map[string]bool, names ownerNames) error {
	list, err := p.root.readDir(dir)
	if err != nil {
		return err
	}
	for _, e := range list {
		name := path.Join(dir, e.Name())
		st, ok := p.root.lstat(name)
		if !ok {
			return &os.PathError{Op: "stat", Path: name, Err: os.ErrNotExist}
		}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFDIR:
			if !known[name] {
				p.tmpfiles = append(p.tmpfiles, fmt.Sprintf("d %s %04o %s %s - -\n", escapeTmpfiles(name), st.Mode&0o7777, names.user(st.Uid), names.group(st.Gid)))
			}
			if err := p.walkVar(name, known, names); err != nil {
				return err
			}
		case unix.S_IFLNK:
			if !known[name] {
				p.tmpfiles = append(p.tmpfiles, fmt.Sprintf("L %s - - - - %s\n", escapeTmpfiles(name), strings.ReplaceAll(p.root.readlink(name), "%", "%%")))
			}
		default:
			p.dropped = append(p.dropped, name)
		}
	}
	return nil
}

// escapeTmpfiles writes a path so that systemd-tmpfiles reads it back.
func escapeTmpfiles(name string) string {
	name = strings.ReplaceAll(name, "%", "%%")
	if strings.ContainsAny(name, " \t\"'\\") {
		return strconv.Quote(name)
	}
	return name
}

// tmpfilesPaths are the paths that tmpfiles.d of the tree makes already: a
// second line for one of them would only be a warning at each boot.
func (p *post) tmpfilesPaths() (map[string]bool, error) {
	out := map[string]bool{}
	for _, d := range []string{"/usr/lib/tmpfiles.d", "/etc/tmpfiles.d"} {
		list, err := p.root.readDir(d)
		if err != nil {
			return nil, err
		}
		for _, e := range list {
			data, err := p.root.readFile(path.Join(d, e.Name()))
			if err != nil || !strings.HasSuffix(e.Name(), ".conf") {
				continue
			}
			for _, l := range strings.Split(string(data), "\n") {
				f := strings.Fields(l)
				if len(f) > 1 && strings.Contains("dDvqQLC", f[0][:1]) && !strings.Contains(f[1], "%") {
					out[path.Clean(f[1])] = true
				}
			}
		}
	}
	return out, nil
}

// ownerNames gives names for ids, so that tmpfiles.d lines follow accounts.
type ownerNames struct{ users, groups map[string]string }

func (p *post) ownerNames() ownerNames {
	read := func(files ...string) map[string]string {
		out := map[string]string{"0": "root"}
		for _, f := range files {
			for _, l := range colonLines(p.root, f) {
				if _, have := out[field(l, 2)]; !have {
					out[field(l, 2)] = l[0]
				}
			}
		}
		return out
	}
	return ownerNames{read("/etc/passwd", "/usr/lib/passwd"), read("/etc/group", "/usr/lib/group")}
}

func (n ownerNames) user(id uint32) string {
	s := strconv.FormatUint(uint64(id), 10)
	if name := n.users[s]; name != "" {
		return name
	}
	return s
}

func (n ownerNames) group(id uint32) string {
	s := strconv.FormatUint(uint64(id), 10)
	if name := n.groups[s]; name != "" {
		return name
	}
	return s
}

// migrateAccounts moves accounts to /usr/lib, where an update brings new ones
// without a merge. It does so only when the tree has the library that makes
// the C library look there: without it nobody could log in.
func (p *post) migrateAccounts(context.Context) error {
	if !p.hasAltfiles() {
		return nil
	}
	stay := map[string]bool{"root": true, "wheel": true}
	for _, g := range p.o.Layout.EtcGroupMembers {
		stay[g] = true
	}
	for _, f := range []struct {
		name string
		keep func(l []string) bool
	}{
		{"passwd", func(l []string) bool { return l[0] == "root" }},
		{"group", func(l []string) bool { return stay[l[0]] }},
	} {
		var etc, lib strings.Builder
		for _, l := range colonLines(p.root, "/etc/"+f.name) {
			line := strings.Join(l, ":") + "\n"
			if f.keep(l) {
				etc.WriteString(line)
			} else {
				lib.WriteString(line)
			}
		}
		if err := p.root.writeFile("/usr/lib/"+f.name, []byte(lib.String()), 0o644); err != nil {
			return err
		}
		if err := p.root.rewriteFile("/etc/"+f.name, []byte(etc.String()), 0o644); err != nil {
			return err
		}
	}
	return p.nsswitch()
}

// nsswitch makes look-ups of accounts go to /usr/lib after /etc.
func (p *post) nsswitch() error {
	const name = "/etc/nsswitch.conf"
	data, err := p.root.readFile(name)
	if err != nil {
		return err
	}
	out := strings.Split(string(data), "\n")
	for i, l := range out {
		f := strings.Fields(l)
		if len(f) < 2 || (f[0] != "passwd:" && f[0] != "group:") || slices.Contains(f, "altfiles") {
			continue
		}
		if at := slices.Index(f, "files"); at >= 0 {
			f = slices.Insert(f, at+1, "altfiles")
			out[i] = f[0] + strings.Repeat(" ", max(1, 12-len(f[0]))) + strings.Join(f[1:], " ")
		}
	}
	return p.root.rewriteFile(name, []byte(strings.Join(out, "\n")), 0o644)
}

func sortedKeys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}
