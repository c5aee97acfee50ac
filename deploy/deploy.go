// Package deploy turns commits into bootable deployments: it keeps a sysroot,
// the root file system that holds an ostree repository, the deployments made
// from it, and the list of boot entries under /boot.
//
// It reads and writes what ostree does, in the same places: a sysroot may be
// used by stock ostree and by this package in turn.
//
// A change goes like this: the new list of deployments is prepared completely
// beside the old one, flushed, and then one rename switches (D1). Everything
// before is invisible, everything after is removal of what nothing names any
// more. A process may be killed and power may be cut at any moment: the machine
// boots the old list or the new one, and the next change removes what was left
// over.
//
// The package fetches nothing (the commit must be in the repository), knows the
// boot loader only as the Bootloader interface, and never writes to the /var of a
// stateroot that has been deployed to before (D5).
package deploy

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"photree/grub/bls"
	"photree/internal/kargs"
	"photree/internal/keyfile"
	"photree/repo"
	"photree/repo/object"
)

// Bootloader writes what a boot loader reads besides the boot entries.
type Bootloader interface {
	// Write puts its files into dir, the loader directory that holds the
	// directory "entries" already, and that becomes /boot/loader later. entries
	// are in menu order: the first is booted by default. It must not write
	// outside of dir (D6).
	Write(dir string, entries []bls.Entry) error
}

// Options are how a sysroot is handled; the zero value works for boot loaders
// that read boot entries themselves.
type Options struct {
	// Bootloader may be nil.
	Bootloader Bootloader
	// StaterootInNames names boot entries as ostree before 2024.5 did, with the
	// stateroot in the file name, for programs that look for such names.
	StaterootInNames bool
	// Mutable leaves the immutable bit off deployments.
	Mutable bool
	// TestFreeze leaves the freeze of /boot to its watchdog to end, and then fails: for a test of just that.
	TestFreeze bool
	// Progress, when not nil, is told the name of each step as it begins.
	Progress func(step string)
}

// Sysroot is a file system with deployments.
type Sysroot struct {
	root string
	opts Options
	repo *repo.Repo

	// afterStep is for tests that stop or die behind a step.
	afterStep func(step string) error
}

// Deployment is one bootable tree.
type Deployment struct {
	Stateroot string
	Commit    object.ID
	// Serial tells deployments of one commit in one stateroot apart.
	Serial int
	// Index is the place in the list; 0 is booted by default.
	Index int
	// BootChecksum names the kernel and initramfs under /boot/ostree.
	BootChecksum string
	// BootSerial tells deployments of one stateroot and kernel apart.
	BootSerial int
	// Kargs are the kernel arguments without ostree=.
	Kargs kargs.List
	// Origin says where the tree came from; never nil.
	Origin *keyfile.File
	// Version is the commit's version, empty when it has none.
	Version string
	// SourceTitle says what the commit was made from, empty when it does not say.
	SourceTitle string
	// Timestamp is the commit's.
	Timestamp time.Time
	// Booted is set on the deployment that the machine runs.
	Booted bool
	// Pinned deployments stay until they are unpinned.
	Pinned bool

	// overlays are further initrd paths; extra are lines of the boot entry that
	// this package does not write itself. Both are kept.
	overlays []string
	extra    []bls.Line
}

// Name is the name of the deployment's directory: COMMIT.SERIAL.
func (d *Deployment) Name() string { return d.Commit.String() + "." + strconv.Itoa(d.Serial) }

// Refspec is what the deployment follows, or "".
func (d *Deployment) Refspec() string {
	for _, key := range []string{"refspec", "baserefspec"} {
		if v, ok := d.Origin.Get("origin", key); ok {
			return v
		}
	}
	return ""
}

// same reports whether both are the same directory.
func (d *Deployment) same(o *Deployment) bool {
	return d != nil && o != nil && d.Stateroot == o.Stateroot && d.Commit == o.Commit && d.Serial == o.Serial
}

func (d *Deployment) clone() *Deployment {
	c := *d
	c.Kargs = d.Kargs.Clone()
	c.Origin = d.Origin.Clone()
	return &c
}

// NewOrigin makes the origin of a deployment that follows refspec.
func NewOrigin(refspec string) *keyfile.File {
	f := new(keyfile.File)
	if refspec != "" {
		f.Set("origin", "refspec", refspec)
	}
	return f
}

// Open opens the sysroot whose physical root directory is root: "/" on a booted
// host, a mount point elsewhere.
func Open(root string, o Options) (*Sysroot, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	s := &Sysroot{root: root, opts: o}
	r, err := repo.Open(s.ostree("repo"))
	if err != nil {
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, repo.ErrNotFound) {
			return nil, fmt.Errorf("opening sysroot %q: it has no repository at ostree/repo; name another one with --sysroot, or prepare it with \"ostree admin init-fs\"", root)
		}
		return nil, fmt.Errorf("opening sysroot %q: %w", root, err)
	}
	s.repo = r
	return s, nil
}

// Close releases what Open took.
func (s *Sysroot) Close() error { return s.repo.Close() }

// Repo is the sysroot's repository.
func (s *Sysroot) Repo() *repo.Repo { return s.repo }

// Root is the directory that was opened.
func (s *Sysroot) Root() string { return s.root }

// Path is the deployment's directory.
func (s *Sysroot) Path(d *Deployment) string {
	return s.ostree("deploy", d.Stateroot, "deploy", d.Name())
}

// RelPath is the deployment's directory as seen from the sysroot.
func (s *Sysroot) RelPath(d *Deployment) string {
	return filepath.Join("/ostree/deploy", d.Stateroot, "deploy", d.Name())
}

// VarPath is the directory that all deployments of a stateroot see as /var.
func (s *Sysroot) VarPath(stateroot string) string { return s.ostree("deploy", stateroot, "var") }

func (s *Sysroot) originPath(d *Deployment) string { return s.Path(d) + ".origin" }

func (s *Sysroot) ostree(elem ...string) string {
	return filepath.Join(append([]string{s.root, "ostree"}, elem...)...)
}

func (s *Sysroot) boot(elem ...string) string {
	return filepath.Join(append([]string{s.root, "boot"}, elem...)...)
}

// Lock takes the lock that every change holds and returns the function that
// gives it back. It waits for another process, ostree's own tools included.
func (s *Sysroot) Lock(ctx context.Context) (unlock func(), err error) {
	f, err := os.OpenFile(s.ostree("lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking sysroot %q: %w", s.root, err)
	}
	for {
		// The same kind of lock that ostree takes: of the open file, so that it
		// goes away with the process.
		lk := unix.Flock_t{Type: unix.F_WRLCK}
		err = unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &lk)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EACCES) && !errors.Is(err, unix.EINTR) {
			f.Close()
			return nil, fmt.Errorf("locking sysroot %q: %w", s.root, err)
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("waiting for another change of sysroot %q: %w", s.root, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (s *Sysroot) progress(step string) {
	if s.opts.Progress != nil {
		s.opts.Progress(step)
	}
}
