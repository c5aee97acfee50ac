package compose

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"photree/compose/rootfs"
	"photree/compose/rpmdb"
	"photree/initramfs"
	"photree/internal/durable"
)

// The work of Compose in three parts, for those who change the tree between
// them: Install, Postprocess, CommitTree. What a later part must know of an
// earlier one is in a file beside the tree, TREE.compose.json; without it the
// commit says less about where the tree is from.

// repoState says which state of a repository packages were taken from.
type repoState struct {
	ID        string `json:"id"`
	Timestamp uint64 `json:"timestamp"`
}

// installed is the file beside the tree.
type installed struct {
	Version string      `json:"version,omitempty"`
	Repos   []repoState `json:"repos"`
}

func stateFile(tree string) string { return filepath.Clean(tree) + ".compose.json" }

// Install chooses, fetches and installs the packages into the new directory
// dest and makes no commit. With postprocess the tree is as Compose commits it,
// else it waits for Postprocess. Repo may be nil: then there is no previous
// commit. Where it fails, dest is not there.
func Install(ctx context.Context, o Options, dest string, postprocess bool) (*Result, error) {
	dest = filepath.Clean(dest)
	if _, err := os.Lstat(dest); err == nil {
		return nil, fmt.Errorf("installing a tree to %q: it is there already", dest)
	}
	// The tree is made beside its place, to be moved there.
	o.WorkDir, o.Force = filepath.Dir(dest), true
	r := &run{Options: o, log: &steps{log: o.Log}, installOnly: !postprocess}
	keep := func(context.Context) (bool, error) {
		data, err := json.MarshalIndent(installed{r.result.Version, r.states}, "", "  ")
		if err == nil {
			err = os.WriteFile(stateFile(dest), append(data, '\n'), 0o644)
		}
		if err == nil {
			err = durable.Move(r.tree, dest)
		}
		if err != nil {
			return false, fmt.Errorf("installing a tree: %w", err)
		}
		return true, nil
	}
	return r.take(ctx, r.previous, r.metadata, r.solve, r.inputs, r.download, r.install, keep)
}

// Postprocess turns a tree of Install into one for deployments, as the treefile
// says. It needs no repository.
func Postprocess(ctx context.Context, o Options, dir string) error {
	r := &run{Options: o, log: &steps{log: o.Log}, tree: dir}
	if err := r.recall(); err != nil {
		return err
	}
	if o.Treefile.WantInitramfs() {
		init, err := initramfs.FindInit()
		if err != nil {
			return err
		}
		r.initBin = init
	}
	_, err := rootfs.Postprocess(ctx, rootfs.Options{Root: dir, Layout: r.layout(), Step: r.log.step, Warn: r.log.warn})
	return err
}

// CommitTree commits a tree that is post-processed to the treefile's ref. The
// commit holds no digest of inputs: nobody knows what became of them since.
func CommitTree(ctx context.Context, o Options, dir string) (*Result, error) {
	if o.Repo == nil {
		return nil, errors.New("committing a tree: no repository")
	}
	r := &run{Options: o, log: &steps{log: o.Log}, tree: dir}
	return r.take(ctx, r.previous, r.describe, r.checkAccounts, r.commit)
}

// recall reads the file beside the tree.
func (r *run) recall() error {
	data, err := os.ReadFile(stateFile(r.tree))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	var s installed
	if err == nil {
		err = json.Unmarshal(data, &s)
	}
	if err != nil {
		return fmt.Errorf("reading %q: %w", stateFile(r.tree), err)
	}
	r.result.Version, r.states = s.Version, s.Repos
	return nil
}

// describe finds out what a tree is: its packages, its kernel, its version.
func (r *run) describe(ctx context.Context) (bool, error) {
	if err := r.recall(); err != nil {
		return false, err
	}
	if _, err := os.Lstat(filepath.Join(r.tree, "usr/etc")); err != nil {
		return false, fmt.Errorf("committing %q: it has no /usr/etc: post-process it first", r.tree)
	}
	pkgs, err := rpmdb.Read(ctx, filepath.Join(r.tree, "usr/share/rpm", rpmdb.Name))
	if err != nil {
		return false, fmt.Errorf("committing %q: %w", r.tree, err)
	}
	for _, p := range pkgs {
		r.result.Packages = append(r.result.Packages, p.NEVRA)
	}
	r.result.KVER = kernelOf(r.tree)
	switch {
	case r.Version != "":
		r.result.Version = r.Version
	case r.result.Version == "":
		previous := ""
		if r.prev != nil {
			previous = r.prev.Metadata.GetString("version")
		}
		r.result.Version, err = r.Treefile.NextVersion(previous, r.Time)
	}
	return false, err
}

// kernelOf is the version of a tree's kernel, of which Postprocess has left one.
func kernelOf(tree string) string {
	modules := filepath.Join(tree, "usr/lib/modules")
	list, err := os.ReadDir(modules)
	if err != nil {
		return ""
	}
	for _, d := range list {
		if _, err := os.Lstat(filepath.Join(modules, d.Name(), "vmlinuz")); err == nil {
			return d.Name()
		}
	}
	return ""
}
