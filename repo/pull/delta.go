package pull

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"photree/internal/gvariant"
	"photree/repo"
	"photree/repo/delta"
	"photree/repo/object"
)

// maxPart is the most bytes that the file of a part may have to be fetched: it is held in memory (R7).
const maxPart = 256 << 20

// offer is a static delta that the source has and that starts from what is here.
type offer struct {
	from, to object.ID
	digest   []byte // of the superblock
}

// wantsDeltas says whether deltas are looked for at all: they bring whole commits, and between two repositories of one
// machine copying objects is quicker.
func (o *Options) wantsDeltas(src source) bool {
	if o.Mirror || o.CommitMetadataOnly || len(o.Subpaths) > 0 || o.DisableStaticDeltas {
		return false
	}
	_, local := src.(*localSource)
	return !local || o.RequireStaticDeltas
}

// findDeltas chooses a delta for each commit that is not here yet. One from nothing is used only where there is no
// earlier commit of the ref: with one, few objects are missing, and fetching these takes less.
func findDeltas(ctx context.Context, r *repo.Repo, o *Options, src source, wanted []want, summary *Summary) (map[object.ID]offer, error) {
	if !o.wantsDeltas(src) {
		return nil, nil
	}
	out := map[object.ID]offer{}
	for _, w := range wanted {
		complete, err := isComplete(r, w.commit)
		if err != nil {
			return nil, err
		}
		if _, known := out[w.commit]; known || complete {
			continue
		}
		offers, err := offersTo(ctx, src, w.commit, summary)
		if err != nil {
			return nil, err
		}
		best, err := chooseDelta(r, o, w, offers)
		if err != nil {
			return nil, err
		}
		if best == nil && o.RequireStaticDeltas {
			return nil, fmt.Errorf("Static deltas required, but none found for %s to %s", orEmpty(w.before), w.commit) //nolint:staticcheck // ostree's words
		}
		if best != nil {
			out[w.commit] = *best
		}
	}
	return out, nil
}

func orEmpty(id object.ID) string {
	if id.IsZero() {
		return "(nothing)"
	}
	return id.String()
}

func isComplete(r *repo.Repo, commit object.ID) (bool, error) {
	has, err := r.HasObject(object.Name{ID: commit, Kind: object.KindCommit})
	if err != nil || !has {
		return false, err
	}
	partial, err := r.IsPartial(commit)
	return !partial, err
}

// offersTo lists the deltas to a commit: those in the summary, else those in the index of the commit.
func offersTo(ctx context.Context, src source, to object.ID, summary *Summary) ([]offer, error) {
	if local, ok := src.(*localSource); ok && (summary == nil || summary.Raw == nil) {
		if s, err := local.repo.LoadSummary(); err == nil {
			summary = &Summary{Summary: s}
		}
	}
	indexed := true
	if summary != nil {
		offers, err := readOffers(summary.Metadata, to)
		if err != nil || len(offers) > 0 {
			return offers, err
		}
		v, ok := summary.Metadata.Get("ostree.summary.indexed-deltas")
		indexed = ok && v.Type() == "b" && v.Bool()
	}
	if !indexed {
		return nil, nil
	}
	data, err := src.file(ctx, repo.DeltaIndexPath(to), maxMetadata)
	if err != nil || data == nil {
		return nil, err
	}
	v, err := gvariant.Parse("a{sv}", data)
	if err != nil {
		return nil, fmt.Errorf("reading the index of the static deltas to %s: %w", to, err)
	}
	return readOffers(v.Dict(), to)
}

// readOffers reads the list of deltas of a summary or an index.
func readOffers(d gvariant.Dict, to object.ID) ([]offer, error) {
	v, ok := d.Get("ostree.static-deltas")
	if !ok || v.Type() != "a{sv}" {
		return nil, nil
	}
	var out []offer
	for _, e := range v.Dict() {
		from, leadsTo, err := delta.ParseName(e.Key)
		if err != nil || leadsTo != to {
			continue
		}
		if e.Value.Type() != "ay" || e.Value.Len() != sha256.Size {
			return nil, fmt.Errorf("the digest of static delta %s is of the wrong form", e.Key)
		}
		out = append(out, offer{from, to, e.Value.ByteSlice()})
	}
	return out, nil
}

