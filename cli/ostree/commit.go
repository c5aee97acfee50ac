package ostree

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"photree/cli"
	"photree/internal/gvariant"
	"photree/repo"
	"photree/repo/object"
	"photree/repo/tree"

	"github.com/spf13/cobra"
)

func init() { register(newCommit) }

type commitOptions struct {
	branch, base, subject, body, bodyFile, parent, timestamp string
	trees, metaStrings, metas, keep, detached, binds         []string
	sizes, editor, orphan, noBindings, canonical, bootable   bool
	roExecutables, noXattrs, speedup, devino                 bool
	skipUnchanged, consume, table, json, noFsync             bool
	statOverride, skipList, fsync                            string
	uid, gid                                                 int
	sign                                                     signFlags
}

func newCommit(env *cli.Env) *cobra.Command {
	var o commitOptions
	c := &cobra.Command{Use: "commit [PATH]", Short: "Commit a new revision", Args: need(0, 1, "")}
	at := addRepo(c)
	f := c.Flags()
	f.StringVar(&o.parent, "parent", "", "Parent `COMMIT` checksum, or \"none\"")
	f.StringVarP(&o.subject, "subject", "s", "", "One line `SUBJECT`")
	f.StringVarP(&o.body, "body", "m", "", "Full description `BODY`")
	f.StringVarP(&o.bodyFile, "body-file", "F", "", "Commit message from `FILE` path")
	f.BoolVarP(&o.editor, "editor", "e", false, "Use an editor to write the commit message")
	f.StringVarP(&o.branch, "branch", "b", "", "Set `BRANCH` to the commit")
	f.BoolVar(&o.orphan, "orphan", false, "Create a commit without writing a ref")
	f.BoolVar(&o.noBindings, "no-bindings", false, "Do not write any ref bindings")
	f.StringArrayVar(&o.binds, "bind-ref", nil, "Add `BRANCH` to ref binding commit metadata")
	f.StringArrayVar(&o.trees, "tree", nil, "Overlay the tree `dir=PATH` or ref=COMMIT")
	f.StringVar(&o.base, "base", "", "Start from the given commit `REV` as a base (no modifiers apply)")
	f.StringArrayVar(&o.metaStrings, "add-metadata-string", nil, "Add a `KEY=VALUE` pair to metadata")
	f.StringArrayVar(&o.metas, "add-metadata", nil, "Add a `KEY=VALUE` pair to metadata, where VALUE is in GVariant text format")
	f.StringArrayVar(&o.keep, "keep-metadata", nil, "Keep metadata `KEY` and its associated value from parent")
	f.StringArrayVar(&o.detached, "add-detached-metadata-string", nil, "Add a `KEY=VALUE` pair to detached metadata")
	f.IntVar(&o.uid, "owner-uid", -1, "Set file ownership user `UID`")
	f.IntVar(&o.gid, "owner-gid", -1, "Set file ownership group `GID`")
	f.BoolVar(&o.canonical, "canonical-permissions", false, "Canonicalize permissions in the same way bare-user does for hard-linked files")
	f.BoolVar(&o.bootable, "bootable", false, "Flag this commit as a bootable OSTree (e.g. contains a Linux kernel)")
	f.BoolVar(&o.roExecutables, "mode-ro-executables", false, "Ensure executable files are not writable")
	f.BoolVar(&o.noXattrs, "no-xattrs", false, "Do not import extended attributes")
	f.BoolVar(&o.speedup, "link-checkout-speedup", false, "Optimize for commits of trees composed of hardlinks into the repository")
	f.BoolVarP(&o.devino, "devino-canonical", "I", false, "Assume hard-linked objects are unmodified.  Implies --link-checkout-speedup")
	f.BoolVar(&o.skipUnchanged, "skip-if-unchanged", false, "If the contents are unchanged from previous commit, do nothing")
	f.StringVar(&o.statOverride, "statoverride", "", "`FILE` containing list of modifications to make to permissions")
	f.StringVar(&o.skipList, "skip-list", "", "`FILE` containing list of files to skip")
	f.BoolVar(&o.consume, "consume", false, "Consume (delete) content after commit (for local directories)")
	f.BoolVar(&o.table, "table-output", false, "Output more information in a KEY: VALUE format")
	f.StringVar(&o.fsync, "fsync", "", "Specify how to invoke fsync(): `POLICY` is true, for one flush at the end, or false")
	f.BoolVar(&o.noFsync, "disable-fsync", false, "Do not invoke fsync()")
	_ = f.MarkHidden("disable-fsync")
	o.sign.add(f, "commit")
	f.BoolVar(&o.sizes, "generate-sizes", false, "Generate size information along with commit metadata")
	f.StringVar(&o.timestamp, "timestamp", "", "Override the `TIMESTAMP` of the commit")
	cli.AddJSON(c, &o.json)
	c.RunE = withRepo(env, at, func(r *repo.Repo, args []string) error { return runCommit(env, r, o, args) })
	return c
}

