// Package fat writes a FAT16 or FAT32 file system that holds a given set of
// files: the EFI system partition of a disk, the EFI boot image of an ISO.
//
// It writes once and in one order: the same options and files give the same
// bytes. It never reads, changes or grows a file system. Free clusters are
// not written; everything that a reader may look at is.
package fat

import (
	"encoding/binary"
	"fmt"
	"io"
	"time"
)

// Options describe the file system. Size is needed.
type Options struct {
	Size   int64     // bytes, a multiple of 512
	Label  string    // at most 11 characters of ASCII
	ID     uint32    // the volume's serial number: its "UUID" is XXXX-XXXX
	Time   time.Time // of every file; zero = 1980-01-01, where FAT's time begins
	Hidden uint32    // sectors before the partition, for BIOS boot code
}

// File is one file; its directories are made as needed.
type File struct {
	Path string // slash-separated, relative
	Data []byte
}

// UUID gives the ID in the form that blkid and fstab use.
func (o Options) UUID() string { return fmt.Sprintf("%04X-%04X", o.ID>>16, o.ID&0xffff) }

const sectorSize = 512

// fat32From is the size from which a volume gets FAT32: with clusters of one
// sector it has then safely more than the 65525 clusters that tell FAT32 from
// FAT16. Firmware must read both.
const fat32From = 36 << 20

// geometry is where everything lies, in sectors and clusters.
type geometry struct {
	fat32     bool
	sectors   uint32 // of the volume
	reserved  uint32
	perFAT    uint32 // sectors of one of the two FATs
	rootDir   uint32 // sectors of FAT16's fixed root directory
	perClus   uint32 // sectors a cluster
	clusters  uint32
	dataStart uint32
}

const rootEntries16 = 512

func plan(size int64) (geometry, error) {
	if size%sectorSize != 0 || size < 3<<20 || size > 1<<40 {
		return geometry{}, fmt.Errorf("planning a FAT of %d bytes: the size must be a multiple of 512 between 3 MiB and 1 TiB", size)
	}
	g := geometry{sectors: uint32(size / sectorSize)}
	g.fat32 = size >= fat32From
	entry := uint32(2)
	g.reserved, g.rootDir, g.perClus = 1, rootEntries16*32/sectorSize, 1
	limit := uint32(65524)
	if g.fat32 {
		entry, g.reserved, g.rootDir, limit = 4, 32, 0, 1<<28-16
		for m := int64(512) << 20; size > m && g.perClus < 64; m *= 2 {
			g.perClus *= 2
		}
	}
	for ; ; g.perClus *= 2 {
		free := g.sectors - g.reserved - g.rootDir
		// The FATs' size depends on the number of clusters and the other way
		// round; one sector too many in a FAT is legal, one too few is not.
		g.perFAT = (free/g.perClus+2)*entry/sectorSize + 1
		g.dataStart = g.reserved + 2*g.perFAT + g.rootDir
		g.clusters = (g.sectors - g.dataStart) / g.perClus
		if g.clusters <= limit {
			return g, nil
		}
	}
}

// Write writes a file system with the files to w, whose first byte is the
// first byte of the volume.
func Write(w io.WriterAt, o Options, files []File) error {
	g, err := plan(o.Size)
	if err != nil {
		return err
	}
	if len(o.Label) > 11 {
		return fmt.Errorf("writing a FAT: the label %q is longer than 11 characters", o.Label)
	}
	root, err := buildTree(files)
	if err != nil {
		return err
	}
	v := &volume{w: w, o: o, g: g, next: 2}
	v.table = append(v.table, 0x0ffffff8, 0x0fffffff)
	if err := v.layOut(root); err != nil {
		return err
	}
	for _, step := range []func() error{
		func() error { return v.writeDir(root) },
		v.writeFATs,
		v.writeBootSectors,
	} {
		if err := step(); err != nil {
			return fmt.Errorf("writing a FAT: %w", err)
		}
	}
	return nil
}

// volume is a file system while it is written.
type volume struct {
	w     io.WriterAt
	o     Options
	g     geometry
	next  uint32   // first free cluster
	table []uint32 // the FAT so far, as FAT32 entries
}

