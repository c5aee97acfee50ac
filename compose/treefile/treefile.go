// Package treefile reads treefiles: what a tree is composed from and how.
//
// It accepts the JSON form, where unknown keys are ignored as Photon's files
// need it, and the YAML form, where an unknown key is an error. Includes are
// merged, the including file's values winning. The package reads only the
// treefile, what it includes and the scripts it names; it fetches nothing.
package treefile

import (
	"errors"
	"time"
)

// Treefile is a treefile with its includes merged and its variables replaced.
// A nil *bool means that no file set it; the methods give the defaults.
type Treefile struct {
	Path string `json:"-"` // the file that Load was given
	Dir  string `json:"-"` // its directory: where *.repo files are looked for

	Edition       string            `json:"edition,omitempty"`
	Ref           string            `json:"ref,omitempty"`
	Releasever    string            `json:"releasever,omitempty"`
	Basearch      string            `json:"basearch,omitempty"`
	Variables     map[string]string `json:"variables,omitempty"`
	RepoVars      map[string]string `json:"repovars,omitempty"`
	Repos         []string          `json:"repos,omitempty"`
	LockfileRepos []string          `json:"lockfile-repos,omitempty"`
	Packages      []string          `json:"packages,omitempty"` // with those of the architecture and the bootstrap packages
	RepoPackages  []RepoPackages    `json:"repo-packages,omitempty"`
	Exclude       []string          `json:"exclude-packages,omitempty"`
	Recommends    *bool             `json:"recommends,omitempty"`
	Documentation *bool             `json:"documentation,omitempty"`
	InstallLangs  []string          `json:"install-langs,omitempty"`
	SELinux       *bool             `json:"selinux,omitempty"`
	BootLocation  string            `json:"boot-location,omitempty"`
	InitramfsArgs []string          `json:"initramfs-args,omitempty"`
	NoInitramfs   *bool             `json:"no-initramfs,omitempty"`
	Units         []string          `json:"units,omitempty"`
	DefaultTarget string            `json:"default-target,omitempty"`

	RemoveFiles        []string   `json:"remove-files,omitempty"`
	RemoveFromPackages [][]string `json:"remove-from-packages,omitempty"` // package, then regular expressions
	AddFiles           []AddFile  `json:"add-files,omitempty"`
	Postprocess        []Script   `json:"postprocess,omitempty"` // inline scripts in order, then postprocess-script

	EtcGroupMembers     []string `json:"etc-group-members,omitempty"`
	PreservePasswd      *bool    `json:"preserve-passwd,omitempty"`
	CheckPasswd         *Check   `json:"check-passwd,omitempty"`
	CheckGroups         *Check   `json:"check-groups,omitempty"`
	IgnoreRemovedUsers  []string `json:"ignore-removed-users,omitempty"`
	IgnoreRemovedGroups []string `json:"ignore-removed-groups,omitempty"`

	VersionPrefix       string         `json:"automatic-version-prefix,omitempty"`
	VersionSuffix       string         `json:"automatic-version-suffix,omitempty"`
	MutateOSRelease     string         `json:"mutate-os-release,omitempty"`
	CommitMetadata      map[string]any `json:"add-commit-metadata,omitempty"`
	TmpIsDir            *bool          `json:"tmp-is-dir,omitempty"`
	MachineIDCompat     *bool          `json:"machineid-compat,omitempty"`
	OptUsrlocal         string         `json:"opt-usrlocal,omitempty"`
	ReadonlyExecutables *bool          `json:"readonly-executables,omitempty"`
	GPGKey              string         `json:"gpg-key,omitempty"`
	RPMDB               string         `json:"rpmdb,omitempty"`
	Sysusers            string         `json:"sysusers,omitempty"`
}

// RepoPackages wants packages from one repository.
type RepoPackages struct {
	Repo     string   `json:"repo"`
	Packages []string `json:"packages"`
}

// AddFile copies Source, next to the treefile that names it, to Dest in the tree.
type AddFile struct {
	Source string `json:"-"`      // path on this machine
	Dest   string `json:"dest"`   // absolute, under /usr or /etc
	SHA256 string `json:"sha256"` // of Source's content, so that a change changes the input hash
}

// Script is a post-processing script, to be run in the tree.
type Script struct {
	Name string `json:"name"` // for messages: "postprocess 2 of FILE"
	Body string `json:"body"` // with its shebang line
}

// Check says how users or groups are compared with what a host has.
type Check struct {
	Type     string            `json:"type"`              // "none", "previous", "file" or "data"
	Filename string            `json:"-"`                 // path on this machine, for "file"
	Content  string            `json:"content,omitempty"` // of that file
	Entries  map[string]string `json:"entries,omitempty"` // for "data": name to "uid[:gid]"
}

// Options change how a treefile is read. The zero value works.
type Options struct {
	// Arch is the machine to compose for, as "x86_64"; empty means this one.
	Arch string
}

// Load reads a treefile and everything it includes.
func Load(path string) (*Treefile, error) { return LoadWith(path, Options{}) }

// LoadWith is Load with options.
func LoadWith(path string, opts Options) (*Treefile, error) { return nil, errors.New("loading") }

// WantDocumentation says whether files marked as documentation are installed.
func (t *Treefile) WantDocumentation() bool { return true }

// WantRecommends says whether weak dependencies are installed.
func (t *Treefile) WantRecommends() bool { return true }

// WantSELinux says whether files get SELinux labels.
func (t *Treefile) WantSELinux() bool { return true }

// WantTmpDir says whether /tmp is a directory instead of a link to sysroot/tmp.
func (t *Treefile) WantTmpDir() bool { return false }

// WantMachineIDCompat says whether /etc/machine-id is kept as an empty file.
func (t *Treefile) WantMachineIDCompat() bool { return true }

// WantInitramfs says whether an initramfs is made.
func (t *Treefile) WantInitramfs() bool { return true }

// InputHash is the SHA-256 over everything in the treefile that shapes the
// tree, in hex: the material of rpmostree.inputhash, to which compose adds the
// packages. Comments, order of keys and file names do not count.
func (t *Treefile) InputHash() string { return "" }

// JSON is the canonical form: what InputHash covers, and what a tree keeps in
// /usr/share/rpm-ostree/treefile.json.
func (t *Treefile) JSON() []byte { return nil }

// RepoVariables are the variables of .repo files: releasever, basearch, repovars.
func (t *Treefile) RepoVariables() map[string]string { return nil }

// NextVersion computes the version of a commit from the previous commit's, or
// "" when the treefile states no prefix. now is for "<date:%Y%m%d>".
func (t *Treefile) NextVersion(previous string, now time.Time) (string, error) { return "", nil }