func runCommit(env *cli.Env, r *repo.Repo, o commitOptions, args []string) error {
	if o.branch == "" && !o.orphan {
		return cli.Fail("A branch must be specified with --branch, or use --orphan")
	}
	signers, err := o.sign.signers()
	if err != nil {
		return err
	}
	trees, err := o.sources(args)
	if err != nil {
		return err
	}
	opts, err := o.library(env, r, trees)
	if err != nil {
		return err
	}
	txn, err := r.Begin(env.Ctx)
	if err != nil {
		return err
	}
	defer txn.Abort()
	if flush, err := flushPolicy(o.fsync, o.noFsync); err != nil {
		return err
	} else if flush != nil {
		txn.SetFlush(*flush)
	}
	root, meta, hits, err := writeTrees(env.Ctx, txn, trees, opts.Write)
	if err != nil {
		return err
	}
	id, err := tree.WriteCommit(txn, root, meta, opts)
	if err != nil {
		return err
	}
	if has, err := r.HasObject(object.Name{ID: id, Kind: object.KindCommit}); err != nil {
		return err
	} else if has && o.skipUnchanged {
		signers = nil // nothing was committed
	}
	if err := signStaged(env.Ctx, txn, id, opts.Detached, signers); err != nil {
		return err
	}
	if err := txn.Commit(); err != nil {
		return err
	}
	if err := o.consumeTrees(trees); err != nil {
		return err
	}
	t := txn.Stats()
	switch {
	case o.json:
		return cli.PrintJSON(env.Stdout, map[string]any{"commit": id, "metadataTotal": t.MetadataTotal, "metadataWritten": t.MetadataWritten,
			"contentTotal": t.ContentTotal, "contentWritten": t.ContentWritten, "contentBytes": t.ContentBytes, "cacheHits": hits})
	case o.table:
		fmt.Fprintf(env.Stdout, "Commit: %s\nMetadata Total: %d\nMetadata Written: %d\nContent Total: %d\nContent Written: %d\nContent Cache Hits: %d\nContent Bytes Written: %d\n",
			id, t.MetadataTotal, t.MetadataWritten, t.ContentTotal, t.ContentWritten, hits, t.ContentBytes)
	default:
		fmt.Fprintln(env.Stdout, id)
	}
	return nil
}

// flushPolicy reads --fsync and --disable-fsync; nil leaves it to the configuration.
func flushPolicy(policy string, never bool) (*bool, error) {
	if never {
		policy = "false"
	}
	if policy == "" {
		return nil, nil
	}
	on, err := strconv.ParseBool(policy)
	if err != nil {
		return nil, cli.Fail("Invalid boolean argument '%s'", policy)
	}
	return &on, nil
}

// consumeTrees removes the directories that are committed now.
func (o *commitOptions) consumeTrees(trees []treeSource) error {
	if !o.consume {
		return nil
	}
	for _, t := range trees {
		if t.dir == "" {
			continue
		}
		entries, err := os.ReadDir(t.dir)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if err := os.RemoveAll(filepath.Join(t.dir, e.Name())); err != nil {
				return fmt.Errorf("consuming %s: %w", t.dir, err)
			}
		}
		if err := os.Remove(t.dir); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.EBUSY) {
			return fmt.Errorf("consuming %s: %w", t.dir, err)
		}
	}
	return nil
}

