package rootfs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// stageMain is the first process of the new namespaces: it mounts what a
// program expects, makes the tree its root, runs the program and exits, which
// ends everything that the program left running.
func stageMain() int {
	answer := os.NewFile(4, "answer")
	unix.CloseOnExec(4)
	v := stage()
	if json.NewEncoder(answer).Encode(v) != nil {
		return 1
	}
	return 0
}

func stage() verdict {
	// The set of capabilities belongs to a thread; the program is started from
	// this one.
	runtime.LockOSThread()
	spec := os.NewFile(3, "job")
	data, err := io.ReadAll(spec)
	spec.Close()
	var j job
	if err == nil {
		err = json.Unmarshal(data, &j)
	}
	if err == nil {
		err = enter(j.Root)
	}
	if err != nil {
		return verdict{Setup: err.Error()}
	}
	if len(j.Args) > 0 && j.Args[0] == "<lua>" {
		if err := runLua(j); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return verdict{Code: 1}
		}
		return verdict{}
	}
	return runProgram(j)
}

// runProgram runs the job's program and waits for it.
func runProgram(j job) verdict {
	args := j.Args
	if j.Script != "" {
		const name = "/tmp/rpm-tmp.script"
		if err := os.WriteFile(name, []byte(j.Script), 0o700); err != nil {
			return verdict{Setup: err.Error()}
		}
		args = append(append(append([]string{}, args...), name), j.ScriptArgs...)
	}
	if len(args) == 0 {
		return verdict{Setup: "no program to run"}
	}
	if err := setEnvironment(j); err != nil {
		return verdict{Setup: err.Error()}
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return verdict{}
	case errors.As(err, &exit):
		ws := exit.Sys().(syscall.WaitStatus)
		if ws.Signaled() {
			return verdict{Signal: int(ws.Signal())}
		}
		return verdict{Code: ws.ExitStatus()}
	}
	// The interpreter is missing or cannot be run: the package's fault, as
	// for RPM, not the sandbox's.
	fmt.Fprintln(os.Stderr, err)
	return verdict{Code: 127}
}

// setEnvironment makes the job's environment this process's, in which the
// program is also looked for.
func setEnvironment(j job) error {
	os.Clearenv()
	env := j.Env
	if j.LibraryDirs {
		if dirs := libraryDirs("/etc/ld.so.conf", 0); len(dirs) > 0 {
			env = append(env, "LD_LIBRARY_PATH="+strings.Join(dirs, ":"))
		}
	}
	for _, e := range env {
		k, val, _ := strings.Cut(e, "=")
		if err := os.Setenv(k, val); err != nil {
			return err
		}
	}
	return nil
}

// enter makes root the root directory of this process, with /proc, a minimal
// /dev, and empty /run and /tmp that leave nothing in the tree.
func enter(root string) error {
	unix.Umask(0o022)
	steps := []struct {
		what string
		do   func() error
	}{
		{"making mounts private", func() error { return unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "") }},
		{"mounting the tree", func() error { return unix.Mount(root, root, "", unix.MS_BIND, "") }},
		{"entering the tree", func() error { return unix.Chdir(root) }},
		{"mounting /proc", mountProc},
		{"mounting /dev", mountDev},
		{"mounting /run", func() error { return mountTmp("run", "mode=0755") }},
		{"mounting /tmp", func() error { return mountTmp("tmp", "mode=1777") }},
		{"changing the root", changeRoot},
		{"setting the host name", func() error { return unix.Sethostname([]byte("localhost")) }},
		{"dropping capabilities", dropCaps},
	}
	for _, s := range steps {
		if err := s.do(); err != nil {
			return fmt.Errorf("%s: %w", s.what, err)
		}
	}
	return nil
}

func mountTmp(name, options string) error {
	return unix.Mount("tmpfs", name, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, options)
}

func mountProc() error {
	const safe = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if err := unix.Mount("proc", "proc", "proc", safe, ""); err != nil {
		return err
	}
	// A script must not set parameters of the running kernel.
	for _, p := range []string{"proc/sys", "proc/sysrq-trigger", "proc/irq", "proc/bus"} {
		if _, err := os.Lstat(p); err != nil {
			continue
		}
		if err := unix.Mount(p, p, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return err
		}
		if err := unix.Mount("", p, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|safe, ""); err != nil {
			return err
		}
	}
	return nil
}

func mountDev() error {
	// Not nodev: this is the one place with devices.
	if err := unix.Mount("tmpfs", "dev", "tmpfs", unix.MS_NOSUID|unix.MS_NOEXEC, "mode=0755"); err != nil {
		return err
	}
	for name, minor := range map[string]uint32{"null": 3, "zero": 5, "full": 7, "random": 8, "urandom": 9} {
		p := path.Join("dev", name)
		if err := unix.Mknod(p, unix.S_IFCHR|0o666, int(unix.Mkdev(1, minor))); err != nil {
			// Containers may forbid mknod and have the nodes.
			if err := os.WriteFile(p, nil, 0o666); err != nil {
				return err
			}
			if err := unix.Mount("/"+p, p, "", unix.MS_BIND, ""); err != nil {
				return err
			}
		} else if err := os.Chmod(p, 0o666); err != nil {
			return err
		}
	}
	for name, target := range map[string]string{"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"} {
		if err := os.Symlink(target, path.Join("dev", name)); err != nil {
			return err
		}
	}
	return os.Mkdir("dev/shm", 0o1777)
}

// changeRoot makes the working directory the root and lets go of the old one.
func changeRoot() error {
	if err := unix.PivotRoot(".", "."); err != nil {
		// An initramfs as root cannot be pivoted away.
		if err := unix.Chroot("."); err != nil {
			return err
		}
		return unix.Chdir("/")
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return err
	}
	return unix.Chdir("/")
}

// kept are the capabilities that scripts may use: those over files, ids and
// processes of the tree, none over the machine.
var kept = []int{unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_DAC_READ_SEARCH, unix.CAP_FOWNER, unix.CAP_FSETID,
	unix.CAP_KILL, unix.CAP_SETGID, unix.CAP_SETUID, unix.CAP_SETPCAP, unix.CAP_SETFCAP, unix.CAP_NET_BIND_SERVICE,
	unix.CAP_LINUX_IMMUTABLE, unix.CAP_SYS_CHROOT, unix.CAP_AUDIT_WRITE}

func dropCaps() error {
	keep := map[int]bool{}
	for _, c := range kept {
		keep[c] = true
	}
	for c := 0; c < 64; c++ {
		if keep[c] {
			continue
		}
		err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(c), 0, 0, 0)
		if err == unix.EINVAL {
			break // past the last one that this kernel knows
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// libraryDirs reads the directories of an ld.so.conf, with what it includes.
func libraryDirs(conf string, depth int) []string {
	data, err := os.ReadFile(conf)
	if err != nil || depth > 5 {
		return nil
	}
	var out []string
	for _, l := range strings.Split(string(data), "\n") {
		l, _, _ = strings.Cut(l, "#")
		f := strings.Fields(l)
		switch {
		case len(f) == 0:
		case f[0] == "include":
			for _, g := range f[1:] {
				if !path.IsAbs(g) {
					g = path.Join(path.Dir(conf), g)
				}
				files, _ := filepath.Glob(g)
				for _, name := range files {
					out = append(out, libraryDirs(name, depth+1)...)
				}
			}
		case path.IsAbs(f[0]):
			out = append(out, strings.TrimRight(f[0], "/"))
		}
	}
	return out
}
