package disk

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// loop is a loop device that shows a part of a disk. The kernel detaches it
// when the last user is gone, also when this program is killed.
type loop struct {
	path string
	file *os.File
}

func attach(backing *os.File, offset, size int64) (*loop, error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("the kernel has no loop devices: %w", err)
	}
	defer control.Close()
	config := unix.LoopConfig{Fd: uint32(backing.Fd()), Size: 512, Info: unix.LoopInfo64{
		Offset: uint64(offset), Sizelimit: uint64(size), Flags: unix.LO_FLAGS_AUTOCLEAR}}
	for range 100 {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, fmt.Errorf("asking for a free loop device: %w", err)
		}
		l := &loop{path: fmt.Sprintf("/dev/loop%d", n)}
		if l.file, err = openLoop(l.path, n); err != nil {
			return nil, err
		}
		if err = unix.IoctlLoopConfigure(int(l.file.Fd()), &config); err == nil {
			return l, nil
		}
		l.file.Close()
		if !errors.Is(err, unix.EBUSY) { // another program may have been faster
			return nil, fmt.Errorf("configuring %s: %w", l.path, err)
		}
	}
	return nil, errors.New("no loop device is free")
}

// openLoop opens a loop device, and makes its node where /dev is not the
// kernel's own.
func openLoop(path string, minor int) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		if err := unix.Mknod(path, unix.S_IFBLK|0o600, int(unix.Mkdev(7, uint32(minor)))); err != nil {
			return nil, fmt.Errorf("making %s: %w", path, err)
		}
		f, err = os.OpenFile(path, os.O_RDWR, 0)
	}
	return f, err
}

// detach waits until the device is really free: what follows (a check of the
// image, a virtual machine) must see every byte in the file.
func (l *loop) detach() error {
	err := unix.IoctlSetInt(int(l.file.Fd()), unix.LOOP_CLR_FD, 0)
	l.file.Close()
	if err != nil && !errors.Is(err, unix.ENXIO) {
		return fmt.Errorf("detaching %s: %w", l.path, err)
	}
	state := "/sys/block/" + l.path[len("/dev/"):] + "/loop/backing_file"
	for range 50 {
		if _, err := os.Stat(state); err != nil {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Errorf("detaching %s: something still uses it", l.path)
}
