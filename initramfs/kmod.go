package initramfs

import (
	"bytes"
	"compress/gzip"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// module is what a kernel module says about itself in its .modinfo section.
type module struct {
	name     string // with "_" for "-"
	path     string // below usr/lib/modules/KVER, as in the tree
	depends  []string
	aliases  []string
	pre      []string // soft dependencies: load these before, if they exist
	post     []string // and these after
	firmware []string
}

// moduleDir finds and reads the modules of one kernel.
type moduleDir struct {
	dir     string
	paths   map[string]string // name -> path
	builtin map[string]bool
	read    map[string]*module
}

var moduleSuffixes = []string{".ko", ".ko.xz", ".ko.zst", ".ko.gz"}

// moduleName turns a file's base name or a name as people write it into the kernel's spelling; ok is false for files
// that are no modules.
func moduleName(base string) (name string, ok bool) {
	for _, suffix := range moduleSuffixes {
		if name, found := strings.CutSuffix(base, suffix); found {
			return canonical(name), true
		}
	}
	return "", false
}

func canonical(name string) string { return strings.ReplaceAll(name, "-", "_") }

// openModules lists the modules of a kernel without reading them.
func openModules(tree, kver string) (*moduleDir, error) {
	d := &moduleDir{
		dir:     filepath.Join(tree, "usr/lib/modules", kver),
		paths:   map[string]string{},
		builtin: map[string]bool{},
		read:    map[string]*module{},
	}
	err := filepath.WalkDir(d.dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		// "build" and "source" are links to headers; WalkDir does not follow them.
		if !e.Type().IsRegular() {
			return nil
		}
		name, ok := moduleName(e.Name())
		if !ok {
			return nil
		}
		rel, err := filepath.Rel(d.dir, path)
		if err != nil {
			return err
		}
		// A module that an administrator or a driver package adds takes the place of the kernel's own, as with depmod.
		if old, twice := d.paths[name]; twice && rank(old) <= rank(rel) {
			return nil
		}
		d.paths[name] = rel
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing kernel modules: %w", err)
	}
	data, err := os.ReadFile(filepath.Join(d.dir, "modules.builtin"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading the list of built-in modules: %w", err)
	}
	for line := range strings.Lines(string(data)) {
		if name, ok := moduleName(filepath.Base(strings.TrimSpace(line))); ok {
			d.builtin[name] = true
		}
	}
	return d, nil
}

// rank orders directories as depmod's default search order does.
func rank(path string) int {
	switch {
	case strings.HasPrefix(path, "updates/"):
		return 0
	case strings.HasPrefix(path, "extra/"):
		return 1
	case strings.HasPrefix(path, "kernel/"):
		return 3
	}
	return 2
}

// get reads a module; nil without an error says that there is no such module.
func (d *moduleDir) get(name string) (*module, error) {
	name = canonical(name)
	if m, ok := d.read[name]; ok {
		return m, nil
	}
	path, ok := d.paths[name]
	if !ok {
		return nil, nil
	}
	m, err := readModule(filepath.Join(d.dir, path))
	if err != nil {
		return nil, err
	}
	m.name, m.path = name, path
	d.read[name] = m
	return m, nil
}

// readModule parses the .modinfo section of one module file.
func readModule(path string) (*module, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("opening a kernel module: %w", err)
	}
	defer f.Close()
	var r io.ReaderAt = f
	if !strings.HasSuffix(path, ".ko") {
		data, err := decompress(path, f)
		if err != nil {
			return nil, err
		}
		r = bytes.NewReader(data)
	}
	e, err := elf.NewFile(r)
	if err != nil {
		return nil, fmt.Errorf("reading kernel module %s: %w", path, err)
	}
	section := e.Section(".modinfo")
	if section == nil {
		return nil, fmt.Errorf("reading kernel module %s: it has no .modinfo section", path)
	}
	data, err := section.Data()
	if err != nil {
		return nil, fmt.Errorf("reading kernel module %s: %w", path, err)
	}
	return parseModinfo(data), nil
}

// parseModinfo reads key=value strings that end in NUL bytes.
func parseModinfo(data []byte) *module {
	m := &module{}
	for _, field := range bytes.Split(data, []byte{0}) {
		key, value, ok := strings.Cut(string(field), "=")
		if !ok || value == "" {
			continue
		}
		switch key {
		case "depends":
			for _, dep := range strings.Split(value, ",") {
				m.depends = append(m.depends, canonical(dep))
			}
		case "alias":
			m.aliases = append(m.aliases, value)
		case "softdep":
			m.addSoftdep(value)
		case "firmware":
			m.firmware = append(m.firmware, value)
		}
	}
	return m
}

// addSoftdep reads "pre: a b post: c".
func (m *module) addSoftdep(s string) {
	list := &m.pre
	for _, word := range strings.Fields(s) {
		switch word {
		case "pre:":
			list = &m.pre
		case "post:":
			list = &m.post
		default:
			*list = append(*list, word)
		}
	}
}

// content returns the bytes of a module, not compressed: the image is compressed as a whole, which is smaller, and a
// kernel without MODULE_DECOMPRESS can load them.
func (d *moduleDir) content(m *module) ([]byte, error) {
	path := filepath.Join(d.dir, m.path)
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("opening a kernel module: %w", err)
	}
	defer f.Close()
	if strings.HasSuffix(path, ".ko") {
		return io.ReadAll(f)
	}
	return decompress(path, f)
}

// maxModule is far above any module there is, and keeps a damaged one from filling the memory.
const maxModule = 512 << 20

func decompress(path string, f io.Reader) ([]byte, error) {
	var r io.Reader
	var err error
	switch filepath.Ext(path) {
	case ".xz":
		r, err = xz.NewReader(f)
	case ".gz":
		r, err = gzip.NewReader(f)
	case ".zst":
		var z *zstd.Decoder
		if z, err = zstd.NewReader(f, zstd.WithDecoderConcurrency(1)); err == nil {
			defer z.Close()
			r = z
		}
	default:
		err = errors.New("unknown suffix")
	}
	if err != nil {
		return nil, fmt.Errorf("decompressing %s: %w", path, err)
	}
	data, err := io.ReadAll(io.LimitReader(r, maxModule))
	if err != nil {
		return nil, fmt.Errorf("decompressing %s: %w", path, err)
	}
	return data, nil
}
