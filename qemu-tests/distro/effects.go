package distro

import (
	"fmt"
	"regexp"
	"strings"

	"photree/qemu-tests/distro/rpmwriter"
)

// effect is what the maintainer scripts of one package do, made static.
type effect struct {
	copies         []copied
	texts          []rpmwriter.File
	links          [][2]string // path, target
	modes          map[string]rpmwriter.File
	caps           map[string]string
	users          []user
	post           []string // lines of %post
	needs          []string // packages that %post needs
	drop           []string // files that another package brings
	noAlternatives bool
}

type copied struct {
	from, to string
}

// user is a system user, with a group of its name; without a home it is a group only.
type user struct{ name, home string }

func textFile(path, text string) rpmwriter.File {
	return rpmwriter.File{Path: path, Mode: rpmwriter.TypeReg | 0o644, MTime: buildTime, Body: []byte(text)}
}

func configFile(path, text string) rpmwriter.File {
	f := textFile(path, text)
	f.Flags = rpmwriter.Config | rpmwriter.NoReplace
	return f
}

// unwanted are packages that only Debian's maintainer scripts, which are not carried over, or its initramfs need.
var unwanted = map[string]bool{
	"debconf": true, "debconf-2.0": true, "cdebconf": true, "perl": true, "perl-base": true, "adduser": true, "ucf": true,
	"init-system-helpers": true, "usrmerge": true, "usr-is-merged": true, "initramfs-tools": true, "linux-initramfs-tool": true, "linux-base": true,
	"runit-helper": true, "sensible-utils": true, "lsb-base": true, "rpm2cpio": true,
}

// fileProvides are paths that scriptlets name and that the usr-merge moved.
var fileProvides = map[string][]string{
	"dash": {"/bin/sh", "/bin/dash"}, "bash": {"/bin/bash"}, "libc-bin": {"/sbin/ldconfig"},
	"coreutils": {"/bin/true", "/bin/rm", "/bin/ln", "/bin/chmod"},
}

var effects = map[string]effect{
	"libc-bin": {copies: []copied{{"/usr/share/libc-bin/nsswitch.conf", "/etc/nsswitch.conf"}}},
	"base-files": {
		copies: []copied{{"/usr/share/base-files/profile", "/etc/profile"}, {"/usr/share/base-files/dot.bashrc", "/root/.bashrc"}, {"/usr/share/base-files/dot.profile", "/root/.profile"}},
		links:  [][2]string{{"/etc/os-release", "../usr/lib/os-release"}},
		drop:   []string{"/usr/lib/os-release", "/etc/os-release", "/etc/issue", "/etc/issue.net"},
		// os-release and issue come with photree-release.
		needs: []string{"photree-release"},
	},
	"base-passwd": {}, // see passwdFiles
	"openssh-server": {
		copies: []copied{{"/usr/share/openssh/sshd_config", "/etc/ssh/sshd_config"}},
		users:  []user{{"sshd", "/run/sshd"}},
		needs:  []string{"systemd"},
		post:   []string{"systemctl --no-reload preset sshd-keygen.service >/dev/null 2>&1 || :"},
		texts: []rpmwriter.File{textFile("/usr/lib/systemd/system/sshd-keygen.service", `[Unit]
Description=Generate SSH host keys
Before=ssh.service
ConditionPathExists=!/etc/ssh/ssh_host_ed25519_key

[Service]
Type=oneshot
ExecStart=/usr/bin/ssh-keygen -A

[Install]
WantedBy=multi-user.target
`)},
	},
	"openssh-client": {users: []user{{name: "_ssh"}}, modes: map[string]rpmwriter.File{"/usr/bin/ssh-agent": {Mode: 0o2755, Group: "_ssh"}}},
	"dbus-daemon":    {users: []user{{"messagebus", "/nonexistent"}}},
	"dbus": {
		users: []user{{"messagebus", "/nonexistent"}},
		modes: map[string]rpmwriter.File{"/usr/lib/dbus-1.0/dbus-daemon-launch-helper": {Mode: 0o4754, Group: "messagebus"}},
	},
	"cron-daemon-common": {users: []user{{name: "crontab"}}},
	"cron":               {modes: map[string]rpmwriter.File{"/usr/bin/crontab": {Mode: 0o2755, Group: "crontab"}}},
	"udev": {
		users: []user{{name: "input"}, {name: "sgx"}, {name: "kvm"}, {name: "render"}},
		// Under /usr, where a tree wants it: twelve megabytes that every copy of /etc would carry.
		post: []string{"systemd-hwdb --usr update || :"},
	},
	"systemd": {
		users: []user{{name: "systemd-journal"}, {"systemd-network", "/"}},
		needs: []string{"photree-release"}, // its presets
		post:  []string{"systemd-machine-id-setup >/dev/null 2>&1 || :", "systemctl preset-all >/dev/null 2>&1 || :"},
	},
	"systemd-timesyncd": {users: []user{{"systemd-timesync", "/"}}},
	"systemd-resolved":  {users: []user{{"systemd-resolve", "/"}}, links: [][2]string{{"/etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf"}}},
	"ca-certificates": {
		needs: []string{"openssl"},
		post: []string{
			`ls /usr/share/ca-certificates/mozilla/*.crt | sed "s|^/usr/share/ca-certificates/||" > /etc/ca-certificates.conf`,
			"update-ca-certificates >/dev/null || :",
		},
	},
	"iputils-ping": {caps: map[string]string{"/usr/bin/ping": "cap_net_raw=ep"}},
	"mawk":         {links: [][2]string{{"/usr/bin/awk", "mawk"}}, noAlternatives: true},
	"tar":          {noAlternatives: true},
	"vim-tiny":     {links: [][2]string{{"/usr/bin/vi", "vim.tiny"}}},
	"debianutils": {
		links: [][2]string{{"/usr/bin/which", "which.debianutils"}}, noAlternatives: true,
		texts: []rpmwriter.File{configFile("/etc/shells", "/bin/sh\n/bin/bash\n/usr/bin/bash\n/bin/dash\n")},
	},
	"tzdata": {
		links: [][2]string{{"/etc/localtime", "/usr/share/zoneinfo/Etc/UTC"}},
		texts: []rpmwriter.File{configFile("/etc/timezone", "Etc/UTC\n")},
	},
	"libpam-runtime": {texts: pamFiles()},
}

