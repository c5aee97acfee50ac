package rpm

import (
	"crypto/md5" //nolint:gosec // the only payload digest of packages before rpm 4.14
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"path"
)

// Entry is one file of the payload.
type Entry struct {
	*File
	// Links are the other names of a hard-linked file. Such a set is one
	// entry: File is its first name.
	Links []*File
	// Size is the number of bytes that Read will give: zero for all but
	// regular files.
	Size uint64
}

// Payload iterates over the files of a package in the order of the archive.
// Ghosts are not in it. Every entry stands in the header's file list, and has
// the size that this list states, or Next fails.
type Payload struct {
	pkg     *Package
	raw     io.Reader // compressed, feeding the digests
	dec     io.ReadCloser
	cpio    cpioReader
	digest  hash.Hash // of the compressed payload
	what    string
	want    string
	index   map[string]int // path to file number
	linkSet map[[2]uint32][]int
	seen    []bool
	waiting map[[2]uint32][]*File // names of hard-linked files whose data did not come yet
	left    uint64                // of the current entry
	err     error
}

const (
	typeMask    = 0o170000
	typeRegular = 0o100000
	typeSymlink = 0o120000
)

// Payload starts to read the payload; it can be read once. At its end it
// compares the digest of the payload, so a caller must reach io.EOF before it
// trusts what it read.
func (p *Package) Payload() (*Payload, error) {
	if p.rest == nil {
		return nil, fmt.Errorf("reading payload of %s: %w", p.NEVRA, ErrNoPayload)
	}
	a := &Payload{pkg: p, raw: p.rest, seen: make([]bool, len(p.Files)),
		index: make(map[string]int, len(p.Files)), linkSet: map[[2]uint32][]int{}, waiting: map[[2]uint32][]*File{}}
	p.rest = nil
	if err := a.pickDigest(); err != nil {
		return nil, fmt.Errorf("reading payload of %s: %w", p.NEVRA, err)
	}
	if a.digest != nil {
		a.raw = io.TeeReader(a.raw, a.digest)
	}
	for i := range p.Files {
		f := &p.Files[i]
		a.index[f.Path] = i
		if f.Mode&typeMask == typeRegular && f.Flags&FileGhost == 0 {
			a.linkSet[f.linkKey()] = append(a.linkSet[f.linkKey()], i)
		}
	}
	dec, err := Decompress(a.raw, p.PayloadCompressor)
	if err != nil {
		return nil, fmt.Errorf("reading payload of %s: %w", p.NEVRA, err)
	}
	a.dec, a.cpio.r = dec, dec
	return a, nil
}

func (f *File) linkKey() [2]uint32 { return [2]uint32{f.Device, f.Inode} }

// pickDigest chooses what the compressed payload is compared with: the digest
// in the header, or the older MD5 of header and payload.
func (a *Payload) pickDigest() (err error) {
	if a.digest, a.what, a.want, err = payloadDigest(a.pkg.header); a.digest != nil || err != nil {
		return err
	}
	if m := a.pkg.sig.bytes(sigMD5); len(m) == md5.Size {
		a.digest, a.what, a.want = md5.New(), "package MD5", hex.EncodeToString(m) //nolint:gosec
		a.digest.Write(a.pkg.header.raw)
	}
	return nil
}

// payloadDigest gives the digest of the compressed payload that a header holds,
// and what computes it; nil when it holds none.
func payloadDigest(h header) (sum hash.Hash, what, want string, err error) {
	want = h.str(tagPayloadDigest)
	if want == "" {
		return nil, "", "", nil
	}
	switch algo := h.uint(tagPayloadDigestAlgo); algo {
	case 8, 0:
		return sha256.New(), "payload SHA-256", want, nil
	case 9:
		return sha512.New384(), "payload SHA-384", want, nil
	case 10:
		return sha512.New(), "payload SHA-512", want, nil
	default:
		return nil, "", "", fmt.Errorf("unknown digest algorithm %d", algo)
	}
}

// Next goes to the next file, past what is left of this one; io.EOF ends.
func (a *Payload) Next() (*Entry, error) {
	if a.err != nil {
		return nil, a.err
	}
	e, err := a.next()
	if err != nil {
		if !errors.Is(err, io.EOF) {
			// That the file is damaged says more than what that broke.
			if d := a.verify(); d != nil {
				err = d
			}
			err = fmt.Errorf("reading payload of %s: %w", a.pkg.NEVRA, err)
		}
		a.err = err
		return nil, err
	}
	return e, nil
}

func (a *Payload) next() (*Entry, error) {
	a.left = 0
	for {
		rec, err := a.cpio.next()
		if errors.Is(err, io.EOF) {
			if e := a.flushLinks(); e != nil {
				return e, nil
			}
			return nil, a.finish()
		}
		if err != nil {
			return nil, err
		}
		i, err := a.find(rec)
		if err != nil {
			return nil, err
		}
		f := &a.pkg.Files[i]
		if a.seen[i] {
			return nil, fmt.Errorf("%s is in it twice", f.Path)
		}
		a.seen[i] = true
		e, err := a.entry(rec, i, f)
		if e != nil || err != nil {
			return e, err
		}
	}
}

