package pid1

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Exit statuses by which a program that runs instead of a system (see command) says what comes next.
const (
	ExitReboot   = 0
	ExitPowerOff = 10
	ExitHalt     = 11
)

// command returns what to run in place of a system: the words of photree.exec= on the kernel command line or of
// /etc/photree/initrd-exec in the image, or nil. An installer starts this way. It must flush what it writes.
func (b *boot) command() ([]string, error) {
	text := b.cmdline.Get("photree.exec")
	if text == "" {
		data, err := readFile(execFile)
		if err == unix.ENOENT {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading what to run: %w", err)
		}
		text = string(data)
	}
	words := strings.Fields(text)
	if len(words) == 0 {
		return nil, fmt.Errorf("%s is empty: it must hold the program to run", execFile)
	}
	return words, nil
}

// runCommand loads the drivers of every device and runs the program, while it goes on loading drivers for devices that
// appear. The program's exit status decides what happens then.
func (b *boot) runCommand(command []string) error {
	if err := b.openModules(); err != nil {
		return err
	}
	b.loader.coldplugAll(true)
	b.step("running " + strings.Join(command, " "))
	pid, err := b.spawn(command)
	if err != nil {
		return err
	}
	done := make(chan int, 1)
	go func() { done <- reap(pid) }()
	changes := make(chan func())
	go b.follow(changes)
	for {
		select {
		case status := <-done:
			return b.finish(command[0], status)
		case handle := <-changes:
			handle()
		}
	}
}

// follow sends what to do about each batch of device events.
func (b *boot) follow(changes chan<- func()) {
	for {
		list, lost, err := b.events.next(time.Now().Add(time.Hour))
		if err != nil {
			changes <- func() { b.log.warn(err.Error()) }
			return
		}
		changes <- func() {
			if lost {
				b.loader.coldplugAll(true)
			}
			for _, e := range list {
				b.handle(e, true)
			}
		}
	}
}

// spawn starts a program with the console as its terminal.
func (b *boot) spawn(command []string) (int, error) {
	console, err := os.OpenFile("/dev/console", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return 0, fmt.Errorf("opening the console: %w", err)
	}
	defer console.Close()
	fd := console.Fd()
	env := append(os.Environ(), "PATH=/usr/sbin:/usr/bin:/sbin:/bin")
	attr := &syscall.ProcAttr{Dir: "/", Env: env, Files: []uintptr{fd, fd, fd},
		Sys: &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}}
	pid, err := syscall.ForkExec(command[0], command, attr)
	if err != nil {
		// /dev/console may stand for a device that can be no controlling terminal.
		attr.Sys = &syscall.SysProcAttr{Setsid: true}
		pid, err = syscall.ForkExec(command[0], command, attr)
	}
	if err != nil {
		return 0, fmt.Errorf("running %s: %w", command[0], err)
	}
	return pid, nil
}

// reap waits for a child, and on the way for every orphan, as PID 1 must. It returns the child's status, 128 and more
// for a signal.
func reap(pid int) int {
	for {
		var ws unix.WaitStatus
		got, err := unix.Wait4(-1, &ws, 0, nil)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return 255
		case got == pid && ws.Exited():
			return ws.ExitStatus()
		case got == pid && ws.Signaled():
			return 128 + int(ws.Signal())
		}
	}
}

func (b *boot) finish(name string, status int) error {
	switch status {
	case ExitReboot:
		b.log.info("restarting")
		b.restart(unix.LINUX_REBOOT_CMD_RESTART)
	case ExitPowerOff:
		b.log.info("powering off")
		b.restart(unix.LINUX_REBOOT_CMD_POWER_OFF)
	case ExitHalt:
		b.log.info("halting")
		b.restart(unix.LINUX_REBOOT_CMD_HALT)
	}
	return fmt.Errorf("%s ended with status %d", name, status)
}

// restart ends the machine. What a program wrote to disks it must have flushed itself; PID 1 has nothing to (B1).
func (b *boot) restart(how int) { unix.Reboot(how) }

// runShell runs a shell on the console if the image has one.
func (b *boot) runShell(why string) {
	if _, err := os.Stat(shell); err != nil {
		b.log.crit("there is no shell in this initramfs")
		return
	}
	b.log.crit(why)
	if pid, err := b.spawn([]string{shell, "-i"}); err != nil {
		b.log.crit(err.Error())
	} else {
		reap(pid)
	}
}
