package repo

import (
	"bytes"
	stdflate "compress/flate"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/klauspost/compress/flate"
	"golang.org/x/sys/unix"

	"photree/internal/keyfile"
	"photree/repo/object"
)

// smallFile is the size up to which a file is read whole before anything is written: its name is then known, and what
// is there already costs no write. It bounds the memory of a worker.
const smallFile = 1 << 20

var smallBuffers = sync.Pool{New: func() any { b := make([]byte, smallFile); return &b }}

var copyBuffers = sync.Pool{New: func() any { b := make([]byte, 256<<10); return &b }}

func compressionLevel(cfg *keyfile.File) (int, error) {
	v, ok := cfg.Get("archive", "zlib-level")
	if !ok {
		return 6, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 || n > 9 {
		return 0, fmt.Errorf("config: archive.zlib-level: %q is not a level from 1 to 9", v)
	}
	return n, nil
}

// deflater is a compressor with the buffer that it writes into.
type deflater struct {
	z     *flate.Writer
	small *stdflate.Writer // for files of up to oneBlock bytes
	buf   bytes.Buffer
}

var deflaters [10]sync.Pool

func getDeflater(level int) *deflater {
	if d, ok := deflaters[level].Get().(*deflater); ok {
		return d
	}
	d := &deflater{}
	d.z, _ = flate.NewWriter(&d.buf, level) // fails for levels out of range only
	return d
}

func putDeflater(level int, d *deflater) {
	if d.buf.Cap() <= 4*smallFile {
		deflaters[level].Put(d)
	}
}

// WriteContent stages a file object and returns its name. Exactly size bytes are read from r; r may be nil for symbolic
// links. When r is also an io.Seeker a large file is read twice, so that one that exists is not written again.
func (t *Txn) WriteContent(info object.FileInfo, size int64, r io.Reader) (object.ID, error) {
	if !slices.IsSortedFunc(info.Xattrs, func(a, b object.Xattr) int { return strings.Compare(a.Name, b.Name) }) {
		info.Xattrs = slices.Clone(info.Xattrs)
		info.Xattrs.Sort()
	}
	err := info.Check()
	if err == nil {
		err = t.r.checkStorable(info)
	}
	if err != nil {
		return object.ID{}, fmt.Errorf("writing a file object: %w", err)
	}
	t.count(object.KindFile)
	var id object.ID
	switch {
	case info.IsSymlink():
		id, err = t.writeSymlink(info)
	case size <= smallFile:
		id, err = t.writeSmall(info, size, r)
	default:
		id, err = t.writeLarge(info, size, r)
	}
	if err != nil {
		return id, fmt.Errorf("writing a file object: %w", err)
	}
	return id, nil
}

// AdoptContent is WriteContent of the file at path, which is open as f and is given up by its owner: where the
// repository stores files as they are, the file itself becomes the object. It stays at path too, for the caller to
// remove once the transaction is committed; until then nothing is lost if that fails.
func (t *Txn) AdoptContent(info object.FileInfo, size int64, f *os.File, path string) (object.ID, error) {
	if t.r.mode != ModeBare && t.r.mode != ModeBareUserOnly || !info.IsRegular() || info.Check() != nil || t.r.checkStorable(info) != nil {
		return t.WriteContent(info, size, f)
	}
	h := object.NewHash(info)
	if err := copyExactly(h, io.NewSectionReader(f, 0, size), size); err != nil {
		return object.ID{}, fmt.Errorf("writing a file object: %w", err)
	}
	n := object.Name{ID: object.SumID(h), Kind: object.KindFile}
	t.count(n.Kind)
	if ok, err := t.Has(n); ok || err != nil {
		return n.ID, err
	}
	s, ok := t.adopt(path, f)
	if !ok {
		t.mu.Lock()
		t.stats.ContentTotal--
		t.mu.Unlock()
		return t.WriteContent(info, size, f)
	}
	if err := s.setAttributes(info); err != nil {
		s.discard()
		return n.ID, fmt.Errorf("writing a file object: %w", err)
	}
	t.addBytes(size)
	return n.ID, t.keep(n, s, false)
}

// checkStorable refuses what the repository's mode would lose.
func (r *Repo) checkStorable(info object.FileInfo) error {
	if r.mode != ModeBareUserOnly {
		return nil
	}
	if err := checkUserOnly(info); err != nil {
		return err
	}
	if info.UID != 0 || info.GID != 0 || len(info.Xattrs) > 0 {
		return fmt.Errorf("owner %d:%d, mode 0%o and %d extended attributes do not fit into a bare-user-only repository: "+
			"commit with canonical permissions", info.UID, info.GID, info.Mode, len(info.Xattrs))
	}
	return nil
}

// checkUserOnly refuses the modes that a file owned by whoever checks it out must not have.
func checkUserOnly(info object.FileInfo) error {
	if bad := info.Mode &^ (object.ModeType | 0o775); bad != 0 && info.IsRegular() {
		return fmt.Errorf("invalid mode 0%04o with bits 0%04o", info.Mode, bad)
	}
	return nil
}

func (t *Txn) writeSymlink(info object.FileInfo) (object.ID, error) {
	id, _ := object.ContentID(info, nil)
	n := object.Name{ID: id, Kind: object.KindFile}
	if ok, err := t.Has(n); ok || err != nil {
		return id, err
	}
	return id, t.stageSymlink(n, info)
}

func (t *Txn) writeSmall(info object.FileInfo, size int64, r io.Reader) (object.ID, error) {
	bp := smallBuffers.Get().(*[]byte)
	defer smallBuffers.Put(bp)
	data := (*bp)[:size]
	if size > 0 {
		if _, err := io.ReadFull(r, data); err != nil {
			return object.ID{}, shortRead(err)
		}
	}
	h := object.NewHash(info)
	h.Write(data)
	n := object.Name{ID: object.SumID(h), Kind: object.KindFile}
	if ok, err := t.Has(n); ok || err != nil {
		return n.ID, err
	}
	t.addBytes(size)
	if t.r.mode != ModeArchive {
		return n.ID, t.stageBytes(n, data, &info)
	}
	d := getDeflater(t.level)
	defer putDeflater(t.level, d)
	d.buf.Reset()
	d.buf.Write(info.ArchiveHeader(uint64(size)))
	if err := d.deflate(data, t.level); err != nil {
		return n.ID, err
	}
	return n.ID, t.stageBytes(n, d.buf.Bytes(), &info)
}

// deflate compresses data, which is all of a file, behind what the buffer holds.
func (d *deflater) deflate(data []byte, level int) error {
	if len(data) == 0 || len(data) > oneBlock {
		d.z.Reset(&d.buf)
		_, err := d.z.Write(data)
		return errors.Join(err, d.z.Close())
	}
	// The other compressor stores as it is what it finds too small to be worth while.
	if d.small == nil {
		d.small, _ = stdflate.NewWriter(&d.buf, level)
	}
	head := d.buf.Len()
	d.small.Reset(&d.buf)
	if _, err := d.small.Write(data); err != nil {
		return err
	}
	if err := d.small.Close(); err != nil {
		return err
	}
	d.buf.Truncate(head + oneFinalBlock(d.buf.Bytes()[head:], int64(len(data))))
	return nil
}

// oneBlock is a size that is surely compressed into one block.
const oneBlock = 4096

// oneFinalBlock makes the first block of a deflate stream its last, in place of the empty one that the compressor always
// writes behind it, and returns the length that is left. Of a small file these five bytes are a good part, and zlib
// does not spend them. A stream that is not then still size bytes of content stays as it is.
func oneFinalBlock(stream []byte, size int64) int {
	stream[0] |= 1
	in := bytes.NewReader(stream) // it reads byte by byte, so that what it leaves is what is not needed
	z := inflaters.Get().(io.ReadCloser)
	defer inflaters.Put(z)
	if err := z.(flate.Resetter).Reset(in, nil); err == nil {
		if n, err := io.Copy(io.Discard, z); err == nil && n == size {
			return len(stream) - in.Len()
		}
	}
	stream[0] &^= 1
	return len(stream)
}

func shortRead(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the file is shorter than announced; did it change?")
	}
	return err
}

