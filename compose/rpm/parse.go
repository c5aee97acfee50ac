package rpm

import (
	"errors"
	"fmt"
	"path"
	"strings"
)

// fill decodes the tags of the main header into p.
func (p *Package) fill() error {
	h := p.header
	p.Name, p.Version, p.Release, p.Arch = h.str(tagName), h.str(tagVersion), h.str(tagRelease), h.str(tagArch)
	p.Epoch = uint32(h.uint(tagEpoch))
	if p.Name == "" || p.Version == "" {
		return errors.New("the header has no name or no version")
	}
	if strings.ContainsAny(p.Name, "/\x00") || p.Name[0] == '.' {
		return fmt.Errorf("the package name %q is not valid", p.Name)
	}
	p.Summary, p.Description = h.str(tagSummary), h.str(tagDescription)
	p.License, p.Group, p.URL = h.str(tagLicense), h.str(tagGroup), h.str(tagURL)
	p.Vendor, p.Packager = h.str(tagVendor), h.str(tagPackager)
	p.Distribution, p.BuildHost = h.str(tagDistribution), h.str(tagBuildHost)
	p.SourceRPM, p.BuildTime = h.str(tagSourceRPM), int64(h.uint(tagBuildTime))
	p.Source = p.Source || h.has(tagSourcePackage)
	if s := h.either(tagLongSize, tagSize); len(s) > 0 {
		p.InstalledSize = uint64(s[0])
	}
	p.Format = 4
	if f := h.uint(tagRPMFormat); f != 0 {
		p.Format = int(f)
	}
	p.PayloadCompressor = h.str(tagCompressor)
	for _, d := range []struct {
		to   *[]Dep
		tags depTags
	}{
		{&p.Requires, tagsRequires}, {&p.Provides, tagsProvides},
		{&p.Conflicts, tagsConflicts}, {&p.Obsoletes, tagsObsoletes},
		{&p.Recommends, tagsRecommends}, {&p.Suggests, tagsSuggests},
		{&p.Supplements, tagsSupplements}, {&p.Enhances, tagsEnhances},
	} {
		deps, err := h.deps(d.tags)
		if err != nil {
			return err
		}
		*d.to = deps
	}
	if err := p.fillFiles(); err != nil {
		return err
	}
	p.fillScripts()
	return p.fillTriggers()
}

// sameLength verifies that an optional array has one value for each of n items.
func sameLength(what string, have, n int) error {
	if have != 0 && have != n {
		return fmt.Errorf("the header has %d values of %s for %d entries", have, what, n)
	}
	return nil
}

func (h header) deps(t depTags) ([]Dep, error) {
	names, versions, flags := h.strings(t.name), h.strings(t.version), h.ints(t.flags)
	if len(names) == 0 {
		return nil, nil
	}
	if err := errors.Join(sameLength("dependency versions", len(versions), len(names)),
		sameLength("dependency flags", len(flags), len(names))); err != nil {
		return nil, err
	}
	deps := make([]Dep, len(names))
	for i, name := range names {
		d := Dep{Name: name}
		if flags != nil {
			d.Flags = Sense(flags[i])
		}
		if strings.HasPrefix(name, "(") {
			rich, err := parseRichDep(name)
			if err != nil {
				return nil, err
			}
			rich.Flags |= d.Flags &^ CompareMask
			deps[i] = rich
			continue
		}
		if versions != nil && versions[i] != "" {
			d.EVR = ParseEVR(versions[i])
		} else {
			d.Flags &^= CompareMask
		}
		deps[i] = d
	}
	return deps, nil
}

// paths gives the packaged paths, from either of the two ways to store them.
func (h header) paths() ([]string, error) {
	base := h.strings(tagBasenames)
	if base == nil {
		return h.strings(tagOldFilenames), nil
	}
	dirs, idx := h.strings(tagDirnames), h.ints(tagDirIndexes)
	if len(idx) != len(base) {
		return nil, fmt.Errorf("the header has %d directory numbers for %d files", len(idx), len(base))
	}
	paths := make([]string, len(base))
	for i, b := range base {
		if idx[i] < 0 || idx[i] >= int64(len(dirs)) {
			return nil, fmt.Errorf("file %q is in directory number %d of %d", b, idx[i], len(dirs))
		}
		paths[i] = dirs[idx[i]] + b
	}
	return paths, nil
}

// cleanPath rejects paths that would leave the root or that are written in two
// ways. Source packages, which have bare names, are not checked.
func cleanPath(p string) error {
	if !strings.HasPrefix(p, "/") || path.Clean(p) != p || strings.ContainsRune(p, 0) {
		return fmt.Errorf("the packaged path %q is not absolute and clean", p)
	}
	return nil
}

