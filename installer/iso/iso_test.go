package iso

import (
	"bytes"
	"context"
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"photree/installer/fat"
)

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func write(t *testing.T, o Options) string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "out.iso"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	size, err := Write(f, o)
	if err != nil {
		t.Fatal(err)
	}
	if st, _ := f.Stat(); st.Size() != size || size%sector != 0 {
		t.Errorf("Write says %d bytes, the file has %d", size, st.Size())
	}
	return f.Name()
}

func sampleFiles(t *testing.T) []File {
	r := rand.New(rand.NewSource(3))
	blob := func(n int) []byte { b := make([]byte, n); r.Read(b); return b }
	big := filepath.Join(t.TempDir(), "big")
	if err := os.WriteFile(big, blob(5_000_001), 0o644); err != nil {
		t.Fatal(err)
	}
	files := []File{
		{Path: "boot/vmlinuz", Source: big, Mode: 0o755},
		{Path: "empty"},
		{Path: "empty directory", Mode: os.ModeDir},
		{Path: "boot", Mode: os.ModeDir},
		{Path: "Mixed Case, spaces.and.dots", Data: []byte("x")},
		{Path: strings.Repeat("long-name/", 12) + "deep", Data: []byte("deep")},
		{Path: "names/" + strings.Repeat("n", 120), Data: []byte("120")},
		{Path: "names/" + strings.Repeat("n", 121), Data: []byte("121")},
		{Path: "names/" + strings.Repeat("n", 255), Data: []byte("255")},
		{Path: "umlaut-ä", Data: []byte("utf-8")},
	}
	for i := range 700 { // directories of many sectors, identifiers that collide
		files = append(files, File{Path: fmt.Sprintf("repo/objects/%02x/%062x.filez", i%3, i), Data: blob(i)})
	}
	for i := range 60 { // more continuation areas than one sector holds
		files = append(files, File{Path: fmt.Sprintf("names/%s%02d", strings.Repeat("m", 200), i), Data: []byte{byte(i)}})
	}
	return files
}

var made = time.Date(2025, 2, 3, 4, 5, 6, 70_000_000, time.UTC)

// TestXorrisoReadsIt: an independent reader gives back every file, its mode
// and time, and finds both boot entries.
func TestXorrisoReadsIt(t *testing.T) {
	files := sampleFiles(t)
	mbr, err := os.ReadFile("/usr/lib/grub/i386-pc/boot_hybrid.img")
	if err != nil {
		t.Fatalf("%v (install grub-pc-bin)", err)
	}
	path := write(t, Options{VolumeID: "PHOTREE_TEST", Time: made, Files: files,
		BIOS: bytes.Repeat([]byte("bios"), 10_001), MBR: mbr, EFI: efiImage(t, []byte("not a program"))})

	out := filepath.Join(t.TempDir(), "out")
	run(t, "xorriso", "-osirrox", "on", "-abort_on", "SORRY", "-indev", path, "-extract", "/", out)
	for _, f := range files {
		if f.Mode.IsDir() {
			if st, err := os.Stat(filepath.Join(out, f.Path)); err != nil || !st.IsDir() {
				t.Errorf("%s: the directory is missing: %v", f.Path, err)
			}
			continue
		}
		want := f.Data
		if f.Source != "" {
			want, _ = os.ReadFile(f.Source)
		}
		got, err := os.ReadFile(filepath.Join(out, f.Path))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: reading back: %v, %d bytes of %d", f.Path, err, len(got), len(want))
		}
	}
	st, err := os.Stat(filepath.Join(out, "boot/vmlinuz"))
	if err != nil || st.Mode().Perm() != 0o755 || !st.ModTime().Equal(made.Truncate(time.Second)) {
		t.Errorf("boot/vmlinuz: mode %v, time %v, %v", st.Mode(), st.ModTime(), err)
	}
	n := 0
	filepath.Walk(out, func(_ string, info os.FileInfo, _ error) error {
		if info.Mode().IsRegular() {
			n++
		}
		return nil
	})
	if n != len(files)-2 {
		t.Errorf("the image shows %d files, %d were put in", n, len(files)-2)
	}

	report := run(t, "xorriso", "-indev", path, "-report_el_torito", "plain", "-report_system_area", "plain", "-pvd_info")
	for _, want := range []string{"BIOS  y   none", "UEFI  y   none", "GPT", "PHOTREE_TEST", "2025020304050607"} {
		if !strings.Contains(strings.ToLower(report), strings.ToLower(want)) {
			t.Errorf("xorriso's report lacks %q:\n%s", want, report)
		}
	}
	if got := strings.TrimSpace(run(t, "blkid", "-p", "-o", "value", "-s", "UUID", path)); !strings.Contains(got, UUID(made)) {
		t.Errorf("blkid shows the UUID %q, want %q", got, UUID(made))
	}
	run(t, "sfdisk", "--verify", path)
}

