package durable_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"photree/internal/durable"
)

func TestWriteFileReplacesWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	long, short := bytes.Repeat([]byte("long "), 1000), []byte("short")
	if err := durable.WriteFile(path, long, 0o640); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			got, err := os.ReadFile(path)
			if err != nil || !bytes.Equal(got, long) && !bytes.Equal(got, short) {
				t.Errorf("a reader sees %d bytes, %v", len(got), err)
				return
			}
		}
	})
	for i := range 20 {
		if err := durable.WriteFile(path, [][]byte{short, long}[i%2], 0o640); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	wg.Wait()
	st, err := os.Stat(path)
	if err != nil || st.Mode() != 0o640 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	if names := list(t, filepath.Dir(path)); len(names) != 1 {
		t.Errorf("left behind: %v", names)
	}
}

func list(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func TestWriteFileFailsAndLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := durable.WriteFile(filepath.Join(dir, "sub"), []byte("x"), 0o644); err == nil {
		t.Error("a directory was replaced by a file")
	}
	if names := list(t, dir); len(names) != 1 {
		t.Errorf("left behind: %v", names)
	}
}

func TestRemoveTempsRemovesOnlyWhatWasLeft(t *testing.T) {
	dir := t.TempDir()
	keep := []string{"loader.0", ".loader", ".loader.tmp-", ".tmp-1-2", "loader.tmp-1-2"}
	for _, name := range keep {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"loader", "loader.tmp", "other"} {
		if err := os.Symlink("x", durable.TempNameForTest(filepath.Join(dir, name))); err != nil {
			t.Fatal(err)
		}
	}
	for i, prefix := range []string{"loader", ""} {
		if err := durable.RemoveTemps(dir, prefix); err != nil {
			t.Fatal(err)
		}
		if got := list(t, dir); len(got) != len(keep)+1-i {
			t.Errorf("after removing those of %q there are %q", prefix, got)
		}
	}
	if err := durable.RemoveTemps(filepath.Join(dir, "nothing"), ""); err != nil {
		t.Error(err)
	}
}

func TestSymlinkReplaces(t *testing.T) {
	path := filepath.Join(t.TempDir(), "link")
	for _, target := range []string{"a", "b"} {
		if err := durable.Symlink(target, path); err != nil {
			t.Fatal(err)
		}
		if got, err := os.Readlink(path); err != nil || got != target {
			t.Errorf("link to %q, %v", got, err)
		}
	}
}

func TestExchange(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	for _, p := range []string{a, b} {
		if err := durable.WriteFile(p, []byte(p), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := durable.Exchange(a, b); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(a); string(got) != b {
		t.Errorf("a holds %q", got)
	}
}

func TestMkdirMakesParents(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a/b/c")
	for range 2 {
		if err := durable.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, "f")
	if err := durable.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := durable.Mkdir(filepath.Join(file, "x"), 0o755); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("a directory in a file: %v", err)
	}
}

// mountExt4 returns a directory with a file system of its own, which can be frozen without harm to others.
func mountExt4(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test mounts a file system: run it as root")
	}
	dir := t.TempDir()
	img, mnt := filepath.Join(dir, "img"), filepath.Join(dir, "mnt")
	for _, args := range [][]string{{"truncate", "-s", "32M", img}, {"mkfs.ext4", "-q", img}, {"mkdir", mnt},
		{"mount", "-o", "loop", img, mnt}} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", args, err, out)
		}
	}
	t.Cleanup(func() {
		// A watchdog that has just thawed the file system may hold it open for a moment longer.
		var out []byte
		var err error
		for range 50 {
			if out, err = exec.Command("umount", mnt).CombinedOutput(); err == nil {
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
		t.Errorf("umount: %v: %s", err, out)
	})
	return mnt
}

// writable says whether a write to the file system ends within the time.
func writable(dir string, within time.Duration) bool {
	done := make(chan error, 1)
	go func() { done <- os.WriteFile(filepath.Join(dir, "probe"), []byte("x"), 0o644) }()
	select {
	case err := <-done:
		return err == nil
	case <-time.After(within):
		return false
	}
}

func TestCheckpointWritesTheJournalBack(t *testing.T) {
	mnt := mountExt4(t)
	want := bytes.Repeat([]byte("kernel"), 10000)
	if err := os.WriteFile(filepath.Join(mnt, "vmlinuz"), want, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := durable.Checkpoint(mnt); err != nil {
		t.Fatal(err)
	}
	if !writable(mnt, 5*time.Second) {
		t.Fatal("the file system is still frozen")
	}
	// debugfs reads as a boot loader does, without the journal.
	img := filepath.Join(filepath.Dir(mnt), "img")
	got, err := exec.Command("debugfs", "-R", "cat /vmlinuz", img).Output()
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("read without the journal: %d bytes, %v", len(got), err)
	}
}

func TestCheckpointFallsBack(t *testing.T) {
	mnt := t.TempDir()
	if err := unix.Mount("tmpfs", mnt, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatalf("mounting a tmpfs: %v: run this test as root", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(mnt, 0) })
	if err := durable.Checkpoint(mnt); err != nil {
		t.Errorf("tmpfs cannot be frozen, so it is flushed: %v", err)
	}
}

// TestFrozenByADeadProcessIsThawed runs this test again as a process that freezes and is killed.
func TestFrozenByADeadProcessIsThawed(t *testing.T) {
	mnt := mountExt4(t)
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestHelperFreeze$")
	cmd.Env = append(os.Environ(), "FREEZE_DIR="+mnt)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 64)
	n, _ := out.Read(buf)
	if !strings.HasPrefix(string(buf[:n]), "frozen") {
		t.Fatalf("the helper says %q", buf[:n])
	}
	if writable(mnt, 200*time.Millisecond) {
		t.Error("the helper did not freeze the file system, so this test shows nothing")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if !writable(mnt, 5*time.Second) {
		_ = exec.Command("fsfreeze", "-u", mnt).Run()
		t.Error("the file system stays frozen after the process died")
	}
}

func TestFrozenTooLongIsThawed(t *testing.T) {
	mnt := mountExt4(t)
	release, err := durable.FreezeForTest(mnt, 300*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release) // before the unmount
	if !writable(mnt, 5*time.Second) {
		_ = exec.Command("fsfreeze", "-u", mnt).Run()
		t.Error("the file system stays frozen beyond the limit")
	}
}

func TestHelperFreeze(t *testing.T) {
	dir := os.Getenv("FREEZE_DIR")
	if dir == "" {
		t.Skip("helper of TestFrozenByADeadProcessIsThawed")
	}
	if _, err := durable.FreezeForTest(dir, time.Hour); err != nil {
		t.Fatal(err)
	}
	os.Stdout.WriteString("frozen\n")
	time.Sleep(time.Minute)
}
