package main

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"photree/deploy"
	"photree/grub"
	"photree/installer/disk"
	"photree/internal/gvariant"
	"photree/internal/kargs"
	"photree/repo"
	"photree/repo/object"
	"photree/repo/pull"
	"photree/repo/serve"
	"photree/repo/tree"
)

// branch is what the machines follow; its head differs from workload to workload.
const branch = "test/main"

// world is what all explorations share: a server with the releases, and installed disks of each layout.
type world struct {
	dir    string
	repo   *repo.Repo
	server *httptest.Server
	ids    map[string]object.ID // by release
	trees  map[object.ID]string // the digest of each tree, from the directory it was made of
	bases  map[string][disks]*image
}

// layout says which file systems a machine has.
type layout struct {
	name string
	root string // the type of the root file system
	boot string // that of /boot; empty: a directory of the root
}

// sectors is what each disk writes whole. XFS finds out that one of its sectors was torn, and then refuses to mount: it
// is made for a disk that has sectors of 4 KiB. ext4 is looked at with sectors of 512 bytes.
func (l layout) sectors() [disks]int {
	if l.root == "xfs" {
		return [disks]int{blockSize, sectorSize}
	}
	return [disks]int{sectorSize, sectorSize}
}

var layouts = []layout{{"ext4+ext4", "ext4", "ext4"}, {"xfs+ext4", "xfs", "ext4"}, {"ext4", "ext4", ""}}

func newWorld(ctx context.Context) (_ *world, err error) {
	dir, err := os.MkdirTemp("/dev/shm", "powercut-")
	if err != nil {
		return nil, err
	}
	w := &world{dir: dir, ids: map[string]object.ID{}, trees: map[object.ID]string{}, bases: map[string][disks]*image{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	if w.repo, err = repo.Init(filepath.Join(dir, "repo"), repo.InitOptions{Mode: repo.ModeArchive}); err != nil {
		return nil, err
	}
	cfg := w.repo.Config()
	cfg.Set("core", "fsync", "false")
	if err := w.repo.SetConfig(cfg); err != nil {
		return nil, err
	}
	var parent object.ID
	for i, r := range releases {
		src := filepath.Join(dir, r.name)
		if err := r.write(src); err != nil {
			return nil, err
		}
		id, _, err := tree.Commit(ctx, w.repo, src, tree.CommitOptions{
			Ref: "test/" + r.name, Parent: &parent, Subject: "release " + r.version, NoBindings: true,
			Timestamp: time.Unix(1_700_000_000+int64(i)*1000, 0),
			Metadata:  gvariant.Dict{{Key: "version", Value: gvariant.String(r.version)}},
		})
		if err != nil {
			return nil, err
		}
		w.ids[r.name] = id
		if w.trees[id], err = treeDigest(src, "etc"); err != nil {
			return nil, err
		}
	}
	w.server = httptest.NewServer(serve.Handler(w.repo.Path()))
	return w, nil
}

func (w *world) close() error {
	if w.server != nil {
		w.server.Close()
	}
	if w.repo != nil {
		w.repo.Close()
	}
	return os.RemoveAll(w.dir)
}

// publish makes a release the head of the branch that machines follow. The last one becomes that of all branches.
func (w *world) publish(ctx context.Context, name string) error {
	txn, err := w.repo.Begin(ctx)
	if err != nil {
		return err
	}
	defer txn.Abort()
	heads := map[string]object.ID{branch: w.ids[name]}
	for release, id := range w.ids {
		heads["test/"+release] = id
		if name == "next" {
			heads["test/"+release] = w.ids[name]
		}
	}
	for ref, id := range heads {
		if err := txn.SetRef("", ref, id); err != nil {
			return err
		}
	}
	if err := txn.Commit(); err != nil {
		return err
	}
	return w.repo.UpdateSummary(ctx, repo.SummaryOptions{})
}

const bootUUID = "7b1ad7bc-6b54-4d4e-9e9a-0c2f4a6a7a11"

// base gives the disks of an installed machine with two deployments, b in front of a.
func (w *world) base(ctx context.Context, l layout) ([disks]*image, error) {
	if b, ok := w.bases[l.name]; ok {
		return b, nil
	}
	images := [disks]*image{newImage(64 << 20)}
	data := [disks]backing{images[0]}
	if l.boot != "" {
		images[bootDisk] = newImage(16 << 20)
		data[bootDisk] = images[bootDisk]
	}
	m, err := newMachine(l, data)
	if err != nil {
		return images, err
	}
	err = w.install(ctx, m)
	if cerr := m.close(); err == nil {
		err = cerr
	}
	if err != nil {
		return images, fmt.Errorf("making the disks of %s: %w", l.name, err)
	}
	w.bases[l.name] = images
	return images, nil
}

func mkfs(kind, path, config string) error {
	cmd := exec.Command("mkfs.ext4", "-q", "-F", "-U", bootUUID, "-E", "nodiscard", path)
	if kind == "xfs" {
		// Smaller than mkfs.xfs likes it; only the size is unsupported.
		cmd = exec.Command("mkfs.xfs", "-q", "-f", "-K", "-s", "size=4096", "--unsupported", path)
	}
	cmd.Env = append(os.Environ(), "MKE2FS_CONFIG="+config)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	return nil
}

func (w *world) install(ctx context.Context, m *machine) (err error) {
	config := filepath.Join(w.dir, "mke2fs.conf")
	if err := os.WriteFile(config, []byte(disk.MkfsConfig), 0o644); err != nil {
		return err
	}
	if err := mkfs(m.layout.root, filepath.Join(m.fuse.dir, diskNames[rootDisk]), config); err != nil {
		return err
	}
	if err := m.mountDisk(rootDisk, m.root, 0); err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(m.root, "boot"), 0o755); err != nil {
		return err
	}
	if m.layout.boot != "" {
		if err := mkfs(m.layout.boot, filepath.Join(m.fuse.dir, diskNames[bootDisk]), config); err != nil {
			return err
		}
		if err := m.mountDisk(bootDisk, filepath.Join(m.root, "boot"), 0); err != nil {
			return err
		}
	}
	if err := deploy.InitFS(m.root, deploy.InitFSOptions{}); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(m.root, "boot/grub"), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(m.root, "boot", grub.StubName), grub.Stub(bootUUID), 0o644); err != nil {
		return err
	}
	s, err := openSysroot(m.root)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	return w.firstDeployments(ctx, s)
}

