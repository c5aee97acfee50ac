package installer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"photree/installer/disk"
	"photree/internal/kargs"
	"photree/repo"

	"golang.org/x/sys/unix"
)

// footprintFile holds the Footprint on a medium.
const footprintFile = "photree-footprint.json"

// Medium is the installation medium of a running installer, mounted.
type Medium struct {
	Dir    string // where it is mounted
	Device string // "/dev/sr0"
	Repo   string // its repository
	Ref    string // the only ref in that
	// Footprint of the commit: WriteISO has measured it, so that a slow drive
	// need not be asked for every file.
	Footprint Footprint

	mounts disk.Mounts
}

// OpenMedium waits for the medium that photree.media= of the kernel's command
// line names (UUID=, LABEL=, a device, or "cdrom" for the first that holds a
// repository), and mounts it below dir.
func OpenMedium(ctx context.Context, cmdline, dir string) (*Medium, error) {
	spec := kargs.Parse(cmdline).Get("photree.media")
	if spec == "" {
		spec = "cdrom"
	}
	device, err := waitFor(ctx, 60*time.Second, func() (string, bool) {
		for _, b := range blockDevices() {
			if v, err := readVolume(b.Path); err == nil && v.matches(spec, b.Path) {
				return b.Path, true
			}
		}
		return "", false
	})
	if err != nil {
		return nil, fmt.Errorf("looking for the installation medium (photree.media=%s): %w; block devices: %s", spec, err, describe(blockDevices()))
	}
	m := &Medium{Dir: filepath.Join(dir, "media"), Device: device}
	if err := m.mounts.ReadOnly(device, m.Dir, "iso9660"); err != nil {
		return nil, err
	}
	if err := m.findRef(); err != nil {
		return nil, errors.Join(fmt.Errorf("reading the installation medium %s: %w", device, err), m.Close())
	}
	return m, nil
}

func (m *Medium) findRef() error {
	m.Repo = filepath.Join(m.Dir, "repo")
	r, err := repo.Open(m.Repo)
	if err != nil {
		return err
	}
	defer r.Close()
	refs, err := r.Refs()
	if err != nil {
		return err
	}
	if len(refs) != 1 {
		return fmt.Errorf("its repository has %d refs instead of one", len(refs))
	}
	m.Ref = refs[0].Name
	data, err := os.ReadFile(filepath.Join(m.Dir, footprintFile))
	if err != nil {
		return err
	}
	return json.Unmarshal(data, &m.Footprint)
}

// Close unmounts the medium.
func (m *Medium) Close() error { return m.mounts.Close() }

