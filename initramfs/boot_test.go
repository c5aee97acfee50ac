package initramfs_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"photree/initramfs"
)

// The boot tests start Debian's cloud kernel in QEMU, under software emulation, with an image that Build made and a
// disk with a deployment laid out by hand.

const (
	rootUUID = "0f0e1c2a-6a3b-4a0f-9d52-5b2c7b0d9a11"
	rootPart = "5a0d8d5e-8f0c-4d53-9d0a-2f1b3c4d5e6f"
	target   = "/ostree/boot.1/os/abc/0"
	deployed = "ostree/deploy/os/deploy/0123.0"
)

// kernelTree returns a directory with usr/lib/modules of Debian's cloud kernel, from the cache or the archive.
func kernelTree(t *testing.T) (tree, kver string) {
	t.Helper()
	cache := os.Getenv("XDG_CACHE_HOME")
	if cache == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			t.Fatal(err)
		}
		cache = filepath.Join(home, ".cache")
	}
	cache = filepath.Join(cache, "photree/kernel")
	if err := os.MkdirAll(cache, 0o755); err != nil {
		t.Fatal(err)
	}
	deps := run(t, "apt-cache", "depends", "linux-image-cloud-amd64")
	pkg := regexp.MustCompile(`linux-image-\S+-cloud-amd64`).FindString(deps[strings.Index(deps, "Depends"):])
	kver = strings.TrimPrefix(pkg, "linux-image-")
	tree = filepath.Join(cache, pkg)
	if _, err := os.Stat(filepath.Join(tree, "usr/lib/modules", kver, "vmlinuz")); err == nil {
		return tree, kver
	}
	tmp, err := os.MkdirTemp(cache, "new-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(tmp)
	run(t, "sh", "-c", `cd "$0" && apt-get download -q "$1" && dpkg-deb -x ./*.deb x && mkdir -p tree/usr/lib &&
		mv x/lib/modules tree/usr/lib/ && mv x/boot/vmlinuz-* tree/usr/lib/modules/*/vmlinuz`, tmp, pkg)
	// Another test process may have been faster.
	if err := os.Rename(filepath.Join(tmp, "tree"), tree); err != nil && !os.IsExist(err) && !strings.Contains(err.Error(), "not empty") {
		t.Fatal(err)
	}
	return tree, kver
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("running %s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// shared holds what several tests use and none changes: programs and the generic image.
var shared string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if shared, err = os.MkdirTemp("", "photree-initramfs-"); err != nil {
			panic(err)
		}
		defer os.RemoveAll(shared)
		return m.Run()
	}())
}

// build compiles a program of this module without cgo.
func build(t *testing.T, pkg string) string {
	t.Helper()
	out := filepath.Join(shared, filepath.Base(pkg))
	if _, err := os.Stat(out); err == nil {
		return out
	}
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", out, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building %s: %v\n%s", pkg, err, text)
	}
	return out
}

// genericImage returns the image that Build makes of the kernel tree when it is asked for nothing special.
func genericImage(t *testing.T, tree string) string {
	t.Helper()
	path := filepath.Join(shared, "generic.img")
	if _, err := os.Stat(path); err == nil {
		return path
	}
	image, stats := makeImage(t, initramfs.Options{Tree: tree, Init: build(t, "photree/cmd/photree-init")})
	if stats.Size > 8e6 {
		t.Errorf("the generic image has %d bytes, more than 8 MB", stats.Size)
	}
	run(t, "cp", image, path)
	return path
}

