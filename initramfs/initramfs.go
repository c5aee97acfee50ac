// Package initramfs makes the boot image of a tree: photree-init as /init, the kernel modules that finding and mounting
// the root file system can need, and one small index of them that PID 1 reads.
//
// It reads the tree (usr/lib/modules/KVER, usr/lib/firmware, modprobe.d, prepare-root.conf) and writes to the
// caller's writer only. Dependencies and aliases are taken from the modules themselves, so that depmod need not have
// run and need not exist. The image is a function of its inputs (B3): names are sorted, times are zero, no host file,
// clock or environment goes into it.
package initramfs

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strings"
)

// Options say what goes into an image.
type Options struct {
	// Tree is the root directory of the tree: it holds usr/lib/modules/KVER.
	Tree string
	// KVER is the kernel version; "" stands for the only one in the tree.
	KVER string
	// Init is the photree-init program; "" stands for FindInit().
	Init string
	// Modules names the kernel modules to take, with "-" and "_" being the same, each together with what it depends
	// on. nil stands for the generic set: what starts on common virtual machines and PCs. An empty list that is not
	// nil takes none, for kernels that have all they need built in.
	Modules []string
	// Add names modules to take besides Modules or the generic set; those that the kernel has built in or does not
	// have are left out without an error.
	Add []string
	// Extra maps paths in the image to files to copy there; a file keeps its executable bits.
	Extra map[string]string
	// Compression of the image.
	Compression Compression
}

// Stats tell what an image holds.
type Stats struct {
	KVER     string
	Modules  []string // names, sorted
	Missing  []string // of the generic set or Add: neither a module nor built in
	Firmware []string // paths below usr/lib/firmware
	Warnings []string // what the tree asks for and this image does not do
	Files    int
	RawSize  int64 // the cpio archive
	Size     int64 // as written
}

// paths in the image that PID 1 knows too (initramfs/pid1).
const (
	indexPath  = "etc/photree/modules"
	initPath   = "init"
	modprobe   = "sbin/modprobe"
	moduleRoot = "lib/modules"
)

// Build writes the image of a tree to w.
func Build(ctx context.Context, o Options, w io.Writer) (Stats, error) {
	kver, err := kernelVersion(o.Tree, o.KVER)
	if err != nil {
		return Stats{}, err
	}
	stats := Stats{KVER: kver}
	init := o.Init
	if init == "" {
		if init, err = FindInit(); err != nil {
			return stats, err
		}
	}
	mods, err := selectModules(ctx, o, kver, &stats)
	if err != nil {
		return stats, err
	}
	img := newImage()
	if err := img.layout(init); err != nil {
		return stats, err
	}
	if err := img.addModules(o.Tree, kver, mods, &stats); err != nil {
		return stats, err
	}
	if err := img.addConfig(o.Tree, &stats); err != nil {
		return stats, err
	}
	for _, dest := range sortedKeys(o.Extra) {
		if err := img.copyFile(dest, o.Extra[dest]); err != nil {
			return stats, err
		}
	}
	return stats, img.write(ctx, w, o.Compression, &stats)
}

// layout adds /init and the directories and nodes that PID 1 starts with.
func (img *image) layout(init string) error {
	if err := checkStatic(init); err != nil {
		return err
	}
	for _, dir := range []string{"dev", "proc", "sys", "run", "sysroot", "etc", "sbin"} {
		img.dir(dir)
	}
	// The kernel opens /dev/console for PID 1 before anything can be mounted.
	img.node("dev/console", 5, 1, 0o600)
	// The kernel runs /sbin/modprobe when it needs a module by itself (a file system type, a checksum, a character
	// set): photree-init called by that name answers.
	img.symlink(modprobe, "/"+initPath)
	if err := img.copyFile(initPath, init); err != nil {
		return err
	}
	img.entries[initPath].mode = 0o100755
	return nil
}

// addConfig copies the configuration of prepare-root, which is read from the initramfs alone: what decides over the
// root file system must not come from that file system.
func (img *image) addConfig(tree string, stats *Stats) error {
	const name = "ostree/prepare-root.conf"
	for _, at := range []struct{ dest, src string }{
		{"usr/lib/" + name, "usr/lib/" + name},
		{"etc/" + name, "usr/etc/" + name},
		{"etc/" + name, "etc/" + name},
	} {
		src := filepath.Join(tree, at.src)
		if _, err := os.Lstat(src); errors.Is(err, os.ErrNotExist) {
			continue
		}
		data, err := os.ReadFile(src)
		if err != nil {
			return fmt.Errorf("reading the configuration of prepare-root: %w", err)
		}
		warnings, err := checkPrepareRoot(data)
		if err != nil {
			return fmt.Errorf("checking %s: %w", at.src, err)
		}
		stats.Warnings = append(stats.Warnings, warnings...)
		img.file(at.dest, data, 0o644)
	}
	return nil
}

func (img *image) write(ctx context.Context, w io.Writer, c Compression, stats *Stats) error {
	count := &counter{w: w}
	z, err := c.writer(count)
	if err != nil {
		return err
	}
	raw := &counter{w: z}
	buf := bufio.NewWriterSize(raw, 1<<20)
	if err := img.writeCPIO(ctx, buf); err != nil {
		return fmt.Errorf("writing the initramfs: %w", err)
	}
	if err := buf.Flush(); err != nil {
		return fmt.Errorf("writing the initramfs: %w", err)
	}
	if err := z.Close(); err != nil {
		return fmt.Errorf("compressing the initramfs: %w", err)
	}
	stats.Files, stats.RawSize, stats.Size = len(img.entries), raw.n, count.n
	return nil
}

// kernelVersion finds the version to take: the one asked for, or the only one that has a kernel.
func kernelVersion(tree, want string) (string, error) {
	dir := filepath.Join(tree, "usr/lib/modules")
	if want != "" {
		if info, err := os.Stat(filepath.Join(dir, want)); err != nil || !info.IsDir() {
			return "", fmt.Errorf("the tree has no kernel %q: there is no directory %s", want, filepath.Join(dir, want))
		}
		return want, nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", fmt.Errorf("looking for a kernel: %w", err)
	}
	var all, kernels []string
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		all = append(all, e.Name())
		if _, err := os.Stat(filepath.Join(dir, e.Name(), "vmlinuz")); err == nil {
			kernels = append(kernels, e.Name())
		}
	}
	if len(kernels) == 0 {
		kernels = all
	}
	switch len(kernels) {
	case 1:
		return kernels[0], nil
	case 0:
		return "", fmt.Errorf("the tree has no kernel: %s is empty", dir)
	}
	return "", fmt.Errorf("the tree has %d kernels (%s): name one", len(kernels), strings.Join(kernels, ", "))
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
