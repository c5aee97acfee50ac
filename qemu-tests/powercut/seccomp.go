package main

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// takeAway lets system calls of this process succeed without doing anything: what would happen if photree did not make
// them.
func takeAway(control string) error {
	if control == controlNone {
		return nil
	}
	const fiFreeze, fiThaw = 0xc0045877, 0xc0045878
	drop := []uint32{unix.SYS_SYNCFS, unix.SYS_SYNC}
	if control == controlFlush {
		drop = append(drop, unix.SYS_FSYNC, unix.SYS_FDATASYNC)
	}
	const (
		load   = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		equal  = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		result = unix.BPF_RET | unix.BPF_K
		number = 0  // of the system call
		second = 24 // low half of its second argument
	)
	// An error number of 0 is success.
	const pretend, allow = unix.SECCOMP_RET_ERRNO, unix.SECCOMP_RET_ALLOW
	prog := []unix.SockFilter{{Code: load, K: number}}
	for _, nr := range drop {
		prog = append(prog, unix.SockFilter{Code: equal, K: nr, Jf: 1}, unix.SockFilter{Code: result, K: pretend})
	}
	prog = append(prog,
		unix.SockFilter{Code: equal, K: unix.SYS_IOCTL, Jf: 4},
		unix.SockFilter{Code: load, K: second},
		unix.SockFilter{Code: equal, K: fiFreeze, Jt: 1},
		unix.SockFilter{Code: equal, K: fiThaw, Jf: 1},
		unix.SockFilter{Code: result, K: pretend},
		unix.SockFilter{Code: result, K: allow})
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("installing a system call filter: %w", err)
	}
	p := unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&p)))
	runtime.KeepAlive(prog)
	if errno != 0 {
		return fmt.Errorf("installing a system call filter: %w", errno)
	}
	return nil
}
