package rpm

import "strings"

// Sense holds the comparison of a dependency and the reasons it was recorded
// for, with the values that RPM stores.
type Sense uint32

// The sense bits that have a meaning to a compose.
const (
	Less    Sense = 1 << 1
	Greater Sense = 1 << 2
	Equal   Sense = 1 << 3

	SensePosttrans    Sense = 1 << 5
	SensePrereq       Sense = 1 << 6
	SensePretrans     Sense = 1 << 7
	SenseInterp       Sense = 1 << 8
	SenseScriptPre    Sense = 1 << 9
	SenseScriptPost   Sense = 1 << 10
	SenseScriptPreun  Sense = 1 << 11
	SenseScriptPostun Sense = 1 << 12
	SenseScriptVerify Sense = 1 << 13
	SenseFindRequires Sense = 1 << 14
	SenseFindProvides Sense = 1 << 15
	SenseTriggerIn    Sense = 1 << 16
	SenseTriggerUn    Sense = 1 << 17
	SenseTriggerPost  Sense = 1 << 18
	SenseMissingOK    Sense = 1 << 19
	SenseRPMLib       Sense = 1 << 24
	SenseTriggerPre   Sense = 1 << 25
	SenseKeyring      Sense = 1 << 26
	SenseConfig       Sense = 1 << 28
	SenseMeta         Sense = 1 << 29

	// CompareMask selects the comparison.
	CompareMask = Less | Greater | Equal
	// InstallMask selects what must be there before the package is installed
	// and its scripts run: it decides the order of installation.
	InstallMask = SensePrereq | SenseInterp | SenseScriptPre | SenseScriptPost | SensePretrans
)

// Operator is the comparison as text: "<", "<=", "=", ">=", ">", or "".
func (s Sense) Operator() string {
	var op string
	if s&Less != 0 {
		op += "<"
	}
	if s&Greater != 0 {
		op += ">"
	}
	if s&Equal != 0 {
		op += "="
	}
	return op
}

// Dep is one dependency or capability: a name with an optional version range,
// or a rich (boolean) expression, where Rich is set and Name holds its text.
type Dep struct {
	Name  string
	Flags Sense
	EVR   EVR
	Rich  *Rich
}

// Relations are the dependency lists of a package. Requires includes those that
// only scripts need; their Flags say so.
type Relations struct {
	Requires, Provides, Conflicts, Obsoletes    []Dep
	Recommends, Suggests, Supplements, Enhances []Dep
}

// String writes the dependency as a spec file does: "name", "name >= 1:2-3",
// "(a or b)".
func (d Dep) String() string {
	op := d.Flags.Operator()
	if d.Rich != nil || op == "" {
		return d.Name
	}
	return d.Name + " " + op + " " + d.EVR.String()
}

// IsPath says whether the dependency is on a file.
func (d Dep) IsPath() bool { return d.Rich == nil && strings.HasPrefix(d.Name, "/") }

// IsRPMLib says whether the dependency is on a feature of the installing
// program, which no package provides.
func (d Dep) IsRPMLib() bool {
	return d.Flags&SenseRPMLib != 0 || strings.HasPrefix(d.Name, "rpmlib(")
}

// Overlaps says whether the version range of a capability meets that of d.
// Names are not compared. A range without a version meets everything.
func (d Dep) Overlaps(provide Dep) bool {
	flags, pflags := d.Flags&CompareMask, provide.Flags&CompareMask
	if flags == 0 || pflags == 0 {
		return true
	}
	if flags&pflags&(Less|Greater) != 0 {
		return true // both are open in the same direction
	}
	p, r := provide.EVR, d.EVR
	c := EVR{p.Epoch, p.Version, ""}.Compare(EVR{r.Epoch, r.Version, ""})
	if c == 0 && p.Release != r.Release {
		switch {
		case p.Release == "":
			return pflags&Equal != 0
		case r.Release == "":
			return flags&Equal != 0
		}
		c = CompareVersions(p.Release, r.Release)
	}
	switch {
	case c < 0:
		return flags&Less != 0 || pflags&Greater != 0
	case c > 0:
		return flags&Greater != 0 || pflags&Less != 0
	}
	return flags&pflags&Equal != 0
}
