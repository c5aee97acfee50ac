package delta

import (
	"errors"
	"fmt"
	"math/bits"

	"photree/internal/gvariant"
	"photree/repo/object"
)

// SuperblockType is the GVariant type of a superblock, SignedType that of one with signatures around it.
const (
	SuperblockType = "(a{sv}tayay" + object.CommitType + "aya(uayttay)a(yaytt))"
	SignedType     = "(taya{sv})"

	// signedMagic is "OSTSGNDT", big-endian.
	signedMagic = 0x4F535453474E4454

	// MaxSuperblock is the most bytes that a superblock may have (R7). Inline parts count.
	MaxSuperblock = object.MaxMetadataSize

	endiannessKey = "ostree.endianness"
	partVersion   = 0
	nameLen       = 1 + 32 // of an object in the list of a part: its kind and its checksum
)

// Superblock says what a delta leads from and to, and what it consists of.
type Superblock struct {
	Metadata  gvariant.Dict
	Timestamp uint64
	From      object.ID // zero: from nothing
	To        object.ID
	Commit    []byte // the commit object To
	Parts     []Part
	Fallbacks []Fallback

	// Swapped says that the sizes were written in big-endian order. Guessed says that the superblock itself did not tell.
	Swapped, Guessed bool
	// Signed says that Decode found signatures around it; nobody has checked them.
	Signed bool
}

// Part describes one part: the digest and size of its file, the sum of the sizes of the objects that it makes, and
// their names in the order in which its operations make them.
type Part struct {
	Version     uint32
	Checksum    object.ID
	Size, USize uint64
	Objects     []object.Name
}

// Fallback is an object that the delta leaves out because it would not be smaller in it: it is fetched by its name.
type Fallback struct {
	Object      object.Name
	Size, USize uint64 // compressed, uncompressed
}

// Name returns the name of the delta, FROM-TO or TO.
func (s *Superblock) Name() string { return Name(s.From, s.To) }

// Inline returns the bytes of part i when the superblock holds them.
func (s *Superblock) Inline(i int) ([]byte, bool) {
	v, ok := s.Metadata.Get(PartPath(s.From, s.To, i))
	if !ok || v.Type() != "(yay)" {
		return nil, false
	}
	return v.Bytes(), true
}

// Detached returns the detached metadata of the commit when the superblock holds it. It is as trustworthy as the
// signatures in it.
func (s *Superblock) Detached() (gvariant.Dict, bool) {
	v, ok := s.Metadata.Get(detachedKey(s.From, s.To))
	if !ok || v.Type() != "a{sv}" {
		return nil, false
	}
	return v.Dict(), true
}

// DownloadSize is how many bytes a client fetches for the delta, beside the superblock and with the fallbacks.
func (s *Superblock) DownloadSize() uint64 {
	var n uint64
	for i, p := range s.Parts {
		if _, inline := s.Inline(i); !inline {
			n += p.Size
		}
	}
	for _, f := range s.Fallbacks {
		n += f.Size
	}
	return n
}

// Unwrap returns the superblock inside a signed one and the signatures; of one that is not signed it returns data and
// nil. The signatures are over the bytes that it returns.
func Unwrap(data []byte) ([]byte, gvariant.Dict, error) {
	if !isSigned(data) {
		return data, nil, nil
	}
	v, err := gvariant.Parse(SignedType, data)
	if err != nil {
		return nil, nil, fmt.Errorf("decoding a signed static delta: %w", err)
	}
	signatures := v.Index(2).Dict()
	if signatures == nil {
		signatures = gvariant.Dict{}
	}
	return v.Index(1).ByteSlice(), signatures, nil
}

func isSigned(data []byte) bool {
	const magic = "OSTSGNDT"
	return len(data) >= len(magic) && string(data[:len(magic)]) == magic
}

// Wrap is the inverse of Unwrap.
func Wrap(superblock []byte, signatures gvariant.Dict) []byte {
	return gvariant.Tuple(gvariant.Uint64(gvariant.BE64(signedMagic)), gvariant.Bytes(superblock), signatures.Value()).Bytes()
}

// Decode reads a superblock, signed or not. Signatures are not checked: see Unwrap.
func Decode(data []byte) (*Superblock, error) {
	signed := isSigned(data)
	data, _, err := Unwrap(data)
	if err != nil {
		return nil, err
	}
	v, err := gvariant.Parse(SuperblockType, data)
	if err != nil {
		return nil, fmt.Errorf("decoding a static delta: %w", err)
	}
	s := &Superblock{Metadata: v.Index(0).Dict(), Timestamp: gvariant.BE64(v.Index(1).Uint64()), Commit: v.Index(4).Bytes(), Signed: signed}
	err = errors.Join(optionalID(&s.From, v.Index(2)), setID(&s.To, v.Index(3)))
	if err == nil && object.MetadataID(s.Commit) != s.To {
		err = fmt.Errorf("the commit in it has the checksum %s and not %s", object.MetadataID(s.Commit), s.To)
	}
	if err == nil {
		// Deltas that build on other deltas were planned once; no program ever wrote one.
		if v.Index(5).Len() != 0 {
			err = errors.New("it builds on other deltas, which is not supported")
		}
	}
	if err == nil {
		err = s.decodeParts(v.Index(6))
	}
	if err == nil {
		err = s.decodeFallbacks(v.Index(7))
	}
	if err != nil {
		return nil, fmt.Errorf("decoding a static delta: %w", err)
	}
	s.order()
	return s, nil
}

func setID(id *object.ID, v gvariant.Value) error {
	if b := v.ByteSlice(); copy(id[:], b) != len(b) || len(b) != len(id) {
		return fmt.Errorf("a checksum of %d bytes", len(b))
	}
	if id.IsZero() {
		return errors.New("a checksum of zeros")
	}
	return nil
}

