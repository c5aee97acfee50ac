package repo

import (
	"context"
	"fmt"

	"photree/repo/object"
)

// CommitStepNames are the steps of a publication.
func CommitStepNames() []string {
	var out []string
	for _, s := range commitSteps {
		out = append(out, s.name)
	}
	return out
}

// PruneStepNames are the steps of a prune.
func PruneStepNames() []string {
	var out []string
	for _, s := range pruneSteps {
		out = append(out, s.name)
	}
	return out
}

// StopCommitAfter runs the first n steps of a publication and then leaves everything as a killed process does: its
// locks go, nothing is cleaned up.
func (t *Txn) StopCommitAfter(n int) error {
	for _, s := range commitSteps[:n] {
		if err := s.run(t); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	t.done = true
	t.stage.lockFile.Close()
	t.lock.release()
	return nil
}

// StopPruneAfter runs the first n steps of a prune. With half set the last of them is one that removes, and only
// every other name of it goes.
func (r *Repo) StopPruneAfter(opts PruneOptions, n int, half bool) error {
	p := &prune{r: r, ctx: context.Background(), opts: opts, keep: Set{}, drop: map[object.Kind][]string{}}
	for i, s := range pruneSteps[:n] {
		if half && i == n-1 {
			for k, paths := range p.drop {
				var some []string
				for j, path := range paths {
					if j%2 == 0 {
						some = append(some, path)
					}
				}
				p.drop[k] = some
			}
		}
		if err := s.run(p); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

// StopSummaryAfter runs the first n steps of the publication of a summary.
func (r *Repo) StopSummaryAfter(opts SummaryOptions, n int) error {
	s, err := r.makeSummary(opts)
	if err != nil {
		return err
	}
	data := s.Encode()
	d, err := opts.Sign(data)
	if err != nil {
		return err
	}
	for _, s := range r.summarySteps(data, d.Value().Bytes())[:n] {
		if err := s.run(); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}
