// Package disk lays out, partitions, formats and mounts the disk that a
// machine is installed on.
//
// Plan is pure: a size, a boot mode and the wishes for partitions become a
// Layout, or an error that says how much is missing. A Target is an opened
// disk, a block device or an image file; its partitions are reached through
// the kernel's partition nodes or, where the kernel shows none (image files,
// kernels without a partition parser), through loop devices with offset and
// size limit. Opening a Target checks that nothing uses it and writes
// nothing; closing it leaves no loop device behind.
package disk

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/diskfs/go-diskfs/partition/gpt"
)

// BootMode says for which firmware a disk is made.
type BootMode string

// The boot modes of Photon's kickstart; the zero value means DualBoot.
const (
	DualBoot BootMode = "dualboot"
	BIOS     BootMode = "bios"
	EFI      BootMode = "efi"
)

// BIOS reports whether the disk is to boot from BIOS.
func (m BootMode) BIOS() bool { return m != EFI }

// EFI reports whether the disk is to boot from UEFI.
func (m BootMode) EFI() bool { return m != BIOS }

// Partition is a wish for one partition.
type Partition struct {
	Mountpoint string // "/", "/boot", "/boot/efi", another directory, or "" (swap, spare)
	Size       int64  // bytes; 0 = the rest of the disk
	Percent    int    // of the disk, instead of Size
	Filesystem string // ext4 (default), vfat (the ESP), swap
	Options    string // of the mount; default "defaults"
	MkfsArgs   []string
	Label      string // of the file system
	PartLabel  string // name of the partition
}

// Part is one partition of a Layout.
type Part struct {
	Partition
	Index   int
	Start   int64 // bytes
	Type    gpt.Type
	GUID    string // of the partition
	UUID    string // of the file system; of a FAT "XXXX-XXXX"
	Volume  uint32 // a FAT's UUID as a number
	Node    string // a block device that shows it, once there is one
	Embeds  bool   // the BIOS boot partition: no file system, holds GRUB's core
	fixture bool   // made by Plan, not wished for
}

// Sector is the size of the sectors that photree partitions in.
const Sector = 512

const (
	align      = 1 << 20
	biosSize   = 4 << 20
	espSize    = 64 << 20
	bootSize   = 300 << 20
	smallestFS = 8 << 20
)

// Layout is a partitioned disk on paper.
type Layout struct {
	Size  int64
	GUID  string
	Parts []Part
}

// Find gives the partition that is mounted at mountpoint, or nil.
func (l *Layout) Find(mountpoint string) *Part {
	i := slices.IndexFunc(l.Parts, func(p Part) bool { return p.Mountpoint == mountpoint })
	if i < 0 {
		return nil
	}
	return &l.Parts[i]
}

// BIOSBoot gives the partition for GRUB's core image, or nil.
func (l *Layout) BIOSBoot() *Part {
	i := slices.IndexFunc(l.Parts, func(p Part) bool { return p.Embeds })
	if i < 0 {
		return nil
	}
	return &l.Parts[i]
}

// TooSmallError says that a disk cannot hold what was asked for.
type TooSmallError struct{ Have, Need int64 }

func (e *TooSmallError) Error() string {
	return fmt.Sprintf("the disk has %d MiB and %d MiB are needed", e.Have>>20, (e.Need+align-1)>>20)
}

// Plan lays partitions out on a disk of size bytes: what the firmware needs,
// /boot, what else was wished for, and last the one that takes the rest.
// Identifiers are random, or follow from seed where it is not empty.
func Plan(size int64, mode BootMode, wishes []Partition, seed []byte) (*Layout, error) {
	parts, err := arrange(size, mode, wishes)
	if err != nil {
		return nil, fmt.Errorf("planning the partitions: %w", err)
	}
	l := &Layout{Size: size, Parts: parts}
	end := size - align // the backup table lives in the last 17 KiB
	at, rest := int64(align), -1
	for i := range l.Parts {
		p := &l.Parts[i]
		p.Index, p.Start = i+1, at
		if p.Size == 0 {
			rest = i
			p.Size = max((end-at)/align*align, 0)
		}
		at += p.Size
	}
	if rest >= 0 && l.Parts[rest].Size < smallestFS {
		at += smallestFS - l.Parts[rest].Size
	}
	if at > end {
		return nil, fmt.Errorf("planning the partitions: %w", &TooSmallError{size, at + align})
	}
	l.identify(seed)
	return l, nil
}

