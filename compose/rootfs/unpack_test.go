package rootfs

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const manyFiles = `
%install
mkdir -p %{buildroot}/usr/bin %{buildroot}/etc %{buildroot}/usr/share/doc/many %{buildroot}/usr/share/locale/de %{buildroot}/usr/share/locale/fr %{buildroot}/lib/many %{buildroot}/var/lib/many
echo tool > %{buildroot}/usr/bin/tool
ln %{buildroot}/usr/bin/tool %{buildroot}/usr/bin/tool-too
ln -s tool %{buildroot}/usr/bin/link
echo ping > %{buildroot}/usr/bin/ping
echo web > %{buildroot}/etc/web
echo doc > %{buildroot}/usr/share/doc/many/README
echo de > %{buildroot}/usr/share/locale/de/m.mo
echo fr > %{buildroot}/usr/share/locale/fr/m.mo
echo lib > %{buildroot}/lib/many/file
%files
%attr(4755,root,root) /usr/bin/tool
%attr(4755,root,root) /usr/bin/tool-too
/usr/bin/link
%attr(0755,root,root) %caps(cap_net_raw=ep) /usr/bin/ping
%attr(0640,root,web) %config(noreplace) /etc/web
%attr(0600,nobodyknows,root) %ghost /etc/ghost
%doc /usr/share/doc/many/README
%lang(de) /usr/share/locale/de/m.mo
%lang(fr) /usr/share/locale/fr/m.mo
/lib/many
%attr(2750,web,web) %dir /var/lib/many
`

func TestUnpack(t *testing.T) {
	b := mustBuild(t, Options{NoDocs: true, Langs: []string{"de"}}, basePackage(t), buildRPM(t, "many", manyFiles))
	stat := func(name string) *syscall.Stat_t {
		fi, err := os.Lstat(filepath.Join(b.root, name))
		if err != nil {
			t.Errorf("%v", err)
			return &syscall.Stat_t{}
		}
		return fi.Sys().(*syscall.Stat_t)
	}
	for _, c := range []struct {
		name     string
		mode     uint32
		uid, gid uint32
	}{
		{"usr/bin/tool", unix.S_IFREG | 0o4755, 0, 0},
		{"usr/bin/tool-too", unix.S_IFREG | 0o4755, 0, 0},
		{"usr/bin/link", unix.S_IFLNK | 0o777, 0, 0},
		{"usr/etc/web", unix.S_IFREG | 0o640, 0, 33},
		{"usr/lib/many/file", unix.S_IFREG | 0o644, 0, 0},
		{"usr/lib/many", unix.S_IFDIR | 0o755, 0, 0},
		{"lib", unix.S_IFLNK | 0o777, 0, 0},
	} {
		if st := stat(c.name); st.Mode != c.mode || st.Uid != c.uid || st.Gid != c.gid {
			t.Errorf("%s: mode %o owner %d:%d, want %o %d:%d", c.name, st.Mode, st.Uid, st.Gid, c.mode, c.uid, c.gid)
		}
	}
	if a, b := stat("usr/bin/tool"), stat("usr/bin/tool-too"); a.Ino != b.Ino {
		t.Error("a hard link became two files")
	}
	if got := b.read(t, "usr/bin/tool-too"); got != "tool\n" {
		t.Errorf("contents of a hard link: %q", got)
	}
	caps := make([]byte, 64)
	n, err := unix.Lgetxattr(filepath.Join(b.root, "usr/bin/ping"), "security.capability", caps)
	if err != nil || n != 20 || caps[5] != 0x20 {
		t.Errorf("capabilities of ping: % x, %v", caps[:max(n, 0)], err)
	}
	for _, gone := range []string{"usr/etc/ghost", "usr/share/doc/many/README", "usr/share/locale/fr/m.mo"} {
		if _, err := os.Lstat(filepath.Join(b.root, gone)); err == nil {
			t.Errorf("%s is in the tree", gone)
		}
	}
	stat("usr/share/locale/de/m.mo")
	if conf := b.read(t, "usr/lib/tmpfiles.d/rpm-ostree-1-autovar.conf"); !strings.Contains(conf, "d /var/lib/many 2750 web web - -\n") {
		t.Errorf("autovar.conf: %q", conf)
	}
}

func TestConflicts(t *testing.T) {
	file := func(name, text, mode string) string {
		return buildRPM(t, name, "%install\nmkdir -p %{buildroot}/usr/share\necho "+text+" > %{buildroot}/usr/share/it\n%files\n%attr("+mode+",root,root) /usr/share/it\n")
	}
	base := basePackage(t)
	mustBuild(t, Options{}, base, file("one", "same", "0644"), file("two", "same", "0644"))
	b := build(t, Options{}, base, file("one", "this", "0644"), file("two", "that", "0644"))
	want := "file /usr/share/it conflicts between one-1-1.noarch and two-1-1.noarch"
	if b.err == nil || !strings.Contains(b.err.Error(), want) {
		t.Errorf("got %v, want %q", b.err, want)
	}
	if b := build(t, Options{}, base, file("one", "same", "0644"), file("two", "same", "0600")); b.err == nil {
		t.Error("files of different modes do not conflict")
	}
}

