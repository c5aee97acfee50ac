package grub

import (
	"fmt"
	"os"
	"path/filepath"

	"photree/internal/durable"
)

// InstallOptions say what InstallFiles writes.
type InstallOptions struct {
	// BootDir is where the file system of /boot is mounted.
	BootDir string
	// ModuleDir holds i386-pc and x86_64-efi on the host; empty means /usr/lib/grub.
	ModuleDir string
	// BootUUID is the UUID of the file system that holds /boot.
	BootUUID string
	// Platforms are those to install; empty means both.
	Platforms []Platform
}

// InstallFiles writes GRUB's directory below BootDir: the modules that the images
// load, and the stub as the last file, since it makes the rest reachable.
func InstallFiles(o InstallOptions) error {
	if o.ModuleDir == "" {
		o.ModuleDir = "/usr/lib/grub"
	}
	if len(o.Platforms) == 0 {
		o.Platforms = []Platform{BIOS, UEFI}
	}
	for _, p := range o.Platforms {
		if err := installModules(filepath.Join(o.ModuleDir, string(p)), filepath.Join(o.BootDir, "grub", string(p))); err != nil {
			return fmt.Errorf("installing GRUB modules for %s: %w", p, err)
		}
	}
	stub := filepath.Join(o.BootDir, StubName)
	if err := durable.WriteFile(stub, Stub(o.BootUUID), 0o644); err != nil {
		return fmt.Errorf("installing the GRUB stub %q: %w", stub, err)
	}
	return nil
}

func installModules(from, to string) error {
	files, err := ModuleFiles(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	for _, name := range files {
		data, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			return err
		}
		if err := durable.WriteFile(filepath.Join(to, name), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}
