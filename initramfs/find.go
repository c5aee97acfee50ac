package initramfs

import (
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"
)

// FindInit returns the path of the photree-init program: in the directory that the environment variable
// PHOTREE_LIBDIR names, beside the running program, in ../lib/photree from there, or in /usr/lib/photree.
func FindInit() (string, error) { return find("photree-init", "photree") }

// FindPrepareRoot returns the path of the ostree-prepare-root program, looked for in the same way (lib/ostree).
func FindPrepareRoot() (string, error) { return find("ostree-prepare-root", "ostree") }

func find(name, libdir string) (string, error) {
	var dirs []string
	if dir := os.Getenv("PHOTREE_LIBDIR"); dir != "" {
		dirs = append(dirs, dir)
	}
	if exe, err := os.Executable(); err == nil {
		if real, err := filepath.EvalSymlinks(exe); err == nil {
			exe = real
		}
		bin := filepath.Dir(exe)
		dirs = append(dirs, bin, filepath.Join(filepath.Dir(bin), "lib", libdir))
	}
	dirs = append(dirs, filepath.Join("/usr/lib", libdir))
	for _, dir := range dirs {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", fmt.Errorf("no program %s in %q: build it with `make build`, or set PHOTREE_LIBDIR to its directory", name, dirs)
}

// checkStatic refuses a program that would need a dynamic loader, which the image does not have: the kernel's message
// for that is "No working init found".
func checkStatic(path string) error {
	f, err := elf.Open(path)
	if err != nil {
		return fmt.Errorf("reading the init program %s: %w", path, err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return fmt.Errorf("the init program %s is not static: build it with CGO_ENABLED=0", path)
		}
	}
	return nil
}
