package distro

import (
	"context"
	"fmt"
	"sort"
	"strings"
)

// planned is the content of one release: a version of every package in it.
type planned struct {
	release  release
	packages []candidate // by name
}

// plan asks apt for the closure of each release and picks the versions.
func plan(ctx context.Context, a *apt) ([]planned, error) {
	idx, err := a.index(ctx)
	if err != nil {
		return nil, err
	}
	var plans []planned
	for _, r := range releases {
		closure, err := a.resolve(ctx, requests(r))
		if err != nil {
			return nil, fmt.Errorf("resolving release %s: %w", r.name, err)
		}
		if !r.newer {
			// Ask again, for the older version of everything by name. The kernel's name holds its version, so
			// it is left to follow its meta package.
			if closure, err = a.resolve(ctx, older(idx, closure)); err != nil {
				return nil, fmt.Errorf("resolving release %s: %w", r.name, err)
			}
		}
		p, err := prune(idx, closure, r)
		if err != nil {
			return nil, fmt.Errorf("planning release %s: %w", r.name, err)
		}
		plans = append(plans, p)
	}
	return plans, nil
}

func older(idx map[string][]candidate, closure map[string]string) []string {
	var ids []string
	for name := range closure {
		if list := idx[name]; len(list) > 0 && !strings.HasPrefix(name, "linux-image-6") {
			ids = append(ids, list[0].id())
		}
	}
	sort.Strings(ids)
	return ids
}

// prune keeps what the requests reach without the unwanted packages.
func prune(idx map[string][]candidate, closure map[string]string, r release) (planned, error) {
	chosen, provider := map[string]candidate{}, map[string][]string{}
	for name, version := range closure {
		for _, c := range idx[name] {
			if c.version == version {
				chosen[name] = c
			}
		}
		c, ok := chosen[name]
		if !ok {
			return planned{}, fmt.Errorf("apt chose %s %s, which is in no package list", name, version)
		}
		provides, err := parseRelations(c.fields["Provides"])
		if err != nil {
			return planned{}, fmt.Errorf("package %s: %w", name, err)
		}
		for _, p := range provides {
			provider[p[0].Name] = append(provider[p[0].Name], name)
		}
	}
	keep := map[string]bool{}
	todo := append([]string(nil), requests(r)...)
	for len(todo) > 0 {
		name := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if keep[name] {
			continue
		}
		keep[name] = true
		next, err := needed(chosen[name], chosen, provider)
		if err != nil {
			return planned{}, err
		}
		todo = append(todo, next...)
	}
	p := planned{release: r}
	for name := range keep {
		p.packages = append(p.packages, chosen[name])
	}
	sort.Slice(p.packages, func(i, j int) bool { return p.packages[i].name < p.packages[j].name })
	if len(p.packages) < minPackages {
		return planned{}, fmt.Errorf("it has %d packages, fewer than %d", len(p.packages), minPackages)
	}
	return p, nil
}

// needed gives the packages of the closure that satisfy what one package depends on.
func needed(c candidate, chosen map[string]candidate, provider map[string][]string) ([]string, error) {
	clauses, err := parseRelations(c.fields["Pre-Depends"] + "," + c.fields["Depends"])
	if err != nil {
		return nil, fmt.Errorf("package %s: %w", c.name, err)
	}
	var out []string
	for _, cl := range dropUnwanted(clauses) {
		found := false
		for _, d := range cl {
			if _, ok := chosen[d.Name]; ok {
				out, found = append(out, d.Name), true
			} else if ps := provider[d.Name]; len(ps) > 0 {
				out, found = append(out, ps...), true
			}
		}
		if !found {
			return nil, fmt.Errorf("package %s needs %s, which apt did not choose", c.name, cl.dep())
		}
	}
	return out, nil
}