// layout makes a physical root with one deployment.
func layout(t *testing.T, guest string) string {
	t.Helper()
	root := t.TempDir()
	for _, dir := range []string{"boot", "ostree/repo", "ostree/boot.1.1/os/abc", "ostree/deploy/os/var",
		deployed + "/usr/sbin", deployed + "/etc", deployed + "/var", deployed + "/sysroot", deployed + "/proc",
		deployed + "/sys", deployed + "/dev", deployed + "/run", deployed + "/boot"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{
		"marker": "physical", deployed + "/etc/marker": "etc", deployed + "/usr/marker": "usr",
		"ostree/deploy/os/var/marker": "var", "ostree/repo/config": "[core]\nrepo_version=1\nmode=bare\n",
	} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{
		"ostree/boot.1": "boot.1.1", "ostree/boot.1.1/os/abc/0": "../../../deploy/os/deploy/0123.0",
		deployed + "/sbin": "usr/sbin", deployed + "/ostree": "sysroot/ostree",
	} {
		if err := os.Symlink(to, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	run(t, "cp", guest, filepath.Join(root, deployed, "usr/sbin/init"))
	return root
}

// disk makes an image with a GPT and the directory as ext4 on its only partition.
func disk(t *testing.T, root string) string {
	t.Helper()
	img := filepath.Join(t.TempDir(), "disk.img")
	const start, size = 1 << 20, 64 << 20
	run(t, "truncate", "-s", fmt.Sprint(start+size+1<<20), img)
	cmd := exec.Command("sfdisk", "-q", img)
	cmd.Stdin = strings.NewReader(fmt.Sprintf("label: gpt\nstart=%d, size=%d, type=L, uuid=%s, name=\"a root\"\n", start/512, size/512, rootPart))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("sfdisk: %v\n%s", err, out)
	}
	run(t, "mke2fs", "-q", "-t", "ext4", "-b", "4096", "-U", rootUUID, "-L", "the root", "-d", root,
		"-E", fmt.Sprintf("offset=%d", start), img, fmt.Sprint(size/1024)+"k")
	return img
}

// boot starts the machine and returns its console.
func boot(t *testing.T, kernel, image, cmdline string, device ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	args := append([]string{"-accel", "tcg", "-M", "q35", "-cpu", "max", "-m", "384", "-nodefaults", "-no-user-config",
		"-display", "none", "-serial", "stdio", "-no-reboot", "-kernel", kernel, "-initrd", image,
		"-append", "console=ttyS0 quiet mitigations=off nokaslr cryptomgr.notests " + cmdline}, device...)
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if ctx.Err() != nil {
		t.Fatalf("the machine did not end in time\n%s", &out)
	}
	if err != nil {
		t.Fatalf("qemu: %v\n%s", err, &out)
	}
	return strings.ReplaceAll(out.String(), "\r", "")
}

func makeImage(t *testing.T, o initramfs.Options) (string, initramfs.Stats) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "initramfs.img")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	stats, err := initramfs.Build(t.Context(), o, f)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("image: %d modules, %d files, %d bytes, %d compressed; missing %v", len(stats.Modules), stats.Files, stats.RawSize, stats.Size, stats.Missing)
	return path, stats
}

// took returns the milliseconds from the kernel's start of /init to the switch of the root.
func took(t *testing.T, console string) int {
	t.Helper()
	stamp := func(what string) int {
		m := regexp.MustCompile(`KMSG \d+,\d+,(\d+),.*` + what).FindStringSubmatch(console)
		if m == nil {
			t.Fatalf("the kernel's log has no %q\n%s", what, console)
		}
		us, _ := strconv.Atoi(m[1])
		return us
	}
	return (stamp("switching to") - stamp("Run /init")) / 1000
}

func TestBoot(t *testing.T) {
	if testing.Short() {
		t.Skip("starts virtual machines")
	}
	tree, kver := kernelTree(t)
	kernel := kernelOf(tree, kver)
	root := layout(t, build(t, "./testdata/guest"))
	img := disk(t, root)
	init := build(t, "photree/cmd/photree-init")
	generic := genericImage(t, tree)
	named, stats := makeImage(t, initramfs.Options{Tree: tree, Init: init, Modules: []string{"virtio_pci", "virtio_blk"}})
	if stats.Size > 1.5e6 {
		t.Errorf("the image with named modules has %d bytes, more than 1.5 MB", stats.Size)
	}
	drive := "file=" + img + ",if=none,id=d0,format=raw,snapshot=on"
	nvme := []string{"-drive", drive, "-device", "nvme,drive=d0,serial=x"}
	virtio := []string{"-drive", drive, "-device", "virtio-blk-pci,drive=d0"}
	scsi := []string{"-drive", drive, "-device", "virtio-scsi-pci", "-device", "scsi-hd,drive=d0"}
	for _, test := range []struct {
		name, image, root string
		device            []string
	}{
		{"a virtio disk by UUID", generic, "UUID=" + rootUUID, virtio},
		{"an nvme disk by UUID", generic, "UUID=" + rootUUID, nvme},
		{"an image with named modules", named, "PARTUUID=" + rootPart, virtio},
		{"a SCSI disk by its label", generic, "/dev/disk/by-label/the\\x20root", scsi},
		{"a partition by its name", generic, "PARTLABEL=\"a root\"", nvme},
	} {
		t.Run(test.name, func(t *testing.T) {
			console := boot(t, kernel, test.image, "panic=-1 rw root="+test.root+" ostree="+target, test.device...)
			for _, line := range []string{
				"GUEST write /usr: open /usr/probe: read-only file system", "GUEST write /etc: <nil>",
				"GUEST write /var: <nil>", "GUEST read /etc/marker: etc", "GUEST read /var/marker: var",
				"GUEST read /usr/marker: usr", "GUEST read /sysroot/marker: physical", "GUEST booted:", "GUEST done",
			} {
				if !strings.Contains(console, line) {
					t.Errorf("the console does not say %q", line)
				}
			}
			if t.Failed() {
				t.Fatal(console)
			}
			ms := took(t, console)
			t.Logf("/init to switch_root: %d ms", ms)
		})
	}
}

