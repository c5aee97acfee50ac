package rpm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

func open(t *testing.T, name string) *Package {
	t.Helper()
	p, err := Open(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// unpack reads a payload to its end.
func unpack(p *Package) (map[string]string, error) {
	a, err := p.Payload()
	if err != nil {
		return nil, err
	}
	defer a.Close()
	out := map[string]string{}
	for {
		e, err := a.Next()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return out, err
		}
		data, err := io.ReadAll(a)
		if err != nil {
			return out, err
		}
		if uint64(len(data)) != e.Size {
			return out, fmt.Errorf("%s: read %d bytes of %d", e.Path, len(data), e.Size)
		}
		out[e.Path] = string(data)
		for _, l := range e.Links {
			out[l.Path] = "-> " + e.Path
		}
	}
}

func TestPayloadCompressions(t *testing.T) {
	names, _ := filepath.Glob("testdata/payload-test-*.rpm")
	if len(names) != 5 {
		t.Fatalf("%d packages instead of 5", len(names))
	}
	seen := map[string]bool{}
	for _, n := range names {
		p := open(t, filepath.Base(n))
		files, err := unpack(p)
		if err != nil || len(files) != 1 || len(files["/config"]) != 10 && len(files) != 1 {
			t.Errorf("%s: %q, %v", n, files, err)
		}
		seen[p.PayloadCompressor] = true
	}
	if len(seen) != 5 {
		t.Errorf("compressors: %v", seen)
	}
}

// TestAgainstRPM compares what is read with what rpm itself prints.
func TestAgainstRPM(t *testing.T) {
	rpm, err := exec.LookPath("rpm")
	if err != nil {
		t.Fatal("rpm is not installed: install the package rpm")
	}
	query := `[%{REQUIRENAME} %{REQUIREFLAGS:depflags} %{REQUIREVERSION} R\n][%{PROVIDENAME} %{PROVIDEFLAGS:depflags} %{PROVIDEVERSION} P\n]` +
		`[%{CONFLICTNAME} %{CONFLICTFLAGS:depflags} %{CONFLICTVERSION} C\n][%{OBSOLETENAME} %{OBSOLETEFLAGS:depflags} %{OBSOLETEVERSION} O\n]` +
		`[%{RECOMMENDNAME} %{RECOMMENDFLAGS:depflags} %{RECOMMENDVERSION} W\n][%{SUPPLEMENTNAME} %{SUPPLEMENTFLAGS:depflags} %{SUPPLEMENTVERSION} S\n]` +
		`[%{FILENAMES} %{FILEMODES} %{LONGFILESIZES} %{FILEMTIMES} %{FILEUSERNAME} %{FILEGROUPNAME} %{FILEFLAGS} F\n]`
	names, _ := filepath.Glob("testdata/*.rpm")
	for _, n := range names {
		out, err := exec.Command(rpm, "-qp", "--nosignature", "--nodigest", "--qf", query, n).Output()
		if err != nil {
			t.Fatalf("rpm -qp %s: %v", n, err)
		}
		p := open(t, filepath.Base(n))
		var b strings.Builder
		for _, l := range []struct {
			kind string
			deps []Dep
		}{{"R", p.Requires}, {"P", p.Provides}, {"C", p.Conflicts}, {"O", p.Obsoletes}, {"W", p.Recommends}, {"S", p.Supplements}} {
			for _, d := range l.deps {
				fmt.Fprintf(&b, "%s %s %s %s\n", d.Name, d.Flags.Operator(), d.EVR, l.kind)
			}
		}
		for _, f := range p.Files {
			fmt.Fprintf(&b, "%s %d %d %d %s %s %d F\n", f.Path, f.Mode, f.Size, f.MTime, f.Owner, f.Group, f.Flags)
		}
		want := words(string(out))
		if got := words(b.String()); !slices.Equal(got, want) {
			t.Errorf("%s:\ngot  %q\nwant %q", n, got, want)
		}
	}
}

// words makes lines comparable: one blank between words, "(none)" is nothing,
// and an epoch of zero is not printed.
func words(s string) (out []string) {
	for line := range strings.Lines(s) {
		line = strings.ReplaceAll(strings.ReplaceAll(line, "(none)", ""), " 0:", " ")
		if f := strings.Fields(line); len(f) > 1 {
			out = append(out, strings.Join(f, " "))
		}
	}
	return out
}

func TestScriptsAndTriggers(t *testing.T) {
	p := open(t, "ipvsadm-1.27-7.el7.x86_64.rpm")
	if s := p.Script(Post); s == nil || s.Args[0] != "/bin/sh" || !strings.Contains(s.Body, "systemctl preset ipvsadm.service") {
		t.Errorf("%%post is %+v", s)
	}
	if p.Script(Pre) != nil || p.Script(Preun) == nil || p.Script(Preun).Flags&ScriptCritical == 0 || p.Script(Post).Flags&ScriptCritical != 0 {
		t.Errorf("scripts are %+v", p.Scripts)
	}
	if len(p.Triggers) != 1 || p.Triggers[0].Kind != TriggerIn && p.Triggers[0].Kind != TriggerUn || p.Triggers[0].On[0].Name != "ipvsadm" {
		t.Errorf("triggers are %+v", p.Triggers)
	}
	lua := open(t, "luafork-1.0-1.noarch.rpm")
	if s := lua.Script(Pre); s == nil || s.Args[0] != "<lua>" || !strings.HasPrefix(s.Body, "local pid") {
		t.Errorf("%%pre is %+v", s)
	}
}

func TestHeaderBlob(t *testing.T) {
	blob, err := os.ReadFile("testdata/filetriggers.hdr")
	if err != nil {
		t.Fatal(err)
	}
	p, err := ParseHeader(blob)
	if err != nil {
		t.Fatal(err)
	}
	if p.Name != "glib2" || p.Arch != "x86_64" || len(p.Files) == 0 {
		t.Errorf("got %s with %d files", p.NEVRA, len(p.Files))
	}
	var in *Trigger
	for i := range p.Triggers {
		if p.Triggers[i].Kind == TransFileTriggerIn {
			in = &p.Triggers[i]
		}
	}
	if in == nil || len(in.Args) == 0 || !strings.HasPrefix(in.On[0].Name, "/usr/") {
		t.Errorf("file triggers are %+v", p.Triggers)
	}
	if !bytes.Equal(p.HeaderBlob(), blob) {
		t.Error("the blob that comes out is not the one that went in")
	}
	if _, err := p.Payload(); !errors.Is(err, ErrNoPayload) {
		t.Errorf("a payload of a header: %v", err)
	}
	q := open(t, "ipvsadm-1.27-7.el7.x86_64.rpm")
	again, err := ParseHeader(q.HeaderBlob())
	if err != nil || again.NEVRA != q.NEVRA || len(again.Files) != len(q.Files) {
		t.Errorf("a package's header read as a blob: %v", err)
	}
}

func TestFormat6(t *testing.T) {
	p := open(t, "rpm-file-attrs-1.0-1.noarch.rpm")
	if p.Format != 6 {
		t.Errorf("format %d", p.Format)
	}
	caps, ghosts, config := 0, 0, 0
	for _, f := range p.Files {
		if f.Caps != "" {
			caps++
		}
		if f.Flags&FileGhost != 0 {
			ghosts++
		}
		if f.Flags&FileConfig != 0 {
			config++
		}
	}
	if caps == 0 || ghosts != 1 || config != 2 {
		t.Errorf("%d capabilities, %d ghosts, %d config files", caps, ghosts, config)
	}
	files, err := unpack(p)
	if err != nil || len(files) != len(p.Files)-ghosts {
		t.Errorf("%d of %d files, %v", len(files), len(p.Files), err)
	}
	if _, err := unpack(open(t, "rpm-file-types-1.0-1.noarch.rpm")); err != nil {
		t.Error(err)
	}
}

func TestHardLinks(t *testing.T) {
	p := open(t, "hlinktest-1.0-1.noarch-v3sig.rpm")
	files, err := unpack(p)
	if err != nil {
		t.Fatal(err)
	}
	links := 0
	for _, content := range files {
		if to, ok := strings.CutPrefix(content, "-> "); ok {
			links++
			if files[to] == "" || strings.HasPrefix(files[to], "-> ") {
				t.Errorf("a link to %q, which has no content", to)
			}
		}
	}
	if links == 0 || len(files) != len(p.Files) {
		t.Errorf("%d links in %v", links, files)
	}
}

func TestShortReads(t *testing.T) {
	data, err := os.ReadFile("testdata/ipvsadm-1.27-7.el7.x86_64.rpm")
	if err != nil {
		t.Fatal(err)
	}
	p, err := Read(iotest.OneByteReader(bytes.NewReader(data)))
	if err != nil {
		t.Fatal(err)
	}
	if files, err := unpack(p); err != nil || len(files) != 10 {
		t.Errorf("%d files, %v", len(files), err)
	}
}

// TestDamage flips and cuts bytes at many places: what is not noticed at once
// must be noticed by a digest, and nothing may panic.
func TestDamage(t *testing.T) {
	for _, name := range []string{"payload-test-0.1-w9.gzdio.x86_64.rpm", "rpm-file-types-1.0-1.noarch.rpm", "payload-test-0.1-w6.lzdio.x86_64.rpm"} {
		data, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		read := func(b []byte) error {
			p, err := Read(bytes.NewReader(b))
			if err == nil {
				_, err = unpack(p)
			}
			return err
		}
		sigEnd := 96 + 16 + int(binary.BigEndian.Uint32(data[104:]))*16 + int(binary.BigEndian.Uint32(data[108:]))
		sigEnd += (8 - (sigEnd-96)%8) % 8
		for i := 0; i < len(data); i += 1 + i/97 {
			if read(data[:i]) == nil {
				t.Errorf("%s cut at %d was accepted", name, i)
			}
			bad := bytes.Clone(data)
			bad[i] ^= 0x41
			if err := read(bad); err == nil && i >= sigEnd {
				t.Errorf("%s with byte %d changed was accepted", name, i)
			}
		}
	}
}

func TestDamageIsNamed(t *testing.T) {
	_, err := unpack(open(t, "signed_broken.rpm"))
	var d *DigestError
	if !errors.As(err, &d) || !strings.Contains(err.Error(), "kio-stash-lang") || !strings.Contains(err.Error(), d.Want) {
		t.Errorf("got %v", err)
	}
	data, err := os.ReadFile("testdata/luafork-1.0-1.noarch.rpm")
	if err != nil {
		t.Fatal(err)
	}
	i := bytes.Index(data, []byte("local pid"))
	data[i] = 'L'
	if _, err := Read(bytes.NewReader(data)); !errors.As(err, &d) || !strings.Contains(d.What, "header") {
		t.Errorf("a changed script: %v", err)
	}
	if _, err := Open("testdata/README.md"); err == nil || !strings.Contains(err.Error(), "not an RPM package") {
		t.Errorf("a text file: %v", err)
	}
}

// blob makes a header of entries.
func blob(data string, entries ...[4]uint32) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(entries)))
	b = binary.BigEndian.AppendUint32(b, uint32(len(data)))
	for _, e := range entries {
		for _, v := range e {
			b = binary.BigEndian.AppendUint32(b, v)
		}
	}
	return append(b, data...)
}

