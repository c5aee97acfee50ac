package rootfs

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"
)

// state is a package with things in all the places that a tree may not have
// them.
const state = `
%install
mkdir -p %{buildroot}/var/lib/state/sub %{buildroot}/var/log %{buildroot}/opt/vendor %{buildroot}/root %{buildroot}/usr/local/bin %{buildroot}/boot/grub2 %{buildroot}/usr/lib/tmpfiles.d %{buildroot}/etc
echo x > %{buildroot}/var/lib/state/file
ln -s ../lib/state %{buildroot}/var/log/state
echo x > %{buildroot}/root/.profile
echo x > %{buildroot}/boot/photon.cfg
echo x > %{buildroot}/boot/grub2/font.pf2
echo 'd /var/lib/known 0755 root root -' > %{buildroot}/usr/lib/tmpfiles.d/state.conf
mkdir -p %{buildroot}/var/lib/known "%{buildroot}/var/lib/with space"
echo secret > %{buildroot}/etc/machine-id
echo nameserver 1.2.3.4 > %{buildroot}/etc/resolv.conf
mkdir -p %{buildroot}/etc/ssh
echo key > %{buildroot}/etc/ssh/ssh_host_rsa_key
%files
%attr(0750,web,web) %dir /var/lib/state
%dir /var/lib/state/sub
/var/lib/state/file
/var/log/state
/var/lib/known
"/var/lib/with space"
%dir /opt/vendor
%attr(0700,root,root) %dir /root
/root/.profile
/usr/local/bin
/boot/photon.cfg
/boot/grub2/font.pf2
/usr/lib/tmpfiles.d/state.conf
/etc/machine-id
/etc/resolv.conf
/etc/ssh/ssh_host_rsa_key
`

// The tree has the names that a deployment needs, and nothing where machines
// keep their state.
func TestLayout(t *testing.T) {
	o := Options{Layout: Layout{
		Treefile: []byte("{}\n"),
		Initramfs: func(_ context.Context, tree, kver string, w io.Writer) error {
			_, err := fmt.Fprintf(w, "initramfs of %s\n", kver)
			return err
		},
	}}
	b := mustBuild(t, o, basePackage(t), buildRPM(t, "state", state))
	if b.tree.KVER != "6.1" {
		t.Errorf("KVER is %q", b.tree.KVER)
	}
	var got []string
	list, _ := os.ReadDir(b.root)
	for _, e := range list {
		s := e.Name()
		if target, err := os.Readlink(filepath.Join(b.root, s)); err == nil {
			s += "->" + target
		}
		got = append(got, s)
	}
	sort.Strings(got)
	want := "bin->usr/bin boot dev home->var/home lib->usr/lib lib64->usr/lib64 media->run/media mnt->var/mnt opt->var/opt " +
		"ostree->sysroot/ostree proc root->var/roothome run sbin->usr/sbin srv->var/srv sys sysroot tmp usr var"
	if strings.Join(got, " ") != want {
		t.Errorf("the root holds\n%s\nwant\n%s", strings.Join(got, " "), want)
	}
	for _, empty := range []string{"var", "boot", "run", "tmp", "dev", "proc", "sys", "sysroot"} {
		if list, err := os.ReadDir(filepath.Join(b.root, empty)); len(list) != 0 || err != nil {
			t.Errorf("/%s holds %v, %v", empty, list, err)
		}
	}
	if fi, err := os.Stat(filepath.Join(b.root, "tmp")); err != nil || fi.Mode() != os.ModeDir|os.ModeSticky|0o777 {
		t.Errorf("/tmp: %v", fi.Mode())
	}
	for name, want := range map[string]string{
		"usr/etc/machine-id":                     "",
		"usr/lib/modules/6.1/vmlinuz":            "kernel\n",
		"usr/lib/modules/6.1/initramfs.img":      "initramfs of 6.1\n",
		"usr/lib/ostree-boot/photon.cfg":         "x\n",
		"usr/lib/ostree-boot/grub2/font.pf2":     "x\n",
		"usr/share/rpm-ostree/treefile.json":     "{}\n",
		"usr/lib/rpm/macros.d/macros.rpm-ostree": "%_dbpath /usr/share/rpm\n",
		"usr/lib/tmpfiles.d/rpm-ostree-1-autovar.conf": "d /var/lib/state 0750 web web - -\n" +
			"d /var/lib/state/sub 0755 root root - -\nd \"/var/lib/with space\" 0755 root root - -\n" +
			"d /var/log 0755 root root - -\nL /var/log/state - - - - ../lib/state\nd /var/opt/vendor 0755 root root - -\n",
	} {
		got := b.read(t, name)
		if name == "usr/lib/tmpfiles.d/rpm-ostree-1-autovar.conf" {
			got = strings.Replace(got, "d /var/lib 0755 root root - -\n", "", 1)
		}
		if got != want {
			t.Errorf("%s: got\n%q\nwant\n%q", name, got, want)
		}
	}
	for _, gone := range []string{"etc", "usr/etc/resolv.conf", "usr/etc/ssh/ssh_host_rsa_key"} {
		if _, err := os.Lstat(filepath.Join(b.root, gone)); err == nil {
			t.Errorf("%s is in the tree", gone)
		}
	}
	if len(b.warns) != 1 || !strings.Contains(b.warns[0], "/var/lib/state/file, /var/roothome/.profile") {
		t.Errorf("warnings: %q", b.warns)
	}
}

