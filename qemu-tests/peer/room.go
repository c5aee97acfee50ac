package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// nobody is the user without privileges.
const nobody = 65534

// room is where the scripts run: a file system of their own with a copy of the suite.
type room struct {
	o     options
	image string
	dir   string
}

func newRoom(o options) (r *room, err error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("the tests need root: they mount a file system to run on")
	}
	for _, dir := range []*string{&o.bin, &o.logs} {
		if *dir, err = filepath.Abs(*dir); err != nil {
			return nil, err
		}
	}
	if _, err := os.Stat(filepath.Join(o.bin, "ostree")); err != nil {
		return nil, fmt.Errorf("%w: run make build first", err)
	}
	if err := os.MkdirAll(o.logs, 0o755); err != nil {
		return nil, err
	}
	// What a script leaves running becomes a child of this process, so that exactly that can be ended.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, err
	}
	r = &room{o: o}
	defer func() {
		if err != nil {
			r.close()
		}
	}()
	if err := r.mount(); err != nil {
		return nil, err
	}
	if err := copyTree(o.suite, filepath.Join(r.dir, "suite")); err != nil {
		return nil, err
	}
	return r, r.writeShims()
}

// mount makes the file system: ext4, which has all the attributes that the scripts use.
func (r *room) mount() error {
	base := "/dev/shm" // nothing here has to last, and memory needs no time to flush
	if st, err := os.Stat(base); err != nil || !st.IsDir() {
		base = os.TempDir()
	}
	f, err := os.CreateTemp(base, "photree-peer-*.img")
	if err != nil {
		return err
	}
	r.image = f.Name()
	if err := errors.Join(f.Truncate(6<<30), f.Close()); err != nil {
		return err
	}
	// A short path: the sockets of gpg-agent stand below it, and their paths have at most 108 bytes.
	dir, err := os.MkdirTemp("/var/tmp", "peer")
	if err != nil {
		return err
	}
	r.dir = dir
	for _, cmd := range [][]string{
		{"mkfs.ext4", "-q", "-F", "-O", "^has_journal", r.image},
		{"mount", "-o", "loop", r.image, r.dir},
	} {
		if out, err := exec.Command(cmd[0], cmd[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("running %s: %w\n%s", strings.Join(cmd, " "), err, out)
		}
	}
	return os.Chmod(r.dir, 0o755)
}

func (r *room) close() {
	endChildren(nil)
	if r.dir != "" {
		unmountBelow(r.dir)
		if err := os.Remove(r.dir); err != nil {
			fmt.Fprintln(os.Stderr, "warning:", err)
		}
	}
	if r.image != "" {
		os.Remove(r.image)
	}
}

// shims stand in front of programs that libtest.sh asks about the machine, and whose answer here would make it leave
// out what can be tested very well.
var shims = map[string]string{
	// libtest.sh believes in extended attributes of security only where SELinux has set one.
	"getfattr": `[ "${@: -1}" = testlabel.txt ] && setfattr -n security.selinux -v system_u:object_r:unlabeled_t:s0 testlabel.txt
exec /usr/bin/getfattr "$@"`,
	// basic-test.sh forgets to make this directory, and then leaves out the points about whiteouts.
	"touch": `[ "$1" = overlay/baz/another/.wh..wh..opq ] && mkdir -p overlay/baz/another
exec /usr/bin/touch "$@"`,
	// libtest.sh tries whether strace can inject errors, with a cat that reads; newer ones copy without reading.
	"cat": `case "$*" in */libtest-core.sh) exec dd if="$1" status=none;; esac
exec /bin/cat "$@"`,
}

func (r *room) writeShims() error {
	dir := filepath.Join(r.dir, "shims")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	for name, body := range shims {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/bash\n"+body+"\n"), 0o755); err != nil {
			return err
		}
	}
	return nil
}

