package initramfs_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"photree/initramfs"
)

// content lists an image with the cpio program, as another implementation reads it: name -> its line of `cpio -tv`.
func content(t *testing.T, archive []byte) map[string]string {
	t.Helper()
	cmd := exec.Command("cpio", "-itv", "--quiet", "--numeric-uid-gid")
	cmd.Stdin = bytes.NewReader(archive)
	cmd.Env = append(os.Environ(), "TZ=UTC", "LC_ALL=C")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("cpio: %v", err)
	}
	files := map[string]string{}
	for line := range strings.Lines(string(out)) {
		line, _, _ = strings.Cut(strings.TrimSpace(line), " -> ")
		files[line[strings.LastIndex(line, " ")+1:]] = line
	}
	return files
}

// extract returns one file of an archive that is not compressed.
func extract(t *testing.T, archive []byte, name string) string {
	t.Helper()
	cmd := exec.Command("cpio", "-i", "--quiet", "--to-stdout", name)
	cmd.Stdin = bytes.NewReader(archive)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("cpio: %v", err)
	}
	return string(out)
}

func buildBytes(t *testing.T, o initramfs.Options) ([]byte, initramfs.Stats) {
	t.Helper()
	var buf bytes.Buffer
	stats, err := initramfs.Build(t.Context(), o, &buf)
	if err != nil {
		t.Fatal(err)
	}
	if stats.Size != int64(buf.Len()) {
		t.Errorf("Stats say %d bytes, %d were written", stats.Size, buf.Len())
	}
	return buf.Bytes(), stats
}

// TestSameInputsSameBytes attacks B3: another directory, other times and owners and another order make no difference.
func TestSameInputsSameBytes(t *testing.T) {
	tree, kver := kernelTree(t)
	init := build(t, "photree/cmd/photree-init")
	copied := t.TempDir()
	run(t, "cp", "-r", filepath.Join(tree, "usr"), copied)
	run(t, "find", copied, "-exec", "touch", "-d", "2001-01-01", "{}", "+")
	for _, c := range []initramfs.Compression{initramfs.Zstd, initramfs.None} {
		one, _ := buildBytes(t, initramfs.Options{Tree: tree, KVER: kver, Init: init, Compression: c})
		two, _ := buildBytes(t, initramfs.Options{Tree: copied, Init: init, Compression: c})
		if !bytes.Equal(one, two) {
			t.Errorf("%s: the images differ", c)
		}
	}
}

func TestImageOfNamedModules(t *testing.T) {
	tree, kver := kernelTree(t)
	extra := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(extra, []byte("#!/bin/sh\n"), 0o750); err != nil {
		t.Fatal(err)
	}
	image, stats := buildBytes(t, initramfs.Options{Tree: tree, Init: build(t, "photree/cmd/photree-init"),
		Modules: []string{"virtio-blk", "ext4"}, Add: []string{"sr_mod", "no-such"}, Compression: initramfs.None,
		Extra: map[string]string{"/usr/bin/program": extra}})
	if want := "cdrom scsi_common scsi_mod sr_mod virtio virtio_blk virtio_ring"; strings.Join(stats.Modules, " ") != want {
		t.Errorf("the modules are %v, want %s", stats.Modules, want)
	}
	if strings.Join(stats.Missing, " ") != "no-such" || stats.KVER != kver {
		t.Errorf("%+v", stats)
	}
	files := content(t, image)
	for name, start := range map[string]string{
		"init": "-rwxr-xr-x", "dev/console": "crw-------", "proc": "drwxr-xr-x", "sysroot": "drwxr-xr-x",
		"sbin/modprobe": "lrwxrwxrwx", "usr/bin/program": "-rwxr-xr-x", "etc/photree/modules": "-rw-r--r--",
		"lib/modules/" + kver + "/kernel/drivers/block/virtio_blk.ko": "-rw-r--r--",
	} {
		if !strings.HasPrefix(files[name], start) || !strings.Contains(files[name], "Jan  1  1970") {
			t.Errorf("%s is %q", name, files[name])
		}
	}
	index := extract(t, image, "etc/photree/modules")
	for _, want := range []string{
		"module virtio_blk /lib/modules/" + kver + "/kernel/drivers/block/virtio_blk.ko\nneeds virtio virtio_ring\n",
		"\n[virtio]\nvirtio_blk virtio:d00000002v*\n",
	} {
		if !strings.Contains(index, want) {
			t.Errorf("the index does not hold %q:\n%s", want, index)
		}
	}
}

