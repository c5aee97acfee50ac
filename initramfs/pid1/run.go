// Package pid1 is the first program of a machine that photree starts: it loads drivers, finds and mounts the root file
// system, lets prepare-root make the mounts of the deployment, and becomes the init of that.
//
// It reads the initramfs, /proc/cmdline and /sys. It writes to the kernel's log, and to no disk (B1). It waits for
// devices by listening to the kernel's events, without polling. What it cannot do it says on the console with what it
// saw; it never starts another system than the one it was told to (B2).
package pid1

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"photree/internal/kargs"
	prepareroot "photree/prepare-root"

	"golang.org/x/sys/unix"
)

// Paths in the image; initramfs.Build makes them.
const (
	indexFile   = "/etc/photree/modules"
	execFile    = "/etc/photree/initrd-exec"
	sysroot     = "/sysroot"
	shell       = "/bin/sh"
	modprobeArg = "modprobe"
)

// apiMounts are the kernel's file systems, in the order they are mounted and then moved to the new root.
var apiMounts = []struct {
	path, kind string
	flags      uintptr
	data       string
}{
	{"/proc", "proc", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, ""},
	{"/sys", "sysfs", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, ""},
	{"/dev", "devtmpfs", unix.MS_NOSUID, "mode=0755"},
	{"/run", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=0755,size=20%"},
}

// Main is the whole program. It returns only when it runs as modprobe.
func Main() int {
	if filepath.Base(os.Args[0]) == modprobeArg {
		if err := Modprobe(os.Args[1:]); err != nil {
			return 1
		}
		return 0
	}
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "photree-init: this is the first program of an initramfs and does nothing else")
		return 1
	}
	Run()
	return 0
}

// Run starts the machine. It does not return.
func Run() {
	b := &boot{start: uptime(), log: &logger{}}
	defer func() {
		if r := recover(); r != nil {
			b.fail(fmt.Errorf("internal error: %v", r))
		}
	}()
	b.fail(b.run())
}

// boot is the state of one start.
type boot struct {
	start   int64
	log     *logger
	cmdline kargs.List
	events  *events
	loader  *loader
	finder  *finder
}

// run is the straight line from the kernel's hand-over to init. It returns only on failure.
func (b *boot) run() error {
	if err := b.mountAPI(); err != nil {
		return err
	}
	if command, err := b.command(); err != nil {
		return err
	} else if command != nil {
		return b.runCommand(command)
	}
	dev, err := b.findRoot()
	if err != nil {
		return err
	}
	b.step("found root=" + b.finder.spec.text + " on /dev/" + dev.name)
	if err := mountRoot(dev, sysroot, b.cmdline, b.loadAlias); err != nil {
		return err
	}
	b.step("mounted /dev/" + dev.name)
	if err := b.prepare(); err != nil {
		return err
	}
	init, err := findInit(sysroot, b.cmdline)
	if err != nil {
		return err
	}
	if _, ok := b.cmdline.Lookup("rd.break"); ok {
		b.runShell("rd.break: the new root is in " + sysroot + "; leave the shell to go on")
	}
	b.step("switching to " + init + ", " + strconv.Itoa(b.loader.count()) + " modules loaded")
	return switchRoot(sysroot, init, b.log)
}

// step logs a step with the time since PID 1 started.
func (b *boot) step(what string) {
	b.log.info(what + " (" + strconv.FormatInt(uptime()-b.start, 10) + " ms)")
}

func (b *boot) mountAPI() error {
	for _, m := range apiMounts {
		unix.Mkdir(m.path, 0o755)
		// EBUSY: a kernel with DEVTMPFS_MOUNT has done it for an initramfs that is built in.
		if err := unix.Mount(m.kind, m.path, m.kind, m.flags, m.data); err != nil && err != unix.EBUSY {
			return fmt.Errorf("mounting %s: %w", m.path, err)
		}
	}
	b.log = openLog()
	data, err := readFile("/proc/cmdline")
	if err != nil {
		return fmt.Errorf("reading the kernel command line: %w", err)
	}
	b.cmdline = kargs.Parse(string(data))
	return nil
}

