package pull

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"photree/repo"
	"photree/repo/object"
)

// visitCommit makes sure that a commit is here and looks for its tree and its parents.
func (p *puller) visitCommit(ctx context.Context, j job) error {
	id := j.name.ID
	has, err := p.txn.Has(j.name)
	if err != nil {
		return err
	}
	partial, err := p.txn.Repo().IsPartial(id)
	if err != nil {
		return err
	}
	var commit object.Commit
	if has {
		if commit, err = p.loadCommit(id); err != nil {
			return err
		}
		if !j.older {
			if err := p.refreshSignatures(ctx, id); err != nil {
				return err
			}
		}
	} else if commit, err = p.fetchCommit(ctx, j, partial); err != nil {
		if j.older && (errors.Is(err, errNotFound) || errors.Is(err, repo.ErrNotFound)) {
			return nil // the server has pruned its history here
		}
		return err
	}
	if err := p.checkCommit(id, commit); err != nil {
		return err
	}
	p.scanned.Add(1)
	if partial && has {
		p.noteMark(id, false)
	}
	if !commit.Parent.IsZero() && j.depth != 0 {
		p.enqueue(job{name: object.Name{ID: commit.Parent, Kind: object.KindCommit}, depth: max(j.depth-1, -1), older: true})
	}
	if has && !partial || p.o.CommitMetadataOnly {
		return nil
	}
	if err := p.useDelta(ctx, id); err != nil {
		return err
	}
	p.enqueue(
		job{name: object.Name{ID: commit.RootMeta, Kind: object.KindDirMeta}},
		job{name: object.Name{ID: commit.Root, Kind: object.KindDirTree}})
	return nil
}

func (p *puller) loadCommit(id object.ID) (object.Commit, error) {
	data, err := p.txn.LoadMetadata(object.Name{ID: id, Kind: object.KindCommit})
	if err != nil {
		return object.Commit{}, err
	}
	return object.DecodeCommit(data)
}

// fetchCommit brings a commit: its signatures first, then its bytes, which are decoded only once both hold (R7). The
// mark is made before the commit is staged (R3).
func (p *puller) fetchCommit(ctx context.Context, j job, marked bool) (object.Commit, error) {
	id := j.name.ID
	detached, err := p.src.detached(ctx, id)
	if err != nil {
		return object.Commit{}, fmt.Errorf("pulling commit %s: %w", id, err)
	}
	if _, asked := p.src.(*httpSource); asked {
		p.detachedAsked.Add(1)
	}
	data, err := p.fromCache(j.name)
	local := data != nil
	if !local && err == nil {
		p.metaWanted.Add(1)
		data, err = p.src.metadata(ctx, j.name)
	}
	if err != nil {
		return object.Commit{}, fmt.Errorf("pulling commit %s: %w", id, err)
	}
	if got := object.MetadataID(data); got != id && !p.src.trusted() {
		return object.Commit{}, fmt.Errorf("pulling commit %s: %w", id, &repo.CorruptedError{Object: j.name, Actual: got})
	}
	signers, err := p.keys.checkCommit(id, data, detached)
	if err != nil {
		return object.Commit{}, err
	}
	commit, err := object.DecodeCommit(data)
	if err != nil {
		return object.Commit{}, fmt.Errorf("pulling commit %s: %w", id, err)
	}
	if err := p.txn.MarkPartial(id); err != nil {
		return object.Commit{}, err
	}
	p.noteMark(id, !marked)
	if detached != nil {
		if err := p.txn.SetDetachedMetadata(id, detached); err != nil {
			return object.Commit{}, err
		}
	}
	if err := p.src.stage(p.txn, j.name, data); err != nil {
		return object.Commit{}, fmt.Errorf("pulling commit %s: %w", id, err)
	}
	if local {
		p.metaLocal.Add(1)
	} else {
		p.metaDone.Add(1)
	}
	p.mu.Lock()
	p.signers[id] = signers
	p.mu.Unlock()
	return commit, nil
}

// refreshSignatures takes the signatures of a commit that is here already from the source, which may have more of them
// now or fewer, and checks them: the commit may have come from elsewhere, without a check.
func (p *puller) refreshSignatures(ctx context.Context, id object.ID) error {
	local, err := p.txn.Repo().DetachedMetadata(id)
	if err != nil && p.keys.commitRequired() {
		return err
	}
	detached, err := p.src.detached(ctx, id)
	if err != nil {
		return fmt.Errorf("pulling commit %s: %w", id, err)
	}
	changed := detached != nil && (local == nil || !bytes.Equal(detached.Value().Bytes(), local.Value().Bytes()))
	if detached == nil {
		detached = local
	}
	if p.keys.commitRequired() {
		data, err := p.txn.LoadMetadata(object.Name{ID: id, Kind: object.KindCommit})
		if err != nil {
			return err
		}
		signers, err := p.keys.checkCommit(id, data, detached)
		if err != nil {
			return err
		}
		p.mu.Lock()
		p.signers[id] = signers
		p.mu.Unlock()
	}
	if changed {
		return p.txn.SetDetachedMetadata(id, detached)
	}
	return nil
}

