// Package etcmerge carries a machine's changes of /etc from one deployment to
// the next.
//
// It compares three trees: the defaults that the old deployment came with
// (base), what they have become on this machine (local), and the defaults of the
// new deployment (new). What differs between base and local was changed by the
// machine's owner and wins; everything else follows the new defaults. A file whose
// content was changed is taken over whole, there is no merge of lines. Where only
// owner, mode or attributes were changed, the change is applied to the new file.
//
// Scan and Apply read and write; Plan is pure. Files that vanish while they are
// read are taken as absent, since a running system writes to /etc at any time.
// Sockets, fifos and devices are ignored. The trees base and local are never
// written to.
package etcmerge

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"golang.org/x/sys/unix"
)

// Dirs are the three directories. New is changed.
type Dirs struct {
	Base, Local, New string
}

// Summary says what a merge did.
type Summary struct {
	Modified, Removed, Added int
	// Conflicts are the paths, relative to /etc, where both the machine and the
	// new defaults changed something. The machine's version was kept.
	Conflicts []string
}

// Merge is Scan, Plan and Apply.
func Merge(ctx context.Context, d Dirs) (*Summary, error) {
	var t [3]Tree
	for i, dir := range []string{d.Base, d.Local, d.New} {
		var err error
		if t[i], err = Scan(ctx, dir); err != nil {
			return nil, err
		}
	}
	p := Plan(t[0], t[1], t[2])
	if len(p.Blocked) > 0 {
		return nil, &BlockedError{p.Blocked}
	}
	if err := Apply(ctx, p, d.Local, d.New); err != nil {
		return nil, err
	}
	return &p.Summary, nil
}

// BlockedError names the paths, relative to /etc, that are a directory on one side
// and something else on the other. Neither can be put into the other's place
// without losing what is in the directory, so that nothing is merged.
type BlockedError struct{ Paths []string }

func (e *BlockedError) Error() string {
	return fmt.Sprintf("Modified config file newly defaults to directory '%s', cannot merge (or a directory here to a file): move yours away and try again",
		strings.Join(e.Paths, "', '"))
}

// Node is one file, link or directory of a tree.
type Node struct {
	Type     uint32 // unix.S_IFREG, S_IFLNK or S_IFDIR
	Mode     uint32 // permission bits
	UID, GID uint32
	Content  [sha256.Size]byte // of files, and of the target of links
	Xattrs   map[string]string
}

func (n Node) sameContent(o Node) bool { return n.Type == o.Type && n.Content == o.Content }

func (n Node) sameMeta(o Node) bool {
	if n.Mode != o.Mode || n.UID != o.UID || n.GID != o.GID || len(n.Xattrs) != len(o.Xattrs) {
		return false
	}
	for k, v := range n.Xattrs {
		if w, ok := o.Xattrs[k]; !ok || v != w {
			return false
		}
	}
	return true
}

// Tree maps slash-separated relative paths to nodes; the root is not in it.
type Tree map[string]Node

// Scan reads a directory. One that does not exist is empty.
func Scan(ctx context.Context, dir string) (Tree, error) {
	t := Tree{}
	return t, t.scan(ctx, dir, "")
}

func (t Tree) scan(ctx context.Context, dir, rel string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	entries, err := os.ReadDir(filepath.Join(dir, rel))
	if gone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		p := filepath.Join(rel, e.Name())
		n, err := readNode(filepath.Join(dir, p))
		if gone(err) || errors.Is(err, errIgnored) {
			continue
		}
		if err != nil {
			return err
		}
		t[p] = n
		if n.Type == unix.S_IFDIR {
			if err := t.scan(ctx, dir, p); err != nil {
				return err
			}
		}
	}
	return nil
}

// gone reports whether a file vanished between being listed and being read, or
// turned into something else.
func gone(err error) bool {
	return errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP)
}

var errIgnored = errors.New("neither file, link nor directory")

func readNode(path string) (Node, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return Node{}, &os.PathError{Op: "lstat", Path: path, Err: err}
	}
	n := Node{Type: st.Mode & unix.S_IFMT, Mode: st.Mode & 0o7777, UID: st.Uid, GID: st.Gid}
	var err error
	switch n.Type {
	case unix.S_IFREG:
		n.Content, err = hashFile(path)
	case unix.S_IFLNK:
		var target string
		target, err = os.Readlink(path)
		n.Content, n.Mode = sha256.Sum256([]byte(target)), 0
	case unix.S_IFDIR:
	default:
		return n, errIgnored
	}
	if err != nil {
		return n, err
	}
	n.Xattrs, err = readXattrs(path)
	return n, err
}

func hashFile(path string) (sum [sha256.Size]byte, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return sum, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return sum, err
	}
	return [sha256.Size]byte(h.Sum(nil)), nil
}

// Op is one thing to do to the new tree.
type Op struct {
	// Kind says which.
	Kind OpKind
	// Path is relative to /etc.
	Path string
	// Local and Base are the nodes that the decision was made from.
	Local, Base Node
}

// OpKind is what an Op does.
type OpKind int

// The kinds, in the order in which Apply does them for one path.
const (
	// Remove removes what is at the path, with everything below it.
	Remove OpKind = iota
	// Replace copies the local file, link or directory (not what is in it).
	Replace
	// Adjust applies the local changes of owner, mode and attributes.
	Adjust
)