// openModules starts listening to device events, reads the index, and loads what the command line asks for by name.
// It is not needed where the disk's driver is built in.
func (b *boot) openModules() error {
	if b.loader != nil {
		return nil
	}
	var err error
	if b.events, err = listen(); err != nil {
		return err
	}
	idx, err := readIndex(indexFile)
	if err != nil {
		return err
	}
	b.loader = newLoader(idx, b.cmdline, b.log)
	for _, name := range b.named() {
		if idx.modules[name] == nil {
			continue // for the booted system, or built in
		}
		if err := b.loader.load(name); err != nil {
			b.log.warn(err.Error())
		}
	}
	return nil
}

// named returns the modules that the command line asks for.
func (b *boot) named() []string {
	var out []string
	for _, key := range []string{"modules-load", "modules_load", "rd.modules-load", "rd.modules_load"} {
		for _, names := range b.cmdline.All(key) {
			for _, name := range strings.Split(names, ",") {
				out = append(out, canonical(name))
			}
		}
	}
	return out
}

// loadAlias loads what the kernel calls by an alias.
func (b *boot) loadAlias(alias string) {
	if err := b.openModules(); err != nil {
		b.log.warn(err.Error())
		return
	}
	b.loader.alias(alias, true)
}

// findRoot waits for the root device. It looks before it loads any driver: with the disk's driver built in there is
// nothing to load.
func (b *boot) findRoot() (blockdev, error) {
	spec, err := parseRoot(b.cmdline.Get("root"))
	if err != nil {
		return blockdev{}, err
	}
	b.finder = newFinder(spec)
	if len(b.named()) == 0 {
		if dev, ok := b.finder.scan(); ok {
			return dev, nil
		}
	}
	if err := b.openModules(); err != nil {
		return blockdev{}, err
	}
	b.loader.coldplug(diskBuses, false)
	b.step("loaded drivers")
	wait := rootWait(b.cmdline)
	start := time.Now()
	end := start.Add(wait)
	// Each round looks further: at the events of the drivers just loaded, at the other buses, at drivers that have
	// nothing to do with disks by their place in the kernel's tree.
	for round, pause := range []time.Duration{100 * time.Millisecond, 5 * time.Second, 20 * time.Second} {
		if dev, ok, err := b.watch(earlier(end, time.Now().Add(pause))); ok || err != nil {
			return dev, err
		}
		b.loader.coldplugAll(round > 0)
		if dev, ok := b.finder.scan(); ok {
			return dev, nil
		}
		if round > 0 {
			b.log.warn("waiting for root=" + spec.text + "; " + b.finder.inventory())
		}
	}
	if dev, ok, err := b.watch(end); ok || err != nil {
		return dev, err
	}
	return blockdev{}, fmt.Errorf("root=%s did not appear in %d seconds; %s", spec.text, int(time.Since(start).Seconds()), b.finder.inventory())
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// watch handles device events until one brings the root or the time is over.
func (b *boot) watch(until time.Time) (blockdev, bool, error) {
	for {
		list, lost, err := b.events.next(until)
		if err != nil {
			return blockdev{}, false, err
		}
		if lost {
			b.loader.coldplugAll(false)
			if dev, ok := b.finder.scan(); ok {
				return dev, true, nil
			}
		}
		var disks []string
		for _, e := range list {
			if name := b.handle(e, false); name != "" {
				disks = append(disks, name)
			}
		}
		if dev, ok := b.finder.lookAll(disks); ok {
			return dev, true, nil
		}
		if len(list) == 0 && !time.Now().Before(until) {
			return blockdev{}, false, nil
		}
	}
}

// handle loads the driver that an event calls for, and returns the name of the block device that it brings.
func (b *boot) handle(e uevent, late bool) (disk string) {
	if e.action == "remove" {
		return ""
	}
	if e.modalias != "" {
		b.loader.alias(e.modalias, late)
	}
	if e.subsystem != "block" {
		return ""
	}
	return strings.ReplaceAll(e.devname, "/", "!")
}

// prepare makes the mounts of the deployment; a command line without ostree= means that the file system on the disk
// is itself the system.
func (b *boot) prepare() error {
	res, err := prepareroot.Run(prepareroot.Options{
		Sysroot: sysroot,
		Cmdline: b.cmdline.String(),
		Log:     b.log.info,
	})
	if errors.Is(err, prepareroot.ErrNoTarget) {
		b.log.info(err.Error() + ": starting the root file system as it is")
		return nil
	}
	if err != nil {
		return err
	}
	b.step("mounted the deployment of " + res.Stateroot)
	return nil
}
