package deploy

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"photree/grub/bls"
	"photree/internal/durable"
)

// makeEntries makes the boot entries for the list and w's versions.
func (w *writer) makeEntries() []bls.Entry {
	prefix := ""
	if on, err := w.repo.Config().Bool("sysroot", "bootprefix", false); err == nil && on {
		prefix = "/boot"
	}
	stateroots := map[string]bool{}
	for _, d := range w.list {
		stateroots[d.Stateroot] = true
	}
	entries := make([]bls.Entry, len(w.list))
	for i, d := range w.list {
		dir := prefix + "/ostree/" + d.bootDir() + "/"
		k := w.kernels[i]
		e := bls.DeploymentEntry{Index: i, Count: len(w.list), Extra: d.extra, Title: w.title(d, len(stateroots) > 1),
			Stateroot: d.Stateroot, StaterootInName: w.opts.StaterootInNames}
		args := d.Kargs.Append(fmt.Sprintf("ostree=/ostree/boot.%d/%s/%s/%d", w.boot_, d.Stateroot, d.BootChecksum, d.BootSerial))
		for _, f := range k.files {
			switch f.role {
			case "linux":
				e.Linux = dir + f.name
			case "initrd":
				e.Initrds = append(e.Initrds, dir+f.name)
			case "devicetree":
				e.Devicetree = dir + f.name
			}
		}
		if _, ok := k.file("initrd"); !ok {
			// Without an initramfs the kernel starts the program that does its work.
			args = args.Append("init=/usr/lib/ostree/ostree-prepare-root")
		}
		e.Options = args.String()
		e.Initrds = append(e.Initrds, d.overlays...)
		entries[i] = bls.ForDeployment(e)
	}
	return entries
}

func (w *writer) title(d *Deployment, several bool) string {
	t := prettyName(w.Path(d))
	if d.Version != "" && !strings.Contains(t, d.Version) {
		t += " " + d.Version
	}
	if several {
		return fmt.Sprintf("%s (ostree:%s:%d)", t, d.Stateroot, d.Index)
	}
	return fmt.Sprintf("%s (ostree:%d)", t, d.Index)
}

func (w *writer) loaderName() string { return "loader." + strconv.Itoa(w.boot_) }

// writeEntries makes the loader directory to come, the boot loader's own files
// included (D6).
func (w *writer) writeEntries(context.Context) error {
	dir := w.boot(w.loaderName())
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := durable.Mkdir(filepath.Join(dir, "entries"), 0o755); err != nil {
		return err
	}
	for _, e := range w.entries {
		if err := durable.ReplaceFile(filepath.Join(dir, "entries", e.Name), e.Format(), 0o644); err != nil {
			return err
		}
	}
	if err := w.keepForeign(filepath.Join(dir, "entries")); err != nil {
		return err
	}
	if w.opts.Bootloader != nil {
		if err := w.opts.Bootloader.Write(dir, w.entries); err != nil {
			return err
		}
	}
	return errors.Join(durable.SyncDir(filepath.Join(dir, "entries")), durable.SyncDir(dir))
}

// keepForeign takes entries over that belong to no deployment.
func (w *writer) keepForeign(dir string) error {
	files, err := os.ReadDir(w.boot("loader", "entries"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, f := range files {
		if bls.IsEntryName(f.Name()) || !f.Type().IsRegular() {
			continue
		}
		data, err := os.ReadFile(w.boot("loader", "entries", f.Name()))
		if err != nil {
			return err
		}
		if err := durable.ReplaceFile(filepath.Join(dir, f.Name()), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}
