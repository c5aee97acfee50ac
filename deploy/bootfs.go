package deploy

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// NoLinksError says that the file system of /boot has no symbolic links, as vfat has none. The switch of the loader link
// is the one step that decides the next boot (D1); without links there is none.
type NoLinksError struct {
	Dir string
	// Err is what the attempt to make a link gave.
	Err error
}

func (e *NoLinksError) Error() string {
	return fmt.Sprintf("the file system of %s cannot hold symbolic links (%v): mount ext4 or another Unix file system there; "+
		"the EFI system partition, which must be vfat, belongs at /boot/efi", e.Dir, e.Err)
}

// Unwrap returns the reason.
func (e *NoLinksError) Unwrap() error { return e.Err }

// checkBootLinks refuses a /boot that cannot be switched, before anything is written there.
func checkBootLinks(boot string) error {
	if _, err := os.Readlink(filepath.Join(boot, "loader")); err == nil {
		return nil
	}
	probe := filepath.Join(boot, ".loader.probe")
	err := os.Symlink(".", probe)
	if err == nil {
		err = os.Remove(probe)
	}
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return &NoLinksError{Dir: boot, Err: errors.Unwrap(err)}
	}
	return nil // another error shows where the link is made
}
