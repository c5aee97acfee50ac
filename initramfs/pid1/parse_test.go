package pid1

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"photree/internal/kargs"

	"golang.org/x/sys/unix"
)

func TestGlob(t *testing.T) {
	for _, test := range []struct {
		pattern, text string
		want          bool
	}{
		{"virtio:d00000002v*", "virtio:d00000002v00001AF4", true},
		{"virtio:d00000002v*", "virtio:d00000003v00001AF4", false},
		{"pci:v*d*sv*sd*bc01sc08i02*", "pci:v00001B36d00000010sv00001AF4sd00001100bc01sc08i02", true},
		{"scsi:t-0x00*", "scsi:t-0x00", true},
		{"usb:v0[0-9a]F?", "usb:v0aF1", true},
		{"usb:v0[!0-9]F", "usb:v03F", false},
		{"a[", "a[", false},
		{"*a*b*c", "xxaybzc", true},
		{"*a*b*c", "xxaybzcd", false},
		{"", "", true},
	} {
		if got := glob(test.pattern, test.text); got != test.want {
			t.Errorf("glob(%q, %q) = %v", test.pattern, test.text, got)
		}
	}
}

const sampleIndex = `module virtio /lib/virtio.ko
module virtio_blk /lib/virtio_blk.ko
needs virtio
options queues=1
module e1000 /lib/e1000.ko
late
module floppy /lib/floppy.ko
blacklist
then virtio
[]
virtio_blk block-virtual
[pci]
e1000 pci:v00008086d0000100Esv*
floppy pci:v00008086d0000100Esv*
[virtio]
virtio_blk virtio:d00000002v*
`

func TestIndex(t *testing.T) {
	idx, err := parseIndex(sampleIndex)
	if err != nil {
		t.Fatal(err)
	}
	names := func(alias string) string {
		var out []string
		for _, m := range idx.match(alias) {
			out = append(out, m.name)
		}
		return strings.Join(out, " ")
	}
	for alias, want := range map[string]string{
		"virtio:d00000002v1af4": "virtio_blk", "pci:v00008086d0000100Esv00": "e1000 floppy", "pci:v0": "",
		"block-virtual": "virtio_blk", "usb:x": "", "": "",
	} {
		if got := names(alias); got != want {
			t.Errorf("match(%q) = %q, want %q", alias, got, want)
		}
	}
	if m := idx.modules["virtio_blk"]; m.late || m.options != "queues=1" || m.needs[0] != "virtio" {
		t.Errorf("virtio_blk is %+v", m)
	}
	if m := idx.modules["floppy"]; !m.blacklisted || m.then[0] != "virtio" || !idx.modules["e1000"].late {
		t.Errorf("floppy is %+v", m)
	}
	for _, bad := range []string{"late\n", "module x\n", "module x /y\n[pci\n", "module x /y\n[pci]\na b\n["} {
		if _, err := parseIndex(bad); err == nil {
			t.Errorf("parseIndex(%q) gave no error", bad)
		}
	}
}

func TestModuleParameters(t *testing.T) {
	idx, _ := parseIndex(sampleIndex)
	l := newLoader(idx, kargs.Parse(`virtio-blk.debug virtio_blk.name="a b" e1000.x=1 modprobe.blacklist=e1000,foo`), &logger{})
	if got, want := l.params(idx.modules["virtio_blk"]), `queues=1 debug name="a b"`; got != want {
		t.Errorf("params = %q, want %q", got, want)
	}
	if !l.hidden["e1000"] || !l.hidden["foo"] || l.hidden["virtio_blk"] {
		t.Errorf("hidden = %v", l.hidden)
	}
}