// arrange completes the wishes and puts them in order.
func arrange(size int64, mode BootMode, wishes []Partition) ([]Part, error) {
	if mode != "" && mode != DualBoot && mode != BIOS && mode != EFI {
		return nil, fmt.Errorf("the boot mode %q is not one of bios, efi, dualboot", mode)
	}
	var fixed, rest []Part
	esp := Part{Partition: Partition{Mountpoint: "/boot/efi", Size: espSize, Filesystem: "vfat", Label: "ESP"}, fixture: true}
	boot := Part{Partition: Partition{Mountpoint: "/boot", Size: bootSize}, fixture: true}
	root := false
	seen := map[string]bool{}
	for _, w := range wishes {
		if w.Filesystem == "" {
			w.Filesystem = "ext4"
		}
		if err := check(w, seen); err != nil {
			return nil, err
		}
		if w.Percent > 0 {
			w.Size = size / 100 * int64(w.Percent)
		}
		w.Size = (w.Size + align - 1) / align * align
		root = root || w.Mountpoint == "/"
		p := Part{Partition: w}
		switch {
		case w.Mountpoint == "/boot/efi":
			esp = p
		case w.Mountpoint == "/boot":
			boot = p
		case w.Size == 0:
			rest = append(rest, p)
		default:
			fixed = append(fixed, p)
		}
	}
	if !root {
		rest = append(rest, Part{Partition: Partition{Mountpoint: "/"}})
	}
	if len(rest) > 1 || esp.Size == 0 || boot.Size == 0 {
		return nil, fmt.Errorf("only one partition can take the rest of the disk (size 0), and not /boot or /boot/efi")
	}
	var parts []Part
	if mode.BIOS() {
		parts = append(parts, Part{Partition: Partition{Size: biosSize, PartLabel: "BIOS boot"}, Embeds: true, fixture: true})
	}
	if mode.EFI() {
		parts = append(parts, esp)
	} else if !esp.fixture {
		return nil, fmt.Errorf("a disk for bios has no use for a partition at /boot/efi")
	}
	parts = append(append(append(parts, boot), fixed...), rest...)
	for i := range parts {
		parts[i].complete()
	}
	return parts, nil
}

func check(w Partition, seen map[string]bool) error {
	m := w.Mountpoint
	if m != "" && seen[m] {
		return fmt.Errorf("two partitions for %s", m)
	}
	seen[m] = true
	switch {
	case m != "" && (!strings.HasPrefix(m, "/") || strings.ContainsAny(m, " \t\n") || m != "/" && strings.HasSuffix(m, "/") || strings.Contains(m, "/..")):
		return fmt.Errorf("the mount point %q is not an absolute path", m)
	case (w.Filesystem == "vfat") != (m == "/boot/efi"):
		return fmt.Errorf("the file system vfat is for /boot/efi, and only vfat is")
	case w.Filesystem == "swap" && m != "":
		return fmt.Errorf("swap has no mount point, and %s was given", m)
	case w.Filesystem != "ext4" && w.Filesystem != "vfat" && w.Filesystem != "swap":
		return fmt.Errorf("the file system %q is not one of ext4, vfat, swap", w.Filesystem)
	case w.Size < 0 || w.Percent < 0 || w.Percent > 100:
		return fmt.Errorf("the size of the partition at %q makes no sense", m)
	case w.Size > 0 && w.Percent == 0 && w.Size < smallestFS:
		return fmt.Errorf("the partition at %q is smaller than %d MiB", m, smallestFS>>20)
	}
	return nil
}

// complete fills in what follows from the rest.
func (p *Part) complete() {
	if p.Filesystem == "" && !p.Embeds {
		p.Filesystem = "ext4"
	}
	switch {
	case p.Embeds:
		p.Type = gpt.BIOSBoot
	case p.Filesystem == "vfat":
		p.Type = gpt.EFISystemPartition
	case p.Filesystem == "swap":
		p.Type = gpt.LinuxSwap
	default:
		// Neither the root nor the boot type of the discoverable partitions:
		// systemd's generator would mount what root= and fstab already name,
		// and for the sake of a boot type automount the ESP on /efi, which
		// a tree has not.
		p.Type = gpt.LinuxFilesystem
	}
	if p.PartLabel == "" {
		switch p.Mountpoint {
		case "":
			p.PartLabel = p.Filesystem
		case "/":
			p.PartLabel = "root"
		case "/root":
			p.PartLabel = "roothome" // "root" is the name of another
		default:
			p.PartLabel = strings.ReplaceAll(p.Mountpoint[1:], "/", "-")
		}
	}
}

// identify gives the disk, its partitions and file systems their UUIDs.
func (l *Layout) identify(seed []byte) {
	next := func(what string) (id [16]byte) {
		if len(seed) == 0 {
			rand.Read(id[:])
			id[6] = id[6]&0x0f | 0x40 // version 4: random
		} else {
			sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n", seed, what))
			copy(id[:], sum[:])
			id[6] = id[6]&0x0f | 0x80 // version 8: our own rule
		}
		id[8] = id[8]&0x3f | 0x80
		return id
	}
	l.GUID = formatUUID(next("disk"))
	for i := range l.Parts {
		p := &l.Parts[i]
		name := fmt.Sprintf("%d %s", p.Index, p.Mountpoint)
		p.GUID = formatUUID(next("partition " + name))
		id := next("file system " + name)
		p.UUID = formatUUID(id)
		if p.Filesystem == "vfat" {
			p.Volume = binary.BigEndian.Uint32(id[:4])
			p.UUID = fmt.Sprintf("%04X-%04X", p.Volume>>16, p.Volume&0xffff)
		}
	}
}

func formatUUID(id [16]byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
}