// Changes is the outcome of Plan: parents come before what is in them.
type Changes struct {
	Ops     []Op
	Summary Summary
	// Blocked are paths that cannot be merged; the plan must not be applied then.
	Blocked []string
}

// Plan compares the three trees.
func Plan(base, local, next Tree) Changes {
	var c Changes
	removed := ""
	for _, p := range paths(base, local) {
		b, inBase := base[p]
		l, inLocal := local[p]
		n, inNext := next[p]
		if below(p, removed) {
			continue
		}
		if b.Type == unix.S_IFDIR && l.Type != unix.S_IFDIR {
			removed = p // what was in the directory went with it
		}
		switch {
		case !inLocal:
			c.Summary.Removed++
			if inNext {
				c.Ops = append(c.Ops, Op{Kind: Remove, Path: p, Base: b})
				if !n.sameContent(b) {
					c.conflict(p)
				}
			}
		case !inBase:
			c.Summary.Added++
			c.add(p, l, b, n, inNext)
		case !l.sameContent(b):
			c.Summary.Modified++
			c.add(p, l, b, n, inNext)
		case !l.sameMeta(b):
			c.Summary.Modified++
			if !inNext || n.Type != l.Type {
				c.add(p, l, b, n, inNext)
				continue
			}
			c.Ops = append(c.Ops, Op{Kind: Adjust, Path: p, Local: l, Base: b})
		}
	}
	c.addParents(local, next)
	return c
}

// below reports whether p is in the directory dir; dir may be "" for none.
func below(p, dir string) bool { return dir != "" && strings.HasPrefix(p, dir+"/") }

// add takes the local node over.
func (c *Changes) add(p string, l, b, n Node, inNext bool) {
	if inNext && n.sameContent(l) && n.sameMeta(l) {
		return
	}
	if inNext && !n.sameContent(b) && !n.sameContent(l) {
		if (n.Type == unix.S_IFDIR) != (l.Type == unix.S_IFDIR) {
			c.Blocked = append(c.Blocked, p)
			return
		}
		c.conflict(p)
	}
	if inNext && n.Type != l.Type {
		c.Ops = append(c.Ops, Op{Kind: Remove, Path: p})
	}
	c.Ops = append(c.Ops, Op{Kind: Replace, Path: p, Local: l, Base: b})
}

func (c *Changes) conflict(p string) { c.Summary.Conflicts = append(c.Summary.Conflicts, p) }

// addParents makes directories that the new defaults do not have any more but
// that hold something of the machine's.
func (c *Changes) addParents(local, next Tree) {
	planned := map[string]bool{}
	for _, op := range c.Ops {
		if op.Kind == Replace {
			planned[op.Path] = true
		}
	}
	var parents []Op
	for _, op := range c.Ops {
		if op.Kind != Replace {
			continue
		}
		for p := filepath.Dir(op.Path); p != "."; p = filepath.Dir(p) {
			if n, ok := next[p]; planned[p] || ok && n.Type == unix.S_IFDIR {
				continue
			} else if ok {
				if !slices.Contains(c.Blocked, p) {
					c.Blocked = append(c.Blocked, p)
				}
				continue
			}
			planned[p] = true
			parents = append(parents, Op{Kind: Replace, Path: p, Local: local[p]})
		}
	}
	c.Ops = append(c.Ops, parents...)
	sort.SliceStable(c.Ops, func(i, j int) bool {
		if c.Ops[i].Path != c.Ops[j].Path {
			return less(c.Ops[i].Path, c.Ops[j].Path)
		}
		return c.Ops[i].Kind < c.Ops[j].Kind
	})
	sort.Strings(c.Summary.Conflicts)
}

// paths returns all paths of the trees, each directory before what is in it.
func paths(trees ...Tree) []string {
	seen := map[string]bool{}
	var out []string
	for _, t := range trees {
		for p := range t {
			if !seen[p] {
				seen[p] = true
				out = append(out, p)
			}
		}
	}
	sort.Slice(out, func(i, j int) bool { return less(out[i], out[j]) })
	return out
}

// less orders paths so that all below a directory stand right behind it.
func less(a, b string) bool {
	return strings.ReplaceAll(a, "/", "\x00") < strings.ReplaceAll(b, "/", "\x00")
}

// Difference is one path that differs between defaults and /etc.
type Difference struct {
	Op   byte // 'M' modified, 'D' removed, 'A' added
	Path string
}

// Compare lists what the machine changed: all modified paths, then all removed,
// then all added ones. Of a removed directory only the directory is listed.
func Compare(base, local Tree) []Difference {
	var byOp [3][]Difference
	removed := ""
	for _, p := range paths(base, local) {
		b, inBase := base[p]
		l, inLocal := local[p]
		if below(p, removed) {
			continue
		}
		if b.Type == unix.S_IFDIR && l.Type != unix.S_IFDIR {
			removed = p
		}
		switch {
		case !inLocal:
			byOp[1] = append(byOp[1], Difference{'D', p})
		case !inBase:
			byOp[2] = append(byOp[2], Difference{'A', p})
		case !l.sameContent(b) || !l.sameMeta(b):
			byOp[0] = append(byOp[0], Difference{'M', p})
		}
	}
	return slices.Concat(byOp[0], byOp[1], byOp[2])
}
