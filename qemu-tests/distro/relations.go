package distro

import (
	"fmt"
	"regexp"
	"strings"

	"photree/qemu-tests/distro/rpmwriter"
)

var relationRE = regexp.MustCompile(`^([a-z0-9][a-z0-9+.-]+)(?::\S+)?\s*(?:\(\s*(>=|<=|=|>>|<<|>|<)\s*([^)\s]+)\s*\))?`)

var senses = map[string]uint32{
	">=": rpmwriter.Greater | rpmwriter.Equal, "<=": rpmwriter.Less | rpmwriter.Equal, "=": rpmwriter.Equal,
	">>": rpmwriter.Greater, "<<": rpmwriter.Less,
	// What dpkg reads into the old single signs.
	">": rpmwriter.Greater | rpmwriter.Equal, "<": rpmwriter.Less | rpmwriter.Equal,
}

// clause is one comma-separated part of a relation field: alternatives, one of which must hold.
type clause []rpmwriter.Dep

// dep gives the clause as RPM writes it: more than one alternative becomes a rich dependency.
func (c clause) dep() rpmwriter.Dep {
	if len(c) == 1 {
		return c[0]
	}
	parts := make([]string, len(c))
	for i, d := range c {
		parts[i] = d.String()
	}
	return rpmwriter.Dep{Name: "(" + strings.Join(parts, " or ") + ")"}
}

// parseRelations reads a relation field of a control file.
func parseRelations(field string) ([]clause, error) {
	var clauses []clause
	for _, text := range strings.Split(strings.ReplaceAll(field, "\n", " "), ",") {
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		var c clause
		seen := map[rpmwriter.Dep]bool{}
		for _, alt := range strings.Split(text, "|") {
			m := relationRE.FindStringSubmatch(strings.TrimSpace(alt))
			if m == nil {
				return nil, fmt.Errorf("parsing relation %q", alt)
			}
			d := rpmwriter.Dep{Name: m[1]}
			if m[2] != "" {
				d.Flags, d.Version = senses[m[2]], mapEVR(m[3])
			}
			if !seen[d] {
				seen[d] = true
				c = append(c, d)
			}
		}
		clauses = append(clauses, c)
	}
	return clauses, nil
}

// deps gives the clauses as RPM relations, each once.
func deps(clauses []clause) []rpmwriter.Dep {
	var out []rpmwriter.Dep
	seen := map[rpmwriter.Dep]bool{}
	for _, c := range clauses {
		if d := c.dep(); !seen[d] {
			seen[d] = true
			out = append(out, d)
		}
	}
	return out
}