func TestHostileHeaders(t *testing.T) {
	name, version := [4]uint32{tagName, 6, 0, 1}, [4]uint32{tagVersion, 6, 2, 1}
	if _, err := ParseHeader(blob("a\x001\x00", name, version)); err != nil {
		t.Fatalf("a good header: %v", err)
	}
	for what, b := range map[string][]byte{
		"nothing":                    nil,
		"no entries":                 blob(""),
		"an unterminated string":     blob("a\x001", name, version),
		"an offset outside":          blob("a\x001\x00", name, [4]uint32{tagVersion, 6, 200, 1}),
		"an offset that wraps":       blob("a\x001\x00", name, version, [4]uint32{tagSize, 4, 0xfffffffc, 4}),
		"a huge count":               blob("a\x001\x00", name, version, [4]uint32{tagFileModes, 3, 0, 0xffffffff}),
		"a count of zero":            blob("a\x001\x00", name, version, [4]uint32{tagFileModes, 3, 0, 0}),
		"an unknown type":            blob("a\x001\x00", name, version, [4]uint32{tagFileModes, 77, 0, 1}),
		"a path with ..":             blob("a\x001\x00../x\x00\x00\x00\x00\x00", name, version, [4]uint32{tagOldFilenames, 8, 4, 1}, [4]uint32{tagFileModes, 3, 10, 1}),
		"a directory number outside": blob("a\x001\x00f\x00/\x00\x00\x00\x00\x09\x00\x00", name, version, [4]uint32{tagBasenames, 8, 4, 1}, [4]uint32{tagDirnames, 8, 6, 1}, [4]uint32{tagDirIndexes, 4, 8, 1}, [4]uint32{tagFileModes, 3, 12, 1}),
		"more entries than data":     {0, 0, 0xff, 0xff, 0, 0, 0, 0},
		"a huge size":                {0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff},
	} {
		if p, err := ParseHeader(b); err == nil {
			t.Errorf("%s was accepted: %+v", what, p.NEVRA)
		}
	}
}