// TestModulesAsDepmodSeesThem compares dependencies and aliases with those that the real depmod writes.
func TestModulesAsDepmodSeesThem(t *testing.T) {
	tree, kver := kernelTree(t)
	work := t.TempDir()
	run(t, "cp", "-r", filepath.Join(tree, "usr"), work)
	run(t, "ln", "-s", "usr/lib", filepath.Join(work, "lib"))
	run(t, "depmod", "-b", work, kver)
	deps, err := os.ReadFile(filepath.Join(work, "usr/lib/modules", kver, "modules.dep"))
	if err != nil {
		t.Fatal(err)
	}
	name := func(path string) string {
		return strings.ReplaceAll(strings.TrimSuffix(filepath.Base(path), ".ko"), "-", "_")
	}
	checked := 0
	init := build(t, "photree/cmd/photree-init")
	for line := range strings.Lines(string(deps)) {
		mod, needs, _ := strings.Cut(line, ":")
		if checked%7 == 0 { // one image for every seventh module is enough
			_, stats := buildBytes(t, initramfs.Options{Tree: tree, Init: init, Modules: []string{name(mod)}, Compression: initramfs.None})
			have := " " + strings.Join(stats.Modules, " ") + " "
			for _, need := range strings.Fields(needs) {
				if !strings.Contains(have, " "+name(need)+" ") {
					t.Errorf("%s needs %s by depmod, which the image does not have", name(mod), name(need))
				}
			}
		}
		checked++
	}
	if checked < 1000 {
		t.Errorf("depmod listed only %d modules", checked)
	}
}

func TestCompressedModules(t *testing.T) {
	tree, kver := kernelTree(t)
	init := build(t, "photree/cmd/photree-init")
	options := initramfs.Options{Init: init, Modules: []string{"virtio_blk", "virtio_pci"}, Tree: tree}
	plain, _ := buildBytes(t, options)
	for suffix, program := range map[string][]string{
		"xz": {"xz", "--check=crc32", "--lzma2=dict=1MiB"}, "zst": {"zstd", "-q", "--rm"}, "gz": {"gzip", "-n"},
	} {
		work := t.TempDir()
		run(t, "cp", "-r", filepath.Join(tree, "usr"), work)
		args := append([]string{filepath.Join(work, "usr/lib/modules", kver, "kernel/drivers"), "-name", "virtio*.ko", "-exec"}, program...)
		run(t, "find", append(args, "{}", "+")...)
		options.Tree = work
		if got, _ := buildBytes(t, options); !bytes.Equal(got, plain) {
			t.Errorf("modules in .%s make another image", suffix)
		}
	}
}

