package ostree

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"photree/cli"
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
	report, err := ring.VerifyCommit(r, id)
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
	report, _, err := sign.ReportFor(r, name, d.Commit)
	if err != nil {
		return err
	}
	for i := range report {
		fmt.Fprint(w, report[i].Describe("    GPG: "))
	}
	if !verify {
		return nil
	}
	rem, err := r.Remote(name)
	if errors.Is(err, repo.ErrNotFound) {
		return nil
	}
	if err != nil {
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
			return cli.Fail("Can't verify commit %s: %w", d.Commit, err)
		}
		fmt.Fprintf(w, "    %s\n", good)
	}
	if _, err := demand.Commit.Check(data, detached); err != nil {
		return cli.Fail("Can't verify commit %s: %w", d.Commit, err)
	}
	return nil
}
