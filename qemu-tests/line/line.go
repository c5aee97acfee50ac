// Package line runs photree's whole line as a person does, with the built programs: from the test distribution to composed
// repositories, installed disks and a server. The stories of qemu-tests and the demo are told with it.
//
// It builds the programs with make, calls them by their command lines, and judges nothing but their exit status. It writes
// below the directories it is given and, for what is worth keeping between runs, below the cache directory of package
// distro: composed repositories, named by a digest of the programs and the distribution that they were made with.
package line

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"photree/qemu-tests/distro"
)

// Options say where the line works.
type Options struct {
	Work string // scratch; removed by the caller
	// Output, if set, gets what the programs print, as they print it.
	Output io.Writer
	// Progress, if set, is told of each step that may take seconds.
	Progress func(step string)
}

// Line is the project, built and ready to run.
type Line struct {
	Root    string // of the source tree
	Bin     string // the directory with photree, ostree, rpm-ostree
	Distro  *distro.Distro
	options Options
}

// Version is the version of the photree package that the line puts into its trees.
const Version = "0.1.0"

// New builds the programs and makes, or finds, the test distribution.
func New(ctx context.Context, o Options) (*Line, error) {
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	root, err := moduleRoot()
	if err != nil {
		return nil, err
	}
	l := &Line{Root: root, Bin: filepath.Join(root, "bin"), options: o}
	o.Progress("building photree")
	if _, err := l.run(ctx, "make", "-s", "-C", root, "build"); err != nil {
		return nil, err
	}
	if l.Distro, err = distro.Make(ctx, distro.Options{Progress: func(s string) { o.Progress("test distribution: " + s) }}); err != nil {
		return nil, err
	}
	return l, nil
}

func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
	}
	return "", errors.New("looking for the source tree: no go.mod here or above")
}

// Photree runs bin/photree and gives what it printed on standard output.
func (l *Line) Photree(ctx context.Context, args ...string) (string, error) {
	return l.run(ctx, filepath.Join(l.Bin, "photree"), args...)
}

func (l *Line) run(ctx context.Context, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	// A cancelled program may hold mounts and loop devices: let it take them down.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 30 * time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = io.Writer(&stdout), io.Writer(&stderr)
	if l.options.Output != nil {
		cmd.Stdout = io.MultiWriter(&stdout, l.options.Output)
		cmd.Stderr = io.MultiWriter(&stderr, l.options.Output)
	}
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("running %s %s: %w\n%s%s", filepath.Base(program), strings.Join(args, " "), err, stdout.String(), stderr.String())
	}
	return stdout.String(), nil
}

// PackagePhotree packs what `make install` installs into an rpm-md repository of one package.
func (l *Line) PackagePhotree(ctx context.Context, repo string) error {
	dest, err := os.MkdirTemp(l.options.Work, "install-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dest)
	if _, err := l.run(ctx, "make", "-s", "-C", l.Root, "install", "DESTDIR="+dest, "PREFIX=/usr"); err != nil {
		return err
	}
	return distro.PackageDir(dest, "photree", Version, repo)
}
