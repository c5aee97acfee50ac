package rpmostree

import (
	"fmt"
	"path"
	"sort"

	"photree/cli"
	"photree/compose/rpm"
	"photree/compose/rpmdb"
	"photree/deploy"
	"photree/host"
	"photree/repo"
	"photree/repo/object"

	"github.com/spf13/cobra"
)

func init() { register(newDB) }

func newDB(env *cli.Env) *cobra.Command {
	c := &cobra.Command{Use: "db", Short: "Commands to query the RPM database"}
	c.AddCommand(newDBList(env), newDBDiff(env))
	return c
}

// dbVerb finds commits in a sysroot, or in a repository that --repo names.
type dbVerb struct {
	*hostVerb
	repoPath string
}

func newDBVerb(env *cli.Env, c *cobra.Command) *dbVerb {
	v := &dbVerb{hostVerb: newHostVerb(env, c)}
	c.Flags().StringVarP(&v.repoPath, "repo", "r", "", "`PATH` to OSTree repository (defaults to the sysroot's)")
	return v
}

// place is where commits are looked up.
type place struct {
	repo    *repo.Repo
	sysroot *deploy.Sysroot // nil with --repo
}

func (v *dbVerb) with(run func(place, []string) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		if v.repoPath == "" {
			return v.Reading(func(s *deploy.Sysroot, args []string) error { return run(place{s.Repo(), s}, args) })(c, args)
		}
		r, err := repo.Open(v.repoPath)
		if err != nil {
			return err
		}
		defer r.Close()
		return run(place{repo: r}, args)
	}
}

func (p place) resolve(rev string) (object.ID, error) {
	if p.sysroot != nil {
		return host.ResolveDeployed(p.sysroot, rev)
	}
	return p.repo.ResolveRev(rev)
}

func newDBList(env *cli.Env) *cobra.Command {
	c := &cobra.Command{Use: "list REV... [PREFIX-PKGNAME...]", Short: "List packages within commits"}
	v := newDBVerb(env, c)
	var asJSON bool
	cli.AddJSON(c, &asJSON)
	c.Flags().BoolP("advisories", "a", false, "Ignored: advisories are not listed")
	c.RunE = v.with(func(p place, args []string) error { return v.list(p, args, asJSON) })
	return c
}

// list prints the packages of commits. Arguments that name no commit are patterns
// for package names, as long as the first argument is a commit.
func (v *dbVerb) list(p place, args []string, asJSON bool) error {
	if len(args) == 0 {
		return cli.Fail("REV must be specified")
	}
	type found struct {
		rev string
		id  object.ID
	}
	var revs []found
	var patterns []string
	for i, arg := range args {
		id, err := p.resolve(arg)
		switch {
		case err == nil:
			revs = append(revs, found{arg, id})
		case i == 0:
			return err
		default:
			patterns = append(patterns, arg)
		}
	}
	out := map[string][]string{}
	for _, rev := range revs {
		pkgs, err := host.Packages(v.Env.Ctx, p.repo, rev.id)
		if err != nil {
			return err
		}
		names := []string{}
		for _, pkg := range pkgs {
			if matches(pkg, patterns) {
				names = append(names, pkg.String())
			}
		}
		out[rev.id.String()] = names
		if asJSON {
			continue
		}
		if rev.rev == rev.id.String() {
			fmt.Fprintf(v.Env.Stdout, "ostree commit: %s\n", rev.id)
		} else {
			fmt.Fprintf(v.Env.Stdout, "ostree commit: %s (%s)\n", rev.rev, rev.id)
		}
		for _, n := range names {
			fmt.Fprintf(v.Env.Stdout, " %s\n", n)
		}
	}
	if asJSON {
		return cli.PrintJSON(v.Env.Stdout, out)
	}
	return nil
}

func matches(p rpm.NEVRA, patterns []string) bool {
	for _, pat := range patterns {
		for _, text := range []string{p.Name, p.String()} {
			if ok, _ := path.Match(pat, text); ok {
				return true
			}
		}
	}
	return len(patterns) == 0
}

func newDBDiff(env *cli.Env) *cobra.Command {
	c := &cobra.Command{Use: "diff [FROM-REV] [TO-REV]", Short: "Show package changes between two commits", Args: cobra.MaximumNArgs(2),
		Long: "Without revisions the booted deployment is compared with the pending one, or with the rollback; with one, the booted\n" +
			"deployment with that. A revision is a branch, a checksum or the beginning of one, booted, pending or rollback."}
	v := newDBVerb(env, c)
	var format string
	var changelogs bool
	c.Flags().StringVarP(&format, "format", "F", "block", "Output `FORMAT`: \"diff\", \"json\" or \"block\"")
	c.Flags().BoolVarP(&changelogs, "changelogs", "c", false, "Not offered: package lists have no changelogs")
	c.Flags().Bool("base", false, "Ignored: there are no layered packages")
	c.RunE = v.with(func(p place, args []string) error {
		if changelogs {
			return fmt.Errorf("changelogs are not in the package list of a commit: leave --changelogs out")
		}
		return v.diff(p, args, format)
	})
	return c
}