// pamFiles is what pam-auth-update writes for pam_unix and pam_systemd.
func pamFiles() []rpmwriter.File {
	pam := func(kind, success string) string {
		return kind + " [" + success + "=1 default=ignore] pam_unix.so"
	}
	end := func(kind string) string {
		return "\n" + kind + " requisite pam_deny.so\n" + kind + " required pam_permit.so\n"
	}
	session := "session [default=1] pam_permit.so" + end("session") + "session required pam_unix.so\n"
	return []rpmwriter.File{
		configFile("/etc/pam.d/common-auth", pam("auth", "success")+" nullok"+end("auth")),
		configFile("/etc/pam.d/common-account", pam("account", "success=1 new_authtok_reqd")+end("account")),
		configFile("/etc/pam.d/common-password", pam("password", "success")+" obscure yescrypt"+end("password")),
		configFile("/etc/pam.d/common-session", session+"session optional pam_systemd.so\n"),
		configFile("/etc/pam.d/common-session-noninteractive", session),
	}
}

func (c *conversion) addFile(f rpmwriter.File) { c.files[f.Path] = f }

func (c *conversion) addLink(path, target string) {
	c.addFile(rpmwriter.File{Path: path, Mode: rpmwriter.TypeLink | 0o777, MTime: buildTime, Target: target})
}

// applyEffects adds what the package's scripts would have made.
func (c *conversion) applyEffects() error {
	eff := effects[c.name]
	for _, p := range eff.drop {
		delete(c.files, p)
	}
	for _, cp := range eff.copies {
		src, ok := c.files[cp.from]
		if !ok {
			return fmt.Errorf("it has no %q, which its postinst copies to %q", cp.from, cp.to)
		}
		c.addFile(configFile(cp.to, string(src.Body)))
	}
	for _, f := range eff.texts {
		c.addFile(f)
	}
	for _, l := range eff.links {
		c.addLink(l[0], l[1])
	}
	for p, m := range eff.modes {
		f, ok := c.files[p]
		if !ok {
			return fmt.Errorf("it has no %q, whose mode its postinst sets", p)
		}
		f.Mode, f.Group = f.Mode&rpmwriter.TypeMask|m.Mode, m.Group
		c.addFile(f)
	}
	for p, caps := range eff.caps {
		f, ok := c.files[p]
		if !ok {
			return fmt.Errorf("it has no %q, whose capabilities its postinst sets", p)
		}
		f.Caps = caps
		c.addFile(f)
	}
	if c.name == "base-passwd" {
		return c.passwdFiles()
	}
	return nil
}

var starPassword = regexp.MustCompile(`(?m)^([^:]*):\*:`)

// passwdFiles makes the user database out of base-passwd's masters, with shadow files.
func (c *conversion) passwdFiles() error {
	for _, db := range []struct{ master, shadow, empty string }{
		{"passwd", "shadow", ":*:19000:0:99999:7:::"}, {"group", "gshadow", ":*::"},
	} {
		master, ok := c.files["/usr/share/base-passwd/"+db.master+".master"]
		if !ok {
			return fmt.Errorf("it has no %s.master", db.master)
		}
		text := string(master.Body)
		c.addFile(configFile("/etc/"+db.master, starPassword.ReplaceAllString(text, "$1:x:")))
		var shadow strings.Builder
		for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
			name, _, _ := strings.Cut(line, ":")
			shadow.WriteString(name + db.empty + "\n")
		}
		f := configFile("/etc/"+db.shadow, shadow.String())
		// The group by number would be shadow; by name it is not yet there when this very package is unpacked.
		f.Mode = rpmwriter.TypeReg | 0o640
		c.addFile(f)
	}
	return nil
}
