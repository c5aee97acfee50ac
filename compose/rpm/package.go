package rpm

import "io"

// Package is what one package header says. Open fills it from a package file,
// ParseHeader from a header blob of an rpm database.
type Package struct {
	NEVRA
	Relations

	Summary, Description, License, Group, URL string
	Vendor, Packager, Distribution, BuildHost string
	SourceRPM                                 string
	BuildTime                                 int64
	InstalledSize                             uint64 // sum of the file sizes, as the header states it
	Format                                    int    // 4 or 6
	Source                                    bool   // a source package, which no compose installs

	Files    []File
	Scripts  []Script
	Triggers []Trigger

	// PayloadCompressor is "gzip", "xz", "lzma", "zstd", "bzip2" or "".
	PayloadCompressor string

	header header
	sig    header
	rest   io.Reader // the payload, compressed; nil without a package file
	closer io.Closer
}

// FileFlags are the attributes of a packaged file.
type FileFlags uint32

// File attributes, with the values that RPM stores.
const (
	FileConfig    FileFlags = 1 << 0
	FileDoc       FileFlags = 1 << 1
	FileMissingOK FileFlags = 1 << 3
	FileNoReplace FileFlags = 1 << 4
	FileSpec      FileFlags = 1 << 5
	FileGhost     FileFlags = 1 << 6
	FileLicense   FileFlags = 1 << 7
	FileReadme    FileFlags = 1 << 8
	FilePubkey    FileFlags = 1 << 11
	FileArtifact  FileFlags = 1 << 12
)

// File is one packaged path.
type File struct {
	Path   string // absolute
	Mode   uint32 // as in stat: type and permission bits
	Size   uint64
	MTime  int64
	Owner  string
	Group  string
	Rdev   uint32 // device number of a device node, in the 16 or 32 bit form of stat
	Inode  uint32 // equal for the names of one hard-linked file, with Device
	Device uint32
	Link   string // target of a symbolic link
	Digest string // hex, of a regular file
	Flags  FileFlags
	Caps   string // text form, as "cap_net_raw=ep"
	Lang   string
	Color  uint32 // 1: 32 bit ELF, 2: 64 bit ELF
}

// ScriptKind says when a script runs.
type ScriptKind string

// The scripts of a package.
const (
	Pre         ScriptKind = "pre"
	Post        ScriptKind = "post"
	Preun       ScriptKind = "preun"
	Postun      ScriptKind = "postun"
	Pretrans    ScriptKind = "pretrans"
	Posttrans   ScriptKind = "posttrans"
	Preuntrans  ScriptKind = "preuntrans"
	Postuntrans ScriptKind = "postuntrans"
	Verify      ScriptKind = "verifyscript"
)

// ScriptFlags change how a script runs.
type ScriptFlags uint32

// Script flags, with the values that RPM stores.
const (
	ScriptExpand   ScriptFlags = 1 << 0 // expand macros before running
	ScriptQFormat  ScriptFlags = 1 << 1
	ScriptCritical ScriptFlags = 1 << 2 // a failure fails the transaction
)

// Script is a scriptlet. Args is the interpreter and its arguments, "<lua>" for
// the embedded one; an empty Body means that the interpreter itself is run, as
// with "-p /sbin/ldconfig".
type Script struct {
	Kind  ScriptKind
	Args  []string
	Body  string
	Flags ScriptFlags
}

// TriggerKind says what a trigger watches and when it runs.
type TriggerKind string

// The kinds of trigger.
const (
	TriggerPrein  TriggerKind = "triggerprein"
	TriggerIn     TriggerKind = "triggerin"
	TriggerUn     TriggerKind = "triggerun"
	TriggerPostun TriggerKind = "triggerpostun"

	FileTriggerIn     TriggerKind = "filetriggerin"
	FileTriggerUn     TriggerKind = "filetriggerun"
	FileTriggerPostun TriggerKind = "filetriggerpostun"

	TransFileTriggerIn     TriggerKind = "transfiletriggerin"
	TransFileTriggerUn     TriggerKind = "transfiletriggerun"
	TransFileTriggerPostun TriggerKind = "transfiletriggerpostun"
)

// Trigger is one trigger script with what sets it off: packages for the plain
// kinds, path prefixes (the Name of each Dep) for file triggers.
type Trigger struct {
	Kind     TriggerKind
	On       []Dep
	Args     []string
	Body     string
	Flags    ScriptFlags
	Priority uint32 // of file triggers; higher runs first
}

// Script gives the scriptlet of one kind, or nil.
func (p *Package) Script(kind ScriptKind) *Script {
	for i := range p.Scripts {
		if p.Scripts[i].Kind == kind {
			return &p.Scripts[i]
		}
	}
	return nil
}