// library turns the options into those of tree.Commit.
func (o *commitOptions) library(env *cli.Env, r *repo.Repo, trees []treeSource) (tree.CommitOptions, error) {
	opts := tree.CommitOptions{
		Ref: o.branch, Subject: o.subject, Body: o.body, BindRefs: o.binds, NoBindings: o.noBindings, SkipUnchanged: o.skipUnchanged, Sizes: o.sizes,
		Write: tree.WriteOptions{
			CanonicalPermissions: o.canonical, NoXattrs: o.noXattrs, LinkCheckoutSpeedup: o.speedup, DevInoCanonical: o.devino, Adopt: o.consume,
		},
	}
	if o.uid >= 0 {
		uid := uint32(o.uid)
		opts.Write.OwnerUID = &uid
	}
	if o.gid >= 0 {
		gid := uint32(o.gid)
		opts.Write.OwnerGID = &gid
	}
	var err error
	if opts.Parent, err = o.findParent(r); err != nil {
		return opts, err
	}
	if err := o.message(env, &opts); err != nil {
		return opts, err
	}
	if opts.Metadata, err = o.metadata(r, opts.Parent); err != nil {
		return opts, err
	}
	if o.bootable {
		kernel, err := kernelVersion(trees)
		if err != nil {
			return opts, err
		}
		opts.Metadata.Set("ostree.bootable", gvariant.Bool(true))
		opts.Metadata.Set("ostree.linux", gvariant.String(kernel))
	}
	for _, kv := range o.detached {
		key, value, err := keyValue(kv)
		if err != nil {
			return opts, err
		}
		opts.Detached.Set(key, gvariant.String(value))
	}
	if o.timestamp != "" {
		if opts.Timestamp, err = parseDate(o.timestamp, time.Now()); err != nil {
			return opts, err
		}
	}
	return opts, o.filters(&opts.Write)
}

func (o *commitOptions) findParent(r *repo.Repo) (*object.ID, error) {
	switch o.parent {
	case "":
		return nil, nil
	case "none":
		return &object.ID{}, nil
	}
	id, err := r.ResolveRev(o.parent)
	return &id, err
}

// metadata gathers the keys of the commit in the order that ostree writes them.
func (o *commitOptions) metadata(r *repo.Repo, parent *object.ID) (gvariant.Dict, error) {
	var d gvariant.Dict
	if len(o.keep) > 0 {
		from := o.branch
		if parent != nil {
			from = parent.String()
		}
		id, err := r.ResolveRev(from)
		if err != nil {
			return nil, err
		}
		commit, err := r.LoadCommit(id)
		if err != nil {
			return nil, err
		}
		for _, key := range o.keep {
			v, ok := commit.Metadata.Get(key)
			if !ok {
				return nil, cli.Fail("Missing metadata key '%s' from commit '%s'", key, id)
			}
			d.Set(key, unwrap(v))
		}
	}
	for _, kv := range o.metas {
		key, text, err := keyValue(kv)
		if err != nil {
			return nil, err
		}
		v, err := parseText(text)
		if err != nil {
			return nil, cli.Fail("Parsing %s: %w", kv, err)
		}
		d.Set(key, v)
	}
	for _, kv := range o.metaStrings {
		key, value, err := keyValue(kv)
		if err != nil {
			return nil, err
		}
		d.Set(key, gvariant.String(value))
	}
	return d, nil
}

// keyValue splits KEY=VALUE, as the options for metadata have it.
func keyValue(kv string) (key, value string, err error) {
	key, value, ok := strings.Cut(kv, "=")
	switch {
	case !ok:
		return "", "", cli.Fail("Missing '=' in KEY=VALUE metadata '%s'", kv)
	case key == "":
		return "", "", cli.Fail("Empty metadata key")
	}
	return key, value, nil
}

// kernelVersion finds the one kernel of a tree.
func kernelVersion(trees []treeSource) (string, error) {
	dir := trees[0].dir
	if dir == "" {
		return "", errors.New("--bootable: the first tree must be a directory")
	}
	entries, err := os.ReadDir(dir + "/usr/lib/modules")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	var found []string
	for _, e := range entries {
		if _, err := os.Stat(dir + "/usr/lib/modules/" + e.Name() + "/vmlinuz"); err == nil {
			found = append(found, e.Name())
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return "", fmt.Errorf("--bootable: %s has no kernel: usr/lib/modules/*/vmlinuz: %w", dir, syscall.ENOENT)
	}
	return "", fmt.Errorf("--bootable: %s has more than one kernel: %s", dir, strings.Join(found, ", "))
}
