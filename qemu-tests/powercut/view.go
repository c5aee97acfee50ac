package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"photree/deploy"
	"photree/grub"
	"photree/grub/bls"
	"photree/repo"
)

// entry is one bootable thing that a boot loader offers.
type entry struct {
	args          string // without ostree=
	target        string // what ostree= says
	linux, initrd string // digests
}

// bootView is what somebody sees of /boot: GRUB, or the kernel.
type bootView struct {
	entries []entry
	stub    string // digest of the stub of GRUB
	err     error
}

// rootView is what the kernel sees of the root file system.
type rootView struct {
	links map[string]string  // ostree= -> directory of a deployment
	deps  map[string]depView // by that directory
	vars  map[string]string  // stateroot -> digest of /var
	refs  map[string]string  // those of the repository that are not made by deployments
	repo  []repo.FsckProblem // nil when the repository is sound
	err   error
}

type depView struct{ tree, etc, origin, linux, initrd string }

// grubView reads /boot as GRUB does. prefix is where /boot is on the disk.
func grubView(disk backing, prefix string) bootView {
	g, err := openGrubFS(disk)
	if err != nil {
		return bootView{err: err}
	}
	return seeBoot(func(path string) ([]byte, error) { return g.ReadFile(prefix + path) })
}

// kernelView reads /boot from the mounted file system: what GRUB's menu says must be what the boot entries say.
func kernelView(boot string) bootView {
	read := func(path string) ([]byte, error) { return os.ReadFile(filepath.Join(boot, path)) }
	v := seeBoot(read)
	if v.err != nil {
		return v
	}
	list, err := deploy.ReadEntries(filepath.Join(boot, "loader/entries"))
	if err != nil {
		return bootView{err: err}
	}
	var fromEntries []entry
	for _, e := range list {
		one, err := makeEntry(read, e.Get(bls.Linux), e.Get(bls.Initrd), e.KernelArgs())
		if err != nil {
			return bootView{err: fmt.Errorf("boot entry %s: %w", e.Name, err)}
		}
		fromEntries = append(fromEntries, one)
	}
	if !slices.Equal(fromEntries, v.entries) {
		v.err = fmt.Errorf("the boot entries and GRUB's menu differ: %v and %v", fromEntries, v.entries)
	}
	return v
}

// seeBoot follows what the stub does: the menu in /loader, and the files that it names.
func seeBoot(read func(string) ([]byte, error)) bootView {
	var v bootView
	stub, err := read("/" + grub.StubName)
	if err != nil {
		return bootView{err: err}
	}
	v.stub = digest(stub)
	menu, err := read("/loader/" + grub.ConfigName)
	if err != nil {
		return bootView{err: err}
	}
	items, err := parseMenu(string(menu))
	if err != nil {
		return bootView{err: err}
	}
	for _, i := range items {
		e, err := makeEntry(read, i.linux, i.initrd, i.args)
		if err != nil {
			return bootView{err: err}
		}
		v.entries = append(v.entries, e)
	}
	return v
}

func makeEntry(read func(string) ([]byte, error), linux, initrd, args string) (entry, error) {
	var e entry
	kernel, err := read(linux)
	if err != nil {
		return e, err
	}
	image, err := read(initrd)
	if err != nil {
		return e, err
	}
	e.linux, e.initrd = digest(kernel), digest(image)
	var rest []string
	for _, a := range strings.Fields(args) {
		if t, ok := strings.CutPrefix(a, "ostree="); ok {
			e.target = t
		} else {
			rest = append(rest, a)
		}
	}
	e.args = strings.Join(rest, " ")
	return e, nil
}

type menuItem struct{ linux, initrd, args string }

// parseMenu reads the menu entries out of a grub.cfg. One that is cut off is an error.
func parseMenu(text string) ([]menuItem, error) {
	var out []menuItem
	var item *menuItem
	plain := strings.NewReplacer(`"$bootdir"`, "", "'", "", `"`, "")
	for line := range strings.Lines(text) {
		f := strings.Fields(plain.Replace(line))
		if len(f) == 0 {
			continue
		}
		switch {
		case f[0] == "menuentry":
			if item != nil {
				return nil, errors.New("GRUB's menu is garbled")
			}
			item = &menuItem{}
		case item != nil && f[0] == "linux" && len(f) > 1:
			item.linux, item.args = f[1], strings.Join(f[2:], " ")
		case item != nil && f[0] == "initrd" && len(f) > 1:
			item.initrd = f[1]
		case item != nil && f[0] == "}":
			out = append(out, *item)
			item = nil
		}
	}
	if item != nil || len(out) == 0 {
		return nil, fmt.Errorf("GRUB's menu has %d entries and then ends", len(out))
	}
	return out, nil
}

