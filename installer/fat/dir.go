package fat

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf16"
)

// node is a file or a directory of the tree to write.
type node struct {
	name     string
	data     []byte
	dir      bool
	parent   *node
	children []*node // sorted by name
	cluster  uint32
	size     int // of a directory's entries, or of the file
	short    [11]byte
	caseBits byte // NT's "base is lower case", "extension is lower case"
	long     bool // needs long-name entries
}

const (
	attrLabel     = 0x08
	attrDirectory = 0x10
	attrArchive   = 0x20
	attrLong      = 0x0f
)

func buildTree(files []File) (*node, error) {
	root := &node{dir: true}
	for _, f := range files {
		at := root
		parts := strings.Split(f.Path, "/")
		for i, name := range parts {
			if name == "" || name == "." || name == ".." || len(utf16.Encode([]rune(name))) > 255 || strings.ContainsAny(name, "\\:*?\"<>|") {
				return nil, fmt.Errorf("writing a FAT: %q is not a path that FAT can hold", f.Path)
			}
			last := i == len(parts)-1
			child := at.child(name)
			switch {
			case child == nil:
				child = &node{name: name, parent: at, dir: !last}
				at.children = append(at.children, child)
			case last || !child.dir:
				return nil, fmt.Errorf("writing a FAT: %q is there twice", f.Path)
			}
			if last {
				child.data, child.size = f.Data, len(f.Data)
			}
			at = child
		}
	}
	root.finish()
	return root, nil
}

// child finds a name as FAT compares names: without regard to case.
func (n *node) child(name string) *node {
	for _, c := range n.children {
		if strings.EqualFold(c.name, name) {
			return c
		}
	}
	return nil
}

// finish sorts the directory, gives every child its short name and counts
// the bytes of the directory's entries.
func (n *node) finish() {
	slices.SortFunc(n.children, func(a, b *node) int { return strings.Compare(a.name, b.name) })
	taken := map[[11]byte]bool{}
	for _, c := range n.children {
		if short, bits, ok := exactShortName(c.name); ok {
			c.short, c.caseBits = short, bits
			taken[short] = true
		} else {
			c.long = true
		}
	}
	entries := 1 // the root's volume label, and
	if n.parent != nil {
		entries = 2 // a directory's "." and ".."
	}
	for _, c := range n.children {
		entries++
		if c.long {
			for i := 1; ; i++ {
				c.short = alias(c.name, i)
				if !taken[c.short] {
					break
				}
			}
			taken[c.short] = true
			entries += longEntries(c.name)
		}
		if c.dir {
			c.finish()
		}
	}
	n.size = 32 * (entries + 1) // and the end mark
}

func longEntries(name string) int { return (len(utf16.Encode([]rune(name))) + 12) / 13 }

const shortChars = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'()-@^_`{}~"

// exactShortName gives the 8.3 form of a name that needs no long name: one
// that is upper or lower case throughout in each of its two parts.
func exactShortName(name string) (short [11]byte, caseBits byte, ok bool) {
	base, ext, dotted := strings.Cut(name, ".")
	if base == "" || len(base) > 8 || len(ext) > 3 || dotted && ext == "" {
		return short, 0, false
	}
	for i, part := range []string{base, ext} {
		upper := strings.ToUpper(part)
		if strings.Trim(upper, shortChars) != "" {
			return short, 0, false
		}
		if part != upper {
			if part != strings.ToLower(part) {
				return short, 0, false
			}
			caseBits |= 0x08 << i
		}
	}
	copy(short[:], fmt.Sprintf("%-8s%-3s", strings.ToUpper(base), strings.ToUpper(ext)))
	return short, caseBits, true
}

// alias makes the i-th 8.3 alias of a long name.
func alias(name string, i int) (short [11]byte) {
	clean := func(s string) string {
		return strings.Map(func(r rune) rune {
			if strings.ContainsRune(shortChars, r) {
				return r
			}
			return '_'
		}, strings.ToUpper(s))
	}
	base, ext := strings.TrimLeft(name, "."), ""
	if dot := strings.LastIndexByte(base, '.'); dot > 0 {
		base, ext = base[:dot], base[dot+1:]
	}
	tail := fmt.Sprintf("~%d", i)
	base, ext = clean(base), clean(ext)
	base = base[:min(len(base), 8-len(tail))] + tail
	copy(short[:], fmt.Sprintf("%-8s%-3s", base, ext[:min(len(ext), 3)]))
	return short
}