// TestBootFromADiskThatCannotBeWritten attacks B1: were anything written on the way, the disk would refuse it.
func TestBootFromADiskThatCannotBeWritten(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a virtual machine")
	}
	tree, kver := kernelTree(t)
	img := disk(t, layout(t, build(t, "./testdata/guest")))
	image, _ := makeImage(t, initramfs.Options{Tree: tree, Init: build(t, "photree/cmd/photree-init"), Modules: []string{"virtio_pci", "virtio_blk"}})
	console := boot(t, kernelOf(tree, kver), image, "panic=-1 ro root=UUID="+rootUUID+" ostree="+target,
		"-drive", "file="+img+",if=none,id=d0,format=raw,readonly=on", "-device", "virtio-blk-pci,drive=d0")
	for _, line := range []string{"GUEST read /etc/marker: etc", "GUEST write /etc: open /etc/probe: read-only file system",
		"GUEST booted: 136 bytes", "GUEST done"} {
		if !strings.Contains(console, line) {
			t.Errorf("the console does not say %q", line)
		}
	}
	if t.Failed() || strings.Contains(console, "I/O error") {
		t.Error(console)
	}
}

func kernelOf(tree, kver string) string {
	return filepath.Join(tree, "usr/lib/modules", kver, "vmlinuz")
}

// TestBootFromXFS needs a file system driver, and what that asks the kernel for, from the image.
func TestBootFromXFS(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a virtual machine")
	}
	tree, kver := kernelTree(t)
	root := layout(t, build(t, "./testdata/guest"))
	img := filepath.Join(t.TempDir(), "disk.img")
	run(t, "truncate", "-s", "320M", img)
	run(t, "mkfs.xfs", "-q", "-L", "xroot", img)
	mnt := t.TempDir()
	run(t, "mount", "-o", "loop", img, mnt)
	t.Cleanup(func() { exec.Command("umount", mnt).Run() })
	run(t, "cp", "-a", root+"/.", mnt)
	run(t, "umount", mnt)
	image := genericImage(t, tree)
	console := boot(t, kernelOf(tree, kver), image, "panic=-1 rw root=LABEL=xroot ostree="+target,
		"-drive", "file="+img+",if=none,id=d0,format=raw,snapshot=on", "-device", "virtio-blk-pci,drive=d0")
	for _, line := range []string{" - xfs /dev/vda rw", "GUEST write /usr: open /usr/probe: read-only file system", "GUEST done"} {
		if !strings.Contains(console, line) {
			t.Errorf("the console does not say %q", line)
		}
	}
	if t.Failed() {
		t.Log(console)
	}
}

// TestBootThatCannotBe: what is wrong stands on the console, and the machine restarts as panic= says.
func TestBootThatCannotBe(t *testing.T) {
	if testing.Short() {
		t.Skip("starts virtual machines")
	}
	tree, kver := kernelTree(t)
	img := disk(t, layout(t, build(t, "./testdata/guest")))
	image := genericImage(t, tree)
	for _, test := range []struct {
		name, cmdline string
		says          []string
	}{
		{"no deployment", "root=UUID=" + rootUUID + " ostree=/ostree/boot.0/os/abc/0", []string{
			"this machine cannot start: ostree=/ostree/boot.0/os/abc/0 does not lead to a deployment: /ostree/boot.0: no such file or directory",
			"no other deployment is started in its place"}},
		{"no disk of that UUID", "rootwait=2 root=UUID=deadbeef ostree=" + target, []string{
			"this machine cannot start: root=UUID=deadbeef did not appear in 2 seconds; block devices: ",
			"/dev/vda1 (ext4 UUID=" + rootUUID + " LABEL=the root)"}},
		{"no root=", "ostree=" + target, []string{"the kernel command line has no root="}},
		{"another init", "root=UUID=" + rootUUID + " init=/nowhere ostree=" + target, []string{
			"the root file system has no program /nowhere, which init= names"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			console := boot(t, kernelOf(tree, kver), image, "panic=-1 rw "+test.cmdline,
				"-drive", "file="+img+",if=none,id=d0,format=raw,snapshot=on", "-device", "virtio-blk-pci,drive=d0")
			for _, line := range test.says {
				if !strings.Contains(console, line) {
					t.Errorf("the console does not say %q:\n%s", line, console)
				}
			}
			if strings.Contains(console, "GUEST") {
				t.Errorf("something was started:\n%s", console)
			}
		})
	}
}

// TestProgramInstead: an image that holds a program to run starts that, with drivers for the network too, and ends as
// its exit status says.
func TestProgramInstead(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a virtual machine")
	}
	tree, kver := kernelTree(t)
	command := filepath.Join(t.TempDir(), "initrd-exec")
	if err := os.WriteFile(command, []byte("/usr/bin/guest --a b\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	image, _ := makeImage(t, initramfs.Options{Tree: tree, Init: build(t, "photree/cmd/photree-init"),
		Extra: map[string]string{"/usr/bin/guest": build(t, "./testdata/guest"), "/etc/photree/initrd-exec": command}})
	console := boot(t, kernelOf(tree, kver), image, "panic=-1", "-device", "virtio-net-pci")
	for _, line := range []string{"GUEST-CHILD /usr/bin/guest --a b", "interfaces: eth0 lo", "mounting an overlay: <nil>", "Power down"} {
		if !strings.Contains(console, line) {
			t.Errorf("the console does not say %q:\n%s", line, console)
		}
	}
}