// seeRoot looks at a mounted root file system.
func seeRoot(ctx context.Context, root string) *rootView {
	v := &rootView{links: map[string]string{}, deps: map[string]depView{}, vars: map[string]string{}, refs: map[string]string{}}
	v.err = v.see(ctx, root)
	return v
}

func (v *rootView) see(ctx context.Context, root string) error {
	for _, version := range []string{"0", "1"} {
		found, err := filepath.Glob(filepath.Join(root, "ostree/boot."+version, "*/*/*"))
		if err != nil {
			return err
		}
		for _, link := range found {
			dir, err := filepath.EvalSymlinks(link)
			if err != nil {
				continue // nothing may name it, which is looked at where something does
			}
			v.links[strings.TrimPrefix(link, root)] = strings.TrimPrefix(dir, root)
		}
	}
	roots, err := os.ReadDir(filepath.Join(root, "ostree/deploy"))
	if err != nil {
		return err
	}
	for _, r := range roots {
		if v.vars[r.Name()], err = treeDigest(filepath.Join(root, "ostree/deploy", r.Name(), "var")); err != nil {
			v.vars[r.Name()] = err.Error()
		}
	}
	for _, dir := range v.links {
		if _, ok := v.deps[dir]; ok {
			continue
		}
		if v.deps[dir], err = seeDeployment(filepath.Join(root, dir)); err != nil {
			v.deps[dir] = depView{tree: err.Error()}
		}
	}
	r, err := repo.Open(filepath.Join(root, "ostree/repo"))
	if err != nil {
		return err
	}
	defer r.Close()
	refs, err := r.Refs()
	if err != nil {
		return err
	}
	for _, ref := range refs {
		if ref.Remote != "" || !strings.HasPrefix(ref.Name, "ostree/") {
			v.refs[ref.String()] = ref.ID.String()
		}
	}
	res, err := r.Fsck(ctx, repo.FsckOptions{Workers: 1})
	v.repo = res.Problems
	return err
}

func seeDeployment(dir string) (d depView, err error) {
	if d.tree, err = treeDigest(dir, "etc"); err != nil {
		return d, err
	}
	if d.etc, err = treeDigest(filepath.Join(dir, "etc")); err != nil {
		return d, err
	}
	for _, f := range []struct {
		path string
		to   *string
	}{
		{dir + ".origin", &d.origin}, {filepath.Join(dir, "usr/lib/modules/6.1.0/vmlinuz"), &d.linux},
		{filepath.Join(dir, "usr/lib/modules/6.1.0/initramfs.img"), &d.initrd},
	} {
		data, err := os.ReadFile(f.path)
		if err != nil {
			return d, err
		}
		*f.to = digest(data)
	}
	return d, nil
}

// state is what a machine would boot: a line for each entry, with digests of all that belongs to it.
type state []string

// join follows the entries of a boot loader into the root file system.
func (w *world) join(b bootView, r *rootView) (state, error) {
	if err := errors.Join(b.err, r.err); err != nil {
		return nil, err
	}
	var out state
	for _, e := range b.entries {
		dir, ok := r.links[e.target]
		if !ok {
			return nil, fmt.Errorf("ostree=%s leads nowhere", e.target)
		}
		d := r.deps[dir]
		if d.linux != e.linux || d.initrd != e.initrd {
			return nil, fmt.Errorf("the kernel or the initramfs on /boot is not that of %s", dir)
		}
		commit, _, _ := strings.Cut(filepath.Base(dir), ".")
		whole := false
		for id, sum := range w.trees {
			whole = whole || id.String() == commit && sum == d.tree
		}
		if !whole {
			return nil, fmt.Errorf("%s is not the tree of its commit: %s", dir, d.tree)
		}
		out = append(out, fmt.Sprintf("%s %q etc=%s origin=%s linux=%s initrd=%s", dir, e.args, d.etc, d.origin, e.linux, e.initrd))
	}
	return out, nil
}
