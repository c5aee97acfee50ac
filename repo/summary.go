package repo

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"time"

	"photree/internal/gvariant"
	"photree/repo/object"
)

// SummaryType is the GVariant type of a summary.
const SummaryType = "(a(s(taya{sv}))a{sv})"

// Summary says what refs a repository has; clients read it instead of listing.
type Summary struct {
	Refs     []SummaryRef // by name
	Metadata gvariant.Dict
}

// SummaryRef is one ref of a summary.
type SummaryRef struct {
	Name     string
	Size     uint64 // of the commit object
	ID       object.ID
	Metadata gvariant.Dict
}

// Find returns the ref called name.
func (s Summary) Find(name string) (SummaryRef, bool) {
	i := sort.Search(len(s.Refs), func(i int) bool { return s.Refs[i].Name >= name })
	if i < len(s.Refs) && s.Refs[i].Name == name {
		return s.Refs[i], true
	}
	return SummaryRef{}, false
}

// Encode returns the bytes of the file summary.
func (s Summary) Encode() []byte {
	refs := make([]gvariant.Value, len(s.Refs))
	for i, r := range s.Refs {
		refs[i] = r.value()
	}
	return gvariant.Tuple(gvariant.Array("(s(taya{sv}))", refs...), s.Metadata.Value()).Bytes()
}

// DecodeSummary reads a summary.
func DecodeSummary(data []byte) (Summary, error) {
	v, err := gvariant.Parse(SummaryType, data)
	if err != nil {
		return Summary{}, fmt.Errorf("decoding a summary: %w", err)
	}
	s := Summary{Metadata: v.Index(1).Dict()}
	if s.Refs, err = decodeSummaryRefs(v.Index(0)); err != nil {
		return Summary{}, err
	}
	return s, nil
}

// SummaryOptions are the choices of UpdateSummary.
type SummaryOptions struct {
	Metadata gvariant.Dict // further keys
	// Sign returns the signatures of the summary's bytes, as they are to stand in summary.sig. Without it the summary is
	// not signed, and the signatures of the old one go.
	Sign func(summary []byte) (gvariant.Dict, error)
}

// UpdateSummary writes the file summary anew, with its signatures. The same refs and SOURCE_DATE_EPOCH give the same
// bytes.
func (r *Repo) UpdateSummary(ctx context.Context, opts SummaryOptions) error {
	lock, err := r.lock(ctx, false)
	if err != nil {
		return err
	}
	defer lock.release()
	unlock, err := r.lockSummary()
	if err != nil {
		return err
	}
	defer unlock()
	// The summary says that the deltas have indexes.
	if err := r.ReindexDeltas(object.ID{}); err != nil {
		return err
	}
	s, err := r.makeSummary(opts)
	if err != nil {
		return fmt.Errorf("updating the summary of %s: %w", r.path, err)
	}
	data := s.Encode()
	var signatures []byte
	if opts.Sign != nil {
		d, err := opts.Sign(data)
		if err != nil {
			return fmt.Errorf("updating the summary of %s: %w", r.path, err)
		}
		signatures = d.Value().Bytes()
	}
	return r.publishSummary(data, signatures)
}

// LoadSummary returns the summary of this repository; the error wraps ErrNotFound when there is none.
func (r *Repo) LoadSummary() (Summary, error) {
	data, err := readLimited(filepath.Join(r.path, "summary"))
	if errors.Is(err, os.ErrNotExist) {
		return Summary{}, fmt.Errorf("summary of %s: %w", r.path, ErrNotFound)
	}
	if err != nil {
		return Summary{}, err
	}
	return DecodeSummary(data)
}

func (r *Repo) makeSummary(opts SummaryOptions) (Summary, error) {
	var s Summary
	refs, err := r.refsBelow(Ref{})
	if err != nil {
		return s, err
	}
	for _, ref := range refs {
		sr, err := r.summaryRef(ref)
		if err != nil {
			return s, err
		}
		s.Refs = append(s.Refs, sr)
	}
	return s, r.summaryMetadata(&s.Metadata, opts)
}