func TestSameInputSameBytes(t *testing.T) {
	o := Options{VolumeID: "X", Time: made, Files: sampleFiles(t), EFI: efiImage(t, []byte("x"))}
	a, _ := os.ReadFile(write(t, o))
	rand.Shuffle(len(o.Files), func(i, j int) { o.Files[i], o.Files[j] = o.Files[j], o.Files[i] })
	b, _ := os.ReadFile(write(t, o))
	if !bytes.Equal(a, b) {
		t.Error("the order in which files are given changes the image")
	}
}

func TestRefusals(t *testing.T) {
	for name, tt := range map[string]struct {
		o    Options
		want string
	}{
		"a volume id in lower case": {Options{VolumeID: "photree"}, "volume id"},
		"a path out of the tree":    {Options{Files: []File{{Path: "a/../b"}}}, "not a path"},
		"a file twice":              {Options{Files: []File{{Path: "a"}, {Path: "a"}}}, "twice"},
		"a file as a directory":     {Options{Files: []File{{Path: "a"}, {Path: "a/b"}}}, "twice"},
		"a source that is not there": {Options{Files: []File{{Path: "a", Source: "/nonexistent"}}},
			"/nonexistent"},
		"boot images that are not GRUB's": {Options{BIOS: []byte("x")}, "too short"},
	} {
		t.Run(name, func(t *testing.T) {
			f, _ := os.Create(filepath.Join(t.TempDir(), "x"))
			defer f.Close()
			if _, err := Write(f, tt.o); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

func efiImage(t *testing.T, program []byte) []byte {
	t.Helper()
	const size = 4 << 20
	w := &buffer{b: make([]byte, size)}
	if err := fat.Write(w, fat.Options{Size: size}, []fat.File{{Path: "EFI/BOOT/BOOTX64.EFI", Data: program}}); err != nil {
		t.Fatal(err)
	}
	return w.b
}

type buffer struct{ b []byte }

func (w *buffer) WriteAt(p []byte, off int64) (int, error) { return copy(w.b[off:], p), nil }

// TestFirmwareBootsIt boots the image four ways and lets GRUB read a file of
// it: as CD and as disk, under SeaBIOS and under OVMF.
func TestFirmwareBootsIt(t *testing.T) {
	if testing.Short() {
		t.Skip("boots four virtual machines")
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "early.cfg")
	text := "serial --unit=0\nterminal_output serial\nsearch --no-floppy --fs-uuid --set=root " + UUID(made) + "\ncat /hello.txt\nhalt\n"
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	core := func(format string, modules ...string) []byte {
		out := filepath.Join(dir, format)
		args := append([]string{"-O", format, "-o", out, "-p", "/boot/grub", "-c", config,
			"iso9660", "part_gpt", "part_msdos", "search_fs_uuid", "search", "serial", "terminal", "cat", "halt"}, modules...)
		run(t, "grub-mkimage", args...)
		data, _ := os.ReadFile(out)
		return data
	}
	mbr, _ := os.ReadFile("/usr/lib/grub/i386-pc/boot_hybrid.img")
	path := write(t, Options{VolumeID: "BOOT", Time: made, MBR: mbr,
		BIOS: core("i386-pc-eltorito", "biosdisk"), EFI: efiImage(t, core("x86_64-efi")),
		Files: append(sampleFiles(t), File{Path: "hello.txt", Data: []byte("the medium answers\n")})})

	for _, firmware := range []string{"bios", "uefi"} {
		for _, medium := range []string{"cdrom", "disk"} {
			t.Run(firmware+" from "+medium, func(t *testing.T) {
				args := []string{"-accel", "tcg", "-M", "q35", "-m", "256", "-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot",
					"-drive", "file=" + path + ",if=none,id=m,format=raw,readonly=on"}
				if medium == "cdrom" {
					args = append(args, "-device", "ide-cd,drive=m,bootindex=0")
				} else {
					args = append(args, "-device", "virtio-blk-pci,drive=m,bootindex=0")
				}
				if firmware == "uefi" {
					args = append(args, "-drive", "if=pflash,unit=0,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE.fd")
				}
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
				defer cancel()
				out, err := exec.CommandContext(ctx, "qemu-system-x86_64", args...).CombinedOutput()
				if !strings.Contains(string(out), "the medium answers") {
					t.Errorf("%v; the console shows:\n%s", err, out)
				}
			})
		}
	}
}
