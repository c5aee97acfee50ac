package pid1

import (
	"errors"
	"fmt"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"time"

	"photree/internal/kargs"

	"golang.org/x/sys/unix"
)

// rootSpec is what root= asks for.
type rootSpec struct {
	text  string // as written, for messages
	kind  string // UUID, LABEL, PARTUUID, PARTLABEL or PATH
	value string
}

// parseRoot reads the forms of root= that the kernel, udev's links and other initramfs programs have.
func parseRoot(s string) (rootSpec, error) {
	spec := rootSpec{text: s}
	for _, form := range []struct{ prefix, kind string }{
		{"UUID=", "UUID"}, {"LABEL=", "LABEL"}, {"PARTUUID=", "PARTUUID"}, {"PARTLABEL=", "PARTLABEL"},
		{"/dev/disk/by-uuid/", "UUID"}, {"/dev/disk/by-label/", "LABEL"},
		{"/dev/disk/by-partuuid/", "PARTUUID"}, {"/dev/disk/by-partlabel/", "PARTLABEL"},
		{"/dev/", "PATH"},
	} {
		value, ok := strings.CutPrefix(s, form.prefix)
		if !ok {
			continue
		}
		if strings.HasPrefix(form.prefix, "/dev/disk/") {
			value = unescape(value)
		} else {
			value = strings.Trim(value, `"`) // root=LABEL="a b"
		}
		if value == "" || form.kind == "PATH" && strings.Contains(value, "..") {
			break
		}
		spec.kind, spec.value = form.kind, value
		return spec, nil
	}
	if s == "" {
		return spec, errors.New("the kernel command line has no root=: add root=UUID=... to it")
	}
	return spec, fmt.Errorf("root=%s is not understood: use UUID=, LABEL=, PARTUUID=, PARTLABEL= or a path below /dev", s)
}

// unescape undoes udev's \x20 in the names of links.
func unescape(s string) string {
	var b []byte
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) && s[i+1] == 'x' {
			if c, err := strconv.ParseUint(s[i+2:i+4], 16, 8); err == nil {
				b = append(b, byte(c))
				i += 3
				continue
			}
		}
		b = append(b, s[i])
	}
	return string(b)
}

// blockdev is a block device with what it holds.
type blockdev struct {
	name string // below /dev
	fs   filesystem
	part partition
}

// finder looks for the root among the block devices.
type finder struct {
	sys, dev string // "/sys", "/dev"
	spec     rootSpec
	seen     map[string]blockdev
}

func newFinder(spec rootSpec) *finder {
	return &finder{sys: "/sys", dev: "/dev", spec: spec, seen: map[string]blockdev{}}
}

// scan looks at every block device there is.
func (f *finder) scan() (blockdev, bool) { return f.lookAll(list(f.sys + "/class/block")) }

// lookAll looks at devices until one is the root: partitions before the disks they are on and the last one first,
// since that is mostly where a root file system is, and looking costs a read of the disk.
func (f *finder) lookAll(names []string) (blockdev, bool) {
	sort.Sort(sort.Reverse(sort.StringSlice(names)))
	for _, name := range names {
		if b, ok := f.look(name); ok {
			return b, true
		}
	}
	return blockdev{}, false
}

// look examines one device by its name in /sys/class/block and reports whether it is the root.
func (f *finder) look(name string) (blockdev, bool) {
	b, err := f.examine(name)
	if err != nil {
		return b, false
	}
	f.seen[name] = b
	switch f.spec.kind {
	case "PATH":
		return b, b.name == f.spec.value
	case "UUID":
		return b, strings.EqualFold(b.fs.uuid, f.spec.value)
	case "LABEL":
		return b, b.fs.label == f.spec.value
	case "PARTUUID":
		return b, strings.EqualFold(b.part.uuid, f.spec.value)
	case "PARTLABEL":
		return b, b.part.name == f.spec.value
	}
	return b, false
}

func (f *finder) examine(name string) (blockdev, error) {
	b := blockdev{name: strings.ReplaceAll(name, "!", "/")}
	dir := f.sys + "/class/block/" + name
	if size := readLine(dir + "/size"); size == "" || size == "0" {
		return b, unix.ENOMEDIUM
	}
	r, err := openDevice(f.dev + "/" + b.name)
	if err != nil {
		return b, err
	}
	defer r.Close()
	b.fs, _ = probe(r)
	if f.spec.kind == "PARTUUID" || f.spec.kind == "PARTLABEL" {
		b.part = f.partition(dir)
	}
	return b, nil
}

// partition reads the table entry of the partition at dir in /sys.
func (f *finder) partition(dir string) partition {
	n, err := strconv.Atoi(readLine(dir + "/partition"))
	if err != nil {
		return partition{} // a whole disk
	}
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return partition{}
	}
	disk := filepath.Dir(real)
	sector, err := strconv.ParseInt(readLine(disk+"/queue/logical_block_size"), 10, 64)
	if err != nil {
		sector = 512
	}
	r, err := openDevice(f.dev + "/" + strings.ReplaceAll(filepath.Base(disk), "!", "/"))
	if err != nil {
		return partition{}
	}
	defer r.Close()
	p, _ := readPartition(r, sector, n)
	return p
}

