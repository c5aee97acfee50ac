package qemutests

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"photree/qemu-tests/distro"
	"photree/qemu-tests/vm"
	"photree/qemu-tests/writelog"
)

// cutsTried is how many of an update's thousands of writes are tried; each takes seconds.
const cutsTried = 30

// The power may go at any write of an update, and what was written since the last flush may be there in part. Each time the
// kernel, which replays the journal, and GRUB, which does not, find the old list of deployments or the new one, and every
// deployment in it is whole. Covers D1, D2, D7 and R2 on the whole machine.
func TestAnyWriteOfAnUpgradeMayBeTheLast(t *testing.T) {
	t.Parallel()
	w := theWorldFor(t)
	random := seeded(t)
	base := w.installed(t)
	disk, logFile := copyOf(t, base), filepath.Join(t.TempDir(), "writes")
	m := &machine{T: t, world: w, options: vm.Options{Log: consoleLog(t), Disks: []vm.Disk{{Path: disk, WriteLog: logFile}}}}
	m.boot()
	m.online()
	m.does("sync")
	start := sizeOf(t, logFile)
	m.does("rpm-ostree upgrade")
	end := sizeOf(t, logFile)
	m.vm.PowerCut()

	log, err := writelog.Open(logFile)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	points := cutPoints(log, start, end, random)
	whole := w.wholeTrees(t)
	history := copyOf(t, base)
	applied, seen := 0, map[string]int{}
	for _, n := range points {
		for ; applied < log.Durable(n); applied++ {
			onDisk(t, history, func(f *os.File) error { return log.Apply(f, applied) })
		}
		state := copyOf(t, history)
		onDisk(t, state, func(f *os.File) error { return log.State(f, n, func() bool { return random.IntN(2) == 0 }) })
		booted, err := w.judge(t, state, whole)
		if err != nil {
			t.Errorf("cut at write %d of %d: %v", n, len(log.Entries), err)
		}
		seen[booted]++
		if err := os.Remove(state); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d writes and flushes in the upgrade; %d cuts tried: %v", points[len(points)-1]-points[0], len(points), seen)
	if seen["v1"] == 0 || seen["v2"] == 0 {
		t.Errorf("the cuts gave %v: both releases must be among them", seen)
	}
	w.judgeSeesDamage(t, history, whole)
}

// judgeSeesDamage checks the judge itself: on a disk whose default deployment lacks one byte, and on one without a kernel.
func (w *world) judgeSeesDamage(t *testing.T, disk string, whole map[string]string) {
	t.Helper()
	for _, damage := range []string{"truncate -s 1 ostree/deploy/photon/deploy/*.0/usr/bin/bash", "rm boot/ostree/*/vmlinuz*"} {
		damaged := copyOf(t, disk)
		root := mountDisk(t, damaged)
		tool(t, "sh", "-c", "cd "+root+" && "+damage)
		unmountDisk(t, root)
		if release, err := w.judge(t, damaged, whole); err == nil {
			t.Errorf("after %q the disk passed as a whole %s", damage, release)
		}
	}
}

func sizeOf(t *testing.T, path string) int64 {
	t.Helper()
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return fi.Size()
}

func onDisk(t *testing.T, path string, do func(*os.File) error) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := do(f); err != nil {
		t.Fatal(err)
	}
}

// cutPoints chooses counts of writes between two sizes of the log, half of them among the last writes, where the switch is.
func cutPoints(log *writelog.Log, start, end int64, random *rand.Rand) []int {
	first := slices.IndexFunc(log.Entries, func(e writelog.Entry) bool { return e.At > start })
	last := len(log.Entries)
	for last > first && log.Entries[last-1].At > end {
		last--
	}
	points := []int{first, last}
	for i := range cutsTried - 2 {
		span := last - first
		if i%2 == 0 {
			span = min(span, 300)
		}
		points = append(points, last-random.IntN(span))
	}
	slices.Sort(points)
	return slices.Compact(points)
}

// wholeTrees gives the digest of each release's tree, as it must be deployed.
func (w *world) wholeTrees(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	bare := filepath.Join(t.TempDir(), "bare")
	stock(t, "init", "--repo="+bare, "--mode=bare")
	stock(t, "pull-local", "--repo="+bare, "--depth=-1", w.repos.Both(), distro.Ref)
	for _, commit := range []string{w.repos.V1, w.repos.V2} {
		tree := filepath.Join(t.TempDir(), "tree")
		stock(t, "checkout", "--repo="+bare, "-H", commit, tree)
		sum, err := treeSum(filepath.Join(tree, "usr"))
		if err != nil {
			t.Fatal(err)
		}
		out[commit] = sum
	}
	return out
}

