package disk

import (
	"errors"
	"fmt"
	"os"
	"time"

	"photree/internal/durable"

	"golang.org/x/sys/unix"
)

// Mounts is a stack of mounts that are taken down in reverse order.
type Mounts struct{ points []string }

// Mount mounts the ext4 file system of a device at dir, which is made.
func (m *Mounts) Mount(device, dir string) error {
	return m.add(device, dir, "ext4", unix.MS_NOATIME)
}

// ReadOnly mounts a file system of another kind at dir, which is made, for
// reading.
func (m *Mounts) ReadOnly(device, dir, kind string) error {
	return m.add(device, dir, kind, unix.MS_RDONLY|unix.MS_NODEV|unix.MS_NOSUID)
}

// Bind shows the directory from at dir, which is made.
func (m *Mounts) Bind(from, dir string) error {
	return m.add(from, dir, "", unix.MS_BIND)
}

// Special mounts a file system of the kernel (proc, tmpfs, ...) at dir, which
// is made.
func (m *Mounts) Special(kind, dir string) error {
	return m.add(kind, dir, kind, unix.MS_NOSUID)
}

func (m *Mounts) add(source, dir, kind string, flags uintptr) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("making the mount point: %w", err)
	}
	if err := unix.Mount(source, dir, kind, flags, ""); err != nil {
		return fmt.Errorf("mounting %s at %s: %w", source, dir, err)
	}
	// What is mounted below a shared mount would spread to other namespaces,
	// and stay there.
	if err := unix.Mount("", dir, "", unix.MS_PRIVATE, ""); err != nil {
		_ = unix.Unmount(dir, 0)
		return fmt.Errorf("making the mount at %s private: %w", dir, err)
	}
	m.points = append(m.points, dir)
	return nil
}

// Sync writes the file system at dir out to its disk.
func (m *Mounts) Sync(dir string) error {
	if err := durable.Syncfs(dir); err != nil {
		return fmt.Errorf("writing %s out to the disk: %w", dir, err)
	}
	return nil
}

// Close takes every mount down. A mount that stays busy is detached, so that
// it goes when its last user does, and reported.
func (m *Mounts) Close() error {
	var errs []error
	for i := len(m.points) - 1; i >= 0; i-- {
		errs = append(errs, unmount(m.points[i]))
	}
	m.points = nil
	return errors.Join(errs...)
}

func unmount(dir string) error {
	var err error
	for range 50 {
		if err = unix.Unmount(dir, unix.UMOUNT_NOFOLLOW); !errors.Is(err, unix.EBUSY) {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if err == nil {
		return nil
	}
	_ = unix.Unmount(dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	return fmt.Errorf("unmounting %s: %w", dir, err)
}
