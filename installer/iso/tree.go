package iso

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
)

// node is a file or a directory of the image.
type node struct {
	name     string // the Rock Ridge name
	id       string // the ISO 9660 identifier; of the root "\x00"
	file     File
	dir      bool
	parent   *node // of the root, itself
	children []*node
	number   uint16 // of a directory in the path table
	at       uint32 // first sector
	size     int64
}

func buildTree(files []File) (*node, error) {
	root := &node{dir: true, id: "\x00"}
	root.parent = root
	for _, f := range files {
		at := root
		parts := strings.Split(f.Path, "/")
		for i, name := range parts {
			if name == "" || name == "." || name == ".." || len(name) > 255 {
				return nil, fmt.Errorf("%q is not a path for a file of the image", f.Path)
			}
			last := i == len(parts)-1
			j, found := slices.BinarySearchFunc(at.children, name, func(c *node, name string) int { return strings.Compare(c.name, name) })
			if !found {
				child := &node{name: name, parent: at, dir: !last || f.Mode.IsDir()}
				at.children = slices.Insert(at.children, j, child)
			} else if last && !f.Mode.IsDir() || !at.children[j].dir {
				return nil, fmt.Errorf("%q is there twice", f.Path)
			}
			at = at.children[j]
		}
		if f.Mode.IsDir() {
			continue
		}
		at.file, at.size = f, int64(len(f.Data))
		if f.Source != "" {
			st, err := os.Stat(f.Source)
			if err != nil {
				return nil, err
			}
			at.size = st.Size()
		}
		if at.size >= 1<<32 {
			return nil, fmt.Errorf("%q has %d bytes: a file must be smaller than 4 GiB", f.Path, at.size)
		}
	}
	root.identify()
	return root, nil
}

// identify gives every child an ISO 9660 identifier that is unique in its
// directory, and sorts by it as the standard wants.
func (n *node) identify() {
	taken := map[string]bool{}
	for _, c := range n.children {
		base, ext := c.name, ""
		if dot := strings.LastIndexByte(base, '.'); dot > 0 && !c.dir {
			base, ext = base[:dot], base[dot+1:]
		}
		base, ext = identifierChars(base, 8), identifierChars(ext, 3)
		for i := 0; ; i++ {
			c.id = base
			if i > 0 {
				tail := fmt.Sprintf("%X", i)
				c.id = base[:min(len(base), 8-len(tail))] + tail
			}
			if !c.dir {
				c.id += "." + ext
			}
			if !taken[c.id] {
				break
			}
		}
		taken[c.id] = true
		if !c.dir {
			c.id += ";1"
		}
	}
	slices.SortFunc(n.children, func(a, b *node) int { return strings.Compare(a.id, b.id) })
	for _, c := range n.children {
		if c.dir {
			c.identify()
		}
	}
}

func identifierChars(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' {
			return r
		}
		return '_'
	}, strings.ToUpper(s))
	return s[:min(len(s), limit)]
}

func (n *node) mode() uint32 {
	switch {
	case n.dir:
		return 0o040555
	case n.file.Mode != 0:
		return 0o100000 | uint32(n.file.Mode&fs.ModePerm)
	}
	return 0o100444
}

func (n *node) copyTo(w io.Writer) error {
	if n.file.Source == "" {
		_, err := w.Write(n.file.Data)
		return err
	}
	f, err := os.Open(n.file.Source)
	if err != nil {
		return err
	}
	defer f.Close()
	copied, err := io.Copy(w, io.LimitReader(f, n.size+1))
	if err == nil && copied != n.size {
		err = fmt.Errorf("%s changed while the image was written", n.file.Source)
	}
	return err
}
