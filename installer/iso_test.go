package installer

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"photree/initramfs"
)

// build compiles a program of this module without cgo.
func build(t *testing.T, dir string, packages ...string) {
	t.Helper()
	args := append([]string{"build", "-trimpath", "-ldflags", "-s -w", "-o", dir + "/"}, packages...)
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building %v: %v\n%s", packages, err, out)
	}
}

// addKernel puts Debian's cloud kernel with its modules into a tree, from
// the cache or the archive, and an initramfs made for it.
func addKernel(t *testing.T, dir, init string) {
	t.Helper()
	base, err := os.UserCacheDir()
	check(t, err)
	cache := filepath.Join(base, "photree/kernel")
	check(t, os.MkdirAll(cache, 0o755))
	depends := run(t, "apt-cache", "depends", "linux-image-cloud-amd64")
	pkg := regexp.MustCompile(`linux-image-\S+-cloud-amd64`).FindString(depends[strings.Index(depends, "Depends"):])
	from := filepath.Join(cache, pkg)
	if !exists(from) {
		tmp, err := os.MkdirTemp(cache, "new-")
		check(t, err)
		defer os.RemoveAll(tmp)
		run(t, "sh", "-c", `cd "$0" && apt-get download -q "$1" && dpkg-deb -x ./*.deb x && mkdir -p tree/usr/lib &&
			mv x/lib/modules tree/usr/lib/ && mv x/boot/vmlinuz-* tree/usr/lib/modules/*/vmlinuz && mv -T tree "$2" || test -d "$2"`, tmp, pkg, from)
	}
	check(t, os.RemoveAll(filepath.Join(dir, "usr/lib/modules")))
	run(t, "cp", "-r", filepath.Join(from, "usr/lib/modules"), filepath.Join(dir, "usr/lib/modules"))
	kver := strings.TrimPrefix(pkg, "linux-image-")
	for _, big := range []string{"net", "sound", "drivers/net", "drivers/gpu", "drivers/infiniband", "drivers/media", "fs/xfs", "fs/btrfs", "fs/ceph", "fs/nfs", "fs/smb"} {
		check(t, os.RemoveAll(filepath.Join(dir, "usr/lib/modules", kver, "kernel", big)))
	}
	f, err := os.Create(filepath.Join(dir, "usr/lib/modules", kver, "initramfs.img"))
	check(t, err)
	defer f.Close()
	_, err = initramfs.Build(t.Context(), initramfs.Options{Tree: dir, KVER: kver, Init: init}, f)
	check(t, err)
}

// guestInit is the system that the tests install: it shows what it sees.
const guestInit = `#!/bin/sh
exec >/dev/console 2>&1
echo "cmdline: $(cat /proc/cmdline)"
echo "hostname: $(cat /etc/hostname)"
echo "key: $(cat /root/.ssh/authorized_keys)"
echo "postinstall: $(cat /var/made)"
echo "fstab: $(cat /etc/fstab)"
touch /usr/x || echo "usr is read-only"
echo "the installed system is up"
echo o >/proc/sysrq-trigger
while :; do :; done
`

const testKickstart = `
hostname: from-iso
disk: /dev/nvme0n1
password: {crypted: false, text: secret}
public_key: {key: "ssh-ed25519 AAAA me", reason: test}
postinstall: ["#!/bin/sh", "echo made by a script > /var/made"]
ostree: {default_repo: true, repo_url: "http://10.0.2.2:8080/repo"}
network: {version: 2, ethernets: {all: {match: {name: "e*"}, dhcp4: true}}}
`

type machine struct {
	iso, disk string
	uefi      bool
	answers   [][2]string
}

// boot runs the machine until it powers itself off, and gives its console.
func (m machine) boot(t *testing.T) string {
	t.Helper()
	args := []string{"-accel", "tcg", "-M", "q35", "-cpu", "max", "-m", "768", "-nodefaults", "-no-user-config", "-display", "none",
		"-serial", "stdio", "-no-reboot", "-drive", "file=" + m.disk + ",if=none,id=d,format=raw,cache=unsafe", "-device", "nvme,drive=d,serial=x,bootindex=1"}
	if m.iso != "" {
		args = append(args, "-device", "virtio-scsi-pci", "-drive", "file="+m.iso+",if=none,id=c,media=cdrom,readonly=on,format=raw",
			"-device", "scsi-cd,drive=c,bootindex=0")
	}
	if m.uefi {
		vars := filepath.Join(t.TempDir(), "vars.fd")
		run(t, "cp", "/usr/share/OVMF/OVMF_VARS.fd", vars)
		args = append(args, "-drive", "if=pflash,unit=0,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE.fd",
			"-drive", "if=pflash,unit=1,format=raw,file="+vars)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", args...)
	keys, err := cmd.StdinPipe()
	check(t, err)
	c := &typist{script: m.answers, keys: keys}
	cmd.Stdout, cmd.Stderr = c, c
	if err := cmd.Run(); err != nil {
		t.Fatalf("running QEMU: %v\n%s", err, c.console.String())
	}
	return c.console.String()
}

func shows(t *testing.T, console string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(console, want) {
			t.Errorf("the console lacks %q", want)
		}
	}
	if t.Failed() {
		t.Fatalf("the console:\n%s", console)
	}
}

