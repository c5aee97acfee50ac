package ostree

import (
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"syscall"

	"photree/cli"
	"photree/repo"
	"photree/repo/object"
	"photree/repo/tree"

	"github.com/spf13/cobra"
)

func init() {
	register(newLs)
	register(newCat)
}

type lsOptions struct{ dirOnly, recursive, checksum, xattrs, nul, json bool }

func newLs(env *cli.Env) *cobra.Command {
	var o lsOptions
	c := &cobra.Command{Use: "ls COMMIT [PATH...]", Short: "List file paths", Args: need(1, -1, "An COMMIT argument is required")}
	at := addRepo(c)
	f := c.Flags()
	f.BoolVarP(&o.dirOnly, "dironly", "d", false, "Do not recurse into directory arguments")
	f.BoolVarP(&o.recursive, "recursive", "R", false, "Print directories recursively")
	f.BoolVarP(&o.checksum, "checksum", "C", false, "Print checksum")
	f.BoolVarP(&o.xattrs, "xattrs", "X", false, "Print extended attributes")
	f.BoolVar(&o.nul, "nul-filenames-only", false, "Print only filenames, NUL separated")
	cli.AddJSON(c, &o.json)
	c.RunE = withRepo(env, at, func(r *repo.Repo, args []string) error { return list(env, r, o, args[0], args[1:]) })
	return c
}

// listing prints entries, or gathers them for JSON.
type listing struct {
	r     *repo.Repo
	w     io.Writer
	o     lsOptions
	lines []lsLine
	metas map[object.ID]object.DirMeta // most directories share one
}

// lsLine is one name in the JSON.
type lsLine struct {
	Path     string    `json:"path"`
	Type     string    `json:"type"`
	Mode     string    `json:"mode"`
	UID      uint32    `json:"uid"`
	GID      uint32    `json:"gid"`
	Size     int64     `json:"size"`
	Target   string    `json:"target,omitempty"`
	Checksum object.ID `json:"checksum"`
	Meta     string    `json:"metaChecksum,omitempty"`
}

func list(env *cli.Env, r *repo.Repo, o lsOptions, rev string, paths []string) error {
	id, err := r.ResolveRev(rev)
	if err != nil {
		return err
	}
	commit, err := r.LoadCommit(id)
	if err != nil {
		return err
	}
	if len(paths) == 0 {
		paths = []string{"/"}
	}
	l := &listing{r: r, w: env.Stdout, o: o, lines: []lsLine{}, metas: map[object.ID]object.DirMeta{}}
	for _, p := range paths {
		entry, err := tree.Lookup(r, commit.Root, commit.RootMeta, path.Join("/", p))
		if err != nil {
			return lookupError(p, err)
		}
		if err := l.show(entry); err != nil {
			return err
		}
	}
	if o.json {
		return cli.PrintJSON(env.Stdout, l.lines)
	}
	return nil
}

func lookupError(p string, err error) error {
	if errors.Is(err, syscall.ENOTDIR) {
		return cli.Fail("Inspecting path '%s': Not a directory", p)
	}
	if errors.Is(err, repo.ErrNotFound) {
		return cli.Fail("Inspecting path '%s': No such file or directory: %s", p, p)
	}
	return err
}

// show prints a name and, for a directory, what is in it: one level, or all with -R.
func (l *listing) show(top tree.Entry) error {
	if !top.Dir || l.o.dirOnly {
		return l.print(top)
	}
	return tree.Walk(l.r, top.ID, top.Meta, func(e tree.Entry) error {
		depth := strings.Count(strings.TrimSuffix(e.Path, "/"), "/")
		e.Path = path.Join(top.Path, e.Path)
		if err := l.print(e); err != nil {
			return err
		}
		if e.Dir && depth > 0 && !l.o.recursive {
			return tree.ErrSkipDir
		}
		return nil
	})
}

func (l *listing) print(e tree.Entry) error {
	if l.o.nul {
		_, err := fmt.Fprintf(l.w, "%s\x00", e.Path)
		return err
	}
	line := lsLine{Path: e.Path, Type: "directory", Checksum: e.ID}
	var mode uint32
	var xattrs object.Xattrs
	if e.Dir {
		meta, err := l.meta(e.Meta)
		if err != nil {
			return err
		}
		line.UID, line.GID, mode, xattrs = meta.UID, meta.GID, meta.Mode, meta.Xattrs
		line.Meta = e.Meta.String()
	} else {
		info, size, err := l.r.LoadFileInfo(e.ID)
		if err != nil {
			return err
		}
		line.UID, line.GID, mode, xattrs = info.UID, info.GID, info.Mode, info.Xattrs
		line.Size, line.Target, line.Type = size, info.Target, "file"
		if info.IsSymlink() {
			line.Type, line.Size = "symlink", 0
		}
	}
	line.Mode = fmt.Sprintf("%05o", mode&0o7777)
	if l.o.json {
		l.lines = append(l.lines, line)
		return nil
	}
	_, err := io.WriteString(l.w, l.text(line, xattrs))
	return err
}

func (l *listing) meta(id object.ID) (object.DirMeta, error) {
	if m, ok := l.metas[id]; ok {
		return m, nil
	}
	m, err := l.r.LoadDirMeta(id)
	if err == nil {
		l.metas[id] = m
	}
	return m, err
}

// text is the line as ostree prints it: `-00644 0 0      3 /usr/bin/hi`.
func (l *listing) text(line lsLine, xattrs object.Xattrs) string {
	kind := map[string]string{"directory": "d", "symlink": "l", "file": "-"}[line.Type]
	var b strings.Builder
	fmt.Fprintf(&b, "%s%s %d %d %6d ", kind, line.Mode, line.UID, line.GID, line.Size)
	if l.o.checksum {
		fmt.Fprintf(&b, "%s ", line.Checksum)
		if line.Meta != "" {
			fmt.Fprintf(&b, "%s ", line.Meta)
		}
	}
	if l.o.xattrs {
		fmt.Fprintf(&b, "%s ", formatXattrs(xattrs))
	}
	b.WriteString(line.Path)
	if line.Target != "" {
		b.WriteString(" -> " + line.Target)
	}
	b.WriteByte('\n')
	return b.String()
}

func newCat(env *cli.Env) *cobra.Command {
	c := &cobra.Command{Use: "cat COMMIT PATH...", Short: "Concatenate contents of files",
		Args: need(2, -1, "A COMMIT and at least one PATH argument are required")}
	at := addRepo(c)
	c.RunE = withRepo(env, at, func(r *repo.Repo, args []string) error {
		id, err := r.ResolveRev(args[0])
		if err != nil {
			return err
		}
		for _, p := range args[1:] {
			if err := cat(env.Stdout, r, id, p); err != nil {
				return err
			}
		}
		return nil
	})
	return c
}

// cat streams one file; symbolic links are followed within the tree.
func cat(w io.Writer, r *repo.Repo, id object.ID, p string) error {
	e, err := tree.LookupFollow(r, id, p)
	if err != nil {
		return lookupError(p, err)
	}
	if e.Dir {
		return cli.Fail("Can't open directory %s", p)
	}
	_, _, content, err := r.OpenFile(e.ID)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, content)
	return errors.Join(err, content.Close())
}
