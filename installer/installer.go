// Package installer turns an empty disk and a commit into a machine that
// boots, and makes the ISO that does so without a network.
//
// Install reads a repository (a directory or a URL) and writes one disk, a
// block device or an image file: a GUID partition table, the file systems, a
// sysroot with one deployment, GRUB for BIOS and UEFI, and the settings that
// make the machine a particular one (host name, password, keys, network),
// each in the place where it lasts: /etc of the deployment, /var of the
// stateroot. Everything that can be checked is checked before the first
// write; when Install returns, also with an error, nothing of the disk is
// mounted and no loop device is left.
//
// WriteISO makes an ISO image that boots into Live, which finds its own
// medium, asks or reads a kickstart file, and calls Install.
//
// The package prints nothing; it reports steps through Options.Progress.
package installer

import (
	"context"
	"time"

	"photree/installer/disk"
	"photree/installer/kickstart"
)

// Options say what to install where. Disk, Source and Ref are needed; the
// zero value of everything else is a sensible default.
type Options struct {
	Disk string // block device or image file
	Size int64  // size of a new image file in bytes; 0 = Disk exists

	Source     string // repository: a directory or an http(s) URL
	Ref        string
	Stateroot  string // default "photon"
	RemoteName string // default "photon"
	RemoteURL  string // where updates come from; default: Source if it is a URL

	BootMode   disk.BootMode    // default disk.DualBoot
	Partitions []disk.Partition // default: /boot of 300 MiB, / in the rest

	Machine Machine
	Kargs   []string // more kernel arguments, after root=

	// Footprint is how much room the commit needs, where that is known; zero
	// has it measured.
	Footprint Footprint

	WorkDir  string // for tools and mount points; default the system's temp dir
	Tools    ToolSource
	Progress func(step string)
}

// Machine holds the settings that make an installation one machine.
type Machine struct {
	Hostname       string // default "photon-" and eight hex digits
	Password       string // root's, in the clear; hashed before it is written
	PasswordHash   string // root's, as crypt(3) knows it; wins over Password
	PasswordAge    *int   // days: -1 never expires, 0 must be changed at the first login
	AuthorizedKeys []string
	Locale         string            // LANG; default: leave what the tree has
	Timezone       string            // a name under /usr/share/zoneinfo; default: leave
	NetworkFiles   map[string]string // name -> content, for /etc/systemd/network
	PostInstall    []kickstart.Script
}

// Result tells what was made.
type Result struct {
	Commit     string        `json:"commit"`
	Version    string        `json:"version,omitempty"`
	Stateroot  string        `json:"stateroot"`
	RootUUID   string        `json:"root_uuid"`
	BootUUID   string        `json:"boot_uuid"`
	Deployment string        `json:"deployment"` // path of the deployment inside the sysroot
	Hostname   string        `json:"hostname"`
	Duration   time.Duration `json:"duration_ns"`
}

// ToolSource says where programs that photree does not bring itself
// (mkfs.ext4, grub-mkimage) are taken from.
type ToolSource int

const (
	// ToolsAuto takes a program of the host, else the one in the commit.
	ToolsAuto ToolSource = iota
	// ToolsFromTree takes every program out of the commit.
	ToolsFromTree
	// ToolsFromHost takes every program from the host.
	ToolsFromHost
)

// Install installs a machine: the steps are in install.go.
func Install(ctx context.Context, o Options) (Result, error) {
	return install(ctx, o)
}

// ISOOptions say what goes onto an ISO image.
type ISOOptions struct {
	Repo      string // the repository that holds Ref
	Ref       string
	Output    string
	Kickstart string   // a JSON or YAML file for an unattended installation
	Kargs     []string // more kernel arguments for the installer's kernel
	VolumeID  string   // default "PHOTREE"
	Photree   string   // the static photree binary; default: the running program
	WorkDir   string
	Tools     ToolSource
	Progress  func(step string)
}

// ISOResult tells what was made.
type ISOResult struct {
	Commit    string        `json:"commit"`
	Size      int64         `json:"size"`
	Initramfs int64         `json:"initramfs_size"`
	Duration  time.Duration `json:"duration_ns"`
}

// WriteISO makes a hybrid installer ISO: the steps are in iso.go.
func WriteISO(ctx context.Context, o ISOOptions) (ISOResult, error) {
	return writeISO(ctx, o)
}
