package deploy

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// immutableFlag is the kernel's FS_IMMUTABLE_FL.
const immutableFlag = 0x10

// setImmutable guards the top of a deployment against stray new files. File
// systems without the attribute go without the guard.
func setImmutable(dir string, on bool) error {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(fd)
	flags, err := unix.IoctlGetInt(fd, unix.FS_IOC_GETFLAGS)
	if err != nil {
		return nil
	}
	want := flags &^ immutableFlag
	if on {
		want = flags | immutableFlag
	}
	if want == flags {
		return nil
	}
	err = unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, want)
	if err == nil || on && (errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EINVAL)) {
		return nil
	}
	return &os.PathError{Op: "changing attributes of", Path: dir, Err: err}
}
