// Command demo shows photree's whole line: from a treefile to a virtual machine that boots, is updated over HTTP and
// rolled back. It prints each step with its time, and the machine's console where a person wants to see it, and leaves
// what it made in out/demo. It composes from nothing each time; only the test distribution comes from the cache.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"photree/qemu-tests/distro"
	"photree/qemu-tests/line"
	"photree/qemu-tests/vm"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		stop()
		os.Exit(1)
	}
}

// demo is one run: its methods are the steps.
type demo struct {
	out    io.Writer
	dir    string
	start  time.Time
	line   *line.Line
	repos  *line.Composed
	server *line.Server
	vm     *vm.VM
	times  []timed
}

type timed struct {
	name string
	took time.Duration
}

func run(ctx context.Context, out io.Writer) error {
	d := &demo{out: out, start: time.Now()}
	dir, err := filepath.Abs("out/demo")
	if err != nil {
		return err
	}
	d.dir = dir
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	defer d.close()
	for _, s := range []struct {
		name string
		run  func(context.Context) error
	}{
		{"Build photree, find the test distribution", d.prepare},
		{"Compose v1: treefile and RPMs to a commit", func(ctx context.Context) error { return d.compose(ctx, "v1") }},
		{"Compose v2 on top of it", func(ctx context.Context) error { return d.compose(ctx, "v2") }},
		{"Install v1 onto a disk image", d.install},
		{"Boot v1: GRUB, initramfs, prepare-root, systemd", d.boot},
		{"Look around: /usr refuses, /etc and /var take", d.lookAround},
		{"Upgrade to v2 over HTTP", d.upgrade},
		{"Reboot into v2", d.reboot},
		{"v2 runs, the owner's files are there", func(ctx context.Context) error { return d.check(ctx, "v2") }},
		{"Roll back", d.rollback},
		{"Reboot into v1", d.reboot},
		{"v1 runs, the owner's files are there", func(ctx context.Context) error { return d.check(ctx, "v1") }},
		{"Power off", d.off},
	} {
		fmt.Fprintf(out, "\n==> [%5.1f s] %s\n", time.Since(d.start).Seconds(), s.name)
		begin := time.Now()
		if err := s.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		d.times = append(d.times, timed{s.name, time.Since(begin)})
	}
	d.table()
	return nil
}

func (d *demo) close() {
	if d.vm != nil {
		d.vm.Close()
	}
	if d.server != nil {
		d.server.Close()
	}
}

func (d *demo) table() {
	fmt.Fprintf(d.out, "\n%-56s %8s\n%s\n", "step", "time", strings.Repeat("-", 65))
	for _, t := range d.times {
		fmt.Fprintf(d.out, "%-56s %6.1f s\n", t.name, t.took.Seconds())
	}
	fmt.Fprintf(d.out, "%s\n%-56s %6.1f s\n", strings.Repeat("-", 65), "all", time.Since(d.start).Seconds())
	fmt.Fprintf(d.out, `
Left in %s:
  repos/both      the composed repository, v1 and v2
  repos/tree      the treefiles
  disk.img        the machine's disk (bootable: BIOS and UEFI; root's password is %q)
  console.log     everything that the machine said
`, d.dir, line.Password)
}

func (d *demo) prepare(ctx context.Context) (err error) {
	d.line, err = line.New(ctx, line.Options{Work: d.dir, Output: prefixed(d.out, "    ", packageLine), Progress: func(s string) { fmt.Fprintln(d.out, "   ", s) }})
	if err != nil {
		return err
	}
	d.repos = &line.Composed{Dir: filepath.Join(d.dir, "repos")}
	if err := os.MkdirAll(d.repos.Dir, 0o755); err != nil {
		return err
	}
	if err := d.line.PackagePhotree(ctx, d.rpms()); err != nil {
		return err
	}
	_, err = d.line.Photree(ctx, "ostree", "init", "--repo="+d.repos.Both(), "--mode=archive")
	return err
}

func (d *demo) rpms() string { return filepath.Join(d.repos.Dir, "rpms") }

func (d *demo) compose(ctx context.Context, release string) error {
	id, err := d.line.ComposeRelease(ctx, d.repos, release, d.rpms())
	if err != nil {
		return err
	}
	if release == "v1" {
		d.repos.V1 = id
		// What the machine is installed from must not have v2 yet.
		return d.line.Copy(ctx, d.repos.Both(), d.repos.First())
	}
	d.repos.V2 = id
	_, err = d.line.Photree(ctx, "ostree", "log", "--repo="+d.repos.Both(), distro.Ref)
	return err
}

