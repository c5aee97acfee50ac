// Package host is what a machine's owner asks for: see the deployments, fetch
// and deploy an update, follow another branch, go back, compare package lists.
//
// It joins the stages that each do one of these: pull fetches a commit into the
// sysroot's repository, deploy makes it bootable, rpmdb knows packages. There is no
// daemon: a function does its work and returns, and the locks of the repository
// and the sysroot keep two of them apart.
//
// The package prints nothing. It leaves the sysroot as it was if it returns an
// error, except where the error says otherwise (deploy.CleanupError).
package host

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"photree/deploy"
	"photree/grub"
	"photree/repo"
	"photree/repo/object"
)

// Options are how a host is opened; the zero value opens the running one.
type Options struct {
	// Sysroot is the physical root; empty means "/".
	Sysroot string
	// Progress, when not nil, is told the name of each step of a deployment.
	Progress func(step string)
}

// Open opens a sysroot for the functions of this package. As in ostree the
// environment may ask for deployments without the immutable bit
// (OSTREE_SYSROOT_DEBUG=mutable-deployments) and for the older names of boot
// entries (OSTREE_SYSROOT_OPTS=bootloader-naming-1).
func Open(o Options) (*deploy.Sysroot, error) {
	root := o.Sysroot
	if root == "" {
		root = "/"
	}
	return deploy.Open(root, deploy.Options{
		Bootloader:       grub.Bootloader{},
		Mutable:          strings.Contains(os.Getenv("OSTREE_SYSROOT_DEBUG"), "mutable-deployments"),
		TestFreeze:       strings.Contains(os.Getenv("OSTREE_SYSROOT_DEBUG"), "test-fifreeze"),
		StaterootInNames: strings.Contains(os.Getenv("OSTREE_SYSROOT_OPTS"), "bootloader-naming-1"),
		Progress:         o.Progress,
	})
}

// Refspec is a branch and the remote that it is fetched from; Remote is empty for
// a branch of the sysroot's own repository.
type Refspec struct {
	Remote, Ref string
}

// ParseRefspec reads "REMOTE:REF" or "REF".
func ParseRefspec(s string) (Refspec, error) {
	s = strings.TrimPrefix(s, "ostree://")
	remote, ref, ok := strings.Cut(s, ":")
	if !ok {
		remote, ref = "", s
	}
	if ok && remote == "" || ref == "" {
		return Refspec{}, fmt.Errorf("%q is not a refspec: write REMOTE:BRANCH", s)
	}
	return Refspec{Remote: remote, Ref: ref}, nil
}

func (r Refspec) String() string {
	if r.Remote == "" {
		return r.Ref
	}
	return r.Remote + ":" + r.Ref
}

// ErrNoDeployment says that there is nothing to upgrade from.
var ErrNoDeployment = errors.New("this sysroot has no deployment to start from: make one with \"ostree admin deploy\"")

// current returns the deployment whose origin an update follows: the newest one
// of the stateroot, so that a second update builds on a pending first one.
func current(st *deploy.State, stateroot string) (*deploy.Deployment, error) {
	if stateroot == "" {
		stateroot = defaultStateroot(st)
	}
	if d := st.Pending(stateroot); d != nil {
		return d, nil
	}
	if d := st.Merge(stateroot); d != nil {
		return d, nil
	}
	if stateroot != "" {
		return nil, sentence("No previous deployment for OS '" + stateroot + "'")
	}
	return nil, ErrNoDeployment
}

// sentence is an error in the very words of ostree or rpm-ostree.
type sentence string

func (s sentence) Error() string { return string(s) }

// defaultStateroot is that of the booted deployment, else of the default one.
func defaultStateroot(st *deploy.State) string {
	if b := st.Booted(); b != nil {
		return b.Stateroot
	}
	if len(st.Deployments) > 0 {
		return st.Deployments[0].Stateroot
	}
	return ""
}

// resolve finds the commit that a branch has in the repository.
func resolve(r *repo.Repo, ref Refspec) (object.ID, error) {
	return r.ResolveRev(ref.String())
}

// ResolveDeployed finds a commit by any of the words that name one on a host: a
// branch with or without its remote, a checksum or the beginning of one, "booted",
// "pending" or "rollback".
func ResolveDeployed(s *deploy.Sysroot, rev string) (object.ID, error) {
	st, err := s.Load()
	if err != nil {
		return object.ID{}, err
	}
	name := defaultStateroot(st)
	var d *deploy.Deployment
	switch rev {
	case "booted":
		d = st.Booted()
	case "pending":
		d = st.Pending(name)
	case "rollback":
		d = st.Rollback(name)
	default:
		return s.Repo().ResolveRev(rev)
	}
	if d == nil {
		return object.ID{}, fmt.Errorf("there is no %s deployment", rev)
	}
	return d.Commit, nil
}

// RebaseTarget reads what to follow instead: "REMOTE:BRANCH", "REMOTE:" for the same
// branch of another remote, or "BRANCH" of the same remote.
func RebaseTarget(st *deploy.State, stateroot, target string) (Refspec, error) {
	remote, ref, hasRemote := strings.Cut(strings.TrimPrefix(target, "ostree://"), ":")
	if !hasRemote {
		remote, ref = "", remote
	}
	if remote != "" && ref != "" {
		return Refspec{Remote: remote, Ref: ref}, nil
	}
	cur, err := current(st, stateroot)
	if err != nil {
		return Refspec{}, err
	}
	old, err := ParseRefspec(cur.Refspec())
	switch {
	case hasRemote && remote == "" && ref != "":
		return Refspec{Ref: ref}, nil // ":BRANCH" is one of the local repository
	case err != nil:
		return Refspec{}, fmt.Errorf("the current deployment follows no branch: name remote and branch as REMOTE:BRANCH: %w", err)
	case ref == "" && remote == "":
		return Refspec{}, fmt.Errorf("%q names neither a remote nor a branch", target)
	case ref == "":
		return Refspec{Remote: remote, Ref: old.Ref}, nil
	}
	return Refspec{Remote: old.Remote, Ref: ref}, nil
}
