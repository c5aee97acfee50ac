package installer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"photree/installer/disk"
	"photree/installer/kickstart"
	"photree/internal/gvariant"
	"photree/repo"
	"photree/repo/pull"
	"photree/repo/serve"
	"photree/repo/tree"
)

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

const testRef = "test/1/x86_64/minimal"

// fakeTree makes a repository with one small tree that has all an
// installation looks at: a kernel, accounts, sshd, a shell for scripts, and
// the tools with their libraries, taken from this machine.
func fakeTree(t *testing.T, programs ...string) string {
	t.Helper()
	dir := fakeRoot(t, programs...)
	return committed(t, dir)
}

// fakeRoot is the directory that fakeTree commits.
func fakeRoot(t *testing.T, programs ...string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "tree")
	put := func(name, content string, mode os.FileMode) {
		t.Helper()
		path := filepath.Join(dir, name)
		check(t, os.MkdirAll(filepath.Dir(path), 0o755))
		check(t, os.WriteFile(path, []byte(content), mode))
	}
	link := func(target, name string) { t.Helper(); check(t, os.Symlink(target, filepath.Join(dir, name))) }
	put("usr/lib/modules/6.1.0-test/vmlinuz", strings.Repeat("kernel", 100_000), 0o755)
	put("usr/lib/modules/6.1.0-test/initramfs.img", strings.Repeat("initramfs", 100_000), 0o644)
	put("usr/lib/os-release", "NAME=Test\nPRETTY_NAME=\"Test 1\"\n", 0o644)
	put("usr/etc/passwd", "root:*:0:0:root:/root:/bin/sh\n", 0o644)
	put("usr/etc/shadow", "root:*:19000:0:99999:7:::\nbin:*:19000:0:99999:7:::\n", 0o640)
	put("usr/etc/ssh/sshd_config", "# comment\n#PermitRootLogin prohibit-password\nUsePAM yes\n", 0o600)
	put("usr/lib/systemd/system/systemd-networkd.service", "[Unit]\n", 0o644)
	put("usr/share/zoneinfo/Europe/Berlin", "TZif", 0o644)
	for _, d := range []string{"boot", "dev", "proc", "run", "sys", "sysroot", "tmp", "var", "usr/bin"} {
		check(t, os.MkdirAll(filepath.Join(dir, d), 0o755))
	}
	for _, l := range [][2]string{{"usr/bin", "bin"}, {"usr/bin", "sbin"}, {"usr/lib", "lib"}, {"usr/lib64", "lib64"}, {"var/roothome", "root"},
		{"var/home", "home"}, {"sysroot/ostree", "ostree"}, {"bin", "usr/sbin"}, {"../proc/self/mounts", "usr/etc/mtab"}} {
		link(l[0], l[1])
	}
	for _, name := range append([]string{"/bin/dash", "/bin/cat", "/usr/bin/id", "/usr/bin/touch"}, programs...) {
		copyProgram(t, dir, name)
	}
	link("dash", "usr/bin/sh")
	return dir
}

// committed makes a repository with dir as its only commit.
func committed(t *testing.T, dir string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "repo")
	r, err := repo.Init(path, repo.InitOptions{Mode: repo.ModeArchive})
	check(t, err)
	defer r.Close()
	_, _, err = tree.Commit(t.Context(), r, dir, tree.CommitOptions{Ref: testRef, Subject: "test",
		Metadata: gvariant.Dict{{Key: "version", Value: gvariant.String("1.0")}}})
	check(t, err)
	return path
}

// copyProgram copies a program of this machine, and what it links to.
func copyProgram(t *testing.T, dir, name string) {
	t.Helper()
	put := func(from, to string) {
		t.Helper()
		check(t, os.MkdirAll(filepath.Dir(to), 0o755))
		data, err := os.ReadFile(from)
		check(t, err)
		check(t, os.WriteFile(to, data, 0o755))
	}
	put(name, filepath.Join(dir, "usr/bin", filepath.Base(name)))
	for _, line := range strings.Split(run(t, "ldd", name), "\n") {
		for _, word := range strings.Fields(line) {
			if filepath.IsAbs(word) {
				put(word, filepath.Join(dir, "usr", strings.TrimPrefix(word, "/usr")))
			}
		}
	}
}

