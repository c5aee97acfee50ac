// Package disk lays out, partitions, formats and mounts the disk that a
// machine is installed on.
//
// Plan is pure: a size, a boot mode and the wishes for partitions become a
// Layout, or an error that says how much is missing. A Target is an opened
// disk; its partitions are reached through the kernel's partition nodes or,
// where the kernel shows none (image files, kernels without a partition
// parser), through loop devices with offset and size limit. Nothing is
// written before Target.Write.
package disk

// BootMode says for which firmware a disk is made.
type BootMode string

// The boot modes of Photon's kickstart; the zero value is DualBoot.
const (
	DualBoot BootMode = "dualboot"
	BIOS     BootMode = "bios"
	EFI      BootMode = "efi"
)

// Partition is a wish for one partition.
type Partition struct {
	Mountpoint string // "", "/", "/boot", "/boot/efi" or a directory that lasts (/var/..., /home, ...)
	Size       int64  // bytes; 0 = the rest of the disk (one partition)
	Percent    int    // of the disk, instead of Size
	Filesystem string // ext4 (default), vfat (the ESP), swap
	Options    string // for fstab; default "defaults"
	MkfsArgs   []string
	Label      string // of the file system
	PartLabel  string // name of the partition
}
