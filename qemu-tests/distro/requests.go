package distro

import "strings"

// requested are the packages that the distribution is made around; apt finds what they need.
const requested = `base-files base-passwd bash bzip2 ca-certificates coreutils cpio cron curl dash dbus debianutils diffutils
dosfstools e2fsprogs efibootmgr ethtool file findutils gpgv grep grub-common grub-efi-amd64-bin grub-pc-bin gzip hostname
iproute2 iptables iputils-ping kmod less libc-bin libc6 libcap2-bin libpam-modules libpam-runtime libpam-systemd
linux-image-cloud-amd64 login logrotate lsof mawk mount ncurses-base ncurses-bin netbase nftables openssh-client
openssh-server passwd patch pciutils procps psmisc rpm rsync sed socat strace sudo systemd systemd-resolved systemd-sysv
systemd-timesyncd tar tree tzdata udev unzip util-linux vim-tiny xz-utils zstd`

// release is one of the two releases.
type release struct {
	name, version string
	only          []string // packages that the other release has not
	newer         bool     // takes the newer version where the archives have two
}

var releases = []release{
	{name: "v1", version: "1.0", only: []string{"bc"}},
	{name: "v2", version: "2.0", only: []string{"jq"}, newer: true},
}

// minPackages is how many packages a release has at the least; fewer would mean that pruning went wrong.
const minPackages = 150

func requests(r release) []string {
	return append(strings.Fields(requested), r.only...)
}

// Packages is the package list of the treefile: what a person would ask for, the rest follows by dependencies.
func Packages() []string {
	return append(strings.Fields(requested), "filesystem", "photree-release")
}
