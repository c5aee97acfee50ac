package repo

import (
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"photree/internal/keyfile"
)

// space keeps a transaction from filling the file system: core.min-free-space-percent (3 when unset) or
// core.min-free-space-size of it stay free.
type space struct {
	mu    sync.Mutex
	left  int64 // bytes that may still be written
	block int64
	rule  string
	path  string
}

func newSpace(path string, cfg *keyfile.File) (*space, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return nil, &os.PathError{Op: "statfs", Path: path, Err: err}
	}
	s := &space{block: max(st.Bsize, 512), path: path}
	free := int64(st.Bavail) * st.Bsize
	if os.Geteuid() == 0 {
		free = int64(st.Bfree) * st.Bsize
	}
	keep := int64(0)
	if v, ok := cfg.Get("core", "min-free-space-size"); ok {
		n, err := parseSize(v)
		if err != nil {
			return nil, fmt.Errorf("config: core.min-free-space-size: %w", err)
		}
		keep, s.rule = n, "core.min-free-space-size is "+v
	} else {
		percent := 3
		if v, ok := cfg.Get("core", "min-free-space-percent"); ok {
			n, err := strconv.Atoi(strings.TrimSpace(v))
			if err != nil || n < 0 || n > 99 {
				return nil, fmt.Errorf("config: core.min-free-space-percent: %q is not a number from 0 to 99", v)
			}
			percent = n
		}
		keep = int64(st.Blocks) / 100 * int64(percent) * st.Bsize
		s.rule = fmt.Sprintf("core.min-free-space-percent is %d", percent)
	}
	s.left = free - keep
	if keep == 0 {
		s.left = math.MaxInt64 / 2 // no limit but the disk's own
	}
	return s, nil
}

// parseSize reads "100MB", "2GB" or "1TB", as ostree spells sizes.
func parseSize(v string) (int64, error) {
	for suffix, unit := range map[string]int64{"MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40} {
		if num, ok := strings.CutSuffix(v, suffix); ok {
			n, err := strconv.ParseInt(num, 10, 32)
			if err == nil && n >= 0 {
				return n * unit, nil
			}
		}
	}
	return 0, fmt.Errorf("%q is not a size like 500MB or 2GB", v)
}

// take accounts for a file of size bytes before it is written.
func (s *space) take(size int64) error {
	need := (size + s.block - 1) / s.block * s.block
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left < need {
		return fmt.Errorf("not enough space on the file system of %s: %s, and another %d bytes would go below it; "+
			"free some space or lower the limit", s.path, s.rule, need-s.left)
	}
	s.left -= need
	return nil
}

// give returns what was taken for a file that was not kept.
func (s *space) give(size int64) {
	s.mu.Lock()
	s.left += (size + s.block - 1) / s.block * s.block
	s.mu.Unlock()
}
