package ostree

import (
	"errors"
	"fmt"
	"os"

	"photree/cli"
	"photree/internal/gvariant"
	"photree/repo"
	"photree/repo/object"

	"github.com/spf13/cobra"
)

func init() { register(newShow) }

type showOptions struct {
	related, sizes, raw, noSwap, listKeys, listDetached, hex, json bool
	variantType, key, detachedKey, home, remote                    string
}

func newShow(env *cli.Env) *cobra.Command {
	var o showOptions
	c := &cobra.Command{Use: "show OBJECT", Short: "Output a metadata object", Args: need(1, 1, "An object argument is required")}
	at := addRepo(c)
	f := c.Flags()
	f.BoolVar(&o.related, "print-related", false, "Show the \"related\" commits")
	f.StringVar(&o.variantType, "print-variant-type", "", "Read OBJECT, which is a file name here, as the GVariant `TYPE`")
	f.BoolVar(&o.listKeys, "list-metadata-keys", false, "List the available metadata keys")
	f.StringVar(&o.key, "print-metadata-key", "", "Print the value of metadata `KEY`")
	f.BoolVar(&o.hex, "print-hex", false, "For byte arrays, print the value as hex")
	f.BoolVar(&o.listDetached, "list-detached-metadata-keys", false, "List the available detached metadata keys")
	f.StringVar(&o.detachedKey, "print-detached-metadata-key", "", "Print the value of detached metadata `KEY`")
	f.BoolVar(&o.sizes, "print-sizes", false, "Show the commit size metadata")
	f.BoolVar(&o.raw, "raw", false, "Show raw variant data")
	f.BoolVarP(&o.noSwap, "no-byteswap", "B", false, "Do not automatically convert variant data from big endian")
	f.StringVar(&o.home, "gpg-homedir", "", "Use `HOMEDIR` when looking for keyrings")
	f.StringVar(&o.remote, "gpg-verify-remote", "", "Use `REMOTE` name for GPG configuration")
	cli.AddJSON(c, &o.json)
	c.RunE = withRepo(env, at, func(r *repo.Repo, args []string) error { return show(env, r, o, args[0]) })
	return c
}

func show(env *cli.Env, r *repo.Repo, o showOptions, rev string) error {
	if o.variantType != "" {
		return showFile(env, o, rev)
	}
	id, err := r.ResolveRev(rev)
	if err != nil {
		return err
	}
	n, err := findObject(r, id)
	if err != nil {
		return err
	}
	if n.Kind != object.KindCommit {
		return showOther(env, r, n, o)
	}
	commit, err := r.LoadCommit(id)
	if err != nil {
		return err
	}
	switch {
	case o.key != "":
		return printKey(env, commit.Metadata, o.key, "metadata", o)
	case o.listKeys:
		return listKeys(env, commit.Metadata)
	case o.detachedKey != "" || o.listDetached:
		detached, err := r.DetachedMetadata(id)
		if err != nil {
			return err
		}
		if o.listDetached {
			return listKeys(env, detached)
		}
		return printKey(env, detached, o.detachedKey, "detached metadata", o)
	case o.related:
		for _, rel := range commit.Related {
			fmt.Fprintf(env.Stdout, "%s %s\n", rel.Name, rel.ID)
		}
		return nil
	case o.sizes:
		return printSizes(env, r, commit)
	case o.json:
		return cli.PrintJSON(env.Stdout, toJSON(id, commit))
	}
	printCommit(env.Stdout, id, commit, o.raw)
	if o.raw {
		return nil
	}
	return showSignatures(env.Stdout, r, id, o.home, o.remote)
}

// findObject finds what kind of object has this id.
func findObject(r *repo.Repo, id object.ID) (object.Name, error) {
	for _, kind := range []object.Kind{object.KindCommit, object.KindDirMeta, object.KindDirTree, object.KindFile} {
		n := object.Name{ID: id, Kind: kind}
		if has, err := r.HasObject(n); err != nil || has {
			return n, err
		}
	}
	return object.Name{}, cli.Fail("No such object %s", id)
}

func showOther(env *cli.Env, r *repo.Repo, n object.Name, o showOptions) error {
	if n.Kind == object.KindFile {
		return showContent(env, r, n.ID)
	}
	fmt.Fprintf(env.Stdout, "%s %s\n", n.Kind, n.ID)
	if !o.raw {
		return nil
	}
	data, err := r.LoadMetadata(n)
	if err != nil {
		return err
	}
	typ := "(uuua(ayay))"
	if n.Kind == object.KindDirTree {
		typ = "(a(say)a(sayay))"
	}
	fmt.Fprintln(env.Stdout, formatRaw(typ, data))
	return nil
}

