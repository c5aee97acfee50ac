package distro

import (
	"archive/tar"
	"fmt"
	"path"
	"regexp"
	"sort"
	"strconv"
	"strings"

	"photree/qemu-tests/distro/rpmwriter"
)

// buildTime stands for every time that no Debian package gives.
const buildTime = 1700000000

var topLevel = regexp.MustCompile(`^/(bin|sbin|lib|lib32|lib64|libx32)(/|$)`)

// merge moves a path of the split layout into /usr.
func merge(p string) string { return topLevel.ReplaceAllString(p, "/usr/$1$2") }

// leftOut are files that no test looks at and that would be a third of the files: translations and notes to Debian's
// own tools.
var leftOut = regexp.MustCompile(`^/usr/share/(locale/.+|lintian(/.*)?|bug(/.*)?|doc-base(/.*)?|i18n/(locales|charmaps)/.+|gdb(/.*)?)$`)

// conversion is one package on its way from Debian to RPM.
type conversion struct {
	deb   *deb
	name  string
	files map[string]rpmwriter.File
	pkg   *rpmwriter.Package
	// Relation fields, parsed; what the scriptlets need comes on top.
	depends, preDepends, conflicts, provides []clause
}

// convert makes an RPM package of a Debian one. Maintainer scripts are not carried over: what they do to the file
// system is in the effects table, and what RPM does with scriptlets (users, alternatives, presets, ldconfig) becomes
// scriptlets.
func convert(d *deb) (*rpmwriter.Package, error) {
	c := &conversion{deb: d, name: d.fields["Package"], files: map[string]rpmwriter.File{}}
	arch, ok := map[string]string{"amd64": "x86_64", "all": "noarch"}[d.fields["Architecture"]]
	if !ok {
		return nil, fmt.Errorf("package %s has architecture %q", c.name, d.fields["Architecture"])
	}
	epoch, version, release := mapVersion(d.fields["Version"])
	e, err := strconv.ParseUint(epoch, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("package %s has version %q: %w", c.name, d.fields["Version"], err)
	}
	summary, description, _ := strings.Cut(d.fields["Description"], "\n")
	if description == "" {
		description = summary
	}
	source, _, _ := strings.Cut(d.fields["Source"], " ")
	if source == "" {
		source = c.name
	}
	c.pkg = &rpmwriter.Package{
		Name: c.name, Version: version, Release: release, Epoch: uint32(e), Arch: arch,
		Summary: summary, Description: description, URL: d.fields["Homepage"],
		License: "see /usr/share/doc/" + c.name + "/copyright", Vendor: "photree", Group: "Unspecified",
		SourceRPM: source + "-" + version + "-" + release + ".src.rpm", BuildTime: buildTime,
	}
	for _, step := range []func() error{c.addFiles, c.applyEffects, c.parseFields, c.addScripts, c.addRelations} {
		if err := step(); err != nil {
			return nil, fmt.Errorf("converting package %s: %w", c.name, err)
		}
	}
	for _, f := range c.files {
		c.pkg.Files = append(c.pkg.Files, f)
	}
	sort.Slice(c.pkg.Files, func(i, j int) bool { return c.pkg.Files[i].Path < c.pkg.Files[j].Path })
	return c.pkg, nil
}

func (c *conversion) addFiles() error {
	conffiles := map[string]bool{}
	for _, line := range strings.Split(c.deb.members["conffiles"], "\n") {
		if f := strings.Fields(line); len(f) == 1 {
			conffiles[merge(f[0])] = true
		}
	}
	for _, df := range c.deb.files {
		p := merge(df.path)
		if p == "/" || leftOut.MatchString(p) || (df.kind == tar.TypeDir && ownedByFilesystem(p)) {
			continue
		}
		f := rpmwriter.File{Path: p, Mode: uint32(df.hdr.Mode) & 0o7777, User: df.user, Group: df.group, MTime: uint32(df.hdr.ModTime.Unix())}
		switch df.kind {
		case tar.TypeDir:
			f.Mode |= rpmwriter.TypeDir
		case tar.TypeSymlink:
			f.Mode = rpmwriter.TypeLink | 0o777
			var points string
			f.Target, points = mergeLink(df.path, df.hdr.Linkname)
			// /lib/x -> /usr/lib/x is one file after the merge; and of a link and a file, the file stays.
			if _, there := c.files[p]; points == p || there {
				continue
			}
		case tar.TypeLink:
			f.Mode |= rpmwriter.TypeReg
			f.LinkOf = merge(path.Clean("/" + df.hdr.Linkname))
		case tar.TypeReg:
			f.Mode |= rpmwriter.TypeReg
			f.Body = df.body
		default:
			return fmt.Errorf("%q is of a kind that packages do not hold", df.path)
		}
		if conffiles[p] {
			f.Flags |= rpmwriter.Config | rpmwriter.NoReplace
		}
		if df.kind != tar.TypeDir && isDoc(p) {
			f.Flags |= rpmwriter.Doc
		}
		c.files[p] = f
	}
	return nil
}

