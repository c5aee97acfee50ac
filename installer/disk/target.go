package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"photree/installer/fat"

	"github.com/diskfs/go-diskfs/partition/gpt"
	"golang.org/x/sys/unix"
)

// Target is a disk that nothing else uses.
type Target struct {
	Path string
	Size int64

	file     *os.File // nil for an image that does not exist yet
	device   bool
	created  bool
	attached []*loop
}

// BusyError says that something else uses the disk.
type BusyError struct{ Path, Why string }

func (e *BusyError) Error() string {
	return fmt.Sprintf("%s is in use (%s): unmount it, or choose another disk", e.Path, e.Why)
}

// Open opens the disk at path and checks that it can be installed on. With a
// size, path names an image file that does not exist yet; Create makes it.
func Open(path string, size int64) (*Target, error) {
	t := &Target{Path: path, Size: size}
	if size != 0 {
		return t, t.checkNew()
	}
	st, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the disk %s does not exist: name a block device or an image file, or give the size of a new image", path)
	} else if err != nil {
		return nil, fmt.Errorf("opening the disk: %w", err)
	}
	switch {
	case st.Mode().IsRegular():
		err = t.openImage(st)
	case st.Mode().Type() == fs.ModeDevice:
		err = t.openDevice()
	default:
		err = fmt.Errorf("the disk %s is neither a block device nor an image file", path)
	}
	if err != nil {
		_ = t.Close()
		return nil, err
	}
	return t, nil
}

func (t *Target) checkNew() error {
	if _, err := os.Lstat(t.Path); err == nil {
		return fmt.Errorf("the image %s exists: remove it, or leave the size out to install onto it as it is", t.Path)
	}
	if t.Size%align != 0 || t.Size < 0 {
		return fmt.Errorf("the size of the image %s must be a whole number of MiB", t.Path)
	}
	if st, err := os.Stat(filepath.Dir(t.Path)); err != nil {
		return fmt.Errorf("making the image: %w", err)
	} else if !st.IsDir() {
		return fmt.Errorf("making the image: %s is not a directory", filepath.Dir(t.Path))
	}
	return nil
}

func (t *Target) openImage(st fs.FileInfo) (err error) {
	t.Size = st.Size() / Sector * Sector
	if t.file, err = os.OpenFile(t.Path, os.O_RDWR, 0); err != nil {
		return fmt.Errorf("opening the disk: %w", err)
	}
	if err := t.lock(); err != nil {
		return err
	}
	real, err := filepath.EvalSymlinks(t.Path)
	if err == nil {
		real, err = filepath.Abs(real)
	}
	if err != nil {
		return fmt.Errorf("opening the disk: %w", err)
	}
	users, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
	for _, user := range users {
		backing, err := os.ReadFile(user)
		if err == nil && strings.TrimSpace(string(backing)) == real {
			return &BusyError{t.Path, "attached to /dev/" + strings.Split(user, "/")[3]}
		}
	}
	return nil
}

// lock takes the lock that QEMU takes on its images, so that a disk of a
// running machine is refused, and the other way round.
func (t *Target) lock() error {
	err := unix.FcntlFlock(t.file.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		return &BusyError{t.Path, "another program has locked it"}
	}
	return nil // a file system without locks: nothing can be learnt
}

func (t *Target) openDevice() (err error) {
	t.device = true
	// O_EXCL on a block device: refused while it, or a partition of it, is
	// mounted or part of something else.
	t.file, err = os.OpenFile(t.Path, os.O_RDWR|unix.O_EXCL, 0)
	if errors.Is(err, unix.EBUSY) {
		return &BusyError{t.Path, "mounted, or a part of another device"}
	} else if err != nil {
		return fmt.Errorf("opening the disk: %w", err)
	}
	fd := int(t.file.Fd())
	if sector, err := unix.IoctlGetInt(fd, unix.BLKSSZGET); err != nil {
		return fmt.Errorf("asking for the sector size of %s: %w", t.Path, err)
	} else if sector != Sector {
		return fmt.Errorf("the disk %s has sectors of %d bytes: only %d is supported", t.Path, sector, Sector)
	}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.BLKGETSIZE64, uintptr(unsafe.Pointer(&t.Size))); errno != 0 {
		return fmt.Errorf("asking for the size of %s: %w", t.Path, errno)
	}
	if ro, _ := os.ReadFile(filepath.Join(t.sysfs(), "ro")); strings.TrimSpace(string(ro)) == "1" {
		return fmt.Errorf("the disk %s is read-only", t.Path)
	}
	if _, err := os.Stat(filepath.Join(t.sysfs(), "partition")); err == nil {
		return fmt.Errorf("%s is a partition: name the whole disk", t.Path)
	}
	return nil
}

// sysfs is the directory that describes the device.
func (t *Target) sysfs() string {
	var st unix.Stat_t
	if err := unix.Fstat(int(t.file.Fd()), &st); err != nil {
		return "/nonexistent"
	}
	return fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
}