// tooledRoot is a fakeRoot with what installs it.
func tooledRoot(t *testing.T) string {
	t.Helper()
	dir := fakeRoot(t, "/usr/sbin/mkfs.ext4", "/usr/bin/grub-mkimage")
	check(t, os.MkdirAll(filepath.Join(dir, "usr/lib/grub"), 0o755))
	run(t, "cp", "-r", "/usr/lib/grub/i386-pc", "/usr/lib/grub/x86_64-efi", filepath.Join(dir, "usr/lib/grub"))
	return dir
}

// opened mounts the root and /boot of an installed image for reading.
func opened(t *testing.T, image string) (root string) {
	t.Helper()
	root = filepath.Join(t.TempDir(), "mnt")
	for _, p := range [][2]string{{"root", root}, {"boot", filepath.Join(root, "boot")}} {
		check(t, os.MkdirAll(p[1], 0o755))
		mountPartition(t, image, p[0], p[1])
	}
	return root
}

func noneLeft(t *testing.T, image string) {
	t.Helper()
	if out := run(t, "losetup", "-j", image); out != "" {
		t.Errorf("a loop device is left: %s", out)
	}
	mounts, err := os.ReadFile("/proc/mounts")
	check(t, err)
	if strings.Contains(string(mounts), filepath.Dir(image)) {
		t.Errorf("something is still mounted:\n%s", mounts)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	check(t, err)
	return string(data)
}

func contains(t *testing.T, path string, wants ...string) {
	t.Helper()
	got := read(t, path)
	for _, want := range wants {
		if !strings.Contains(got, want) {
			t.Errorf("%s lacks %q:\n%s", path, want, got)
		}
	}
}

// TestInstall installs onto a new image with the tools of this machine, and
// looks at what lies where: everything that a user gave must be where it
// lasts.
func TestInstall(t *testing.T) {
	source := fakeTree(t)
	image := filepath.Join(t.TempDir(), "disk.img")
	age := 90
	o := Options{Disk: image, Size: 1 << 30, Source: source, Ref: testRef, RemoteURL: "http://127.0.0.1:8080/repo", WorkDir: t.TempDir(),
		Kargs:      []string{"console=ttyS0", "quiet"},
		Partitions: []disk.Partition{{Mountpoint: "/root", Size: 32 << 20}, {Filesystem: "swap", Size: 16 << 20}},
		Machine: Machine{Hostname: "node1.example.com", Password: "secret", PasswordAge: &age, AuthorizedKeys: []string{"ssh-ed25519 AAAA me@here"},
			Locale: "C.UTF-8", Timezone: "Europe/Berlin", NetworkFiles: map[string]string{"50-eth0.network": "[Match]\nName=eth0\n"},
			PostInstall: []kickstart.Script{{Name: "one", Text: "#!/bin/sh\nid -u\necho made > /var/made\necho made > /etc/made\necho made > /root/made\ntouch /usr/made && echo USR IS WRITABLE\nexit 0\n"}}}}
	result, err := Install(t.Context(), o)
	check(t, err)
	noneLeft(t, image)
	if left, _ := filepath.Glob(filepath.Join(o.WorkDir, "*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	if out := run(t, "sfdisk", "--verify", image); !strings.Contains(out, "No errors detected") {
		t.Errorf("sfdisk: %s", out)
	}

	root := opened(t, image)
	if out := run(t, "ostree", "admin", "status", "--sysroot="+root); !strings.Contains(out, "photon "+result.Commit+".0") ||
		!strings.Contains(out, "origin refspec: photon:"+testRef) || !strings.Contains(out, "Version: 1.0") {
		t.Errorf("stock ostree reads the sysroot as\n%s", out)
	}
	run(t, "ostree", "fsck", "--repo="+root+"/ostree/repo")
	contains(t, root+"/ostree/repo/config", "bootloader=none", "url=http://127.0.0.1:8080/repo", "gpg-verify=false")
	contains(t, root+"/ostree/repo/refs/remotes/photon/"+testRef, result.Commit)
	entries, _ := filepath.Glob(root + "/boot/loader/entries/*.conf")
	if len(entries) != 1 {
		t.Fatalf("boot entries: %q", entries)
	}
	contains(t, entries[0], "root=UUID="+result.RootUUID+" rw console=ttyS0 quiet ostree=/ostree/boot.")
	contains(t, root+"/boot/loader/grub.cfg", "root=UUID="+result.RootUUID)
	contains(t, root+"/boot/grub/grub.cfg", result.BootUUID)
	for _, m := range []string{"i386-pc/linux.mod", "x86_64-efi/linux.mod"} {
		if _, err := os.Stat(root + "/boot/grub/" + m); err != nil {
			t.Error(err)
		}
	}

	deployment := root + result.Deployment
	contains(t, deployment+"/etc/fstab", "UUID="+result.RootUUID+" / ext4", "UUID="+result.BootUUID+" /boot ext4", " /boot/efi vfat", " none swap sw ", " /var/roothome ext4 ")
	contains(t, deployment+"/etc/hostname", "node1.example.com\n")
	contains(t, deployment+"/etc/hosts", "127.0.0.1 localhost\n", "127.0.1.1 node1.example.com node1\n")
	contains(t, deployment+"/etc/passwd", "root:x:0:0:")
	contains(t, deployment+"/etc/shadow", "root:$6$", ":0:90:7:::", "\nbin:*:")
	contains(t, deployment+"/etc/ssh/sshd_config", "# comment\nPermitRootLogin yes\nUsePAM yes\n")
	contains(t, deployment+"/etc/systemd/network/50-eth0.network", "Name=eth0")
	contains(t, deployment+"/etc/locale.conf", "LANG=C.UTF-8")
	contains(t, deployment+"/etc/made", "made")
	if target, _ := os.Readlink(deployment + "/etc/localtime"); target != "../usr/share/zoneinfo/Europe/Berlin" {
		t.Errorf("/etc/localtime leads to %q", target)
	}
	if _, err := os.Lstat(deployment + "/etc/systemd/system/multi-user.target.wants/systemd-networkd.service"); err != nil {
		t.Error(err)
	}
	if st, err := os.Stat(deployment + "/etc/shadow"); err != nil || st.Mode().Perm() != 0o640 {
		t.Errorf("/etc/shadow: %v, %v", st.Mode(), err)
	}
	stateroot := root + "/ostree/deploy/photon/var"
	contains(t, stateroot+"/made", "made")
	contains(t, stateroot+"/log/photree-postinstall.log", "0\n")
	if log := read(t, stateroot+"/log/photree-postinstall.log"); strings.Contains(log, "WRITABLE") {
		t.Errorf("a script could write to /usr:\n%s", log)
	}

	home := filepath.Join(t.TempDir(), "home")
	check(t, os.MkdirAll(home, 0o755))
	mountPartition(t, image, "roothome", home)
	contains(t, home+"/.ssh/authorized_keys", "ssh-ed25519 AAAA me@here\n")
	contains(t, home+"/made", "made")
	for path, want := range map[string]fs.FileMode{home: 0o700, home + "/.ssh": 0o700, home + "/.ssh/authorized_keys": 0o600} {
		if st, err := os.Stat(path); err != nil || st.Mode().Perm() != want {
			t.Errorf("%s: mode %v, want %v (%v)", path, st.Mode().Perm(), want, err)
		}
	}
}

func mountPartition(t *testing.T, image, label, dir string) {
	t.Helper()
	for line := range strings.Lines(run(t, "sfdisk", "--dump", image)) {
		if !strings.Contains(line, `name="`+label+`"`) {
			continue
		}
		fields := strings.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == ',' || r == '=' })
		var start, size int64
		fmt.Sscan(fields[slices.Index(fields, "start")+1], &start)
		fmt.Sscan(fields[slices.Index(fields, "size")+1], &size)
		dev := strings.TrimSpace(run(t, "losetup", "-f", "--show", "-o", fmt.Sprint(start*512), "--sizelimit", fmt.Sprint(size*512), image))
		t.Cleanup(func() { run(t, "losetup", "-d", dev) })
		run(t, "e2fsck", "-fn", dev)
		run(t, "mount", dev, dir)
		t.Cleanup(func() { run(t, "umount", dir) })
		return
	}
	t.Fatalf("no partition %q", label)
}

