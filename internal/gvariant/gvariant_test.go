package gvariant_test

import (
	"bytes"
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"photree/internal/gvariant"
)

// rows reads a file of testdata: tab-separated fields, '#' for comments.
func rows(t testing.TB, name string, fields int) [][]string {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	var out [][]string
	for line := range strings.SplitSeq(strings.TrimSuffix(string(data), "\n"), "\n") {
		if strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.Split(line, "\t")
		if len(f) != fields {
			t.Fatalf("%s: %d fields in %q", name, len(f), line)
		}
		out = append(out, f)
	}
	return out
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestTextAndByteswapAreGLibs(t *testing.T) {
	for _, f := range rows(t, "glib.txt", 5) {
		v, err := gvariant.Parse(f[0], unhex(t, f[1]))
		if err != nil {
			t.Errorf("%s %s: %v", f[0], f[2], err)
			continue
		}
		if got := gvariant.Format(v, gvariant.FormatOptions{}); got != f[2] {
			t.Errorf("text of %s\n got %s\nwant %s", f[0], got, f[2])
		}
		if got := gvariant.Format(v, gvariant.FormatOptions{NoTypes: true}); got != f[3] {
			t.Errorf("plain text of %s\n got %s\nwant %s", f[0], got, f[3])
		}
		if got := gvariant.Byteswap(v); hex.EncodeToString(got.Bytes()) != f[4] {
			t.Errorf("byteswap of %s: got %x, want %s", f[2], got.Bytes(), f[4])
		}
		if got := rebuild(v); !bytes.Equal(got.Bytes(), v.Bytes()) || got.Type() != v.Type() {
			t.Errorf("%s built anew is %x, want %x", f[2], got.Bytes(), v.Bytes())
		}
	}
}

func TestNormalFormIsGLibs(t *testing.T) {
	for _, f := range rows(t, "normal.txt", 3) {
		_, err := gvariant.Parse(f[0], unhex(t, f[1]))
		if f[0] == "(masms)" && f[1] == "" {
			continue // GLib takes no bytes at all besides the one byte that it writes itself; one encoding is enough
		}
		if want := f[2] == "1"; want != (err == nil) {
			t.Errorf("%s %s: GLib says normal form %v, we say %v", f[0], f[1], want, err)
		}
	}
}

// rebuild makes v again with the constructors, down to its leaves.
func rebuild(v gvariant.Value) gvariant.Value {
	children := func() []gvariant.Value {
		out := make([]gvariant.Value, v.Len())
		for i := range out {
			out[i] = rebuild(v.Index(i))
		}
		return out
	}
	switch typ := v.Type(); typ[0] {
	case 'b':
		return gvariant.Bool(v.Bool())
	case 's':
		return gvariant.String(v.Str())
	case 'u':
		return gvariant.Uint32(v.Uint32())
	case 't':
		return gvariant.Uint64(v.Uint64())
	case 'v':
		return gvariant.VariantOf(rebuild(v.Variant()))
	case 'a':
		if typ == "a{sv}" {
			d := v.Dict()
			for i := range d {
				d[i].Value = rebuild(d[i].Value)
			}
			return d.Value()
		}
		return gvariant.Array(typ[1:], children()...)
	case '(':
		return gvariant.Tuple(children()...)
	case '{':
		c := children()
		return gvariant.DictEntry(c[0], c[1])
	case 'm':
		if v.Len() == 0 {
			return gvariant.Maybe(typ[1:], nil)
		}
		in := rebuild(v.Index(0))
		return gvariant.Maybe(typ[1:], &in)
	}
	return v
}

func TestDict(t *testing.T) {
	var d gvariant.Dict
	d.Set("a", gvariant.String("1"))
	d.Set("b", gvariant.Uint32(2))
	d.Set("a", gvariant.String("3"))
	if d.GetString("a") != "3" || len(d) != 2 {
		t.Errorf("after setting a twice: %v", d)
	}
	if d.GetString("b") != "" {
		t.Error("GetString of a number is not empty")
	}
	keep := append(gvariant.Dict{}, d...)
	d.Delete("a")
	if _, ok := d.Get("a"); ok || len(d) != 1 || keep.GetString("a") != "3" {
		t.Errorf("after deleting a: %v, copy %v", d, keep)
	}
}

// FuzzParse checks that whatever Parse takes can be read, printed and built again to the same bytes.
func FuzzParse(f *testing.F) {
	for _, r := range rows(f, "glib.txt", 5) {
		f.Add(r[0], unhex(f, r[1]))
	}
	for i, r := range rows(f, "normal.txt", 3) {
		if i%10 == 0 {
			f.Add(r[0], unhex(f, r[1]))
		}
	}
	f.Fuzz(func(t *testing.T, typ string, data []byte) {
		v, err := gvariant.Parse(typ, data)
		if err != nil {
			return
		}
		if got := rebuild(v); !bytes.Equal(got.Bytes(), v.Bytes()) {
			t.Errorf("%s: %x is taken as normal form, built anew it is %x", typ, data, got.Bytes())
		}
		gvariant.Format(v, gvariant.FormatOptions{})
		if twice := gvariant.Byteswap(gvariant.Byteswap(v)); !bytes.Equal(twice.Bytes(), data) {
			t.Errorf("%s: %x swapped twice is %x", typ, data, twice.Bytes())
		}
	})
}
