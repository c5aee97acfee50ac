package rootfs

import (
	"context"
	"fmt"
	"os"
	"path"
	"regexp"
	"strings"

	"photree/compose/rpmdb"

	"golang.org/x/sys/unix"
)

// Layout says how an installed tree becomes one for deployments.
type Layout struct {
	Units         []string // to enable, besides what packages preset
	DefaultTarget string   // a target unit; "" leaves what packages chose

	RemoveFiles        []string   // paths
	RemoveFromPackages [][]string // a package, then regular expressions over its paths
	AddFiles           []AddFile
	Postprocess        []Script // run in the tree in this order

	RootOpt         bool     // /opt and /usr/local are directories of the tree instead of links to /var
	TmpLink         bool     // /tmp is a link to sysroot/tmp instead of a directory
	NoMachineID     bool     // no /etc/machine-id at all, instead of an empty one
	EtcGroupMembers []string // groups that stay in /etc/group where accounts move
	Treefile        []byte   // kept in the tree
	// OSVersion is put into os-release as OSTREE_VERSION and, in place of
	// OSRelease, into its names; "" leaves the file alone.
	OSVersion, OSRelease string

	Initramfs Initramfs // nil: the tree has none
}

// AddFile copies the host's file Source to Dest in the tree.
type AddFile struct{ Source, Dest string }

// Script is a program text with its interpreter in the first line.
type Script struct{ Name, Body string }

// post turns an installed root into a tree for deployments.
type post struct {
	o       Options
	root    *rootDir
	scripts *scripts
	entries []rpmdb.Entry
	placed  bool // the rpm database is there

	kver     string
	tmpfiles []string // lines for what was in /var
	dropped  []string // files of /var that no tree holds
}

// run takes the steps in the order in which each finds what it needs: scripts
// and the file lists of a treefile see an ordinary root, so they come before
// /etc and /var move.
func (p *post) run(ctx context.Context) error {
	steps := []struct {
		name string
		do   func(context.Context) error
	}{
		{"Enabling units", p.units},
		{"Running post-processing scripts", p.treefile},
		{"Preparing kernel", p.kernel},
		{"Removing what belongs to one machine", p.machine},
		{"Migrating accounts to /usr/lib", p.migrateAccounts},
		{"Moving /boot", p.boot},
		{"Emptying /var", p.emptyVar},
		{"Moving /etc to /usr/etc", p.moveEtc},
		{"Placing RPM db in /usr/share/rpm", p.database},
		{"Copying toplevel compat symlinks", p.toplevel},
		{"Making the initramfs", p.initramfs},
	}
	for _, s := range steps {
		if err := ctx.Err(); err != nil {
			return err
		}
		p.o.step(s.name)
		if err := s.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", strings.ToLower(s.name[:1])+s.name[1:], err)
		}
	}
	return nil
}

func (p *post) units(context.Context) error {
	l := p.o.Layout
	if err := enableListed(p.root, l.Units); err != nil {
		return err
	}
	if l.DefaultTarget == "" {
		return nil
	}
	file, _, err := findUnit(p.root, l.DefaultTarget)
	if err != nil {
		return fmt.Errorf("default target: %w", err)
	}
	return p.root.symlink(file, "/etc/systemd/system/default.target")
}

// treePath is a path of a treefile as it is before /etc moves.
func treePath(name string) string {
	name = path.Clean("/" + name)
	if name == "/usr/etc" || strings.HasPrefix(name, "/usr/etc/") {
		return strings.TrimPrefix(name, "/usr")
	}
	return name
}

func (p *post) treefile(ctx context.Context) error {
	l := p.o.Layout
	if err := p.removeFromPackages(l.RemoveFromPackages); err != nil {
		return err
	}
	for _, f := range l.RemoveFiles {
		if treePath(f) == "/" {
			return fmt.Errorf("remove-files: %q is the whole tree", f)
		}
		if err := p.root.removeAll(treePath(f)); err != nil {
			return fmt.Errorf("remove-files: %w", err)
		}
	}
	for _, f := range l.AddFiles {
		if err := p.addFile(f); err != nil {
			return fmt.Errorf("add-files: %w", err)
		}
	}
	for _, s := range l.Postprocess {
		if err := p.script(ctx, s); err != nil {
			return err
		}
	}
	if len(l.Treefile) > 0 {
		if err := p.root.writeFile("/usr/share/rpm-ostree/treefile.json", l.Treefile, 0o644); err != nil {
			return err
		}
	}
	return p.osRelease()
}