// side is one of the two commits compared, and what the user called it.
type side struct {
	name string
	id   object.ID
}

func (s side) String() string {
	if s.name == s.id.String() || s.name == "" {
		return s.id.String()
	}
	return s.name + " (" + s.id.String() + ")"
}

func (v *dbVerb) diff(p place, args []string, format string) error {
	from, to, err := p.sides(args)
	if err != nil {
		return err
	}
	d, err := host.Compare(v.Env.Ctx, p.repo, from.id, to.id)
	if err != nil {
		return err
	}
	switch format {
	case "json":
		return cli.PrintJSON(v.Env.Stdout, diffJSON(from, to, d))
	case "block", "diff":
	default:
		return cli.Fail("Format argument is invalid, pick one of: diff, json, block")
	}
	fmt.Fprintf(v.Env.Stdout, "ostree diff commit from: %s\nostree diff commit to:   %s\n", from, to)
	if format == "diff" {
		printLines(v.Env, d)
	} else {
		printBlocks(v.Env, d, "")
	}
	return nil
}

func (p place) sides(args []string) (from, to side, err error) {
	if len(args) == 2 {
		from.name, to.name = args[0], args[1]
		if from.id, err = p.resolve(args[0]); err == nil {
			to.id, err = p.resolve(args[1])
		}
		return from, to, err
	}
	if p.sysroot == nil {
		return from, to, fmt.Errorf("with --repo both revisions must be named")
	}
	st, err := p.sysroot.Load()
	if err != nil {
		return from, to, err
	}
	b := st.Booted()
	if b == nil {
		return from, to, cli.Fail("Not booted into an OSTree system, and fewer than two revisions are named")
	}
	from = side{"booted deployment", b.Commit}
	if len(args) == 1 {
		to.name = args[0]
		to.id, err = p.resolve(args[0])
		return from, to, err
	}
	if d := st.Pending(b.Stateroot); d != nil {
		return from, side{"pending deployment", d.Commit}, nil
	}
	if d := st.Rollback(b.Stateroot); d != nil {
		return side{"rollback deployment", d.Commit}, from, nil
	}
	return from, to, cli.Fail("No pending or rollback deployment to diff against")
}

// diffLines gives a comparison one package a line, sorted by name.
func diffLines(d rpmdb.Difference) []string {
	type group struct {
		name  string
		lines []string
	}
	var groups []group
	for _, list := range [][]rpmdb.Change{d.Upgraded, d.Downgraded} {
		for _, c := range list {
			groups = append(groups, group{c.New.Name, []string{"!" + c.Old.String(), "=" + c.New.String()}})
		}
	}
	for _, n := range d.Removed {
		groups = append(groups, group{n.Name, []string{"-" + n.String()}})
	}
	for _, n := range d.Added {
		groups = append(groups, group{n.Name, []string{"+" + n.String()}})
	}
	sort.SliceStable(groups, func(i, j int) bool { return groups[i].name < groups[j].name })
	var out []string
	for _, g := range groups {
		out = append(out, g.lines...)
	}
	return out
}

// The numbers of the kinds of change in the JSON form.
const (
	kindAdded = iota
	kindRemoved
	kindUpgraded
	kindDowngraded
)

func diffJSON(from, to side, d rpmdb.Difference) map[string]any {
	pkg := func(n rpm.NEVRA) []string { return []string{n.Name, n.EVR.String(), n.Arch} }
	list := []any{}
	for _, n := range d.Added {
		list = append(list, []any{n.Name, kindAdded, map[string]any{"NewPackage": pkg(n)}})
	}
	for _, n := range d.Removed {
		list = append(list, []any{n.Name, kindRemoved, map[string]any{"PreviousPackage": pkg(n)}})
	}
	for kind, changes := range map[int][]rpmdb.Change{kindUpgraded: d.Upgraded, kindDowngraded: d.Downgraded} {
		for _, c := range changes {
			list = append(list, []any{c.New.Name, kind, map[string]any{"PreviousPackage": pkg(c.Old), "NewPackage": pkg(c.New)}})
		}
	}
	sort.SliceStable(list, func(i, j int) bool { return list[i].([]any)[0].(string) < list[j].([]any)[0].(string) })
	return map[string]any{"ostree-commit-from": from.id.String(), "ostree-commit-to": to.id.String(), "pkgdiff": list}
}
