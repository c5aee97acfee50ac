package prepareroot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"photree/internal/gvariant"

	"golang.org/x/sys/unix"
)

// Remount makes the mounts of a booted deployment writable where they are to be: with "ro" on the kernel command line
// the root file system comes up read-only, and the binds of prepare-root with it. /usr stays read-only, and so does
// /sysroot when the configuration says so. On a system that is not a booted deployment it does nothing.
func Remount(root string) error {
	data, err := os.ReadFile(filepath.Join(root, "run/ostree-booted"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading how this system was booted: %w", err)
	}
	readonly := false
	if len(data) > 0 { // ostree before 2023 writes an empty file
		v, err := gvariant.Parse("a{sv}", data)
		if err != nil {
			return fmt.Errorf("reading how this system was booted: /run/ostree-booted: %w", err)
		}
		if ro, ok := v.Dict().Get("sysroot-ro"); ok && ro.Type() == "b" {
			readonly = ro.Bool()
		}
	}
	if fsReadonly(root) {
		// Someone asked for a read-only system (systemd-remount-fs has run before and has read fstab).
		return nil
	}
	for _, m := range []struct {
		dir      string
		readonly bool
	}{{"sysroot", readonly}, {"etc", false}, {"var", false}} {
		path := filepath.Join(root, m.dir)
		if !isMountPoint(path) || fsReadonly(path) == m.readonly {
			continue
		}
		flags := uintptr(unix.MS_BIND | unix.MS_REMOUNT | unix.MS_SILENT)
		if m.readonly {
			flags |= unix.MS_RDONLY
		}
		if err := unix.Mount("", path, "", flags, ""); err != nil {
			return fmt.Errorf("remounting %s: %w", path, err)
		}
	}
	return nil
}

func fsReadonly(path string) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && st.Flags&unix.ST_RDONLY != 0
}

// isMountPoint compares mount ids, since the bind mounts here have the device of the directory they are in.
func isMountPoint(path string) bool {
	var here, parent unix.Statx_t
	if unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_MNT_ID, &here) != nil ||
		unix.Statx(unix.AT_FDCWD, filepath.Dir(path), unix.AT_SYMLINK_NOFOLLOW, unix.STATX_MNT_ID, &parent) != nil {
		return false
	}
	return here.Mnt_id != parent.Mnt_id
}
