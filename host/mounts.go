package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// privateMounts marks a process that has a mount namespace of its own.
const privateMounts = "PHOTREE_PRIVATE_MOUNTS"

// ReadOnlyMounts lists what a change of the sysroot writes to and what is mounted
// read-only: on a booted host the physical root usually is.
func ReadOnlyMounts(root string) []string {
	var out []string
	for _, p := range []string{"ostree", "boot"} {
		path := filepath.Join(root, p)
		var st unix.Statfs_t
		if unix.Statfs(path, &st) == nil && st.Flags&unix.ST_RDONLY != 0 {
			out = append(out, path)
		}
	}
	return out
}

// InPrivateMounts reports whether this process was started by RunPrivately.
func InPrivateMounts() bool { return os.Getenv(privateMounts) != "" }

// Process is a program to run: its arguments and streams.
type Process struct {
	Args           []string // the first is the name that it is called by
	Stdin          io.Reader
	Stdout, Stderr io.Writer
}

// RunPrivately runs this program again in a mount namespace of its own, where it
// can make file systems writable that stay read-only for everyone else. A
// namespace belongs to a thread, and Go moves work between threads, so that only
// a new process has it as a whole. It returns the exit status.
func RunPrivately(ctx context.Context, p Process) (int, error) {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", p.Args[1:]...)
	cmd.Args[0] = p.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = p.Stdin, p.Stdout, p.Stderr
	cmd.Env = append(os.Environ(), privateMounts+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode(), nil
	}
	if err != nil {
		return 1, fmt.Errorf("starting over with private mounts: %w", err)
	}
	return 0, nil
}

// MakeWritable remounts what ReadOnlyMounts lists. Call it only in a process that
// RunPrivately started: its mounts are nobody else's.
func MakeWritable(root string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	for _, path := range ReadOnlyMounts(root) {
		point, err := mountPoint(path)
		if err != nil {
			return err
		}
		if err := unix.Mount("", point, "", unix.MS_REMOUNT|unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("making %s writable: %w", point, err)
		}
		if len(ReadOnlyMounts(root)) == 0 {
			return nil
		}
		// The file system itself is read-only, not only this mount of it.
		if err := unix.Mount("", point, "", unix.MS_REMOUNT, ""); err != nil {
			return fmt.Errorf("making %s writable: %w", point, err)
		}
	}
	return nil
}

// mountPoint finds the directory that the file system of path is mounted at.
func mountPoint(path string) (string, error) {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", err
	}
	for path != "/" {
		isRoot, err := isMountRoot(path)
		if err != nil || isRoot {
			return path, err
		}
		path = filepath.Dir(path)
	}
	return path, nil
}

func isMountRoot(path string) (bool, error) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, 0, &st); err != nil {
		return false, &os.PathError{Op: "statx", Path: path, Err: err}
	}
	return st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0, nil
}
