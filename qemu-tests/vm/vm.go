// Package vm runs virtual machines for whole-machine tests: it starts QEMU, reads and answers the serial console, runs
// commands in a root shell there, cuts the power and starts again.
//
// The machine is always a q35 with its serial port as console. Without usable hardware virtualisation QEMU emulates the
// processor: then a boot takes 10 to 30 seconds, and every time-out here is generous for that. At most two machines run
// at a time on one host, across processes; Start waits for a place. A machine never outlives the process that started it.
//
// The package writes the console log, the firmware variables and the lock files it is told of or that stand in the temporary
// directory, and nothing else; disks are written by the machine, unless they are snapshots. It ends only processes that
// it started.
package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"
)

// Disk is a disk image.
type Disk struct {
	Path      string
	Format    string // empty means raw
	Interface string // "nvme" (also when empty) or "virtio"
	Snapshot  bool   // throw away what the machine writes
	// Cache is QEMU's cache mode; empty means unsafe: a cut loses what QEMU itself holds, and flushes cost nothing.
	Cache string
	// WriteLog names a file that gets each write and flush of the disk, in their order, for package writelog. The disk
	// must be raw, and no snapshot.
	WriteLog string
}

// Options describe a machine. The zero value boots nothing: give a disk, a CD or a kernel.
type Options struct {
	Disks  []Disk
	CDROM  string // an ISO image, on virtio-scsi; it is booted before the disks
	UEFI   bool   // OVMF instead of SeaBIOS
	Vars   string // the file of the UEFI variables; made when missing. Needed with UEFI
	Memory int    // MiB; 0 means 1024
	CPUs   int    // 0 means 2

	Kernel, Initrd, Append string // boot directly, without firmware and boot loader
	NoReboot               bool   // a reboot ends the machine

	Log     string    // file that the console is appended to; empty means none
	Console io.Writer // what the console says is copied here too, in whole lines
}

// VM is a running machine. Its methods are for one goroutine.
type VM struct {
	console *console
	input   io.WriteCloser
	process *os.Process
	release func()
	log     *os.File

	exited chan struct{}
	err    error // of the process; valid after exited is closed
	shell  int   // commands sent so far
	once   sync.Once
}

// Start starts a machine. It ends when the context does, at Close, and when it powers off.
func Start(ctx context.Context, o Options) (*VM, error) {
	args, err := arguments(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("starting a virtual machine: %w", err)
	}
	release, err := takeSlot(ctx)
	if err != nil {
		return nil, fmt.Errorf("waiting for another virtual machine to end: %w", err)
	}
	v := &VM{release: release, exited: make(chan struct{}), console: newConsole(o.Console)}
	if o.Log != "" {
		if v.log, err = os.OpenFile(o.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644); err != nil {
			release()
			return nil, err
		}
		fmt.Fprintf(v.log, "--- qemu-system-x86_64 %q\n", args)
	}
	if err := v.spawn(ctx, args); err != nil {
		release()
		return nil, fmt.Errorf("starting a virtual machine: %w", err)
	}
	return v, nil
}

// spawn runs QEMU from a thread of its own: the kernel kills it with that thread, so it cannot outlive this process.
func (v *VM) spawn(ctx context.Context, args []string) error {
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	input, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	complaints := &tail{}
	cmd.Stderr = complaints
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		started <- nil
		v.read(output)
		v.err = cmd.Wait()
		if text := complaints.String(); v.err != nil && text != "" {
			v.err = fmt.Errorf("%w: %s", v.err, text)
		}
		if v.log != nil {
			v.log.Close()
		}
		v.release()
		v.console.close()
		close(v.exited)
	}()
	if err := <-started; err != nil {
		return err
	}
	v.input, v.process = input, cmd.Process
	return nil
}

func (v *VM) read(output io.Reader) {
	buf := make([]byte, 4096)
	for {
		n, err := output.Read(buf)
		if n > 0 {
			if v.log != nil {
				v.log.Write(buf[:n])
			}
			v.console.add(buf[:n])
		}
		if err != nil {
			return
		}
	}
}

// PowerCut ends the machine at once, as pulling the plug does.
func (v *VM) PowerCut() {
	// The only error is that it has ended already, which is as good.
	_ = v.process.Kill()
	<-v.exited
}

// Close ends the machine if it still runs.
func (v *VM) Close() { v.once.Do(v.PowerCut) }

// Wait waits until the machine has powered off.
func (v *VM) Wait(ctx context.Context) error {
	select {
	case <-v.exited:
		return v.err
	case <-ctx.Done():
		return fmt.Errorf("waiting for the machine to power off: %w\n%s", ctx.Err(), v.console.tail())
	}
}