// Create makes the image file, if it is a new one.
func (t *Target) Create() (err error) {
	if t.file != nil {
		return nil
	}
	if t.file, err = os.OpenFile(t.Path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644); err != nil {
		return fmt.Errorf("making the image: %w", err)
	}
	t.created = true
	if err := t.lock(); err != nil {
		return err
	}
	if err := t.file.Truncate(t.Size); err != nil {
		return fmt.Errorf("making the image: %w", err)
	}
	return nil
}

// Discard removes the image again if Create made it.
func (t *Target) Discard() {
	if t.created {
		os.Remove(t.Path)
	}
}

// WriteAt writes to the whole disk.
func (t *Target) WriteAt(p []byte, off int64) (int, error) { return t.file.WriteAt(p, off) }

// WriteTable wipes what was at both ends of the disk and writes the
// partition table.
func (t *Target) WriteTable(l *Layout) error {
	zeros := make([]byte, align)
	for _, off := range []int64{0, l.Size - align} {
		if _, err := t.file.WriteAt(zeros, off); err != nil {
			return fmt.Errorf("wiping the old partition table: %w", err)
		}
	}
	table := &gpt.Table{LogicalSectorSize: Sector, PhysicalSectorSize: Sector, ProtectiveMBR: true, GUID: l.GUID}
	for _, p := range l.Parts {
		table.Partitions = append(table.Partitions, &gpt.Partition{Index: p.Index, Start: uint64(p.Start / Sector),
			Size: uint64(p.Size), Type: p.Type, Name: p.PartLabel, GUID: p.GUID})
	}
	if err := table.Write(t.file, l.Size); err != nil {
		return fmt.Errorf("writing the partition table: %w", err)
	}
	if l.Size/Sector > 1<<32 {
		// The library cuts the number of sectors in the protective MBR off; more
		// than fit are written as all ones.
		if _, err := t.file.WriteAt([]byte{0xff, 0xff, 0xff, 0xff}, 446+12); err != nil {
			return fmt.Errorf("writing the partition table: %w", err)
		}
	}
	return nil
}

// WriteESP writes p as a FAT with files.
func (t *Target) WriteESP(p *Part, files []fat.File, when time.Time) error {
	o := fat.Options{Size: p.Size, Label: p.Label, ID: p.Volume, Time: when, Hidden: uint32(p.Start / Sector)}
	if err := fat.Write(&section{t.file, p.Start}, o, files); err != nil {
		return fmt.Errorf("writing the EFI system partition: %w", err)
	}
	return nil
}

type section struct {
	f    *os.File
	base int64
}

func (s *section) WriteAt(p []byte, off int64) (int, error) { return s.f.WriteAt(p, s.base+off) }

// Release lets go of the exclusive hold on a device, so that its partitions
// can be mounted, and makes the kernel read the new table.
func (t *Target) Release() error {
	if !t.device {
		return nil
	}
	// A kernel without a partition parser refuses; Node takes a loop device then.
	_ = unix.IoctlSetInt(int(t.file.Fd()), unix.BLKRRPART, 0)
	plain, err := os.OpenFile(t.Path, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("opening the disk again: %w", err)
	}
	t.file.Close()
	t.file = plain
	return nil
}

// Node gives a block device for p: the kernel's own, or a loop device that
// lives until Close.
func (t *Target) Node(p *Part) (string, error) {
	if t.device {
		// devtmpfs and sysfs are in step with BLKRRPART, udev may lag behind.
		for range 20 {
			if node := t.kernelNode(p); node != "" {
				return node, nil
			}
			if known, _ := filepath.Glob(filepath.Join(t.sysfs(), "*/partition")); len(known) == 0 {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
	}
	l, err := attach(t.file, p.Start, p.Size)
	if err != nil {
		return "", fmt.Errorf("attaching partition %d of %s to a loop device: %w", p.Index, t.Path, err)
	}
	t.attached = append(t.attached, l)
	return l.path, nil
}

func (t *Target) kernelNode(p *Part) string {
	dirs, _ := filepath.Glob(filepath.Join(t.sysfs(), "*/partition"))
	for _, file := range dirs {
		dir := filepath.Dir(file)
		number := func(name string) int64 {
			text, _ := os.ReadFile(filepath.Join(dir, name))
			n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
			if err != nil {
				return -1
			}
			return n
		}
		node := filepath.Join("/dev", filepath.Base(dir))
		if number("partition") == int64(p.Index) && number("start") == p.Start/Sector && number("size") == p.Size/Sector {
			if _, err := os.Stat(node); err == nil {
				return node
			}
		}
	}
	return ""
}

// Close detaches the loop devices and closes the disk.
func (t *Target) Close() error {
	var errs []error
	for _, l := range t.attached {
		errs = append(errs, l.detach())
	}
	t.attached = nil
	if t.file != nil {
		errs = append(errs, t.file.Close())
		t.file = nil
	}
	return errors.Join(errs...)
}
