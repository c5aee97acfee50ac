package compose

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"photree/compose/repomd"
	"photree/compose/solve"
	"photree/initramfs"
	"photree/repo"
	"photree/repo/object"
	"photree/repo/sign"

	"golang.org/x/sys/unix"
)

// previous looks up what the ref names now.
func (r *run) previous(ctx context.Context) (bool, error) {
	r.log.step("Reading the previous commit")
	r.result.Ref = r.Treefile.Ref
	r.result.Timestamp = r.Time
	if r.Repo == nil {
		return false, nil
	}
	if key := r.Treefile.GPGKey; key != "" && !r.DryRun && !r.DownloadOnly {
		// That the key is missing is better known now than after an hour.
		if _, err := sign.SignedBy(ctx, sign.NewGPG("", key), nil); err != nil {
			return false, fmt.Errorf("composing %q: gpg-key: %w", r.Treefile.Path, err)
		}
	}
	if r.result.Ref == "" && !r.DryRun && !r.DownloadOnly {
		return false, fmt.Errorf("composing %q: the treefile names no ref; add \"ref\"", r.Treefile.Path)
	}
	id := object.ID{}
	switch {
	case r.Parent != nil:
		id = *r.Parent
	case r.result.Ref != "":
		found, err := r.Repo.ResolveRev(r.result.Ref)
		var unknown *repo.RefNotFoundError
		if errors.As(err, &unknown) || errors.Is(err, repo.ErrNotFound) {
			r.log.note("No previous commit for " + r.result.Ref)
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("reading the previous commit: %w", err)
		}
		id = found
	}
	if id.IsZero() {
		return false, nil
	}
	c, err := r.Repo.LoadCommit(id)
	if err != nil {
		return false, fmt.Errorf("reading the previous commit: %w", err)
	}
	r.prev, r.result.Previous = &c, id
	r.log.note("Previous commit: " + id.String())
	return false, nil
}

// metadata opens the package repositories.
func (r *run) metadata(ctx context.Context) (bool, error) {
	r.log.step("Downloading metadata")
	t := r.Treefile
	if len(t.Repos) == 0 {
		return false, fmt.Errorf("composing %q: the treefile names no repositories; add \"repos\"", t.Path)
	}
	all, err := repomd.LoadConfigs(t.Dir, t.RepoVariables())
	if err != nil {
		return false, err
	}
	ids := slices.Clone(t.Repos)
	for _, rp := range t.RepoPackages {
		ids = append(ids, rp.Repo)
	}
	slices.Sort(ids)
	configs, err := repomd.Select(all, slices.Compact(ids), t.Dir)
	if err != nil {
		return false, err
	}
	for _, c := range configs {
		opened, err := repomd.Open(ctx, c, r.repomdOptions(nil))
		if err != nil {
			if c.MaySkip(err) && ctx.Err() == nil {
				r.log.warn(fmt.Sprintf("repository %q is skipped: %v", c.ID, err))
				continue
			}
			return false, err
		}
		r.repos = append(r.repos, opened)
		r.states = append(r.states, repoState{opened.ID(), opened.Timestamp()})
		r.log.note(fmt.Sprintf("rpm-md repo '%s'; generated: %s; %d packages", c.ID, time.Unix(int64(opened.Timestamp()), 0).UTC().Format(time.RFC3339), len(opened.Packages())))
	}
	return false, nil
}

func (r *run) repomdOptions(progress func(repomd.Progress)) repomd.Options {
	return repomd.Options{CacheDir: r.CacheDir, CacheOnly: r.CacheOnly, Progress: progress,
		Notice: func(repo, text string) { r.log.warn(fmt.Sprintf("repository %q: %s", repo, text)) }}
}

