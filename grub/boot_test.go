package grub

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"photree/grub/bls"
)

// probeCode is a 32-bit program that GRUB starts as a kernel. It prints the
// command line, a line feed and the initrd on the first serial port and ends the
// machine:
//
//	start: mov $0x90000, %esp
//	       mov 0x228(%esi), %ebx     # boot_params.hdr.cmd_line_ptr
//	1:     mov (%ebx), %al; test %al, %al; jz 2f; call putc; inc %ebx; jmp 1b
//	2:     mov $'\n', %al; call putc
//	       mov 0x218(%esi), %ebx     # ramdisk_image
//	       mov 0x21c(%esi), %ecx     # ramdisk_size
//	3:     jecxz 4f; mov (%ebx), %al; call putc; inc %ebx; dec %ecx; jmp 3b
//	4:     mov $0xf4, %dx; mov $0x10, %al; out %al, %dx   # isa-debug-exit
//	5:     hlt; jmp 5b
//	putc:  push %eax; mov $0x3fd, %dx
//	6:     in %dx, %al; test $0x20, %al; jz 6b
//	       pop %eax; mov $0x3f8, %dx; out %al, %dx; ret
const probeCode = "bc000009008b9e280200008a0384c07408e82d00000043ebf2b00ae8230000008b9e180200008b8e1c020000e30b8a03e80e00000043" +
	"49ebf366baf400b010eef4ebfd5066bafd03eca82074fb5866baf803eec3"

// probeKernel wraps probeCode in the headers of a bzImage.
func probeKernel(t *testing.T) []byte {
	t.Helper()
	code, err := hex.DecodeString(probeCode)
	if err != nil {
		t.Fatal(err)
	}
	k := make([]byte, 1024+4096)
	le := binary.LittleEndian
	k[0x1f1] = 1                        // setup sectors
	le.PutUint32(k[0x1f4:], 4096/16)    // size of the rest
	le.PutUint16(k[0x1fe:], 0xaa55)     //
	k[0x200], k[0x201] = 0xeb, 0x66     // the header ends at 0x202 + 0x66
	copy(k[0x202:], "HdrS")             //
	le.PutUint16(k[0x206:], 0x020c)     // protocol 2.12
	k[0x211] = 1                        // loaded high
	le.PutUint32(k[0x214:], 0x100000)   // code32_start
	le.PutUint32(k[0x22c:], 0x7fffffff) // highest address for the initrd
	le.PutUint32(k[0x230:], 0x200000)   // alignment
	k[0x234], k[0x235] = 1, 21          // relocatable
	le.PutUint32(k[0x238:], 2047)       // longest command line
	le.PutUint64(k[0x258:], 0x1000000)  // preferred address
	le.PutUint32(k[0x260:], 0x100000)   // memory needed
	copy(k[1024:], code)
	return k
}

const (
	testUUID  = "6d1f8a52-0d3c-4d1c-9c0b-54a6c7a1d0b1"
	biosStart = 2048
	biosSize  = 2048
	bootStart = 4096
)

func hostRun(ctx context.Context, argv []string) error {
	out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		return &exec.Error{Name: argv[0] + ": " + string(out), Err: err}
	}
	return nil
}

