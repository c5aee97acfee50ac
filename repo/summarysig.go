package repo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"photree/internal/durable"
	"photree/internal/gvariant"
)

// LoadSummaryFiles returns the bytes of the files summary and summary.sig, nil for one that does not exist.
func (r *Repo) LoadSummaryFiles() (summary, signatures []byte, err error) {
	read := func(name string) []byte {
		data, readErr := readLimited(filepath.Join(r.path, name))
		if readErr != nil && !errors.Is(readErr, os.ErrNotExist) {
			err = errors.Join(err, fmt.Errorf("reading the summary of %s: %w", r.path, readErr))
		}
		return data
	}
	return read("summary"), read("summary.sig"), err
}

// PublishSummary replaces the files summary and summary.sig by these; signatures may be nil: then the summary is not
// signed. At no time do a summary and the signatures of another stand beside each other.
func (r *Repo) PublishSummary(ctx context.Context, summary, signatures []byte) error {
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
	return r.publishSummary(summary, signatures)
}

// lockSummary lets one write the summary at a time: one of refs that were read earlier must not replace one of refs that
// were read later.
func (r *Repo) lockSummary() (unlock func(), err error) {
	dir, err := os.Open(r.path)
	if err != nil {
		return nil, fmt.Errorf("locking the summary of %s: %w", r.path, err)
	}
	for {
		if err = unix.Flock(int(dir.Fd()), unix.LOCK_EX); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		dir.Close()
		return nil, fmt.Errorf("locking the summary of %s: %w", r.path, err)
	}
	return func() { dir.Close() }, nil
}

func (r *Repo) publishSummary(summary, signatures []byte) error {
	for _, s := range r.summarySteps(summary, signatures) {
		if err := s.run(); err != nil {
			return fmt.Errorf("publishing the summary of %s: %s: %w", r.path, s.name, err)
		}
	}
	return nil
}

// summaryStep is one step of the publication of a summary.
type summaryStep struct {
	name string
	run  func() error
}

// summarySteps replaces two files that readers see as one. Both cannot change at once, so between them the signatures of
// the old and of the new summary stand in one file: one good signature is enough. A summary that is not signed has no
// signatures beside it at any time.
//
// The old signatures come first, because GnuPG, which other programs verify with, ends at the first bad one. So it takes
// the joint file for the old summary only, and what comes next is prepared to make the moment of the new one short.
func (r *Repo) summarySteps(summary, signatures []byte) []summaryStep {
	file, sig := filepath.Join(r.path, "summary"), filepath.Join(r.path, "summary.sig")
	nextFile, nextSig := filepath.Join(r.path, "tmp/next-summary"), filepath.Join(r.path, "tmp/next-summary.sig")
	drop := summaryStep{"remove the old signatures", func() error { return durable.Remove(sig) }}
	write := summaryStep{"write the summary", func() error { return durable.WriteFile(file, summary, 0o644) }}
	sign := summaryStep{"write the new signatures", func() error { return durable.WriteFile(sig, signatures, 0o644) }}
	if signatures == nil {
		return []summaryStep{drop, write}
	}
	old, err := os.ReadFile(sig)
	if err != nil || len(old) == 0 {
		return []summaryStep{write, sign}
	}
	both, err := bothSignatures(old, signatures)
	if err != nil {
		// What is there are no signatures of the old summary.
		return []summaryStep{drop, write, sign}
	}
	return []summaryStep{
		{"prepare", func() error {
			return errors.Join(durable.WriteFile(nextFile, summary, 0o644), durable.WriteFile(nextSig, signatures, 0o644))
		}},
		{"write the signatures of both", func() error { return durable.WriteFile(sig, both, 0o644) }},
		{"rename the summary", func() error { return durable.Rename(nextFile, file) }},
		{"rename the new signatures", func() error { return durable.Rename(nextSig, sig) }},
	}
}

// bothSignatures joins two files of signatures, the old ones first.
func bothSignatures(old, fresh []byte) ([]byte, error) {
	a, err1 := gvariant.Parse("a{sv}", old)
	b, err2 := gvariant.Parse("a{sv}", fresh)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	all := append(gvariant.Dict{}, a.Dict()...)
	for _, e := range b.Dict() {
		mine, theirs := unwrapVariant(e.Value), gvariant.Array("ay")
		if v, ok := all.Get(e.Key); ok {
			theirs = unwrapVariant(v)
		}
		if mine.Type() != "aay" || theirs.Type() != "aay" {
			all.Set(e.Key, mine)
			continue
		}
		var sigs []gvariant.Value
		seen := map[string]bool{}
		for _, list := range []gvariant.Value{theirs, mine} {
			for i := range list.Len() {
				if v := list.Index(i); !seen[string(v.Bytes())] {
					seen[string(v.Bytes())] = true
					sigs = append(sigs, v)
				}
			}
		}
		all.Set(e.Key, gvariant.Array("ay", sigs...))
	}
	return all.Value().Bytes(), nil
}

func unwrapVariant(v gvariant.Value) gvariant.Value {
	if v.Type() == "v" {
		return v.Variant()
	}
	return v
}

// summaries removes the cached summaries of remotes that there are no more.
func (p *prune) summaries() error {
	dir := filepath.Join(p.r.path, "tmp/cache/summaries")
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) || p.opts.DryRun {
		return nil
	}
	if err != nil {
		return err
	}
	remotes, err := p.r.Remotes()
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for _, rem := range remotes {
		known[rem.Name], known[rem.Name+".sig"] = true, true
	}
	for _, e := range entries {
		if known[e.Name()] {
			continue
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}
