package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// machine is where one set of disks can be mounted: a FUSE directory that serves them, and a mount point.
type machine struct {
	dir     string
	fuse    *fuseDir
	layout  layout
	root    string // where the root file system is mounted
	mounted []string
}

// newMachine serves the disks. close ends it.
func newMachine(l layout, data [disks]backing) (_ *machine, err error) {
	dir, err := os.MkdirTemp("", "powercut-")
	if err != nil {
		return nil, err
	}
	m := &machine{dir: dir, layout: l, root: filepath.Join(dir, "root")}
	for _, d := range []string{m.root, filepath.Join(dir, "disks")} {
		if err := os.Mkdir(d, 0o700); err != nil {
			return nil, err
		}
	}
	var files []fuseFile
	for d, b := range data {
		if b != nil {
			files = append(files, fuseFile{diskNames[d], b})
		}
	}
	if m.fuse, err = serveFuse(filepath.Join(dir, "disks"), files...); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return m, nil
}

func (m *machine) close() error {
	err := m.unmount()
	if err == nil {
		err = m.fuse.close()
	}
	if err == nil {
		err = os.RemoveAll(m.dir)
	}
	return err
}

// mount mounts the disks as a machine does, the one for /boot inside the root.
func (m *machine) mount(flags uintptr) error {
	if err := m.mountDisk(rootDisk, m.root, flags); err != nil {
		return err
	}
	if m.layout.boot == "" {
		return nil
	}
	return m.mountDisk(bootDisk, filepath.Join(m.root, "boot"), flags)
}

func (m *machine) mountDisk(disk int, at string, flags uintptr) error {
	kind, data := m.layout.root, ""
	if disk == bootDisk {
		kind = m.layout.boot
	}
	if kind == "xfs" {
		data = "nouuid"
	}
	err := withLoop(filepath.Join(m.fuse.dir, diskNames[disk]), func(node string) error {
		return unix.Mount(node, at, kind, flags, data)
	})
	if err != nil {
		return fmt.Errorf("mounting the disk for %s: %w", diskNames[disk], err)
	}
	m.mounted = append(m.mounted, at)
	return nil
}

// unmount undoes mount.
func (m *machine) unmount() error {
	for len(m.mounted) > 0 {
		last := m.mounted[len(m.mounted)-1]
		if err := unmountSoon(last); err != nil {
			return fmt.Errorf("unmounting %s: %w", last, err)
		}
		m.mounted = m.mounted[:len(m.mounted)-1]
	}
	return nil
}

// unmountSoon unmounts a file system that may be in use for another moment: a process that somebody forks in this one
// has its open files until it ends or starts a program.
func unmountSoon(dir string) error {
	var err error
	for range 500 {
		if err = unix.Unmount(dir, 0); err != unix.EBUSY {
			return err
		}
		time.Sleep(5 * time.Millisecond)
	}
	return err
}

var loopMu sync.Mutex

// withLoop runs f with a loop device on the file. The device goes away with the last one who uses it, which may be a
// mount that f made.
func withLoop(path string, f func(node string) error) error {
	// Not by package os, which would ask to poll the file, in a system call during which this process can answer nothing.
	file, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(file)
	loop, err := attach(file)
	if err != nil {
		return fmt.Errorf("attaching a loop device to %s: %w", path, err)
	}
	defer loop.Close()
	return f(loop.Name())
}

func attach(file int) (*os.File, error) {
	loopMu.Lock()
	defer loopMu.Unlock()
	ctl, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer ctl.Close()
	for {
		n, err := unix.IoctlRetInt(int(ctl.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, err
		}
		loop, err := os.OpenFile(fmt.Sprintf("/dev/loop%d", n), os.O_RDWR, 0)
		if err != nil {
			return nil, err
		}
		c := unix.LoopConfig{Fd: uint32(file)}
		c.Info.Flags = unix.LO_FLAGS_AUTOCLEAR
		copy(c.Info.File_name[:], "powercut")
		err = unix.IoctlLoopConfigure(int(loop.Fd()), &c)
		if err == nil {
			return loop, nil
		}
		loop.Close()
		if !errors.Is(err, unix.EBUSY) {
			return nil, err
		}
	}
}
