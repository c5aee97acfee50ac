package distro

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Ref is the branch that the treefiles of the test distribution compose.
const Ref = "photree/1.0/x86_64/minimal"

// RepoURL is one rpm-md repository of a treefile.
type RepoURL struct{ ID, URL string }

// TreefileOptions say what a treefile composes.
type TreefileOptions struct {
	Ref      string // empty means Ref
	Repos    []RepoURL
	Packages []string // empty means Packages()
}

// WriteTreefile writes a treefile with the fields of Photon's photon-base.json into dir, and a .repo file for each
// repository beside it, where treefiles look for them. It gives the treefile's path.
func WriteTreefile(dir string, o TreefileOptions) (string, error) {
	if o.Ref == "" {
		o.Ref = Ref
	}
	if len(o.Packages) == 0 {
		o.Packages = Packages()
	}
	var ids []string
	for _, r := range o.Repos {
		ids = append(ids, r.ID)
		text := fmt.Sprintf("[%[1]s]\nname=%[1]s\nbaseurl=%[2]s\nenabled=1\ngpgcheck=0\n", r.ID, r.URL)
		if err := os.WriteFile(filepath.Join(dir, r.ID+".repo"), []byte(text), 0o644); err != nil {
			return "", err
		}
	}
	tree := map[string]any{
		"comment": "Photree test distribution", "osname": "photree", "releasever": "1.0", "ref": o.Ref,
		"automatic_version_prefix": "1.0_minimal", "repos": ids, "selinux": false,
		"initramfs-args": []string{"--no-hostonly"}, "bootstrap_packages": []string{"filesystem"},
		"documentation": false, "tmp-is-dir": true, "recommends": false,
		"packages": o.Packages, "units": []string{"ssh.service", "sshd-keygen.service"},
	}
	data, err := json.MarshalIndent(tree, "", "  ")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, strings.ReplaceAll(filepath.Base(o.Ref), "/", "-")+".json")
	return path, os.WriteFile(path, append(data, '\n'), 0o644)
}
