package pid1

import (
	"strings"

	"golang.org/x/sys/unix"
)

// logger writes to the kernel's log, which stamps each line, reaches every console and stays readable in the journal
// of the booted system. The zero value drops everything.
type logger struct {
	kmsg int
	loud bool
}

func openLog() *logger {
	fd, err := unix.Open("/dev/kmsg", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &logger{}
	}
	return &logger{kmsg: fd}
}

func (l *logger) info(s string) { l.write("<6>", s) }

func (l *logger) warn(s string) {
	l.unlimited()
	l.write("<4>", s)
}

// crit is for the lines that a person at the console must see, with "quiet" too.
func (l *logger) crit(s string) {
	if l.kmsg == 0 { // too early for the log; the kernel has opened the console for us
		unix.Write(2, []byte("photree-init: "+s+"\n"))
		return
	}
	l.unlimited()
	l.write("<2>", s)
}

// unlimited keeps the kernel from dropping lines of user space after ten in five seconds, which is enough for a start
// without trouble. systemd changes the same setting.
func (l *logger) unlimited() {
	if l.loud {
		return
	}
	l.loud = true
	if fd, err := unix.Open("/proc/sys/kernel/printk_devkmsg", unix.O_WRONLY|unix.O_CLOEXEC, 0); err == nil {
		unix.Write(fd, []byte("on\n"))
		unix.Close(fd)
	}
}

func (l *logger) write(level, s string) {
	if l.kmsg == 0 {
		return
	}
	for _, line := range strings.Split(strings.TrimRight(s, "\n"), "\n") {
		unix.Write(l.kmsg, []byte(level+"photree-init: "+line+"\n"))
	}
}

// uptime returns milliseconds since the kernel started.
func uptime() int64 {
	var ts unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return ts.Sec*1000 + ts.Nsec/1e6
}
