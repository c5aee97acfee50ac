package sign

import (
	"context"
	"errors"
	"fmt"

	"photree/internal/gvariant"
	"photree/repo"
	"photree/repo/object"
)

// Commit adds a signature by each of the signers to a commit that is in the repository. A key of GnuPG signs a commit only
// once: an *AlreadySignedError says that it has.
func Commit(ctx context.Context, r *repo.Repo, id object.ID, signers ...Signer) error {
	data, err := r.LoadMetadata(object.Name{ID: id, Kind: object.KindCommit})
	if err != nil {
		return fmt.Errorf("signing commit %s: %w", id, err)
	}
	return change(ctx, r, id, func(d *gvariant.Dict) (bool, error) {
		for _, s := range signers {
			already, err := SignedBy(ctx, s, Signatures(*d, s.Key()))
			if err != nil {
				return false, err
			}
			if g, ok := s.(*gpg); ok && already {
				return false, &AlreadySignedError{g.id}
			}
			if err := Sign(ctx, d, data, s); err != nil {
				return false, err
			}
		}
		return true, nil
	})
}

// VerifyCommit checks the OpenPGP signatures of a commit that is in the repository.
func (r *Ring) VerifyCommit(in *repo.Repo, id object.ID) (Report, error) {
	detached, err := in.DetachedMetadata(id)
	if err != nil {
		return nil, err
	}
	sigs := Signatures(detached, OpenPGP)
	if len(sigs) == 0 {
		return nil, nil
	}
	data, err := in.LoadMetadata(object.Name{ID: id, Kind: object.KindCommit})
	if err != nil {
		return nil, err
	}
	return r.Verify(data, sigs), nil
}

// ReportFor checks the OpenPGP signatures of a commit that came from a remote. wanted is whether the remote asks for
// them; where it does not, or there is no such remote any more, nothing is checked.
func ReportFor(r *repo.Repo, remote string, id object.ID) (report Report, wanted bool, err error) {
	from, err := r.Remote(remote)
	if errors.Is(err, repo.ErrNotFound) {
		return nil, false, nil
	}
	if err == nil {
		wanted, err = flag(from, "gpg-verify", true)
	}
	if err != nil || !wanted {
		return nil, false, err
	}
	ring, err := RemoteRing(r, from)
	if err != nil {
		return nil, true, err
	}
	report, err = ring.VerifyCommit(r, id)
	return report, true, err
}

// DeleteOpenPGP removes the OpenPGP signatures of a commit that were made by the keys with these IDs, and returns how
// many those were. ring helps to find out which key a subkey belongs to.
func DeleteOpenPGP(ctx context.Context, r *repo.Repo, id object.ID, ring *Ring, keys ...string) (int, error) {
	deleted := 0
	err := change(ctx, r, id, func(d *gvariant.Dict) (bool, error) {
		var kept [][]byte
		for _, sig := range Signatures(*d, OpenPGP) {
			if byAny(ring.Verify(nil, [][]byte{sig}), keys) {
				deleted++
			} else {
				kept = append(kept, sig)
			}
		}
		Set(d, OpenPGP, kept)
		return deleted > 0, nil
	})
	return deleted, err
}

// DeleteRaw removes the signatures of a commit that one of the keys confirms, and returns how many those were.
func DeleteRaw(ctx context.Context, r *repo.Repo, id object.ID, keys *KeySet) (int, error) {
	data, err := r.LoadMetadata(object.Name{ID: id, Kind: object.KindCommit})
	if err != nil {
		return 0, err
	}
	deleted := 0
	err = change(ctx, r, id, func(d *gvariant.Dict) (bool, error) {
		var kept [][]byte
		for _, sig := range Signatures(*d, MetadataKey(keys.Type)) {
			if _, err := keys.Verify(data, [][]byte{sig}); err == nil {
				deleted++
			} else {
				kept = append(kept, sig)
			}
		}
		Set(d, MetadataKey(keys.Type), kept)
		return deleted > 0, nil
	})
	return deleted, err
}

func byAny(report Report, keys []string) bool {
	for i := range report {
		for _, id := range keys {
			if report[i].Matches(id) {
				return true
			}
		}
	}
	return false
}

// change changes the detached metadata of a commit. An empty dictionary is stored, too: it tells who pulls that there
// are no signatures any more.
func change(ctx context.Context, r *repo.Repo, id object.ID, edit func(*gvariant.Dict) (bool, error)) error {
	txn, err := r.Begin(ctx)
	if err != nil {
		return err
	}
	defer txn.Abort()
	d, err := r.DetachedMetadata(id)
	if err != nil {
		return err
	}
	if d == nil {
		d = gvariant.Dict{}
	}
	if changed, err := edit(&d); err != nil || !changed {
		return err
	}
	if err := txn.SetDetachedMetadata(id, d); err != nil {
		return err
	}
	return txn.Commit()
}
