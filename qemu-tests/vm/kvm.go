package vm

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"regexp"
	"sync"
	"time"
)

// usableKVM says whether hardware virtualisation works. That /dev/kvm can be opened proves nothing: on a host whose
// processor has neither vmx nor svm it may exist and run a kernel through an instruction emulator until it dies, and
// QEMU's own fall-back does not notice. So the processor must have the feature, and a machine must run.
func usableKVM(ctx context.Context) bool { return probeKVM(ctx) }

var (
	kvmOnce   sync.Once
	kvmUsable bool
)

func probeKVM(ctx context.Context) bool {
	kvmOnce.Do(func() {
		cpuinfo, err := os.ReadFile("/proc/cpuinfo")
		if err != nil || !regexp.MustCompile(`(?m)^flags.*\b(vmx|svm)\b`).Match(cpuinfo) {
			return
		}
		kvmUsable = runBootSector(ctx, "kvm")
	})
	return kvmUsable
}

// bootSector prints "ok" on the first serial port and ends QEMU through its debug exit port.
func bootSector() []byte {
	code := []byte{
		0xba, 0xf8, 0x03, // mov dx, 0x3f8
		0xb0, 'o', 0xee, // mov al, 'o'; out dx, al
		0xb0, 'k', 0xee,
		0xba, 0xf4, 0x00, // mov dx, 0xf4
		0xb0, 0x10, 0xee, // mov al, 0x10; out dx, al
		0xf4, // hlt
	}
	sector := make([]byte, 512)
	copy(sector, code)
	sector[510], sector[511] = 0x55, 0xaa
	return sector
}

func runBootSector(ctx context.Context, accel string) bool {
	f, err := os.CreateTemp("", "photree-probe-")
	if err != nil {
		return false
	}
	defer os.Remove(f.Name())
	_, err = f.Write(bootSector())
	if cerr := f.Close(); err != nil || cerr != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, _ := exec.CommandContext(ctx, "qemu-system-x86_64", "-nodefaults", "-display", "none", "-serial", "stdio", "-accel", accel,
		"-m", "16", "-no-reboot", "-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-drive", "format=raw,snapshot=on,file="+f.Name()).Output()
	// The status is that of the debug exit, not of success: only the words count.
	return bytes.Contains(out, []byte("ok"))
}