func arguments(ctx context.Context, o Options) ([]string, error) {
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		return nil, errors.New("qemu-system-x86_64 is missing: install qemu-system-x86 (make deps)")
	}
	memory, cpus := o.Memory, o.CPUs
	if memory == 0 {
		memory = 1024
	}
	if cpus == 0 {
		cpus = 2
	}
	args := []string{"-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio", "-M", "q35",
		"-m", strconv.Itoa(memory), "-smp", strconv.Itoa(cpus), "-device", "virtio-rng-pci",
		// 10.0.2.2 is the host's loopback; nothing else is listening there for it.
		"-netdev", "user,id=net0", "-device", "virtio-net-pci,netdev=net0"}
	if usableKVM(ctx) {
		args = append(args, "-accel", "kvm", "-cpu", "host")
	} else {
		// Without svm the machine does not load KVM's modules, for which it has no use.
		args = append(args, "-accel", "tcg,thread=multi", "-cpu", "qemu64,-svm")
	}
	if o.NoReboot {
		args = append(args, "-no-reboot")
	}
	if o.UEFI {
		firmware, err := uefiArguments(o.Vars)
		if err != nil {
			return nil, err
		}
		args = append(args, firmware...)
	}
	if o.Kernel != "" {
		args = append(args, "-kernel", o.Kernel, "-append", o.Append)
		if o.Initrd != "" {
			args = append(args, "-initrd", o.Initrd)
		}
	}
	if o.CDROM != "" {
		args = append(args, "-device", "virtio-scsi-pci,id=scsi0", "-drive", "if=none,id=cd0,media=cdrom,readonly=on,format=raw,file="+escape(o.CDROM),
			"-device", "scsi-cd,bus=scsi0.0,drive=cd0,bootindex=0")
	}
	for i, d := range o.Disks {
		disk, err := diskArguments(i, d)
		if err != nil {
			return nil, err
		}
		args = append(args, disk...)
	}
	return args, nil
}

func diskArguments(i int, d Disk) ([]string, error) {
	format, cache := d.Format, d.Cache
	if format == "" {
		format = "raw"
	}
	if cache == "" {
		cache = "unsafe"
	}
	snapshot := "off"
	if d.Snapshot {
		snapshot = "on"
	}
	device := map[string]string{"": "nvme", "nvme": "nvme", "virtio": "virtio-blk-pci"}[d.Interface]
	if device == "" {
		return nil, fmt.Errorf("disk %q: no interface is called %q", d.Path, d.Interface)
	}
	if d.WriteLog != "" {
		return loggedDisk(i, d, device)
	}
	return []string{
		"-drive", fmt.Sprintf("if=none,id=disk%d,format=%s,cache=%s,snapshot=%s,discard=unmap,file=%s", i, format, cache, snapshot, escape(d.Path)),
		"-device", fmt.Sprintf("%s,drive=disk%d,serial=disk%d,bootindex=%d", device, i, i, i+1),
	}, nil
}

// loggedDisk puts QEMU's write logger between device and file. The host need not flush for it: what a cut loses is decided
// from the log.
func loggedDisk(i int, d Disk, device string) ([]string, error) {
	if d.Format != "" && d.Format != "raw" || d.Snapshot {
		return nil, fmt.Errorf("disk %q: only a raw disk that is no snapshot can have a write log", d.Path)
	}
	if err := os.WriteFile(d.WriteLog, nil, 0o644); err != nil {
		return nil, err
	}
	file := func(name, path string) string {
		return fmt.Sprintf("driver=file,node-name=%s%d,cache.no-flush=on,filename=%s", name, i, escape(path))
	}
	return []string{
		"-blockdev", file("file", d.Path), "-blockdev", file("log", d.WriteLog),
		"-blockdev", fmt.Sprintf("driver=blklogwrites,node-name=disk%[1]d,file=file%[1]d,log=log%[1]d,log-sector-size=512", i),
		"-device", fmt.Sprintf("%s,drive=disk%d,serial=disk%d,bootindex=%d", device, i, i, i+1),
	}, nil
}

// escape doubles the commas of a path, as QEMU's option lists want it.
func escape(path string) string {
	var out []byte
	for i := 0; i < len(path); i++ {
		if path[i] == ',' {
			out = append(out, ',')
		}
		out = append(out, path[i])
	}
	return string(out)
}

const ovmfDir = "/usr/share/OVMF"

func uefiArguments(vars string) ([]string, error) {
	if vars == "" {
		return nil, errors.New("a UEFI machine needs a file for its variables")
	}
	code := filepath.Join(ovmfDir, "OVMF_CODE_4M.fd")
	if _, err := os.Stat(code); err != nil {
		return nil, errors.New("the UEFI firmware is missing: install ovmf (make deps)")
	}
	if _, err := os.Stat(vars); errors.Is(err, os.ErrNotExist) {
		blank, err := os.ReadFile(filepath.Join(ovmfDir, "OVMF_VARS_4M.fd"))
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(vars, blank, 0o644); err != nil {
			return nil, err
		}
	}
	return []string{
		"-drive", "if=pflash,unit=0,format=raw,readonly=on,file=" + code,
		"-drive", "if=pflash,unit=1,format=raw,file=" + escape(vars),
	}, nil
}
