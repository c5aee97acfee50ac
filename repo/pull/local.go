package pull

import (
	"context"
	"fmt"

	"photree/internal/gvariant"
	"photree/repo"
	"photree/repo/object"
)

// localSource is another repository on this machine, of any mode.
type localSource struct {
	repo      *repo.Repo
	untrusted bool
}

func (s *localSource) check(context.Context) error { return nil }

// refs lists the refs: a summary file may be older than they are.
func (s *localSource) refs(context.Context) (*Summary, error) {
	refs, err := s.repo.Refs()
	if err != nil {
		return nil, fmt.Errorf("listing the refs of %s: %w", s.repo.Path(), err)
	}
	sum := &Summary{}
	for _, ref := range refs {
		if ref.Remote == "" && ref.Collection == "" {
			sum.Refs = append(sum.Refs, repo.SummaryRef{Name: ref.Name, ID: ref.ID})
		}
	}
	return sum, nil
}

func (s *localSource) summaryFile(context.Context) ([]byte, error) {
	data, _, err := s.repo.LoadSummaryFiles()
	return data, err
}

func (s *localSource) signatureFile(context.Context) ([]byte, error) {
	_, data, err := s.repo.LoadSummaryFiles()
	return data, err
}

func (s *localSource) ref(_ context.Context, name string) (object.ID, error) {
	return s.repo.ResolveRev(name)
}

func (s *localSource) detached(_ context.Context, commit object.ID) (gvariant.Dict, error) {
	return s.repo.DetachedMetadata(commit)
}

func (s *localSource) metadata(_ context.Context, n object.Name) ([]byte, error) {
	return s.repo.LoadMetadata(n)
}

func (s *localSource) trusted() bool { return !s.untrusted }

func (s *localSource) stage(txn *repo.Txn, n object.Name, data []byte) error {
	return txn.ImportMetadataFrom(s.repo, n, data, repo.ImportOptions{Trusted: !s.untrusted})
}

func (s *localSource) content(_ context.Context, txn *repo.Txn, id object.ID) error {
	return txn.ImportObject(s.repo, object.Name{ID: id, Kind: object.KindFile}, repo.ImportOptions{Trusted: !s.untrusted})
}

func (s *localSource) traffic() (requests, bytes int64) { return 0, 0 }
