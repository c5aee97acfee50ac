package delta

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"photree/repo"
	"photree/repo/object"
)

// inMemory is how much of a part or of a compressed file is held in memory; more goes to an unnamed file, so that
// memory does not grow with what a delta or an object holds.
const inMemory = 32 << 20

// blob is bytes that can be read at any place: in memory, or a mapped file.
type blob struct {
	data   []byte
	mapped bool
}

func (b *blob) close() {
	if b.mapped {
		_ = unix.Munmap(b.data)
	}
	b.data, b.mapped = nil, false
}

// errTooLarge says that a stream goes on behind the limit that readBlob was given.
var errTooLarge = errors.New("more data than there may be")

// readBlob reads a stream of at most limit bytes. What does not fit into memory goes to an unnamed file in dir.
func readBlob(r io.Reader, limit int64, dir string) (*blob, error) {
	var buf []byte
	for {
		if len(buf) == cap(buf) {
			grown := make([]byte, len(buf), min(max(2*cap(buf), 256<<10), inMemory+1))
			copy(grown, buf)
			buf = grown
		}
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if int64(len(buf)) > limit {
			return nil, errTooLarge
		}
		if err == io.EOF {
			return &blob{data: buf}, nil
		}
		if err != nil {
			return nil, err
		}
		if len(buf) > inMemory {
			return spill(buf, r, limit, dir)
		}
	}
}

func spill(head []byte, r io.Reader, limit int64, dir string) (*blob, error) {
	f, err := os.CreateTemp(dir, "delta-")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := os.Remove(f.Name()); err != nil {
		return nil, err
	}
	if _, err := f.Write(head); err != nil {
		return nil, err
	}
	n, err := io.Copy(f, io.LimitReader(r, limit-int64(len(head))+1))
	if err != nil {
		return nil, err
	}
	size := int64(len(head)) + n
	if size > limit {
		return nil, errTooLarge
	}
	return mapFile(f, size)
}

func mapFile(f *os.File, size int64) (*blob, error) {
	if size == 0 {
		return &blob{}, nil
	}
	data, err := unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("mapping %d bytes: %w", size, err)
	}
	return &blob{data: data, mapped: true}, nil
}

// loadContent returns the header and the content of a file object. The content is not verified.
func loadContent(r *repo.Repo, id object.ID) (object.FileInfo, *blob, error) {
	info, size, rc, err := r.OpenFile(id)
	if err != nil {
		return info, nil, err
	}
	defer rc.Close()
	var b *blob
	if f, ok := rc.(*os.File); ok && size > 64<<10 {
		b, err = mapFile(f, size)
	} else {
		b, err = readBlob(rc, size, r.Path()+"/tmp")
	}
	if err == nil && int64(len(b.data)) != size {
		b.close()
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return info, nil, fmt.Errorf("reading file object %s: %w", id, err)
	}
	return info, b, nil
}
