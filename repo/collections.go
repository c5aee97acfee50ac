package repo

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"photree/internal/gvariant"
	"photree/repo/object"
)

// CollectionID returns the collection that the refs of this repository belong to, or "".
func (r *Repo) CollectionID() string {
	id, _ := r.Config().Get("core", "collection-id")
	return id
}

// CollectionRefs returns the refs whose collection is known, by collection and name: the heads where the repository has
// a collection id, those of mirrors and, when remotes is set, those of remotes that have one. Remote stays set in these.
func (r *Repo) CollectionRefs(remotes bool) ([]Ref, error) {
	refs, err := r.Refs()
	if err != nil {
		return nil, err
	}
	configured := map[string]string{}
	if remotes {
		all, err := r.Remotes()
		if err != nil {
			return nil, err
		}
		for _, rem := range all {
			configured[rem.Name], _ = rem.Get("collection-id")
		}
	}
	own := r.CollectionID()
	var out []Ref
	for _, ref := range refs {
		switch {
		case ref.Collection != "":
		case ref.Remote != "":
			ref.Collection = configured[ref.Remote]
		default:
			ref.Collection = own
		}
		if ref.Collection != "" {
			out = append(out, ref)
		}
	}
	slices.SortStableFunc(out, func(a, b Ref) int {
		return 2*strings.Compare(a.Collection, b.Collection) + strings.Compare(a.Name, b.Name)
	})
	return out, nil
}

// CollectionRef returns the commit that a ref of a collection names; the error wraps ErrNotFound when there is none.
func (r *Repo) CollectionRef(collection, name string) (object.ID, error) {
	if collection == r.CollectionID() {
		return r.Ref("", name)
	}
	return r.MirrorRef(collection, name)
}

// SetCollectionRef is SetRef for a ref of a collection: a head in the repository's own, else one of a mirror.
func (t *Txn) SetCollectionRef(collection, name string, id object.ID) error {
	if collection == t.r.CollectionID() {
		return t.SetRef("", name, id)
	}
	return t.SetMirrorRef(collection, name, id)
}

// collectionMapKey is where a summary has the refs of collections other than its own.
const (
	collectionMapKey  = "ostree.summary.collection-map"
	collectionIDKey   = "ostree.summary.collection-id"
	collectionMapType = "a{sa(s(taya{sv}))}"
)

// SummaryCollection are the refs that a summary has for one collection, by name.
type SummaryCollection struct {
	ID   string
	Refs []SummaryRef
}

// Collections returns the refs by collection; none when the summary says nothing of collections.
func (s Summary) Collections() ([]SummaryCollection, error) {
	var out []SummaryCollection
	if id := s.Metadata.GetString(collectionIDKey); id != "" {
		out = append(out, SummaryCollection{id, s.Refs})
	}
	v, ok := s.Metadata.Get(collectionMapKey)
	if !ok {
		return out, nil
	}
	if v.Type() == "v" {
		v = v.Variant()
	}
	if v.Type() != collectionMapType {
		return nil, errors.New("decoding a summary: its map of collections is of another type")
	}
	for i := range v.Len() {
		e := v.Index(i)
		refs, err := decodeSummaryRefs(e.Index(1))
		if err != nil {
			return nil, err
		}
		out = append(out, SummaryCollection{e.Index(0).Str(), refs})
	}
	return out, nil
}

// FindInCollection returns the ref called name of a collection.
func (s Summary) FindInCollection(collection, name string) (SummaryRef, bool) {
	all, err := s.Collections()
	if err != nil {
		return SummaryRef{}, false
	}
	for _, c := range all {
		if c.ID == collection {
			return Summary{Refs: c.Refs}.Find(name)
		}
	}
	return SummaryRef{}, false
}

// collectionMap is the value of the map of collections for the refs of r, of which those of its own are left out.
func (r *Repo) collectionMap() (gvariant.Value, bool, error) {
	refs, err := r.CollectionRefs(true)
	if err != nil {
		return gvariant.Value{}, false, err
	}
	own := r.CollectionID()
	var entries []gvariant.Value
	for i := 0; i < len(refs); {
		id := refs[i].Collection
		var list []gvariant.Value
		for ; i < len(refs) && refs[i].Collection == id; i++ {
			if i > 0 && refs[i-1].Collection == id && refs[i-1].Name == refs[i].Name {
				continue // of two remotes; the first counts
			}
			sr, err := r.summaryRef(refs[i])
			if err != nil {
				return gvariant.Value{}, false, err
			}
			list = append(list, sr.value())
		}
		if id != own {
			entries = append(entries, gvariant.DictEntry(gvariant.String(id), gvariant.Array("(s(taya{sv}))", list...)))
		}
	}
	return gvariant.Array("{sa(s(taya{sv}))}", entries...), len(entries) > 0, nil
}

// summaryRef makes the line of a summary for one ref.
func (r *Repo) summaryRef(ref Ref) (SummaryRef, error) {
	data, err := r.LoadMetadata(object.Name{ID: ref.ID, Kind: object.KindCommit})
	if err != nil {
		return SummaryRef{}, fmt.Errorf("ref %s: %w", ref.Name, err)
	}
	c, err := object.DecodeCommit(data)
	if err != nil {
		return SummaryRef{}, fmt.Errorf("ref %s: %w", ref.Name, err)
	}
	sr := SummaryRef{Name: ref.Name, Size: uint64(len(data)), ID: ref.ID}
	if v := c.Metadata.GetString("version"); v != "" {
		sr.Metadata.Set("ostree.commit.version", gvariant.String(v))
	}
	sr.Metadata.Set("ostree.commit.timestamp", gvariant.Uint64(gvariant.BE64(c.Timestamp)))
	return sr, nil
}

func (s SummaryRef) value() gvariant.Value {
	return gvariant.Tuple(gvariant.String(s.Name),
		gvariant.Tuple(gvariant.Uint64(s.Size), gvariant.Bytes(s.ID[:]), s.Metadata.Value()))
}

func decodeSummaryRefs(refs gvariant.Value) ([]SummaryRef, error) {
	out := make([]SummaryRef, refs.Len())
	for i := range out {
		e := refs.Index(i)
		in := e.Index(1)
		r := SummaryRef{Name: e.Index(0).Str(), Size: in.Index(0).Uint64(), Metadata: in.Index(2).Dict()}
		if err := CheckRefName(r.Name); err != nil {
			return nil, fmt.Errorf("decoding a summary: %w", err)
		}
		if n := copy(r.ID[:], in.Index(1).ByteSlice()); n != len(r.ID) || in.Index(1).Len() != n {
			return nil, fmt.Errorf("decoding a summary: ref %s: a checksum of %d bytes", r.Name, in.Index(1).Len())
		}
		if i > 0 && out[i-1].Name >= r.Name {
			return nil, fmt.Errorf("decoding a summary: ref %s is out of order", r.Name)
		}
		out[i] = r
	}
	return out, nil
}
