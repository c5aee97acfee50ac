package pid1

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// logger writes to the kernel's log, which stamps each line, reaches every console and stays readable in the journal
// of the booted system. The zero value drops everything.
type logger struct {
	kmsg *os.File
}

func openLog() *logger {
	// The kernel drops lines of user space after ten in five seconds; systemd changes the same setting.
	os.WriteFile("/proc/sys/kernel/printk_devkmsg", []byte("on\n"), 0)
	f, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0)
	if err != nil {
		return &logger{}
	}
	return &logger{f}
}

func (l *logger) info(s string) { l.write("<6>", s) }
func (l *logger) warn(s string) { l.write("<4>", s) }

// crit is for the lines that a person at the console must see, with "quiet" too.
func (l *logger) crit(s string) { l.write("<2>", s) }

func (l *logger) write(level, s string) {
	if l.kmsg == nil {
		return
	}
	for _, line := range strings.Split(strings.TrimRight(s, "\n"), "\n") {
		l.kmsg.WriteString(level + "photree-init: " + line + "\n")
	}
}

// uptime returns milliseconds since the kernel started.
func uptime() int64 {
	var ts unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return ts.Sec*1000 + ts.Nsec/1e6
}