// Eject opens the tray, after Close, so that the machine does not boot from
// the medium again. A medium that is no CD stays where it is.
func (m *Medium) Eject() {
	const cdromEject, cdromLockDoor = 0x5309, 0x5329 // linux/cdrom.h
	fd, err := unix.Open(m.Device, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	_ = unix.IoctlSetInt(fd, cdromLockDoor, 0)
	_ = unix.IoctlSetInt(fd, cdromEject, 0)
}

// Kickstart gives the path of the kickstart file that ks= names, or "" if
// there is none: cdrom:/path is on the medium, /path where the installer runs.
func (m *Medium) Kickstart(cmdline string) (string, error) {
	spec, given := kargs.Parse(cmdline).Lookup("ks")
	if !given {
		return "", nil
	}
	where, path, ok := strings.Cut(spec, ":")
	switch {
	case ok && where == "cdrom" && filepath.IsAbs(path):
		return filepath.Join(m.Dir, path), nil
	case filepath.IsAbs(spec):
		return spec, nil
	}
	return "", fmt.Errorf("ks=%s is not supported: use ks=cdrom:/PATH for a file on the installation medium", spec)
}

// volume is what identifies an ISO 9660 file system.
type volume struct{ label, uuid string }

func (v volume) matches(spec, device string) bool {
	if uuid, ok := strings.CutPrefix(spec, "UUID="); ok {
		return strings.EqualFold(uuid, v.uuid)
	}
	if label, ok := strings.CutPrefix(spec, "LABEL="); ok {
		return label == v.label
	}
	return spec == "cdrom" || spec == device
}

func readVolume(device string) (volume, error) {
	f, err := os.Open(device)
	if err != nil {
		return volume{}, err
	}
	defer f.Close()
	b := make([]byte, 2048)
	if _, err := f.ReadAt(b, 16*2048); err != nil {
		return volume{}, err
	}
	if !bytes.HasPrefix(b, []byte("\x01CD001\x01")) {
		return volume{}, errors.New("not an ISO 9660 file system")
	}
	d := string(b[830:846]) // time of modification, YYYYMMDDhhmmsscc
	uuid := strings.Join([]string{d[:4], d[4:6], d[6:8], d[8:10], d[10:12], d[12:14], d[14:]}, "-")
	return volume{strings.TrimRight(string(b[40:72]), " "), uuid}, nil
}

// BlockDevice is one disk of the machine.
type BlockDevice struct {
	Path  string
	Size  int64
	Model string
}

// Disks lists the disks that a machine can be installed on, without the
// medium.
func (m *Medium) Disks() []BlockDevice {
	return slices.DeleteFunc(blockDevices(), func(b BlockDevice) bool {
		return b.Path == m.Device || b.Size == 0 || strings.HasPrefix(filepath.Base(b.Path), "sr")
	})
}

// WaitForDisk waits until the node of a disk is there.
func WaitForDisk(ctx context.Context, path string) error {
	_, err := waitFor(ctx, 30*time.Second, func() (string, bool) { return path, exists(path) })
	if err != nil {
		return fmt.Errorf("waiting for the disk %s: %w; this machine has: %s", path, err, describe(blockDevices()))
	}
	return nil
}

// blockDevices lists whole devices in a stable order.
func blockDevices() []BlockDevice {
	var out []BlockDevice
	dirs, _ := filepath.Glob("/sys/block/*")
	for _, dir := range dirs {
		name := filepath.Base(dir)
		if strings.HasPrefix(name, "loop") || strings.HasPrefix(name, "ram") || strings.HasPrefix(name, "zram") || strings.HasPrefix(name, "fd") {
			continue
		}
		size, _ := os.ReadFile(filepath.Join(dir, "size"))
		model, _ := os.ReadFile(filepath.Join(dir, "device/model"))
		sectors, _ := strconv.ParseInt(strings.TrimSpace(string(size)), 10, 64)
		out = append(out, BlockDevice{"/dev/" + strings.ReplaceAll(name, "!", "/"), sectors * disk.Sector, strings.TrimSpace(string(model))})
	}
	return out
}

func describe(devices []BlockDevice) string {
	var names []string
	for _, d := range devices {
		names = append(names, fmt.Sprintf("%s (%d MiB)", d.Path, d.Size>>20))
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// waitFor calls look until it finds something: drivers find their devices in
// their own time.
func waitFor(ctx context.Context, limit time.Duration, look func() (string, bool)) (string, error) {
	for end := time.Now().Add(limit); ; {
		if found, ok := look(); ok {
			return found, nil
		}
		if time.Now().After(end) {
			return "", fmt.Errorf("it did not appear within %d seconds", int(limit.Seconds()))
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// ConsoleKargs gives the console= arguments of a command line: a machine that
// was installed over a serial line is to be reached there too.
func ConsoleKargs(cmdline string) []string {
	var out []string
	for _, a := range kargs.Parse(cmdline) {
		if a.Key() == "console" {
			out = append(out, string(a))
		}
	}
	return out
}

// PowerOffAsked reports whether the machine is to be off after the
// installation (photree.poweroff) instead of starting from its disk.
func PowerOffAsked(cmdline string) bool {
	value, ok := kargs.Parse(cmdline).Lookup("photree.poweroff")
	return ok && value != "0"
}
