package delta

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"photree/internal/durable"
	"photree/internal/gvariant"
	"photree/repo"
	"photree/repo/object"
)

// GenerateOptions are the choices of Generate; sizes of 0 are the defaults, negative ones take the limit away.
type GenerateOptions struct {
	From object.ID // zero: from nothing
	To   object.ID
	// MinFallbackSize is the size from which a file without a source is left out of the delta (4 MB).
	MinFallbackSize int64
	// MaxBsdiffSize is the size up to which files are patched byte by byte (128 MB); larger ones by whole chunks.
	MaxBsdiffSize int64
	// MaxChunkSize is the size, before compression, at which a part is full (16 MB).
	MaxChunkSize  int64
	DisableBsdiff bool
	Inline        bool // put the parts into the superblock
	BigEndian     bool // write the sizes in big-endian order
	// Filename is where the superblock goes, with the parts beside it, rather than into the repository.
	Filename string
	// Metadata is added in front of the superblock's own.
	Metadata gvariant.Dict
	// Sign, where set, returns the signatures of the superblock.
	Sign func(data []byte) (gvariant.Dict, error)
	// Progress is told which of all objects is being packed.
	Progress func(done, total int)
}

// GenerateStats says what a delta holds.
type GenerateStats struct {
	Parts, Objects         int
	Patched, Copied, Whole int
	Fallbacks              int
	Packed, Unpacked       int64 // bytes of the parts, and of the objects that they make
	FallbackSize           int64
	Superblock             int64
}

func orDefault(x, def int64) int64 {
	switch {
	case x == 0:
		return def
	case x < 0:
		return 1 << 62
	}
	return x
}

// Generate writes the delta between two commits of a repository. The same commits and options give the same bytes.
func Generate(ctx context.Context, r *repo.Repo, o GenerateOptions) (GenerateStats, error) {
	stats, err := generate(ctx, r, o)
	if err != nil {
		return stats, fmt.Errorf("generating static delta %s: %w", Name(o.From, o.To), err)
	}
	return stats, nil
}

func generate(ctx context.Context, r *repo.Repo, o GenerateOptions) (GenerateStats, error) {
	o.MinFallbackSize = orDefault(o.MinFallbackSize, 4_000_000)
	o.MaxBsdiffSize = orDefault(o.MaxBsdiffSize, 128_000_000)
	o.MaxChunkSize = orDefault(o.MaxChunkSize, 16_000_000)
	to, commit, err := loadTree(r, o.To)
	if err != nil {
		return GenerateStats{}, err
	}
	var from *content
	if !o.From.IsZero() {
		if from, _, err = loadTree(r, o.From); err != nil {
			return GenerateStats{}, err
		}
	}
	p, err := makePlan(r, from, to)
	if err != nil {
		return GenerateStats{}, err
	}
	w, err := newDeltaWriter(r, &o)
	if err != nil {
		return GenerateStats{}, err
	}
	g := &generator{r: r, o: &o, w: w}
	if err := g.pack(ctx, p); err != nil {
		w.abort()
		return g.stats, err
	}
	// The time of the commit, not of the day: a delta is a function of the commits.
	s := &Superblock{From: o.From, To: o.To, Timestamp: commit.Timestamp, Parts: w.parts, Fallbacks: g.fallbacks, Swapped: o.BigEndian}
	if s.Commit, err = r.LoadMetadata(object.Name{ID: o.To, Kind: object.KindCommit}); err != nil {
		return g.stats, err
	}
	err = w.finish(s, &g.stats)
	return g.stats, err
}

// deltaWriter stores the parts of a delta as they are made, and its superblock at the end.
type deltaWriter struct {
	r          *repo.Repo
	o          *GenerateOptions
	dir        string
	superblock string
	parts      []Part
	inline     gvariant.Dict
}

func newDeltaWriter(r *repo.Repo, o *GenerateOptions) (*deltaWriter, error) {
	w := &deltaWriter{r: r, o: o, dir: filepath.Join(r.Path(), Dir(o.From, o.To)), superblock: "superblock"}
	if o.Filename != "" {
		w.dir, w.superblock = filepath.Split(filepath.Clean(o.Filename))
		w.dir = filepath.Clean(w.dir)
		return w, nil
	}
	if err := durable.Mkdir(w.dir, 0o755); err != nil {
		return nil, err
	}
	// An earlier delta of these commits, made with other options, must not be seen with the parts of this one.
	return w, durable.Remove(filepath.Join(w.dir, w.superblock))
}

// abort removes what was written; a delta without a superblock is none.
func (w *deltaWriter) abort() {
	for i := range w.parts {
		if _, ok := w.inline.Get(PartPath(w.o.From, w.o.To, i)); !ok {
			os.Remove(filepath.Join(w.dir, strconv.Itoa(i)))
		}
	}
	if w.o.Filename == "" {
		os.Remove(w.dir)
	}
}

// part stores the next part.
func (w *deltaWriter) part(h Part, data []byte) error {
	i := len(w.parts)
	w.parts = append(w.parts, h)
	if w.o.Inline {
		v, err := gvariant.Parse(partType, data)
		if err != nil {
			return err
		}
		w.inline.Set(PartPath(w.o.From, w.o.To, i), v)
		return nil
	}
	return durable.ReplaceFile(filepath.Join(w.dir, strconv.Itoa(i)), data, 0o644)
}

// finish writes the superblock, which makes the delta visible, after the parts are durable.
func (w *deltaWriter) finish(s *Superblock, stats *GenerateStats) error {
	endian := byte('l')
	if s.Swapped {
		endian = 'B'
	}
	s.Metadata = append(gvariant.Dict(nil), w.o.Metadata...)
	s.Metadata.Set(endiannessKey, gvariant.Byte(endian))
	s.Metadata = append(s.Metadata, w.inline...)
	detached, err := w.r.DetachedMetadata(s.To)
	if err != nil {
		return err
	}
	if len(detached) > 0 {
		s.Metadata.Set(detachedKey(s.From, s.To), detached.Value())
	}
	data := s.Encode()
	if w.o.Sign != nil {
		signatures, err := w.o.Sign(data)
		if err != nil {
			return fmt.Errorf("signing: %w", err)
		}
		data = Wrap(data, signatures)
	}
	if len(data) > MaxSuperblock {
		return fmt.Errorf("with its parts the superblock has %d bytes, and may have %d: do not put them inline", len(data), MaxSuperblock)
	}
	stats.Superblock = int64(len(data))
	if err := w.removeOldParts(len(s.Parts)); err != nil {
		return err
	}
	if err := durable.SyncDir(w.dir); err != nil {
		return err
	}
	return durable.WriteFile(filepath.Join(w.dir, w.superblock), data, 0o644)
}

// removeOldParts removes the parts that an earlier and larger delta had.
func (w *deltaWriter) removeOldParts(n int) error {
	if w.o.Filename != "" {
		return nil
	}
	if w.o.Inline {
		n = 0
	}
	for ; ; n++ {
		err := os.Remove(filepath.Join(w.dir, strconv.Itoa(n)))
		if os.IsNotExist(err) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
