package rpm

import (
	"errors"
	"fmt"
	"io"
	"strconv"
)

// maxNameSize bounds a path in the archive; PATH_MAX is 4096.
const maxNameSize = 1 << 16

// cpioReader reads the two archive formats of packages: cpio "newc" (with and
// without checksums) and RPM's stripped form for large files, whose records
// only hold the number of a file in the header.
type cpioReader struct {
	r    io.Reader
	left uint64 // of the current record's data
	pad  int    // after the data
	buf  [104]byte
}

// record is the head of one archive member.
type record struct {
	stripped bool
	index    uint32 // stripped: the number of the file
	name     string // newc: the path
	mode     uint32
	nlink    uint32
	size     uint64
}

// begin says how much data follows the record that next gave. A stripped record
// does not know it itself.
func (c *cpioReader) begin(size uint64) { c.left, c.pad = size, int(-size&3) }

func (c *cpioReader) full(n int) ([]byte, error) {
	if _, err := io.ReadFull(c.r, c.buf[:n]); err != nil {
		return nil, truncated(err)
	}
	return c.buf[:n], nil
}

// next skips what is left of the current record; io.EOF at the trailer.
func (c *cpioReader) next() (record, error) {
	if skip := c.left + uint64(c.pad); skip > 0 {
		if n, err := io.CopyN(io.Discard, c.r, int64(skip)); err != nil {
			return record{}, fmt.Errorf("%w, %d bytes short", truncated(err), int64(skip)-n)
		}
		c.left, c.pad = 0, 0
	}
	magic, err := c.full(6)
	if err != nil {
		return record{}, err
	}
	switch string(magic) {
	case "07070X":
		return c.strippedRecord()
	case "070701", "070702":
		return c.newcRecord()
	}
	return record{}, fmt.Errorf("no archive record where one must be, found %q", magic)
}

func (c *cpioReader) strippedRecord() (record, error) {
	b, err := c.full(8 + 2) // the number, and the padding to four bytes
	if err != nil {
		return record{}, err
	}
	i, err := strconv.ParseUint(string(b[:8]), 16, 32)
	if err != nil {
		return record{}, fmt.Errorf("damaged archive record: %w", err)
	}
	return record{stripped: true, index: uint32(i)}, nil
}

func (c *cpioReader) newcRecord() (record, error) {
	b, err := c.full(13 * 8)
	if err != nil {
		return record{}, err
	}
	var field [13]uint32
	for i := range field {
		v, err := strconv.ParseUint(string(b[i*8:i*8+8]), 16, 32)
		if err != nil {
			return record{}, fmt.Errorf("damaged archive record: %w", err)
		}
		field[i] = uint32(v)
	}
	const mode, nlink, size, nameSize = 1, 4, 6, 11
	n := int(field[nameSize])
	if n < 1 || n > maxNameSize {
		return record{}, fmt.Errorf("damaged archive record: a name of %d bytes", n)
	}
	name := make([]byte, n+(-(110+n)&3))
	if _, err := io.ReadFull(c.r, name); err != nil {
		return record{}, truncated(err)
	}
	if name[n-1] != 0 {
		return record{}, errors.New("damaged archive record: the name has no end")
	}
	rec := record{name: string(name[:n-1]), mode: field[mode], nlink: field[nlink], size: uint64(field[size])}
	if rec.name == "TRAILER!!!" {
		return record{}, io.EOF
	}
	return rec, nil
}

// Read reads data of the current record.
func (c *cpioReader) Read(b []byte) (int, error) {
	if c.left == 0 {
		return 0, io.EOF
	}
	if uint64(len(b)) > c.left {
		b = b[:c.left]
	}
	n, err := c.r.Read(b)
	c.left -= uint64(n)
	if err == io.EOF && c.left > 0 {
		err = io.ErrUnexpectedEOF
	} else if err == io.EOF {
		err = nil
	}
	return n, err
}
