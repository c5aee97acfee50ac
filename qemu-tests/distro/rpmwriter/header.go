package rpmwriter

import (
	"bytes"
	"encoding/binary"
	"sort"
)

// Types of header entries.
const (
	typeInt16   = 3
	typeInt32   = 4
	typeString  = 6
	typeBin     = 7
	typeStrings = 8
	typeI18N    = 9
)

type tag struct {
	id, typ, count uint32
	data           []byte
}

// header collects tags and serialises them the way rpm does: sorted, aligned, inside one region.
type header struct {
	region uint32 // 62 for the signature header, 63 for the main one
	tags   []tag
}

func (h *header) str(id uint32, s string) {
	h.tags = append(h.tags, tag{id, typeString, 1, append([]byte(s), 0)})
}

func (h *header) i18n(id uint32, s string) {
	h.tags = append(h.tags, tag{id, typeI18N, 1, append([]byte(s), 0)})
}

func (h *header) bin(id uint32, b []byte) {
	h.tags = append(h.tags, tag{id, typeBin, uint32(len(b)), b})
}

func (h *header) strs(id uint32, list []string) {
	if len(list) == 0 {
		return
	}
	var b bytes.Buffer
	for _, s := range list {
		b.WriteString(s)
		b.WriteByte(0)
	}
	h.tags = append(h.tags, tag{id, typeStrings, uint32(len(list)), b.Bytes()})
}

func (h *header) int32s(id uint32, list ...uint32) {
	if len(list) == 0 {
		return
	}
	var b []byte
	for _, v := range list {
		b = binary.BigEndian.AppendUint32(b, v)
	}
	h.tags = append(h.tags, tag{id, typeInt32, uint32(len(list)), b})
}

func (h *header) int16s(id uint32, list []uint16) {
	if len(list) == 0 {
		return
	}
	var b []byte
	for _, v := range list {
		b = binary.BigEndian.AppendUint16(b, v)
	}
	h.tags = append(h.tags, tag{id, typeInt16, uint32(len(list)), b})
}

var headerMagic = []byte{0x8e, 0xad, 0xe8, 0x01, 0, 0, 0, 0}

// bytes serialises the header. The region tag comes first in the index, and its trailer last in the store.
func (h *header) bytes() []byte {
	sort.SliceStable(h.tags, func(i, j int) bool { return h.tags[i].id < h.tags[j].id })
	var index, store []byte
	add := func(id, typ, offset, count uint32) {
		for _, v := range []uint32{id, typ, offset, count} {
			index = binary.BigEndian.AppendUint32(index, v)
		}
	}
	for _, t := range h.tags {
		align := 1
		switch t.typ {
		case typeInt16:
			align = 2
		case typeInt32:
			align = 4
		}
		for len(store)%align != 0 {
			store = append(store, 0)
		}
		add(t.id, t.typ, uint32(len(store)), t.count)
		store = append(store, t.data...)
	}
	entries := uint32(len(h.tags) + 1)
	trailerAt := uint32(len(store))
	var region []byte
	for _, v := range []uint32{h.region, typeBin, trailerAt, 16} {
		region = binary.BigEndian.AppendUint32(region, v)
	}
	for _, v := range []uint32{h.region, typeBin, -(entries * 16), 16} {
		store = binary.BigEndian.AppendUint32(store, v)
	}
	out := append([]byte(nil), headerMagic...)
	out = binary.BigEndian.AppendUint32(out, entries)
	out = binary.BigEndian.AppendUint32(out, uint32(len(store)))
	out = append(out, region...)
	out = append(out, index...)
	return append(out, store...)
}
