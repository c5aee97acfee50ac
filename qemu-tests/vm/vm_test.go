package vm

import (
	"bufio"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"photree/compose/rpm"
	"photree/qemu-tests/distro"
)

// TestMain makes the test program a double agent: as PID 1 of a virtual machine it is the whole userland.
func TestMain(m *testing.M) {
	if os.Getpid() == 1 {
		userland()
	}
	os.Exit(m.Run())
}

// userland greets, repeats what it is told, and turns the machine off on demand.
func userland() {
	fmt.Println("userland is up")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		if in.Text() == "off" {
			unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
		}
		fmt.Printf("heard <%s>\n", in.Text())
	}
	select {}
}

// guest gives the distribution's kernel and an initramfs of this program.
func guest(t *testing.T) (kernel, initrd string) {
	t.Helper()
	d, err := distro.Make(t.Context(), distro.Options{})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	kernel = filepath.Join(dir, "vmlinuz")
	version := d.Manifest.Releases["v1"].Kernel
	name := "linux-image-" + version
	p, err := rpm.Open(filepath.Join(d.Repo("v1"), name+"-"+d.Manifest.Releases["v1"].Packages[name]+".x86_64.rpm"))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	payload, err := p.Payload()
	if err != nil {
		t.Fatal(err)
	}
	for {
		e, err := payload.Next()
		if err != nil {
			t.Fatalf("looking for the kernel in %s: %v", name, err)
		}
		if e.Path == "/boot/vmlinuz-"+version {
			data, err := io.ReadAll(payload)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(kernel, data, 0o644); err != nil {
				t.Fatal(err)
			}
			break
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if f, err := elf.Open(self); err != nil {
		t.Fatal(err)
	} else if libs, _ := f.ImportedLibraries(); len(libs) > 0 {
		t.Fatalf("the guest's only program is this test itself, and it needs %v: run the test with CGO_ENABLED=0, as make test does", libs)
	}
	program, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	initrd = filepath.Join(dir, "initrd")
	var b strings.Builder
	for _, f := range []struct {
		name string
		mode uint32
		rdev [2]uint32
		body []byte
	}{
		{"dev", 0o040755, [2]uint32{}, nil}, {"dev/console", 0o020600, [2]uint32{5, 1}, nil}, {"init", 0o100755, [2]uint32{}, program}, {"TRAILER!!!", 0, [2]uint32{}, nil},
	} {
		fmt.Fprintf(&b, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00", 0, f.mode, 0, 0, 1, 0, len(f.body), 0, 0, f.rdev[0], f.rdev[1], len(f.name)+1, 0, f.name)
		b.WriteString(strings.Repeat("\x00", -b.Len()&3))
		b.Write(f.body)
		b.WriteString(strings.Repeat("\x00", -b.Len()&3))
	}
	if err := os.WriteFile(initrd, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	return kernel, initrd
}

func TestAMachineTalksAndEnds(t *testing.T) {
	if testing.Short() {
		t.Skip("boots a kernel")
	}
	kernel, initrd := guest(t)
	log := filepath.Join(t.TempDir(), "console.log")
	var lines strings.Builder
	v, err := Start(t.Context(), Options{Kernel: kernel, Initrd: initrd, Append: "console=ttyS0 panic=-1", NoReboot: true, Memory: 256, CPUs: 1, Log: log, Console: &lines})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if _, err := v.Expect(t.Context(), BootTimeout, `userland is up\n`); err != nil {
		t.Fatal(err)
	}
	if err := v.Send("one two\n"); err != nil {
		t.Fatal(err)
	}
	m, err := v.Expect(t.Context(), CommandTimeout, `heard <(\w+) (\w+)>\n`)
	if err != nil || len(m) != 3 || m[1] != "one" || m[2] != "two" {
		t.Errorf("got %q, %v", m, err)
	}
	if _, err := v.Expect(t.Context(), 100*time.Millisecond, `never said`); err == nil || !strings.Contains(err.Error(), "never said") {
		t.Errorf("expecting what is never said: %v", err)
	}
	if err := v.Send("off\n"); err != nil {
		t.Fatal(err)
	}
	if err := v.Wait(t.Context()); err != nil {
		t.Errorf("powering off: %v", err)
	}
	if _, err := v.Expect(t.Context(), CommandTimeout, `anything at all after the end`); err == nil || !strings.Contains(err.Error(), "machine ended") {
		t.Errorf("expecting after the end: %v", err)
	}
	data, err := os.ReadFile(log)
	if err != nil || !strings.Contains(string(data), "Linux version") || !strings.Contains(lines.String(), "heard <one two>\n") {
		t.Errorf("the console's log has %d bytes, its copy %d (%v)", len(data), lines.Len(), err)
	}
}

func TestAPowerCutEndsTheMachine(t *testing.T) {
	if testing.Short() {
		t.Skip("boots a kernel")
	}
	kernel, initrd := guest(t)
	v, err := Start(t.Context(), Options{Kernel: kernel, Initrd: initrd, Append: "console=ttyS0", Memory: 256, CPUs: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if _, err := v.Expect(t.Context(), BootTimeout, `Linux version`); err != nil {
		t.Fatal(err)
	}
	pid := v.process.Pid
	v.PowerCut()
	if err := unix.Kill(pid, 0); !errors.Is(err, unix.ESRCH) {
		t.Errorf("process %d is still there: %v", pid, err)
	}
	if err := v.Wait(t.Context()); err == nil {
		t.Error("a machine whose power was cut ended well")
	}
}

func TestTheProbeSeesAMachineRun(t *testing.T) {
	if !runBootSector(t.Context(), "tcg") {
		t.Error("the boot sector does not run under emulation")
	}
	if runBootSector(t.Context(), "no-such-accelerator") {
		t.Error("the boot sector runs on an accelerator that does not exist")
	}
}

func TestBadMachinesAreRefused(t *testing.T) {
	for name, o := range map[string]Options{
		"an unknown disk interface": {Disks: []Disk{{Path: "x", Interface: "floppy"}}},
		"UEFI without variables":    {UEFI: true},
	} {
		if v, err := Start(t.Context(), o); err == nil {
			v.Close()
			t.Errorf("%s: no error", name)
		}
	}
	v, err := Start(t.Context(), Options{Disks: []Disk{{Path: "/nonexistent.img"}}})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if err := v.Wait(t.Context()); err == nil || !strings.Contains(err.Error(), "nonexistent") {
		t.Errorf("a disk that is not there: %v", err)
	}
}