func (p *puller) noteMark(id object.ID, ours bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.partial = append(p.partial, id)
	if ours {
		p.ours = append(p.ours, id)
	}
}

// checkCommit compares a commit with what it was asked for as.
func (p *puller) checkCommit(id object.ID, commit object.Commit) error {
	for _, w := range p.checks[id] {
		if w.ref != "" && !p.o.DisableVerifyBindings {
			if err := CheckBinding(commit, p.collection, w.ref); err != nil {
				return fmt.Errorf("commit %s: %w", id, err)
			}
		}
		if w.notOlder.IsZero() || w.notOlder == id {
			continue
		}
		current, err := p.txn.Repo().LoadCommit(w.notOlder)
		if err != nil {
			return fmt.Errorf("comparing the age of commit %s: %w", id, err)
		}
		if commit.Timestamp < current.Timestamp {
			return &OlderError{id, w.notOlder, stamp(commit), stamp(current)}
		}
	}
	return nil
}

// OlderError says that a commit is older than it may be; an update of a host branches on it. Its words are those of
// ostree.
type OlderError struct {
	Commit, Current         object.ID
	commitTime, currentTime string
}

func (e *OlderError) Error() string {
	return fmt.Sprintf("Upgrade target revision '%s' with timestamp '%s' is chronologically older than current revision '%s' with timestamp '%s'",
		e.Commit, e.commitTime, e.Current, e.currentTime)
}

func stamp(c object.Commit) string { return c.Time().Format("Mon Jan _2 15:04:05 2006") }

// CheckBinding refuses a commit that says it belongs to other refs: a server must not be able to give out one branch,
// signed as it is, as another. collection is that of the ref, or empty when it is not to be compared. The words are
// those of ostree.
func CheckBinding(commit object.Commit, collection, ref string) error {
	v, ok := commit.Metadata.Get("ostree.ref-binding")
	_, bound := commit.Metadata.Get("ostree.collection-binding")
	switch {
	case !ok && (bound || collection != ""):
		return errors.New("Expected commit metadata to have ref binding information, found none") //nolint:staticcheck
	case !ok:
		return nil
	}
	if v.Type() == "v" {
		v = v.Variant()
	}
	if v.Type() != "as" {
		return errors.New("ostree.ref-binding is no list of refs")
	}
	if refs := v.Strv(); !slices.Contains(refs, ref) {
		return fmt.Errorf("Commit has no requested ref ‘%s’ in ref binding metadata (‘%s’)", ref, strings.Join(refs, "’, ‘")) //nolint:staticcheck
	}
	switch {
	case collection == "":
		return nil
	case !bound:
		return errors.New("Expected commit metadata to have collection ID binding information, found none") //nolint:staticcheck
	}
	if own := commit.Metadata.GetString("ostree.collection-binding"); own != collection {
		return fmt.Errorf("Commit has collection ID ‘%s’ in collection binding metadata, while the remote it came from has collection ID ‘%s’", own, collection) //nolint:staticcheck
	}
	return nil
}

// stats gathers the counters.
func (p *puller) stats() Stats {
	p.gate.RLock()
	written := p.earlier + p.txn.Stats().ContentBytes
	p.gate.RUnlock()
	s := Stats{
		Metadata: p.metaDone.Load(), MetadataWanted: p.metaWanted.Load(),
		Detached: p.detachedAsked.Load(), LocalMetadata: p.metaLocal.Load(), LocalContent: p.contentLocal.Load(),
		Content: p.contentDone.Load(), ContentWanted: p.contentWanted.Load(),
		Scanned: p.scanned.Load(), ContentBytes: written, Elapsed: time.Since(p.started),
	}
	s.Requests, s.Transferred = p.src.traffic()
	return s
}

// tick tells the caller's Progress how far the pull is until the returned function is called.
func (p *puller) tick() func() {
	if p.o.Progress == nil {
		return func() {}
	}
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		ticker := time.NewTicker(100 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				p.o.Progress(p.stats())
			case <-done:
				last := p.stats()
				last.Done = true
				p.o.Progress(last)
				return
			}
		}
	}()
	return func() {
		close(done)
		<-stopped
	}
}

func (p *puller) result(wanted []want) Result {
	res := Result{Stats: p.stats()}
	res.Stats.Done = true
	for _, w := range wanted {
		res.Refs = append(res.Refs, PulledRef{Name: w.ref, Commit: w.commit, Before: w.before,
			SignaturesBy: p.signers[w.commit], FetchedCommit: slices.Contains(p.partial, w.commit)})
	}
	return res
}
