// Package qemutests holds the stories of whole machines: each installs, boots, updates and breaks a virtual machine as a
// person would, and reads like one.
package qemutests

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"photree/qemu-tests/distro"
	"photree/qemu-tests/line"
	"photree/qemu-tests/vm"
)

var background = context.Background()

// A machine is installed from the ISO without a network, keeps /usr from being written, is updated over HTTP and rolled
// back; what its owner wrote into /etc and /var is there after each step.
func TestLifeOfAMachineWithBIOS(t *testing.T) { t.Parallel(); lifeOfAMachine(t, false) }
func TestLifeOfAMachineWithUEFI(t *testing.T) { t.Parallel(); lifeOfAMachine(t, true) }

func lifeOfAMachine(t *testing.T, uefi bool) {
	m := theWorldFor(t).machineFromISO(t, uefi)
	m.boot()
	m.runs("v1")
	m.shows("cat /etc/photree-kickstart", "installed by the kickstart file")
	m.shows("ls -d /sys/firmware/efi 2>&1 || true", map[bool]string{true: "/sys/firmware/efi", false: "No such file"}[uefi])
	m.refuses("touch /usr/bin/new", "Read-only file system")
	m.refuses("rpm --dbpath /usr/share/rpm -e tree", "")
	m.does("echo '# edited by its owner' >> /etc/photree-test.conf && echo precious > /var/lib/precious")
	m.online()
	m.does("rpm-ostree upgrade")
	m.shows("rpm-ostree status", "photon:"+distro.Ref)
	m.reboot()
	m.runs("v2")
	m.keeps()
	m.shows("jq --version", "jq-1")
	m.refuses("command -v bc", "")
	m.does("rpm-ostree rollback")
	m.reboot()
	m.runs("v1")
	m.keeps()
	m.shows("echo 6*7 | bc", "42")
	m.shows("systemctl is-system-running --wait; systemctl --failed --no-legend --plain; echo end", "running\nend")
	m.off()
}

// keeps checks that the owner's files are there.
func (m *machine) keeps() {
	m.Helper()
	m.shows("cat /etc/photree-test.conf", "# edited by its owner")
	m.shows("cat /var/lib/precious", "precious")
	m.shows("hostname", "from-iso")
}

// machineFromISO gives a machine, off, that an ISO has installed unattended.
func (w *world) machineFromISO(t *testing.T, uefi bool) *machine {
	t.Helper()
	dir := t.TempDir()
	iso, disk := filepath.Join(dir, "photree.iso"), filepath.Join(dir, "disk.img")
	if err := w.line.ISO(t.Context(), iso, w.repos.First(), w.server.GuestURL("both"), "from-iso"); err != nil {
		t.Fatal(err)
	}
	if err := line.BlankDisk(disk); err != nil {
		t.Fatal(err)
	}
	m := &machine{T: t, world: w, options: vm.Options{
		UEFI: uefi, Vars: filepath.Join(dir, "vars.fd"), Log: consoleLog(t), CDROM: iso, Disks: []vm.Disk{{Path: disk}}, NoReboot: true,
	}}
	m.on()
	if err := m.vm.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.options.CDROM, m.options.NoReboot = "", false
	return m
}

// The power goes at random moments of an update. The machine boots the old or the new release, whole, and the next
// update completes. What a cut can lose is what the machine's kernel had not written (see docs/testing.md).
func TestPowerCutsDuringAnUpgrade(t *testing.T) {
	t.Parallel()
	w := theWorldFor(t)
	random := seeded(t)
	m := w.machineOn(t, w.installed(t))
	m.boot()
	for cut := range 4 {
		m.online()
		moment := m.startUpgradeAndCut(random, cut)
		m.boot()
		release := m.release()
		t.Logf("cut %d, %.1f s into the upgrade: it booted %s", cut, moment.Seconds(), release)
		m.runs(release)
		m.shows("hostname", "story")
		m.does("rpm-ostree status && ostree admin status")
		if release == "v2" {
			m.vm.PowerCut()
			m.replaceDisk(w.installed(t))
			m.boot()
		}
	}
	m.online()
	m.does("rpm-ostree upgrade")
	m.does("ostree fsck")
	m.reboot()
	m.runs("v2")
}

