package rpm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	cavalier "github.com/cavaliergopher/rpm"
)

// Limits on what a header may claim; real ones stay far below (the largest
// headers of a distribution, of kernel-devel packages, have a few MB).
const (
	maxHeaderEntries = 1 << 16
	maxHeaderData    = 32 << 20
)

var headerMagic = []byte{0x8e, 0xad, 0xe8, 0x01, 0, 0, 0, 0}

// header is one header structure: its bytes as they were, which an rpm database
// stores and digests cover, and its tags.
type header struct {
	raw  []byte // magic, counts, index, data
	tags map[int]*cavalier.Tag
}

// readHeader reads one header structure from a stream.
func readHeader(r io.Reader) (header, error) {
	intro := make([]byte, 16)
	if _, err := io.ReadFull(r, intro); err != nil {
		return header{}, truncated(err)
	}
	if !bytes.Equal(intro[:4], headerMagic[:4]) {
		return header{}, fmt.Errorf("no header magic, found % x", intro[:4])
	}
	entries, size, err := headerCounts(intro[8:])
	if err != nil {
		return header{}, err
	}
	// Grow while reading, so that a short file cannot make us take 32 MB.
	buf := bytes.NewBuffer(intro)
	want := int64(entries*16 + size)
	if n, err := io.CopyN(buf, r, want); err != nil {
		return header{}, fmt.Errorf("reading %d bytes of header, got %d: %w", want, n, truncated(err))
	}
	return decodeHeader(buf.Bytes())
}

func headerCounts(b []byte) (entries, size int, err error) {
	e, s := binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])
	if e > maxHeaderEntries {
		return 0, 0, fmt.Errorf("header claims %d entries, more than %d", e, maxHeaderEntries)
	}
	if s > maxHeaderData {
		return 0, 0, fmt.Errorf("header claims %d bytes of data, more than %d", s, maxHeaderData)
	}
	return int(e), int(s), nil
}

// decodeHeader decodes a complete header structure.
//
// The tags are decoded by cavaliergopher/rpm, over a file made of an empty lead
// and signature and this header, in memory: its reader takes short reads for
// complete ones, trusts counts and panics on unterminated strings, so it only
// ever sees an index that was checked here.
func decodeHeader(raw []byte) (header, error) {
	entries, size, err := headerCounts(raw[8:])
	if err != nil {
		return header{}, err
	}
	if len(raw) != 16+entries*16+size {
		return header{}, fmt.Errorf("header has %d bytes instead of %d", len(raw), 16+entries*16+size)
	}
	data := raw[16+entries*16:]
	for i := range entries {
		if err := checkEntry(raw[16+i*16:][:16], data); err != nil {
			return header{}, fmt.Errorf("header entry %d: %w", i, err)
		}
	}
	file := io.MultiReader(bytes.NewReader(emptyLead), bytes.NewReader(headerMagic),
		bytes.NewReader(make([]byte, 8)), bytes.NewReader(raw))
	all, err := io.ReadAll(file)
	if err != nil {
		return header{}, err
	}
	pkg, err := cavalier.Read(bytes.NewReader(all))
	if err != nil {
		return header{}, fmt.Errorf("decoding header: %w", err)
	}
	return header{raw: raw, tags: pkg.Header.Tags}, nil
}

// emptyLead is the least that the decoder accepts: magic and version 3.0.
var emptyLead = append([]byte{0xed, 0xab, 0xee, 0xdb, 3, 0}, make([]byte, 90)...)

// Widths of the header's data types; strings count their terminators.
var typeWidth = [...]int{
	cavalier.TagTypeNull: 0, cavalier.TagTypeChar: 1, cavalier.TagTypeInt8: 1,
	cavalier.TagTypeInt16: 2, cavalier.TagTypeInt32: 4, cavalier.TagTypeInt64: 8,
	cavalier.TagTypeString: 1, cavalier.TagTypeBinary: 1,
	cavalier.TagTypeStringArray: 1, cavalier.TagTypeI18NString: 1,
}

// checkEntry verifies that one index entry lies within the data.
func checkEntry(e, data []byte) error {
	tag := binary.BigEndian.Uint32(e)
	typ := binary.BigEndian.Uint32(e[4:])
	off := int64(binary.BigEndian.Uint32(e[8:]))
	count := int64(binary.BigEndian.Uint32(e[12:]))
	if typ >= uint32(len(typeWidth)) {
		return fmt.Errorf("tag %d has unknown type %d", tag, typ)
	}
	if count < 1 || off+count*int64(typeWidth[typ]) > int64(len(data)) || off >= int64(len(data)) {
		return fmt.Errorf("tag %d lies outside the data: %d values at %d of %d", tag, count, off, len(data))
	}
	switch cavalier.TagType(typ) {
	case cavalier.TagTypeString:
		if count != 1 {
			return fmt.Errorf("tag %d is a string and has %d values", tag, count)
		}
		fallthrough
	case cavalier.TagTypeStringArray, cavalier.TagTypeI18NString:
		rest := data[off:]
		for range count {
			end := bytes.IndexByte(rest, 0)
			if end < 0 {
				return fmt.Errorf("tag %d has an unterminated string", tag)
			}
			rest = rest[end+1:]
		}
	}
	return nil
}

func truncated(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the file ends too early")
	}
	return err
}

func (h header) has(tag int) bool         { return h.tags[tag] != nil }
func (h header) str(tag int) string       { return h.tags[tag].String() }
func (h header) strings(tag int) []string { return h.tags[tag].StringSlice() }
func (h header) ints(tag int) []int64     { return h.tags[tag].Int64Slice() }
func (h header) bytes(tag int) []byte     { return h.tags[tag].Bytes() }
func (h header) uint(tag int) (v uint64)  { return uint64(h.tags[tag].Int64()) }
func (h header) either(tags ...int) []int64 {
	for _, t := range tags {
		if v := h.ints(t); v != nil {
			return v
		}
	}
	return nil
}