// allocate takes a chain of clusters for size bytes, in one piece.
func (v *volume) allocate(size int) (first uint32, err error) {
	if size == 0 {
		return 0, nil
	}
	bytes := int(v.g.perClus) * sectorSize
	n := uint32((size + bytes - 1) / bytes)
	if v.next+n > v.g.clusters+2 {
		return 0, fmt.Errorf("writing a FAT of %d bytes: the files do not fit", v.o.Size)
	}
	first = v.next
	for i := range n {
		link := v.next + i + 1
		if i == n-1 {
			link = 0x0fffffff
		}
		v.table = append(v.table, link)
	}
	v.next += n
	return first, nil
}

func (v *volume) offset(cluster uint32) int64 {
	return (int64(v.g.dataStart) + int64(cluster-2)*int64(v.g.perClus)) * sectorSize
}

// writeAt pads data with zeros to whole sectors of n bytes.
func (v *volume) writeAt(off int64, data []byte, n int) error {
	if rest := len(data) % n; rest != 0 {
		data = append(data[:len(data):len(data)], make([]byte, n-rest)...)
	}
	_, err := v.w.WriteAt(data, off)
	return err
}

func (v *volume) writeFATs() error {
	buf := make([]byte, int(v.g.perFAT)*sectorSize)
	for i, e := range v.table {
		if v.g.fat32 {
			binary.LittleEndian.PutUint32(buf[4*i:], e)
		} else {
			binary.LittleEndian.PutUint16(buf[2*i:], uint16(e))
		}
	}
	for i := range 2 {
		off := int64(v.g.reserved+uint32(i)*v.g.perFAT) * sectorSize
		if _, err := v.w.WriteAt(buf, off); err != nil {
			return err
		}
	}
	return nil
}

func (v *volume) writeBootSectors() error {
	le := binary.LittleEndian
	b := make([]byte, v.g.reserved*sectorSize)
	copy(b, "\xeb\x58\x90PHOTREE ")
	le.PutUint16(b[11:], sectorSize)
	b[13] = byte(v.g.perClus)
	le.PutUint16(b[14:], uint16(v.g.reserved))
	b[16] = 2
	if !v.g.fat32 {
		le.PutUint16(b[17:], rootEntries16)
		le.PutUint16(b[22:], uint16(v.g.perFAT))
	}
	if v.g.sectors < 1<<16 && !v.g.fat32 {
		le.PutUint16(b[19:], uint16(v.g.sectors))
	} else {
		le.PutUint32(b[32:], v.g.sectors)
	}
	b[21] = 0xf8
	le.PutUint16(b[24:], 63)
	le.PutUint16(b[26:], 255)
	le.PutUint32(b[28:], v.o.Hidden)
	ext := 36
	if v.g.fat32 {
		le.PutUint32(b[36:], v.g.perFAT)
		le.PutUint32(b[44:], 2) // root directory's cluster
		le.PutUint16(b[48:], 1) // FSInfo
		le.PutUint16(b[50:], 6) // copy of the boot sector
		ext = 64
	}
	b[ext], b[ext+2] = 0x80, 0x29
	le.PutUint32(b[ext+3:], v.o.ID)
	copy(b[ext+7:], v.label())
	copy(b[ext+18:], map[bool]string{true: "FAT32   ", false: "FAT16   "}[v.g.fat32])
	b[ext+26], b[ext+27] = 0xcd, 0x18 // int 18h: not a boot disk, try the next
	b[510], b[511] = 0x55, 0xaa
	if v.g.fat32 {
		info := b[sectorSize : 2*sectorSize]
		copy(info, "RRaA")
		copy(info[484:], "rrAa")
		le.PutUint32(info[488:], v.g.clusters+2-v.next)
		le.PutUint32(info[492:], v.next)
		info[510], info[511] = 0x55, 0xaa
		copy(b[6*sectorSize:], b[:2*sectorSize])
	}
	_, err := v.w.WriteAt(b, 0)
	return err
}

func (v *volume) label() string {
	if v.o.Label == "" {
		return "NO NAME    "
	}
	return fmt.Sprintf("%-11s", v.o.Label)
}
