package grub

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strings"
)

// Platform names one of GRUB's targets, and the directory of its modules.
type Platform string

// The two ways in which a PC's firmware starts GRUB.
const (
	BIOS Platform = "i386-pc"
	UEFI Platform = "x86_64-efi"
)

// commonModules are in both images: enough to find /boot, run the menu and
// give a person a shell to look around. The linux module must not be here (see
// Stub).
var commonModules = []string{
	"part_gpt", "part_msdos", "ext2", "fat", "search", "search_fs_uuid", "search_label", "normal", "configfile",
	"test", "regexp", "eval", "true", "echo", "terminal", "serial", "minicmd", "ls", "cat", "help", "halt", "reboot", "sleep", "loadenv",
}

var platformModules = map[Platform][]string{
	BIOS: {"biosdisk"},
	UEFI: {"efi_gop", "efi_uga", "efifwsetup"},
}

// installedModules are loaded from /boot/grub when an entry is booted.
var installedModules = []string{"linux", "chain", "gzio"}

// ImageOptions say how to build GRUB's images.
type ImageOptions struct {
	// Run runs a command and waits for it. The paths in argv are those that the
	// command sees: below Root where Run changes the root directory.
	Run func(ctx context.Context, argv []string) error
	// Root is the directory that Run's commands take for "/"; empty for the host.
	Root string
	// ModuleDir holds i386-pc and x86_64-efi, as the command sees it; empty
	// means /usr/lib/grub.
	ModuleDir string
	// WorkDir is an existing directory for temporary files, as the command sees
	// it; empty means /tmp.
	WorkDir string
	// BootUUID is the UUID of the file system that holds /boot.
	BootUUID string
	// Prefix is the path of GRUB's directory on that file system; empty means
	// /grub, right where /boot is a partition of its own.
	Prefix string
	// Platforms are those to build for; empty means both.
	Platforms []Platform
}

// Images are the built images. A platform that was not asked for is nil.
type Images struct {
	// Boot is the boot sector code and Core what it loads, for EmbedBIOS.
	Boot, Core []byte
	// EFI is the program for EFI/BOOT/BOOTX64.EFI.
	EFI []byte
}

// EarlyConfig is the script inside the images. GRUB's rescue parser reads it,
// which knows neither if nor functions.
func EarlyConfig(bootUUID, prefix string) []byte {
	return fmt.Appendf(nil, "search.fs_uuid %s root\nset prefix=($root)%s\n", bootUUID, prefix)
}

// BuildImages runs grub-mkimage once for each platform.
func BuildImages(ctx context.Context, o ImageOptions) (Images, error) {
	var img Images
	if o.Run == nil || o.BootUUID == "" {
		return img, errors.New("building GRUB images: the way to run grub-mkimage and the UUID of the boot file system are needed")
	}
	if o.ModuleDir == "" {
		o.ModuleDir = "/usr/lib/grub"
	}
	if o.WorkDir == "" {
		o.WorkDir = "/tmp"
	}
	if o.Prefix == "" {
		o.Prefix = "/grub"
	}
	if len(o.Platforms) == 0 {
		o.Platforms = []Platform{BIOS, UEFI}
	}
	for _, p := range o.Platforms {
		data, err := buildImage(ctx, o, p)
		if err != nil {
			return img, fmt.Errorf("building the GRUB image for %s: %w", p, err)
		}
		if p == UEFI {
			img.EFI = data
			continue
		}
		img.Core = data
		if img.Boot, err = os.ReadFile(filepath.Join(o.Root, o.ModuleDir, string(p), "boot.img")); err != nil {
			return img, fmt.Errorf("building the GRUB image for %s: %w", p, err)
		}
	}
	return img, nil
}

