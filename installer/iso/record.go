package iso

import (
	"encoding/binary"
	"fmt"
	"time"
)

// both appends n in both byte orders, as ISO 9660 likes its numbers.
func both32(b []byte, n uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.LittleEndian.AppendUint32(b, n), n)
}

func both16(b []byte, n uint16) []byte {
	return binary.BigEndian.AppendUint16(binary.LittleEndian.AppendUint16(b, n), n)
}

func recordTime(t time.Time) []byte {
	t = t.UTC()
	return []byte{byte(t.Year() - 1900), byte(t.Month()), byte(t.Day()), byte(t.Hour()), byte(t.Minute()), byte(t.Second()), 0}
}

// record makes the directory record of n under the identifier id, with the
// system use fields behind it.
func (v *volume) record(n *node, id string, use []byte) []byte {
	flags := byte(0)
	if n.dir {
		flags = 2
	}
	b := []byte{0, 0}
	b = both32(b, n.at)
	b = both32(b, uint32(n.size))
	b = append(b, recordTime(v.o.Time)...)
	b = append(b, flags, 0, 0)
	b = both16(b, 1)
	b = append(b, byte(len(id)))
	b = append(b, id...)
	if len(b)%2 != 0 {
		b = append(b, 0)
	}
	b = append(b, use...)
	if len(b)%2 != 0 {
		b = append(b, 0)
	}
	b[0] = byte(len(b))
	return b
}

// attributes are the POSIX fields that every record has.
func (v *volume) attributes(n *node) []byte {
	links := uint32(1)
	if n.dir {
		links = 2
		for _, c := range n.children {
			if c.dir {
				links++
			}
		}
	}
	b := []byte{'P', 'X', 36, 1}
	b = both32(b, n.mode())
	b = both32(b, links)
	b = both32(b, 0)
	b = both32(b, 0)
	b = append(b, 'T', 'F', 12, 1, 2) // time of modification
	return append(b, recordTime(v.o.Time)...)
}

// continued puts data into the continuation area and gives the field that
// points to it. A piece must not cross a sector.
func (v *volume) continued(data []byte) []byte {
	if len(v.more)%sector+len(data) > sector {
		v.more = append(v.more, make([]byte, sector-len(v.more)%sector)...)
	}
	at := len(v.more)
	v.more = append(v.more, data...)
	b := []byte{'C', 'E', 28, 1}
	b = both32(b, v.moreAt+uint32(at/sector))
	b = both32(b, uint32(at%sector))
	return both32(b, uint32(len(data)))
}

// nameFields gives the name, and its rest elsewhere if it is too long for a
// record of 254 bytes.
func (v *volume) nameFields(name string) []byte {
	const inRecord = 120
	if len(name) <= inRecord {
		return append([]byte{'N', 'M', byte(5 + len(name)), 1, 0}, name...)
	}
	rest := name[inRecord:]
	b := append([]byte{'N', 'M', 5 + inRecord, 1, 1}, name[:inRecord]...)
	return append(b, v.continued(append([]byte{'N', 'M', byte(5 + len(rest)), 1, 0}, rest...))...)
}

// extension names the use of Rock Ridge, once, in the root directory.
func extension() []byte {
	const id, what, where = "RRIP_1991A", "THE ROCK RIDGE INTERCHANGE PROTOCOL PROVIDES SUPPORT FOR POSIX FILE SYSTEM SEMANTICS",
		"PLEASE CONTACT DISC PUBLISHER FOR SPECIFICATION SOURCE.  SEE PUBLISHER IDENTIFIER IN PRIMARY VOLUME DESCRIPTOR FOR CONTACT INFORMATION."
	b := []byte{'E', 'R', byte(8 + len(id) + len(what) + len(where)), 1, byte(len(id)), byte(len(what)), byte(len(where)), 1}
	return append(b, id+what+where...)
}

// dirBytes gives the whole extent of a directory.
func (v *volume) dirBytes(d *node) []byte {
	var b []byte
	add := func(rec []byte) {
		if len(b)%sector+len(rec) > sector {
			b = append(b, make([]byte, sector-len(b)%sector)...)
		}
		b = append(b, rec...)
	}
	self := v.attributes(d)
	if d == v.root {
		self = append([]byte{'S', 'P', 7, 1, 0xbe, 0xef, 0}, self...)
		self = append(self, v.continued(extension())...)
	}
	add(v.record(d, "\x00", self))
	add(v.record(d.parent, "\x01", v.attributes(d.parent)))
	for _, c := range d.children {
		add(v.record(c, c.id, append(v.attributes(c), v.nameFields(c.name)...)))
	}
	if rest := len(b) % sector; rest != 0 {
		b = append(b, make([]byte, sector-rest)...)
	}
	return b
}

