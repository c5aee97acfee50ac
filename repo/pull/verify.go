package pull

import (
	"fmt"

	"photree/internal/gvariant"
	"photree/repo"
	"photree/repo/object"
	"photree/repo/sign"
)

// verifier checks signatures as a remote's configuration asks for. The zero value asks for none. Where more than one
// family is asked for, all must hold.
type verifier struct {
	remote string
	demand sign.Demand
}

// newVerifier loads the keys.
func newVerifier(r *repo.Repo, o *Options, remote remoteConfig) (*verifier, error) {
	v := &verifier{remote: remote.name}
	if o.DisableSignatures {
		return v, nil
	}
	if !remote.plain {
		var err error
		v.demand, err = sign.LoadDemand(r, remote.remote)
		return v, err
	}
	if !o.GPGVerify && !o.GPGVerifySummary {
		return v, nil
	}
	if remote.name == "" {
		return nil, fmt.Errorf("Must specify remote name to enable gpg verification") //nolint:staticcheck // ostree's words
	}
	from, err := r.Remote(remote.name)
	if err != nil {
		return nil, err
	}
	ring, err := sign.RemoteRing(r, from)
	if err != nil {
		return nil, err
	}
	if o.GPGVerify {
		v.demand.Commit.Ring = ring
	}
	if o.GPGVerifySummary {
		v.demand.Summary.Ring = ring
	}
	return v, nil
}

func (v *verifier) summaryRequired() bool { return v.demand.Summary.Required() }
func (v *verifier) commitRequired() bool  { return v.demand.Commit.Required() }

// checkCommit verifies the bytes of a commit against its detached metadata and returns who signed it.
func (v *verifier) checkCommit(id object.ID, data []byte, detached gvariant.Dict) ([]string, error) {
	signers, err := v.demand.Commit.Check(data, detached)
	if err != nil {
		return nil, fmt.Errorf("Can't verify commit %s from remote %q: %w", id, v.remote, err) //nolint:staticcheck // ostree's words
	}
	return signers, nil
}

func (v *verifier) checkSummary(data, signatures []byte) error {
	if _, err := v.demand.Summary.Check(data, parseDict(signatures)); err != nil {
		return fmt.Errorf("Can't verify the summary of remote %q: %w", v.remote, err) //nolint:staticcheck // ostree's words
	}
	return nil
}

// parseDict reads a file of type a{sv} that holds signatures. One that cannot be read holds none.
func parseDict(data []byte) gvariant.Dict {
	v, err := gvariant.Parse("a{sv}", data)
	if err != nil || len(data) == 0 {
		return nil
	}
	return v.Dict()
}