func (p *post) removeFromPackages(list [][]string) error {
	for _, rule := range list {
		if len(rule) < 2 {
			return fmt.Errorf("remove-from-packages: %q has no pattern", rule)
		}
		found := false
		for _, e := range p.entries {
			if e.Package.Name != rule[0] {
				continue
			}
			found = true
			for _, expr := range rule[1:] {
				re, err := regexp.Compile("^(?:" + expr + ")$")
				if err != nil {
					return fmt.Errorf("remove-from-packages: %w", err)
				}
				for i := range e.Package.Files {
					f := &e.Package.Files[i]
					if !re.MatchString(f.Path) {
						continue
					}
					if err := p.root.removeAll(f.Path); err != nil {
						return fmt.Errorf("remove-from-packages: %w", err)
					}
				}
			}
		}
		if !found {
			return fmt.Errorf("remove-from-packages: package %q is not in the tree", rule[0])
		}
	}
	return nil
}

func (p *post) addFile(f AddFile) error {
	fi, err := os.Stat(f.Source)
	if err != nil {
		return err
	}
	dest := treePath(f.Dest)
	if fi.IsDir() {
		list, err := os.ReadDir(f.Source)
		if err != nil {
			return err
		}
		if _, err := p.root.dir(dest); err != nil {
			return err
		}
		for _, e := range list {
			if err := p.addFile(AddFile{path.Join(f.Source, e.Name()), path.Join(dest, e.Name())}); err != nil {
				return err
			}
		}
		return nil
	}
	data, err := os.ReadFile(f.Source)
	if err != nil {
		return err
	}
	// Of the host's modes only whether the file can be run is taken over: the
	// umask of a checkout must not shape the tree (R6).
	mode := uint32(0o644)
	if fi.Mode()&0o100 != 0 {
		mode = 0o755
	}
	return p.root.writeFile(dest, data, mode)
}

func (p *post) script(ctx context.Context, s Script) error {
	first, _, _ := strings.Cut(s.Body, "\n")
	args := []string{"/bin/sh"}
	if rest, ok := strings.CutPrefix(first, "#!"); ok && strings.TrimSpace(rest) != "" {
		args = strings.SplitN(strings.TrimSpace(rest), " ", 2)
	}
	j := job{Root: p.root.path, Args: args, Script: s.Body, Env: p.scripts.environment(), Timeout: p.o.ScriptTimeout}
	_, err := runSandboxed(ctx, j)
	p.scripts.changed()
	if err != nil {
		return fmt.Errorf("%s: %w", s.Name, err)
	}
	return nil
}

// osRelease states the version of the commit where programs look for it.
func (p *post) osRelease() error {
	l := p.o.Layout
	if l.OSVersion == "" {
		return nil
	}
	const name = "/usr/lib/os-release"
	data, err := p.root.readFile(name)
	if err != nil {
		return fmt.Errorf("mutate-os-release: %w", err)
	}
	var out []string
	for _, line := range strings.Split(strings.TrimRight(string(data), "\n"), "\n") {
		key, val, _ := strings.Cut(line, "=")
		switch key {
		case "OSTREE_VERSION":
			continue
		case "VERSION", "PRETTY_NAME":
			if l.OSRelease != "" {
				line = key + "=" + strings.Replace(val, l.OSRelease, l.OSVersion, 1)
			}
		}
		out = append(out, line)
	}
	out = append(out, "OSTREE_VERSION='"+strings.ReplaceAll(l.OSVersion, "'", "")+"'")
	return p.root.rewriteFile(name, []byte(strings.Join(out, "\n")+"\n"), 0o644)
}

