package host

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"photree/compose/rpm"
	"photree/compose/rpmdb"
	"photree/repo"
	"photree/repo/object"
	"photree/repo/tree"
)

// databases are where a tree may have its package database.
var databases = []string{
	"/usr/share/rpm/rpmdb.sqlite", "/usr/lib/sysimage/rpm/rpmdb.sqlite", "/usr/lib/sysimage/rpm-ostree-base-db/rpmdb.sqlite",
}

// NoPackagesError says that a commit names no packages: it was not made from any.
type NoPackagesError struct{ Commit object.ID }

func (e *NoPackagesError) Error() string {
	return fmt.Sprintf("commit %s has neither a package list nor an RPM database", e.Commit)
}

// Packages lists the packages of a commit, sorted: from the commit's metadata,
// else from the database in its tree.
func Packages(ctx context.Context, r *repo.Repo, id object.ID) ([]rpm.NEVRA, error) {
	c, err := r.LoadCommit(id)
	if err != nil {
		return nil, err
	}
	list, ok := c.Metadata.Get("rpmostree.rpmdb.pkglist")
	var out []rpm.NEVRA
	if ok && list.Type() == "a(sssss)" {
		for i := range list.Len() {
			p := list.Index(i)
			epoch := p.Index(1).Str()
			if epoch == "" {
				epoch = "0"
			}
			out = append(out, rpm.NEVRA{
				Name: p.Index(0).Str(), Arch: p.Index(4).Str(),
				EVR: rpm.ParseEVR(epoch + ":" + p.Index(2).Str() + "-" + p.Index(3).Str()),
			})
		}
	} else if out, err = fromDatabase(ctx, r, id); err != nil {
		return nil, err
	}
	slices.SortFunc(out, func(a, b rpm.NEVRA) int {
		if c := strings.Compare(a.Name, b.Name); c != 0 {
			return c
		}
		return strings.Compare(a.String(), b.String())
	})
	return out, nil
}

func fromDatabase(ctx context.Context, r *repo.Repo, id object.ID) ([]rpm.NEVRA, error) {
	for _, path := range databases {
		data, err := tree.ReadFile(r, id, path)
		if errors.Is(err, repo.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		pkgs, err := rpmdb.ReadBytes(ctx, data)
		if err != nil {
			return nil, fmt.Errorf("reading %s of commit %s: %w", path, id, err)
		}
		return rpmdb.NEVRAs(pkgs), nil
	}
	return nil, &NoPackagesError{id}
}

// Compare lists how the packages of two commits differ.
func Compare(ctx context.Context, r *repo.Repo, from, to object.ID) (rpmdb.Difference, error) {
	if from == to {
		return rpmdb.Difference{}, nil
	}
	a, err := Packages(ctx, r, from)
	if err != nil {
		return rpmdb.Difference{}, err
	}
	b, err := Packages(ctx, r, to)
	if err != nil {
		return rpmdb.Difference{}, err
	}
	return rpmdb.Diff(a, b), nil
}
