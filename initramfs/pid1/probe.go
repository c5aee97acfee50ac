package pid1

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"io"
	"strings"
)

// filesystem is what a superblock says.
type filesystem struct {
	kind  string // the kernel's name of the type
	uuid  string // as in root=UUID=
	label string
}

// probe reads the superblocks of the file systems that a root can be. The order is the one that keeps leftovers of an
// older file system from winning: those with the strongest marks first.
func probe(r io.ReaderAt) (filesystem, bool) {
	for _, f := range []func(io.ReaderAt) (filesystem, bool){
		probeXFS, probeExt, probeBtrfs, probeErofs, probeSquashfs, probeISO, probeFAT,
	} {
		if fs, ok := f(r); ok {
			return fs, true
		}
	}
	return filesystem{}, false
}

func read(r io.ReaderAt, off int64, n int) []byte {
	b := make([]byte, n)
	if got, err := r.ReadAt(b, off); err != nil && got < n {
		return nil
	}
	return b
}

func text(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return strings.TrimRight(string(b), " ")
}

func formatUUID(b []byte) string {
	s := hex.EncodeToString(b)
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}

func probeXFS(r io.ReaderAt) (filesystem, bool) {
	b := read(r, 0, 128)
	if b == nil || string(b[:4]) != "XFSB" {
		return filesystem{}, false
	}
	return filesystem{"xfs", formatUUID(b[32:48]), text(b[108:120])}, true
}

func probeExt(r io.ReaderAt) (filesystem, bool) {
	b := read(r, 1024, 256)
	if b == nil || binary.LittleEndian.Uint16(b[0x38:]) != 0xef53 {
		return filesystem{}, false
	}
	if binary.LittleEndian.Uint32(b[0x60:])&0x8 != 0 { // a journal device, not a file system
		return filesystem{}, false
	}
	// ext4's driver mounts ext2 and ext3 as well, and is the one that kernels have.
	return filesystem{"ext4", formatUUID(b[0x68:0x78]), text(b[0x78:0x88])}, true
}

func probeBtrfs(r io.ReaderAt) (filesystem, bool) {
	b := read(r, 0x10000, 0x400)
	if b == nil || string(b[0x40:0x48]) != "_BHRfS_M" {
		return filesystem{}, false
	}
	return filesystem{"btrfs", formatUUID(b[0x20:0x30]), text(b[0x12b : 0x12b+256])}, true
}

func probeErofs(r io.ReaderAt) (filesystem, bool) {
	b := read(r, 1024, 128)
	if b == nil || binary.LittleEndian.Uint32(b) != 0xe0f5e1e2 {
		return filesystem{}, false
	}
	return filesystem{"erofs", formatUUID(b[48:64]), text(b[64:80])}, true
}

func probeSquashfs(r io.ReaderAt) (filesystem, bool) {
	b := read(r, 0, 96)
	if b == nil || string(b[:4]) != "hsqs" {
		return filesystem{}, false
	}
	return filesystem{kind: "squashfs"}, true
}

// probeISO reads the primary volume descriptor. Its UUID is the time it was made, as blkid writes it:
// 2024-05-06-07-08-09-00.
func probeISO(r io.ReaderAt) (filesystem, bool) {
	b := read(r, 0x8000, 2048)
	if b == nil || b[0] != 1 || string(b[1:6]) != "CD001" {
		return filesystem{}, false
	}
	fs := filesystem{kind: "iso9660", label: text(b[40:72])}
	for _, off := range []int{830, 813} { // modified, else created
		d := string(b[off : off+16])
		if strings.Trim(d, "0123456789") == "" && strings.Trim(d, "0") != "" {
			fs.uuid = d[:4] + "-" + d[4:6] + "-" + d[6:8] + "-" + d[8:10] + "-" + d[10:12] + "-" + d[12:14] + "-" + d[14:16]
			break
		}
	}
	return fs, true
}

func probeFAT(r io.ReaderAt) (filesystem, bool) {
	b := read(r, 0, 512)
	if b == nil || b[510] != 0x55 || b[511] != 0xaa {
		return filesystem{}, false
	}
	var serial, label []byte
	switch {
	case string(b[0x52:0x57]) == "FAT32":
		serial, label = b[0x43:0x47], b[0x47:0x52]
	case string(b[0x36:0x39]) == "FAT":
		serial, label = b[0x27:0x2b], b[0x2b:0x36]
	default:
		return filesystem{}, false
	}
	n := strings.ToUpper(hex.EncodeToString([]byte{serial[3], serial[2], serial[1], serial[0]}))
	fs := filesystem{"vfat", n[:4] + "-" + n[4:], text(label)}
	if fs.label == "NO NAME" {
		fs.label = ""
	}
	return fs, true
}
