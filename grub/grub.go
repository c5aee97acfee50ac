// Package grub makes GRUB boot what the boot entries say, without any of GRUB's
// own configuration tools.
//
// Two kinds of file result. Constant ones are written once, at installation: the
// images (core.img in the BIOS boot partition, BOOTX64.EFI on the ESP) and the
// stub /boot/grub/grub.cfg; they know only the UUID of the file system that
// holds /boot. The one that varies, grub.cfg with the menu, lives inside
// /boot/loader.N beside the entries it was made from, so that the rename that
// switches deployments switches it too (D6).
//
// Where /boot/loader has no grub.cfg, because another program than photree wrote
// the entries, the stub reads the entry files itself.
//
// One menu serves BIOS and UEFI. The package runs no program: the caller of
// BuildImages says how to run grub-mkimage.
package grub

import (
	"fmt"
	"path/filepath"

	"photree/grub/bls"
	"photree/internal/durable"
)

// ConfigName is the name of the menu inside the loader directory.
const ConfigName = "grub.cfg"

// Bootloader writes the GRUB menu beside the boot entries. It satisfies
// deploy.Bootloader; its zero value works.
type Bootloader struct {
	Options ConfigOptions
}

// Write puts grub.cfg for entries into the loader directory dir, which nothing
// names yet.
func (b Bootloader) Write(dir string, entries []bls.Entry) error {
	path := filepath.Join(dir, ConfigName)
	if err := durable.WriteFile(path, Config(entries, b.Options), 0o644); err != nil {
		return fmt.Errorf("writing the GRUB menu %q: %w", path, err)
	}
	return nil
}