// solve chooses the packages.
func (r *run) solve(ctx context.Context) (bool, error) {
	r.log.step("Resolving dependencies")
	t := r.Treefile
	req := solve.Request{
		Install: t.Packages, Exclude: t.Exclude, Recommends: t.WantRecommends(), Arch: t.Basearch,
	}
	for _, rp := range t.RepoPackages {
		req.InstallFrom = append(req.InstallFrom, solve.FromRepo{Repo: rp.Repo, Packages: rp.Packages})
	}
	known := map[*repomd.Package]*solve.Package{}
	for _, rp := range r.repos {
		for _, p := range rp.Packages() {
			s := &solve.Package{NEVRA: p.NEVRA, Relations: p.Relations, Files: p.Files, Repo: rp.ID(), Priority: rp.Config.Priority, Origin: p}
			known[p] = s
			req.Available = append(req.Available, s)
		}
	}
	req.LookupFiles = func(ctx context.Context, paths []string) (map[string][]*solve.Package, error) {
		out := map[string][]*solve.Package{}
		for _, rp := range r.repos {
			found, err := rp.FindFiles(ctx, paths)
			if err != nil {
				return nil, err
			}
			for path, pkgs := range found {
				for _, p := range pkgs {
					out[path] = append(out[path], known[p])
				}
			}
		}
		return out, nil
	}
	res, err := solve.Solve(ctx, req)
	if err != nil {
		return false, fmt.Errorf("resolving the packages of %q: %w", t.Path, err)
	}
	for _, s := range res.Install {
		r.chosen = append(r.chosen, s.Origin.(*repomd.Package))
		r.result.Packages = append(r.result.Packages, s.NEVRA)
	}
	r.log.note(fmt.Sprintf("Transaction: %d packages", len(r.chosen)))
	for _, n := range sortedNames(r.result.Packages) {
		r.log.note("  " + n)
	}
	return false, nil
}

// inputs digests what the tree is made from and ends the compose when the
// previous commit was made from the same.
func (r *run) inputs(context.Context) (bool, error) {
	if r.Treefile.WantInitramfs() {
		init, err := initramfs.FindInit()
		if err != nil && !r.DryRun && !r.DownloadOnly {
			return false, err
		}
		r.initBin = init
	}
	hash, err := r.inputHash()
	if err != nil {
		return false, err
	}
	r.result.InputHash = hash
	if r.DryRun {
		return true, nil
	}
	if r.prev != nil && !r.Force && !r.DownloadOnly && r.prev.Metadata.GetString("rpmostree.inputhash") == hash {
		r.result.Unchanged = true
		r.result.Commit = r.result.Previous
		r.result.Version = r.prev.Metadata.GetString("version")
		return true, nil
	}
	previous := ""
	if r.prev != nil {
		previous = r.prev.Metadata.GetString("version")
	}
	if r.result.Version = r.Version; r.result.Version == "" {
		r.result.Version, err = r.Treefile.NextVersion(previous, r.Time)
	}
	return false, err
}

// inputSalt changes when the same inputs begin to give another tree.
const inputSalt = "photree compose 1"

func (r *run) inputHash() (string, error) {
	h := sha256.New()
	fmt.Fprintln(h, inputSalt)
	fmt.Fprintln(h, r.Treefile.InputHash())
	if r.initBin != "" {
		sum, err := fileDigest(r.initBin)
		if err != nil {
			return "", fmt.Errorf("reading the initramfs program: %w", err)
		}
		fmt.Fprintln(h, "init", sum)
	}
	// In the order of installation, which shapes ids of accounts.
	for _, p := range r.chosen {
		fmt.Fprintln(h, p.NEVRA, p.ChecksumType, p.Checksum)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// download fetches the packages.
func (r *run) download(ctx context.Context) (bool, error) {
	r.log.step("Downloading packages")
	files, err := repomd.Download(ctx, r.chosen, r.repomdOptions(func(p repomd.Progress) {
		r.log.progress(p.Done, p.Total, p.Name)
	}))
	if err != nil {
		if errors.Is(err, unix.ENOSPC) {
			err = fmt.Errorf("%w (there is no room in %q: name another directory with --cachedir or --workdir)", err, r.CacheDir)
		}
		return false, err
	}
	r.files = files
	return r.DownloadOnly, nil
}