// find gives the number of the file that a record is about.
func (a *Payload) find(rec record) (int, error) {
	if rec.stripped {
		if rec.index >= uint32(len(a.pkg.Files)) {
			return 0, fmt.Errorf("it names file %d of %d", rec.index, len(a.pkg.Files))
		}
		return int(rec.index), nil
	}
	name := rec.name
	if !a.pkg.Source {
		name = path.Join("/", name) // "./usr/bin/x", older packages "usr/bin/x"
	}
	if i, ok := a.index[name]; ok {
		return i, nil
	}
	return 0, fmt.Errorf("%q is not in the header's list of files", rec.name)
}

// entry makes the entry for a record, or returns nil for a name of a hard-linked
// file whose data comes with a later name, as rpm writes them.
func (a *Payload) entry(rec record, i int, f *File) (*Entry, error) {
	if !rec.stripped && rec.mode&typeMask != f.Mode&typeMask {
		return nil, fmt.Errorf("%s has the type %o, the header says %o", f.Path, rec.mode&typeMask, f.Mode&typeMask)
	}
	set := []int{i}
	if f.Mode&typeMask == typeRegular && (rec.stripped || rec.nlink > 1) {
		set = a.linkSet[f.linkKey()]
	}
	size := rec.size
	if rec.stripped {
		size = 0
		last := len(set) > 0 && set[len(set)-1] == i
		if t := f.Mode & typeMask; t == typeSymlink || t == typeRegular && (len(set) < 2 || last) {
			size = f.Size
		}
	}
	a.cpio.begin(size)
	if f.Mode&typeMask != typeRegular {
		return &Entry{File: f}, nil // Next skips a symbolic link's text: the header has it
	}
	if len(set) > 1 {
		return a.linked(f, set, size)
	}
	if size != f.Size {
		return nil, fmt.Errorf("%s has %d bytes, the header says %d", f.Path, size, f.Size)
	}
	a.left = size
	return &Entry{File: f, Size: size}, nil
}

func (a *Payload) linked(f *File, set []int, size uint64) (*Entry, error) {
	key := f.linkKey()
	names := append(a.waiting[key], f)
	if size == 0 && (f.Size > 0 || len(names) < len(set)) {
		a.waiting[key] = names
		return nil, nil
	}
	if size != f.Size {
		return nil, fmt.Errorf("%s has %d bytes, the header says %d", f.Path, size, f.Size)
	}
	delete(a.waiting, key)
	a.left = size
	return &Entry{File: names[0], Links: names[1:], Size: size}, nil
}

// flushLinks gives empty hard-linked files of which not every name was in the
// archive. A set that should have had data makes finish fail instead.
func (a *Payload) flushLinks() *Entry {
	for i := range a.pkg.Files {
		key := a.pkg.Files[i].linkKey()
		if names := a.waiting[key]; len(names) > 0 && names[0].Size == 0 {
			delete(a.waiting, key)
			return &Entry{File: names[0], Links: names[1:]}
		}
	}
	return nil
}

// finish verifies that the archive was complete and as the digest says.
func (a *Payload) finish() error {
	for _, names := range a.waiting {
		return fmt.Errorf("the data of %s is missing", names[0].Path)
	}
	// The rest of the stream belongs to the digest, and its checksums to the
	// decompressor; a bomb after the end of the archive is not unpacked.
	if _, err := io.CopyN(io.Discard, a.dec, 1<<20); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("after the last file: %w", truncated(err))
	}
	if err := a.verify(); err != nil {
		return err
	}
	for i := range a.pkg.Files {
		f := &a.pkg.Files[i]
		if !a.seen[i] && f.Flags&(FileGhost|FileMissingOK) == 0 {
			return fmt.Errorf("%s is in the header's list of files and not in the payload", f.Path)
		}
	}
	return io.EOF
}

// verify reads the package to its end and compares the digest.
func (a *Payload) verify() error {
	if a.digest == nil {
		return nil
	}
	if _, err := io.Copy(io.Discard, a.raw); err != nil {
		return err
	}
	if got := hex.EncodeToString(a.digest.Sum(nil)); got != a.want {
		return &DigestError{a.what, got, a.want}
	}
	return nil
}

// Read reads the contents of the current file.
func (a *Payload) Read(b []byte) (int, error) {
	if a.left == 0 {
		return 0, io.EOF
	}
	if uint64(len(b)) > a.left {
		b = b[:a.left]
	}
	n, err := a.cpio.Read(b)
	a.left -= uint64(n)
	if err != nil {
		err = fmt.Errorf("reading payload of %s: %w", a.pkg.NEVRA, truncated(err))
	}
	return n, err
}

// Close releases the decompressor.
func (a *Payload) Close() error { return a.dec.Close() }
