package distro

import (
	"fmt"
	"strings"

	"photree/qemu-tests/distro/rpmwriter"
)

// The directories that the package filesystem owns, apart from those with a mode of their own.
const plainDirs = `/boot /boot/efi /dev /etc /home /media /mnt /opt /run /srv /sys /usr /usr/bin /usr/games /usr/include
/usr/lib /usr/lib64 /usr/local /usr/local/bin /usr/local/sbin /usr/local/lib /usr/local/share /usr/local/etc
/usr/local/include /usr/local/games /usr/local/src /usr/sbin /usr/share /usr/share/doc /usr/share/man /usr/share/info
/usr/share/misc /usr/src /usr/lib/x86_64-linux-gnu /var /var/cache /var/lib /var/log /var/spool /var/backups
/var/lib/misc /etc/skel /etc/profile.d /etc/default /usr/lib/sysusers.d /usr/lib/tmpfiles.d /usr/lib/systemd
/usr/lib/systemd/system /usr/lib/systemd/system-preset /usr/lib/udev /usr/lib/udev/rules.d /usr/lib/modules
/usr/lib/modprobe.d /etc/systemd /etc/systemd/system /etc/systemd/network /etc/pam.d /etc/init.d /etc/logrotate.d
/etc/cron.daily /usr/share/bash-completion /usr/share/bash-completion/completions /usr/share/locale
/etc/alternatives /var/opt`

func filesystemDirs() map[string]uint32 {
	dirs := map[string]uint32{
		"/proc": 0o555, "/root": 0o700, "/tmp": 0o1777, "/var/tmp": 0o1777, "/var/mail": 0o2775, "/var/local": 0o2775,
	}
	for _, d := range strings.Fields(plainDirs) {
		dirs[d] = 0o755
	}
	for i := 1; i <= 9; i++ {
		dirs[fmt.Sprintf("/usr/share/man/man%d", i)] = 0o755
	}
	return dirs
}

var filesystemLinks = map[string]string{
	"/bin": "usr/bin", "/sbin": "usr/sbin", "/lib": "usr/lib", "/lib64": "usr/lib64", "/var/run": "/run", "/var/lock": "/run/lock",
}

func ownedByFilesystem(p string) bool {
	_, dir := filesystemDirs()[p]
	_, link := filesystemLinks[p]
	return dir || link
}

// filesystemPackage owns the base directories and the links of the merged /usr.
func filesystemPackage() *rpmwriter.Package {
	p := &rpmwriter.Package{
		Name: "filesystem", Version: "1.0", Release: "1", Arch: "noarch", Summary: "Base directories and the links of the merged /usr",
		Description: "The directories that every package expects.", License: "CC0-1.0", Vendor: "photree", Group: "Unspecified",
		SourceRPM: "filesystem-1.0-1.src.rpm", BuildTime: buildTime,
	}
	for d, mode := range filesystemDirs() {
		p.Files = append(p.Files, rpmwriter.File{Path: d, Mode: rpmwriter.TypeDir | mode, MTime: buildTime})
	}
	for l, target := range filesystemLinks {
		p.Files = append(p.Files, rpmwriter.File{Path: l, Mode: rpmwriter.TypeLink | 0o777, MTime: buildTime, Target: target})
	}
	return p
}

const presets = `enable getty@.service
enable serial-getty@ttyS0.service
enable remote-fs.target
enable systemd-networkd.service
enable systemd-resolved.service
enable ssh.service
enable sshd-keygen.service
enable cron.service
disable *
`

const dhcpNetwork = `[Match]
Name=en* eth*

[Network]
DHCP=yes
`

// releasePackage says which release this is, in files and in relations: it needs the package that only this release has.
func releasePackage(r release) *rpmwriter.Package {
	version := r.version
	p := &rpmwriter.Package{
		Name: "photree-release", Version: version, Release: "1", Arch: "noarch", Summary: "The identity of the test distribution",
		Description: "Names the release, its default services and its network.", License: "CC0-1.0", Vendor: "photree", Group: "Unspecified",
		SourceRPM: "photree-release-" + version + "-1.src.rpm", BuildTime: buildTime,
		Requires: []rpmwriter.Dep{{Name: "filesystem", Flags: rpmwriter.ScriptPre}},
	}
	for _, only := range r.only {
		p.Requires = append(p.Requires, rpmwriter.Dep{Name: only})
	}
	p.Files = []rpmwriter.File{
		textFile("/usr/lib/os-release", fmt.Sprintf("NAME=\"Photree Test Linux\"\nID=photree-test\nVERSION=\"%[1]s\"\nVERSION_ID=%[1]s\nPRETTY_NAME=\"Photree Test Linux %[1]s\"\nHOME_URL=\"https://www.debian.org/\"\n", version)),
		configFile("/etc/issue", "Photree Test Linux "+version+" \\n \\l\n\n"),
		// One that nobody edits and that follows the release, one that a test edits and that must not.
		configFile("/etc/photree-release", "Photree Test Linux release "+version+"\n"),
		configFile("/etc/photree-test.conf", "# The release's defaults.\ndefault = "+version+"\n"),
		textFile("/usr/lib/systemd/system-preset/90-photree-release.preset", presets),
		textFile("/usr/lib/systemd/network/80-dhcp.network", dhcpNetwork),
	}
	return p
}
