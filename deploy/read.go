package deploy

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"photree/grub/bls"
	"photree/internal/kargs"
	"photree/internal/keyfile"
	"photree/repo/object"
)

// State is what the sysroot's links and boot entries say.
type State struct {
	// BootVersion is which of loader.0 and loader.1 is current, SubBootVersion
	// which of boot.N.0 and boot.N.1.
	BootVersion, SubBootVersion int
	// Deployments is the list, the default first.
	Deployments []*Deployment
	// Broken says which boot entries name no deployment, and why. The next
	// change leaves them out.
	Broken []string

	hasLoader bool
	entries   []bls.Entry
}

// Booted returns the deployment that the machine runs, or nil.
func (st *State) Booted() *Deployment {
	for _, d := range st.Deployments {
		if d.Booted {
			return d
		}
	}
	return nil
}

// Pending returns the deployment of stateroot that will be booted instead of
// the booted one, and Rollback the one that comes behind the booted one; nil
// where there is none. Without a booted deployment all are pending.
func (st *State) Pending(stateroot string) *Deployment {
	for _, d := range st.Deployments {
		if d.Booted {
			return nil
		}
		if d.Stateroot == stateroot {
			return d
		}
	}
	return nil
}

// Rollback is described at Pending.
func (st *State) Rollback(stateroot string) *Deployment {
	passed := false
	for _, d := range st.Deployments {
		if d.Booted {
			passed = true
		} else if passed && d.Stateroot == stateroot {
			return d
		}
	}
	return nil
}

// Merge returns the deployment whose /etc and kernel arguments a new deployment
// of stateroot takes over: the booted one, else the first of the list.
func (st *State) Merge(stateroot string) *Deployment {
	if b := st.Booted(); b != nil && b.Stateroot == stateroot {
		return b
	}
	if p := st.Pending(stateroot); p != nil {
		return p
	}
	return st.Rollback(stateroot)
}

// Deployments returns the list, the default first.
func (s *Sysroot) Deployments() ([]*Deployment, error) {
	st, err := s.Load()
	if err != nil {
		return nil, err
	}
	return st.Deployments, nil
}

// Booted returns the deployment of this sysroot that the machine runs, or nil.
func (s *Sysroot) Booted() (*Deployment, error) {
	st, err := s.Load()
	if err != nil {
		return nil, err
	}
	return st.Booted(), nil
}

// Load reads the state of the sysroot.
func (s *Sysroot) Load() (*State, error) {
	st := &State{}
	var err error
	if st.BootVersion, st.hasLoader, err = readVersionLink(s.boot("loader"), "loader."); err != nil {
		return nil, fmt.Errorf("reading sysroot %q: %w", s.root, err)
	}
	link := "boot." + strconv.Itoa(st.BootVersion)
	if st.SubBootVersion, _, err = readVersionLink(s.ostree(link), link+"."); err != nil {
		return nil, fmt.Errorf("reading sysroot %q: %w", s.root, err)
	}
	if !st.hasLoader {
		return st, nil
	}
	if st.entries, err = ReadEntries(s.boot("loader", "entries")); err != nil {
		return nil, fmt.Errorf("reading sysroot %q: %w", s.root, err)
	}
	for _, e := range st.entries {
		d, err := s.fromEntry(e)
		if err != nil {
			st.Broken = append(st.Broken, err.Error())
			continue
		}
		d.Index = len(st.Deployments)
		st.Deployments = append(st.Deployments, d)
	}
	s.markBooted(st)
	return st, nil
}

// ReadEntries reads the ostree boot entries of a directory in menu order.
func ReadEntries(dir string) ([]bls.Entry, error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil, nil
		}
		return nil, err
	}
	var out []bls.Entry
	for _, f := range files {
		if !bls.IsEntryName(f.Name()) {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			return nil, err
		}
		e, err := bls.Parse(f.Name(), data)
		if err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	bls.Sort(out)
	return out, nil
}

// readVersionLink reads a link that ends in prefix + "0" or "1". A missing link
// means version 0.
func readVersionLink(path, prefix string) (version int, ok bool, err error) {
	target, err := os.Readlink(path)
	if errors.Is(err, os.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("%w: it should be a link to %s0 or %s1", err, prefix, prefix)
	}
	switch strings.TrimPrefix(target, prefix) {
	case "0":
		return 0, true, nil
	case "1":
		return 1, true, nil
	}
	return 0, false, fmt.Errorf("%s: the link says %q instead of %s0 or %s1", path, target, prefix, prefix)
}

