package deploy

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strings"

	"photree/repo"
	"photree/repo/object"
	"photree/repo/tree"
)

// kernel is what a tree gives to /boot.
type kernel struct {
	version  string
	checksum string // sha256 over the files in order: ostree's "bootcsum"
	files    []kernelFile
}

// kernelFile is one file that goes to /boot/ostree/STATEROOT-CHECKSUM.
type kernelFile struct {
	role string // linux, initrd, devicetree or hmac
	path string // in the tree, without a leading slash
	name string // in /boot
	size int64
}

func (k kernel) file(role string) (kernelFile, bool) {
	for _, f := range k.files {
		if f.role == role {
			return f, true
		}
	}
	return kernelFile{}, false
}

// fileTree is a tree to look for a kernel in: a commit or a directory.
type fileTree interface {
	// list returns the names in a directory; one that is missing has none.
	list(dir string) ([]string, error)
	// open opens a regular file. A missing one gives an error that wraps
	// fs.ErrNotExist.
	open(name string) (io.ReadCloser, int64, error)
}

// findKernel looks up the kernel of a tree. The checksum is worked out unless
// known is given.
func findKernel(t fileTree, known string) (kernel, error) {
	const modules = "usr/lib/modules"
	var k kernel
	names, err := t.list(modules)
	if err != nil {
		return k, fmt.Errorf("looking for a kernel: %w", err)
	}
	for _, v := range names {
		in, err := t.list(path.Join(modules, v))
		if err != nil || !contains(in, "vmlinuz") {
			continue
		}
		if k.version != "" {
			return k, fmt.Errorf("the tree has two kernels, %q and %q in /%s: it must have exactly one", k.version, v, modules)
		}
		k.version = v
		k.files = kernelFiles(path.Join(modules, v), v, in)
	}
	if k.version == "" {
		return k, fmt.Errorf("the tree has no kernel: there is no /%s/VERSION/vmlinuz", modules)
	}
	return k, k.read(t, known)
}

func kernelFiles(dir, version string, names []string) []kernelFile {
	files := []kernelFile{{role: "linux", path: path.Join(dir, "vmlinuz"), name: "vmlinuz-" + version}}
	for _, n := range []string{"initramfs.img", "initramfs"} {
		if contains(names, n) {
			files = append(files, kernelFile{role: "initrd", path: path.Join(dir, n), name: "initramfs-" + version + ".img"})
			break
		}
	}
	if contains(names, ".vmlinuz.hmac") {
		files = append(files, kernelFile{role: "hmac", path: path.Join(dir, ".vmlinuz.hmac"), name: ".vmlinuz-" + version + ".hmac"})
	}
	if contains(names, "devicetree") {
		files = append(files, kernelFile{role: "devicetree", path: path.Join(dir, "devicetree"), name: "devicetree-" + version})
	}
	return files
}

func (k *kernel) read(t fileTree, known string) error {
	h := sha256.New()
	for i := range k.files {
		f := &k.files[i]
		r, size, err := t.open(f.path)
		if err != nil {
			return fmt.Errorf("reading the kernel file /%s: %w", f.path, err)
		}
		f.size = size
		if known == "" && f.role != "hmac" { // which the kernel's own check reads, and no boot loader
			_, err = io.Copy(h, r)
		}
		if err = errors.Join(err, r.Close()); err != nil {
			return fmt.Errorf("reading the kernel file /%s: %w", f.path, err)
		}
	}
	if k.checksum = known; known == "" {
		k.checksum = hex.EncodeToString(h.Sum(nil))
	}
	return nil
}

func contains(names []string, name string) bool {
	for _, n := range names {
		if n == name {
			return true
		}
	}
	return false
}

// dirTree is a checked-out tree.
type dirTree string

func (d dirTree) list(dir string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(string(d), dir))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

func (d dirTree) open(name string) (io.ReadCloser, int64, error) {
	f, err := os.Open(filepath.Join(string(d), name))
	if err != nil {
		return nil, 0, err
	}
	st, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, st.Size(), nil
}

// commitTree is a tree in the repository.
type commitTree struct {
	repo   *repo.Repo
	commit object.Commit
}

func (c commitTree) list(dir string) ([]string, error) {
	e, err := tree.Lookup(c.repo, c.commit.Root, c.commit.RootMeta, "/"+dir)
	if errors.Is(err, repo.ErrNotFound) || err == nil && !e.Dir {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	t, err := c.repo.LoadDirTree(e.ID)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, f := range t.Files {
		names = append(names, f.Name)
	}
	for _, d := range t.Dirs {
		names = append(names, d.Name)
	}
	sort.Strings(names)
	return names, nil
}

func (c commitTree) open(name string) (io.ReadCloser, int64, error) {
	e, err := tree.Lookup(c.repo, c.commit.Root, c.commit.RootMeta, "/"+name)
	if err != nil {
		return nil, 0, err
	}
	_, size, r, err := c.repo.OpenFile(e.ID)
	return r, size, err
}

// prettyName reads the name of the operating system of a tree.
func prettyName(dir string) string {
	for _, p := range []string{"etc/os-release", "usr/etc/os-release", "usr/lib/os-release"} {
		data, err := os.ReadFile(filepath.Join(dir, p))
		if err != nil {
			continue
		}
		values := map[string]string{}
		for _, line := range strings.Split(string(data), "\n") {
			if key, v, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
				values[key] = shellWord(v)
			}
		}
		for _, key := range []string{"PRETTY_NAME", "NAME", "ID"} {
			if values[key] != "" {
				return values[key]
			}
		}
	}
	return "Linux"
}

// shellWord undoes the quotes that os-release files may have.
func shellWord(s string) string {
	var b strings.Builder
	var quote byte
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '\\' && quote != '\'' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}
