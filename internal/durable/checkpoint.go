package durable

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// fiFreeze and fiThaw are the ioctls of linux/fs.h: _IOWR('X', 119, int) and _IOWR('X', 120, int).
const (
	fiFreeze = 0xc0045877
	fiThaw   = 0xc0045878
)

// freezeLimit is how long a file system may stay frozen before the watchdog thaws it.
const freezeLimit = 10 * time.Second

// Checkpoint makes sure that what was written to the file system of dir is in its place on the disk, not only in the
// journal, which a boot loader does not replay (D7). It freezes and thaws the file system; one that cannot be frozen is
// flushed, which is all there is.
//
// The file system cannot stay frozen: a child process, made before, thaws it when this process dies or takes longer
// than freezeLimit.
func Checkpoint(dir string) error {
	fd, w, err := guardedDir(dir)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	err = freezeAndThaw(fd)
	w.stop()
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EBUSY), errors.Is(err, unix.EPERM),
		errors.Is(err, unix.ENOTTY), errors.Is(err, unix.EACCES):
		return Syncfs(dir)
	}
	return &os.PathError{Op: "freeze", Path: dir, Err: err}
}

// guardedDir flushes the file system of dir, so that a freeze does not take longer for it, opens it, and starts the
// watchdog of a freeze.
func guardedDir(dir string) (int, *watchdog, error) {
	if err := Syncfs(dir); err != nil {
		return -1, nil, err
	}
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	w, err := startWatchdog(fd, freezeLimit)
	if err != nil {
		unix.Close(fd)
		return -1, nil, fmt.Errorf("starting the watchdog of a freeze: %w", err)
	}
	return fd, w, nil
}

func freezeAndThaw(fd int) error {
	if err := ioctl(fd, fiFreeze); err != nil {
		return err
	}
	// EINVAL: the watchdog, or somebody else, was first. Either way it was frozen and is not any more.
	if err := ioctl(fd, fiThaw); err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("thawing: %w", err)
	}
	return nil
}

func ioctl(fd int, request uint) error {
	for {
		if err := unix.IoctlSetInt(fd, request, 0); err != unix.EINTR {
			return err
		}
	}
}

// watchdog is a child process that thaws a file system unless it is told in time that this is not needed.
type watchdog struct {
	pid  int
	pipe int // what is written there calls it off; that it closes with this process sets it off
}

func startWatchdog(fsFD int, limit time.Duration) (*watchdog, error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return nil, err
	}
	pid, err := forkWatchdog(p[0], p[1], fsFD, int(limit/time.Millisecond))
	unix.Close(p[0])
	if err != nil {
		unix.Close(p[1])
		return nil, err
	}
	return &watchdog{pid, p[1]}, nil
}

// stop calls the watchdog off and waits for it to be gone.
func (w *watchdog) stop() {
	_, _ = unix.Write(w.pipe, []byte{1})
	unix.Close(w.pipe)
	for {
		if _, err := unix.Wait4(w.pid, nil, 0, nil); err != unix.EINTR {
			return
		}
	}
}

// forkWatchdog forks without exec: the program file may be on the very file system that is frozen, or gone. The child
// makes raw system calls only, with all signals blocked, so it needs nothing of the Go runtime, of which it has a
// single thread.
func forkWatchdog(pipeR, pipeW, fsFD, limitMS int) (int, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	syscall.ForkLock.Lock()
	defer syscall.ForkLock.Unlock()
	all, old := ^uint64(0), uint64(0)
	_, _, _ = unix.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&all)), uintptr(unsafe.Pointer(&old)), 8, 0, 0)
	pid, errno := fork(uintptr(pipeR), uintptr(pipeW), uintptr(fsFD), uintptr(limitMS))
	_, _, _ = unix.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&old)), 0, 8, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(pid), nil
}

// fork returns in the parent only.
//
//go:norace
//go:noinline
func fork(pipeR, pipeW, fsFD, limitMS uintptr) (uintptr, syscall.Errno) {
	var pollFD unix.PollFd
	var told byte
	pollFD.Fd, pollFD.Events = int32(pipeR), unix.POLLIN
	timeout := unix.Timespec{Sec: int64(limitMS / 1000), Nsec: int64(limitMS%1000) * 1e6}
	pid, _, errno := unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 || pid != 0 {
		return pid, errno
	}
	// The child. It must not hold the other end of the pipe, or it would never see it close.
	_, _, _ = unix.RawSyscall(unix.SYS_CLOSE, pipeW, 0, 0)
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&pollFD)), 1, uintptr(unsafe.Pointer(&timeout)), 0, 0, 0)
		if errno == 0 && n == 1 {
			n, _, errno = unix.RawSyscall(unix.SYS_READ, pipeR, uintptr(unsafe.Pointer(&told)), 1)
			if errno == 0 && n == 1 {
				_, _, _ = unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
			}
			// The parent is gone: thaw, and go too.
			_, _, _ = unix.RawSyscall(unix.SYS_IOCTL, fsFD, fiThaw, 0)
			_, _, _ = unix.RawSyscall(unix.SYS_EXIT_GROUP, 1, 0, 0)
		}
		// Out of time: thaw, and go on watching, in case the freeze is only about to succeed.
		_, _, _ = unix.RawSyscall(unix.SYS_IOCTL, fsFD, fiThaw, 0)
		timeout.Sec, timeout.Nsec = 1, 0
	}
}
