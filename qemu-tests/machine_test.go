package qemutests

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"photree/qemu-tests/line"
	"photree/qemu-tests/vm"
)

// world is what all stories share: the built programs, the composed repositories, a server for them, and a disk with v1
// installed. It is made once.
type world struct {
	line     *line.Line
	repos    *line.Composed
	server   *line.Server
	disk     string // installed with v1; machines use copies on top of it
	dir      string
	diskOnce sync.Once
	diskErr  error
}

var (
	theWorld  *world
	worldErr  error
	worldOnce sync.Once
)

// TestMain takes down what the stories share; each story takes down its own.
func TestMain(m *testing.M) {
	code := m.Run()
	if theWorld != nil {
		if theWorld.server != nil {
			theWorld.server.Close()
		}
		os.RemoveAll(theWorld.dir)
	}
	os.Exit(code)
}

func theWorldFor(t *testing.T) *world {
	t.Helper()
	if testing.Short() {
		t.Skip("runs whole machines")
	}
	if os.Getuid() != 0 {
		t.Fatal("composing and installing need root: run the tests as root (make test does)")
	}
	worldOnce.Do(func() { theWorld, worldErr = makeWorld(t) })
	if worldErr != nil {
		t.Fatal(worldErr)
	}
	return theWorld
}

func makeWorld(t *testing.T) (*world, error) {
	dir, err := os.MkdirTemp("", "photree-qemu-tests-")
	if err != nil {
		return nil, err
	}
	w := &world{dir: dir}
	// The context of the first story must not end what the others use.
	ctx := t.Context()
	start := time.Now()
	w.line, err = line.New(ctx, line.Options{Work: dir, Progress: func(s string) { t.Logf("%6.1f s  %s", time.Since(start).Seconds(), s) }})
	if err != nil {
		return w, err
	}
	if w.repos, err = w.line.ComposeCached(ctx); err != nil {
		return w, err
	}
	w.server, err = w.line.Serve(background, w.repos.Dir, filepath.Join(dir, "access.log"))
	return w, err
}

// installed gives a disk with v1, made once with `photree install`.
func (w *world) installed(t *testing.T) string {
	t.Helper()
	w.diskOnce.Do(func() {
		w.disk = filepath.Join(w.dir, "installed.img")
		w.diskErr = w.line.Install(t.Context(), line.Install{Disk: w.disk, Source: w.repos.First(), RemoteURL: w.server.GuestURL("both"), Hostname: "story"})
	})
	if w.diskErr != nil {
		t.Fatal(w.diskErr)
	}
	return w.disk
}

// machine is a virtual machine in a story. Its methods end the story when they fail, and say what the console said.
type machine struct {
	*testing.T
	world   *world
	options vm.Options
	vm      *vm.VM
}

// machineOn gives a machine that is off, with a disk of its own on top of base.
func (w *world) machineOn(t *testing.T, base string) *machine {
	t.Helper()
	m := &machine{T: t, world: w}
	m.options = vm.Options{Log: consoleLog(t)}
	m.replaceDisk(base)
	return m
}

// replaceDisk gives the machine a fresh copy of base.
func (m *machine) replaceDisk(base string) {
	m.Helper()
	overlay := filepath.Join(m.TempDir(), "disk.qcow2")
	if err := line.Overlay(m.Context(), base, overlay); err != nil {
		m.Fatal(err)
	}
	m.options.Disks = []vm.Disk{{Path: overlay, Format: "qcow2"}}
}

// consoleLog names the file that keeps the console of a story; it is printed when the story fails.
func consoleLog(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "console.log")
	t.Cleanup(func() {
		data, err := os.ReadFile(path)
		if err != nil {
			return
		}
		if t.Failed() {
			t.Logf("the whole console:\n%s", data)
		} else if testing.Verbose() {
			t.Logf("the console had %d lines; the last of them:\n%s", strings.Count(string(data), "\n"), lastLines(string(data), 5))
		}
	})
	return path
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// on starts the machine.
func (m *machine) on() {
	m.Helper()
	v, err := vm.Start(m.Context(), m.options)
	if err != nil {
		m.Fatal(err)
	}
	m.vm = v
	m.Cleanup(v.Close)
}

// login waits for the login prompt of a booting machine and logs in.
func (m *machine) login() {
	m.Helper()
	start := time.Now()
	if err := m.vm.Login(m.Context(), line.Password); err != nil {
		m.Fatal(err)
	}
	m.Logf("login after %.0f s", time.Since(start).Seconds())
}

// boot starts the machine and logs in.
func (m *machine) boot() {
	m.Helper()
	m.on()
	m.login()
}

// reboot restarts the machine in an orderly way and logs in again.
func (m *machine) reboot() {
	m.Helper()
	if err := m.vm.Send("systemctl reboot\n"); err != nil {
		m.Fatal(err)
	}
	m.login()
}

// off turns the machine off in an orderly way.
func (m *machine) off() {
	m.Helper()
	if err := m.vm.Send("systemctl poweroff\n"); err != nil {
		m.Fatal(err)
	}
	if err := m.vm.Wait(m.Context()); err != nil {
		m.Fatal(err)
	}
}

// does runs a command that must succeed, and gives what it printed.
func (m *machine) does(command string) string {
	m.Helper()
	start := time.Now()
	out, err := m.vm.Run(m.Context(), slow, command)
	if err != nil {
		m.Fatal(err)
	}
	m.Logf("%5.1f s  # %s\n%s", time.Since(start).Seconds(), command, out)
	return out
}

// shows runs a command that must succeed and print the text.
func (m *machine) shows(command, text string) {
	m.Helper()
	if out := m.does(command); !strings.Contains(out, text) {
		m.Errorf("%q printed no %q:\n%s", command, text, out)
	}
}

// refuses runs a command that must fail and print the text.
func (m *machine) refuses(command, text string) {
	m.Helper()
	out, err := m.vm.Run(m.Context(), slow, command)
	var exit *vm.ExitError
	if !errors.As(err, &exit) {
		m.Errorf("%q did not fail (%v):\n%s", command, err, out)
	} else if !strings.Contains(out, text) {
		m.Errorf("%q failed without saying %q:\n%s", command, text, out)
	}
}

// slow is for commands that move a whole tree, under emulation and beside another machine.
const slow = 10 * time.Minute

// online waits until the machine has its address.
func (m *machine) online() {
	m.Helper()
	m.does("for i in $(seq 120); do ip route | grep -q ^default && break; sleep 1; done; ip route | grep ^default")
}

// runs checks which release the machine runs: its kernel, its packages, its files.
func (m *machine) runs(release string) {
	m.Helper()
	info := m.world.line.Distro.Manifest.Releases[release]
	m.shows("uname -r", info.Kernel)
	m.shows("cat /etc/photree-release", "release "+strings.TrimPrefix(release, "v"))
	m.shows("rpm --dbpath /usr/share/rpm -q systemd libc6", "systemd-"+info.Packages["systemd"])
}
