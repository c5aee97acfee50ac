package compose

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"photree/compose/repomd"
	"photree/compose/rootfs"
	"photree/compose/rpm"
	"photree/compose/solve"
	"photree/compose/treefile"
	"photree/initramfs"
	"photree/internal/gvariant"
	"photree/repo"
	"photree/repo/object"
	"photree/repo/tree"

	"golang.org/x/sys/unix"
)

// Options say what is composed and where. Treefile and Repo are needed; the
// rest may be zero.
type Options struct {
	Treefile *treefile.Treefile
	Repo     *repo.Repo // may be nil for a DryRun

	// CacheDir keeps indexes and packages for the next compose; "" keeps
	// nothing.
	CacheDir string
	// CacheOnly takes everything from CacheDir and uses no network.
	CacheOnly bool
	// WorkDir is where the tree is built: a directory on a file system that
	// keeps owners and extended attributes, with room for the tree. "" is
	// /var/tmp.
	WorkDir string

	Force        bool // compose although nothing changed
	DryRun       bool // stop when the packages are chosen
	DownloadOnly bool // stop when the packages are fetched

	// Parent is the parent of the commit, and what it is compared with; nil is
	// the commit that the treefile's ref names. NoParent makes a commit without
	// one.
	Parent   *object.ID
	NoParent bool
	// NoRef leaves the ref where it is: the caller moves it.
	NoRef bool
	// Version overrides the treefile's automatic version.
	Version string
	// Metadata is added to that of the commit.
	Metadata gvariant.Dict
	// Time is the commit's; zero is SOURCE_DATE_EPOCH of the process, or now.
	Time time.Time

	Log Log // nil: silent
}

// Log is told how a compose goes. Calls come from one goroutine at a time.
type Log interface {
	// Step begins a step.
	Step(name string)
	// Note is a fact that a person wants to read, in one line.
	Note(text string)
	// Warn is something that went wrong and did not end the compose.
	Warn(text string)
	// Progress is how far a step is; what names the present item.
	Progress(done, total int, what string)
}

// Result is what a compose made.
type Result struct {
	Ref       string
	Commit    object.ID // zero when none was made
	Previous  object.ID // the commit that the ref named; zero when none
	Version   string
	InputHash string
	Packages  []rpm.NEVRA // in the order of installation
	KVER      string
	Unchanged bool // the inputs are those of Previous, which is Commit
	Content   object.ID
	Stats     tree.Stats
	Timestamp time.Time
	Steps     []StepTime
	Scripts   []rootfs.ScriptTime
}

// StepTime says how long one step took.
type StepTime struct {
	Name string
	Time time.Duration
}

// run is one compose under way.
type run struct {
	Options
	log     *steps
	workDir *workDir
	work    string // its path
	result  Result
	prev    *object.Commit
	repos   []*repomd.Repo
	chosen  []*repomd.Package
	files   []string // of the packages
	initBin string   // the program that becomes /init
	built   *rootfs.Tree
}

// Compose makes the commit.
func Compose(ctx context.Context, o Options) (_ *Result, err error) {
	r := &run{Options: o, log: &steps{log: o.Log}}
	if o.Treefile == nil {
		return nil, errors.New("composing: no treefile")
	}
	if err := r.prepare(); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.workDir.remove()) }()
	stages := []func(context.Context) (done bool, err error){
		r.previous, r.metadata, r.solve, r.inputs, r.download, r.install, r.commit,
	}
	for _, stage := range stages {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		done, err := stage(ctx)
		if err != nil && ctx.Err() != nil {
			return nil, fmt.Errorf("composing %q was interrupted, the repository is as it was: %w", o.Treefile.Path, ctx.Err())
		}
		if err != nil {
			return nil, err
		}
		if done {
			break
		}
	}
	r.result.Steps = r.log.end()
	r.result.Scripts = r.scripts()
	return &r.result, nil
}

func (r *run) scripts() []rootfs.ScriptTime {
	if r.built == nil {
		return nil
	}
	return r.built.Scripts
}

// prepare makes the work directory.
func (r *run) prepare() error {
	base := r.WorkDir
	if base == "" {
		base = "/var/tmp"
	}
	w, err := newWorkDir(base)
	if err != nil {
		return err
	}
	r.workDir, r.work = w, w.path
	if r.CacheDir == "" {
		r.CacheDir = filepath.Join(r.work, "cache")
	}
	if r.Time.IsZero() {
		if r.Time, err = commitTime(); err != nil {
			return errors.Join(err, w.remove())
		}
	}
	return nil
}

// previous looks up what the ref names now.
func (r *run) previous(context.Context) (bool, error) {
	r.log.step("Reading the previous commit")
	r.result.Ref = r.Treefile.Ref
	r.result.Timestamp = r.Time
	if r.Repo == nil {
		return false, nil
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
			if c.SkipIfUnavailable && ctx.Err() == nil {
				r.log.warn(fmt.Sprintf("repository %q is skipped: %v", c.ID, err))
				continue
			}
			return false, err
		}
		r.repos = append(r.repos, opened)
		r.log.note(fmt.Sprintf("rpm-md repo '%s'; generated: %s; %d packages", c.ID, time.Unix(int64(opened.Timestamp()), 0).UTC().Format(time.RFC3339), len(opened.Packages())))
	}
	return false, nil
}

func (r *run) repomdOptions(progress func(repomd.Progress)) repomd.Options {
	return repomd.Options{CacheDir: r.CacheDir, CacheOnly: r.CacheOnly, Progress: progress}
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
		Accounts: r.earlierAccounts(), Step: r.log.step, Warn: r.log.warn,
		Progress: func(n, total int, p rpm.NEVRA) { r.log.progress(n, total, p.String()) },
	})
	if err != nil {
		if errors.Is(err, unix.ENOSPC) {
			err = fmt.Errorf("%w (there is no room below %q: name another directory with --workdir)", err, filepath.Dir(r.work))
		}
		return false, err
	}
	r.built = built
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
func (r *run) earlierAccounts() (a rootfs.Accounts) {
	if r.prev == nil || !r.Treefile.WantPreservePasswd() {
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
	id, stats, err := tree.Commit(ctx, r.Repo, filepath.Join(r.work, "rootfs.tmp"), opts)
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
