package rpmwriter

import (
	"fmt"
	"sort"
	"strconv"
	"strings"
)

// Sense flags of a relation, as rpm numbers them.
const (
	Less         = 1 << 1
	Greater      = 1 << 2
	Equal        = 1 << 3
	PreReq       = 1 << 6
	Interp       = 1 << 8
	ScriptPre    = 1 << 9
	ScriptPost   = 1 << 10
	ScriptPreun  = 1 << 11
	ScriptPostun = 1 << 12
	TriggerIn    = 1 << 16
	TriggerUn    = 1 << 17
	RPMLib       = 1 << 24
)

// File flags, as rpm numbers them.
const (
	Config    = 1 << 0
	Doc       = 1 << 1
	NoReplace = 1 << 4
	Ghost     = 1 << 6
)

// File types in File.Mode.
const (
	TypeMask = 0o170000
	TypeReg  = 0o100000
	TypeDir  = 0o040000
	TypeLink = 0o120000
)

// Dep is one relation. A rich one has the whole expression as its name and no version.
type Dep struct {
	Name    string
	Flags   uint32
	Version string // [epoch:]version[-release]; empty without Less, Greater or Equal
}

// String gives the relation as a person writes it: "libc6 >= 2.36-0".
func (d Dep) String() string {
	if d.Version == "" {
		return d.Name
	}
	op := ""
	if d.Flags&Less != 0 {
		op += "<"
	}
	if d.Flags&Greater != 0 {
		op += ">"
	}
	if d.Flags&Equal != 0 {
		op += "="
	}
	return d.Name + " " + op + " " + d.Version
}

// Rich says whether the relation is a boolean expression.
func (d Dep) Rich() bool { return strings.HasPrefix(d.Name, "(") }

// File is one entry of a package.
type File struct {
	Path   string // absolute
	Mode   uint32 // with the type bits
	User   string // empty means root
	Group  string // empty means root
	MTime  uint32
	Flags  uint32
	Body   []byte
	Target string // of a symbolic link
	Caps   string // cap_to_text form, "cap_net_raw=ep"
	// LinkOf names an earlier regular file of the package that this one is a hard link of; Body is ignored then.
	LinkOf string
}

// Script is a scriptlet; an empty Interp means /bin/sh. A script with an interpreter and no body is the `-p` form.
type Script struct {
	Interp string
	Body   string
}

func (s Script) empty() bool { return s.Interp == "" && s.Body == "" }

func (s Script) interp() string {
	if s.Interp == "" {
		return "/bin/sh"
	}
	return s.Interp
}

// Trigger is a script that runs when another package is installed (TriggerIn) or removed (TriggerUn).
type Trigger struct {
	Script
	On Dep // Flags hold TriggerIn or TriggerUn too
}

// Package is everything an RPM says.
type Package struct {
	Name, Version, Release, Arch       string
	Epoch                              uint32
	Summary, Description, License, URL string
	Vendor, Group, SourceRPM           string
	BuildTime                          uint32

	Requires, Provides, Conflicts, Obsoletes     []Dep
	Recommends, Suggests, Supplements, Enhances  []Dep
	Pre, Post, Preun, Postun, Pretrans, Posttran Script
	Triggers                                     []Trigger
	Files                                        []File
}

// EVR is the package's version as a relation writes it; without an epoch of zero.
func (p *Package) EVR() string {
	evr := p.Version + "-" + p.Release
	if p.Epoch != 0 {
		evr = strconv.FormatUint(uint64(p.Epoch), 10) + ":" + evr
	}
	return evr
}

// FileName is the usual name of the package's file.
func (p *Package) FileName() string {
	return fmt.Sprintf("%s-%s-%s.%s.rpm", p.Name, p.Version, p.Release, p.Arch)
}

// AllProvides is what the package provides, with itself.
func (p *Package) AllProvides() []Dep {
	return append([]Dep{{Name: p.Name, Flags: Equal, Version: p.EVR()}}, p.Provides...)
}

