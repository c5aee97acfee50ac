package installer

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"photree/installer/disk"
)

var hostnameLabel = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)

// check refuses settings that would make files with another meaning.
func (m *Machine) check() error {
	if m.Hostname != "" {
		if len(m.Hostname) > 64 {
			return fmt.Errorf("the host name %q is longer than 64 characters", m.Hostname)
		}
		for label := range strings.SplitSeq(m.Hostname, ".") {
			if !hostnameLabel.MatchString(label) {
				return fmt.Errorf("the host name %q may have only letters, digits and - in each of its parts", m.Hostname)
			}
		}
	}
	if strings.ContainsAny(m.PasswordHash, ":\n\r ") {
		return errors.New("the password hash is not one that /etc/shadow can hold")
	}
	if strings.ContainsAny(m.Password, "\n\r\x00") {
		return errors.New("the root password has more than one line")
	}
	for _, key := range m.AuthorizedKeys {
		if len(strings.Fields(key)) < 2 || strings.ContainsAny(key, "\n\r") {
			return fmt.Errorf("%q is not the one line of a public SSH key", key)
		}
	}
	if strings.ContainsAny(m.Locale, "\n\r\"") {
		return fmt.Errorf("the locale %q is not a name", m.Locale)
	}
	if m.Timezone != "" && (filepath.IsAbs(m.Timezone) || !filepath.IsLocal(m.Timezone)) {
		return fmt.Errorf("the time zone %q is not a name below /usr/share/zoneinfo", m.Timezone)
	}
	for name := range m.NetworkFiles {
		if filepath.Base(name) != name || name == "." || name == ".." {
			return fmt.Errorf("%q cannot be the name of a network file", name)
		}
	}
	return nil
}

func randomHostname() string {
	var b [4]byte
	rand.Read(b[:])
	return fmt.Sprintf("photon-%x", b)
}

// settings writes what makes a tree one machine: dir is the deployment, of
// which only /etc is written to, and varDir the stateroot's /var.
type settings struct {
	machine Machine
	layout  *disk.Layout
	dir     string
	varDir  string
}

func (s *settings) write() error {
	for _, step := range []struct {
		name string
		run  func() error
	}{
		{"/etc/fstab", s.writeFstab},
		{"the host name", s.writeHostname},
		{"the root password", s.writePassword},
		{"the SSH keys", s.writeKeys},
		{"the locale", s.writeLocale},
		{"the network", s.writeNetwork},
	} {
		if err := step.run(); err != nil {
			return fmt.Errorf("writing %s: %w", step.name, err)
		}
	}
	return nil
}

func (s *settings) etc(name string) string { return filepath.Join(s.dir, "etc", name) }

// put writes a file of the deployment's /etc, whose files are copies and no
// one else's (D4), with its directories.
func (s *settings) put(name, content string, mode fs.FileMode) error {
	path := s.etc(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	// A link, to /run or into /usr, would lead the write out of /etc.
	if st, err := os.Lstat(path); err == nil && !st.Mode().IsRegular() {
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		return err
	}
	return os.Chmod(path, mode)
}

func (s *settings) writeFstab() error {
	var b strings.Builder
	b.WriteString("# Written by photree at installation. The root is mounted by the initramfs.\n")
	line := func(p *disk.Part, where, kind, options string, pass int) {
		if p.Options != "" {
			options = p.Options
		}
		fmt.Fprintf(&b, "UUID=%s %s %s %s 0 %d\n", p.UUID, where, kind, options, pass)
	}
	for i := range s.layout.Parts {
		switch p := &s.layout.Parts[i]; {
		case p.Embeds:
		case p.Filesystem == "swap":
			line(p, "none", "swap", "sw", 0)
		case p.Mountpoint == "/":
			line(p, "/", p.Filesystem, "defaults", 1)
		case p.Mountpoint == "/boot/efi":
			// Nothing needs the ESP while the system runs: a kernel without vfat
			// must not stop the boot.
			line(p, p.Mountpoint, "vfat", "umask=0077,nofail", 0)
		case p.Mountpoint == "/boot":
			line(p, p.Mountpoint, p.Filesystem, "defaults", 2)
		case p.Mountpoint != "":
			inVar, err := varPath(p.Mountpoint)
			if err != nil {
				return err
			}
			line(p, filepath.Join("/var", inVar), p.Filesystem, "defaults", 2)
		}
	}
	return s.put("fstab", b.String(), 0o644)
}

// lasting maps the directories outside of /var that last to where the tree's
// symbolic links lead.
var lasting = map[string]string{"/home": "home", "/root": "roothome", "/opt": "opt", "/srv": "srv", "/mnt": "mnt", "/usr/local": "usrlocal"}

// varPath gives the place below /var of a directory that a partition may be
// mounted at.
func varPath(mountpoint string) (string, error) {
	if in, ok := strings.CutPrefix(mountpoint+"/", "/var/"); ok {
		return filepath.Clean("./" + in), nil
	}
	for from, to := range lasting {
		if rest, ok := strings.CutPrefix(mountpoint+"/", from+"/"); ok {
			return filepath.Join(to, rest), nil
		}
	}
	return "", fmt.Errorf("a partition cannot be mounted at %s: use /var, a directory below it, or one of %s", mountpoint,
		strings.Join(slices.Sorted(maps.Keys(lasting)), ", "))
}

func (s *settings) writeHostname() error {
	name := s.machine.Hostname
	if err := s.put("hostname", name+"\n", 0o644); err != nil {
		return err
	}
	hosts, err := os.ReadFile(s.etc("hosts"))
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(strings.TrimSpace(string(hosts))) == 0 {
		hosts, err = []byte("127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"), nil
	}
	if err != nil {
		return err
	}
	short, _, dotted := strings.Cut(name, ".")
	if dotted {
		name += " " + short
	}
	return s.put("hosts", strings.TrimRight(string(hosts), "\n")+"\n127.0.1.1 "+name+"\n", 0o644)
}

// writePassword sets root's hash. Without one root stays as the tree has it,
// which should be locked.
func (s *settings) writePassword() error {
	hash := s.machine.PasswordHash
	if hash == "" && s.machine.Password != "" {
		hash = hashPassword(s.machine.Password)
	}
	if hash == "" && s.machine.PasswordAge == nil {
		return nil
	}
	passwd, err := os.ReadFile(s.etc("passwd"))
	if err != nil {
		return err
	}
	lines, root := findAccount(string(passwd), "root")
	if root < 0 {
		return errors.New("the tree's /etc/passwd has no root")
	}
	fields := strings.Split(lines[root], ":")
	if len(fields) != 7 {
		return errors.New("the line of root in /etc/passwd is broken")
	}
	fields[1] = "x"
	lines[root] = strings.Join(fields, ":")
	if err := s.put("passwd", strings.Join(lines, "\n")+"\n", 0o644); err != nil {
		return err
	}

	mode := fs.FileMode(0o600)
	if st, err := os.Stat(s.etc("shadow")); err == nil {
		mode = st.Mode().Perm() // Debian's group shadow may read it
	}
	shadow, err := os.ReadFile(s.etc("shadow"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return s.put("shadow", shadowWithRoot(string(shadow), hash, s.machine.PasswordAge, time.Now()), mode)
}

func findAccount(text, name string) (lines []string, at int) {
	lines = strings.Split(strings.TrimRight(text, "\n"), "\n")
	if text == "" {
		lines = nil
	}
	return lines, slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, name+":") })
}

