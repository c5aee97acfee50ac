package writelog

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
)

// logOf writes a log: each row is sector, flags and the byte that fills one sector.
func logOf(t *testing.T, rows [][3]uint64) string {
	t.Helper()
	out := make([]byte, 512)
	binary.LittleEndian.PutUint64(out, magic)
	binary.LittleEndian.PutUint64(out[8:], 1)
	binary.LittleEndian.PutUint64(out[16:], uint64(len(rows)))
	binary.LittleEndian.PutUint32(out[24:], 512)
	for _, r := range rows {
		h := make([]byte, 512)
		binary.LittleEndian.PutUint64(h, r[0])
		binary.LittleEndian.PutUint64(h[16:], r[1])
		if r[2] == 0 {
			out = append(out, h...)
			continue
		}
		binary.LittleEndian.PutUint64(h[8:], 1)
		body := make([]byte, 512)
		for i := range body {
			body[i] = byte(r[2])
		}
		out = append(append(out, h...), body...)
	}
	path := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(path, out, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestACutKeepsWhatWasFlushedAndAnyPartOfTheRest(t *testing.T) {
	l, err := Open(logOf(t, [][3]uint64{{0, 0, 'a'}, {1, 0, 'b'}, {0, Flush, 0}, {0, 0, 'c'}, {2, FUA, 'd'}, {1, 0, 'e'}}))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	rows := []struct {
		what  string
		n     int
		lucky bool
		want  string
	}{
		{"nothing written", 0, true, "..."},
		{"unlucky before the flush", 2, false, "..."},
		{"lucky before the flush", 2, true, "ab."},
		{"behind the flush", 3, false, "ab."},
		{"unlucky at the end: only what was written through", 6, false, "abd"},
		{"lucky at the end", 6, true, "ced"},
	}
	for _, row := range rows {
		disk, err := os.Create(filepath.Join(t.TempDir(), "disk"))
		if err != nil {
			t.Fatal(err)
		}
		defer disk.Close()
		blank := make([]byte, 3*512)
		for i := range blank {
			blank[i] = '.'
		}
		if _, err := disk.Write(blank); err != nil {
			t.Fatal(err)
		}
		for i := range l.Durable(row.n) {
			if err := l.Apply(disk, i); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.State(disk, row.n, func() bool { return row.lucky }); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(disk.Name())
		if err != nil {
			t.Fatal(err)
		}
		if got := string([]byte{data[0], data[512], data[1024]}); got != row.want {
			t.Errorf("%s: the disk holds %q, want %q", row.what, got, row.want)
		}
	}
}

func TestBrokenLogsAreRefused(t *testing.T) {
	good := logOf(t, [][3]uint64{{0, 0, 'a'}})
	data, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{"empty": nil, "no log at all": make([]byte, 4096), "cut off": data[:700][:512]} {
		path := filepath.Join(t.TempDir(), "log")
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
		if l, err := Open(path); err == nil {
			l.Close()
			t.Errorf("%s: no error", name)
		}
	}
}