// A second stateroot has its own /var and /etc, and the first one is as it was when the machine returns to it.
func TestASecondStateroot(t *testing.T) {
	t.Parallel()
	w := theWorldFor(t)
	m := w.machineOn(t, w.installed(t))
	m.boot()
	m.does("echo first > /var/lib/precious && echo first > /etc/precious")
	m.does("ostree admin os-init second")
	m.does("ostree admin deploy --os=second --karg-proc-cmdline photon:" + distro.Ref)
	// What makes the new deployment this machine's, as the installer did for the first.
	m.does("cd /ostree/deploy/second/deploy/*.0/etc && cp /etc/fstab . && cp -a /etc/shadow .")
	m.shows("ostree admin status", "second "+w.repos.V1)
	m.reboot()
	m.shows("ostree admin status", "* second "+w.repos.V1)
	m.refuses("cat /var/lib/precious /etc/precious", "No such file")
	m.does("echo second > /var/lib/precious")
	m.does("ostree admin deploy --os=photon photon:" + distro.Ref)
	m.reboot()
	m.shows("ostree admin status", "* photon "+w.repos.V1)
	m.shows("cat /var/lib/precious /etc/precious", "first\nfirst")
}

// Stock ostree deploys v2 on a disk that photree installed, and the result boots.
func TestStockOstreeDeploysOnOurDisk(t *testing.T) {
	t.Parallel()
	w := theWorldFor(t)
	disk := copyOf(t, w.installed(t))
	root := mountDisk(t, disk)
	stock(t, "admin", "status", "--sysroot="+root)
	stock(t, "pull", "--repo="+root+"/ostree/repo", "--url="+w.server.HostURL("both"), "photon", distro.Ref)
	stock(t, "admin", "deploy", "--sysroot="+root, "--os=photon", "photon:"+distro.Ref)
	unmountDisk(t, root)
	m := w.machineOn(t, disk)
	m.boot()
	m.runs("v2")
	m.shows("hostname", "story")
	m.shows("rpm-ostree status", w.repos.V2)
	m.does("rpm-ostree rollback")
	m.reboot()
	m.runs("v1")
}

// photree updates a disk that stock ostree installed.
func TestPhotreeUpgradesWhatStockInstalled(t *testing.T) {
	t.Parallel()
	w := theWorldFor(t)
	disk := filepath.Join(t.TempDir(), "stock.img")
	stockInstall(t, w, disk)
	m := &machine{T: t, world: w, options: vm.Options{Log: consoleLog(t), Disks: []vm.Disk{{Path: disk}}}}
	m.bootByEntry(disk)
	m.runs("v1")
	m.online()
	m.does("rpm-ostree upgrade")
	m.off()
	m.bootByEntry(disk)
	m.runs("v2")
	m.shows("rpm-ostree status", w.repos.V1)
	m.off()
	root := mountDisk(t, disk)
	if out := stock(t, "admin", "status", "--sysroot="+root); !strings.Contains(out, w.repos.V2) {
		t.Errorf("stock ostree does not see the update:\n%s", out)
	}
	stock(t, "fsck", "--repo="+root+"/ostree/repo")
}

// The stock tools read what was composed.
func TestStockToolsReadTheComposedRepository(t *testing.T) {
	t.Parallel()
	w := theWorldFor(t)
	stock(t, "fsck", "--repo="+w.repos.Both())
	tree := filepath.Join(t.TempDir(), "tree")
	bare := filepath.Join(t.TempDir(), "bare")
	stock(t, "init", "--repo="+bare, "--mode=bare")
	stock(t, "pull-local", "--repo="+bare, w.repos.Both(), distro.Ref)
	stock(t, "checkout", "--repo="+bare, "-H", w.repos.V2, tree)
	list := tool(t, "rpm", "--root", tree, "--dbpath", "/usr/share/rpm", "-qa")
	info := w.line.Distro.Manifest.Releases["v2"]
	for _, name := range []string{"systemd", "libc6", "jq"} {
		if !strings.Contains(list, name+"-"+info.Packages[name]) {
			t.Errorf("rpm -qa does not list %s %s", name, info.Packages[name])
		}
	}
	if n := strings.Count(list, "\n"); n < 150 {
		t.Errorf("rpm -qa lists %d packages", n)
	}
	if log := stock(t, "log", "--repo="+w.repos.Both(), distro.Ref); !strings.Contains(log, "Version: 1.0_minimal") {
		t.Errorf("the commits carry no version:\n%s", log)
	}
	if _, err := os.Stat(filepath.Join(tree, "usr/lib/modules", info.Kernel, "initramfs.img")); err != nil {
		t.Error(err)
	}
	t.Log(fmt.Sprint(strings.Count(list, "\n"), " packages"))
}