// TestInstallFromAHost takes what a host has pulled: a bare repository, in
// which the ref is a remote's.
func TestInstallFromAHost(t *testing.T) {
	path := filepath.Join(t.TempDir(), "host")
	host, err := repo.Init(path, repo.InitOptions{})
	check(t, err)
	defer host.Close()
	from, err := repo.Open(fakeTree(t))
	check(t, err)
	defer from.Close()
	_, err = pull.Local(t.Context(), host, from, pull.Options{Remote: "upstream", Refs: []string{testRef}})
	check(t, err)
	image := filepath.Join(t.TempDir(), "disk.img")
	_, err = Install(t.Context(), Options{Disk: image, Size: 1 << 30, Source: path, Ref: "upstream:" + testRef, WorkDir: t.TempDir()})
	check(t, err)
	root := opened(t, image)
	if out := run(t, "ostree", "admin", "status", "--sysroot="+root); !strings.Contains(out, "origin refspec: photon:"+testRef) {
		t.Errorf("stock ostree shows\n%s", out)
	}
	run(t, "ostree", "fsck", "--repo="+root+"/ostree/repo")
}

// TestVarAsPartition: what is written to /var is on its partitions, and the
// stateroot's directory below them stays empty.
func TestVarAsPartition(t *testing.T) {
	image := filepath.Join(t.TempDir(), "disk.img")
	_, err := Install(t.Context(), Options{Disk: image, Size: 1 << 30, Source: fakeTree(t), Ref: testRef, WorkDir: t.TempDir(),
		Partitions: []disk.Partition{{Mountpoint: "/var/log", Size: 32 << 20}, {Mountpoint: "/var", Size: 64 << 20}},
		Machine: Machine{AuthorizedKeys: []string{"ssh-ed25519 AAAA me"},
			PostInstall: []kickstart.Script{{Name: "one", Text: "#!/bin/sh\necho made > /var/log/made\n"}}}})
	check(t, err)
	noneLeft(t, image)
	for label, file := range map[string]string{"var": "roothome/.ssh/authorized_keys", "var-log": "made"} {
		dir := filepath.Join(t.TempDir(), label)
		check(t, os.MkdirAll(dir, 0o755))
		mountPartition(t, image, label, dir)
		if _, err := os.Stat(filepath.Join(dir, file)); err != nil {
			t.Error(err)
		}
	}
	root := opened(t, image)
	if left, err := os.ReadDir(root + "/ostree/deploy/photon/var"); err != nil {
		t.Error(err)
	} else {
		for _, e := range left {
			if e.Name() == "roothome" || e.Name() == "log" && !e.IsDir() {
				t.Errorf("%s is below the partition for /var", e.Name())
			}
		}
	}
	fstab, _ := filepath.Glob(root + "/ostree/deploy/photon/deploy/*.0/etc/fstab")
	contains(t, fstab[0], " /var ext4 ", " /var/log ext4 ")
}

