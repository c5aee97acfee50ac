package initramfs

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path"
	"strings"
)

// image is the content of an initramfs, by path without a leading slash.
type image struct {
	entries map[string]*entry
}

type entry struct {
	mode         uint32 // with the file type
	data         []byte // content, or the target of a symbolic link
	major, minor uint32 // of a device node
}

const (
	typeDir     = 0o040000
	typeRegular = 0o100000
	typeSymlink = 0o120000
	typeChar    = 0o020000
)

func newImage() *image { return &image{entries: map[string]*entry{}} }

func clean(name string) string { return strings.TrimPrefix(path.Clean("/"+name), "/") }

func (img *image) put(name string, e *entry) {
	name = clean(name)
	if dir := path.Dir(name); dir != "." {
		img.dir(dir)
	}
	img.entries[name] = e
}

func (img *image) dir(name string) {
	for name = clean(name); name != "" && name != "."; name = path.Dir(name) {
		if _, ok := img.entries[name]; !ok {
			img.entries[name] = &entry{mode: typeDir | 0o755}
		}
	}
}

func (img *image) file(name string, data []byte, perm uint32) {
	img.put(name, &entry{mode: typeRegular | perm, data: data})
}

func (img *image) symlink(name, target string) {
	img.put(name, &entry{mode: typeSymlink | 0o777, data: []byte(target)})
}

func (img *image) node(name string, major, minor, perm uint32) {
	img.put(name, &entry{mode: typeChar | perm, major: major, minor: minor})
}

// copyFile adds a file of this machine; only its content and whether it is executable count.
func (img *image) copyFile(name, src string) error {
	info, err := os.Stat(src)
	if err != nil {
		return fmt.Errorf("adding /%s: %w", clean(name), err)
	}
	data, err := os.ReadFile(src)
	if err != nil {
		return fmt.Errorf("adding /%s: %w", clean(name), err)
	}
	perm := uint32(0o644)
	if info.Mode()&0o111 != 0 {
		perm = 0o755
	}
	img.file(name, data, perm)
	return nil
}

// writeCPIO writes the "newc" format that the kernel unpacks: a header of hexadecimal fields, the name and the data,
// both padded to four bytes. Sorted, so that a directory comes before what it holds; without times, owners or links.
func (img *image) writeCPIO(ctx context.Context, w *bufio.Writer) error {
	offset := 0
	record := func(ino int, name string, e *entry) error {
		if len(e.data) > 1<<31 {
			return fmt.Errorf("%q is too large for an initramfs: %d bytes", name, len(e.data))
		}
		links := 1
		if e.mode&0o170000 == typeDir {
			links = 2
		}
		n, err := fmt.Fprintf(w, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
			ino, e.mode, 0, 0, links, 0, len(e.data), 0, 0, e.major, e.minor, len(name)+1, 0, name)
		if err != nil {
			return err
		}
		offset += n
		if err := padTo4(w, &offset); err != nil {
			return err
		}
		n, err = w.Write(e.data)
		if err != nil {
			return err
		}
		offset += n
		return padTo4(w, &offset)
	}
	for i, name := range sortedKeys(img.entries) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := record(i+1, name, img.entries[name]); err != nil {
			return err
		}
	}
	if err := record(0, "TRAILER!!!", &entry{}); err != nil {
		return err
	}
	// Whole 512-byte blocks, as cpio programs write and as an image that is appended to another one needs.
	for offset%512 != 0 {
		if err := w.WriteByte(0); err != nil {
			return err
		}
		offset++
	}
	return nil
}

func padTo4(w *bufio.Writer, offset *int) error {
	for *offset%4 != 0 {
		if err := w.WriteByte(0); err != nil {
			return err
		}
		*offset++
	}
	return nil
}
