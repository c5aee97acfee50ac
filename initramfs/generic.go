package initramfs

// generic is the module set of an image that starts on common virtual machines and PCs: paths below
// usr/lib/modules/KVER/kernel, without the suffix. A path that ends in "/" stands for the modules of that directory
// (not those below it), one that starts with "?" need not exist in a kernel of the usual configuration.
//
// What belongs here: buses and disks that a root file system can be on, file systems that it can be, and what the
// kernel asks for while it mounts one. Network cards, keyboards and CD drives are for the installer; PID 1 loads what
// lies below drivers/net and the like only when it is told to (see late).
var generic = []string{
	// virtio, Hyper-V, VMware, Xen
	"drivers/virtio/virtio", "drivers/virtio/virtio_ring", "drivers/virtio/virtio_pci",
	"drivers/virtio/virtio_mmio", "drivers/block/virtio_blk", "drivers/scsi/virtio_scsi",
	"drivers/char/hw_random/virtio-rng", "drivers/net/virtio_net", "drivers/char/virtio_console",
	"drivers/hv/hv_vmbus", "drivers/scsi/hv_storvsc", "drivers/net/hyperv/hv_netvsc",
	"drivers/hid/hid-hyperv", "drivers/input/serio/hyperv-keyboard", "drivers/pci/controller/pci-hyperv",
	"drivers/scsi/vmw_pvscsi", "drivers/net/vmxnet3/vmxnet3",
	"drivers/message/fusion/mptspi", "drivers/message/fusion/mptsas", "drivers/scsi/BusLogic",
	"drivers/block/xen-blkfront", "drivers/net/xen-netfront", "drivers/scsi/xen-scsifront",

	// disks
	"drivers/nvme/host/nvme", "drivers/ata/ahci", "drivers/ata/ata_piix", "drivers/ata/ata_generic",
	"drivers/ata/sata_nv", "drivers/ata/sata_sil", "drivers/ata/sata_sil24", "drivers/ata/sata_via",
	"drivers/scsi/sd_mod", "drivers/scsi/sr_mod", "drivers/cdrom/cdrom",
	"drivers/scsi/megaraid/megaraid_sas", "drivers/scsi/mpt3sas/mpt3sas", "drivers/scsi/hpsa",
	"drivers/scsi/smartpqi/smartpqi", "drivers/scsi/aacraid/aacraid",
	"drivers/usb/storage/usb-storage", "drivers/usb/storage/uas",
	"drivers/usb/host/xhci-hcd", "drivers/usb/host/xhci-pci", "drivers/usb/host/ehci-hcd", "drivers/usb/host/ehci-pci",
	"drivers/usb/host/uhci-hcd", "drivers/usb/host/ohci-hcd", "drivers/usb/host/ohci-pci",
	"drivers/mmc/core/mmc_block", "drivers/mmc/host/sdhci", "drivers/mmc/host/sdhci-pci", "drivers/mmc/host/sdhci-acpi",
	"drivers/block/loop",

	// file systems, and the code that mounting them asks for by an alias
	"fs/ext4/ext4", "fs/xfs/xfs", "fs/btrfs/btrfs", "fs/isofs/isofs", "fs/overlayfs/overlay", "fs/erofs/erofs",
	"fs/squashfs/squashfs", "fs/fat/vfat", "fs/nls/nls_cp437", "fs/nls/nls_ascii", "fs/nls/nls_iso8859-1",
	"fs/nls/nls_utf8",
	"crypto/crc32c_generic", "arch/x86/crypto/crc32c-intel", "lib/libcrc32c",

	// keyboards and network cards, for the installer
	"drivers/hid/hid-generic", "drivers/hid/usbhid/usbhid", "drivers/input/keyboard/atkbd", "drivers/input/serio/i8042",
	"drivers/net/ethernet/intel/e1000/e1000", "drivers/net/ethernet/intel/e1000e/e1000e",
	"drivers/net/ethernet/amazon/ena/ena",
}

// late reports whether a module has nothing to do with finding the root file system.
func late(path string) bool {
	for _, dir := range []string{"kernel/drivers/net/", "kernel/drivers/hid/", "kernel/drivers/input/",
		"kernel/drivers/char/", "kernel/net/"} {
		if len(path) > len(dir) && path[:len(dir)] == dir {
			return true
		}
	}
	return false
}