func showContent(env *cli.Env, r *repo.Repo, id object.ID) error {
	info, size, err := r.LoadFileInfo(id)
	if err != nil {
		return err
	}
	w := env.Stdout
	fmt.Fprintf(w, "Object: %s\nType: file\n", id)
	if info.IsSymlink() {
		fmt.Fprintf(w, "File Type: symlink\nTarget: %s\n", info.Target)
	} else {
		fmt.Fprintf(w, "File Type: regular\nSize: %d\n", size)
	}
	fmt.Fprintf(w, "Mode: 0%o\nUid: %d\nGid: %d\nExtended Attributes: %s\n", info.Mode, info.UID, info.GID, formatXattrs(info.Xattrs))
	return nil
}

func formatXattrs(x object.Xattrs) string { return "{ " + formatText(x.Value(), true) + " }" }

func listKeys(env *cli.Env, d gvariant.Dict) error {
	for _, e := range sortedEntries(d) {
		fmt.Fprintln(env.Stdout, e.Key)
	}
	return nil
}

func printKey(env *cli.Env, d gvariant.Dict, key, what string, o showOptions) error {
	v, ok := d.Get(key)
	if !ok {
		return cli.Fail("No such %s key '%s'", what, key)
	}
	v = unwrap(v)
	switch {
	case o.hex && v.Type() == "ay":
		fmt.Fprintf(env.Stdout, "%x\n", v.ByteSlice())
	case o.noSwap:
		fmt.Fprintln(env.Stdout, formatText(v, true))
	default:
		fmt.Fprintln(env.Stdout, formatText(gvariant.Byteswap(v), true))
	}
	return nil
}

// showFile prints a file, whatever it is, as a GVariant.
func showFile(env *cli.Env, o showOptions, path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	v, err := gvariant.Parse(o.variantType, data)
	if err != nil {
		return fmt.Errorf("reading %s: %w", path, err)
	}
	if !o.noSwap {
		v = gvariant.Byteswap(v)
	}
	fmt.Fprintln(env.Stdout, formatText(v, true))
	return nil
}

// printSizes sums up what ostree.sizes says about the objects of a commit.
func printSizes(env *cli.Env, r *repo.Repo, commit object.Commit) error {
	v, ok := commit.Metadata.Get("ostree.sizes")
	if !ok {
		return cli.Fail("No metadata key ostree.sizes in commit")
	}
	v = unwrap(v)
	if v.Type() != "aay" {
		return cli.Fail("The metadata key ostree.sizes is not a list of byte arrays")
	}
	var newArchived, archived, newUnpacked, unpacked uint64
	newObjects := 0
	for i := range v.Len() {
		n, a, u, err := sizeEntry(v.Index(i).ByteSlice())
		if err != nil {
			return err
		}
		archived, unpacked = archived+a, unpacked+u
		if has, err := r.HasObject(n); err != nil {
			return err
		} else if !has {
			newArchived, newUnpacked, newObjects = newArchived+a, newUnpacked+u, newObjects+1
		}
	}
	fmt.Fprintf(env.Stdout, "Compressed size (needed/total): %s/%s\nUnpacked size (needed/total): %s/%s\nNumber of objects (needed/total): %d/%d\n",
		cli.FormatSize(int64(newArchived)), cli.FormatSize(int64(archived)),
		cli.FormatSize(int64(newUnpacked)), cli.FormatSize(int64(unpacked)), newObjects, v.Len())
	return nil
}

// sizeEntry reads one entry of ostree.sizes: the checksum, two varints, and the kind of object.
func sizeEntry(b []byte) (n object.Name, archived, unpacked uint64, err error) {
	bad := errors.New("reading ostree.sizes: damaged entry")
	if len(b) < len(n.ID) {
		return n, 0, 0, bad
	}
	b = b[copy(n.ID[:], b):]
	for _, to := range []*uint64{&archived, &unpacked} {
		done := false
		for shift := 0; len(b) > 0 && shift < 64 && !done; shift += 7 {
			*to |= uint64(b[0]&0x7f) << shift
			done = b[0] < 0x80
			b = b[1:]
		}
		if !done {
			return n, 0, 0, bad
		}
	}
	n.Kind = object.KindFile
	if len(b) > 0 {
		n.Kind = object.Kind(b[0])
	}
	return n, archived, unpacked, nil
}
