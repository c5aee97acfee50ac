package durable

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// CheckWatchdog freezes the file system of dir, lets go of it as a process that dies does, and returns nil once the
// watchdog of Checkpoint has thawed it.
func CheckWatchdog(dir string) error {
	fd, w, err := guardedDir(dir)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := ioctl(fd, fiFreeze); err != nil {
		w.stop()
		return &os.PathError{Op: "freeze", Path: dir, Err: err}
	}
	unix.Close(w.pipe)
	for {
		if _, err := unix.Wait4(w.pid, nil, 0, nil); err != unix.EINTR {
			break
		}
	}
	if err := ioctl(fd, fiThaw); !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("the watchdog has not thawed %s: %w", dir, err)
	}
	return nil
}
