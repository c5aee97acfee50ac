// Package iso writes a hybrid ISO 9660 image: Rock Ridge names, El Torito
// boot entries for BIOS and UEFI, and a GPT with a BIOS boot sector, so that
// the same image boots from a CD and, copied as it is, from a disk.
//
// It writes once and in one order: the same options and files give the same
// bytes. Files are read from where they are while the image is written.
// Directories may be deeper than the eight levels of ISO 9660 (nothing is
// relocated); a file must be smaller than 4 GiB.
package iso

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/diskfs/go-diskfs/partition/gpt"
)

// Options describe the image. The zero value makes an image that does not
// boot, named "CDROM".
type Options struct {
	VolumeID string    // at most 32 of A-Z, 0-9 and _
	Time     time.Time // of the volume and every file; it is the volume's UUID
	Files    []File

	BIOS []byte // GRUB's i386-pc-eltorito image: cdboot.img and core.img
	MBR  []byte // GRUB's boot_hybrid.img, which loads BIOS from a disk
	EFI  []byte // a FAT image with EFI/BOOT/BOOTX64.EFI
}

// File is one file of the image; its directories are made as needed. With
// fs.ModeDir it is a directory, which may be empty.
type File struct {
	Path   string // slash-separated, relative
	Data   []byte
	Source string      // read the file from here instead of Data
	Mode   fs.FileMode // permissions; zero = 0444
}

// UUID gives the identifier that blkid, udev and GRUB's search show for a
// volume made at t.
func UUID(t time.Time) string {
	return t.UTC().Format("2006-01-02-15-04-05-") + fmt.Sprintf("%02d", t.Nanosecond()/1e7)
}

// Dir lists what is below dir for Options.Files, with its path under prefix.
func Dir(dir, prefix string) ([]File, error) {
	var files []File
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil || rel == "." {
			return err
		}
		name := prefix + "/" + filepath.ToSlash(rel)
		switch {
		case d.IsDir():
			files = append(files, File{Path: name, Mode: fs.ModeDir})
		case d.Type().IsRegular():
			files = append(files, File{Path: name, Source: path})
		default:
			return fmt.Errorf("%q is not a regular file", path)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing %s: %w", dir, err)
	}
	return files, nil
}

// The fixed sectors at the front. Sectors 0 to 15 are the system area: the
// MBR and the GPT of the disk view.
const (
	sector        = 2048
	descriptorAt  = 16
	bootRecordAt  = 17
	terminatorAt  = 18
	pathTableAt   = 19
	backupGPTSize = 33 * 512
)

// Write writes the image to f, which must be empty, and gives its size.
func Write(f *os.File, o Options) (int64, error) {
	v, err := layOut(o)
	if err != nil {
		return 0, fmt.Errorf("writing an ISO: %w", err)
	}
	size := int64(v.sectors) * sector
	steps := []func() error{
		func() error { return f.Truncate(size) },
		func() error { return v.writeHead(f) },
		func() error { return v.writeFiles(f) },
		func() error { return v.writeDiskView(f, size) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return 0, fmt.Errorf("writing an ISO: %w", err)
		}
	}
	return size, nil
}

// volume is an image whose every sector is decided.
type volume struct {
	o         Options
	root      *node
	dirs      []*node // breadth first, as the path table wants them
	tableSize uint32
	tableL    uint32
	tableM    uint32
	more      []byte // continuation areas of Rock Ridge
	moreAt    uint32
	catalogAt uint32
	biosAt    uint32
	efiAt     uint32
	sectors   uint32
}

func sectorsFor(n int64) uint32 { return uint32((n + sector - 1) / sector) }

