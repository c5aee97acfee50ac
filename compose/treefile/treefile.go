// Package treefile reads treefiles: what a tree is composed from and how.
//
// It accepts the JSON form, where unknown keys are ignored as Photon's files
// need it, and the YAML form, where an unknown key is an error. Keys may be
// spelled with "-" or "_". Includes are merged: lists append, the including
// file's values win. Errors name file, line and key. The package reads only the
// treefile, what it includes and the files it names; it fetches nothing.
package treefile

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
)

// Treefile is a treefile with its includes merged and its variables replaced.
// A nil *bool means that no file set it; the Want methods give the defaults.
type Treefile struct {
	Path string `json:"-"` // the file that Load was given
	Dir  string `json:"-"` // its directory: where *.repo files are looked for

	Edition       string            `json:"edition,omitempty"`
	Ref           string            `json:"ref,omitempty"`
	Releasever    string            `json:"releasever,omitempty"`
	Basearch      string            `json:"basearch,omitempty"` // always set: the machine that is composed for
	Variables     map[string]string `json:"variables,omitempty"`
	RepoVars      map[string]string `json:"repovars,omitempty"`
	Repos         []string          `json:"repos,omitempty"`
	Packages      []string          `json:"packages,omitempty"` // with those of the architecture and the bootstrap packages
	RepoPackages  []RepoPackages    `json:"repo-packages,omitempty"`
	Exclude       []string          `json:"exclude-packages,omitempty"`
	Recommends    *bool             `json:"recommends,omitempty"`
	Documentation *bool             `json:"documentation,omitempty"`
	InstallLangs  []string          `json:"install-langs,omitempty"` // nil: all
	SELinux       *bool             `json:"selinux,omitempty"`
	BootLocation  string            `json:"boot-location,omitempty"` // "new" or "modules"; "" is the edition's
	InitramfsArgs []string          `json:"initramfs-args,omitempty"`
	NoInitramfs   *bool             `json:"no-initramfs,omitempty"`
	Units         []string          `json:"units,omitempty"`
	DefaultTarget string            `json:"default-target,omitempty"`

	RemoveFiles        []string   `json:"remove-files,omitempty"`         // relative to the root of the tree
	RemoveFromPackages [][]string `json:"remove-from-packages,omitempty"` // package, then regular expressions
	AddFiles           []AddFile  `json:"add-files,omitempty"`
	Postprocess        []Script   `json:"postprocess,omitempty"` // inline scripts in order, then postprocess-script

	EtcGroupMembers     []string `json:"etc-group-members,omitempty"`
	PreservePasswd      *bool    `json:"preserve-passwd,omitempty"`
	CheckPasswd         *Check   `json:"check-passwd,omitempty"`
	CheckGroups         *Check   `json:"check-groups,omitempty"`
	IgnoreRemovedUsers  []string `json:"ignore-removed-users,omitempty"`
	IgnoreRemovedGroups []string `json:"ignore-removed-groups,omitempty"`
	Sysusers            string   `json:"sysusers,omitempty"` // "", "compose-auto" or "compose-forced"

	VersionPrefix       string         `json:"automatic-version-prefix,omitempty"`
	VersionSuffix       string         `json:"automatic-version-suffix,omitempty"`
	MutateOSRelease     string         `json:"mutate-os-release,omitempty"`
	CommitMetadata      map[string]any `json:"add-commit-metadata,omitempty"`
	RepoMetadata        string         `json:"repo-metadata,omitempty"` // "", "inline", "detached" or "disabled"
	TmpIsDir            *bool          `json:"tmp-is-dir,omitempty"`
	MachineIDCompat     *bool          `json:"machineid-compat,omitempty"`
	OptUsrlocal         string         `json:"opt-usrlocal,omitempty"` // "", "var" or "root"
	ReadonlyExecutables *bool          `json:"readonly-executables,omitempty"`
	GPGKey              string         `json:"gpg-key,omitempty"`
	RPMDB               string         `json:"rpmdb,omitempty"`
}

// RepoPackages wants packages from one repository.
type RepoPackages struct {
	Repo     string   `json:"repo"`
	Packages []string `json:"packages"`
}