// machine removes what must differ between machines or what only the host's
// time or network put there.
func (p *post) machine(context.Context) error {
	for _, f := range []string{
		"/etc/.pwd.lock", "/etc/passwd-", "/etc/group-", "/etc/shadow-", "/etc/gshadow-", "/etc/subuid-", "/etc/subgid-",
		"/etc/.updated", "/var/.updated", "/etc/mtab~", "/var/cache/ldconfig/aux-cache", "/var/lib/systemd/random-seed",
		"/var/lib/rpm", "/var/lib/dbus/machine-id",
	} {
		if err := p.root.removeAll(f); err != nil {
			return err
		}
	}
	// A link to systemd-resolved's file stays, a file is a copy of the host's.
	if st, ok := p.root.lstat("/etc/resolv.conf"); ok && st.Mode&unix.S_IFMT == unix.S_IFREG {
		if err := p.root.removeAll("/etc/resolv.conf"); err != nil {
			return err
		}
	}
	list, err := p.root.readDir("/etc/ssh")
	if err != nil {
		return err
	}
	for _, e := range list {
		if strings.HasPrefix(e.Name(), "ssh_host_") {
			if err := p.root.removeAll("/etc/ssh/" + e.Name()); err != nil {
				return err
			}
		}
	}
	if p.o.Layout.NoMachineID {
		return p.root.removeAll("/etc/machine-id")
	}
	// Empty, it tells systemd to make one at first boot, and is there to be
	// mounted over when /etc cannot be written.
	return p.root.writeFile("/etc/machine-id", nil, 0o444)
}

// moveEtc makes /etc the defaults that a deployment's /etc is merged from.
func (p *post) moveEtc(context.Context) error {
	if _, ok := p.root.lstat("/usr/etc"); ok {
		return fmt.Errorf("a package owns /usr/etc, which is where /etc must go")
	}
	if _, ok := p.root.lstat("/etc"); !ok {
		_, err := p.root.dir("/usr/etc")
		return err
	}
	return p.root.rename("/etc", "/usr/etc")
}

// database is where a tree has its packages.
const database = "/usr/share/rpm/" + rpmdb.Name

func (p *post) database(ctx context.Context) error {
	if p.placed {
		return nil
	}
	const base = "/usr/lib/sysimage/rpm-ostree-base-db"
	for _, d := range []string{"/usr/share/rpm", "/usr/lib/sysimage/rpm", base} {
		if err := p.root.removeAll(d); err != nil {
			return err
		}
	}
	for _, d := range []string{"/usr/share/rpm", base} {
		if _, err := p.root.dir(d); err != nil {
			return err
		}
	}
	file, err := p.root.hostPath(database)
	if err != nil {
		return err
	}
	copied, err := p.root.hostPath(base + "/" + rpmdb.Name)
	if err != nil {
		return err
	}
	if err := writeDatabase(ctx, file, p.entries, p.o.Epoch); err != nil {
		return err
	}
	// The same contents, so the same object of a repository.
	if err := os.Link(file, copied); err != nil {
		return err
	}
	if err := p.root.symlink("../../share/rpm", "/usr/lib/sysimage/rpm"); err != nil {
		return err
	}
	return p.root.writeFile("/usr/lib/rpm/macros.d/macros.rpm-ostree", []byte("%_dbpath /usr/share/rpm\n"), 0o644)
}

// toplevel makes the names of the root directory that a deployment has.
func (p *post) toplevel(context.Context) error {
	for _, name := range []string{"/boot", "/dev", "/proc", "/run", "/sys", "/sysroot", "/var", "/tmp"} {
		if err := p.root.removeAll(name); err != nil {
			return err
		}
		if name == "/tmp" {
			continue
		}
		if _, err := p.root.dir(name); err != nil {
			return err
		}
	}
	links := map[string]string{
		"/home": "var/home", "/root": "var/roothome", "/opt": "var/opt", "/srv": "var/srv", "/mnt": "var/mnt",
		"/media": "run/media", "/ostree": "sysroot/ostree", "/usr/local": "../var/usrlocal",
	}
	if p.o.Layout.RootOpt {
		for _, name := range []string{"/opt", "/usr/local"} {
			delete(links, name)
			if _, err := p.root.dir(name); err != nil {
				return err
			}
		}
	}
	if p.o.Layout.TmpLink {
		links["/tmp"] = "sysroot/tmp"
	} else {
		d, err := p.root.dir("/tmp")
		if err != nil {
			return err
		}
		if err := unix.Fchmodat(p.root.fd, "tmp", 0o1777, 0); err != nil {
			return fmt.Errorf("changing the mode of %q: %w", d.name, err)
		}
	}
	for name, target := range links {
		if err := p.root.removeAll(name); err != nil {
			return err
		}
		if err := p.root.symlink(target, name); err != nil {
			return err
		}
	}
	return os.Chmod(p.root.path, 0o755)
}

// accountFiles is the place of the library that makes the C library read
// accounts in /usr/lib.
func (p *post) hasAltfiles() bool {
	for _, d := range []string{"/usr/lib64", "/usr/lib", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu"} {
		if p.root.exists(d + "/libnss_altfiles.so.2") {
			return true
		}
	}
	return false
}
