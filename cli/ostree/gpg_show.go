package ostree

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"photree/deploy"
	"photree/repo"
	"photree/repo/object"
	"photree/repo/sign"
)

// allKeys returns all OpenPGP keys that are known: those of the system, of each remote and of a GnuPG home, if one is
// named.
func allKeys(r *repo.Repo, home string) (*sign.Ring, error) {
	ring, err := sign.LoadGlobalRing()
	if err != nil {
		return nil, err
	}
	remotes, err := r.Remotes()
	if err != nil {
		return nil, err
	}
	for _, rem := range remotes {
		more, err := sign.LoadRing(sign.RingFile(r, rem.Name))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		ring.Join(more)
	}
	if home == "" {
		return ring, nil
	}
	more, err := sign.LoadHome(home)
	if err != nil {
		return nil, err
	}
	ring.Join(more)
	return ring, nil
}

// commitSignatures checks the OpenPGP signatures of a commit.
func commitSignatures(r *repo.Repo, id object.ID, ring *sign.Ring) (sign.Report, error) {
	detached, err := r.DetachedMetadata(id)
	if err != nil {
		return nil, err
	}
	sigs := sign.Signatures(detached, sign.OpenPGP)
	if len(sigs) == 0 {
		return nil, nil
	}
	data, err := r.LoadMetadata(object.Name{ID: id, Kind: object.KindCommit})
	if err != nil {
		return nil, err
	}
	return ring.Verify(data, sigs), nil
}

// showSignatures writes the OpenPGP signatures of a commit as `ostree show` does.
func showSignatures(w io.Writer, r *repo.Repo, id object.ID, home, remote string) error {
	var ring *sign.Ring
	var err error
	if remote != "" {
		var rem repo.Remote
		if rem, err = findRemote(r, remote); err == nil {
			ring, err = sign.RemoteRing(r, rem)
		}
	} else {
		ring, err = allKeys(r, home)
	}
	if err != nil {
		return err
	}
	report, err := commitSignatures(r, id, ring)
	if err == nil && len(report) > 0 {
		printReport(w, "Found", report)
	}
	return err
}

// printReport writes what is known about signatures. The blank line between them is how ostree has it.
func printReport(w io.Writer, found string, report sign.Report) {
	s := "s"
	if len(report) == 1 {
		s = ""
	}
	fmt.Fprintf(w, "%s %d signature%s:\n", found, len(report), s)
	for i := range report {
		fmt.Fprintf(w, "\n%s", report[i].Describe("  "))
	}
}

// printDeploymentSignatures writes the signatures of a deployment's commit whose remote wants some. With verify it also
// demands that they are what the remote wants.
func printDeploymentSignatures(w io.Writer, r *repo.Repo, d *deploy.Deployment, verify bool) error {
	name, _, ok := strings.Cut(d.Refspec(), ":")
	if !ok {
		return nil
	}
	rem, err := r.Remote(name)
	if errors.Is(err, repo.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := printRemoteSignatures(w, r, d.Commit, rem); err != nil || !verify {
		return err
	}
	demand, err := sign.LoadDemand(r, rem)
	if err != nil {
		return err
	}
	data, err := r.LoadMetadata(object.Name{ID: d.Commit, Kind: object.KindCommit})
	if err != nil {
		return err
	}
	detached, err := r.DetachedMetadata(d.Commit)
	if err != nil {
		return err
	}
	if demand.Commit.Keys != nil {
		good, err := demand.Commit.Keys.Verify(data, detached)
		if err != nil {
			return fmt.Errorf("Can't verify commit %s: %w", d.Commit, err) //nolint:staticcheck // ostree's words
		}
		fmt.Fprintf(w, "    %s\n", good)
	}
	if _, err := demand.Commit.Check(data, detached); err != nil {
		return fmt.Errorf("Can't verify commit %s: %w", d.Commit, err) //nolint:staticcheck // ostree's words
	}
	return nil
}

// printRemoteSignatures writes the OpenPGP signatures of a commit, each line by itself.
func printRemoteSignatures(w io.Writer, r *repo.Repo, id object.ID, rem repo.Remote) error {
	if text, _ := rem.Get("gpg-verify"); text != "" {
		if on, err := strconv.ParseBool(strings.TrimSpace(text)); err == nil && !on {
			return nil
		}
	}
	ring, err := sign.RemoteRing(r, rem)
	if err != nil {
		return err
	}
	report, err := commitSignatures(r, id, ring)
	if err != nil {
		return err
	}
	for i := range report {
		fmt.Fprint(w, report[i].Describe("    GPG: "))
	}
	return nil
}