func (p *Package) fillFiles() error {
	h := p.header
	paths, err := h.paths()
	if err != nil || len(paths) == 0 {
		return err
	}
	n := len(paths)
	sizes := h.either(tagLongFileSizes, tagFileSizes)
	modes, rdevs, mtimes := h.ints(tagFileModes), h.ints(tagFileRdevs), h.ints(tagFileMTimes)
	flags, devices, inodes := h.ints(tagFileFlags), h.ints(tagFileDevices), h.ints(tagFileInodes)
	colors := h.ints(tagFileColors)
	digests, links := h.strings(tagFileDigests), h.strings(tagFileLinkTos)
	users, groups := h.strings(tagFileUser), h.strings(tagFileGroup)
	langs, caps := h.strings(tagFileLangs), h.strings(tagFileCaps)
	if len(modes) != n {
		return fmt.Errorf("the header has %d file modes for %d files", len(modes), n)
	}
	for what, have := range map[string]int{
		"file sizes": len(sizes), "file devices": len(rdevs), "file times": len(mtimes),
		"file flags": len(flags), "device numbers": len(devices), "inode numbers": len(inodes),
		"file colors": len(colors), "file digests": len(digests), "link targets": len(links),
		"owners": len(users), "groups": len(groups), "file languages": len(langs), "capabilities": len(caps),
	} {
		if err := sameLength(what, have, n); err != nil {
			return err
		}
	}
	p.Files = make([]File, n)
	for i := range p.Files {
		if !p.Source {
			if err := cleanPath(paths[i]); err != nil {
				return err
			}
		}
		p.Files[i] = File{
			Path: paths[i], Mode: uint32(uint16(modes[i])), Size: uint64(intAt(sizes, i)),
			MTime: intAt(mtimes, i), Owner: strAt(users, i), Group: strAt(groups, i),
			Rdev: uint32(intAt(rdevs, i)), Inode: uint32(intAt(inodes, i)), Device: uint32(intAt(devices, i)),
			Link: strAt(links, i), Digest: strAt(digests, i), Flags: FileFlags(intAt(flags, i)),
			Caps: strAt(caps, i), Lang: strAt(langs, i), Color: uint32(intAt(colors, i)),
		}
	}
	return nil
}

func intAt(v []int64, i int) int64 {
	if v == nil {
		return 0
	}
	return v[i]
}

func strAt(v []string, i int) string {
	if v == nil {
		return ""
	}
	return v[i]
}

func (p *Package) fillScripts() {
	h := p.header
	for _, t := range scriptTags {
		if !h.has(t.body) && !h.has(t.prog) {
			continue
		}
		s := Script{Kind: t.kind, Body: h.str(t.body), Args: h.strings(t.prog), Flags: ScriptFlags(h.uint(t.flags))}
		if t.critical && !h.has(t.flags) {
			s.Flags |= ScriptCritical
		}
		if len(s.Args) == 0 {
			s.Args = []string{"/bin/sh"}
		}
		p.Scripts = append(p.Scripts, s)
	}
}

func (p *Package) fillTriggers() error {
	for _, t := range triggerFamilies {
		if err := p.fillTriggerFamily(t); err != nil {
			return fmt.Errorf("reading triggers: %w", err)
		}
	}
	return nil
}

func (p *Package) fillTriggerFamily(t triggerTags) error {
	h := p.header
	bodies, progs := h.strings(t.scripts), h.strings(t.prog)
	if bodies == nil && progs == nil {
		return nil
	}
	names, index, flags := h.strings(t.name), h.ints(t.index), h.ints(t.flags)
	n := max(len(bodies), len(progs))
	scriptFlags, priorities := h.ints(t.scriptFlags), []int64(nil)
	if t.priority != 0 {
		priorities = h.ints(t.priority)
	}
	if len(index) != len(names) || len(flags) != len(names) {
		return fmt.Errorf("%d names, %d script numbers and %d flags", len(names), len(index), len(flags))
	}
	for what, have := range map[string]int{"bodies": len(bodies), "interpreters": len(progs),
		"script flags": len(scriptFlags), "priorities": len(priorities)} {
		if err := sameLength(what, have, n); err != nil {
			return err
		}
	}
	deps, err := h.deps(depTags{t.name, t.flags, t.version})
	if err != nil {
		return err
	}
	scripts := make([]Trigger, n)
	for i := range scripts {
		scripts[i] = Trigger{Body: strAt(bodies, i), Args: []string{"/bin/sh"},
			Flags: ScriptFlags(intAt(scriptFlags, i)), Priority: uint32(intAt(priorities, i))}
		if progs != nil && progs[i] != "" {
			scripts[i].Args = []string{progs[i]}
		}
	}
	for i, d := range deps {
		if index[i] < 0 || index[i] >= int64(n) {
			return fmt.Errorf("trigger on %q names script %d of %d", d.Name, index[i], n)
		}
		s := &scripts[index[i]]
		s.On = append(s.On, d)
		switch {
		case flags[i]&int64(SenseTriggerIn) != 0:
			s.Kind = t.in
		case flags[i]&int64(SenseTriggerUn) != 0:
			s.Kind = t.un
		case flags[i]&int64(SenseTriggerPost) != 0:
			s.Kind = t.postun
		case flags[i]&int64(SenseTriggerPre) != 0:
			s.Kind = t.prein
		}
	}
	for _, s := range scripts {
		if s.Kind != "" {
			p.Triggers = append(p.Triggers, s)
		}
	}
	return nil
}
