package fat

import (
	"bytes"
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func image(t *testing.T, o Options, files []File) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fat.img")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	// What lies on a disk before must not shine through.
	junk := bytes.Repeat([]byte{0xa5}, 1<<20)
	for off := int64(0); off < o.Size; off += int64(len(junk)) {
		if _, err := f.WriteAt(junk[:min(int64(len(junk)), o.Size-off)], off); err != nil {
			t.Fatal(err)
		}
	}
	if err := Write(f, o, files); err != nil {
		t.Fatal(err)
	}
	return path
}

func sampleFiles() []File {
	r := rand.New(rand.NewSource(1))
	blob := func(n int) []byte { b := make([]byte, n); r.Read(b); return b }
	files := []File{
		{"EFI/BOOT/BOOTX64.EFI", blob(721_000)},
		{"EFI/BOOT/grub.cfg", []byte("configfile /grub/grub.cfg\n")},
		{"EFI/photree/A long name with spaces.and.dots", blob(513)},
		{"EFI/photree/MixedCase.Txt", blob(512)},
		{"EFI/photree/a/b/c/deep.txt", []byte("deep")},
		{"empty", nil},
	}
	for i := range 40 { // a directory of more than one cluster, aliases that collide
		files = append(files, File{fmt.Sprintf("many/a file number %02d.conf", i), blob(i * 37)})
	}
	return files
}

// TestStockToolsReadIt: dosfstools finds nothing to complain about and mtools
// gives back every byte, at sizes around the change of type.
func TestStockToolsReadIt(t *testing.T) {
	files := sampleFiles()
	for _, size := range []int64{3 << 20, 4 << 20, 10 << 20, 33 << 20, 36<<20 - 512, 36 << 20, 64 << 20, 300 << 20, 600 << 20} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			o := Options{Size: size, Label: "ESP", ID: 0x1234abcd, Time: time.Date(2024, 5, 6, 7, 8, 10, 0, time.UTC)}
			path := image(t, o, files)
			run(t, "fsck.vfat", "-n", "-v", path)
			if out := run(t, "mdir", "-i", path, "::"); !strings.Contains(out, "1234-ABCD") || !strings.Contains(out, "ESP") {
				t.Errorf("mdir shows another id or label:\n%s", out)
			}
			for _, f := range files {
				if got := run(t, "mtype", "-i", path, "::"+f.Path); got != string(f.Data) {
					t.Errorf("%s: read back %d bytes that differ from the %d written", f.Path, len(got), len(f.Data))
				}
			}
			names := run(t, "mdir", "-i", path, "-/", "-b", "::")
			for _, f := range files {
				if !strings.Contains(names, "/"+f.Path+"\n") {
					t.Errorf("mdir does not show %q under its own case:\n%s", f.Path, names)
				}
			}
		})
	}
}

func TestSameInputSameBytes(t *testing.T) {
	o := Options{Size: 4 << 20, Label: "ESP", ID: 7}
	files := sampleFiles()
	a := image(t, o, files)
	rand.Shuffle(len(files), func(i, j int) { files[i], files[j] = files[j], files[i] })
	b := image(t, o, files)
	x, _ := os.ReadFile(a)
	y, _ := os.ReadFile(b)
	if !bytes.Equal(x, y) {
		t.Error("the order in which files are given changes the image")
	}
}

func TestRefusals(t *testing.T) {
	for _, tt := range []struct {
		name  string
		o     Options
		files []File
		want  string
	}{
		{"a volume too small", Options{Size: 1 << 20}, nil, "between 3 MiB"},
		{"files that do not fit", Options{Size: 3 << 20}, []File{{"x", make([]byte, 3<<20)}}, "do not fit"},
		{"a long label", Options{Size: 3 << 20, Label: "twelve chars"}, nil, "longer than 11"},
		{"a path out of the tree", Options{Size: 3 << 20}, []File{{"../x", nil}}, "not a path"},
		{"the same name in another case", Options{Size: 3 << 20}, []File{{"a/X", nil}, {"a/x", nil}}, "twice"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, err := os.Create(filepath.Join(t.TempDir(), "img"))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			err = Write(f, tt.o, tt.files)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want an error with %q", err, tt.want)
			}
			if st, _ := f.Stat(); st.Size() != 0 {
				t.Error("something was written before the refusal")
			}
		})
	}
}
