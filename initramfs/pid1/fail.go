package pid1

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"time"

	prepareroot "photree/prepare-root"

	"golang.org/x/sys/unix"
)

// fail says why the machine cannot start, and then does what panic= asks for: restart after so many seconds, at once
// if the number is negative; without it, wait for a person. It does not return.
//
// It does not end PID 1: the kernel's panic would push the message off the screen.
func (b *boot) fail(err error) {
	b.log.crit("this machine cannot start: " + err.Error())
	var missing *prepareroot.NotFoundError
	if errors.As(err, &missing) {
		b.log.crit("no other deployment is started in its place; choose another entry in the boot menu")
	}
	if b.cmdline != nil {
		b.log.crit("kernel command line: " + b.cmdline.String())
	}
	for _, key := range []string{"photree.shell", "rd.shell"} {
		if v, ok := b.cmdline.Lookup(key); ok && v != "0" {
			b.runShell("leave the shell to restart")
			b.restart(unix.LINUX_REBOOT_CMD_RESTART)
		}
	}
	seconds, set := panicSeconds()
	if set {
		if seconds > 0 {
			b.log.crit("restarting in " + strconv.Itoa(seconds) + " seconds (panic=)")
			time.Sleep(time.Duration(seconds) * time.Second)
		}
		b.restart(unix.LINUX_REBOOT_CMD_RESTART)
	}
	b.log.crit("press Enter to restart")
	for {
		var key [64]byte
		n, err := os.Stdin.Read(key[:])
		if n > 0 && strings.Contains(string(key[:n]), "\n") {
			b.restart(unix.LINUX_REBOOT_CMD_RESTART)
		}
		if err != nil { // no console to read from
			time.Sleep(time.Hour)
		}
	}
}

// panicSeconds returns the kernel's setting, which panic= and sysctl.kernel.panic set; 0 means not to restart.
func panicSeconds() (seconds int, set bool) {
	data, err := os.ReadFile("/proc/sys/kernel/panic")
	if err != nil {
		return 0, false
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(data)))
	return n, err == nil && n != 0
}