// TestISO makes an ISO of a tree with a real kernel, lets it install a
// machine by itself under BIOS and under UEFI, and starts that machine.
func TestISO(t *testing.T) {
	if testing.Short() {
		t.Skip("boots virtual machines")
	}
	bin := t.TempDir()
	build(t, bin, "photree/cmd/photree", "photree/cmd/photree-init")
	t.Setenv("PHOTREE_LIBDIR", bin)
	root := tooledRoot(t)
	addKernel(t, root, filepath.Join(bin, "photree-init"))
	check(t, os.WriteFile(filepath.Join(root, "usr/bin/init"), []byte(guestInit), 0o755))
	source := committed(t, root)
	dir := t.TempDir()
	ks := filepath.Join(dir, "ks.yaml")
	check(t, os.WriteFile(ks, []byte(testKickstart), 0o644))
	o := ISOOptions{Repo: source, Ref: testRef, Output: filepath.Join(dir, "out.iso"), Kickstart: ks, Photree: filepath.Join(bin, "photree"),
		Kargs: []string{"console=ttyS0", "photree.poweroff"}, WorkDir: dir}
	result, err := WriteISO(t.Context(), o)
	check(t, err)
	t.Logf("%+v", result)

	t.Run("is a function of its input", func(t *testing.T) {
		again := o
		again.Output = filepath.Join(dir, "again.iso")
		_, err := WriteISO(t.Context(), again)
		check(t, err)
		run(t, "cmp", o.Output, again.Output)
	})
	for _, firmware := range []string{"BIOS", "UEFI"} {
		t.Run("installs and boots under "+firmware, func(t *testing.T) {
			disk := filepath.Join(t.TempDir(), "disk.img")
			check(t, os.WriteFile(disk, nil, 0o644))
			check(t, os.Truncate(disk, 1<<30))
			m := machine{iso: o.Output, disk: disk, uefi: firmware == "UEFI"}
			console := m.boot(t)
			shows(t, console, "Congratulations, from-iso has been installed in")
			for _, line := range regexp.MustCompile(`(?m)^(\[ +[0-9.]+ s\]|Congratulations).*`).FindAllString(console, -1) {
				t.Log(line)
			}
			m.iso = ""
			shows(t, m.boot(t), "the installed system is up", "hostname: from-iso", "key: ssh-ed25519 AAAA me", "postinstall: made by a script",
				"usr is read-only", " console=ttyS0 ", "root=UUID=")
		})
	}
	t.Run("asks when there is no kickstart file", func(t *testing.T) {
		asking := o
		asking.Output, asking.Kickstart = filepath.Join(dir, "asking.iso"), ""
		_, err := WriteISO(t.Context(), asking)
		check(t, err)
		disk := filepath.Join(t.TempDir(), "disk.img")
		check(t, os.WriteFile(disk, nil, 0o644))
		check(t, os.Truncate(disk, 1<<30))
		m := machine{iso: asking.Output, disk: disk, answers: [][2]string{{"Number of the disk", "7"}, {"Number of the disk", "1"}, {"Host name", "asked"},
			{"Root's password: ", "secret"}, {"Once more: ", "other"}, {"Root's password: ", "secret"}, {"Once more: ", "secret"}, {"(yes/no): ", "yes"}}}
		shows(t, m.boot(t), "Number of the disk", "The two must be the same", "All data on /dev/nvme0n1 will be lost", "Congratulations, asked has been installed")
		m.iso, m.answers = "", nil
		shows(t, m.boot(t), "the installed system is up", "hostname: asked")
	})
}

// typist answers questions on the console: it writes an answer to the
// machine's input when its question has appeared.
type typist struct {
	console bytes.Buffer
	script  [][2]string // question, answer
	keys    io.Writer
	seen    int
}

func (w *typist) Write(p []byte) (int, error) {
	n, _ := w.console.Write(p)
	for len(w.script) > 0 {
		at := strings.Index(w.console.String()[w.seen:], w.script[0][0])
		if at < 0 {
			break
		}
		w.seen += at + len(w.script[0][0])
		if _, err := io.WriteString(w.keys, w.script[0][1]+"\r"); err != nil {
			return 0, err
		}
		w.script = w.script[1:]
	}
	return n, nil
}
