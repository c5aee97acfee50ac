// Command guest is the init of the boot tests' system: it checks what photree-init and prepare-root left, prints what
// it found, and powers the machine off.
package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	if os.Getpid() != 1 {
		fmt.Println("GUEST-CHILD", strings.Join(os.Args, " "))
		var names []string
		for range 100 { // drivers load while this runs
			names = nil
			entries, _ := os.ReadDir("/sys/class/net")
			for _, e := range entries {
				names = append(names, e.Name())
			}
			if len(names) > 1 {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
		// The kernel asks for the driver by itself: it runs /sbin/modprobe.
		os.Mkdir("/mnt", 0o755)
		fmt.Println("mounting an overlay:", unix.Mount("overlay", "/mnt", "overlay", 0, "lowerdir=/etc:/usr"))
		fmt.Println("interfaces:", strings.Join(names, " "))
		os.Exit(10)
	}
	fmt.Println("GUEST args", os.Args)
	for _, dir := range []string{"/", "/usr", "/etc", "/var", "/sysroot"} {
		name := strings.TrimSuffix(dir, "/") + "/probe"
		err := os.WriteFile(name, []byte("x"), 0o644)
		fmt.Printf("GUEST write %s: %v\n", dir, err)
		os.Remove(name)
	}
	for _, file := range []string{"/etc/marker", "/var/marker", "/usr/marker", "/sysroot/marker"} {
		data, err := os.ReadFile(file)
		fmt.Printf("GUEST read %s: %s %v\n", file, strings.TrimSpace(string(data)), err)
	}
	booted, err := os.ReadFile("/run/ostree-booted")
	fmt.Printf("GUEST booted: %d bytes %v\n", len(booted), err)
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	fmt.Print(string(mounts))
	log, _ := os.OpenFile("/dev/kmsg", os.O_RDONLY|unix.O_NONBLOCK, 0)
	if log != nil {
		for buf := make([]byte, 8192); ; {
			n, err := unix.Read(int(log.Fd()), buf)
			if err != nil {
				break
			}
			if line := string(buf[:n]); strings.Contains(line, "photree-init") || strings.Contains(line, "Run /init") {
				fmt.Print("KMSG ", line[:strings.IndexByte(line+"\n", '\n')], "\n")
			}
		}
	}
	fmt.Println("GUEST done")
	unix.Sync()
	unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}