func (d *demo) install(ctx context.Context) (err error) {
	if d.server, err = d.line.Serve(ctx, d.repos.Dir, filepath.Join(d.dir, "access.log")); err != nil {
		return err
	}
	return d.line.Install(ctx, line.Install{
		Disk: filepath.Join(d.dir, "disk.img"), Source: d.repos.First(), RemoteURL: d.server.GuestURL("both"), Hostname: "demo",
	})
}

func (d *demo) boot(ctx context.Context) (err error) {
	d.vm, err = vm.Start(ctx, vm.Options{
		Disks: []vm.Disk{{Path: filepath.Join(d.dir, "disk.img")}}, Log: filepath.Join(d.dir, "console.log"), Console: prefixed(d.out, "console | ", kernelLine),
	})
	if err != nil {
		return err
	}
	return d.vm.Login(ctx, line.Password)
}

func (d *demo) reboot(ctx context.Context) error {
	if err := d.vm.Send("systemctl reboot\n"); err != nil {
		return err
	}
	return d.vm.Login(ctx, line.Password)
}

func (d *demo) off(ctx context.Context) error {
	if err := d.vm.Send("systemctl poweroff\n"); err != nil {
		return err
	}
	return d.vm.Wait(ctx)
}

// types runs commands in the machine and shows them as typed; the console shows what they print.
func (d *demo) types(ctx context.Context, commands ...string) error {
	for _, c := range commands {
		fmt.Fprintf(d.out, "console | # %s\n", c)
		if _, err := d.vm.Run(ctx, vm.BootTimeout, c); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) lookAround(ctx context.Context) error {
	return d.types(ctx, "rpm-ostree status", "uname -r", "! touch /usr/bin/new",
		"echo '# edited by its owner' >> /etc/photree-test.conf", "echo precious > /var/lib/precious",
		"for i in $(seq 120); do ip route | grep -q ^default && break; sleep 1; done; ip route | grep ^default")
}

func (d *demo) upgrade(ctx context.Context) error {
	return d.types(ctx, "rpm-ostree upgrade", "rpm-ostree status")
}

func (d *demo) rollback(ctx context.Context) error { return d.types(ctx, "rpm-ostree rollback") }

func (d *demo) check(ctx context.Context, release string) error {
	info := d.line.Distro.Manifest.Releases[release]
	return d.types(ctx, fmt.Sprintf("test $(uname -r) = %s && cat /etc/photree-release", info.Kernel),
		"rpm --dbpath /usr/share/rpm -q systemd | grep -F "+info.Packages["systemd"],
		"cat /etc/photree-test.conf /var/lib/precious", "rpm-ostree status")
}

// Lines that a person does not want to see: the several hundred messages of a kernel that starts, which are in the
// console's log, and the list of packages of each compose, which `rpm-ostree db list` gives.
var (
	kernelLine  = regexp.MustCompile(`^\[ *\d+\.\d+\] |^\+---`) // and the frame of GRUB's menu
	tellingLine = regexp.MustCompile(`Linux version|photree|Run /init|Power down|Restarting`)
	packageLine = regexp.MustCompile(`^  \S+$`)
	markLine    = regexp.MustCompile(`^@\d+@|^root@.*exec env|^shell-is-ready`) // of vm.Run and vm.Shell
)

// prefixed gives a writer that puts the prefix before each line, and leaves out empty ones and those that match, unless they
// tell something.
func prefixed(w io.Writer, prefix string, leaveOut *regexp.Regexp) io.Writer {
	return &prefixer{w: w, prefix: prefix, leaveOut: leaveOut}
}

type prefixer struct {
	mu       sync.Mutex
	w        io.Writer
	prefix   string
	leaveOut *regexp.Regexp
	rest     string
}

func (p *prefixer) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	text := p.rest + string(b)
	for {
		l, rest, whole := strings.Cut(text, "\n")
		if !whole {
			p.rest = text
			return len(b), nil
		}
		text = rest
		l = strings.TrimRight(l, " \r")
		if l == "" || markLine.MatchString(l) || p.leaveOut.MatchString(l) && !tellingLine.MatchString(l) {
			continue
		}
		if _, err := fmt.Fprintln(p.w, p.prefix+l); err != nil {
			return 0, err
		}
	}
}
