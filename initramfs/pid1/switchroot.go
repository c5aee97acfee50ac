package pid1

import (
	"errors"
	"fmt"
	"os"

	"photree/internal/kargs"

	"golang.org/x/sys/unix"
)

// findInit returns the program to run in the new root: that of init= alone if it is given, since a machine that was
// told to start something must not start something else.
func findInit(root string, cmdline kargs.List) (string, error) {
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("opening the new root: %w", err)
	}
	defer unix.Close(dir)
	candidates := []string{"/sbin/init", "/usr/lib/systemd/systemd", "/etc/init", "/bin/init"}
	asked := cmdline.Get("init")
	if asked != "" {
		candidates = []string{asked}
	}
	for _, path := range candidates {
		fd, err := unix.Openat2(dir, path, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT})
		if err != nil {
			continue
		}
		var st unix.Stat_t
		err = unix.Fstat(fd, &st)
		unix.Close(fd)
		if err == nil && st.Mode&unix.S_IFMT == unix.S_IFREG && st.Mode&0o111 != 0 {
			return path, nil
		}
	}
	if asked != "" {
		return "", fmt.Errorf("the root file system has no program %s, which init= names", asked)
	}
	return "", errors.New("the root file system has no /sbin/init: is it the right one?")
}

// switchRoot makes root the file system of every process, frees the initramfs and becomes init.
func switchRoot(root, init string, log *logger) error {
	for _, dir := range apiMounts {
		target := root + dir.path
		if err := unix.Mount(dir.path, target, "", unix.MS_MOVE, ""); err != nil {
			return fmt.Errorf("moving %s to the new root: %w", dir.path, err)
		}
	}
	old, err := unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening the initramfs: %w", err)
	}
	if err := unix.Chdir(root); err != nil {
		return fmt.Errorf("entering the new root: %w", err)
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("moving the new root to /: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("entering the new root: %w", err)
	}
	if err := unix.Chdir("/"); err != nil {
		return fmt.Errorf("entering the new root: %w", err)
	}
	emptyInitramfs(old, log)
	unix.Close(old)
	// A console of the new root's /dev; the first one is a node of the initramfs.
	if fd, err := unix.Open("/dev/console", unix.O_RDWR|unix.O_NOCTTY, 0); err == nil {
		for i := range 3 {
			unix.Dup2(fd, i)
		}
		if fd > 2 {
			unix.Close(fd)
		}
	}
	// The kernel hands to /init the arguments it does not know itself ("single", "3"); they are for the real init.
	args := append([]string{init}, os.Args[1:]...)
	err = unix.Exec(init, args, os.Environ())
	return fmt.Errorf("running %s: %w", init, err)
}

const (
	ramfsMagic = 0x858458f6
	tmpfsMagic = 0x01021994
)

// emptyInitramfs gives the memory of the initramfs back. The root of the initramfs cannot be unmounted, so its files
// are removed: only if it is a file system in memory indeed, and never across a mount.
func emptyInitramfs(dir int, log *logger) {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(dir, &fs); err != nil || fs.Type != ramfsMagic && fs.Type != tmpfsMagic {
		log.warn("the initramfs is not in memory and is left as it is")
		return
	}
	var st unix.Stat_t
	if unix.Fstat(dir, &st) == nil {
		removeBelow(dir, st.Dev)
	}
}

func removeBelow(dir int, dev uint64) {
	dup, err := unix.Openat(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	f := os.NewFile(uintptr(dup), "initramfs")
	defer f.Close()
	names, _ := f.Readdirnames(-1)
	for _, name := range names {
		var st unix.Stat_t
		if unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil || st.Dev != dev {
			continue
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			unix.Unlinkat(dir, name, 0)
			continue
		}
		sub, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		removeBelow(sub, dev)
		unix.Close(sub)
		unix.Unlinkat(dir, name, unix.AT_REMOVEDIR)
	}
}
