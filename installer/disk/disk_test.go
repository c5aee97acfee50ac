package disk

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"photree/installer/fat"
)

const gib = 1 << 30

func shape(l *Layout) string {
	var parts []string
	for _, p := range l.Parts {
		parts = append(parts, fmt.Sprintf("%s:%s@%d+%d", p.PartLabel, p.Filesystem, p.Start>>20, p.Size>>20))
	}
	return strings.Join(parts, " ")
}

func TestPlan(t *testing.T) {
	for _, tt := range []struct {
		name   string
		size   int64
		mode   BootMode
		wishes []Partition
		want   string
	}{
		{"nothing asked for", 8 * gib, "", nil, "BIOS boot:@1+4 boot-efi:vfat@5+64 boot:ext4@69+300 root:ext4@369+7822"},
		{"BIOS only", 2 * gib, BIOS, nil, "BIOS boot:@1+4 boot:ext4@5+300 root:ext4@305+1742"},
		{"UEFI only", 2 * gib, EFI, nil, "boot-efi:vfat@1+64 boot:ext4@65+300 root:ext4@365+1682"},
		{"Photon's ostree_ks.yaml", 10 * gib, DualBoot, []Partition{{Mountpoint: "/boot", Size: 128 << 20}, {Mountpoint: "/root", Percent: 5},
			{Filesystem: "swap", Percent: 5}, {Mountpoint: "/"}},
			"BIOS boot:@1+4 boot-efi:vfat@5+64 boot:ext4@69+128 roothome:ext4@197+512 swap:swap@709+512 root:ext4@1221+9018"},
		{"the rest is not the root", 10 * gib, BIOS, []Partition{{Mountpoint: "/var/lib/data", PartLabel: "data"}, {Mountpoint: "/", Size: 4 * gib}},
			"BIOS boot:@1+4 boot:ext4@5+300 root:ext4@305+4096 data:ext4@4401+5838"},
		{"an ESP of another size", 2 * gib, EFI, []Partition{{Mountpoint: "/boot/efi", Size: 10 << 20, Filesystem: "vfat"}},
			"boot-efi:vfat@1+10 boot:ext4@11+300 root:ext4@311+1736"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l, err := Plan(tt.size, tt.mode, tt.wishes, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got := shape(l); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			if last := l.Parts[len(l.Parts)-1]; last.Start+last.Size > tt.size-34*Sector {
				t.Error("the last partition reaches into the backup table")
			}
		})
	}
}

