package pid1

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"io"
	"unicode/utf16"
)

// partition is an entry of a partition table.
type partition struct {
	uuid, name string
}

// readPartition reads entry n (from 1) of the table of a disk: a GPT, or an MBR, whose partitions have the disk's
// signature and their number for a UUID.
func readPartition(disk io.ReaderAt, sector int64, n int) (partition, bool) {
	if p, ok := readGPT(disk, sector, n); ok {
		return p, true
	}
	mbr := read(disk, 0, 512)
	if mbr == nil || mbr[510] != 0x55 || mbr[511] != 0xaa {
		return partition{}, false
	}
	signature := binary.LittleEndian.Uint32(mbr[440:])
	if signature == 0 || mbr[446+4] == 0xee { // a protective MBR names no partitions
		return partition{}, false
	}
	return partition{uuid: fmt.Sprintf("%08x-%02x", signature, n)}, true
}

func readGPT(disk io.ReaderAt, sector int64, n int) (partition, bool) {
	h := read(disk, sector, 92)
	if h == nil || string(h[:8]) != "EFI PART" || n < 1 {
		return partition{}, false
	}
	sum := binary.LittleEndian.Uint32(h[16:])
	size := binary.LittleEndian.Uint32(h[12:])
	count, each := binary.LittleEndian.Uint32(h[80:]), binary.LittleEndian.Uint32(h[84:])
	if size < 92 || int64(size) > sector || each < 128 || each > 4096 || uint32(n) > count {
		return partition{}, false
	}
	whole := read(disk, sector, int(size))
	if whole == nil {
		return partition{}, false
	}
	copy(whole[16:20], make([]byte, 4))
	if crc32.ChecksumIEEE(whole) != sum {
		return partition{}, false
	}
	table := int64(binary.LittleEndian.Uint64(h[72:])) * sector
	e := read(disk, table+int64(n-1)*int64(each), 128)
	if e == nil || allZero(e[:16]) {
		return partition{}, false
	}
	var name []uint16
	for i := 56; i < 128; i += 2 {
		c := binary.LittleEndian.Uint16(e[i:])
		if c == 0 {
			break
		}
		name = append(name, c)
	}
	return partition{guid(e[16:32]), string(utf16.Decode(name))}, true
}

// guid writes a GUID as people do: the first three parts are little-endian on disk.
func guid(b []byte) string {
	s := []byte{b[3], b[2], b[1], b[0], b[5], b[4], b[7], b[6]}
	return formatUUID(append(s, b[8:16]...))
}

func allZero(b []byte) bool {
	return hex.EncodeToString(b) == "00000000000000000000000000000000"
}
