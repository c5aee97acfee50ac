package vm

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// slotCount is how many machines run at a time: more than two slow each other down past every time-out on two processors.
const slotCount = 2

// takeSlot waits for a place. Places are locks on files, so that test processes running side by side share them, and a
// process that dies gives its places back.
func takeSlot(ctx context.Context) (release func(), err error) {
	for {
		for i := range slotCount {
			path := filepath.Join(os.TempDir(), fmt.Sprintf("photree-vm-%d-%d.lock", os.Getuid(), i))
			f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
			if err != nil {
				return nil, err
			}
			err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
			if err == nil {
				return func() { f.Close() }, nil
			}
			f.Close()
			if err != unix.EWOULDBLOCK {
				return nil, fmt.Errorf("locking %q: %w", path, err)
			}
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