func TestPlanRefuses(t *testing.T) {
	for _, tt := range []struct {
		name   string
		size   int64
		mode   BootMode
		wishes []Partition
		want   string
	}{
		{"a disk too small for what is fixed", 100 << 20, "", nil, "the disk has 100 MiB and 378 MiB are needed"},
		{"a disk too small for a wish", gib, "", []Partition{{Mountpoint: "/", Size: 2 * gib}}, "the disk has 1024 MiB and 2418 MiB are needed"},
		{"two roots", gib, "", []Partition{{Mountpoint: "/"}, {Mountpoint: "/", Size: gib}}, "two partitions for /"},
		{"two that take the rest", gib, "", []Partition{{Mountpoint: "/"}, {Mountpoint: "/home"}}, "only one partition"},
		{"a relative mount point", gib, "", []Partition{{Mountpoint: "home", Size: gib}}, "not an absolute path"},
		{"a mount point that climbs", gib, "", []Partition{{Mountpoint: "/var/../etc", Size: gib}}, "not an absolute path"},
		{"an unknown boot mode", gib, "uefi", nil, "not one of bios"},
		{"an ESP on a BIOS disk", gib, BIOS, []Partition{{Mountpoint: "/boot/efi", Size: 64 << 20, Filesystem: "vfat"}}, "no use"},
		{"an ESP of ext4", gib, EFI, []Partition{{Mountpoint: "/boot/efi", Size: 64 << 20}}, "vfat is for /boot/efi"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Plan(tt.size, tt.mode, tt.wishes, nil)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
	_, err := Plan(100<<20, "", nil, nil)
	var small *TooSmallError
	if !errors.As(err, &small) {
		t.Fatalf("%v is not a TooSmallError", err)
	}
	if _, err := Plan(small.Need, "", nil, nil); err != nil {
		t.Errorf("the size that the error asks for is refused too: %v", err)
	}
}

func TestSeedDecidesIdentifiers(t *testing.T) {
	a, _ := Plan(2*gib, "", nil, []byte("seed"))
	b, _ := Plan(2*gib, "", nil, []byte("seed"))
	c, _ := Plan(2*gib, "", nil, []byte("other"))
	d, _ := Plan(2*gib, "", nil, nil)
	e, _ := Plan(2*gib, "", nil, nil)
	if a.GUID != b.GUID || a.Parts[3].UUID != b.Parts[3].UUID {
		t.Error("the same seed gives other identifiers")
	}
	if a.GUID == c.GUID || d.GUID == e.GUID || d.Parts[3].UUID == e.Parts[3].UUID {
		t.Error("identifiers repeat")
	}
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func loops(t *testing.T, image string) string {
	t.Helper()
	return run(t, "losetup", "-j", image)
}

// TestPartitionFormatMount goes the whole way on an image file, and looks at
// the result with the tools that judge such things.
func TestPartitionFormatMount(t *testing.T) {
	image := filepath.Join(t.TempDir(), "disk.img")
	target, err := Open(image, 600<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	if _, err := os.Stat(image); err == nil {
		t.Error("Open made the image: nothing is to be written before Create")
	}
	l, err := Plan(target.Size, DualBoot, []Partition{{Filesystem: "swap", Size: 16 << 20, Label: "swap"}}, []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(target.Create())
	check(target.WriteTable(l))
	esp, root := l.Find("/boot/efi"), l.Find("/")
	check(target.WriteESP(esp, []fat.File{{Path: "EFI/BOOT/BOOTX64.EFI", Data: []byte("x")}}, time.Time{}))
	check(target.WriteSwap(&l.Parts[3]))
	check(target.Release())

	node, err := target.Node(root)
	check(err)
	config := filepath.Join(t.TempDir(), "mke2fs.conf")
	check(os.WriteFile(config, []byte(MkfsConfig), 0o644))
	t.Setenv("MKE2FS_CONFIG", config)
	argv := root.Mkfs(node)
	run(t, argv[0], argv[1:]...)
	var mounts Mounts
	t.Cleanup(func() { mounts.Close() })
	dir := filepath.Join(t.TempDir(), "mnt")
	check(mounts.Mount(node, dir))
	check(os.WriteFile(filepath.Join(dir, "hello"), []byte("hello"), 0o644))

	if _, err := Open(image, 0); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("an image that is mounted can be opened again: %v", err)
	}
	check(mounts.Sync(dir))
	check(mounts.Close())
	check(target.Close())
	if out := loops(t, image); out != "" {
		t.Errorf("a loop device is left: %s", out)
	}

	if out := run(t, "sfdisk", "--verify", image); !strings.Contains(out, "No errors detected") {
		t.Errorf("sfdisk: %s", out)
	}
	dump := run(t, "sfdisk", "--dump", image)
	for _, want := range []string{"label: gpt", "21686148-6449-6E6F-744E-656564454649", "C12A7328-F81F-11D2-BA4B-00A0C93EC93B",
		"uuid=" + strings.ToUpper(root.GUID), `name="BIOS boot"`} {
		if !strings.Contains(dump, want) {
			t.Errorf("the partition table lacks %q:\n%s", want, dump)
		}
	}
	for i, want := range map[int]string{1: esp.UUID + " vfat", 3: l.Parts[3].UUID + " swap", 4: root.UUID + " ext4"} {
		p := l.Parts[i]
		out := run(t, "blkid", "-p", "-O", fmt.Sprint(p.Start), "-S", fmt.Sprint(p.Size), "-o", "value", "-s", "UUID", "-s", "TYPE", image)
		if got := strings.Join(strings.Fields(out), " "); got != want {
			t.Errorf("partition %d: blkid shows %q, want %q", i+1, got, want)
		}
	}
	run(t, "e2fsck", "-fn", fmt.Sprintf("%s?offset=%d", image, root.Start))
	part := filepath.Join(t.TempDir(), "esp")
	run(t, "dd", "if="+image, "of="+part, "bs=1M", fmt.Sprintf("skip=%d", esp.Start>>20), fmt.Sprintf("count=%d", esp.Size>>20), "status=none")
	run(t, "fsck.vfat", "-n", part)
}

// TestTableForALargeDisk: more sectors than the protective MBR can count.
func TestTableForALargeDisk(t *testing.T) {
	image := filepath.Join(t.TempDir(), "disk.img")
	target, err := Open(image, 5<<40)
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	l, err := Plan(target.Size, "", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(target.Create(), target.WriteTable(l)); err != nil {
		t.Fatal(err)
	}
	if out := run(t, "sfdisk", "--verify", image); !strings.Contains(out, "No errors detected") {
		t.Errorf("sfdisk: %s", out)
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	image := filepath.Join(dir, "disk.img")
	if err := os.WriteFile(image, make([]byte, 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	attached := filepath.Join(dir, "attached.img")
	if err := os.WriteFile(attached, make([]byte, 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(attached, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	l, err := attach(f, 0, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.detach() })
	for _, tt := range []struct {
		name, path string
		size       int64
		want       string
	}{
		{"no disk", filepath.Join(dir, "no"), 0, "does not exist"},
		{"a directory", dir, 0, "neither a block device"},
		{"a character device", "/dev/null", 0, "neither a block device"},
		{"an image that a loop device shows", attached, 0, "in use (attached to /dev/loop"},
		{"a new image that exists", image, 1 << 30, "exists: remove it"},
		{"a new image in no directory", filepath.Join(dir, "no/disk.img"), 1 << 30, "making the image"},
		{"a new image of an odd size", filepath.Join(dir, "odd"), 1<<30 + 1, "whole number of MiB"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			target, err := Open(tt.path, tt.size)
			if err == nil {
				target.Close()
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
	first, err := Open(image, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	var busy *BusyError
	if _, err := Open(image, 0); !errors.As(err, &busy) {
		t.Errorf("the image can be opened twice: %v", err)
	}
}

// TestBlockDevice: a whole block device, here a loop device, whose kernel may
// or may not show its partitions.
func TestBlockDevice(t *testing.T) {
	image := filepath.Join(t.TempDir(), "disk.img")
	if err := os.WriteFile(image, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 600<<20); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	whole, err := attach(f, 0, 600<<20)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { whole.detach() })
	target, err := Open(whole.path, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	l, err := Plan(target.Size, "", nil, nil)
	if err == nil {
		err = errors.Join(target.Create(), target.WriteTable(l), target.Release())
	}
	if err != nil {
		t.Fatal(err)
	}
	node, err := target.Node(l.Find("/"))
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("MKE2FS_CONFIG", "/dev/null")
	argv := l.Find("/").Mkfs(node)
	run(t, argv[0], argv[1:]...)
	var mounts Mounts
	t.Cleanup(func() { mounts.Close() })
	if err := mounts.Mount(node, filepath.Join(t.TempDir(), "mnt")); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(mounts.Close(), target.Close()); err != nil {
		t.Fatal(err)
	}
}