func (t *Txn) addBytes(n int64) {
	t.mu.Lock()
	t.stats.ContentBytes += n
	t.mu.Unlock()
}

// writeLarge hashes first where it can read twice, then stores and hashes again what it stores (R1): the file may have
// changed in between.
func (t *Txn) writeLarge(info object.FileInfo, size int64, r io.Reader) (object.ID, error) {
	var want object.ID
	seeker, twice := r.(io.ReadSeeker)
	if twice {
		start, err := seeker.Seek(0, io.SeekCurrent)
		if err != nil {
			return want, err
		}
		h := object.NewHash(info)
		if err := copyExactly(h, seeker, size); err != nil {
			return want, err
		}
		want = object.SumID(h)
		if ok, err := t.Has(object.Name{ID: want, Kind: object.KindFile}); ok || err != nil {
			return want, err
		}
		if _, err := seeker.Seek(start, io.SeekStart); err != nil {
			return want, err
		}
	}
	s, err := t.create()
	if err != nil {
		return want, err
	}
	id, err := t.storeStream(s, info, size, r)
	if err == nil && twice && id != want {
		err = errors.New("the file changed while it was read")
	}
	n := object.Name{ID: id, Kind: object.KindFile}
	var there bool
	if err == nil && !twice {
		there, err = t.Has(n)
	}
	if err == nil && !there {
		err = s.setAttributes(info)
	}
	if err != nil || there {
		s.discard()
		return id, err
	}
	t.addBytes(size)
	return id, t.keep(n, s, false)
}

