package qemutests

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"photree/qemu-tests/distro"
	"photree/qemu-tests/line"
)

// tool runs a program of the host that must succeed.
func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Fatalf("this story needs the program %s: install it (make deps)", name)
	}
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// stock runs Debian's ostree.
func stock(t *testing.T, args ...string) string {
	t.Helper()
	return tool(t, "/usr/bin/ostree", args...)
}

// seeded gives random numbers; the seed is printed, and PHOTREE_SEED repeats a run.
func seeded(t *testing.T) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("PHOTREE_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatalf("PHOTREE_SEED=%s is no number", s)
		}
		seed = n
	}
	t.Logf("PHOTREE_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// startUpgradeAndCut starts an update and cuts the power in the given quarter of a minute: the last ones are at times behind
// its end.
func (m *machine) startUpgradeAndCut(random *rand.Rand, quarter int) time.Duration {
	m.Helper()
	if err := m.vm.Send("rpm-ostree upgrade\n"); err != nil {
		m.Fatal(err)
	}
	moment := time.Duration(quarter)*15*time.Second + time.Duration(random.Int64N(int64(15*time.Second)))
	select {
	case <-time.After(moment):
	case <-m.Context().Done():
	}
	m.vm.PowerCut()
	return moment
}

// release says which release the machine runs.
func (m *machine) release() string {
	m.Helper()
	kernel := m.does("uname -r")
	for name, info := range m.world.line.Distro.Manifest.Releases {
		if kernel == info.Kernel {
			return name
		}
	}
	m.Fatalf("kernel %q is of neither release", kernel)
	return ""
}

func copyOf(t *testing.T, disk string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "copy.img")
	tool(t, "cp", "--sparse=always", disk, out)
	return out
}

// mountDisk mounts the root and /boot partitions of a disk image and gives the directory. The host's kernel need not know
// partition tables: each partition is a loop device of its own.
func mountDisk(t *testing.T, disk string) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "sysroot")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	parts := partitions(t, disk)
	t.Cleanup(func() { exec.Command("umount", "-R", root).Run() })
	for _, p := range []struct{ label, at string }{{"root", root}, {"boot", filepath.Join(root, "boot")}} {
		i := slices.IndexFunc(parts, func(part partition) bool { return part.label == p.label })
		if i < 0 {
			t.Fatalf("%q has no partition %q: %v", disk, p.label, parts)
		}
		// The loop device goes with its last user.
		tool(t, "mount", "-o", fmt.Sprintf("loop,offset=%d,sizelimit=%d", parts[i].start, parts[i].size), disk, p.at)
	}
	return root
}

func unmountDisk(t *testing.T, root string) {
	t.Helper()
	tool(t, "umount", "-R", root)
}

// partition is one of a disk image; the label is that of its file system's purpose.
type partition struct {
	label       string
	start, size int64
}

func partitions(t *testing.T, disk string) []partition {
	t.Helper()
	var table struct {
		PartitionTable struct {
			Partitions []struct {
				Start, Size int64
				Type, Name  string
			}
		}
	}
	if err := json.Unmarshal([]byte(tool(t, "sfdisk", "--json", disk)), &table); err != nil {
		t.Fatal(err)
	}
	var out []partition
	for _, p := range table.PartitionTable.Partitions {
		out = append(out, partition{label: p.Name, start: p.Start * 512, size: p.Size * 512})
	}
	return out
}

// stockInstall makes a disk as a person would with stock ostree only: partitions, file systems, sysroot, v1.
func stockInstall(t *testing.T, w *world, disk string) {
	t.Helper()
	if err := line.BlankDisk(disk); err != nil {
		t.Fatal(err)
	}
	table := filepath.Join(t.TempDir(), "table")
	if err := os.WriteFile(table, []byte("label: gpt\nsize=300M, name=boot\nname=root\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	tool(t, "sh", "-c", "sfdisk -q "+disk+" < "+table)
	for _, p := range partitions(t, disk) {
		tool(t, "mkfs.ext4", "-q", "-F", "-L", p.label, "-E", fmt.Sprintf("offset=%d", p.start), disk, strconv.FormatInt(p.size/1024, 10)+"k")
	}
	root := mountRootThenBoot(t, disk)
	stock(t, "admin", "init-fs", "--modern", root)
	stock(t, "admin", "os-init", "--sysroot="+root, "stock")
	repo := root + "/ostree/repo"
	stock(t, "remote", "add", "--repo="+repo, "--no-gpg-verify", "photon", w.server.GuestURL("both"))
	stock(t, "pull", "--repo="+repo, "--url="+w.server.HostURL("first"), "photon", distro.Ref)
	stock(t, "admin", "deploy", "--sysroot="+root, "--os=stock", "--karg=root=LABEL=root", "--karg=rw", "--karg="+line.Console, "photon:"+distro.Ref)
	etc := filepath.Join(root, "ostree/deploy/stock/deploy", w.repos.V1+".0", "etc")
	if err := os.WriteFile(filepath.Join(etc, "fstab"), []byte("LABEL=root / ext4 defaults 0 0\nLABEL=boot /boot ext4 defaults 0 0\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("chpasswd", "--root", filepath.Dir(etc))
	cmd.Stdin = strings.NewReader("root:" + line.Password + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("setting the password: %v\n%s", err, out)
	}
	unmountDisk(t, root)
}

// mountRootThenBoot mounts an empty disk, where the directory for /boot must be made first.
func mountRootThenBoot(t *testing.T, disk string) string {
	t.Helper()
	for _, p := range partitions(t, disk) {
		if p.label == "root" {
			dir := t.TempDir()
			tool(t, "mount", "-o", fmt.Sprintf("loop,offset=%d,sizelimit=%d", p.start, p.size), disk, dir)
			err := os.MkdirAll(filepath.Join(dir, "boot"), 0o755)
			tool(t, "umount", dir)
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	return mountDisk(t, disk)
}

// bootByEntry boots the disk's first boot loader entry as a boot loader would, and logs in.
func (m *machine) bootByEntry(disk string) {
	m.Helper()
	root := mountDisk(m.T, disk)
	entries, err := filepath.Glob(filepath.Join(root, "boot/loader/entries/*.conf"))
	if err != nil || len(entries) == 0 {
		m.Fatalf("the disk has no boot loader entries (%v)", err)
	}
	// The entries of ostree are ordered by their version key; the highest is the default.
	best, bestVersion := map[string]string(nil), -1
	for _, path := range entries {
		data, err := os.ReadFile(path)
		if err != nil {
			m.Fatal(err)
		}
		fields := map[string]string{}
		for _, l := range strings.Split(string(data), "\n") {
			key, value, _ := strings.Cut(l, " ")
			fields[key] = strings.TrimSpace(value)
		}
		if v, err := strconv.Atoi(fields["version"]); err == nil && v > bestVersion {
			best, bestVersion = fields, v
		}
	}
	dir := m.TempDir()
	for _, f := range []struct{ key, name string }{{"linux", "vmlinuz"}, {"initrd", "initrd"}} {
		tool(m.T, "cp", filepath.Join(root, "boot", best[f.key]), filepath.Join(dir, f.name))
	}
	unmountDisk(m.T, root)
	m.Logf("booting entry %q: %s", best["title"], best["options"])
	m.options.Kernel, m.options.Initrd, m.options.Append = filepath.Join(dir, "vmlinuz"), filepath.Join(dir, "initrd"), best["options"]
	m.boot()
}