// AllRequires is what the package requires, with the interpreters of its scriptlets and the features of rpm it needs.
func (p *Package) AllRequires() []Dep {
	reqs := append([]Dep(nil), p.Requires...)
	for _, s := range []struct {
		script Script
		flag   uint32
	}{{p.Pre, ScriptPre}, {p.Post, ScriptPost}, {p.Preun, ScriptPreun}, {p.Postun, ScriptPostun}} {
		if !s.script.empty() {
			reqs = append(reqs, Dep{Name: s.script.interp(), Flags: Interp | s.flag})
		}
	}
	lib := func(name, version string) {
		reqs = append(reqs, Dep{Name: "rpmlib(" + name + ")", Flags: RPMLib | Less | Equal, Version: version})
	}
	lib("CompressedFileNames", "3.0.4-1")
	lib("FileDigests", "4.6.0-1")
	lib("PayloadFilesHavePrefix", "4.0-1")
	lib("PayloadIsZstd", "5.4.18-1")
	if p.anyDep(func(d Dep) bool { return d.Rich() }) {
		lib("RichDependencies", "4.12.0-1")
	}
	if strings.Contains(p.EVR(), "^") || p.anyDep(func(d Dep) bool { return strings.Contains(d.Version, "^") }) {
		lib("CaretInVersions", "4.15.0-1")
	}
	if strings.Contains(p.EVR(), "~") || p.anyDep(func(d Dep) bool { return strings.Contains(d.Version, "~") }) {
		lib("TildeInVersions", "4.10.0-1")
	}
	if p.hasCaps() {
		lib("FileCaps", "4.6.1-1")
	}
	return reqs
}

func (p *Package) anyDep(match func(Dep) bool) bool {
	for _, list := range [][]Dep{p.Requires, p.Provides, p.Conflicts, p.Obsoletes, p.Recommends, p.Suggests, p.Supplements, p.Enhances} {
		for _, d := range list {
			if match(d) {
				return true
			}
		}
	}
	return false
}

func (p *Package) hasCaps() bool {
	for _, f := range p.Files {
		if f.Caps != "" {
			return true
		}
	}
	return false
}

// sortedFiles gives the files in the order of their paths, as rpm wants them in the header, hard links resolved.
func (p *Package) sortedFiles() ([]entry, error) {
	files := append([]File(nil), p.Files...)
	sort.Slice(files, func(i, j int) bool { return files[i].Path < files[j].Path })
	entries := make([]entry, len(files))
	byPath := make(map[string]int, len(files))
	for i, f := range files {
		entries[i] = entry{File: f, inode: uint32(i + 1), links: 1}
		if _, dup := byPath[f.Path]; dup {
			return nil, fmt.Errorf("package %s holds %q twice", p.Name, f.Path)
		}
		byPath[f.Path] = i
	}
	for i, f := range files {
		if f.LinkOf == "" {
			continue
		}
		first, ok := byPath[f.LinkOf]
		if !ok || files[first].LinkOf != "" {
			return nil, fmt.Errorf("package %s: %q is a hard link of %q, which is not a file of it", p.Name, f.Path, f.LinkOf)
		}
		src := &entries[first]
		entries[i].Body, entries[i].Mode, entries[i].User, entries[i].Group = src.Body, src.Mode, src.User, src.Group
		entries[i].MTime, entries[i].Caps, entries[i].inode = src.MTime, src.Caps, src.inode
		src.links++
	}
	// Every name of an inode carries the same count, and the last name in the payload carries the bytes.
	last := map[uint32]int{}
	for i := range entries {
		last[entries[i].inode] = i
	}
	for i := range entries {
		entries[i].links = entries[entries[i].inode-1].links
		entries[i].bytesHere = last[entries[i].inode] == i
	}
	return entries, nil
}

// entry is a File with what its place among the others decides.
type entry struct {
	File
	inode, links uint32
	bytesHere    bool
}

func (e *entry) isReg() bool { return e.Mode&TypeMask == TypeReg }

func (e *entry) size() uint32 {
	switch e.Mode & TypeMask {
	case TypeReg:
		return uint32(len(e.Body))
	case TypeLink:
		return uint32(len(e.Target))
	case TypeDir:
		return 4096 // what rpmbuild records for a directory
	}
	return 0
}