// inventory lists the block devices for a message.
func (f *finder) inventory() string {
	names := list(f.sys + "/class/block")
	sort.Strings(names)
	var out []string
	for _, name := range names {
		b, ok := f.seen[name]
		if !ok || strings.HasPrefix(name, "loop") || strings.HasPrefix(name, "ram") {
			continue
		}
		s := "/dev/" + b.name
		if b.fs.kind != "" {
			s += " (" + b.fs.kind
			if b.fs.uuid != "" {
				s += " UUID=" + b.fs.uuid
			}
			if b.fs.label != "" {
				s += " LABEL=" + b.fs.label
			}
			s += ")"
		}
		if b.part.uuid != "" {
			s += " PARTUUID=" + b.part.uuid
		}
		out = append(out, s)
	}
	if len(out) == 0 {
		return "there are no block devices: is the driver of the disk in the initramfs?"
	}
	return "block devices: " + strings.Join(out, ", ")
}

// defaultWait is how long to wait for the root device: longer than any disk takes, short enough for a person to wait
// for the message.
const defaultWait = 60 * time.Second

// rootWait reads rootwait (for ever; with a value, that many seconds) and rootdelay.
func rootWait(cmdline kargs.List) time.Duration {
	wait := defaultWait
	if v, ok := cmdline.Lookup("rootwait"); ok {
		wait = 1000000 * time.Hour
		if n, err := strconv.Atoi(v); err == nil {
			wait = time.Duration(n) * time.Second
		}
	}
	if n, err := strconv.Atoi(cmdline.Get("rootdelay")); err == nil && time.Duration(n)*time.Second > wait {
		wait = time.Duration(n) * time.Second
	}
	return wait
}

// mountOptions splits rootflags= into the kernel's flags and the file system's own options.
func mountOptions(cmdline kargs.List) (flags uintptr, data string) {
	flags = unix.MS_RDONLY
	for _, arg := range cmdline {
		switch arg {
		case "ro":
			flags |= unix.MS_RDONLY
		case "rw":
			flags &^= unix.MS_RDONLY
		}
	}
	names := map[string]uintptr{"noatime": unix.MS_NOATIME, "nodiratime": unix.MS_NODIRATIME,
		"relatime": unix.MS_RELATIME, "strictatime": unix.MS_STRICTATIME, "lazytime": unix.MS_LAZYTIME,
		"nodev": unix.MS_NODEV, "nosuid": unix.MS_NOSUID, "noexec": unix.MS_NOEXEC, "sync": unix.MS_SYNCHRONOUS,
		"dirsync": unix.MS_DIRSYNC, "defaults": 0, "ro": unix.MS_RDONLY}
	var rest []string
	for _, opt := range strings.Split(cmdline.Get("rootflags"), ",") {
		flag, known := names[opt]
		switch {
		case opt == "":
		case opt == "rw":
			flags &^= unix.MS_RDONLY
		case known:
			flags |= flag
		default:
			rest = append(rest, opt)
		}
	}
	return flags, strings.Join(rest, ",")
}

// mountRoot mounts the device on dir, after loading the driver of its file system.
func mountRoot(b blockdev, dir string, cmdline kargs.List, load func(alias string)) error {
	kinds := []string{b.fs.kind}
	if v := cmdline.Get("rootfstype"); v != "" {
		kinds = strings.Split(v, ",")
	}
	if kinds[0] == "" {
		return fmt.Errorf("/dev/%s has no file system that is known here: give rootfstype=", b.name)
	}
	flags, data := mountOptions(cmdline)
	var err error
	for _, kind := range kinds {
		if !hasFilesystem(kind) {
			load("fs-" + kind)
		}
		err = unix.Mount("/dev/"+b.name, dir, kind, flags, data)
		if err == unix.EROFS || err == unix.EACCES { // a medium that cannot be written
			err = unix.Mount("/dev/"+b.name, dir, kind, flags|unix.MS_RDONLY, data)
		}
		if err == nil {
			return nil
		}
	}
	if err == unix.ENODEV {
		return fmt.Errorf("mounting /dev/%s: the initramfs has no driver for the file system %s", b.name, strings.Join(kinds, " or "))
	}
	return fmt.Errorf("mounting /dev/%s (%s): %w", b.name, strings.Join(kinds, ", "), err)
}

func hasFilesystem(kind string) bool {
	text, _ := readFile("/proc/filesystems")
	for _, line := range strings.Split(string(text), "\n") {
		if strings.TrimPrefix(strings.TrimPrefix(line, "nodev"), "\t") == kind {
			return true
		}
	}
	return false
}