func (v *volume) dirSize(d *node) int64 { return int64(len(v.dirBytes(d))) }

func (v *volume) pathTable(order binary.AppendByteOrder) []byte {
	var b []byte
	for _, d := range v.dirs {
		b = append(b, byte(len(d.id)), 0)
		b = order.AppendUint32(b, d.at)
		b = order.AppendUint16(b, d.parent.number)
		b = append(b, d.id...)
		if len(d.id)%2 != 0 {
			b = append(b, 0)
		}
	}
	return b
}

// descriptor is the primary volume descriptor.
func (v *volume) descriptor() []byte {
	b := append([]byte{1}, "CD001\x01\x00"...)
	b = append(b, fmt.Sprintf("%-32s%-32s", "LINUX", v.o.VolumeID)...)
	b = append(b, make([]byte, 8)...)
	b = both32(b, v.sectors)
	b = append(b, make([]byte, 32)...)
	b = both16(b, 1)
	b = both16(b, 1)
	b = both16(b, sector)
	b = both32(b, v.tableSize)
	b = binary.LittleEndian.AppendUint32(b, v.tableL)
	b = binary.LittleEndian.AppendUint32(b, 0)
	b = binary.BigEndian.AppendUint32(b, v.tableM)
	b = binary.BigEndian.AppendUint32(b, 0)
	b = append(b, v.record(v.root, "\x00", nil)...)
	b = append(b, fmt.Sprintf("%-128s%-128s%-128s%-128s%-37s%-37s%-37s", "", "", "PHOTREE", "PHOTREE", "", "", "")...)
	stamp := v.o.Time.UTC().Format("20060102150405") + fmt.Sprintf("%02d\x00", v.o.Time.Nanosecond()/1e7)
	never := "0000000000000000\x00"
	b = append(b, stamp+stamp+never+stamp...) // made, modified, expires, effective
	return append(b, 1, 0)
}

// bootRecord points to the El Torito catalog.
func (v *volume) bootRecord() []byte {
	if len(v.o.BIOS) == 0 && len(v.o.EFI) == 0 {
		// A descriptor that readers skip: a boot record of no known system.
		return append([]byte{0}, "CD001\x01"...)
	}
	b := make([]byte, 75)
	copy(b[1:], "CD001\x01EL TORITO SPECIFICATION")
	binary.LittleEndian.PutUint32(b[71:], v.catalogAt)
	return b
}

// catalog is the El Torito boot catalog: BIOS first, as every firmware
// expects, then UEFI in a section of its own platform.
func (v *volume) catalog() []byte {
	const biosPlatform, efiPlatform = 0, 0xef
	entry := func(at uint32, sectors int) []byte {
		b := make([]byte, 32)
		b[0] = 0x88 // bootable, without emulation
		binary.LittleEndian.PutUint16(b[6:], uint16(min(sectors, 0xffff)))
		binary.LittleEndian.PutUint32(b[8:], at)
		return b
	}
	efi := entry(v.efiAt, (len(v.o.EFI)+511)/512)
	validation := make([]byte, 32)
	validation[0], validation[30], validation[31] = 1, 0x55, 0xaa
	var b []byte
	switch {
	case len(v.o.BIOS) == 0 && len(v.o.EFI) == 0:
		return nil
	case len(v.o.BIOS) == 0:
		validation[1] = efiPlatform
		b = append(validation, efi...)
	default:
		validation[1] = biosPlatform
		b = append(validation, entry(v.biosAt, 4)...)
		if len(v.o.EFI) > 0 {
			header := make([]byte, 32)
			header[0], header[1], header[2] = 0x91, efiPlatform, 1
			b = append(append(b, header...), efi...)
		}
	}
	var sum uint16
	for i := 0; i < 32; i += 2 {
		sum += binary.LittleEndian.Uint16(b[i:])
	}
	binary.LittleEndian.PutUint16(b[28:], -sum)
	return b
}

// patchBIOS tells GRUB's El Torito image where it lies: the boot information
// table at byte 8 and the sector of the core image behind diskboot.img.
func (v *volume) patchBIOS(b []byte) {
	if len(b) == 0 {
		return
	}
	le := binary.LittleEndian
	le.PutUint64(b[2048+0x1f4:], uint64(v.biosAt)*4+5)
	var sum uint32
	for i := 64; i < len(b); i += 4 {
		var word [4]byte
		copy(word[:], b[i:])
		sum += le.Uint32(word[:])
	}
	le.PutUint32(b[8:], descriptorAt)
	le.PutUint32(b[12:], v.biosAt)
	le.PutUint32(b[16:], uint32(len(b)))
	le.PutUint32(b[20:], sum)
	clear(b[24:64])
}