func TestParseRoot(t *testing.T) {
	for text, want := range map[string]rootSpec{
		"UUID=abc":                      {kind: "UUID", value: "abc"},
		"LABEL=a b":                     {kind: "LABEL", value: "a b"},
		`PARTLABEL="a b"`:               {kind: "PARTLABEL", value: "a b"},
		"PARTUUID=x":                    {kind: "PARTUUID", value: "x"},
		`/dev/disk/by-label/a\x20b`:     {kind: "LABEL", value: "a b"},
		"/dev/disk/by-partlabel/root":   {kind: "PARTLABEL", value: "root"},
		"/dev/disk/by-partuuid/1234-01": {kind: "PARTUUID", value: "1234-01"},
		"/dev/nvme0n1p2":                {kind: "PATH", value: "nvme0n1p2"},
		`/dev/disk/by-label/bad\x2`:     {kind: "LABEL", value: `bad\x2`},
	} {
		got, err := parseRoot(text)
		want.text = text
		if err != nil || got != want {
			t.Errorf("parseRoot(%q) = %+v, %v", text, got, err)
		}
	}
	for _, bad := range []string{"", "UUID=", "/dev/", "nfs:1.2.3.4:/x", "/dev/../etc/passwd"} {
		if got, err := parseRoot(bad); err == nil {
			t.Errorf("parseRoot(%q) = %+v, want an error", bad, got)
		}
	}
}

func TestMountOptions(t *testing.T) {
	for _, test := range []struct {
		cmdline string
		flags   uintptr
		data    string
	}{
		{"", unix.MS_RDONLY, ""},
		{"rw", 0, ""},
		{"rw ro", unix.MS_RDONLY, ""},
		{"ro rootflags=rw,noatime,subvol=root,discard=async", unix.MS_NOATIME, "subvol=root,discard=async"},
		{"rw rootflags=defaults,nodev", unix.MS_NODEV, ""},
	} {
		flags, data := mountOptions(kargs.Parse(test.cmdline))
		if flags != test.flags || data != test.data {
			t.Errorf("%q: flags %#x, data %q", test.cmdline, flags, data)
		}
	}
}

func TestRootWait(t *testing.T) {
	for cmdline, want := range map[string]time.Duration{
		"": defaultWait, "rootdelay=5": defaultWait, "rootdelay=300": 300 * time.Second, "rootwait=7": 7 * time.Second,
		"rootwait": 1000000 * time.Hour,
	} {
		if got := rootWait(kargs.Parse(cmdline)); got != want {
			t.Errorf("%q: %v, want %v", cmdline, got, want)
		}
	}
}

func TestParseUevent(t *testing.T) {
	got := parseUevent([]byte("add@/devices/x\x00ACTION=add\x00SUBSYSTEM=block\x00DEVNAME=vda1\x00MODALIAS=virtio:d2\x00SEQNUM=9\x00"))
	if got != (uevent{"add", "block", "virtio:d2", "vda1"}) {
		t.Errorf("%+v", got)
	}
	if got := parseUevent(nil); got != (uevent{}) {
		t.Errorf("%+v", got)
	}
}

// TestProbe makes file systems with the real programs.
func TestProbe(t *testing.T) {
	const uuid = "0f0e1c2a-6a3b-4a0f-9d52-5b2c7b0d9a11"
	tree := t.TempDir()
	for _, test := range []struct {
		size string
		make []string
		want filesystem
	}{
		{"16M", []string{"mke2fs", "-q", "-t", "ext4", "-U", uuid, "-L", "the root"}, filesystem{"ext4", uuid, "the root"}},
		{"16M", []string{"mke2fs", "-q", "-t", "ext2", "-U", uuid}, filesystem{"ext4", uuid, ""}},
		{"320M", []string{"mkfs.xfs", "-q", "-m", "uuid=" + uuid, "-L", "x root"}, filesystem{"xfs", uuid, "x root"}},
		{"40M", []string{"mkfs.vfat", "-F", "32", "-i", "1234ABCD", "-n", "EFI"}, filesystem{"vfat", "1234-ABCD", "EFI"}},
		{"4M", []string{"mkfs.vfat", "-F", "12", "-i", "1234ABCD"}, filesystem{"vfat", "1234-ABCD", ""}},
		{"0", []string{"mkfs.erofs", "-U", uuid}, filesystem{"erofs", uuid, ""}},
		{"1M", []string{"true"}, filesystem{}},
	} {
		t.Run(strings.Join(test.make, " "), func(t *testing.T) {
			img := filepath.Join(t.TempDir(), "img")
			args := append(test.make[1:], img)
			if test.make[0] == "mkfs.erofs" {
				args = append(args, tree)
			}
			for _, cmd := range []*exec.Cmd{exec.Command("truncate", "-s", test.size, img), exec.Command(test.make[0], args...)} {
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Fatalf("running %v: %v\n%s", cmd.Args, err, out)
				}
			}
			f, err := os.Open(img)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if got, ok := probe(f); got != test.want || ok != (test.want.kind != "") {
				t.Errorf("got %+v, %v", got, ok)
			}
		})
	}
}

