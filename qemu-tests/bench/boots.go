package main

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"time"

	"photree/qemu-tests/distro"
	"photree/qemu-tests/line"
	"photree/qemu-tests/vm"
)

// boots starts an installed machine from disks of both kinds and reports, by
// the machine's own clock, how long its initramfs took and when the login
// prompt came.
func (b *bench) boots(ctx context.Context) error {
	l, err := line.New(ctx, line.Options{Work: b.path("line")})
	if err != nil {
		return err
	}
	repos, err := l.ComposeCached(ctx)
	if err != nil {
		return err
	}
	disk := b.path("disk.img")
	start := time.Now()
	if err := l.Install(ctx, line.Install{Disk: disk, Source: repos.First(), RemoteURL: "http://10.0.2.2:1/none", Hostname: "bench"}); err != nil {
		return err
	}
	fmt.Fprintf(&b.report, "\nInstallation of %s onto a disk image: %s.\n", distro.Ref, seconds(time.Since(start)))
	fmt.Fprintf(&b.report, "\n| boot of the installed machine, emulated | /init to switch_root | kernel start to login prompt |\n|---|---|---|\n")
	for _, kind := range []string{"nvme", "virtio"} {
		var inits, logins []time.Duration
		for range b.runs {
			i, login, err := b.bootOnce(ctx, disk, kind)
			if err != nil {
				return fmt.Errorf("booting from %s: %w", kind, err)
			}
			inits, logins = append(inits, i), append(logins, login)
		}
		slices.Sort(inits)
		slices.Sort(logins)
		fmt.Fprintf(os.Stderr, "bench: boot from %-6s /init to switch_root %v\n", kind, inits)
		fmt.Fprintf(&b.report, "| disk on %s | %s (of %d boots: %s to %s) | %.1f s |\n", kind, seconds(inits[len(inits)/2]), len(inits),
			seconds(inits[0]), seconds(inits[len(inits)-1]), logins[len(logins)/2].Seconds())
	}
	return os.Remove(disk)
}

// stamps are the times of the kernel's log, in seconds.
var stamps = regexp.MustCompile(`\[ *(\d+\.\d+)\] (?:Run /init|photree-init: switching to)`)

func (b *bench) bootOnce(ctx context.Context, disk, kind string) (initTime, login time.Duration, err error) {
	m, err := vm.Start(ctx, vm.Options{Disks: []vm.Disk{{Path: disk, Interface: kind, Snapshot: true}}, Log: b.path("console-" + kind + ".log")})
	if err != nil {
		return 0, 0, err
	}
	defer m.Close()
	if err := m.Login(ctx, line.Password); err != nil {
		return 0, 0, err
	}
	// The getty's start, rather than the harness's own speed at logging in.
	text, err := m.Run(ctx, vm.CommandTimeout, `dmesg | grep -e 'Run /init' -e 'switching to'; systemctl show -P ActiveEnterTimestampMonotonic serial-getty@ttyS0.service`)
	if err != nil {
		return 0, 0, err
	}
	found := stamps.FindAllStringSubmatch(text, -1)
	getty := regexp.MustCompile(`(?m)^(\d+)\s*$`).FindStringSubmatch(text)
	if len(found) != 2 || getty == nil {
		return 0, 0, fmt.Errorf("the kernel's log does not say when /init ran and ended:\n%s", text)
	}
	from, _ := strconv.ParseFloat(found[0][1], 64)
	to, _ := strconv.ParseFloat(found[1][1], 64)
	micros, _ := strconv.ParseInt(getty[1], 10, 64)
	return time.Duration((to - from) * float64(time.Second)), time.Duration(micros) * time.Microsecond, nil
}
