package prepareroot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// dropIn keeps systemd from unmounting, at shutdown, what the initramfs mounted: it could not, as these mounts are in
// use to the end, and would report failed units for it.
const dropIn = `# Made by ostree-system-generator: mounted by the initramfs, in use until the machine is off.
[Unit]
DefaultDependencies=no
Before=local-fs.target
`

// varMount is a whole unit, because systemd knows var.mount from other units' RequiresMountsFor= before it sees that
// it is mounted, and reads no drop-in then.
const varMount = `# Made by ostree-system-generator: /var of the stateroot, mounted by the initramfs.
[Unit]
DefaultDependencies=no
After=local-fs-pre.target
Before=local-fs.target

[Mount]
What=/sysroot/ostree/deploy/%s/var
Where=/var
Options=bind,slave,shared
`

// Generate writes systemd units for a booted deployment to dir, as a systemd generator does: it enables ostree-remount
// and keeps the mounts of prepare-root through the shutdown. cmdline is the kernel command line. On a system that is
// not a booted deployment it does nothing.
func Generate(root, cmdline, dir string) error {
	if _, err := os.Stat(filepath.Join(root, "run/ostree-booted")); errors.Is(err, os.ErrNotExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("looking for a booted deployment: %w", err)
	}
	units := map[string]string{}
	for _, unit := range []string{"sysroot.mount", "etc.mount", "usr.mount"} {
		units[unit+".d/10-ostree.conf"] = dropIn
	}
	target, err := Target(cmdline)
	if err != nil {
		return fmt.Errorf("looking for the stateroot: %w", err)
	}
	if !mountedByFstab(filepath.Join(root, "etc/fstab"), "/var") {
		// ostree=/ostree/boot.N/STATEROOT/CHECKSUM/INDEX
		parts := strings.Split(strings.Trim(target, "/"), "/")
		if len(parts) != 5 {
			return fmt.Errorf("looking for the stateroot: ostree=%s is not /ostree/boot.N/STATEROOT/CHECKSUM/INDEX", target)
		}
		units["var.mount"] = fmt.Sprintf(varMount, parts[2])
	}
	for name, text := range units {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return fmt.Errorf("generating units: %w", err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return fmt.Errorf("generating units: %w", err)
		}
	}
	return enable(dir, "ostree-remount.service")
}

// enable makes local-fs.target require a unit.
func enable(dir, unit string) error {
	requires := filepath.Join(dir, "local-fs.target.requires")
	if err := os.MkdirAll(requires, 0o755); err != nil {
		return fmt.Errorf("generating units: %w", err)
	}
	err := os.Symlink("/usr/lib/systemd/system/"+unit, filepath.Join(requires, unit))
	if err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("generating units: %w", err)
	}
	return nil
}

// mountedByFstab reports whether an fstab has an entry for a directory.
func mountedByFstab(fstab, dir string) bool {
	data, err := os.ReadFile(fstab)
	if err != nil {
		return false
	}
	for _, line := range strings.Split(string(data), "\n") {
		fields := strings.Fields(line)
		if len(fields) >= 2 && fields[0][0] != '#' && filepath.Clean(fields[1]) == dir {
			return true
		}
	}
	return false
}