func buildImage(ctx context.Context, o ImageOptions, p Platform) ([]byte, error) {
	hostDir, err := os.MkdirTemp(filepath.Join(o.Root, o.WorkDir), "grub-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(hostDir)
	dir := filepath.Join(o.WorkDir, filepath.Base(hostDir))
	if err := os.WriteFile(filepath.Join(hostDir, "early.cfg"), EarlyConfig(o.BootUUID, o.Prefix), 0o600); err != nil {
		return nil, err
	}
	argv := []string{
		"grub-mkimage", "-O", string(p), "-d", filepath.Join(o.ModuleDir, string(p)), "-p", o.Prefix,
		"-c", filepath.Join(dir, "early.cfg"), "-o", filepath.Join(dir, "image"),
	}
	argv = append(append(argv, commonModules...), platformModules[p]...)
	if err := o.Run(ctx, argv); err != nil {
		return nil, fmt.Errorf("running grub-mkimage: %w", err)
	}
	return os.ReadFile(filepath.Join(hostDir, "image"))
}

const sectorSize = 512

// EmbedBIOS writes the boot sector code and core.img to the disk. The core goes
// to the BIOS boot partition, which starts at sector startLBA and has sectors
// sectors; of sector 0 only the code is written, not the partition table.
func EmbedBIOS(disk io.WriterAt, boot, core []byte, startLBA, sectors uint64) error {
	const (
		codeSize     = 440   // behind it: disk signature and partition table
		coreSector   = 0x5c  // boot.img: first sector of core.img, 64 bits
		bootDrive    = 0x64  // boot.img: 0xff = the drive the firmware booted from
		driveCheck   = 0x66  // boot.img: a jump that trusts that drive; two NOPs
		coreNextSect = 0x1f4 // core.img: sector of its second sector, 64 bits
	)
	switch {
	case len(boot) != sectorSize:
		return fmt.Errorf("embedding GRUB: boot.img has %d bytes instead of %d", len(boot), sectorSize)
	case len(core) < 2*sectorSize:
		return fmt.Errorf("embedding GRUB: core.img has only %d bytes", len(core))
	case uint64(len(core)+sectorSize-1)/sectorSize > sectors:
		return fmt.Errorf("embedding GRUB: core.img has %d bytes, the BIOS boot partition only %d: make the partition larger",
			len(core), sectors*sectorSize)
	}
	boot, core = bytes.Clone(boot), bytes.Clone(core)
	binary.LittleEndian.PutUint64(boot[coreSector:], startLBA)
	boot[bootDrive] = 0xff
	boot[driveCheck], boot[driveCheck+1] = 0x90, 0x90
	binary.LittleEndian.PutUint64(core[coreNextSect:], startLBA+1)
	if _, err := disk.WriteAt(core, int64(startLBA)*sectorSize); err != nil {
		return fmt.Errorf("embedding GRUB's core.img: %w", err)
	}
	if _, err := disk.WriteAt(boot[:codeSize], 0); err != nil {
		return fmt.Errorf("embedding GRUB's boot sector: %w", err)
	}
	return nil
}

// ModuleFiles lists the module files of one platform that belong into
// /boot/grub/PLATFORM, sorted, given the directory that holds them all.
func ModuleFiles(dir string) ([]string, error) {
	deps, err := readDependencies(filepath.Join(dir, "moddep.lst"))
	if err != nil {
		return nil, fmt.Errorf("listing GRUB modules: %w", err)
	}
	seen := map[string]bool{}
	var visit func(string)
	visit = func(m string) {
		if seen[m] {
			return
		}
		seen[m] = true
		for _, d := range deps[m] {
			visit(d)
		}
	}
	for _, m := range installedModules {
		visit(m)
	}
	out := make([]string, 0, len(seen))
	for m := range seen {
		out = append(out, m+".mod")
	}
	sort.Strings(out)
	return out, nil
}

// readDependencies reads GRUB's moddep.lst: "module: needed needed".
func readDependencies(path string) (map[string][]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	deps := map[string][]string{}
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		if name, rest, ok := strings.Cut(sc.Text(), ":"); ok {
			deps[name] = strings.Fields(rest)
		}
	}
	return deps, sc.Err()
}