func isDoc(p string) bool {
	for _, dir := range []string{"/usr/share/doc/", "/usr/share/man/", "/usr/share/info/"} {
		if strings.HasPrefix(p, dir) {
			return true
		}
	}
	return false
}

// mergeLink gives a symbolic link's target after the merge, and the absolute path that it means.
func mergeLink(link, target string) (newTarget, points string) {
	if strings.HasPrefix(target, "/") {
		return target, merge(path.Clean(target))
	}
	points = merge(path.Join(path.Dir(link), target))
	return relative(path.Dir(merge(link)), points), points
}

// relative gives the path from directory dir to p, both absolute and clean.
func relative(dir, p string) string {
	from, to := strings.Split(strings.Trim(dir, "/"), "/"), strings.Split(strings.Trim(p, "/"), "/")
	if dir == "/" {
		from = nil
	}
	for len(from) > 0 && len(to) > 1 && from[0] == to[0] {
		from, to = from[1:], to[1:]
	}
	return strings.Repeat("../", len(from)) + strings.Join(to, "/")
}

func (c *conversion) parseFields() error {
	for _, f := range []struct {
		to    *[]clause
		names []string
	}{
		{&c.depends, []string{"Depends"}}, {&c.preDepends, []string{"Pre-Depends"}},
		{&c.conflicts, []string{"Conflicts", "Breaks"}}, {&c.provides, []string{"Provides"}},
	} {
		for _, name := range f.names {
			clauses, err := parseRelations(c.deb.fields[name])
			if err != nil {
				return fmt.Errorf("field %s: %w", name, err)
			}
			*f.to = append(*f.to, clauses...)
		}
	}
	c.depends, c.preDepends = dropUnwanted(c.depends), dropUnwanted(c.preDepends)
	return nil
}

// addRelations fills the relations of the RPM; the scriptlets are already known, they need packages too.
func (c *conversion) addRelations() error {
	p := c.pkg
	for _, d := range append(c.preDepends, c.scriptNeeds()...) {
		dep := d.dep()
		dep.Flags |= rpmwriter.ScriptPre | rpmwriter.ScriptPost
		p.Requires = append(p.Requires, dep)
	}
	p.Requires = append(deps(append(append([]clause(nil), c.depends...), c.preDepends...)), p.Requires...)
	p.Provides = deps(c.provides)
	for _, file := range fileProvides[c.name] {
		p.Provides = append(p.Provides, rpmwriter.Dep{Name: file})
	}
	replaces, err := parseRelations(c.deb.fields["Replaces"])
	if err != nil {
		return fmt.Errorf("field Replaces: %w", err)
	}
	conflicts, provided, obsoleted := names(c.conflicts), names(c.provides), map[string]bool{}
	for _, r := range replaces {
		// Replaces alone only allows taking over files; with Conflicts and Provides it means "instead of".
		if n := r[0].Name; conflicts[n] && provided[n] {
			obsoleted[n] = true
			p.Obsoletes = append(p.Obsoletes, r[0])
		}
	}
	for _, d := range deps(c.conflicts) {
		if !obsoleted[d.Name] && !provided[d.Name] && d.Name != c.name {
			p.Conflicts = append(p.Conflicts, d)
		}
	}
	for _, weak := range []struct {
		field string
		to    *[]rpmwriter.Dep
	}{{"Recommends", &p.Recommends}, {"Suggests", &p.Suggests}, {"Enhances", &p.Enhances}} {
		clauses, err := parseRelations(c.deb.fields[weak.field])
		if err != nil {
			return fmt.Errorf("field %s: %w", weak.field, err)
		}
		*weak.to = deps(dropUnwanted(clauses))
	}
	return nil
}

func names(clauses []clause) map[string]bool {
	out := map[string]bool{}
	for _, c := range clauses {
		out[c[0].Name] = true
	}
	return out
}

// dropUnwanted takes out alternatives, and whole clauses, that serve Debian's maintainer scripts only.
func dropUnwanted(clauses []clause) []clause {
	var out []clause
	for _, c := range clauses {
		var left clause
		for _, d := range c {
			if !unwanted[d.Name] {
				left = append(left, d)
			}
		}
		if len(left) > 0 {
			out = append(out, left)
		}
	}
	return out
}