// TestInstallWithToolsOfTheTree takes mkfs and GRUB out of the commit, as the
// installer on the ISO does, and fetches the commit over HTTP.
func TestInstallWithToolsOfTheTree(t *testing.T) {
	source := committed(t, tooledRoot(t))
	server := httptest.NewServer(serve.Handler(source))
	t.Cleanup(server.Close)
	image := filepath.Join(t.TempDir(), "disk.img")
	f, err := os.Create(image)
	check(t, err)
	check(t, f.Truncate(1<<30))
	check(t, f.Close())
	result, err := Install(t.Context(), Options{Disk: image, Source: server.URL, Ref: testRef, Tools: ToolsFromTree, WorkDir: t.TempDir()})
	check(t, err)
	noneLeft(t, image)
	root := opened(t, image)
	run(t, "ostree", "fsck", "--repo="+root+"/ostree/repo")
	contains(t, root+"/ostree/repo/config", "url="+server.URL)
	if !strings.HasPrefix(result.Hostname, "photon-") {
		t.Errorf("the host name is %q", result.Hostname)
	}
}

// TestRefusalsLeaveTheDisk: what can be known beforehand is said in one
// message, and not a byte of the disk has changed.
func TestRefusalsLeaveTheDisk(t *testing.T) {
	source := fakeTree(t)
	untouched := filepath.Join(t.TempDir(), "untouched")
	check(t, os.WriteFile(untouched, []byte("precious"), 0o644))
	check(t, os.Truncate(untouched, 1<<30))
	small := func(o *Options) { o.Size = 400 << 20 }
	for _, tt := range []struct {
		name   string
		change func(*Options)
		want   string
	}{
		{"a ref that does not exist", func(o *Options) { o.Ref = "no/such" }, "Refspec 'no/such' not found: the repository has " + testRef},
		{"a commit for a ref", func(o *Options) { o.Ref = strings.Repeat("ab", 32) }, "name a ref, which updates can follow"},
		{"a source that does not exist", func(o *Options) { o.Source = "/nonexistent" }, "opening the source /nonexistent"},
		{"a server that does not answer", func(o *Options) { o.Source = "http://127.0.0.1:1/repo" }, "http://127.0.0.1:1/repo"},
		{"a disk too small for the tree", small, "is too small for " + testRef},
		{"a disk too small for the partitions", func(o *Options) { o.Size = 64 << 20 }, "the disk has 64 MiB and"},
		{"a /boot too small for two kernels", func(o *Options) {
			o.Partitions = []disk.Partition{{Mountpoint: "/boot", Size: 8 << 20}}
		}, "are needed for two kernels"},
		{"a partition where nothing lasts", func(o *Options) {
			o.Partitions = []disk.Partition{{Mountpoint: "/usr/share", Size: 8 << 20}}
		}, "cannot be mounted at /usr/share"},
		{"tools that the tree lacks", func(o *Options) { o.Tools = ToolsFromTree }, "the tree has no mkfs.ext4: install it here, or add the package e2fsprogs"},
		{"a host name that is none", func(o *Options) { o.Machine.Hostname = "a_b" }, "host name"},
		{"a stateroot that is none", func(o *Options) { o.Stateroot = "a/b" }, "stateroot"},
		{"no disk", func(o *Options) { o.Disk = "" }, "no disk"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			image := filepath.Join(dir, "disk.img")
			o := Options{Disk: image, Size: 1 << 30, Source: source, Ref: testRef, WorkDir: t.TempDir()}
			tt.change(&o)
			existing := o.Size == 1<<30 && o.Disk != ""
			if existing { // an image with something on it
				check(t, os.WriteFile(image, []byte("precious"), 0o644))
				check(t, os.Truncate(image, o.Size))
				o.Size = 0
			}
			_, err := Install(t.Context(), o)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v\nwant an error with %q", err, tt.want)
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("the message has more than one line:\n%v", err)
			}
			noneLeft(t, image)
			if existing {
				run(t, "cmp", "-n", "16777216", image, untouched)
			} else if _, err := os.Stat(image); !errors.Is(err, fs.ErrNotExist) {
				t.Error("an image was left behind")
			}
			if left, _ := filepath.Glob(filepath.Join(o.WorkDir, "*")); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}

// TestTooSmallErrorTellsTheTruth: with exactly as much as the message asks
// for, the installation works.
func TestTooSmallErrorTellsTheTruth(t *testing.T) {
	source := fakeTree(t)
	image := filepath.Join(t.TempDir(), "disk.img")
	o := Options{Disk: image, Size: 380 << 20, Source: source, Ref: testRef, WorkDir: t.TempDir()}
	_, err := Install(t.Context(), o)
	var small *disk.TooSmallError
	if !errors.As(err, &small) {
		t.Fatalf("got %v", err)
	}
	o.Size = (small.Need + 1<<20 - 1) >> 20 << 20
	_, err = Install(t.Context(), o)
	check(t, err)
}

// TestInterruption cancels at every step: nothing stays mounted, attached or
// in the work directory, and a new image is gone.
func TestInterruption(t *testing.T) {
	source := fakeTree(t)
	for _, s := range append(append([]step{}, checks...), writes...) {
		t.Run(s.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			image := filepath.Join(t.TempDir(), "disk.img")
			o := Options{Disk: image, Size: 1 << 30, Source: source, Ref: testRef, WorkDir: t.TempDir()}
			o.Progress = func(name string) {
				if name == s.name {
					cancel()
				}
			}
			_, err := Install(ctx, o)
			if err == nil && s.name != writes[len(writes)-1].name {
				t.Error("the installation went on")
			}
			noneLeft(t, image)
			if _, statErr := os.Stat(image); err != nil && !errors.Is(statErr, fs.ErrNotExist) {
				t.Error("the image was left behind")
			}
			if left, _ := filepath.Glob(filepath.Join(o.WorkDir, "*")); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}

func TestFailingScriptIsNamed(t *testing.T) {
	image := filepath.Join(t.TempDir(), "disk.img")
	o := Options{Disk: image, Size: 1 << 30, Source: fakeTree(t), Ref: testRef, WorkDir: t.TempDir(),
		Machine: Machine{PostInstall: []kickstart.Script{{Name: "setup.sh", Text: "#!/bin/sh\necho something went wrong\nexit 3\n"}}}}
	_, err := Install(t.Context(), o)
	if err == nil || !strings.Contains(err.Error(), "setup.sh") || !strings.Contains(err.Error(), "something went wrong") {
		t.Errorf("got %v", err)
	}
	noneLeft(t, image)
}

func TestShadow(t *testing.T) {
	days := func(n int) *int { return &n }
	now := time.Unix(20000*86400+5, 0)
	for _, tt := range []struct {
		name, text, hash string
		age              *int
		want             string
	}{
		{"a locked root", "root:*:1:0:99999:7:::\n", "$6$h", nil, "root:$6$h:20000:0:99999:7:::\n"},
		{"no root", "bin:*:1::::::\n", "$6$h", nil, "root:$6$h:20000:0:99999:7:::\nbin:*:1::::::\n"},
		{"no file", "", "$6$h", nil, "root:$6$h:20000:0:99999:7:::\n"},
		{"never expires", "root:*:1:0:99999:7:::\n", "$6$h", days(-1), "root:$6$h:20000:0::7:::\n"},
		{"expired at the first login", "root:*:1:0:99999:7:::\n", "$6$h", days(0), "root:$6$h:0:0:99999:7:::\n"},
		{"expires in 30 days", "root:*:1:0:99999:7:::\n", "$6$h", days(30), "root:$6$h:20000:0:30:7:::\n"},
		{"an age and no password", "root:x:1:0:99999:7:::\n", "", days(30), "root:x:1:0:30:7:::\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := shadowWithRoot(tt.text, tt.hash, tt.age, now); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
