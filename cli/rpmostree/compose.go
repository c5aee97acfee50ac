package rpmostree

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"photree/cli"
	"photree/compose"
	"photree/compose/treefile"
	"photree/internal/gvariant"
	"photree/repo"
	"photree/repo/object"

	"github.com/spf13/cobra"
)

func init() { register(newCompose) }

// newCompose returns the verb `compose`.
func newCompose(env *cli.Env) *cobra.Command {
	c := &cobra.Command{
		Use:   "compose",
		Short: "Make commits from RPM packages, on a server",
	}
	c.AddCommand(newComposeTree(env), newComposeInstall(env), newComposePostprocess(env), newComposeCommit(env), newComposeRootfs(env))
	return c
}

// composeTree holds the options of `compose tree`.
type composeTree struct {
	repo, cachedir, workdir                      string
	force, cacheOnly, dryRun, printOnly          bool
	downloadOnly, noParent, timings              bool
	parent, version                              string
	touchIfChanged, writeCommitID, writeJSON     string
	metadata, metadataFiles                      []string
	unifiedCore, disableSELinux, downloadRPMOnly bool
}

func newComposeTree(env *cli.Env) *cobra.Command {
	var o composeTree
	c := &cobra.Command{
		Use:   "tree TREEFILE",
		Short: "Make a commit from the packages that a treefile names",
		Long: `Reads TREEFILE (JSON or YAML), finds the packages that it names in the
rpm-md repositories whose .repo files are beside it, installs them into a new
tree, and commits the tree to the ref of the treefile. When nothing changed
since the previous commit, no commit is made.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return o.run(env, args[0]) },
	}
	f := c.Flags()
	f.StringVarP(&o.repo, "repo", "r", "", "Commit to the repository at `PATH`")
	f.StringVar(&o.cachedir, "cachedir", "", "Keep indexes and packages in `DIR` for the next compose")
	f.StringVar(&o.workdir, "workdir", "", "Build the tree below `DIR` (default /var/tmp)")
	f.BoolVar(&o.force, "force-nocache", false, "Compose although nothing changed since the previous commit")
	f.BoolVar(&o.cacheOnly, "cache-only", false, "Use no network: take everything from the cache directory")
	f.BoolVar(&o.dryRun, "dry-run", false, "Print the packages that would be installed, and stop")
	f.BoolVar(&o.printOnly, "print-only", false, "Print the treefile with its includes merged, and stop")
	f.BoolVar(&o.downloadOnly, "download-only", false, "Stop when the packages are in the cache directory")
	f.BoolVar(&o.downloadRPMOnly, "download-only-rpms", false, "The same as --download-only")
	o.commitFlags(c)
	f.BoolVar(&o.timings, "timings", false, "Print how long each step and each script took")
	f.BoolVar(&o.unifiedCore, "unified-core", false, "Accepted and ignored")
	f.BoolVar(&o.disableSELinux, "disable-selinux", false, "Accepted and ignored: files get no labels")
	for _, name := range []string{"unified-core", "disable-selinux", "download-only-rpms"} {
		_ = f.MarkHidden(name)
	}
	return c
}

func (o *composeTree) run(env *cli.Env, file string) error {
	tf, err := treefile.Load(file)
	if err != nil {
		return err
	}
	if o.printOnly {
		_, err := fmt.Fprintf(env.Stdout, "%s\n", strings.TrimRight(string(tf.JSON()), "\n"))
		return err
	}
	opts, err := o.options(env, tf)
	if err != nil {
		return err
	}
	if opts.Repo != nil {
		defer opts.Repo.Close()
	}
	res, err := compose.Compose(env.Ctx, opts)
	if err != nil {
		return err
	}
	if o.timings {
		printTimings(env, res)
	}
	return o.report(env, opts, res)
}

func (o *composeTree) options(env *cli.Env, tf *treefile.Treefile) (compose.Options, error) {
	opts := compose.Options{
		Treefile: tf, CacheDir: o.cachedir, CacheOnly: o.cacheOnly, WorkDir: o.workdir, Force: o.force, DryRun: o.dryRun,
		DownloadOnly: o.downloadOnly || o.downloadRPMOnly, NoParent: o.noParent, Version: o.version, NoRef: o.writeCommitID != "",
		Log: newComposeLog(env),
	}
	if o.noParent && o.parent != "" {
		return opts, errors.New("--no-parent and --parent exclude each other")
	}
	if opts.DownloadOnly && o.cachedir == "" {
		return opts, errors.New("--download-only needs a place for the packages: name one with --cachedir=DIR")
	}
	if o.repo == "" && !o.dryRun && !opts.DownloadOnly {
		return opts, errors.New("no repository: name one with --repo=PATH")
	}
	if o.repo != "" {
		r, err := repo.Open(o.repo)
		if err != nil {
			return opts, err
		}
		opts.Repo = r
	}
	if o.parent != "" && opts.Repo != nil {
		id, err := opts.Repo.ResolveRev(o.parent)
		if err != nil {
			return opts, err
		}
		opts.Parent = &id
	}
	var err error
	opts.Metadata, err = parseMetadata(o.metadata, o.metadataFiles)
	return opts, err
}

func parseMetadata(list, files []string) (gvariant.Dict, error) {
	var d gvariant.Dict
	for _, name := range files {
		add, err := compose.ReadMetadata(name)
		if err != nil {
			return nil, err
		}
		for _, e := range add {
			d.Set(e.Key, e.Value)
		}
	}
	for _, kv := range list {
		k, v, ok := strings.Cut(kv, "=")
		if !ok || k == "" {
			return nil, fmt.Errorf("--add-metadata-string takes KEY=VALUE, not %q", kv)
		}
		d.Set(k, gvariant.String(v))
	}
	return d, nil
}

// report prints what came out and writes the files that were asked for.
func (o *composeTree) report(env *cli.Env, opts compose.Options, res *compose.Result) error {
	if res.Unchanged {
		fmt.Fprintln(env.Stdout, "No apparent changes since previous commit; use --force-nocache to override")
		return nil
	}
	if res.Commit.IsZero() {
		return nil
	}
	if o.writeCommitID != "" {
		if err := os.WriteFile(o.writeCommitID, []byte(res.Commit.String()+"\n"), 0o644); err != nil {
			return fmt.Errorf("writing the commit id: %w", err)
		}
	}
	if o.writeJSON != "" {
		f, err := os.Create(o.writeJSON)
		if err != nil {
			return fmt.Errorf("describing the compose: %w", err)
		}
		if err := errors.Join(cli.PrintJSON(f, describeCompose(opts.Repo, res)), f.Close()); err != nil {
			return fmt.Errorf("describing the compose: %w", err)
		}
	}
	if o.touchIfChanged != "" {
		return touch(o.touchIfChanged)
	}
	return nil
}

func touch(name string) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return fmt.Errorf("touching %q: %w", filepath.Base(name), err)
	}
	f.Close()
	now := time.Now()
	return os.Chtimes(name, now, now)
}

// composeDescription is the file of --write-composejson-to.
type composeDescription struct {
	Ref           string `json:"ref,omitempty"`
	Commit        string `json:"ostree-commit"`
	Content       string `json:"ostree-content-checksum"`
	Version       string `json:"ostree-version,omitempty"`
	Timestamp     string `json:"ostree-timestamp"`
	Parent        string `json:"ostree-parent-commit,omitempty"`
	ParentVersion string `json:"ostree-parent-version,omitempty"`
	InputHash     string `json:"rpm-ostree-inputhash"`
	Files         int    `json:"ostree-n-content-total"`
	Dirs          int    `json:"ostree-n-metadata-total"`
	Bytes         int64  `json:"ostree-content-bytes-total"`
	Packages      int    `json:"packages"`
	Kernel        string `json:"ostree.linux,omitempty"`
}

func describeCompose(r *repo.Repo, res *compose.Result) composeDescription {
	d := composeDescription{
		Ref: res.Ref, Commit: res.Commit.String(), Version: res.Version, Timestamp: res.Timestamp.UTC().Format(time.RFC3339),
		InputHash: res.InputHash, Files: res.Stats.Files, Dirs: res.Stats.Dirs, Bytes: res.Stats.Bytes,
		Packages: len(res.Packages), Kernel: res.KVER, Content: res.Content.String(),
	}
	parent := object.ID{}
	if c, err := r.LoadCommit(res.Commit); err == nil {
		parent = c.Parent
	}
	if !parent.IsZero() {
		d.Parent = parent.String()
		if c, err := r.LoadCommit(parent); err == nil {
			d.ParentVersion = c.Metadata.GetString("version")
		}
	}
	return d
}

func printTimings(env *cli.Env, res *compose.Result) {
	fmt.Fprintln(env.Stderr, "Time of each step:")
	for _, s := range res.Steps {
		fmt.Fprintf(env.Stderr, "  %8.3f s  %s\n", s.Time.Seconds(), s.Name)
	}
	for _, s := range res.Scripts {
		fmt.Fprintf(env.Stderr, "  %8.3f s  %%%s of %s\n", s.Time.Seconds(), s.Kind, s.Package.Name)
	}
}