// bootDisk makes a disk with GRUB for BIOS and an ext4 file system filled from
// dir, and returns what the machine says on its serial port.
func bootDisk(t *testing.T, dir, prefix string) string {
	t.Helper()
	for _, tool := range []string{"grub-mkimage", "mke2fs", "qemu-system-x86_64"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("%s is needed for this test: apt-get install grub-common grub-pc-bin e2fsprogs qemu-system-x86", tool)
		}
	}
	// QEMU takes a comma in a file name for the end of it, so not t.TempDir.
	tmp, err := os.MkdirTemp("", "grub-boot-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(tmp) })
	disk := filepath.Join(tmp, "disk.img")
	f, err := os.Create(disk)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(40 << 20); err != nil {
		t.Fatal(err)
	}
	mbr := make([]byte, 512)
	mbr[446+4] = 0x83
	binary.LittleEndian.PutUint32(mbr[446+8:], bootStart)
	binary.LittleEndian.PutUint32(mbr[446+12:], (40<<20)/512-bootStart)
	mbr[510], mbr[511] = 0x55, 0xaa
	if _, err := f.WriteAt(mbr, 0); err != nil {
		t.Fatal(err)
	}
	img, err := BuildImages(t.Context(), ImageOptions{Run: hostRun, WorkDir: t.TempDir(), BootUUID: testUUID, Prefix: prefix, Platforms: []Platform{BIOS}})
	if err != nil {
		t.Fatal(err)
	}
	if err := EmbedBIOS(f, img.Boot, img.Core, biosStart, biosSize); err != nil {
		t.Fatal(err)
	}
	if err := hostRun(t.Context(), []string{"mke2fs", "-q", "-F", "-t", "ext4", "-U", testUUID, "-d", dir, "-E", "offset=2097152", disk, "36M"}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", "-accel", "tcg", "-m", "64", "-nodefaults", "-no-user-config", "-display", "none",
		"-serial", "stdio", "-no-reboot", "-device", "isa-debug-exit,iobase=0xf4,iosize=4",
		"-drive", "file="+disk+",if=none,id=d,format=raw,cache=unsafe", "-device", "virtio-blk-pci,drive=d,bootindex=0")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != 33 {
		t.Fatalf("the machine did not come to the kernel: %v\n%s", err, out.String())
	}
	return out.String()
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

// testEntries have a title that needs quotes if it is given one: GRUB can only
// run plain entries without any.
func testEntries(title string) []bls.Entry {
	return []bls.Entry{
		bls.ForDeployment(bls.DeploymentEntry{Index: 0, Count: 2, Title: title,
			Options: `root=UUID=abc quiet dyndbg="file a.c +p" ostree=/ostree/boot.1/os/new/0`,
			Linux:   "/ostree/os-new/vmlinuz-2", Initrds: []string{"/ostree/os-new/initramfs-2.img", "/ostree/overlay.img"}}),
		bls.ForDeployment(bls.DeploymentEntry{Index: 1, Count: 2, Title: "Test OS 1 (ostree:1)",
			Options: "root=UUID=abc ostree=/ostree/boot.1/os/old/0",
			Linux:   "/ostree/os-old/vmlinuz-1", Initrds: []string{"/ostree/os-old/initramfs-1.img"}}),
	}
}

// bootTree fills a file system; boot is where /boot is in it ("" for a partition
// of its own).
func bootTree(t *testing.T, boot string, menu bool) string {
	t.Helper()
	root := t.TempDir()
	dir := filepath.Join(root, boot)
	kernel := string(probeKernel(t))
	write(t, filepath.Join(dir, "ostree/os-new/vmlinuz-2"), kernel)
	write(t, filepath.Join(dir, "ostree/os-new/initramfs-2.img"), "<new initramfs!>")
	write(t, filepath.Join(dir, "ostree/overlay.img"), "<overlay: 16 by>")
	write(t, filepath.Join(dir, "ostree/os-old/vmlinuz-1"), kernel)
	write(t, filepath.Join(dir, "ostree/os-old/initramfs-1.img"), "<old initramfs>")
	if err := os.Symlink(".", filepath.Join(dir, "boot")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("loader.1", filepath.Join(dir, "loader")); err != nil {
		t.Fatal(err)
	}
	title := "Test OS [second] 2 (ostree:0)"
	if menu {
		title = "Tom's $OS {2} (ostree:0)"
	}
	for _, e := range testEntries(title) {
		write(t, filepath.Join(dir, "loader.1/entries", e.Name), string(e.Format()))
	}
	if menu {
		if err := (Bootloader{}).Write(filepath.Join(dir, "loader.1"), testEntries(title)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "grub"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := InstallFiles(InstallOptions{BootDir: dir, BootUUID: testUUID, Platforms: []Platform{BIOS}}); err != nil {
		t.Fatal(err)
	}
	return root
}

// TestBootsTheFirstEntry covers what GRUB really makes of our files: /boot on its
// own and in the root, with our menu and with plain entries only.
func TestBootsTheFirstEntry(t *testing.T) {
	for _, c := range []struct {
		name, boot, prefix string
		menu               bool
		want               string
	}{
		{"own menu, /boot is a partition", "", "/grub", true,
			`root=UUID=abc quiet "dyndbg=file a.c +p" ostree=/ostree/boot.1/os/new/0`},
		{"own menu, /boot is a directory of the root", "boot", "/boot/grub", true,
			`root=UUID=abc quiet "dyndbg=file a.c +p" ostree=/ostree/boot.1/os/new/0`},
		{"entries of another program, /boot is a partition", "", "/grub", false,
			`root=UUID=abc quiet "dyndbg=file a.c +p" ostree=/ostree/boot.1/os/new/0`},
		{"entries of another program, /boot is a directory of the root", "boot", "/boot/grub", false,
			`root=UUID=abc quiet "dyndbg=file a.c +p" ostree=/ostree/boot.1/os/new/0`},
	} {
		t.Run(c.name, func(t *testing.T) {
			out := bootDisk(t, bootTree(t, c.boot, c.menu), c.prefix)
			t.Log(out)
			if !strings.Contains(out, c.want) || !strings.Contains(out, "ostree=/ostree/boot.1/os/new/0") {
				t.Errorf("the command line is not %q", c.want)
			}
			if !strings.Contains(out, "<new initramfs!><overlay: 16 by>") {
				t.Errorf("the initramfs and the overlay did not arrive")
			}
			if strings.Contains(out, "error:") {
				t.Errorf("GRUB complained")
			}
		})
	}
}

func TestTheMenuParses(t *testing.T) {
	if _, err := exec.LookPath("grub-script-check"); err != nil {
		t.Fatal("grub-script-check is needed for this test: apt-get install grub-common")
	}
	for name, text := range map[string][]byte{"menu": Config(testEntries("Tom's $OS"), ConfigOptions{}), "stub": Stub(testUUID)} {
		path := filepath.Join(t.TempDir(), name)
		write(t, path, string(text))
		if out, err := exec.Command("grub-script-check", path).CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s\n%s", name, err, out, text)
		}
	}
}