// start prepares the directories of one script and the command that runs it.
func (r *room) command(ctx context.Context, name string, log *os.File) (*exec.Cmd, error) {
	dir, home := filepath.Join(r.dir, name), filepath.Join(r.dir, name+".home")
	uid, user := nobody, "nobody"
	path := []string{r.o.bin}
	if needsRoot(name) {
		uid, user = 0, "root"
		path = append(path, filepath.Join(r.dir, "shims"))
	}
	path = append(path, "/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
	for _, d := range []string{dir, home, filepath.Join(home, "run"), filepath.Join(home, "tmp")} {
		if err := errors.Join(os.Mkdir(d, 0o755), os.Chown(d, uid, uid)); err != nil {
			return nil, err
		}
	}
	if err := os.Chmod(filepath.Join(home, "run"), 0o700); err != nil {
		return nil, err
	}
	suite := filepath.Join(r.dir, "suite")
	cmd := exec.CommandContext(ctx, filepath.Join(suite, name))
	cmd.Dir = dir
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = []string{
		"PATH=" + strings.Join(path, ":"), "HOME=" + home, "TMPDIR=" + filepath.Join(home, "tmp"), "XDG_RUNTIME_DIR=" + filepath.Join(home, "run"),
		"USER=" + user, "LOGNAME=" + user, "SHELL=/bin/bash", "TERM=dumb", "LANG=C.UTF-8",
		"G_TEST_SRCDIR=" + suite, "G_TEST_BUILDDIR=" + suite, "OSTREE_TEST_ALLOW_RANDOM=1",
		// The suite is of 2022, when boot entries had the name of the stateroot in theirs.
		"OSTREE_SYSROOT_OPTS=bootloader-naming-1",
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if uid != 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}
	} else {
		cmd.Env = append(cmd.Env, "OSTREE_TEST_SUDO=1")
	}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	return cmd, nil
}

// clean ends what a script has left behind and removes its directories.
func (r *room) clean(name string) {
	for _, dir := range []string{filepath.Join(r.dir, name), filepath.Join(r.dir, name+".home")} {
		endChildren(func(pid int) bool { return worksIn(pid, dir) })
		unmountBelow(dir)
		_ = exec.Command("chattr", "-R", "-f", "-i", dir).Run() // deployments may be immutable
		if err := os.RemoveAll(dir); err != nil {
			fmt.Fprintln(os.Stderr, "warning:", err)
		}
	}
}

// worksIn says whether a process was started by a script in dir: its working directory or an argument is there.
func worksIn(pid int, dir string) bool {
	proc := "/proc/" + strconv.Itoa(pid)
	cwd, _ := os.Readlink(proc + "/cwd")
	args, _ := os.ReadFile(proc + "/cmdline")
	return strings.HasPrefix(cwd+"/", dir+"/") || strings.HasPrefix(cwd, dir+" ") || strings.Contains(string(args), dir+"/")
}

// endChildren ends the children of this process that want says; nil ends all.
func endChildren(want func(pid int) bool) {
	entries, _ := os.ReadDir("/proc")
	self := os.Getpid()
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue
		}
		// The name of the program stands in parentheses and may hold anything.
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		if len(fields) < 2 || fields[1] != strconv.Itoa(self) || want != nil && !want(pid) {
			continue
		}
		_ = syscall.Kill(pid, syscall.SIGKILL)
		var status syscall.WaitStatus
		_, _ = syscall.Wait4(pid, &status, 0, nil)
	}
}

// unmountBelow unmounts dir and what is mounted below it, the last first.
func unmountBelow(dir string) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return
	}
	lines := strings.Split(string(data), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		fields := strings.Fields(lines[i])
		if len(fields) > 4 && strings.HasPrefix(fields[4]+"/", dir+"/") {
			_ = unix.Unmount(fields[4], unix.MNT_DETACH)
		}
	}
}

// copyTree copies files, directories and links with their modes.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		info, err := d.Info()
		if err != nil {
			return err
		}
		switch {
		case d.IsDir():
			return os.Mkdir(target, info.Mode().Perm())
		case d.Type()&fs.ModeSymlink != 0:
			link, err := os.Readlink(path)
			if err != nil {
				return err
			}
			return os.Symlink(link, target)
		case !d.Type().IsRegular():
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(target, data, info.Mode().Perm())
	})
}
