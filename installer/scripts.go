package installer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"photree/installer/disk"
	"photree/installer/kickstart"

	"golang.org/x/sys/unix"
)

// runScripts runs scripts chrooted in the deployment dir, as they would see
// the booted machine: /etc and the stateroot's /var are writable, /usr is not
// (its files are shared with the repository, D4), /tmp and /run are empty.
// binds are the directories to show there, and where: /var among them. What
// the scripts print is kept in /var/log/photree-postinstall.log.
func runScripts(ctx context.Context, scripts []kickstart.Script, dir string, binds [][2]string, work string) (err error) {
	if len(scripts) == 0 {
		return nil
	}
	root := filepath.Join(work, "postinstall")
	var m disk.Mounts
	defer func() { err = errors.Join(err, m.Close()) }()
	if err := mountForScripts(&m, root, dir, binds); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(root, "var/log"), 0o755); err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(root, "var/log/photree-postinstall.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	for i, s := range scripts {
		out, err := runScript(ctx, root, fmt.Sprintf("/run/postinstall-%d", i), s)
		fmt.Fprintf(log, "== %s\n%s", s.Name, out)
		if err != nil {
			return fmt.Errorf("running the script %s: %w: %s", s.Name, err, lastLines(out, 10))
		}
	}
	return nil
}

func mountForScripts(m *disk.Mounts, root, dir string, binds [][2]string) error {
	if err := m.Bind(dir, root); err != nil {
		return err
	}
	usr := filepath.Join(root, "usr")
	if err := m.Bind(filepath.Join(dir, "usr"), usr); err != nil {
		return err
	}
	if err := unix.Mount("", usr, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		return fmt.Errorf("making /usr read-only: %w", err)
	}
	for _, b := range binds {
		if err := m.Bind(b[0], filepath.Join(root, b[1])); err != nil {
			return err
		}
	}
	for _, k := range []struct{ kind, to string }{{"proc", "proc"}, {"sysfs", "sys"}, {"tmpfs", "run"}} {
		if err := m.Special(k.kind, filepath.Join(root, k.to)); err != nil {
			return err
		}
	}
	// /tmp may be a link into /run or sysroot: then it is left as it is.
	if st, err := os.Lstat(filepath.Join(root, "tmp")); err == nil && st.IsDir() {
		return m.Special("tmpfs", filepath.Join(root, "tmp"))
	}
	return nil
}

func runScript(ctx context.Context, root, path string, s kickstart.Script) ([]byte, error) {
	if err := os.WriteFile(filepath.Join(root, path), []byte(s.Text), 0o700); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, path)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8", "TERM=dumb"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Setpgid: true}
	// A script that leaves something running would keep the disk busy.
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if cmd.Process != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
	return out.Bytes(), err
}

func lastLines(out []byte, n int) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