// shadowWithRoot sets root's password and its age in the text of /etc/shadow.
func shadowWithRoot(text, hash string, age *int, now time.Time) string {
	lines, at := findAccount(text, "root")
	if at < 0 {
		lines, at = append([]string{"root:*::0:99999:7:::"}, lines...), 0
	}
	fields := append(strings.Split(lines[at], ":"), make([]string, 9)...)[:9]
	if hash != "" {
		fields[1], fields[2] = hash, strconv.FormatInt(now.Unix()/86400, 10)
	}
	if age != nil {
		switch {
		case *age < 0:
			fields[4] = ""
		case *age == 0:
			fields[2] = "0"
		default:
			fields[4] = strconv.Itoa(*age)
		}
	}
	lines[at] = strings.Join(fields, ":")
	return strings.Join(lines, "\n") + "\n"
}

// writeKeys puts the keys where /root leads to at run time: the stateroot's
// var/roothome. Written through the deployment's /root they would be in a
// /var that nobody sees again.
func (s *settings) writeKeys() error {
	if len(s.machine.AuthorizedKeys) == 0 {
		return nil
	}
	home := filepath.Join(s.varDir, "roothome")
	ssh := filepath.Join(home, ".ssh")
	for _, dir := range []string{home, ssh} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		if err := os.Chmod(dir, 0o700); err != nil { // sshd refuses anything wider
			return err
		}
	}
	keys := strings.Join(s.machine.AuthorizedKeys, "\n") + "\n"
	if err := os.WriteFile(filepath.Join(ssh, "authorized_keys"), []byte(keys), 0o600); err != nil {
		return err
	}
	return s.permitRootLogin()
}

var permitRootLogin = regexp.MustCompile(`(?mi)^[ \t]*#?[ \t]*PermitRootLogin\b.*$`)

// permitRootLogin does to sshd's configuration what Photon's installer does
// when it is given a key.
func (s *settings) permitRootLogin() error {
	config, err := os.ReadFile(s.etc("ssh/sshd_config"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a tree without sshd
	} else if err != nil {
		return err
	}
	const yes = "PermitRootLogin yes"
	text := string(config)
	if permitRootLogin.MatchString(text) {
		text = permitRootLogin.ReplaceAllLiteralString(text, yes)
	} else {
		text = yes + "\n" + text // in front of any Match block
	}
	return s.put("ssh/sshd_config", text, 0o644)
}

func (s *settings) writeLocale() error {
	if s.machine.Locale != "" {
		if err := s.put("locale.conf", "LANG="+s.machine.Locale+"\n", 0o644); err != nil {
			return err
		}
	}
	if s.machine.Timezone == "" {
		return nil
	}
	zone := filepath.Join("usr/share/zoneinfo", s.machine.Timezone)
	if !exists(filepath.Join(s.dir, zone)) {
		return fmt.Errorf("the tree has no time zone %s", s.machine.Timezone)
	}
	link := s.etc("localtime")
	if err := os.Remove(link); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Symlink("../"+zone, link)
}

func (s *settings) writeNetwork() error {
	if len(s.machine.NetworkFiles) == 0 {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(s.machine.NetworkFiles)) {
		if err := s.put("systemd/network/"+name, s.machine.NetworkFiles[name], 0o644); err != nil {
			return err
		}
	}
	const unit = "usr/lib/systemd/system/systemd-networkd.service"
	wants := s.etc("systemd/system/multi-user.target.wants")
	link := filepath.Join(wants, filepath.Base(unit))
	if _, err := os.Lstat(link); err == nil || !exists(filepath.Join(s.dir, unit)) {
		return nil
	}
	if err := os.MkdirAll(wants, 0o755); err != nil {
		return err
	}
	return os.Symlink("/"+unit, link)
}