func TestKernels(t *testing.T) {
	second := buildRPM(t, "second", "%install\nmkdir -p %{buildroot}/boot\necho k > %{buildroot}/boot/vmlinuz-6.2\n%files\n/boot/vmlinuz-6.2\n")
	b := build(t, Options{}, basePackage(t), second)
	if b.err == nil || !strings.Contains(b.err.Error(), "several kernels (6.1, 6.2)") {
		t.Errorf("two kernels: %v", b.err)
	}
	b = build(t, Options{}, second)
	if b.err != nil {
		t.Errorf("a kernel in /boot: %v", b.err)
	} else if got := b.read(t, "usr/lib/modules/6.2/vmlinuz"); got != "k\n" {
		t.Errorf("kernel: %q", got)
	}
	b = build(t, Options{}, buildRPM(t, "none", "%files\n"))
	if b.err == nil || !strings.Contains(b.err.Error(), "the tree has no kernel") {
		t.Errorf("no kernel: %v", b.err)
	}
}

func TestTreefileSteps(t *testing.T) {
	src := filepath.Join(t.TempDir(), "motd")
	if err := os.WriteFile(src, []byte("welcome\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	unit := buildRPM(t, "units", `
%install
mkdir -p %{buildroot}/usr/lib/systemd/system %{buildroot}/usr/lib/systemd/system-preset %{buildroot}/usr/share/units
cd %{buildroot}/usr/lib/systemd/system
printf '[Unit]\n[Install]\nWantedBy=multi-user.target\nAlias=dbus-a.service\nAlso=b.socket\n' > a.service
printf '[Install]\nWantedBy=sockets.target\n' > b.socket
printf '[Install]\nWantedBy=multi-user.target\n' > off.service
printf '[Install]\nWantedBy=getty.target\nDefaultInstance=tty1\n' > getty@.service
printf '[Unit]\n' > multi-user.target
printf 'disable off.service\nenable *\n' > ../system-preset/90.preset
echo x > %{buildroot}/usr/share/units/keep
echo x > %{buildroot}/usr/share/units/drop.txt
mkdir -p %{buildroot}/etc
echo old > %{buildroot}/etc/old
%post
systemctl --no-reload preset a.service off.service >/dev/null 2>&1 || :
%files
/usr/lib/systemd
/usr/share/units
/etc/old
`)
	release := buildRPM(t, "release", "%install\nmkdir -p %{buildroot}/usr/lib\nprintf 'NAME=Test\\nVERSION=\"5.0\"\\n' > %{buildroot}/usr/lib/os-release\n%files\n/usr/lib/os-release\n")
	b := mustBuild(t, Options{Layout: Layout{
		Units: []string{"getty@.service"}, DefaultTarget: "multi-user.target",
		RemoveFiles: []string{"usr/etc/old"}, RemoveFromPackages: [][]string{{"units", `/usr/share/units/.*\.txt`}},
		AddFiles:    []AddFile{{src, "usr/etc/motd"}},
		Postprocess: []Script{{"script 1", "#!/bin/sh\ncat /etc/motd > /etc/copied\necho done >> /etc/copied\n"}},
		OSVersion:   "5.0.7", OSRelease: "5.0", TmpLink: true, NoMachineID: true,
	}}, basePackage(t), unit, release)
	for name, want := range map[string]string{
		"usr/etc/systemd/system/multi-user.target.wants/a.service":     "/usr/lib/systemd/system/a.service",
		"usr/etc/systemd/system/dbus-a.service":                        "/usr/lib/systemd/system/a.service",
		"usr/etc/systemd/system/sockets.target.wants/b.socket":         "/usr/lib/systemd/system/b.socket",
		"usr/etc/systemd/system/getty.target.wants/getty@tty1.service": "/usr/lib/systemd/system/getty@.service",
		"usr/etc/systemd/system/default.target":                        "/usr/lib/systemd/system/multi-user.target",
		"tmp":                                                          "sysroot/tmp",
		"usr/etc/systemd/system/multi-user.target.wants/off.service":   "",
	} {
		if got, _ := os.Readlink(filepath.Join(b.root, name)); got != want {
			t.Errorf("%s leads to %q, want %q", name, got, want)
		}
	}
	for name, want := range map[string]string{
		"usr/etc/copied": "welcome\ndone\n", "usr/etc/motd": "welcome\n", "usr/share/units/keep": "x\n",
		"usr/lib/os-release": "NAME=Test\nVERSION=\"5.0.7\"\nOSTREE_VERSION='5.0.7'\n",
	} {
		if got := b.read(t, name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	for _, gone := range []string{"usr/etc/old", "usr/share/units/drop.txt", "usr/etc/machine-id"} {
		if _, err := os.Lstat(filepath.Join(b.root, gone)); err == nil {
			t.Errorf("%s is in the tree", gone)
		}
	}
	b = build(t, Options{Layout: Layout{Units: []string{"nothing.service"}}}, basePackage(t))
	if b.err == nil || !strings.Contains(b.err.Error(), `unit "nothing.service" does not exist`) {
		t.Errorf("an unknown unit: %v", b.err)
	}
	b = build(t, Options{Layout: Layout{Postprocess: []Script{{"script 2", "#!/bin/sh\necho no\nexit 1\n"}}}}, basePackage(t))
	if b.err == nil || !strings.Contains(b.err.Error(), "script 2: exit status 1: no") {
		t.Errorf("a failing script: %v", b.err)
	}
}

// Accounts move to /usr/lib only where something looks for them there.
func TestAltfiles(t *testing.T) {
	plain := mustBuild(t, Options{}, basePackage(t))
	if got := plain.read(t, "usr/etc/passwd"); !strings.Contains(got, "web:") {
		t.Errorf("without altfiles: %q", got)
	}
	alt := buildRPM(t, "altfiles", `
%install
mkdir -p %{buildroot}/usr/lib64 %{buildroot}/etc
echo x > %{buildroot}/usr/lib64/libnss_altfiles.so.2
printf 'passwd:  files systemd\nshadow: files\ngroup: files [SUCCESS=merge] systemd\n' > %{buildroot}/etc/nsswitch.conf
%files
/usr/lib64/libnss_altfiles.so.2
/etc/nsswitch.conf
`)
	b := mustBuild(t, Options{}, basePackage(t), alt)
	for name, want := range map[string]string{
		"usr/etc/passwd":        "root:x:0:0:root:/root:/bin/sh\n",
		"usr/lib/passwd":        "web:x:33:33:web:/var/www:/usr/sbin/nologin\n",
		"usr/etc/group":         "root:x:0:\n",
		"usr/lib/group":         "web:x:33:\n",
		"usr/etc/nsswitch.conf": "passwd:     files altfiles systemd\nshadow: files\ngroup:      files altfiles [SUCCESS=merge] systemd\n",
	} {
		if got := b.read(t, name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

// A package whose files belong to an account that only its sysusers.d file
// declares gets it, with an id that depends on the tree alone.
func TestSysusers(t *testing.T) {
	b := mustBuild(t, Options{}, basePackage(t), buildRPM(t, "svc", `
%install
mkdir -p %{buildroot}/usr/lib/sysusers.d %{buildroot}/usr/share/svc
printf '# accounts\nu svc - "A service" /var/lib/svc\ng extra 500\nu fixed 77:extra - - /bin/sh\nm svc extra\nu web 99\n' > %{buildroot}/usr/lib/sysusers.d/svc.conf
echo x > %{buildroot}/usr/share/svc/file
%files
/usr/lib/sysusers.d/svc.conf
%attr(2640,svc,extra) /usr/share/svc/file
`))
	if got, want := b.read(t, "usr/etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nweb:x:33:33:web:/var/www:/usr/sbin/nologin\n"+
		"fixed:x:77:500::/:/bin/sh\nsvc:x:999:999:A service:/var/lib/svc:/usr/sbin/nologin\n"; got != want {
		t.Errorf("passwd: got\n%swant\n%s", got, want)
	}
	if got, want := b.read(t, "usr/etc/group"), "root:x:0:\nweb:x:33:\nextra:x:500:svc\nsvc:x:999:\n"; got != want {
		t.Errorf("group: got\n%swant\n%s", got, want)
	}
	st := lstat(t, filepath.Join(b.root, "usr/share/svc/file"))
	if st.Uid != 999 || st.Gid != 500 || st.Mode&0o7777 != 0o2640 {
		t.Errorf("file: %d:%d %o", st.Uid, st.Gid, st.Mode)
	}
	if len(b.warns) > 0 {
		t.Errorf("warnings: %q", b.warns)
	}
	b = mustBuild(t, Options{}, basePackage(t), buildRPM(t, "lost", "%install\nmkdir -p %{buildroot}/usr/share\necho x > %{buildroot}/usr/share/lost\n%files\n%attr(0644,nobodyknows,root) /usr/share/lost\n"))
	if len(b.warns) != 1 || !strings.Contains(b.warns[0], "/usr/share/lost: owner nobodyknows:root does not exist") {
		t.Errorf("an unknown owner: %q", b.warns)
	}
}

// Accounts that come again keep the ids that they had in the previous tree,
// whatever came or went around them; those that no package speaks of go.
func TestAccountsStay(t *testing.T) {
	svc := func(name string) string {
		return buildRPM(t, name, strings.ReplaceAll(`
%install
mkdir -p %{buildroot}/usr/lib/sysusers.d %{buildroot}/usr/share/NAME
echo 'u NAME -' > %{buildroot}/usr/lib/sysusers.d/NAME.conf
%files
/usr/lib/sysusers.d/NAME.conf
%attr(0755,NAME,NAME) %dir /usr/share/NAME
`, "NAME", name))
	}
	base := basePackage(t)
	first := mustBuild(t, Options{}, base, svc("bbb"), svc("ccc"))
	earlier := Accounts{Passwd: []byte(first.read(t, "usr/etc/passwd")), Group: []byte(first.read(t, "usr/etc/group"))}
	uid := func(b built, name string) uint32 { return lstat(t, filepath.Join(b.root, "usr/share", name)).Uid }
	next := mustBuild(t, Options{Accounts: earlier}, base, svc("aaa"), svc("ccc"))
	if a, b := uid(first, "ccc"), uid(next, "ccc"); a != 998 || b != 998 {
		t.Errorf("ccc had %d and has %d", a, b)
	}
	if got := next.read(t, "usr/etc/passwd"); strings.Contains(got, "bbb") || uid(next, "aaa") == 998 {
		t.Errorf("passwd: %s", got)
	}
}

func TestRootOpt(t *testing.T) {
	b := mustBuild(t, Options{Layout: Layout{RootOpt: true}}, basePackage(t), buildRPM(t, "vendor", "%install\nmkdir -p %{buildroot}/opt/vendor %{buildroot}/usr/local/bin\necho x > %{buildroot}/opt/vendor/file\n%files\n/opt/vendor\n/usr/local/bin\n"))
	if got := b.read(t, "opt/vendor/file"); got != "x\n" {
		t.Errorf("got %q", got)
	}
	if st := lstat(t, filepath.Join(b.root, "usr/local/bin")); st.Mode&0o170000 != 0o040000 {
		t.Error("/usr/local/bin is no directory")
	}
}