func openSysroot(root string) (*deploy.Sysroot, error) {
	return deploy.Open(root, deploy.Options{Bootloader: grub.Bootloader{}})
}

// firstDeployments makes two deployments, with an owner who changes files of /etc and /var before, between and after.
func (w *world) firstDeployments(ctx context.Context, s *deploy.Sysroot) error {
	if err := s.InitStateroot(ctx, "os"); err != nil {
		return err
	}
	if err := w.setRemote(s); err != nil {
		return err
	}
	for i, name := range []string{"a", "b"} {
		if err := w.publish(ctx, name); err != nil {
			return err
		}
		if _, err := pull.Pull(ctx, s.Repo(), pull.Options{Remote: "origin", Refs: []string{branch}}); err != nil {
			return err
		}
		o := deploy.DeployOptions{Stateroot: "os", Commit: w.ids[name], Origin: deploy.NewOrigin("origin:" + branch)}
		if i == 0 {
			o.Kargs = kargs.Parse("root=LABEL=x quiet")
		}
		r, err := s.Deploy(ctx, o)
		if err != nil {
			return err
		}
		etc := filepath.Join(s.Path(r.Deployment), "etc")
		for file, text := range map[string]string{
			"hosts": "127.0.0.1 localhost\n10.0.0.1 mine" + name + "\n", "mine-" + name: "the owner's\n",
		} {
			if err := os.WriteFile(filepath.Join(etc, file), []byte(text), 0o644); err != nil {
				return err
			}
		}
		if err := os.WriteFile(filepath.Join(s.VarPath("os"), "data-"+name), kernelText("data"+name, 30000), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// setRemote lets the machine's remote lead to this world's server.
func (w *world) setRemote(s *deploy.Sysroot) error {
	if r, err := s.Repo().Remote("origin"); err == nil && r.URL() == w.server.URL {
		return nil
	}
	return s.Repo().AddRemote(repo.Remote{Name: "origin", Options: []repo.Option{
		{Key: "url", Value: w.server.URL}, {Key: "gpg-verify", Value: "false"},
	}}, true)
}
