package pid1

import (
	"errors"
	"fmt"
	"strings"

	"photree/internal/kargs"

	"golang.org/x/sys/unix"
)

// loader loads kernel modules of the image, each once.
type loader struct {
	idx     *index
	cmdline kargs.List
	tried   map[string]error
	hidden  map[string]bool // modprobe.blacklist=
	log     *logger
}

func newLoader(idx *index, cmdline kargs.List, log *logger) *loader {
	l := &loader{idx: idx, cmdline: cmdline, tried: map[string]error{}, hidden: map[string]bool{}, log: log}
	for _, key := range []string{"modprobe.blacklist", "module_blacklist", "rd.driver.blacklist"} {
		for _, names := range cmdline.All(key) {
			for _, name := range strings.Split(names, ",") {
				l.hidden[canonical(name)] = true
			}
		}
	}
	return l
}

func canonical(name string) string { return strings.ReplaceAll(name, "-", "_") }

// alias loads the modules for an alias; those that have nothing to do with the root file system only if late is set.
// Errors are logged: one driver that does not start must not keep another one from finding the root.
func (l *loader) alias(alias string, late bool) {
	for _, m := range l.idx.match(alias) {
		if m.late && !late || m.blacklisted || l.hidden[m.name] {
			continue
		}
		if err := l.load(m.name); err != nil {
			l.log.warn(err.Error())
		}
	}
}

// load loads a module by its name after what it needs.
func (l *loader) load(name string) error {
	if err, done := l.tried[name]; done {
		return err
	}
	l.tried[name] = nil // before its dependencies: soft ones may form a cycle
	err := l.insert(name)
	l.tried[name] = err
	return err
}

func (l *loader) insert(name string) error {
	m := l.idx.modules[name]
	if m == nil {
		return fmt.Errorf("the initramfs has no kernel module %q", name)
	}
	for _, dep := range m.needs {
		if err := l.load(dep); err != nil {
			// If it is needed indeed, the kernel says so: the entry may be a soft dependency.
			l.log.warn(err.Error())
		}
	}
	fd, err := unix.Open(m.path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("loading kernel module %s: %w", name, err)
	}
	defer unix.Close(fd)
	err = unix.FinitModule(fd, l.params(m), 0)
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("loading kernel module %s: %w", name, err)
	}
	for _, dep := range m.then {
		if err := l.load(dep); err != nil {
			l.log.warn(err.Error())
		}
	}
	return nil
}

// params are the module's options in the tree's modprobe.d, then those on the kernel command line (MODULE.PARAM=VALUE).
func (l *loader) params(m *module) string {
	words := []string{}
	if m.options != "" {
		words = append(words, m.options)
	}
	for _, arg := range l.cmdline {
		mod, param, ok := strings.Cut(arg.Key(), ".")
		if !ok || canonical(mod) != m.name {
			continue
		}
		if arg.HasValue() {
			param += "=" + arg.Value()
			if strings.ContainsAny(arg.Value(), " \t") {
				param = strings.Replace(param, "=", "=\"", 1) + "\""
			}
		}
		words = append(words, param)
	}
	return strings.Join(words, " ")
}

// count returns how many modules were loaded.
func (l *loader) count() int {
	if l == nil {
		return 0
	}
	n := 0
	for _, err := range l.tried {
		if err == nil {
			n++
		}
	}
	return n
}

// diskBuses are looked at first: on nearly every machine the driver of the disk is found there, and looking at the
// hundred devices of the others can wait until it turns out not to be.
var diskBuses = []string{"pci", "vmbus", "virtio", "xen"}

// quietBuses have devices whose drivers are never modules of an initramfs; reading their aliases only costs time.
var quietBuses = map[string]bool{
	"clockevents": true, "clocksource": true, "container": true, "cpu": true, "event_source": true, "gpio": true,
	"machinecheck": true, "memory": true, "node": true, "workqueue": true, "edac": true, "pci_express": true,
}

// coldplug loads drivers for the devices of some buses that the kernel found before PID 1 listened to events.
func (l *loader) coldplug(buses []string, late bool) {
	for _, bus := range buses {
		if quietBuses[bus] {
			continue
		}
		dir := "/sys/bus/" + bus + "/devices"
		for _, dev := range list(dir) {
			if alias := readLine(dir + "/" + dev + "/modalias"); alias != "" {
				l.alias(alias, late)
			}
		}
	}
}

// coldplugAll is coldplug for every bus.
func (l *loader) coldplugAll(late bool) { l.coldplug(list("/sys/bus"), late) }

// Modprobe is photree-init under the name of /sbin/modprobe, which the kernel calls when it needs a module by itself
// while it mounts a file system. args are modprobe's: flags and one name or alias.
func Modprobe(args []string) error {
	name := ""
	for _, a := range args {
		if !strings.HasPrefix(a, "-") {
			name = a
			break
		}
	}
	if name == "" {
		return errors.New("usage: modprobe [-q] NAME")
	}
	idx, err := readIndex(indexFile)
	if err != nil {
		return err
	}
	cmdline, _ := readFile("/proc/cmdline")
	l := newLoader(idx, kargs.Parse(string(cmdline)), &logger{})
	if idx.modules[canonical(name)] != nil {
		return l.load(canonical(name))
	}
	if len(idx.match(name)) == 0 {
		return fmt.Errorf("the initramfs has no kernel module %q", name)
	}
	l.alias(name, true)
	return nil
}
