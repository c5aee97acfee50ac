package solve

import (
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"photree/compose/rpm"
)

// job is one thing that must be true of the result.
type job struct {
	token string // as the user wrote it
	any   []id   // one of these must be installed
	rich  *rpm.Dep
}

// jobs finds what each token means. All tokens that mean nothing are reported
// at once.
func (p *pool) jobs(ctx context.Context, req Request) ([]job, error) {
	type item struct{ token, repo string }
	var items []item
	for _, t := range req.Install {
		items = append(items, item{t, ""})
	}
	for _, f := range req.InstallFrom {
		for _, t := range f.Packages {
			items = append(items, item{t, f.Repo})
		}
	}
	var ask []string
	for _, it := range items {
		if d, err := rpm.ParseDep(it.token); err == nil {
			eachLeaf(&d, func(l *rpm.Dep) {
				if l.IsPath() {
					p.addFile(l.Name)
				}
			})
			ask = append(ask, p.missing(&d)...)
		}
	}
	if len(ask) > 0 {
		if err := p.ask(ctx, ask); err != nil {
			return nil, err
		}
	}
	var jobs []job
	var problems [][]string
	seen := map[item]bool{}
	for _, it := range items {
		if seen[it] {
			continue
		}
		seen[it] = true
		js, err := p.job(it.token, it.repo)
		if err != nil {
			return nil, err
		}
		if len(js) == 0 {
			problems = append(problems, p.noMatch(it.token, it.repo))
		}
		jobs = append(jobs, js...)
	}
	if len(problems) > 0 {
		return nil, &ProblemError{problems}
	}
	return jobs, nil
}

// addFile indexes a path that no package depends on but a token names.
func (p *pool) addFile(f string) {
	if _, ok := p.files[f]; ok {
		return
	}
	p.files[f] = nil
	for n, pkg := range p.pkgs[1:] {
		if slices.Contains(pkg.Files, f) {
			p.files[f] = append(p.files[f], id(n+1))
		}
	}
}

func (p *pool) job(token, repo string) ([]job, error) {
	keep := func(ids []id) []id {
		if repo == "" {
			return ids
		}
		return slices.DeleteFunc(slices.Clone(ids), func(i id) bool { return p.pkgs[i].Repo != repo })
	}
	one := func(ids []id) []job {
		if ids = keep(ids); len(ids) == 0 {
			return nil
		}
		return []job{{token: token, any: ids}}
	}
	switch {
	case strings.HasPrefix(token, "@"):
		return nil, fmt.Errorf("%q is a package group, which is not supported: list the packages of the group", token)
	case strings.HasPrefix(token, "("):
		d, err := rpm.ParseDep(token)
		if err != nil {
			return nil, err
		}
		return []job{{token: token, rich: &d}}, nil
	case isGlob(token) && !strings.HasPrefix(token, "/"):
		return p.globJobs(token, keep), nil
	}
	d, err := rpm.ParseDep(token)
	if err != nil {
		return nil, fmt.Errorf("the package %q cannot be understood: %w", token, err)
	}
	if d.Flags&rpm.CompareMask != 0 {
		named := slices.DeleteFunc(slices.Clone(p.named(d.Name)), func(i id) bool {
			return !d.Overlaps(rpm.Dep{Flags: rpm.Equal, EVR: p.pkgs[i].EVR})
		})
		if js := one(named); js != nil {
			return js, nil
		}
		return one(p.providers(&d)), nil
	}
	if ids := keep(p.named(token)); len(ids) > 0 {
		return one(ids), nil
	}
	if js := one(p.bySpelling(token)); js != nil {
		return js, nil
	}
	return one(p.providers(&d)), nil
}

// obsoletes says whether a package falls under an Obsoletes, which compares with
// names and versions of packages and not with what they provide.
func (p *pool) obsoletes(d *rpm.Dep, o id) bool {
	pkg := p.pkgs[o]
	return d.Name == pkg.Name && d.Overlaps(rpm.Dep{Flags: rpm.Equal, EVR: pkg.EVR})
}

// bySpelling finds name.arch, NEVRA and its parts.
func (p *pool) bySpelling(token string) (ids []id) {
	if !strings.ContainsAny(token, ".-") {
		return nil
	}
	for n, pkg := range p.pkgs[1:] {
		if strings.HasPrefix(token, pkg.Name) && slices.Contains(spellings(pkg), token) {
			ids = append(ids, id(n+1))
		}
	}
	return ids
}

// globJobs makes one job for each name that a pattern matches.
func (p *pool) globJobs(pattern string, keep func([]id) []id) (jobs []job) {
	byName := map[string][]id{}
	for n, pkg := range p.pkgs[1:] {
		ok, _ := path.Match(pattern, pkg.Name)
		if !ok && strings.ContainsAny(pattern, ".-") {
			ok = slices.ContainsFunc(spellings(pkg), func(s string) bool { m, _ := path.Match(pattern, s); return m })
		}
		if ok {
			byName[pkg.Name] = append(byName[pkg.Name], id(n+1))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		if ids := keep(byName[name]); len(ids) > 0 {
			jobs = append(jobs, job{token: pattern, any: ids})
		}
	}
	return jobs
}

func (p *pool) noMatch(token, repo string) []string {
	where := fmt.Sprintf("the enabled repositories (%s)", strings.Join(p.repos, ", "))
	if repo != "" {
		where = fmt.Sprintf("the repository %s", repo)
	}
	if len(p.repos) == 0 {
		where = "the enabled repositories, which are empty"
	}
	s := fmt.Sprintf("no package matches '%s' in %s", token, where)
	if b := p.unusable[token]; len(b) > 0 {
		return []string{s, fmt.Sprintf("package %s %s", describe(b[0].pkg), b[0].why)}
	}
	if near := p.nearMisses(token); len(near) > 0 {
		s += "; did you mean " + strings.Join(near, ", ") + "?"
	}
	return []string{s}
}

// nearMisses gives up to three names that look like a token.
func (p *pool) nearMisses(token string) []string {
	token = strings.ToLower(token)
	type near struct {
		name string
		d    int
	}
	var list []near
	limit := 1 + len(token)/5
	for name := range p.entries {
		if len(p.named(name)) == 0 {
			continue
		}
		low := strings.ToLower(name)
		switch d := distance(token, low, limit); {
		case d <= limit:
			list = append(list, near{name, d})
		case len(token) >= 4 && (strings.HasPrefix(low, token) || strings.HasSuffix(low, token)):
			list = append(list, near{name, limit + 1})
		}
	}
	slices.SortFunc(list, func(a, b near) int {
		if a.d != b.d {
			return a.d - b.d
		}
		return strings.Compare(a.name, b.name)
	})
	var out []string
	for _, n := range list[:min(3, len(list))] {
		out = append(out, "'"+n.name+"'")
	}
	return out
}

// distance is the number of letters to insert, delete, replace or swap, or more
// than limit when it is more.
func distance(a, b string, limit int) int {
	if len(a)-len(b) > limit || len(b)-len(a) > limit {
		return limit + 1
	}
	before, prev, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before, prev, row = prev, row, before
		row[0] = i + 1
		for j := range len(b) {
			if a[i] == b[j] {
				row[j+1] = prev[j]
			} else {
				row[j+1] = 1 + min(prev[j], prev[j+1], row[j])
			}
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
	}
	return row[len(b)]
}

func describe(pkg *Package) string {
	if pkg.Repo == "" {
		return pkg.String()
	}
	return pkg.String() + " from " + pkg.Repo
}