var (
	bootPath = regexp.MustCompile(`^/ostree/boot\.([01])/([^/]+)/([0-9a-f]+)/([0-9]+)$`)
	treePath = regexp.MustCompile(`^\.\./\.\./\.\./deploy/([^/]+)/deploy/([0-9a-f]{64})\.([0-9]+)$`)
)

// fromEntry follows a boot entry to its deployment.
func (s *Sysroot) fromEntry(e bls.Entry) (*Deployment, error) {
	args := kargs.Parse(e.KernelArgs())
	target, ok := args.Lookup("ostree")
	if !ok {
		return nil, fmt.Errorf("boot entry %q has no ostree= argument", e.Name)
	}
	m := bootPath.FindStringSubmatch(target)
	if m == nil {
		return nil, fmt.Errorf("boot entry %q: ostree=%s is not of the form /ostree/boot.N/STATEROOT/CHECKSUM/N", e.Name, target)
	}
	link, err := os.Readlink(filepath.Join(s.root, target))
	if err != nil {
		return nil, fmt.Errorf("boot entry %q: %w", e.Name, err)
	}
	t := treePath.FindStringSubmatch(link)
	if t == nil || t[1] != m[2] {
		return nil, fmt.Errorf("boot entry %q: the link %s leads to %q, which is no deployment of %q", e.Name, target, link, m[2])
	}
	d := &Deployment{Stateroot: m[2], BootChecksum: m[3], Kargs: args.RemoveKeys("ostree"), extra: e.ExtraLines()}
	if d.Commit, err = object.ParseID(t[2]); err != nil {
		return nil, err
	}
	if d.Serial, err = strconv.Atoi(t[3]); err != nil {
		return nil, err
	}
	if d.BootSerial, err = strconv.Atoi(m[4]); err != nil {
		return nil, err
	}
	if initrds := e.All(bls.Initrd); len(initrds) > 1 {
		d.overlays = initrds[1:]
	}
	if _, err := os.Stat(s.Path(d)); err != nil {
		return nil, fmt.Errorf("boot entry %q: %w", e.Name, err)
	}
	return d, s.readOrigin(d)
}

func (s *Sysroot) readOrigin(d *Deployment) error {
	d.Origin = new(keyfile.File)
	data, err := os.ReadFile(s.originPath(d))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err == nil {
		if d.Origin, err = keyfile.Parse(data); err != nil {
			return fmt.Errorf("reading origin %q: %w", s.originPath(d), err)
		}
	}
	if d.Pinned, err = d.Origin.Bool("libostree-transient", "pinned", false); err != nil {
		return fmt.Errorf("reading origin %q: %w", s.originPath(d), err)
	}
	s.describe(d)
	return nil
}

// describe fills in what the commit says. A commit that is not readable does not
// make the deployment less bootable, so its words are just missing.
func (s *Sysroot) describe(d *Deployment) {
	c, err := s.repo.LoadCommit(d.Commit)
	if err != nil {
		return
	}
	d.Timestamp = c.Time()
	d.Version = c.Metadata.GetString("version")
	d.SourceTitle = c.Metadata.GetString("ostree.source-title")
}

// markBooted finds the deployment whose directory is the root directory of this
// process. The marker is what prepare-root leaves; without it a container or a
// chroot would be taken for a booted deployment.
func (s *Sysroot) markBooted(st *State) {
	if _, err := os.Stat("/run/ostree-booted"); err != nil {
		return
	}
	var root, dir unix.Stat_t
	if unix.Stat("/", &root) != nil {
		return
	}
	for _, d := range st.Deployments {
		if unix.Stat(s.Path(d), &dir) == nil && dir.Dev == root.Dev && dir.Ino == root.Ino {
			d.Booted = true
			return
		}
	}
	// A root that is an overlay or an image of its own has another inode: the
	// kernel's command line says what was asked for.
	if s.root == "/" {
		s.markByCommandLine(st)
	}
}

func (s *Sysroot) markByCommandLine(st *State) {
	line, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return
	}
	m := bootPath.FindStringSubmatch(kargs.Parse(string(line)).Get("ostree"))
	if m == nil {
		return
	}
	// The link may have been swapped since; only the directory that the root is
	// made of counts, so the link must still be there and name a listed one.
	link, err := os.Readlink(filepath.Join(s.root, m[0]))
	if err != nil {
		return
	}
	for _, d := range st.Deployments {
		if filepath.Base(link) == d.Name() && d.Stateroot == m[2] {
			d.Booted = true
			return
		}
	}
}