// A package whose link points out of the tree cannot make another one write
// there: not with an absolute link, not with "..".
func TestEscape(t *testing.T) {
	outside := t.TempDir()
	for name, target := range map[string]string{"absolute": outside, "dots": strings.Repeat("../", 20) + outside[1:]} {
		link := buildRPM(t, "link", "%install\nmkdir -p %{buildroot}/usr/share\nln -s "+target+" %{buildroot}/usr/share/way\n%files\n/usr/share/way\n")
		writer := buildRPM(t, "writer", "%install\nmkdir -p %{buildroot}/usr/share/way\necho x > %{buildroot}/usr/share/way/file\n%files\n/usr/share/way/file\n")
		b := build(t, Options{}, basePackage(t), link, writer)
		if list, _ := os.ReadDir(outside); len(list) > 0 {
			t.Fatalf("%s: written outside the tree", name)
		}
		if b.err == nil {
			continue // the link was resolved below the root
		}
		if !strings.Contains(b.err.Error(), "/usr/share/way") {
			t.Errorf("%s: %v", name, b.err)
		}
	}
}

func TestLinkAndDirectory(t *testing.T) {
	dir := buildRPM(t, "dir", "%install\nmkdir -p %{buildroot}/usr/share/it\necho x > %{buildroot}/usr/share/it/file\n%files\n/usr/share/it\n")
	link := buildRPM(t, "link", "%install\nmkdir -p %{buildroot}/usr/share\nln -s other %{buildroot}/usr/share/it\n%files\n/usr/share/it\n")
	b := build(t, Options{}, basePackage(t), dir, link)
	if b.err == nil || !strings.Contains(b.err.Error(), "/usr/share/it") {
		t.Errorf("a link in place of a directory: %v", b.err)
	}
}

// A package from before the merge of /usr, unpacked into a merged tree: a file
// and the link to it become one path, and directories behind links are made.
func TestMergedUsr(t *testing.T) {
	links := buildRPM(t, "links", "%install\nmkdir -p %{buildroot}\nfor d in bin sbin lib; do ln -s usr/$d %{buildroot}/$d; done\nln -s /var/data %{buildroot}/data\n%files\n/bin\n/sbin\n/lib\n/data\n")
	old := buildRPM(t, "old", `
%install
mkdir -p %{buildroot}/bin %{buildroot}/usr/bin %{buildroot}/sbin %{buildroot}/data %{buildroot}/lib/modules/6.1
echo find > %{buildroot}/bin/find
ln -s ../../bin/find %{buildroot}/usr/bin/find
echo fsck > %{buildroot}/sbin/fsck
echo kernel > %{buildroot}/lib/modules/6.1/vmlinuz
echo x > %{buildroot}/data/file
%files
/bin/find
/usr/bin/find
/sbin/fsck
/lib/modules
/data/file
`)
	b := mustBuild(t, Options{}, links, old)
	if got := b.read(t, "usr/bin/find") + b.read(t, "usr/sbin/fsck"); got != "find\nfsck\n" {
		t.Errorf("got %q", got)
	}
	if _, err := os.Lstat("/var/data"); err == nil {
		t.Error("the directory was made outside the tree")
	}
}

func TestParseCaps(t *testing.T) {
	for text, want := range map[string]string{
		"cap_net_raw=ep":                    "010000020020000000000000",
		"cap_setgid,cap_setuid+ep":          "01000002c000000000000000",
		"= cap_chown+i":                     "000000020000000001000000",
		"cap_net_raw+ep cap_chown+p":        "010000020120000000000000",
		"cap_net_raw+ep cap_net_raw-e":      "000000020020000000000000",
		"cap_net_bind_service=+ep":          "010000020004000000000000",
		"cap_checkpoint_restore,cap_bpf=ep": "0100000200000000000000008001",
	} {
		got, err := parseCaps(text)
		if err != nil || !strings.HasPrefix(hexString(got), want[:24]) {
			t.Errorf("%q: %s, %v", text, hexString(got), err)
		}
	}
	for _, bad := range []string{"net_raw", "cap_nonsense=ep", "cap_chown=x"} {
		if _, err := parseCaps(bad); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
	if got, err := parseCaps(""); got != nil || err != nil {
		t.Errorf("no capabilities: % x, %v", got, err)
	}
}

func hexString(b []byte) string {
	const digits = "0123456789abcdef"
	var s strings.Builder
	for _, c := range b {
		s.WriteByte(digits[c>>4])
		s.WriteByte(digits[c&15])
	}
	return s.String()
}