func TestConfigurationOfTheTree(t *testing.T) {
	tree := smallTree(t)
	for name, text := range map[string]string{
		"usr/lib/ostree/prepare-root.conf": "[sysroot]\nreadonly=true\n", "usr/etc/ostree/prepare-root.conf": "[new]\nkey=1\n",
		"usr/lib/modprobe.d/a.conf": "options virtio-blk num=4\nblacklist virtio_ring\n",
		"usr/lib/modprobe.d/b.conf": "options virtio_blk hidden=1\n",
	} {
		write(t, filepath.Join(tree, name), text)
	}
	// /etc hides what /usr has, here by a link that must not be followed out of the tree.
	if err := os.MkdirAll(filepath.Join(tree, "usr/etc/modprobe.d"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/null", filepath.Join(tree, "usr/etc/modprobe.d/b.conf")); err != nil {
		t.Fatal(err)
	}
	options := initramfs.Options{Tree: tree, Init: build(t, "photree/cmd/photree-init"), Modules: []string{"virtio_blk"}, Compression: initramfs.None}
	image, stats := buildBytes(t, options)
	if got := extract(t, image, "usr/lib/ostree/prepare-root.conf"); got != "[sysroot]\nreadonly=true\n" {
		t.Errorf("prepare-root.conf is %q", got)
	}
	if got := extract(t, image, "etc/ostree/prepare-root.conf"); got != "[new]\nkey=1\n" || len(stats.Warnings) != 1 {
		t.Errorf("prepare-root.conf of /etc is %q, warnings %q", got, stats.Warnings)
	}
	index := extract(t, image, "etc/photree/modules")
	if !strings.Contains(index, "options num=4\n") || !strings.Contains(index, "blacklist\n") {
		t.Errorf("the index is %q", index)
	}
	write(t, filepath.Join(tree, "usr/lib/ostree/prepare-root.conf"), "[composefs]\nenabled=signed\n")
	_, err := initramfs.Build(t.Context(), options, &bytes.Buffer{})
	if err == nil || !strings.Contains(err.Error(), "[composefs] enabled=signed, which photree cannot do") {
		t.Errorf("the error is %v", err)
	}
}

func TestBuildRefuses(t *testing.T) {
	tree := smallTree(t)
	init := build(t, "photree/cmd/photree-init")
	two := smallTree(t)
	write(t, filepath.Join(two, "usr/lib/modules/1.0/vmlinuz"), "x")
	broken := smallTree(t)
	write(t, filepath.Join(broken, "usr/lib/modules/2.0/kernel/bad.ko"), "no ELF file")
	incomplete := smallTree(t)
	run(t, "sh", "-c", `rm "$0"/usr/lib/modules/*/kernel/drivers/virtio/virtio_ring.ko`, incomplete)
	for name, test := range map[string]struct {
		options initramfs.Options
		says    string
	}{
		"a module that does not exist": {initramfs.Options{Tree: tree, Init: init, Modules: []string{"frobnicate"}}, `has no module "frobnicate"`},
		"a kernel that does not exist": {initramfs.Options{Tree: tree, Init: init, KVER: "9.9"}, `the tree has no kernel "9.9"`},
		"two kernels":                  {initramfs.Options{Tree: two, Init: init}, "the tree has 2 kernels (1.0, "},
		"no kernel":                    {initramfs.Options{Tree: t.TempDir(), Init: init}, "looking for a kernel"},
		"no init":                      {initramfs.Options{Tree: tree, Init: "/nowhere"}, "/nowhere"},
		"a dynamic init":               {initramfs.Options{Tree: tree, Init: "/bin/sh"}, "is not static"},
		"a broken module":              {initramfs.Options{Tree: broken, KVER: "2.0", Init: init, Modules: []string{"bad"}}, "bad.ko"},
		"a missing dependency":         {initramfs.Options{Tree: incomplete, Init: init, Modules: []string{"virtio_blk"}}, `"virtio" needs "virtio_ring"`},
		"a missing extra file":         {initramfs.Options{Tree: tree, Init: init, Modules: []string{}, Extra: map[string]string{"x": "/nowhere"}}, "adding /x"},
	} {
		_, err := initramfs.Build(t.Context(), test.options, &bytes.Buffer{})
		if err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: the error is %v, want %q in it", name, err, test.says)
		}
	}
}

func TestFindInit(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PHOTREE_LIBDIR", dir)
	path := filepath.Join(dir, "photree-init")
	write(t, path, "x")
	if err := os.Chmod(path, 0o755); err != nil {
		t.Fatal(err)
	}
	if got, err := initramfs.FindInit(); err != nil || got != path {
		t.Errorf("%q, %v", got, err)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// smallTree is a tree with the virtio modules of the real kernel.
func smallTree(t *testing.T) string {
	t.Helper()
	tree, kver := kernelTree(t)
	small := t.TempDir()
	dir := filepath.Join("usr/lib/modules", kver)
	run(t, "mkdir", "-p", filepath.Join(small, dir, "kernel/drivers/block"))
	run(t, "cp", "-r", filepath.Join(tree, dir, "kernel/drivers/virtio"), filepath.Join(small, dir, "kernel/drivers"))
	run(t, "cp", filepath.Join(tree, dir, "kernel/drivers/block/virtio_blk.ko"), filepath.Join(small, dir, "kernel/drivers/block"))
	run(t, "cp", filepath.Join(tree, dir, "vmlinuz"), filepath.Join(tree, dir, "modules.builtin"), filepath.Join(small, dir))
	return small
}