// summaryMetadata writes the keys in the order that ostree 2022.7 has for them, then what the caller adds, by name.
func (r *Repo) summaryMetadata(d *gvariant.Dict, opts SummaryOptions) error {
	cfg := r.Config()
	now, err := summaryTime()
	if err != nil {
		return err
	}
	tombstones, err1 := cfg.Bool("core", "tombstone-commits", false)
	noDeltas, err2 := cfg.Bool("core", "no-deltas-in-summary", false)
	if err := errors.Join(err1, err2); err != nil {
		return fmt.Errorf("config: %w", err)
	}
	d.Set("ostree.summary.mode", gvariant.String(string(r.mode)))
	d.Set("ostree.summary.last-modified", gvariant.Uint64(gvariant.BE64(now)))
	d.Set("ostree.summary.tombstone-commits", gvariant.Bool(tombstones))
	d.Set("ostree.summary.indexed-deltas", gvariant.Bool(true))
	if id := r.CollectionID(); id != "" {
		d.Set(collectionIDKey, gvariant.String(id))
	}
	collections, any, err := r.collectionMap()
	if err != nil {
		return err
	}
	if any {
		d.Set(collectionMapKey, collections)
	}
	deltas, err := r.deltaDigests()
	if err != nil {
		return err
	}
	if len(deltas) > 0 && !noDeltas {
		d.Set("ostree.static-deltas", deltas.Value())
	}
	extra := append(gvariant.Dict(nil), opts.Metadata...)
	sort.SliceStable(extra, func(i, j int) bool { return extra[i].Key < extra[j].Key })
	for _, e := range extra {
		d.Set(e.Key, e.Value)
	}
	return nil
}

func summaryTime() (uint64, error) {
	s := os.Getenv("SOURCE_DATE_EPOCH")
	if s == "" {
		return uint64(time.Now().Unix()), nil
	}
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil {
		return 0, fmt.Errorf("SOURCE_DATE_EPOCH is %q, which is not a number of seconds", s)
	}
	return n, nil
}

// Delta is a static delta that is in the repository; From is zero when it needs no commit.
type Delta struct {
	From, To object.ID
	Dir      string // below the repository
}

// Name returns FROM-TO, or TO.
func (d Delta) Name() string {
	if d.From.IsZero() {
		return d.To.String()
	}
	return d.From.String() + "-" + d.To.String()
}

// Deltas returns the static deltas of the repository, by name.
func (r *Repo) Deltas() ([]Delta, error) {
	dirs, err := filepath.Glob(filepath.Join(r.path, "deltas", "??", "*"))
	if err != nil {
		return nil, err
	}
	var out []Delta
	for _, dir := range dirs {
		rel, _ := filepath.Rel(r.path, dir)
		name := strings.TrimPrefix(filepath.ToSlash(rel), "deltas/")
		from, to, both := strings.Cut(strings.Replace(name, "/", "", 1), "-")
		if !both {
			from, to = "", from
		}
		if _, err := os.Lstat(filepath.Join(dir, "superblock")); err != nil {
			continue // being made, or removed
		}
		d := Delta{Dir: rel}
		if d.To, err = deltaID(to); err != nil {
			continue // not one of ours
		}
		if both {
			if d.From, err = deltaID(from); err != nil {
				continue
			}
		}
		out = append(out, d)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name() < out[j].Name() })
	return out, nil
}

// deltaID reads a checksum in base64 with '_' for '/'.
func deltaID(s string) (object.ID, error) {
	var id object.ID
	b, err := base64.RawStdEncoding.DecodeString(strings.ReplaceAll(s, "_", "/"))
	if err == nil && len(b) != len(id) {
		err = errors.New("wrong length")
	}
	copy(id[:], b)
	return id, err
}

func (r *Repo) deltaDigests() (gvariant.Dict, error) {
	deltas, err := r.Deltas()
	if err != nil {
		return nil, err
	}
	var out gvariant.Dict
	for _, d := range deltas {
		data, err := readLimited(filepath.Join(r.path, d.Dir, "superblock"))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading static delta %s: %w", d.Name(), err)
		}
		sum := sha256.Sum256(data)
		out.Set(d.Name(), gvariant.Bytes(sum[:]))
	}
	return out, nil
}
