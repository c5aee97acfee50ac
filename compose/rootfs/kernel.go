package rootfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// kernelFiles are the files of a kernel that packages have in /boot with the
// version in the name, and where a tree has them below the modules.
var kernelFiles = [][2]string{
	{"vmlinuz-", "vmlinuz"}, {"vmlinux-", "vmlinux"}, {"System.map-", "System.map"}, {"config-", "config"},
	{".vmlinuz-", ".vmlinuz"}, {"symvers-", "symvers"},
}

// kernel finds the one kernel of the tree and puts its files below its
// modules, where a deployment looks for them.
func (p *post) kernel(ctx context.Context) error {
	found := map[string]string{}
	list, err := p.root.readDir("/boot")
	if err != nil {
		return err
	}
	for _, e := range list {
		for _, prefix := range []string{"vmlinuz-", "vmlinux-"} {
			if v, ok := strings.CutPrefix(e.Name(), prefix); ok && e.Type().IsRegular() {
				found[v] = "/boot/" + e.Name()
			}
		}
	}
	modules, err := p.root.readDir("/usr/lib/modules")
	if err != nil {
		return err
	}
	for _, e := range modules {
		if p.root.exists("/usr/lib/modules/" + e.Name() + "/vmlinuz") {
			found[e.Name()] = ""
		}
	}
	switch versions := sortedKeys(found); len(versions) {
	case 0:
		return errors.New("the tree has no kernel: neither /boot/vmlinuz-VERSION nor /usr/lib/modules/VERSION/vmlinuz; add a kernel package to the treefile")
	case 1:
		p.kver = versions[0]
	default:
		return fmt.Errorf("the tree has several kernels (%s), a deployment boots one; exclude the others in the treefile", strings.Join(versions, ", "))
	}
	dir := "/usr/lib/modules/" + p.kver
	for _, f := range kernelFiles {
		from := "/boot/" + f[0] + p.kver
		if st, ok := p.root.lstat(from); !ok || st.Mode&unix.S_IFMT != unix.S_IFREG {
			continue
		}
		to := dir + "/" + f[1]
		if f[0] == "vmlinux-" && p.root.exists(dir+"/vmlinuz") {
			continue
		} else if f[0] == "vmlinux-" {
			to = dir + "/vmlinuz"
		}
		if err := p.root.removeAll(to); err != nil {
			return err
		}
		if err := p.root.rename(from, to); err != nil {
			return err
		}
	}
	return p.depmod(ctx, dir)
}

// depmod makes the indexes of the kernel's modules unless a package's script
// has.
func (p *post) depmod(ctx context.Context, dir string) error {
	if p.root.exists(dir+"/modules.dep.bin") || !p.root.exists(dir+"/modules.order") {
		return nil
	}
	for _, tool := range []string{"/usr/sbin/depmod", "/sbin/depmod", "/usr/bin/depmod"} {
		if !p.root.exists(tool) {
			continue
		}
		_, err := runSandboxed(ctx, job{Root: p.root.path, Args: []string{tool, "-a", p.kver}, Env: p.scripts.environment(), LibraryDirs: true})
		p.scripts.changed()
		if err != nil {
			return fmt.Errorf("indexing kernel modules with depmod: %w", err)
		}
		return nil
	}
	p.o.warn("The tree has no depmod: its kernel finds no module by alias; add the package kmod")
	return nil
}

// boot keeps what packages have in /boot besides the kernel, as GRUB's files
// and Photon's parameter files, in usr/lib/ostree-boot: /boot itself belongs to
// the machine.
func (p *post) boot(context.Context) error {
	// Photon's ostree opens the directory of every tree that it deploys.
	if _, err := p.root.dir("/usr/lib/ostree-boot"); err != nil {
		return err
	}
	list, err := p.root.readDir("/boot")
	if err != nil {
		return err
	}
	for _, e := range list {
		n := e.Name()
		// An initramfs that a script made is the composing machine's; a link
		// to the kernel would lead nowhere.
		if strings.HasPrefix(n, "initrd") || strings.HasPrefix(n, "initramfs") || n == "lost+found" ||
			slices.Contains([]string{"vmlinuz", "vmlinux", "loader", "ostree"}, n) {
			continue
		}
		if err := p.root.rename("/boot/"+n, "/usr/lib/ostree-boot/"+n); err != nil {
			return err
		}
	}
	return nil
}

func (p *post) initramfs(ctx context.Context) (err error) {
	if p.o.Layout.Initramfs == nil || p.kver == "" {
		return nil
	}
	name := "/usr/lib/modules/" + p.kver + "/initramfs.img"
	if err := p.root.removeAll(name); err != nil {
		return err
	}
	file, err := p.root.hostPath(name)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return p.o.Layout.Initramfs(ctx, p.root.path, p.kver, f)
}
