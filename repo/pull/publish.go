package pull

import (
	"context"
	"errors"
	"fmt"
	"time"

	"photree/repo"
	"photree/repo/object"
)

// publish lets the refs name what is complete now.
func (p *puller) publish(wanted []want, remote remoteConfig, summary *Summary) error {
	if !p.o.CommitMetadataOnly && len(p.o.Subpaths) == 0 {
		for _, id := range p.partial {
			if err := p.txn.ClearPartial(id); err != nil {
				return err
			}
		}
	}
	for _, w := range wanted {
		if w.ref == "" || w.before == w.commit {
			continue
		}
		if err := p.txn.SetRef(p.o.refRemote(), w.ref, w.commit); err != nil {
			return err
		}
	}
	if err := p.txn.Commit(); err != nil {
		return err
	}
	p.published = true
	if p.o.Mirror && summary != nil && summary.Raw != nil && p.txn.Repo().Mode() == repo.ModeArchive && len(p.o.Refs) == 0 {
		return p.mirrorSummary(summary)
	}
	return nil
}

// mirrorSummary stores the files of the server as they are, so that a signature stays valid.
func (p *puller) mirrorSummary(summary *Summary) error {
	return p.txn.Repo().PublishSummary(context.Background(), summary.Raw, summary.Signatures)
}

// keep decides what becomes of a pull that failed with cause. What arrived is sound, and worth keeping if the same pull
// can succeed later (the network, an interruption): it is published under the partial marks, for the next try to find.
// After any other failure nothing stays but what a checkpoint has saved.
func (p *puller) keep(cause error) error {
	var again *transientError
	interrupted := errors.Is(cause, context.Canceled) || errors.Is(cause, context.DeadlineExceeded)
	if (errors.As(cause, &again) || interrupted) && p.metaDone.Load()+p.contentDone.Load() > 0 {
		if err := p.txn.Commit(); err != nil {
			return fmt.Errorf("keeping what has arrived: %w", err)
		}
		return nil
	}
	if err := p.txn.Abort(); err != nil || len(p.ours) == 0 || p.safe {
		return err // a commit that a checkpoint has published needs its mark
	}
	return unmark(p.txn.Repo(), p.ours)
}

// unmark removes the marks of commits that were never published.
func unmark(r *repo.Repo, commits []object.ID) error {
	txn, err := r.Begin(context.Background())
	if err != nil {
		return err
	}
	defer txn.Abort()
	for _, id := range commits {
		if err := txn.ClearPartial(id); err != nil {
			return err
		}
	}
	return txn.Commit()
}

// saveNowAndThen makes checkpoints until the returned function is called.
func (p *puller) saveNowAndThen(ctx context.Context) func() {
	every := p.o.CheckpointEvery
	if every <= 0 {
		every = time.Minute
	}
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				if err := p.checkpoint(ctx); err != nil {
					p.fail(err)
					return
				}
			}
		}
	}()
	return func() {
		close(done)
		<-stopped
	}
}

// checkpoint publishes what has arrived, under its partial marks, and goes on in another transaction. That one begins
// before the first ends: the repository's lock must be held all the time, or a prune in between could remove what this
// pull believes is there (R2, R4).
func (p *puller) checkpoint(ctx context.Context) error {
	p.gate.Lock()
	defer p.gate.Unlock()
	if p.txn.Stats().StoredBytes == 0 {
		return nil
	}
	next, err := begin(ctx, p.txn.Repo(), p.o)
	if err != nil {
		return err
	}
	p.earlier += p.txn.Stats().ContentBytes
	if err := p.txn.Commit(); err != nil {
		return errors.Join(err, next.Abort())
	}
	p.txn, p.safe = next, true
	return nil
}
