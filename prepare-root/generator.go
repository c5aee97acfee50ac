package prepareroot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// dropIn keeps systemd from unmounting, at shutdown, what the initramfs mounted: it could not, as these mounts are in
// use to the end, and would report three failed units for it.
const dropIn = `# Made by ostree-system-generator: mounted by the initramfs, in use until the machine is off.
[Unit]
DefaultDependencies=no
Before=local-fs.target
`

// Generate writes systemd units for a booted deployment to dir, as a systemd generator does: it enables ostree-remount
// and keeps the mounts of prepare-root through the shutdown. On a system that is not a booted deployment it does
// nothing.
func Generate(root, dir string) error {
	if _, err := os.Stat(filepath.Join(root, "run/ostree-booted")); errors.Is(err, os.ErrNotExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("looking for a booted deployment: %w", err)
	}
	for _, unit := range []string{"sysroot.mount", "etc.mount", "var.mount", "usr.mount"} {
		if err := os.MkdirAll(filepath.Join(dir, unit+".d"), 0o755); err != nil {
			return fmt.Errorf("generating units: %w", err)
		}
		if err := os.WriteFile(filepath.Join(dir, unit+".d", "10-ostree.conf"), []byte(dropIn), 0o644); err != nil {
			return fmt.Errorf("generating units: %w", err)
		}
	}
	requires := filepath.Join(dir, "local-fs.target.requires")
	if err := os.MkdirAll(requires, 0o755); err != nil {
		return fmt.Errorf("generating units: %w", err)
	}
	err := os.Symlink("/usr/lib/systemd/system/ostree-remount.service", filepath.Join(requires, "ostree-remount.service"))
	if err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("generating units: %w", err)
	}
	return nil
}
