// Package writelog reads the log of a disk's writes that QEMU's blklogwrites keeps, and makes the disk as a power cut would
// have left it at any of them.
//
// A disk keeps the order of writes only across flushes: at a cut, all that was written before the last flush is there,
// and of what came after it any part. State gives one such disk. The package writes to the images it is given and to
// nothing else.
package writelog

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
)

// Flags of an entry, as dm-log-writes numbers them.
const (
	Flush   = 1
	FUA     = 2 // this very write is durable when it is done
	Discard = 4
	Mark    = 8
)

const magic = 0x6a736677736872

// Entry is one write, flush or discard.
type Entry struct {
	Sector, Sectors uint64
	Flags           uint64
	At              int64 // where its data stand in the log
}

// Log is a log that has been read.
type Log struct {
	Entries []Entry
	// SectorSize is the unit of the entries.
	SectorSize int64
	file       *os.File
}

// Open reads a log. The machine that wrote it must have ended.
func Open(path string) (*Log, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	l := &Log{file: f}
	if err := l.read(); err != nil {
		f.Close()
		return nil, fmt.Errorf("reading write log %q: %w", path, err)
	}
	return l, nil
}

// Close closes the log's file.
func (l *Log) Close() error { return l.file.Close() }

func (l *Log) read() error {
	super := make([]byte, 28)
	if _, err := l.file.ReadAt(super, 0); err != nil {
		return err
	}
	if got := binary.LittleEndian.Uint64(super); got != magic {
		return fmt.Errorf("it begins with %#x, not with the magic number", got)
	}
	count := binary.LittleEndian.Uint64(super[16:])
	l.SectorSize = int64(binary.LittleEndian.Uint32(super[24:]))
	if l.SectorSize < 512 || l.SectorSize > 1<<16 {
		return fmt.Errorf("its sectors have %d bytes", l.SectorSize)
	}
	header := make([]byte, 32)
	at := l.SectorSize
	for range count {
		if _, err := l.file.ReadAt(header, at); err != nil {
			return fmt.Errorf("entry %d of %d: %w", len(l.Entries), count, err)
		}
		e := Entry{
			Sector: binary.LittleEndian.Uint64(header), Sectors: binary.LittleEndian.Uint64(header[8:]),
			Flags: binary.LittleEndian.Uint64(header[16:]), At: at + l.SectorSize,
		}
		at = e.At
		if e.Flags&Discard == 0 {
			at += int64(e.Sectors) * l.SectorSize
		}
		l.Entries = append(l.Entries, e)
	}
	return nil
}

// Apply does to the disk what entry i did.
func (l *Log) Apply(disk *os.File, i int) error {
	e := l.Entries[i]
	if e.Sectors == 0 || e.Flags&Discard != 0 {
		return nil // a discarded sector may read as before
	}
	data := io.NewSectionReader(l.file, e.At, int64(e.Sectors)*l.SectorSize)
	if _, err := io.Copy(io.NewOffsetWriter(disk, int64(e.Sector)*l.SectorSize), data); err != nil {
		return fmt.Errorf("applying write %d: %w", i, err)
	}
	return nil
}

// Durable gives the number of entries that are on the disk for certain once the first n have been given to it: those up to
// the last flush among them.
func (l *Log) Durable(n int) int {
	for i := n - 1; i >= 0; i-- {
		if l.Entries[i].Flags&Flush != 0 {
			return i + 1
		}
	}
	return 0
}

// State brings a disk that holds the first Durable(n) entries to a state that a cut after n entries may leave: of the rest
// it applies those that lucky chooses, and those that were written through.
func (l *Log) State(disk *os.File, n int, lucky func() bool) error {
	for i := l.Durable(n); i < n; i++ {
		if l.Entries[i].Flags&FUA != 0 || lucky() {
			if err := l.Apply(disk, i); err != nil {
				return err
			}
		}
	}
	return nil
}
