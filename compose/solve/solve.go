// Package solve decides which packages a tree consists of: from what is wanted
// and what the repositories hold to the set that is installed, in the order in
// which it is installed, or to an explanation of why there is no such set.
//
// It is pure: no files, no network, no clock. The same request gives the same
// result, whatever the order of maps. Its answers follow libsolv, the solver of
// dnf: the best version of each wanted package, no package that nothing asked
// for, weak dependencies when they fit.
//
// A request becomes clauses over "package p is installed", only for packages
// that can be reached from what is wanted. A clause-learning search satisfies
// them, deciding what to try first as libsolv's policy does (policy.go). When it
// fails, the clauses that contradict each other are the explanation.
package solve

import (
	"context"
	"fmt"
	"strings"

	"photree/compose/rpm"
)

// DefaultPriority is the priority of a repository that states none.
const DefaultPriority = 99

// Package is a package that can be installed, whatever it was read from. The
// solver does not change it and compares packages by pointer.
type Package struct {
	rpm.NEVRA
	rpm.Relations
	Files    []string // the paths that the repository's primary index lists
	Repo     string   // id of its repository
	Priority int      // of its repository: lower wins over any version; 0 is DefaultPriority
	Origin   any      // the caller's own, untouched
}

// Request says what is wanted. Only Available and Install must be set.
type Request struct {
	Available []*Package

	// Install is what must be in the result, each a name, name.arch, NEVRA (or
	// part of it), glob, capability ("webserver", "a < 2"), path or rich
	// dependency.
	Install []string
	// InstallFrom is Install with the candidates limited to one repository.
	InstallFrom []FromRepo
	// Exclude takes packages away, by name, name.arch, NEVRA or glob.
	Exclude []string
	// Locked pins a name to one version: other versions of it are not
	// candidates. The name need not be installed.
	Locked []rpm.NEVRA
	// Recommends also installs what packages recommend, and what supplements
	// them, as far as it fits.
	Recommends bool
	// Arch is the machine, as "x86_64"; empty means that of Available's first
	// package that is not noarch.
	Arch string
	// InstallOnly are the names of which several versions may be installed.
	InstallOnly []string
	// LookupFiles gives the packages that contain each path. The solver calls it
	// with paths that a needed package depends on and that a primary index does
	// not list. Without it only Package.Files count.
	LookupFiles func(ctx context.Context, paths []string) (map[string][]*Package, error)
}

// FromRepo wants packages from one repository.
type FromRepo struct {
	Repo     string
	Packages []string
}

// Result is what to install.
type Result struct {
	// Install is in the order of installation: what a package requires comes
	// before it, most of all what its scripts require.
	Install []*Package
	// Weak are those of Install that only weak dependencies brought.
	Weak map[*Package]bool
}

// ProblemError says why a request has no solution. Each problem is a list of
// sentences that together are a contradiction, for a user to read.
type ProblemError struct {
	Problems [][]string
}

// Error joins the sentences, one a line.
func (e *ProblemError) Error() string {
	var b strings.Builder
	b.WriteString("the packages cannot be installed:")
	for i, p := range e.Problems {
		for j, s := range p {
			switch {
			case j > 0:
				b.WriteString("\n  - ")
			case len(e.Problems) > 1:
				fmt.Fprintf(&b, "\n problem %d: ", i+1)
			default:
				b.WriteString("\n problem: ")
			}
			b.WriteString(s)
		}
	}
	return b.String()
}

// maxProblems bounds how many independent contradictions one answer explains.
const maxProblems = 10

// Solve answers a request. When there is no solution the error is a
// *ProblemError; other errors come from LookupFiles, ctx or a malformed request.
func Solve(ctx context.Context, req Request) (*Result, error) {
	p := newPool(req)
	jobs, err := p.jobs(ctx, req)
	if err != nil {
		return nil, err
	}
	r := &rules{pool: p, recommends: req.Recommends, installOnly: set(req.InstallOnly)}
	if err := r.build(ctx, jobs); err != nil {
		return nil, err
	}
	s := newSearch(r)
	if err := s.run(ctx); err != nil {
		return nil, err
	}
	if s.failed >= 0 {
		return nil, s.explain(ctx)
	}
	return s.result(), nil
}

func set(items []string) map[string]bool {
	m := make(map[string]bool, len(items))
	for _, i := range items {
		m[i] = true
	}
	return m
}
