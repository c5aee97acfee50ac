package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"time"
)

// images builds both kinds of initramfs from the composed tree and reports size and time.
func (b *bench) images(ctx context.Context) error {
	fmt.Fprintf(&b.report, "\n| initramfs | compressed size | time to build |\n|---|---|---|\n")
	for _, kind := range []struct {
		name string
		args []string
	}{
		{"generic set of modules", nil},
		{"named modules: virtio_pci, virtio_blk", []string{"--modules=virtio_pci,virtio_blk"}},
	} {
		image := b.path("initramfs.img")
		start := time.Now()
		if err := command(ctx, append([]string{b.photree, "initramfs", "--tree", b.path("tree-v2"), "-o", image}, kind.args...)...); err != nil {
			return err
		}
		took := time.Since(start)
		info, err := os.Stat(image)
		if err != nil {
			return err
		}
		fmt.Fprintf(&b.report, "| %s | %.2f MB | %s |\n", kind.name, float64(info.Size())/1e6, seconds(took))
	}
	return nil
}

// cpuModel names the processor, so that figures of two machines are not compared by mistake.
func cpuModel() string {
	data, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	if m := regexp.MustCompile(`(?m)^model name\s*: (.*)$`).FindSubmatch(data); m != nil {
		return string(m[1])
	}
	return runtime.GOARCH
}

const (
	measuredStart = "<!-- measured by make bench -->"
	measuredEnd   = "<!-- end of what make bench measured -->"
)

// replaceMeasured puts the report between the markers of the page.
func replaceMeasured(page, report string) error {
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	head, rest, ok := strings.Cut(string(text), measuredStart)
	_, tail, ok2 := strings.Cut(rest, measuredEnd)
	if !ok || !ok2 {
		return fmt.Errorf("%s has no place for the measurements: it needs the lines %q and %q", page, measuredStart, measuredEnd)
	}
	intro := fmt.Sprintf("\nMeasured on %s, %d cores (%s).\n\n", time.Now().UTC().Format("2006-01-02"), runtime.NumCPU(), cpuModel())
	text = []byte(head + measuredStart + intro + report + measuredEnd + tail)
	return os.WriteFile(filepath.Clean(page), text, 0o644)
}