// AddFile copies Source to Dest in the tree.
type AddFile struct {
	Source string // path on this machine
	Name   string // as the treefile writes it, relative to the treefile
	Dest   string // relative to the root of the tree, under usr/ or etc/
	SHA256 string // of the content, so that a change changes the input hash
}

// MarshalJSON writes the pair that a treefile has.
func (a AddFile) MarshalJSON() ([]byte, error) { return json.Marshal([]string{a.Name, a.Dest}) }

// Script is a post-processing script, to be run in the tree.
type Script struct {
	Name string // for messages: "postprocess script 2 of FILE"
	Body string // with its shebang line
}

// MarshalJSON writes the body, as a treefile has it.
func (s Script) MarshalJSON() ([]byte, error) { return json.Marshal(s.Body) }

// Check says how users or groups are compared with what a host has.
type Check struct {
	Type     string             `json:"type"` // "none", "previous", "file" or "data"
	Filename string             `json:"filename,omitempty"`
	Content  string             `json:"-"`                 // of that file, for "file"
	Entries  map[string][]int64 `json:"entries,omitempty"` // for "data": the uid and perhaps gid, or the gid, by name
}

func or(v *bool, def bool) bool {
	if v == nil {
		return def
	}
	return *v
}

// WantDocumentation says whether files marked as documentation are installed.
func (t *Treefile) WantDocumentation() bool { return or(t.Documentation, true) }

// WantRecommends says whether weak dependencies are installed.
func (t *Treefile) WantRecommends() bool { return or(t.Recommends, true) }

// WantSELinux says whether files get SELinux labels.
func (t *Treefile) WantSELinux() bool { return or(t.SELinux, true) }

// WantTmpDir says whether /tmp is a directory instead of a link to sysroot/tmp.
func (t *Treefile) WantTmpDir() bool { return or(t.TmpIsDir, t.Edition == "2024") }

// WantMachineIDCompat says whether /etc/machine-id is an empty file in the tree.
func (t *Treefile) WantMachineIDCompat() bool { return or(t.MachineIDCompat, true) }

// WantInitramfs says whether an initramfs is made.
func (t *Treefile) WantInitramfs() bool { return !or(t.NoInitramfs, false) }

// WantPreservePasswd says whether the previous commit's users keep their ids.
func (t *Treefile) WantPreservePasswd() bool { return or(t.PreservePasswd, true) }

// KernelInModulesOnly says whether the kernel is only put into
// /usr/lib/modules, and not also into /usr/lib/ostree-boot.
func (t *Treefile) KernelInModulesOnly() bool {
	return t.BootLocation == "modules" || t.BootLocation == "" && t.Edition == "2024"
}

// JSON is the canonical form, without what does not shape the tree. It is what
// a tree keeps in /usr/share/rpm-ostree/treefile.json, and can be loaded again.
func (t *Treefile) JSON() []byte {
	b, err := json.MarshalIndent(t, "", "  ")
	if err != nil {
		// Strings, bools and metadata that came out of a parser always encode.
		panic(err)
	}
	return append(b, '\n')
}

// InputHash is the SHA-256 over everything in the treefile that shapes the
// tree, in hex: the material of rpmostree.inputhash, to which compose adds the
// packages. Comments, order of keys and where files lie do not count; what is
// in added files and scripts does.
func (t *Treefile) InputHash() string {
	h := sha256.New()
	h.Write(t.JSON())
	for _, a := range t.AddFiles {
		h.Write([]byte(a.SHA256 + "\n"))
	}
	for _, c := range []*Check{t.CheckPasswd, t.CheckGroups} {
		if c != nil {
			h.Write([]byte(c.Content + "\x00"))
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// RepoVariables are the variables of .repo files: releasever, basearch, arch
// and repovars.
func (t *Treefile) RepoVariables() map[string]string {
	vars := map[string]string{"basearch": t.Basearch, "arch": t.Basearch}
	if t.Releasever != "" {
		vars["releasever"] = t.Releasever
	}
	for k, v := range t.RepoVars {
		vars[k] = v
	}
	return vars
}
