package repo

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// repoLock is a hold on the repository lock; writers share it, prune has it alone (R4). The lock belongs to the open
// file, so that two transactions of one process are two holders, and goes with the process.
type repoLock struct{ f *os.File }

func (r *Repo) lock(ctx context.Context, exclusive bool) (*repoLock, error) {
	cfg := r.Config()
	if on, err := cfg.Bool("core", "locking", true); err != nil {
		return nil, fmt.Errorf("locking repository %s: config: %w", r.path, err)
	} else if !on {
		return &repoLock{}, nil
	}
	timeout := 300 * time.Second
	if s, ok := cfg.Get("core", "lock-timeout-secs"); ok {
		n, err := strconv.Atoi(s)
		if err != nil || n < -1 {
			return nil, fmt.Errorf("locking repository %s: config: core.lock-timeout-secs: %q is not a number of seconds", r.path, s)
		}
		timeout = time.Duration(n) * time.Second
	}
	f, err := os.OpenFile(filepath.Join(r.path, ".lock"), os.O_RDWR|os.O_CREATE, 0o660)
	if err != nil {
		return nil, fmt.Errorf("locking repository: %w", err)
	}
	if err := waitLock(ctx, f, exclusive, timeout); err != nil {
		f.Close()
		return nil, fmt.Errorf("locking repository %s: %w", r.path, err)
	}
	return &repoLock{f}, nil
}

func (l *repoLock) release() {
	if l != nil && l.f != nil {
		l.f.Close()
		l.f = nil
	}
}

// waitLock polls, because a wait in the kernel could be ended neither by ctx nor by a timeout; negative waits for ever.
func waitLock(ctx context.Context, f *os.File, exclusive bool, timeout time.Duration) error {
	var end time.Time
	if timeout >= 0 {
		end = time.Now().Add(timeout)
	}
	for pause := time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		ok, err := tryLock(f, exclusive)
		if ok || err != nil {
			return err
		}
		if !end.IsZero() && time.Now().After(end) {
			return fmt.Errorf("another process has held it for %s; wait for it to end, or raise core.lock-timeout-secs", timeout)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

// tryLock takes the lock of an open file without waiting. File systems without such locks have flock instead, as
// ostree does it.
func tryLock(f *os.File, exclusive bool) (bool, error) {
	kind, op := int16(unix.F_RDLCK), unix.LOCK_SH
	if exclusive {
		kind, op = unix.F_WRLCK, unix.LOCK_EX
	}
	fd := f.Fd()
	err := unix.FcntlFlock(fd, unix.F_OFD_SETLK, &unix.Flock_t{Type: kind})
	if err == unix.EINVAL {
		err = unix.Flock(int(fd), op|unix.LOCK_NB)
	}
	switch err {
	case nil:
		return true, nil
	case unix.EAGAIN, unix.EACCES, unix.EINTR:
		return false, nil
	}
	return false, err
}
