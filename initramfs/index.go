package initramfs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// addModules copies the modules, their firmware and the index.
//
// The index is what PID 1 reads instead of modules.dep, .alias, .softdep and modprobe.d, in a form that costs it
// nothing to read: first the modules,
//
//	module NAME PATH         the lines up to the next "module" are about this one
//	late                     not needed to find the root file system
//	needs NAME...            load these before it
//	then NAME...             load these after it
//	options WORDS            parameters
//	blacklist                do not load it for an alias of its own
//
// then their aliases, by what stands before the first ":" (the bus) in sections of lines that are searched as text:
//
//	[BUS]
//	NAME PATTERN             a shell pattern
func (img *image) addModules(tree, kver string, s *selection, stats *Stats) error {
	conf, err := readModprobeConf(tree)
	if err != nil {
		return err
	}
	var index bytes.Buffer
	aliases := map[string][]string{}
	firmware := map[string]bool{}
	for _, name := range s.order {
		m := s.modules[name]
		data, err := s.dir.content(m)
		if err != nil {
			return err
		}
		dest := path.Join(moduleRoot, kver, uncompressedPath(m.path))
		img.file(dest, data, 0o644)
		s.writeIndex(&index, m, dest, conf)
		for _, alias := range m.aliases {
			bus, _, _ := strings.Cut(alias, ":")
			if bus == alias {
				bus = ""
			}
			aliases[bus] = append(aliases[bus], m.name+" "+alias)
		}
		for _, fw := range m.firmware {
			firmware[fw] = true
		}
	}
	for _, bus := range sortedKeys(aliases) {
		fmt.Fprintf(&index, "[%s]\n%s\n", bus, strings.Join(aliases[bus], "\n"))
	}
	img.file(indexPath, index.Bytes(), 0o644)
	for _, fw := range sortedKeys(firmware) {
		if err := img.addFirmware(tree, fw, stats); err != nil {
			return err
		}
	}
	return nil
}

func (s *selection) writeIndex(w *bytes.Buffer, m *module, dest string, conf *modprobeConf) {
	fmt.Fprintf(w, "module %s /%s\n", m.name, dest)
	if late(m.path) {
		w.WriteString("late\n")
	}
	var needs []string
	for _, dep := range append(append([]string{}, m.pre...), m.depends...) {
		if s.modules[dep] != nil { // not built in
			needs = append(needs, dep)
		}
	}
	if len(needs) > 0 {
		fmt.Fprintf(w, "needs %s\n", strings.Join(needs, " "))
	}
	if len(m.post) > 0 {
		fmt.Fprintf(w, "then %s\n", strings.Join(m.post, " "))
	}
	if options := conf.options[m.name]; options != "" {
		fmt.Fprintf(w, "options %s\n", options)
	}
	if conf.blacklist[m.name] {
		w.WriteString("blacklist\n")
	}
}

func uncompressedPath(p string) string {
	for _, suffix := range moduleSuffixes[1:] {
		if base, ok := strings.CutSuffix(p, suffix); ok {
			return base + ".ko"
		}
	}
	return p
}

// addFirmware copies one firmware file in the form that the tree has it; the kernel looks for the compressed names
// itself. Most machines have no use for most firmware, so a missing file is no error.
func (img *image) addFirmware(tree, name string, stats *Stats) error {
	// Root, because a link in the tree must not lead to a file of this machine (B3).
	root, err := os.OpenRoot(filepath.Join(tree, "usr/lib"))
	if err != nil {
		return fmt.Errorf("looking for firmware: %w", err)
	}
	defer root.Close()
	for _, suffix := range []string{"", ".zst", ".xz"} {
		data, err := root.ReadFile(path.Join("firmware", name+suffix))
		if err != nil {
			continue
		}
		img.file(path.Join("lib/firmware", name+suffix), data, 0o644)
		stats.Firmware = append(stats.Firmware, name+suffix)
	}
	return nil
}

// modprobeConf is what PID 1 honours of modprobe.d.
type modprobeConf struct {
	options   map[string]string
	blacklist map[string]bool
}

// readModprobeConf reads the modprobe.d directories of a tree. A file in /etc hides one of the same name in /usr.
func readModprobeConf(tree string) (*modprobeConf, error) {
	conf := &modprobeConf{map[string]string{}, map[string]bool{}}
	files := map[string]string{}
	for _, dir := range []string{"usr/lib/modprobe.d", "usr/etc/modprobe.d", "etc/modprobe.d"} {
		entries, err := os.ReadDir(filepath.Join(tree, dir))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("reading modprobe.d: %w", err)
		}
		for _, e := range entries {
			if strings.HasSuffix(e.Name(), ".conf") {
				files[e.Name()] = ""
				// A link (to /dev/null, say) hides the file of that name and says nothing itself; following it could
				// lead to a file of this machine (B3).
				if e.Type().IsRegular() {
					files[e.Name()] = filepath.Join(tree, dir, e.Name())
				}
			}
		}
	}
	for _, name := range sortedKeys(files) {
		if files[name] == "" {
			continue
		}
		data, err := os.ReadFile(files[name])
		if err != nil {
			return nil, fmt.Errorf("reading modprobe.d: %w", err)
		}
		conf.parse(string(data))
	}
	return conf, nil
}

func (c *modprobeConf) parse(text string) {
	for line := range strings.Lines(strings.ReplaceAll(text, "\\\n", " ")) {
		words := strings.Fields(line)
		if len(words) < 2 {
			continue
		}
		name := canonical(words[1])
		switch words[0] {
		case "options":
			c.options[name] = strings.TrimSpace(c.options[name] + " " + strings.Join(words[2:], " "))
		case "blacklist":
			c.blacklist[name] = true
		}
	}
}