// storeStream writes content in the form of the repository and returns the name that it has.
func (t *Txn) storeStream(s *stagedFile, info object.FileInfo, size int64, r io.Reader) (object.ID, error) {
	h := object.NewHash(info)
	if t.r.mode != ModeArchive {
		if f, ok := r.(*os.File); ok && s.clone(f, size) {
			// The blocks are shared now: the hash is of what is in the clone.
			err := copyExactly(h, io.NewSectionReader(fdReader(s.fd), 0, size), size)
			return object.SumID(h), err
		}
		err := copyExactly(io.MultiWriter(h, s), r, size)
		return object.SumID(h), err
	}
	if _, err := s.Write(info.ArchiveHeader(uint64(size))); err != nil {
		return object.ID{}, err
	}
	d := getDeflater(t.level)
	defer putDeflater(t.level, d)
	out := &blockWriter{w: s, buf: &d.buf}
	d.buf.Reset()
	d.z.Reset(out)
	err := copyExactly(io.MultiWriter(h, d.z), r, size)
	if err == nil {
		err = d.z.Close()
	}
	if err == nil {
		err = out.flush()
	}
	return object.SumID(h), err
}

// clone makes s share the blocks of f, where the file system can and f is read from its start.
func (s *stagedFile) clone(f *os.File, size int64) bool {
	if at, err := f.Seek(0, io.SeekCurrent); err != nil || at != 0 {
		return false
	}
	if unix.IoctlFileClone(s.fd, int(f.Fd())) != nil {
		return false
	}
	var st unix.Stat_t
	if unix.Fstat(s.fd, &st) != nil || st.Size != size {
		_ = unix.Ftruncate(s.fd, 0)
		return false
	}
	return true
}

// fdReader reads a file by its descriptor without owning it.
type fdReader int

func (fd fdReader) ReadAt(p []byte, off int64) (int, error) {
	n, err := unix.Pread(int(fd), p, off)
	if err == nil && n < len(p) {
		err = io.EOF
	}
	return max(n, 0), err
}

// blockWriter gathers small writes.
type blockWriter struct {
	w   io.Writer
	buf *bytes.Buffer
}

func (b *blockWriter) Write(p []byte) (int, error) {
	b.buf.Write(p)
	if b.buf.Len() >= smallFile/2 {
		return len(p), b.flush()
	}
	return len(p), nil
}

func (b *blockWriter) flush() error {
	_, err := b.w.Write(b.buf.Bytes())
	b.buf.Reset()
	return err
}

// copyExactly copies size bytes.
func copyExactly(w io.Writer, r io.Reader, size int64) error {
	bp := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(bp)
	n, err := io.CopyBuffer(struct{ io.Writer }{w}, io.LimitReader(r, size), *bp)
	if err == nil && n < size {
		err = io.ErrUnexpectedEOF
	}
	return shortRead(err)
}