func TestProbeISO(t *testing.T) {
	img := filepath.Join(t.TempDir(), "iso")
	cmd := exec.Command("xorriso", "-as", "mkisofs", "-quiet", "-V", "PHOTREE", "--modification-date=2024050607080900", "-o", img, t.TempDir())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("xorriso: %v\n%s", err, out)
	}
	f, err := os.Open(img)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got, _ := probe(f); got != (filesystem{"iso9660", "2024-05-06-07-08-09-00", "PHOTREE"}) {
		t.Errorf("got %+v", got)
	}
}

// FuzzProbe: whatever a disk holds, probing gives an answer.
func FuzzProbe(f *testing.F) {
	f.Add([]byte("XFSB"), 0)
	f.Add([]byte{0x53, 0xef}, 1024+0x38)
	f.Add([]byte("\x01CD001"), 0x8000)
	f.Add([]byte("EFI PART\x00\x00\x01\x00\xff\xff\xff\xff"), 512)
	f.Fuzz(func(t *testing.T, data []byte, at int) {
		disk := make([]byte, 80<<10)
		if at >= 0 && at < len(disk) {
			copy(disk[at:], data)
		}
		disk[510], disk[511] = 0x55, 0xaa
		probe(bytes.NewReader(disk))
		probe(bytes.NewReader(data))
		readPartition(bytes.NewReader(disk), 512, 1)
		readPartition(bytes.NewReader(data), 4096, 3)
	})
}

func TestPartitions(t *testing.T) {
	for _, test := range []struct {
		table  string
		number int
		want   partition
	}{
		{"label: gpt\nsize=1M, uuid=5a0d8d5e-8f0c-4d53-9d0a-2f1b3c4d5e6f, name=\"wurzel ä\"\nsize=1M, name=two, uuid=0a0d8d5e-8f0c-4d53-9d0a-2f1b3c4d5e6f",
			1, partition{"5a0d8d5e-8f0c-4d53-9d0a-2f1b3c4d5e6f", "wurzel ä"}},
		{"label: gpt\nsize=1M, name=one\nsize=1M, name=two, uuid=0a0d8d5e-8f0c-4d53-9d0a-2f1b3c4d5e6f",
			2, partition{"0a0d8d5e-8f0c-4d53-9d0a-2f1b3c4d5e6f", "two"}},
		{"label: gpt\nsize=1M, name=one", 2, partition{}},
		{"label: gpt\nsize=1M, name=one", 9999, partition{}},
		{"label: dos\nlabel-id: 0x1234abcd\nsize=1M\nsize=1M", 2, partition{uuid: "1234abcd-02"}},
	} {
		img := filepath.Join(t.TempDir(), "img")
		cmd := exec.Command("sh", "-c", `truncate -s 8M "$0" && exec sfdisk -q "$0"`, img)
		cmd.Stdin = strings.NewReader(test.table + "\n")
		cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("sfdisk: %v\n%s", err, out)
		}
		data, err := os.ReadFile(img)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := readPartition(bytes.NewReader(data), 512, test.number); got != test.want || ok != (test.want != partition{}) {
			t.Errorf("%q entry %d: got %+v, %v", test.table, test.number, got, ok)
		}
		if strings.Contains(test.table, "gpt") {
			data[512+60]++ // the header's checksum no longer holds
			if got, ok := readPartition(bytes.NewReader(data), 512, test.number); ok {
				t.Errorf("a damaged table was read: %+v", got)
			}
		}
	}
}
