package bls

import (
	"strings"
	"testing"
)

func TestParseThenFormatKeepsEverything(t *testing.T) {
	const text = `title Debian GNU/Linux 12 (bookworm) (ostree:0)
version 2
options root=UUID=abc a="b  c" ostree=/ostree/boot.1/os/c/0
linux /ostree/os-c/vmlinuz-6.1
initrd /ostree/os-c/initramfs-6.1.img
initrd /ostree/initramfs-overlays/x.img
x-options-source-tuned isolcpus=1
grub_users
`
	e, err := Parse("ostree-2.conf", []byte("# a comment\n\n"+strings.Replace(text, "version 2", "version \t 2", 1)))
	if err != nil {
		t.Fatal(err)
	}
	if got := string(e.Format()); got != text {
		t.Errorf("got\n%s\nwant\n%s", got, text)
	}
	if got := e.All(Initrd); len(got) != 2 || got[1] != "/ostree/initramfs-overlays/x.img" {
		t.Errorf("initrd lines: %q", got)
	}
	if got := e.ExtraLines(); len(got) != 2 || got[0].Key != "x-options-source-tuned" {
		t.Errorf("extra lines: %v", got)
	}
}

func TestSetKeepsThePlaceOfAKey(t *testing.T) {
	e, _ := Parse("e.conf", []byte("title a\ninitrd 1\ninitrd 2\nlinux k\n"))
	e.Set(Initrd, "x")
	e.Set(Title, "b")
	e.Set(Options, "quiet")
	if got, want := string(e.Format()), "title b\ninitrd x\nlinux k\noptions quiet\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	e.Set(Initrd, "x", "y", "z")
	if got, want := string(e.Format()), "title b\ninitrd x\ninitrd y\ninitrd z\nlinux k\noptions quiet\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	e.Set(Initrd)
	if e.Get(Initrd) != "" || len(e.Lines) != 3 {
		t.Errorf("initrd is still there: %q", e.Format())
	}
}

func TestSortPutsTheHighestVersionFirst(t *testing.T) {
	var entries []Entry
	for _, v := range []string{"2", "10", "1", ""} {
		entries = append(entries, Entry{Name: "ostree-" + v + ".conf", Lines: []Line{{Version, v}}})
	}
	Sort(entries)
	var got []string
	for _, e := range entries {
		got = append(got, e.Get(Version))
	}
	if s := strings.Join(got, ","); s != "10,2,1," {
		t.Errorf("order is %s", s)
	}
}

func TestCompareVersions(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"1", "1", 0}, {"9", "10", -1}, {"010", "10", 0}, {"6.1.9", "6.1.10", -1}, {"6.1", "6.1.1", -1},
		{"a", "b", -1}, {"99999999999999999999999", "100000000000000000000000", -1},
	} {
		got := CompareVersions(c.a, c.b)
		if got < 0 != (c.want < 0) || got > 0 != (c.want > 0) {
			t.Errorf("%q against %q is %d", c.a, c.b, got)
		}
	}
}

func TestEntryNames(t *testing.T) {
	for name, want := range map[string]bool{
		"ostree-1.conf": true, "ostree-2-debian.conf": true, "ostree-1+3-1.conf": true,
		"rescue.conf": false, "ostree-1.conf.bak": false, "ostree-a/b.conf": false,
	} {
		if IsEntryName(name) != want {
			t.Errorf("IsEntryName(%q) is not %v", name, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("title a\noptions b=\"c d\"\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := Parse("x.conf", data)
		if err != nil {
			return
		}
		again, err := Parse("x.conf", e.Format())
		if err != nil {
			t.Fatal(err)
		}
		if string(again.Format()) != string(e.Format()) {
			t.Fatalf("%q formats to %q, then to %q", data, e.Format(), again.Format())
		}
	})
}
