package installer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"photree/grub"
	"photree/installer/disk"
	"photree/repo"
	"photree/repo/tree"
)

// program is a tool that photree runs: where it may be, and the package to
// install where it is nowhere.
type program struct {
	name    string
	aliases []string // file names, the first that exists is taken
	pkg     string
}

var (
	mkfsProgram = program{"mkfs.ext4", []string{"mkfs.ext4"}, "e2fsprogs"}
	grubProgram = program{"grub-mkimage", []string{"grub-mkimage", "grub2-mkimage"}, "grub-common (grub2)"}
)

var programDirs = []string{"/usr/sbin", "/usr/bin", "/sbin", "/bin"}

// tools are the programs and GRUB files of one installation, from the host
// or copied out of the commit into a directory in which they run chrooted.
type tools struct {
	programs map[string]tool
	dir      string // the root for programs of the commit; its /dev is the host's
	modules  string // the directory of i386-pc and x86_64-efi, on the host
	chrooted bool   // the GRUB files are those of the commit
	mounts   disk.Mounts
}

type tool struct {
	path   string
	chroot string // "" for the host's
}

// findTools finds what is needed for the platforms, before anything is
// written.
func findTools(s *source, from ToolSource, platforms []grub.Platform, work string) (*tools, error) {
	t := &tools{programs: map[string]tool{}, dir: filepath.Join(work, "tools")}
	if err := t.find(s, from, platforms); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

func (t *tools) find(s *source, from ToolSource, platforms []grub.Platform) error {
	if err := os.MkdirAll(filepath.Join(t.dir, "tmp"), 0o755); err != nil {
		return err
	}
	if err := t.add(s, from, mkfsProgram, nil); err != nil {
		return err
	}
	if err := t.add(s, from, grubProgram, platforms); err != nil {
		return err
	}
	for _, p := range t.programs {
		if p.chroot != "" {
			// mkfs needs the node of its disk, and asks /proc what is mounted.
			return errors.Join(t.mounts.Bind("/dev", filepath.Join(t.dir, "dev")), t.mounts.Special("proc", filepath.Join(t.dir, "proc")))
		}
	}
	return nil
}

// Close takes down what the tools needed.
func (t *tools) Close() error { return t.mounts.Close() }

func (t *tools) add(s *source, from ToolSource, p program, platforms []grub.Platform) error {
	var missing []string
	if from != ToolsFromTree {
		var what string
		if what = t.addFromHost(p, platforms); what == "" {
			return nil
		}
		missing = append(missing, "this machine has no "+what)
	}
	if from != ToolsFromHost {
		what, err := t.addFromTree(s, p, platforms)
		if err != nil {
			return fmt.Errorf("taking %s from the commit: %w", p.name, err)
		}
		if what == "" {
			return nil
		}
		missing = append(missing, "the tree has no "+what)
	}
	return fmt.Errorf("looking for %s: %s: install it here, or add the package %s to the treefile", p.name, strings.Join(missing, " and "), p.pkg)
}

// addFromHost says what is missing, or "".
func (t *tools) addFromHost(p program, platforms []grub.Platform) string {
	for _, name := range p.aliases {
		for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), programDirs...) {
			file := filepath.Join(dir, name)
			if st, err := os.Stat(file); err != nil || !st.Mode().IsRegular() || st.Mode()&0o111 == 0 {
				continue
			}
			for _, platform := range platforms {
				t.modules = "/usr/lib/grub"
				if modules := filepath.Join(t.modules, string(platform)); !exists(filepath.Join(modules, "moddep.lst")) {
					return modules
				}
			}
			t.programs[p.name] = tool{path: file}
			return ""
		}
	}
	return p.name
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func (t *tools) addFromTree(s *source, p program, platforms []grub.Platform) (missing string, err error) {
	for _, name := range p.aliases {
		for _, dir := range programDirs {
			file := filepath.Join(dir, name)
			if _, err := s.find(file); errors.Is(err, repo.ErrNotFound) {
				continue
			} else if err != nil {
				return "", err
			}
			if err := s.extractProgram(file, t.dir); err != nil {
				return "", err
			}
			for _, platform := range platforms {
				if missing, err := t.extractModules(s, platform); missing != "" || err != nil {
					return missing, err
				}
			}
			t.programs[p.name] = tool{path: file, chroot: t.dir}
			return "", nil
		}
	}
	return p.name, nil
}

func (t *tools) extractModules(s *source, platform grub.Platform) (missing string, err error) {
	const modules = "/usr/lib/grub"
	dir := filepath.Join(modules, string(platform))
	t.modules, t.chrooted = filepath.Join(t.dir, modules), true
	found, err := s.find(dir)
	if errors.Is(err, repo.ErrNotFound) {
		return dir, nil
	} else if err != nil {
		return "", err
	}
	files, err := tree.List(s.repo, found)
	for _, e := range files {
		if err == nil && !e.Dir {
			err = s.copy(e, filepath.Join(t.dir, dir, path.Base(e.Path)))
		}
	}
	return "", err
}

// run runs one of the programs by its name, with the rest of argv.
func (t *tools) run(ctx context.Context, argv []string) error {
	p, ok := t.programs[argv[0]]
	if !ok {
		return fmt.Errorf("running %s: it was not looked for", argv[0])
	}
	cmd := exec.CommandContext(ctx, p.path, argv[1:]...)
	config := filepath.Join(t.dir, "tmp/mke2fs.conf")
	if err := os.WriteFile(config, []byte(disk.MkfsConfig), 0o644); err != nil {
		return err
	}
	if p.chroot != "" {
		config = "/tmp/mke2fs.conf"
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: p.chroot}
	}
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "MKE2FS_CONFIG=" + config}
	if p.chroot != "" {
		cmd.Env = append(cmd.Env, "LD_LIBRARY_PATH=/lib")
	}
	if epoch := os.Getenv("SOURCE_DATE_EPOCH"); epoch != "" {
		cmd.Env = append(cmd.Env, "SOURCE_DATE_EPOCH="+epoch, "E2FSPROGS_FAKE_TIME="+epoch)
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("running %s: %w: %s", argv[0], err, strings.TrimSpace(out.String()))
	}
	return nil
}

// imageOptions are how GRUB's images are built with these tools.
func (t *tools) imageOptions() grub.ImageOptions {
	o := grub.ImageOptions{Run: t.run, ModuleDir: t.modules, WorkDir: filepath.Join(t.dir, "tmp")}
	if t.chrooted {
		o.Root, o.ModuleDir, o.WorkDir = t.dir, "/usr/lib/grub", "/tmp"
	}
	return o
}