func optionalID(id *object.ID, v gvariant.Value) error {
	if v.Len() == 0 {
		return nil
	}
	return setID(id, v)
}

func (s *Superblock) decodeParts(v gvariant.Value) error {
	s.Parts = make([]Part, v.Len())
	for i := range s.Parts {
		e, p := v.Index(i), &s.Parts[i]
		p.Version, p.Size, p.USize = e.Index(0).Uint32(), e.Index(2).Uint64(), e.Index(3).Uint64()
		if err := setID(&p.Checksum, e.Index(1)); err != nil {
			return fmt.Errorf("part %d: %w", i, err)
		}
		list := e.Index(4).ByteSlice()
		if len(list)%nameLen != 0 {
			return fmt.Errorf("part %d: a list of objects of %d bytes", i, len(list))
		}
		p.Objects = make([]object.Name, len(list)/nameLen)
		for j := range p.Objects {
			n := &p.Objects[j]
			n.Kind = object.Kind(list[j*nameLen])
			copy(n.ID[:], list[j*nameLen+1:])
			if err := checkKind(*n); err != nil {
				return fmt.Errorf("part %d: %w", i, err)
			}
		}
	}
	return nil
}

func (s *Superblock) decodeFallbacks(v gvariant.Value) error {
	s.Fallbacks = make([]Fallback, v.Len())
	for i := range s.Fallbacks {
		e, f := v.Index(i), &s.Fallbacks[i]
		f.Object.Kind = object.Kind(e.Index(0).Byte())
		f.Size, f.USize = e.Index(2).Uint64(), e.Index(3).Uint64()
		if err := setID(&f.Object.ID, e.Index(1)); err != nil {
			return fmt.Errorf("fallback %d: %w", i, err)
		}
		if err := checkKind(f.Object); err != nil {
			return fmt.Errorf("fallback %d: %w", i, err)
		}
	}
	return nil
}

// checkKind lets files and trees through. A commit in a part would be published without a partial mark (R3); the one of
// the delta stands in the superblock.
func checkKind(n object.Name) error {
	switch n.Kind {
	case object.KindFile, object.KindDirTree, object.KindDirMeta:
		return nil
	}
	return fmt.Errorf("object %s is of a kind that no delta holds", n)
}

// order finds out in which byte order the sizes are, and puts them into this machine's.
func (s *Superblock) order() {
	v, told := s.Metadata.Get(endiannessKey)
	switch {
	case told && v.Type() == "y" && v.Byte() == 'B':
		s.Swapped = true
	case told && v.Type() == "y" && v.Byte() == 'l':
	default:
		s.Guessed, s.Swapped = true, s.looksSwapped()
	}
	if !s.Swapped {
		return
	}
	for i := range s.Parts {
		p := &s.Parts[i]
		p.Version, p.Size, p.USize = bits.ReverseBytes32(p.Version), bits.ReverseBytes64(p.Size), bits.ReverseBytes64(p.USize)
	}
	for i := range s.Fallbacks {
		f := &s.Fallbacks[i]
		f.Size, f.USize = bits.ReverseBytes64(f.Size), bits.ReverseBytes64(f.USize)
	}
}

// looksSwapped guesses for the deltas of before 2015, as ostree does: no compression makes a part 1.2 times as large,
// and no part has objects of more than 4 GiB on the average.
func (s *Superblock) looksSwapped() bool {
	var total float64
	objects := 0
	for _, p := range s.Parts {
		if float64(p.Size) > 1.2*float64(p.USize) {
			return true
		}
		total += float64(p.Size)
		objects += len(p.Objects)
	}
	return objects > 0 && total/float64(objects) > 4<<30
}

// Encode returns the superblock, with the sizes in the order that Swapped says.
func (s *Superblock) Encode() []byte {
	u32, u64 := gvariant.Uint32, gvariant.Uint64
	if s.Swapped {
		u32 = func(x uint32) gvariant.Value { return gvariant.Uint32(bits.ReverseBytes32(x)) }
		u64 = func(x uint64) gvariant.Value { return gvariant.Uint64(bits.ReverseBytes64(x)) }
	}
	commit, err := gvariant.Parse(object.CommitType, s.Commit)
	if err != nil {
		panic("delta: encoding a superblock with a damaged commit: " + err.Error())
	}
	var from []byte
	if !s.From.IsZero() {
		from = s.From[:]
	}
	parts := make([]gvariant.Value, len(s.Parts))
	for i, p := range s.Parts {
		list := make([]byte, 0, len(p.Objects)*nameLen)
		for _, n := range p.Objects {
			list = append(append(list, byte(n.Kind)), n.ID[:]...)
		}
		parts[i] = gvariant.Tuple(u32(p.Version), gvariant.Bytes(p.Checksum[:]), u64(p.Size), u64(p.USize), gvariant.Bytes(list))
	}
	fallbacks := make([]gvariant.Value, len(s.Fallbacks))
	for i, f := range s.Fallbacks {
		fallbacks[i] = gvariant.Tuple(gvariant.Byte(byte(f.Object.Kind)), gvariant.Bytes(f.Object.ID[:]), u64(f.Size), u64(f.USize))
	}
	return gvariant.Tuple(s.Metadata.Value(), gvariant.Uint64(gvariant.BE64(s.Timestamp)), gvariant.Bytes(from),
		gvariant.Bytes(s.To[:]), commit, gvariant.Bytes(nil), gvariant.Array("(uayttay)", parts...),
		gvariant.Array("(yaytt)", fallbacks...)).Bytes()
}
