package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"photree/cli"
	"photree/cli/ostree"
	"photree/cli/rpmostree"
	"photree/internal/durable"
)

// workload is a series of commands that an owner gives on a booted machine.
type workload struct {
	name string
	head string // the release that the branch has on the server
	// prepare are commands before the recording, commands those that are recorded.
	prepare, commands []string
}

var workloads = []workload{
	{name: "upgrade-new-kernel", head: "new", commands: []string{"rpm-ostree upgrade"}},
	{name: "upgrade-same-kernel", head: "same", commands: []string{"rpm-ostree upgrade"}},
	{name: "deploy", head: "b", prepare: []string{"ostree pull origin test/new"}, commands: []string{"ostree admin deploy origin:test/new"}},
	{name: "rollback", head: "b", commands: []string{"rpm-ostree rollback"}},
	{name: "kargs", head: "b", commands: []string{"rpm-ostree kargs --append=one=1"}},
	{name: "kargs-in-place", head: "b", commands: []string{"ostree admin kargs edit-in-place --append-if-missing=two=2"}},
	{name: "cleanup", head: "b", commands: []string{"rpm-ostree cleanup -r"}},
	{name: "undeploy", head: "b", commands: []string{"ostree admin undeploy 1"}},
	{name: "stateroot", head: "b", prepare: []string{"ostree pull origin test/new"},
		commands: []string{"ostree admin stateroot-init two", "ostree admin deploy --os=two --karg=root=LABEL=x origin:test/new"}},
	{name: "pull-prune", head: "b", commands: []string{"ostree pull origin test/new test/same", "ostree refs --delete origin:test/new", "ostree prune --refs-only"}},
	{name: "two-upgrades", head: "new", prepare: []string{"rpm-ostree upgrade"}, commands: []string{"rpm-ostree kargs --append=three=3", "rpm-ostree cleanup -p"}},
}

// Controls are ways to break what is tested, to see that the explorer finds it.
const (
	controlNone       = ""
	controlFlush      = "flush"      // every fsync, syncfs and freeze does nothing
	controlCheckpoint = "checkpoint" // syncfs and freeze do nothing, fsync works
)

const (
	childVar   = "POWERCUT_ROOT" // the root directory of the command
	nameVar    = "POWERCUT_NAME" // the name that the program is called by
	controlVar = "POWERCUT_CONTROL"
)

// childMain runs a command of photree if this process was started for that.
func childMain() {
	root := os.Getenv(childVar)
	if root == "" {
		return
	}
	// Here and not before the start of this program, which may need libraries that the tree does not have.
	err := errors.Join(unix.Chroot(root), unix.Chdir("/"))
	if err == nil {
		err = takeAway(os.Getenv(controlVar))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "powercut:", err)
		os.Exit(3)
	}
	env := &cli.Env{Ctx: context.Background(), Name: os.Getenv(nameVar), Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout,
		Stderr: os.Stderr, Getenv: os.Getenv, Version: "0"}
	if env.Name == "ostree" {
		os.Exit(cli.Main(env, ostree.New(env)))
	}
	os.Exit(cli.Main(env, rpmostree.New(env)))
}

// record runs a workload on a machine of its own.
func (w *world) record(ctx context.Context, l layout, work workload, control string) (_ *recording, err error) {
	base, err := w.base(ctx, l)
	if err != nil {
		return nil, err
	}
	if err := w.publish(ctx, work.head); err != nil {
		return nil, err
	}
	log := &eventLog{}
	var data [disks]backing
	var recorders [disks]*recorder
	for d, b := range base {
		if b != nil {
			recorders[d] = &recorder{b.clone(), d, log}
			data[d] = recorders[d]
		}
	}
	m, err := newMachine(l, data)
	if err != nil {
		return nil, err
	}
	defer func() {
		if cerr := m.close(); err == nil {
			err = cerr
		}
	}()
	b, err := w.boot(m)
	if err != nil {
		return nil, err
	}
	rec := &recording{Workload: work.name, Layout: l.name, Sectors: l.sectors()}
	err = func() error {
		for _, c := range work.prepare {
			if err := b.run(c, controlNone); err != nil {
				return err
			}
		}
		for d, r := range recorders {
			if r == nil {
				continue
			}
			if err := durable.Syncfs(m.mounted[d]); err != nil {
				return err
			}
			rec.base[d] = r.clone()
		}
		log.on = true
		rec.Marks = []int{0}
		for _, c := range work.commands {
			if err := b.run(c, control); err != nil {
				return err
			}
			rec.Marks = append(rec.Marks, log.count())
		}
		return nil
	}()
	if berr := b.shutDown(); err == nil {
		err = berr
	}
	if err == nil {
		err = m.unmount()
	}
	rec.Events = log.events
	if err != nil {
		return nil, fmt.Errorf("recording %s on %s: %w", work.name, l.name, err)
	}
	return rec, nil
}

// booted is a machine whose default deployment is the root directory of its commands.
type booted struct {
	root    string
	mounted []string
}

// boot mounts the disks and makes of the default deployment a root directory as prepare-root does.
func (w *world) boot(m *machine) (_ *booted, err error) {
	if err := m.mount(0); err != nil {
		return nil, err
	}
	b := &booted{root: filepath.Join(m.dir, "booted")}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.shutDown())
		}
	}()
	dir := filepath.Join(m.root, "ostree/deploy/os/deploy", w.ids["b"].String()+".0")
	if err := os.Mkdir(b.root, 0o700); err != nil {
		return nil, err
	}
	for _, x := range []struct{ from, to, kind string }{
		{dir, "", ""}, {m.root, "sysroot", ""}, {filepath.Join(m.root, "boot"), "boot", ""},
		{filepath.Join(m.root, "ostree/deploy/os/var"), "var", ""}, {"tmpfs", "run", "tmpfs"}, {"tmpfs", "tmp", "tmpfs"},
		{"proc", "proc", "proc"}, {"/dev", "dev", ""},
	} {
		to := filepath.Join(b.root, x.to)
		flags := uintptr(unix.MS_BIND)
		if x.kind != "" {
			flags = 0
		}
		if err := unix.Mount(x.from, to, x.kind, flags, ""); err != nil {
			return nil, fmt.Errorf("mounting %s: %w", to, err)
		}
		b.mounted = append(b.mounted, to)
	}
	return b, os.WriteFile(filepath.Join(b.root, "run/ostree-booted"), nil, 0o644)
}

func (b *booted) shutDown() error {
	for len(b.mounted) > 0 {
		last := b.mounted[len(b.mounted)-1]
		if err := unmountSoon(last); err != nil {
			return fmt.Errorf("unmounting %s: %w", last, err)
		}
		b.mounted = b.mounted[:len(b.mounted)-1]
	}
	return nil
}

// run runs one command on the booted machine.
func (b *booted) run(command, control string) error {
	var out bytes.Buffer
	self, err := os.Executable()
	if err != nil {
		return err
	}
	args := strings.Fields(command)
	cmd := &exec.Cmd{Path: self, Args: args, Dir: "/", Stdout: &out, Stderr: &out,
		Env:         []string{childVar + "=" + b.root, nameVar + "=" + args[0], controlVar + "=" + control, "PATH=/usr/bin", "HOME=/"},
		SysProcAttr: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}}
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w\n%s", command, err, out.String())
	}
	return nil
}
