package pull

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
	} else if commit, err = p.fetchCommit(ctx, j, partial); err != nil {
		if j.older && p.o.Depth < 0 && (errors.Is(err, errNotFound) || errors.Is(err, repo.ErrNotFound)) {
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
	p.metaWanted.Add(1)
	data, err := p.fromCache(j.name)
	if data == nil && err == nil {
		data, err = p.src.metadata(ctx, j.name)
	}
	if err != nil {
		return object.Commit{}, fmt.Errorf("pulling commit %s: %w", id, err)
	}
	if got := object.MetadataID(data); got != id {
		return object.Commit{}, fmt.Errorf("pulling commit %s: the server sent something else (its checksum is %s)", id, got)
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
	if len(detached) > 0 {
		if err := p.txn.SetDetachedMetadata(id, detached); err != nil {
			return object.Commit{}, err
		}
	}
	if err := p.txn.ImportMetadata(j.name, data); err != nil {
		return object.Commit{}, fmt.Errorf("pulling commit %s: %w", id, err)
	}
	p.metaDone.Add(1)
	p.mu.Lock()
	p.signers[id] = signers
	p.mu.Unlock()
	return commit, nil
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
			if err := checkBinding(id, commit, w.ref); err != nil {
				return err
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
			return fmt.Errorf("upgrade target revision '%s' with timestamp '%s' is chronologically older than current revision '%s' with timestamp '%s'; use --allow-downgrade to permit",
				id, stamp(commit), w.notOlder, stamp(current))
		}
	}
	return nil
}

func stamp(c object.Commit) string { return c.Time().Format("Mon Jan _2 15:04:05 2006") }

// checkBinding refuses a commit that says it belongs to other refs: a server must not be able to give out one branch,
// signed as it is, as another.
func checkBinding(id object.ID, commit object.Commit, ref string) error {
	v, ok := commit.Metadata.Get("ostree.ref-binding")
	if !ok {
		if _, bound := commit.Metadata.Get("ostree.collection-binding"); bound {
			return fmt.Errorf("commit %s: Expected commit metadata to have ref binding information, found none", id)
		}
		return nil
	}
	if v.Type() == "v" {
		v = v.Variant()
	}
	if v.Type() != "as" {
		return fmt.Errorf("commit %s: ostree.ref-binding is no list of refs", id)
	}
	if refs := v.Strv(); !slices.Contains(refs, ref) {
		return fmt.Errorf("commit %s: Commit has no requested ref ‘%s’ in ref binding metadata (%q)", id, ref, refs)
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
