package rpmdb

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"

	"photree/compose/rpm"
)

// index is one index table: which tag it holds and what RPM indexes in it.
type index struct {
	table   string
	tag     int
	binary  bool // the keys are binary; RPM gives such tables no index
	byPkg   bool // RPM also indexes the package numbers
	numbers int  // the tag that gives idx, for file triggers
	rich    bool // the names inside rich dependencies are indexed as well
}

// indexes lists the tables in the order in which RPM makes them.
var indexes = []index{
	{table: "Name", tag: tagName},
	{table: "Basenames", tag: tagBasenames, byPkg: true},
	{table: "Group", tag: tagGroup},
	{table: "Requirename", tag: tagRequireName, byPkg: true, rich: true},
	{table: "Providename", tag: tagProvideName, byPkg: true},
	{table: "Conflictname", tag: tagConflictName, byPkg: true, rich: true},
	{table: "Obsoletename", tag: tagObsoleteName, byPkg: true},
	{table: "Triggername", tag: tagTriggerName, byPkg: true},
	{table: "Dirnames", tag: tagDirnames, byPkg: true},
	{table: "Installtid", tag: tagInstallTID, binary: true},
	{table: "Sigmd5", tag: tagSigMD5, binary: true},
	{table: "Sha1header", tag: tagSHA1Header},
	{table: "Filetriggername", tag: tagFileTriggerName, byPkg: true, numbers: tagFileTriggerIndex},
	{table: "Transfiletriggername", tag: tagTransTriggerName, byPkg: true, numbers: tagTransTriggerIndex},
	{table: "Recommendname", tag: tagRecommendName, byPkg: true, rich: true},
	{table: "Suggestname", tag: tagSuggestName, byPkg: true, rich: true},
	{table: "Supplementname", tag: tagSupplementName, byPkg: true, rich: true},
	{table: "Enhancename", tag: tagEnhanceName, byPkg: true, rich: true},
}

func (x index) create() string {
	typ := "TEXT"
	if x.binary {
		typ = "BLOB"
	}
	// The quotes around the type are in RPM's own schema: keep them.
	return fmt.Sprintf(`CREATE TABLE '%s' (key '%s' NOT NULL, hnum INTEGER NOT NULL, idx INTEGER NOT NULL, FOREIGN KEY (hnum) REFERENCES 'Packages'(hnum))`, x.table, typ)
}

func (x index) createIndexes() []string {
	var out []string
	if !x.binary {
		out = append(out, fmt.Sprintf(`CREATE INDEX '%[1]s_key_idx' ON '%[1]s'(key ASC)`, x.table))
	}
	if x.byPkg {
		out = append(out, fmt.Sprintf(`CREATE INDEX '%[1]s_hnum_idx' ON '%[1]s'(hnum ASC)`, x.table))
	}
	return out
}

// key is one row of an index table: the value and its place in the header.
type key struct {
	key any
	idx int64
}

// Requirements that only the installation has are not in RPM's index: nothing
// that is removed later can break them. Those of erase scripts count again.
const (
	installOnly = rpm.SenseScriptPre | rpm.SenseScriptPost | rpm.SenseRPMLib | rpm.SenseKeyring | rpm.SensePretrans | rpm.SensePosttrans
	eraseToo    = rpm.SenseScriptPreun | rpm.SenseScriptPostun
)

// keys gives the rows of one package.
func (x index) keys(e Entry, o WriteOptions) []key {
	p := e.Package
	switch x.tag {
	case tagInstallTID:
		// RPM stores the number as it lies in memory.
		return []key{{binary.LittleEndian.AppendUint32(nil, o.Time), 0}}
	case tagSigMD5:
		if b := p.Signature().MD5; len(b) > 0 {
			return []key{{b, 0}}
		}
		return nil
	case tagSHA1Header:
		if s := p.Signature().SHA1Header; s != "" {
			return []key{{s, 0}}
		}
		return nil
	case tagGroup:
		if g := p.Strings(tagGroup); len(g) > 0 {
			return []key{{g[0], 0}} // the others are translations
		}
		return []key{{"Unknown", 0}}
	}
	return x.arrayKeys(p)
}

func (x index) arrayKeys(p *rpm.Package) []key {
	var flags, numbers []int64
	if x.tag == tagRequireName {
		flags = p.Ints(tagRequireFlags)
	}
	if x.numbers != 0 {
		numbers = p.Ints(x.numbers)
	}
	seen := map[string]bool{}
	var out []key
	for i, s := range p.Strings(x.tag) {
		if i < len(flags) {
			if f := rpm.Sense(flags[i]); f&installOnly != 0 && f&eraseToo == 0 {
				continue
			}
		}
		if x.tag == tagTriggerName && seen[s] {
			continue
		}
		seen[s] = true
		idx := int64(i)
		if i < len(numbers) {
			idx = numbers[i]
		}
		out = append(out, key{s, idx})
		if x.rich && strings.HasPrefix(s, "(") {
			for _, name := range richNames(s) {
				out = append(out, key{name, idx})
			}
		}
	}
	return out
}

// richNames gives the names in a rich dependency as RPM indexes them: those
// that decide by being absent come with "!" in front. The condition of an
// "else" decides both ways.
func richNames(text string) []string {
	dep, err := rpm.ParseDep(text)
	if err != nil || dep.Rich == nil {
		return nil
	}
	positive, negative := map[string]bool{}, map[string]bool{}
	collectNames(dep, false, positive, negative)
	out := slices.Sorted(maps.Keys(positive))
	for _, name := range slices.Sorted(maps.Keys(negative)) {
		out = append(out, "!"+name)
	}
	return out
}

func collectNames(d rpm.Dep, not bool, positive, negative map[string]bool) {
	if d.Rich == nil {
		switch {
		case strings.HasPrefix(d.Name, "rpmlib("):
		case not:
			negative[d.Name] = true
		default:
			positive[d.Name] = true
		}
		return
	}
	conditional := d.Rich.Op == rpm.If || d.Rich.Op == rpm.Unless
	for i, a := range d.Rich.Args {
		if !conditional || i != 1 {
			collectNames(a, not, positive, negative)
			continue
		}
		collectNames(a, !not, positive, negative)
		if len(d.Rich.Args) > 2 {
			collectNames(a, not, positive, negative)
		}
	}
}
