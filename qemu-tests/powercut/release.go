package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// The releases of the test tree. Each has its own branch test/NAME too.
var releases = []release{
	{"a", "1", "alpha"}, {"b", "2", "beta"}, {"same", "3", "beta"}, {"new", "3", "gamma"}, {"next", "4", "delta"},
}

type release struct{ name, version, kernel string }

// write makes the release's tree: 1 MB in about 110 files, a third of which differ from release to release.
func (r release) write(dir string) error {
	text := func(name string, size int, shared bool) []byte {
		seed := name
		if !shared {
			seed += r.name
		}
		var key [32]byte
		copy(key[:], seed)
		out := make([]byte, size)
		_, _ = rand.NewChaCha8(key).Read(out)
		return out
	}
	files := map[string][]byte{
		"usr/lib/modules/6.1.0/vmlinuz":       kernelText(r.kernel, 180<<10),
		"usr/lib/modules/6.1.0/initramfs.img": kernelText("initramfs of "+r.kernel, 120<<10),
		"usr/lib/os-release":                  []byte("NAME=Test\nPRETTY_NAME=\"Test OS\"\n"),
		"usr/etc/hosts":                       []byte("127.0.0.1 localhost\n"),
		"usr/etc/app.conf":                    []byte("version = " + r.version + "\n"),
		"var/lib/app/state":                   []byte("from the tree\n"),
	}
	for i := range 60 {
		name := fmt.Sprintf("usr/lib/part%d/file%d", i%7, i)
		files[name] = text(name, 200+i*i, i%3 > 0)
	}
	for i := range 25 {
		name := fmt.Sprintf("usr/bin/program%d", i)
		files[name] = text(name, 3000+i*500, i%4 > 0)
	}
	for i := range 15 {
		name := fmt.Sprintf("usr/etc/conf.d/%d.conf", i)
		files[name] = text(name, 100+i*40, i%5 > 0)
	}
	for name, data := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		mode := os.FileMode(0o644)
		if strings.HasPrefix(name, "usr/bin/") {
			mode = 0o755
		}
		if err := os.WriteFile(path, data, mode); err != nil {
			return err
		}
	}
	if err := os.Chmod(filepath.Join(dir, "usr/bin/program3"), 0o755|os.ModeSetuid); err != nil {
		return err
	}
	if err := unix.Setxattr(filepath.Join(dir, "usr/bin/program4"), "user.note", []byte(r.version), 0); err != nil {
		return err
	}
	for _, d := range []string{"boot", "dev", "proc", "run", "sys", "sysroot", "tmp"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			return err
		}
	}
	for name, target := range map[string]string{"ostree": "sysroot/ostree", "bin": "usr/bin", "usr/bin/sh": "program1", "usr/etc/mtab": "../proc/mounts"} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

func kernelText(name string, size int) []byte {
	var key [32]byte
	copy(key[:], name)
	out := make([]byte, size)
	_, _ = rand.NewChaCha8(key).Read(out)
	return out
}