// layOut gives every directory and file its clusters, depth first.
func (v *volume) layOut(n *node) (err error) {
	switch {
	case n.parent == nil && !v.g.fat32:
		if n.size > rootEntries16*32 {
			return fmt.Errorf("writing a FAT: more than %d entries in the root directory", rootEntries16)
		}
	default:
		if n.cluster, err = v.allocate(n.size); err != nil {
			return err
		}
	}
	for _, c := range n.children {
		if err := v.layOut(c); err != nil {
			return err
		}
	}
	return nil
}

func (v *volume) writeDir(n *node) error {
	var buf []byte
	if n.parent == nil {
		if v.o.Label != "" {
			buf = append(buf, v.entry([11]byte([]byte(v.label())), 0, attrLabel, 0, 0)...)
		}
	} else {
		up := n.parent.cluster
		if n.parent.parent == nil {
			up = 0 // also on FAT32, where the root has a cluster
		}
		buf = append(buf, v.entry([11]byte([]byte(".          ")), 0, attrDirectory, n.cluster, 0)...)
		buf = append(buf, v.entry([11]byte([]byte("..         ")), 0, attrDirectory, up, 0)...)
	}
	for _, c := range n.children {
		if c.long {
			buf = append(buf, longName(c.name, c.short)...)
		}
		attr, size := byte(attrArchive), c.size
		if c.dir {
			attr, size = attrDirectory, 0
		}
		buf = append(buf, v.entry(c.short, c.caseBits, attr, c.cluster, size)...)
	}
	buf = append(buf, make([]byte, 32)...)
	off, unit := v.offset(n.cluster), int(v.g.perClus)*sectorSize
	if n.parent == nil && !v.g.fat32 {
		off, unit = int64(v.g.reserved+2*v.g.perFAT)*sectorSize, int(v.g.rootDir)*sectorSize
	}
	if err := v.writeAt(off, buf, unit); err != nil {
		return err
	}
	for _, c := range n.children {
		switch {
		case c.dir:
			if err := v.writeDir(c); err != nil {
				return err
			}
		case c.size > 0:
			if err := v.writeAt(v.offset(c.cluster), c.data, int(v.g.perClus)*sectorSize); err != nil {
				return err
			}
		}
	}
	return nil
}

func (v *volume) entry(short [11]byte, caseBits, attr byte, cluster uint32, size int) []byte {
	le := binary.LittleEndian
	e := make([]byte, 32)
	copy(e, short[:])
	e[11], e[12] = attr, caseBits
	day, clock := dosTime(v.o.Time)
	le.PutUint16(e[14:], clock)
	le.PutUint16(e[16:], day)
	le.PutUint16(e[18:], day)
	le.PutUint16(e[20:], uint16(cluster>>16))
	le.PutUint16(e[22:], clock)
	le.PutUint16(e[24:], day)
	le.PutUint16(e[26:], uint16(cluster))
	le.PutUint32(e[28:], uint32(size))
	return e
}

func dosTime(t time.Time) (day, clock uint16) {
	t = t.UTC()
	if t.Year() < 1980 {
		return 1<<5 | 1, 0
	}
	return uint16((t.Year()-1980)<<9 | int(t.Month())<<5 | t.Day()),
		uint16(t.Hour()<<11 | t.Minute()<<5 | t.Second()/2)
}

// longName gives the entries that stand before the short one, last part first.
func longName(name string, short [11]byte) []byte {
	var sum byte
	for _, c := range short {
		sum = sum>>1 | sum<<7
		sum += c
	}
	units := utf16.Encode([]rune(name))
	n := longEntries(name)
	if len(units) < 13*n {
		units = append(units, 0)
	}
	for len(units) < 13*n {
		units = append(units, 0xffff)
	}
	var out []byte
	for i := n; i > 0; i-- {
		e := make([]byte, 32)
		e[0], e[11], e[13] = byte(i), attrLong, sum
		if i == n {
			e[0] |= 0x40
		}
		for j, at := range []int{1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30} {
			binary.LittleEndian.PutUint16(e[at:], units[13*(i-1)+j])
		}
		out = append(out, e...)
	}
	return out
}