func layOut(o Options) (*volume, error) {
	if o.VolumeID == "" {
		o.VolumeID = "CDROM"
	}
	if len(o.VolumeID) > 32 || strings.Trim(o.VolumeID, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") != "" {
		return nil, fmt.Errorf("the volume id %q must be at most 32 of A-Z, 0-9 and _", o.VolumeID)
	}
	if len(o.BIOS) != 0 && len(o.BIOS) < 2560 || len(o.MBR) != 0 && len(o.MBR) < 440 {
		return nil, fmt.Errorf("the BIOS boot images are too short to be GRUB's")
	}
	root, err := buildTree(o.Files)
	if err != nil {
		return nil, err
	}
	v := &volume{o: o, root: root}
	v.dirs = []*node{root}
	for i := 0; i < len(v.dirs); i++ {
		for _, c := range v.dirs[i].children {
			if c.dir {
				v.dirs = append(v.dirs, c)
			}
		}
	}
	if len(v.dirs) > 65535 {
		return nil, fmt.Errorf("%d directories are more than ISO 9660 can number", len(v.dirs))
	}
	for i, d := range v.dirs {
		d.number = uint16(i + 1)
		v.tableSize += uint32(8 + len(d.id) + len(d.id)%2)
	}

	next := uint32(pathTableAt)
	take := func(bytes int64) uint32 {
		at := next
		next += sectorsFor(bytes)
		return at
	}
	v.tableL, v.tableM = take(int64(v.tableSize)), take(int64(v.tableSize))
	for _, d := range v.dirs {
		d.size = v.dirSize(d)
		d.at = take(d.size)
	}
	// The continuation areas are filled while directories are measured, and
	// filled again, to the same bytes, while they are written.
	v.moreAt = take(int64(len(v.more)))
	v.catalogAt, v.biosAt, v.efiAt = take(sector), take(int64(len(o.BIOS))), take(int64(len(o.EFI)))
	for _, d := range v.dirs {
		for _, c := range d.children {
			if !c.dir {
				c.at = take(c.size)
			}
		}
	}
	v.sectors = next + sectorsFor(backupGPTSize)
	return v, nil
}

// writeHead writes all that is not a file's content.
func (v *volume) writeHead(w io.WriterAt) error {
	put := func(at uint32, data []byte) error {
		_, err := w.WriteAt(data, int64(at)*sector)
		return err
	}
	terminator := append([]byte{255}, "CD001\x01"...)
	bios := slices.Clone(v.o.BIOS)
	v.patchBIOS(bios)
	v.more = nil
	var dirs []byte
	for _, d := range v.dirs {
		dirs = append(dirs, v.dirBytes(d)...)
	}
	for _, part := range []struct {
		at   uint32
		data []byte
	}{
		{descriptorAt, v.descriptor()},
		{bootRecordAt, v.bootRecord()},
		{terminatorAt, terminator},
		{v.tableL, v.pathTable(binary.LittleEndian)},
		{v.tableM, v.pathTable(binary.BigEndian)},
		{v.root.at, dirs},
		{v.moreAt, v.more},
		{v.catalogAt, v.catalog()},
		{v.biosAt, bios},
		{v.efiAt, v.o.EFI},
	} {
		if err := put(part.at, part.data); err != nil {
			return err
		}
	}
	return nil
}

func (v *volume) writeFiles(w io.WriterAt) error {
	for _, d := range v.dirs {
		for _, c := range d.children {
			if c.dir {
				continue
			}
			if err := c.copyTo(io.NewOffsetWriter(w, int64(c.at)*sector)); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeDiskView makes the image a disk: a GPT in which the EFI image is the
// system partition, and GRUB's boot sector that loads the BIOS image.
func (v *volume) writeDiskView(f *os.File, size int64) error {
	if len(v.o.MBR) > 0 && len(v.o.BIOS) > 0 {
		mbr := slices.Clone(v.o.MBR[:440])
		// The boot sector finds the core image behind cdboot.img's four sectors.
		binary.LittleEndian.PutUint64(mbr[0x1b0:], uint64(v.biosAt)*4+4)
		if _, err := f.WriteAt(mbr, 0); err != nil {
			return err
		}
	}
	if len(v.o.EFI) == 0 && len(v.o.MBR) == 0 {
		return nil
	}
	table := &gpt.Table{LogicalSectorSize: 512, PhysicalSectorSize: 512, ProtectiveMBR: true, GUID: v.guid("disk")}
	if len(v.o.EFI) > 0 {
		table.Partitions = []*gpt.Partition{{
			Index: 1, Start: uint64(v.efiAt) * 4, Size: uint64(sectorsFor(int64(len(v.o.EFI)))) * sector,
			Type: gpt.EFISystemPartition, Name: "EFI boot image", GUID: v.guid("efi"),
		}}
	}
	return table.Write(f, size)
}

// guid derives an identifier from what the volume is called and when it was
// made, so that the image is a function of its input.
func (v *volume) guid(what string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "photree iso\n%s\n%s\n%s\n", v.o.VolumeID, UUID(v.o.Time), what))
	id := sum[:16]
	id[6], id[8] = id[6]&0x0f|0x80, id[8]&0x3f|0x80 // version 8, variant RFC 9562
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
}