// treeSum is a digest of the names, modes and contents below a directory.
func treeSum(dir string) (string, error) {
	h := sha256.New()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := e.Info()
		if err != nil {
			return err
		}
		fmt.Fprintln(h, strings.TrimPrefix(path, dir), fi.Mode())
		switch {
		case fi.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			fmt.Fprintln(h, target)
			return err
		case fi.Mode().IsRegular():
			f, err := os.Open(path)
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = io.Copy(h, f)
			return err
		}
		return nil
	})
	return fmt.Sprintf("%x", h.Sum(nil)), err
}

// judge looks at a disk as GRUB and then as the kernel would, and says which release it boots. Between the moment when the
// switch is in the journal and the one when it is in its place the two see different lists: both must be whole.
func (w *world) judge(t *testing.T, disk string, whole map[string]string) (release string, err error) {
	menu, err := grubReads(t, disk, "cat", "/loader/grub.cfg")
	if err != nil {
		return "", err
	}
	kernels := namedIn(menu, `"$bootdir"`)
	for _, k := range kernels {
		if _, err := grubReads(t, disk, "crc", k); err != nil {
			return "", err
		}
	}
	root := mountDisk(t, disk)
	defer unmountDisk(t, root)
	for _, k := range kernels {
		if _, err := os.Stat(filepath.Join(root, "boot", k)); err != nil {
			return "", fmt.Errorf("the journal takes away what GRUB boots: %w", err)
		}
	}
	if release, err = w.judgeList(root, menu, whole); err != nil {
		return "", fmt.Errorf("the list that GRUB sees: %w", err)
	}
	replayed, err := os.ReadFile(filepath.Join(root, "boot/loader/grub.cfg"))
	if err != nil {
		return "", err
	}
	for _, k := range namedIn(string(replayed), `"$bootdir"`) {
		if _, err := os.Stat(filepath.Join(root, "boot", k)); err != nil {
			return "", err
		}
	}
	if _, err := w.judgeList(root, string(replayed), whole); err != nil {
		return "", fmt.Errorf("the list that the kernel sees: %w", err)
	}
	return release, nil
}

// namedIn gives the words of a text that begin with the prefix, without it.
func namedIn(text, prefix string) []string {
	var out []string
	for _, word := range strings.Fields(text) {
		if rest, ok := strings.CutPrefix(word, prefix); ok {
			out = append(out, rest)
		}
	}
	return out
}

// judgeList checks every deployment that a menu names, and gives the release of the first.
func (w *world) judgeList(root, menu string, whole map[string]string) (string, error) {
	links := namedIn(menu, "ostree=")
	if len(links) == 0 {
		return "", fmt.Errorf("it names no deployment:\n%s", menu)
	}
	var commits []string
	for _, link := range links {
		dir, err := filepath.EvalSymlinks(filepath.Join(root, link))
		if err != nil {
			return "", err
		}
		commit, _, _ := strings.Cut(filepath.Base(dir), ".")
		commits = append(commits, commit)
		sum, err := treeSum(filepath.Join(dir, "usr"))
		if err != nil {
			return "", err
		}
		if sum != whole[commit] {
			return "", fmt.Errorf("the deployment of %s is not whole", commit)
		}
		for _, needed := range []string{filepath.Join(dir, "etc/photree-release"), filepath.Join(dir, "etc/shadow"), dir + ".origin"} {
			if fi, err := os.Stat(needed); err != nil || fi.Size() == 0 {
				return "", fmt.Errorf("%q is missing or empty (%v)", needed, err)
			}
		}
	}
	return map[string]string{w.repos.V1: "v1", w.repos.V2: "v2"}[commits[0]], nil
}

// grubReads has GRUB's own code read a file of the partition for /boot, without the journal.
func grubReads(t *testing.T, disk, command, path string) (string, error) {
	t.Helper()
	i := slices.IndexFunc(partitions(t, disk), func(p partition) bool { return p.label == "boot" })
	out, err := exec.Command("grub-fstest", disk, command, fmt.Sprintf("(loop0,gpt%d)%s", i+1, path)).Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		return "", fmt.Errorf("GRUB reading %q: %w", path, err)
	}
	return string(out), nil
}
