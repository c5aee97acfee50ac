package prepareroot

import (
	"fmt"
	"os"
	"path/filepath"

	"photree/internal/gvariant"

	"golang.org/x/sys/unix"
)

// mountAll makes the mounts on a directory in /run and moves the result over the sysroot, so that a failure half way
// leaves the physical root where it was.
func mountAll(o Options, d *deployment, readonly bool) (err error) {
	tmp := filepath.Join(o.Run, "photree-sysroot")
	if err := os.MkdirAll(tmp, 0o755); err != nil {
		return fmt.Errorf("making a mount point: %w", err)
	}
	// A shared mount cannot be moved, and binds of one would pass later mounts back to the physical root.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE|unix.MS_SILENT, ""); err != nil && err != unix.EINVAL {
		return fmt.Errorf("making mounts private: %w", err)
	}
	moved := false
	defer func() {
		if err != nil && !moved {
			unix.Unmount(tmp, unix.MNT_DETACH)
		}
		os.Remove(tmp)
	}()
	deploy := filepath.Join(o.Sysroot, d.path)
	steps := []struct {
		what string
		do   func() error
	}{
		{"the deployment on /", func() error { return bind(deploy, tmp, false) }},
		{"/etc", func() error { return bind(tmp+"/etc", tmp+"/etc", false) }},
		{"/usr", func() error { return mountUsr(o.Sysroot, tmp, deploy) }},
		{"/var", func() error { return mountVar(o, deploy, tmp+"/var") }},
		{"/boot", func() error { return mountBoot(o.Sysroot, tmp) }},
		// Bound and detached, not moved: moved, it would hold the mount that it is mounted in.
		{"/sysroot", func() error { return bind(o.Sysroot, tmp+"/sysroot", readonly) }},
		{"/run/ostree-booted", func() error { return writeBooted(o.Run, d, readonly) }},
	}
	for _, s := range steps {
		if err := s.do(); err != nil {
			return fmt.Errorf("mounting %s: %w", s.what, err)
		}
	}
	if err := unix.Unmount(o.Sysroot, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("detaching the physical root: %w", err)
	}
	if err := unix.Mount(tmp, o.Sysroot, "", unix.MS_MOVE|unix.MS_SILENT, ""); err != nil {
		return fmt.Errorf("moving the deployment's root to %s: %w", o.Sysroot, err)
	}
	moved = true
	return nil
}

func bind(src, dest string, readonly bool) error {
	if err := unix.Mount(src, dest, "", unix.MS_BIND|unix.MS_SILENT, ""); err != nil {
		return err
	}
	// A bind mount takes over the flags of its source; this sets both ways. Where the file system itself is read-only
	// it stays so, until ostree-remount or fstab makes it writable.
	flags := uintptr(unix.MS_BIND | unix.MS_REMOUNT | unix.MS_SILENT)
	if readonly {
		flags |= unix.MS_RDONLY
	}
	return unix.Mount("", dest, "", flags, "")
}

// mountUsr binds /usr read-only, or mounts the overlay that `ostree admin unlock --hotfix` left in the deployment.
func mountUsr(sysroot, tmp, deploy string) error {
	work := deploy + "/.usr-ovl-work"
	if _, err := os.Lstat(work); err != nil {
		return bind(tmp+"/usr", tmp+"/usr", true)
	}
	flags := uintptr(unix.MS_SILENT)
	var st unix.Statfs_t
	if err := unix.Statfs(sysroot, &st); err == nil && st.Flags&unix.ST_RDONLY != 0 {
		flags |= unix.MS_RDONLY
	}
	return unix.Mount("overlay", tmp+"/usr", "overlay", flags,
		"lowerdir="+tmp+"/usr,upperdir="+deploy+"/.usr-ovl-upper,workdir="+work)
}

// mountVar binds the stateroot's /var, unless /etc/fstab of the deployment has another /var: systemd would take what is
// mounted here for that one. Slave and shared: what is mounted below the physical root shows in /var, what is mounted
// below /var stays there.
func mountVar(o Options, deploy, dest string) error {
	if mountedByFstab(deploy+"/etc/fstab", "/var") {
		o.Log("/var is left to /etc/fstab")
		return nil
	}
	if err := bind(filepath.Join(deploy, "../../var"), dest, false); err != nil {
		return err
	}
	for _, flag := range []uintptr{unix.MS_SLAVE, unix.MS_SHARED} {
		if err := unix.Mount("", dest, "", flag|unix.MS_SILENT, ""); err != nil {
			return err
		}
	}
	return nil
}

// mountBoot shows /boot of the physical root when the boot loader's files are there. Where /boot is a partition of its
// own, fstab mounts it.
func mountBoot(sysroot, tmp string) error {
	link, err := os.Lstat(sysroot + "/boot/loader")
	if err != nil || link.Mode()&os.ModeSymlink == 0 {
		return nil
	}
	if dir, err := os.Lstat(tmp + "/boot"); err != nil || !dir.IsDir() {
		return nil
	}
	return bind(sysroot+"/boot", tmp+"/boot", false)
}

// writeBooted writes the file that tells the booted system that it is a deployment, and which one: / is a bind mount,
// so the device and inode of the directory are what identifies it.
func writeBooted(run string, d *deployment, readonly bool) error {
	booted := gvariant.Dict{
		{Key: "backing-root-device-inode", Value: gvariant.Tuple(gvariant.Uint64(d.dev), gvariant.Uint64(d.ino))},
		{Key: "root.transient", Value: gvariant.Bool(false)},
		{Key: "root.transient-ro", Value: gvariant.Bool(false)},
		{Key: "sysroot-ro", Value: gvariant.Bool(readonly)},
	}
	if err := os.MkdirAll(run+"/ostree", 0o755); err != nil {
		return err
	}
	return os.WriteFile(run+"/ostree-booted", booted.Value().Bytes(), 0o644)
}