func TestHostileArchives(t *testing.T) {
	newc := func(name string, mode, nlink, size int, data string) string {
		head := fmt.Sprintf("070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", 1, mode, 0, 0, nlink, 0, size, 0, 0, 0, 0, len(name)+1, 0)
		s := head + name + "\x00"
		s += strings.Repeat("\x00", -len(s)&3) + data
		return s + strings.Repeat("\x00", -len(data)&3)
	}
	end := newc("TRAILER!!!", 0, 1, 0, "")
	file := File{Path: "/f", Mode: 0o100644, Size: 3}
	link := func(path string, size uint64) File { return File{Path: path, Mode: 0o100644, Size: size, Inode: 7} }
	for _, c := range []struct {
		name    string
		files   []File
		archive string
		want    string // part of the error; "" is success
	}{
		{"a good one", []File{file}, newc("./f", 0o100644, 1, 3, "abc") + end, ""},
		{"no trailer", []File{file}, newc("./f", 0o100644, 1, 3, "abc"), "ends too early"},
		{"a file that the header lacks", []File{file}, newc("./g", 0o100644, 1, 3, "abc") + end, "not in the header"},
		{"a file outside", []File{file}, newc("../../f2", 0o100644, 1, 3, "abc") + end, "not in the header"},
		{"a file twice", []File{file}, newc("./f", 0o100644, 1, 3, "abc") + newc("./f", 0o100644, 1, 3, "abc") + end, "twice"},
		{"another size", []File{file}, newc("./f", 0o100644, 1, 4, "abcd") + end, "header says 3"},
		{"another type", []File{file}, newc("./f", 0o120777, 1, 3, "abc") + end, "type"},
		{"a file that is missing", []File{file}, end, "not in the payload"},
		{"a ghost that is missing", []File{{Path: "/g", Mode: 0o100644, Size: 9, Flags: FileGhost}}, end, ""},
		{"garbage", []File{file}, "0707zz" + strings.Repeat("x", 200), "no archive record"},
		{"a number that is none", []File{file}, "070701" + strings.Repeat("zz", 52), "damaged"},
		{"hard links, data last", []File{link("/a", 3), link("/b", 3)}, newc("./a", 0o100644, 2, 0, "") + newc("./b", 0o100644, 2, 3, "abc") + end, ""},
		{"hard links without data", []File{link("/a", 3), link("/b", 3)}, newc("./a", 0o100644, 2, 0, "") + newc("./b", 0o100644, 2, 0, "") + end, "missing"},
		{"empty hard links", []File{link("/a", 0), link("/b", 0)}, newc("./a", 0o100644, 2, 0, "") + newc("./b", 0o100644, 2, 0, "") + end, ""},
		{"stripped", []File{file}, "07070X00000000\x00\x00abc\x00" + end, ""},
		{"stripped, a number outside", []File{file}, "07070X00000009\x00\x00abc\x00" + end, "file 9 of 1"},
	} {
		p := &Package{NEVRA: NEVRA{Name: "x"}, Files: c.files, rest: strings.NewReader(c.archive)}
		_, err := unpack(p)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
}

func FuzzParseHeader(f *testing.F) {
	f.Add(blob("a\x001\x00", [4]uint32{tagName, 6, 0, 1}, [4]uint32{tagVersion, 6, 2, 1}))
	if b, err := os.ReadFile("testdata/filetriggers.hdr"); err == nil {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := ParseHeader(b); err == nil && p.Name == "" {
			t.Error("a package without a name")
		}
	})
}
