package main

import (
	"errors"
	"fmt"
	"strings"
)

// grubFS reads an ext4 file system as GRUB's ext2 module does: from the blocks in their places, without the journal,
// without checksums, directories from front to back. A test holds it against grub-fstest.
type grubFS struct {
	disk      backing
	block     int64
	inodeSize int64
	perGroup  uint32
	descSize  int64
	firstData int64
}

var errNotThere = errors.New("not found")

func openGrubFS(disk backing) (*grubFS, error) {
	sb := make([]byte, 1024)
	disk.ReadAt(sb, 1024)
	if le.Uint16(sb[56:]) != 0xef53 {
		return nil, errors.New("GRUB finds no ext4 file system")
	}
	g := &grubFS{disk: disk, block: 1024 << le.Uint32(sb[24:]), inodeSize: int64(le.Uint16(sb[88:])),
		perGroup: le.Uint32(sb[40:]), firstData: int64(le.Uint32(sb[20:])), descSize: 32}
	incompat := le.Uint32(sb[96:])
	const extents, filetype, flexBG, metaBG, bits64, recover, seed = 0x40, 2, 0x200, 0x10, 0x80, 4, 0x2000
	if left := incompat &^ (extents | filetype | flexBG | bits64 | recover | seed); left != 0 {
		return nil, fmt.Errorf("the file system has features %#x that are not known here", left)
	}
	if incompat&bits64 != 0 {
		g.descSize = int64(le.Uint16(sb[254:]))
	}
	if g.perGroup == 0 || g.inodeSize < 128 || g.block > 64<<10 {
		return nil, errors.New("the super block is damaged")
	}
	return g, nil
}

// inode is the part of an inode that a reader needs.
type inode struct {
	mode  uint16
	size  int64
	flags uint32
	block [60]byte
}

func (g *grubFS) inode(n uint32) (inode, error) {
	var in inode
	if n == 0 {
		return in, errors.New("inode 0")
	}
	group := int64((n - 1) / g.perGroup)
	desc := make([]byte, g.descSize)
	g.disk.ReadAt(desc, (g.firstData+1)*g.block+group*g.descSize)
	table := int64(le.Uint32(desc[8:]))
	if g.descSize >= 64 {
		table |= int64(le.Uint32(desc[0x28:])) << 32
	}
	raw := make([]byte, 128)
	at := table*g.block + int64((n-1)%g.perGroup)*g.inodeSize
	if at+128 > g.disk.Size() {
		return in, fmt.Errorf("inode %d is out of the disk", n)
	}
	g.disk.ReadAt(raw, at)
	in.mode, in.flags = le.Uint16(raw), le.Uint32(raw[32:])
	in.size = int64(le.Uint32(raw[4:])) | int64(le.Uint32(raw[108:]))<<32
	copy(in.block[:], raw[40:100])
	return in, nil
}

const maxGrubFile = 64 << 20

// content reads the data of an inode.
func (g *grubFS) content(in inode) ([]byte, error) {
	const extentsFlag = 0x80000
	if in.flags&extentsFlag == 0 {
		return nil, errors.New("a file without extents")
	}
	if in.size < 0 || in.size > maxGrubFile {
		return nil, fmt.Errorf("a file of %d bytes", in.size)
	}
	out := make([]byte, (in.size+g.block-1)/g.block*g.block)
	return out[:in.size], g.extents(in.block[:], out, 0)
}

func (g *grubFS) extents(node, out []byte, level int) error {
	if len(out) == 0 {
		return nil
	}
	if le.Uint16(node) != 0xf30a || level > 5 {
		return errors.New("a damaged tree of extents")
	}
	count, depth := int(le.Uint16(node[2:])), le.Uint16(node[6:])
	if 12+12*count > len(node) {
		return errors.New("too many extents")
	}
	for i := range count {
		e := node[12+12*i:]
		if depth > 0 {
			child := make([]byte, g.block)
			at := (int64(le.Uint32(e[4:])) | int64(le.Uint16(e[8:]))<<32) * g.block
			if at+g.block > g.disk.Size() {
				return errors.New("an extent out of the disk")
			}
			g.disk.ReadAt(child, at)
			if err := g.extents(child, out, level+1); err != nil {
				return err
			}
			continue
		}
		to := int64(le.Uint32(e)) * g.block
		from := (int64(le.Uint32(e[8:])) | int64(le.Uint16(e[6:]))<<32) * g.block
		size := int64(le.Uint16(e[4:])) * g.block
		if to >= int64(len(out)) {
			continue
		}
		size = min(size, int64(len(out))-to)
		if from+size > g.disk.Size() {
			return errors.New("an extent out of the disk")
		}
		g.disk.ReadAt(out[to:to+size], from)
	}
	return nil
}

// child finds a name in a directory.
func (g *grubFS) child(dir inode, name string) (uint32, error) {
	if dir.mode&0xf000 != 0x4000 {
		return 0, fmt.Errorf("looking for %q: not a directory", name)
	}
	data, err := g.content(dir)
	if err != nil {
		return 0, err
	}
	for at := 0; at+8 <= len(data); {
		n, length, nameLen := le.Uint32(data[at:]), int(le.Uint16(data[at+4:])), int(data[at+6])
		if length == 0 {
			break
		}
		if n != 0 && nameLen > 0 && at+8+nameLen <= len(data) && string(data[at+8:at+8+nameLen]) == name {
			return n, nil
		}
		at += length
	}
	return 0, fmt.Errorf("%q: %w", name, errNotThere)
}

// ReadFile reads the file at path, which begins with a slash.
func (g *grubFS) ReadFile(path string) ([]byte, error) {
	in, err := g.walk(path, 8)
	if err != nil {
		return nil, fmt.Errorf("GRUB reading %s: %w", path, err)
	}
	if in.mode&0xf000 != 0x8000 {
		return nil, fmt.Errorf("GRUB reading %s: not a regular file", path)
	}
	data, err := g.content(in)
	if err != nil {
		return nil, fmt.Errorf("GRUB reading %s: %w", path, err)
	}
	return data, nil
}

const rootInode = 2

func (g *grubFS) walk(path string, links int) (inode, error) {
	dir, err := g.inode(rootInode)
	if err != nil {
		return dir, err
	}
	parts := strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
	for i, name := range parts {
		n, err := g.child(dir, name)
		if err != nil {
			return dir, err
		}
		in, err := g.inode(n)
		if err != nil {
			return dir, err
		}
		if in.mode&0xf000 == 0xa000 {
			if links == 0 || in.size >= 60 {
				return dir, errors.New("too many or too long links")
			}
			target := string(in.block[:in.size])
			if !strings.HasPrefix(target, "/") {
				target = "/" + strings.Join(parts[:i], "/") + "/" + target
			}
			return g.walk(target+"/"+strings.Join(parts[i+1:], "/"), links-1)
		}
		dir = in
	}
	return dir, nil
}
