package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"photree/compose/rpm"
	"photree/compose/rpmdb"
)

// Options say what the tree is made from.
type Options struct {
	// Root is an empty directory, on a file system that keeps owners, modes
	// and extended attributes.
	Root string
	// Packages are the package files in the order of installation.
	Packages []string
	// NoDocs leaves out files that packages mark as documentation.
	NoDocs bool
	// Langs are the languages whose files are installed; nil means all.
	Langs []string
	// Epoch is the time, in seconds since 1970, that scripts and the rpm
	// database are given in place of the clock. 0 is the time at which the
	// newest package was built.
	Epoch int64
	// Accounts are those of the previous tree, whose ids are kept.
	Accounts Accounts
	// ScriptTimeout bounds each script; 0 means 15 minutes.
	ScriptTimeout time.Duration

	// Layout says how the installed tree becomes one for deployments.
	Layout Layout
	// InstallOnly leaves the tree as the packages made it, with the rpm
	// database in place, for Postprocess.
	InstallOnly bool

	// Step is told the name of each step as it begins.
	Step func(name string)
	// Progress is told of each package before it is installed.
	Progress func(n, total int, pkg rpm.NEVRA)
	// Warn is told what went wrong without being an error.
	Warn func(string)
}

func (o *Options) warn(s string) {
	if o.Warn != nil {
		o.Warn(s)
	}
}

func (o *Options) step(s string) {
	if o.Step != nil {
		o.Step(s)
	}
}

// Initramfs makes the initramfs of a tree that holds one kernel.
type Initramfs func(ctx context.Context, tree, kver string, w io.Writer) error

// Tree describes what Build made.
type Tree struct {
	Packages []*rpm.Package // in the order of installation
	KVER     string         // version of the kernel; "" when there is none
	Scripts  []ScriptTime   // what each script cost
}

// Build makes the tree. After an error Root holds rubbish and the caller
// removes it.
func Build(ctx context.Context, o Options) (*Tree, error) {
	// A fixed umask: what a directory is made with must not depend on who
	// composes.
	defer syscall.Umask(syscall.Umask(0o022))
	if os.Geteuid() != 0 {
		return nil, errors.New("building a tree needs root: its files have other owners, and scripts run as its root")
	}
	if list, err := os.ReadDir(o.Root); err != nil {
		return nil, fmt.Errorf("building a tree: %w", err)
	} else if len(list) > 0 {
		return nil, fmt.Errorf("building a tree: directory %q is not empty", o.Root)
	}
	root, err := openRootDir(o.Root)
	if err != nil {
		return nil, fmt.Errorf("building a tree: %w", err)
	}
	defer root.close()

	acc := &accounts{root: root}
	t := &transaction{o: o, root: root, accounts: acc, triggers: &triggers{}, ledger: &ledger{accounts: o.Accounts}}
	t.unpack = &unpacker{root: root, accounts: acc, noDocs: o.NoDocs, langs: o.Langs, warn: o.warn, owners: map[string]owned{}}
	defer t.unpack.abandon()
	if err := t.prepare(); err != nil {
		return nil, err
	}
	if t.o.Epoch == 0 {
		for _, p := range t.headers {
			t.o.Epoch = max(t.o.Epoch, p.BuildTime)
		}
	}
	t.scripts = &scripts{root: root, epoch: t.o.Epoch, timeout: o.ScriptTimeout, warn: o.warn, changed: func() {
		root.forget()
		acc.forget()
	}}
	o.step("Installing packages")
	if err := t.install(ctx); err != nil {
		return nil, err
	}
	p := &post{o: t.o, root: root, scripts: t.scripts, entries: t.entries}
	if o.InstallOnly {
		o.step("Placing RPM db in /usr/share/rpm")
		err = p.database(ctx)
	} else {
		err = p.run(ctx)
	}
	if err != nil {
		return nil, err
	}
	return &Tree{Packages: t.headers, KVER: p.kver, Scripts: t.scripts.times}, nil
}

// Postprocess turns a tree that Build made with InstallOnly, and that others may
// have changed since, into one for deployments. Of the options it uses Root,
// Layout and those of scripts. After an error the tree is half of each.
func Postprocess(ctx context.Context, o Options) (*Tree, error) {
	defer syscall.Umask(syscall.Umask(0o022))
	if os.Geteuid() != 0 {
		return nil, errors.New("post-processing a tree needs root: its files have other owners, and scripts run as its root")
	}
	root, err := openRootDir(o.Root)
	if err != nil {
		return nil, fmt.Errorf("post-processing a tree: %w", err)
	}
	defer root.close()
	if root.exists("/usr/etc") && !root.exists("/etc") {
		return nil, fmt.Errorf("post-processing %q: it is post-processed already", o.Root)
	}
	file, err := root.hostPath(database)
	if err != nil {
		return nil, fmt.Errorf("post-processing a tree: %w", err)
	}
	pkgs, err := rpmdb.Read(ctx, file)
	if err != nil {
		return nil, fmt.Errorf("post-processing a tree: %w", err)
	}
	p := &post{o: o, root: root, placed: true}
	for _, pkg := range pkgs {
		p.entries = append(p.entries, rpmdb.Entry{Package: pkg})
		if o.Epoch == 0 {
			p.o.Epoch = max(p.o.Epoch, pkg.BuildTime)
		}
	}
	p.scripts = &scripts{root: root, epoch: p.o.Epoch, timeout: o.ScriptTimeout, warn: o.warn, changed: root.forget}
	if err := p.run(ctx); err != nil {
		return nil, err
	}
	return &Tree{Packages: pkgs, KVER: p.kver, Scripts: p.scripts.times}, nil
}

// writeDatabase is a step of post-processing: it needs the states of the files
// as they were installed.
func writeDatabase(ctx context.Context, file string, entries []rpmdb.Entry, epoch int64) error {
	return rpmdb.Write(ctx, file, entries, rpmdb.WriteOptions{Time: uint32(epoch)})
}
