package lzma

import (
	"encoding/binary"
	"hash/crc32"
	"hash/crc64"
	"math/bits"
)

// Options shape the work of Compress; the zero value is a good choice for a part of a delta.
type Options struct {
	Dict  int // how far back matches may be: a power of two (4 MiB); the memory is twelve times that
	Nice  int // matches of this length are taken without looking for better ones (96)
	Depth int // how many earlier places are compared at most (48)
}

func (o Options) withDefaults() Options {
	if o.Dict == 0 {
		o.Dict = 4 << 20
	}
	if o.Nice == 0 {
		o.Nice = 96
	}
	if o.Depth == 0 {
		o.Depth = 48
	}
	return o
}

const (
	maxChunkIn  = 1 << 21 // bytes that one chunk of LZMA2 may unpack to
	maxChunkOut = 1 << 16 // bytes that it may be packed to
	symbolRoom  = 64      // more than any symbol takes
)

// Compress packs data into an xz stream. The same data and options give the same bytes.
func Compress(data []byte, o Options) []byte {
	o = o.withDefaults()
	dict := 1 << 16
	for dict < o.Dict && dict < len(data) {
		dict <<= 1
	}
	out := make([]byte, 0, len(data)/3+128)
	out = append(out, "\xfd7zXZ\x00"...)
	flags := []byte{0, 4} // the check is a CRC64
	out = append(out, flags...)
	out = binary.LittleEndian.AppendUint32(out, crc32.ChecksumIEEE(flags))
	start := len(out)
	// One block, one filter: LZMA2 (0x21), with one byte that says how large the dictionary is.
	header := []byte{2, 0, 0x21, 1, byte(bits.Len(uint(dict))-1-12) << 1, 0, 0, 0}
	out = append(out, header...)
	out = binary.LittleEndian.AppendUint32(out, crc32.ChecksumIEEE(header))
	out = appendChunks(out, data, dict, o)
	unpadded := len(out) - start + 8
	out = pad4(out)
	out = binary.LittleEndian.AppendUint64(out, crc64.Checksum(data, crc64.MakeTable(crc64.ECMA)))
	index := []byte{0, 1}
	index = binary.AppendUvarint(index, uint64(unpadded))
	index = binary.AppendUvarint(index, uint64(len(data)))
	index = pad4(index)
	out = append(out, index...)
	out = binary.LittleEndian.AppendUint32(out, crc32.ChecksumIEEE(index))
	footer := binary.LittleEndian.AppendUint32(nil, uint32((len(index)+4)/4-1))
	footer = append(footer, flags...)
	out = binary.LittleEndian.AppendUint32(out, crc32.ChecksumIEEE(footer))
	out = append(out, footer...)
	return append(out, "YZ"...)
}

func pad4(b []byte) []byte {
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// What has to be told at the start of a chunk.
const (
	tellNothing = iota
	tellState   // the model begins anew
	tellProps   // and its numbers
	tellAll     // and the dictionary is empty
)

func appendChunks(out, data []byte, dict int, o Options) []byte {
	e := &encoder{model: model{props: props{lc: 3, lp: 0, pb: 2}}, data: data, mf: newMatchFinder(data, dict, o.Nice, o.Depth)}
	defer e.mf.close()
	e.reset()
	tell := tellAll
	for e.pos < len(data) {
		begin := e.pos
		e.rc.reset()
		for e.pos < len(data) && e.pos-begin <= maxChunkIn-maxMatch && e.rc.pending() <= maxChunkOut-symbolRoom {
			e.encodeNext()
		}
		e.rc.flush()
		n, packed := e.pos-begin, e.rc.out
		if len(packed) >= n {
			// What the model has learned from such bytes is worth nothing, and the reader has not learned it.
			out = appendStored(out, data[begin:e.pos], tell == tellAll)
			tell = max(tellState, min(tell, tellProps))
			e.reset()
			continue
		}
		out = append(out, byte(0x80|tell<<5|(n-1)>>16), byte((n-1)>>8), byte(n-1), byte((len(packed)-1)>>8), byte(len(packed)-1))
		if tell >= tellProps {
			out = append(out, e.encode())
		}
		out = append(out, packed...)
		tell = tellNothing
	}
	return append(out, 0)
}

// appendStored appends chunks that are not packed; they hold up to 64 KiB each.
func appendStored(out, data []byte, first bool) []byte {
	for len(data) > 0 {
		n := min(len(data), 1<<16)
		control := byte(2)
		if first {
			control, first = 1, false
		}
		out = append(out, control, byte((n-1)>>8), byte(n-1))
		out = append(out, data[:n]...)
		data = data[n:]
	}
	return out
}