// chooseDelta returns the delta from the commit that the ref has now, else from the youngest commit that is here, else
// the one from nothing where that is worth it.
func chooseDelta(r *repo.Repo, o *Options, w want, offers []offer) (*offer, error) {
	var best, scratch *offer
	var youngest uint64
	for i := range offers {
		from := &offers[i]
		if from.from.IsZero() {
			scratch = from
			continue
		}
		complete, err := isComplete(r, from.from)
		if err != nil {
			return nil, err
		}
		if !complete {
			continue
		}
		if from.from == w.before {
			return from, nil
		}
		c, err := r.LoadCommit(from.from)
		if err != nil {
			return nil, err
		}
		if best == nil || c.Timestamp > youngest {
			best, youngest = from, c.Timestamp
		}
	}
	if best == nil && (w.before.IsZero() || o.RequireStaticDeltas) {
		best = scratch
	}
	return best, nil
}

// useDelta stages the objects that the delta to a commit holds, where there is one. The commit's own objects are then
// looked through as without a delta: what the delta has left out is fetched by its name.
func (p *puller) useDelta(ctx context.Context, to object.ID) error {
	d, ok := p.deltas[to]
	if !ok {
		return nil
	}
	err := p.fetchDelta(ctx, d)
	if errors.Is(err, errNotFound) && !p.o.RequireStaticDeltas {
		return nil // removed since the summary was written
	}
	if err != nil {
		return fmt.Errorf("pulling static delta %s: %w", delta.Name(d.from, d.to), err)
	}
	return nil
}

func (p *puller) fetchDelta(ctx context.Context, d offer) error {
	data, err := p.deltaFile(ctx, delta.SuperblockPath(d.from, d.to), delta.MaxSuperblock)
	if err != nil {
		return err
	}
	if sum := sha256.Sum256(data); string(sum[:]) != string(d.digest) {
		return errors.New("the superblock is not the one that the server announced")
	}
	s, err := delta.Decode(data)
	if err != nil {
		return err
	}
	if s.From != d.from || s.To != d.to {
		return fmt.Errorf("the superblock is that of %s", s.Name())
	}
	const atOnce = 2
	next, failed := make(chan int), make(chan error, atOnce)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var workers sync.WaitGroup
	for range atOnce {
		workers.Go(func() {
			for i := range next {
				if err := p.usePart(ctx, s, i); err != nil {
					failed <- err
					cancel()
					return
				}
			}
		})
	}
feed:
	for i := range s.Parts {
		select {
		case next <- i:
		case <-ctx.Done():
			break feed
		}
	}
	close(next)
	workers.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return context.Cause(ctx)
	}
}

// usePart fetches and applies one part unless all of its objects are here.
func (p *puller) usePart(ctx context.Context, s *delta.Superblock, i int) error {
	have, err := s.HavePart(p.txn, i)
	if err != nil || have {
		return err
	}
	meta, content := countKinds(s.Parts[i].Objects)
	p.metaWanted.Add(meta)
	p.contentWanted.Add(content)
	data, inline := s.Inline(i)
	if !inline {
		limit := s.Parts[i].FileLimit()
		if limit > maxPart {
			return fmt.Errorf("part %d is %d bytes long and may have %d", i, limit, int64(maxPart))
		}
		if data, err = p.deltaFile(ctx, delta.PartPath(s.From, s.To, i), limit); err != nil {
			return err
		}
	}
	if err := s.ApplyPart(ctx, p.txn, i, data); err != nil {
		return err
	}
	p.metaDone.Add(meta)
	p.contentDone.Add(content)
	return nil
}

func countKinds(names []object.Name) (metadata, content int64) {
	for _, n := range names {
		if n.Kind.IsMetadata() {
			metadata++
		}
	}
	return metadata, int64(len(names)) - metadata
}

func (p *puller) deltaFile(ctx context.Context, path string, limit int64) ([]byte, error) {
	data, err := p.src.file(ctx, path, limit)
	if err == nil && data == nil {
		err = fmt.Errorf("%s: %w", path, errNotFound)
	}
	return data, err
}

func (s *httpSource) file(ctx context.Context, path string, limit int64) ([]byte, error) {
	data, err := s.objects.small(ctx, path, limit)
	if errors.Is(err, errNotFound) {
		return nil, nil
	}
	return data, err
}

func (s *localSource) file(_ context.Context, path string, limit int64) ([]byte, error) {
	f, err := os.Open(filepath.Join(s.repo.Path(), path))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readLimited(f, -1, limit)
}
