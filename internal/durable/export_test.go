package durable

import (
	"time"

	"golang.org/x/sys/unix"
)

// FreezeForTest freezes under a watchdog and leaves it at that, as a process that hangs or dies does. release ends the
// watchdog.
func FreezeForTest(dir string, limit time.Duration) (release func(), err error) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.Fsync(fd); err != nil {
		return nil, err
	}
	w, err := startWatchdog(fd, limit)
	if err != nil {
		return nil, err
	}
	if err := ioctl(fd, fiFreeze); err != nil {
		w.stop()
		return nil, err
	}
	return func() {
		w.stop()
		unix.Close(fd)
	}, nil
}

// TempNameForTest is what a writer of path that is interrupted leaves behind.
func TempNameForTest(path string) string { return tempName(path) }
