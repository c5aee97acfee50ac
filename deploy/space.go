package deploy

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// NoSpaceError says that a file system is too full for a change. Callers print
// sizes in their own way.
type NoSpaceError struct {
	// Dir is where the space is missing.
	Dir string
	// Need is the number of bytes needed, 0 where that is not known.
	Need, Free int64
	// Err is the error that showed it, nil if it was counted beforehand.
	Err error
}

func (e *NoSpaceError) Error() string {
	need := "more space is needed"
	if e.Need > 0 {
		need = "needed are " + size(e.Need)
	}
	return fmt.Sprintf("not enough space on %s: %s, free are %s; remove a deployment with \"ostree admin undeploy\" or enlarge the file system",
		e.Dir, need, size(e.Free))
}

// Unwrap returns the error that showed it.
func (e *NoSpaceError) Unwrap() error { return e.Err }

func size(n int64) string {
	switch {
	case n >= 10<<20:
		return fmt.Sprintf("%d MiB", (n+1<<20-1)>>20)
	case n >= 10<<10:
		return fmt.Sprintf("%d KiB", (n+1<<10-1)>>10)
	}
	return fmt.Sprintf("%d bytes", n)
}

// explainSpace turns a bare "no space left on device" into a NoSpaceError.
func (s *Sysroot) explainSpace(err error) error {
	var known *NoSpaceError
	if !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EDQUOT) || errors.As(err, &known) {
		return err
	}
	// Which of the two is full shows in what is free there.
	dir, free := s.root, freeBytes(s.ostree())
	if b := freeBytes(s.boot()); b < free {
		dir, free = s.boot(), b
	}
	return &NoSpaceError{Dir: dir, Free: free, Err: err}
}

func freeBytes(dir string) int64 {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0
	}
	return int64(st.Bavail) * st.Bsize
}

// bootReserve is what entries, menus and directories take besides kernels.
const bootReserve = 256 << 10

// countBootSpace finds out before anything is written whether the new kernel
// fits beside those that stay.
func (j *job) countBootSpace(context.Context) error {
	if _, err := os.Stat(j.boot("ostree", j.dep.bootDir())); err == nil {
		return nil
	}
	if sameFilesystem(j.boot(), j.ostree()) {
		return nil // kernels are hard links then
	}
	var need int64 = bootReserve
	for _, f := range j.kernel.files {
		need += f.size + 4095
	}
	if free := freeBytes(j.boot()); free < need {
		return &NoSpaceError{Dir: j.boot(), Need: need, Free: free}
	}
	return nil
}

func sameFilesystem(a, b string) bool {
	var sa, sb unix.Stat_t
	return unix.Stat(a, &sa) == nil && unix.Stat(b, &sb) == nil && sa.Dev == sb.Dev
}
