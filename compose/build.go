package compose

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"photree/compose/rootfs"
	"photree/compose/rpm"
	"photree/initramfs"
	"photree/internal/gvariant"
	"photree/repo/object"
	"photree/repo/sign"
	"photree/repo/tree"

	"golang.org/x/sys/unix"
)

// install makes the tree.
func (r *run) install(ctx context.Context) (bool, error) {
	t := r.Treefile
	if t.WantSELinux() {
		r.log.warn("files get no SELinux labels; set \"selinux\": false to say that this is meant")
	}
	dir := filepath.Join(r.work, "rootfs.tmp")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return false, err
	}
	built, err := rootfs.Build(ctx, rootfs.Options{
		Root: dir, Packages: r.files, NoDocs: !t.WantDocumentation(), Langs: t.InstallLangs, Layout: r.layout(),
		Accounts: r.earlierAccounts(), InstallOnly: r.installOnly, Step: r.log.step, Warn: r.log.warn,
		Progress: func(n, total int, p rpm.NEVRA) { r.log.progress(n, total, p.String()) },
	})
	if err != nil {
		if errors.Is(err, unix.ENOSPC) {
			err = fmt.Errorf("%w (there is no room below %q: name another directory with --workdir)", err, filepath.Dir(r.work))
		}
		return false, err
	}
	r.built, r.tree = built, dir
	r.result.KVER = built.KVER
	return false, nil
}

func (r *run) layout() rootfs.Layout {
	t := r.Treefile
	l := rootfs.Layout{
		Units: t.Units, DefaultTarget: t.DefaultTarget, RemoveFiles: t.RemoveFiles, RemoveFromPackages: t.RemoveFromPackages,
		TmpLink: !t.WantTmpDir(), RootOpt: t.OptUsrlocal == "root", NoMachineID: !t.WantMachineIDCompat(), EtcGroupMembers: t.EtcGroupMembers, Treefile: t.JSON(),
	}
	for _, f := range t.AddFiles {
		l.AddFiles = append(l.AddFiles, rootfs.AddFile{Source: f.Source, Dest: f.Dest})
	}
	for _, s := range t.Postprocess {
		l.Postprocess = append(l.Postprocess, rootfs.Script{Name: s.Name, Body: s.Body})
	}
	if t.MutateOSRelease != "" {
		l.OSVersion, l.OSRelease = r.result.Version, t.MutateOSRelease
	}
	if t.WantInitramfs() {
		l.Initramfs = r.initramfs
	}
	return l
}

// earlierAccounts are those of the previous commit, so that ids stay.
func (r *run) earlierAccounts() rootfs.Accounts {
	if !r.Treefile.WantPreservePasswd() {
		return rootfs.Accounts{}
	}
	return r.previousAccounts()
}

func (r *run) previousAccounts() (a rootfs.Accounts) {
	if r.prev == nil {
		return a
	}
	// A tree has either or both: what is not there counts as empty.
	read := func(name string) []byte {
		data, err := tree.ReadFile(r.Repo, r.result.Previous, name)
		if err != nil {
			return nil
		}
		return append(data, '\n')
	}
	a.Passwd = append(read("/usr/etc/passwd"), read("/usr/lib/passwd")...)
	a.Group = append(read("/usr/etc/group"), read("/usr/lib/group")...)
	return a
}

// initramfs makes the tree's boot image.
func (r *run) initramfs(ctx context.Context, dir, kver string, w io.Writer) error {
	stats, err := initramfs.Build(ctx, initramfs.Options{Tree: dir, KVER: kver, Init: r.initBin, Add: r.initramfsModules()}, w)
	if err != nil {
		return err
	}
	for _, s := range stats.Warnings {
		r.log.warn("initramfs: " + s)
	}
	r.log.note(fmt.Sprintf("initramfs: %d modules, %d bytes", len(stats.Modules), stats.Size))
	return nil
}

// commit writes the tree into the repository.
func (r *run) commit(ctx context.Context) (bool, error) {
	r.log.step("Committing")
	opts := tree.CommitOptions{
		Ref: r.result.Ref, Metadata: r.commitMetadata(), Timestamp: r.Time,
	}
	parent := r.result.Previous
	if r.NoParent {
		parent = object.ID{}
	}
	opts.Parent = &parent
	readonly := r.Treefile.ReadonlyExecutables != nil && *r.Treefile.ReadonlyExecutables
	opts.Write.Modify = func(_ string, info *object.FileInfo) {
		keepXattrs(info)
		if readonly {
			dropWrite(info)
		}
	}
	if r.Treefile.RepoMetadata == "detached" {
		opts.Detached = gvariant.Dict{{Key: "rpmostree.rpmmd-repos", Value: r.repoMetadata()}}
	}
	if r.NoRef {
		opts.Ref, opts.BindRefs = "", []string{r.result.Ref}
	}
	if key := r.Treefile.GPGKey; key != "" {
		opts.Sign = func(commit []byte, detached *gvariant.Dict) error {
			return sign.Sign(ctx, detached, commit, sign.NewGPG("", key))
		}
	}
	id, stats, err := tree.Commit(ctx, r.Repo, r.tree, opts)
	if err != nil {
		if errors.Is(err, unix.ENOSPC) {
			err = fmt.Errorf("%w (free space where the repository is)", err)
		}
		return false, fmt.Errorf("committing: %w", err)
	}
	r.result.Commit, r.result.Stats = id, stats
	if c, err := r.Repo.LoadCommit(id); err == nil {
		r.result.Content = c.ContentChecksum()
	}
	r.log.note(fmt.Sprintf("%s => %s", r.result.Ref, id))
	return true, nil
}
