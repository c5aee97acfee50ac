package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// excluded are the scripts that judge something else than a command line, each with the reason.
var excluded = []struct{ name, reason string }{
	{"test-basic-c", libraryProgram},
	{"test-bloom", libraryProgram},
	{"test-bsdiff", libraryProgram},
	{"test-checksum", libraryProgram},
	{"test-gpg-verify-result", libraryProgram},
	{"test-include-ostree-h", libraryProgram},
	{"test-kargs", libraryProgram},
	{"test-keyfile-utils", libraryProgram},
	{"test-libarchive-import", libraryProgram},
	{"test-lzma", libraryProgram},
	{"test-mutable-tree", libraryProgram},
	{"test-ot-opt-utils", libraryProgram},
	{"test-ot-tool-util", libraryProgram},
	{"test-ot-unix-utils", libraryProgram},
	{"test-pull-c", libraryProgram},
	{"test-repo", libraryProgram},
	{"test-repo-finder-avahi", libraryProgram},
	{"test-repo-finder-config", libraryProgram},
	{"test-repo-finder-mount", libraryProgram},
	{"test-rfc2616-dates", libraryProgram},
	{"test-rollsum", libraryProgram},
	{"test-sysroot-c", libraryProgram},
	{"test-varint", libraryProgram},
	{"test-core.js", introspection},
	{"test-remotes-config-dir.js", introspection},
	{"test-sizes.js", introspection},
	{"test-sysroot.js", introspection},
	{"test-rofiles-fuse.sh", "it judges the FUSE program rofiles-fuse"},
	{"test-switchroot.sh", "it judges a switchroot program that it finds by its place in ostree's build tree"},
	{"test-repo-finder-mount-integration.sh", "it runs a program that loads libostree, and needs a disk to mount"},
	{"test-xattrs.sh", "it needs a machine with SELinux whose labels the tests may change"},
}

const (
	libraryProgram = "a C program that calls the library libostree"
	introspection  = "it calls the library libostree through GObject introspection"
)

// asRoot are the scripts that only root can run; the others run as a user without privileges.
var asRoot = []string{
	"test-basic.sh", // security labels
	"test-basic-root.sh",
	"test-basic-bare-split-xattrs.sh",
	"test-basic-user-only.sh",  // it pulls files of whoever runs it, and the mode holds those of root only
	"test-demo-buildsystem.sh", // FUSE
}

// scripts lists what is to be run, by name.
func scripts(o options) ([]string, error) {
	entries, err := os.ReadDir(o.suite)
	if err != nil {
		return nil, fmt.Errorf("%w: install Debian's package ostree-tests (make deps does)", err)
	}
	var names []string
	for _, e := range entries {
		name := e.Name()
		info, err := os.Stat(filepath.Join(o.suite, name))
		if err != nil {
			return nil, err
		}
		if strings.HasPrefix(name, "test-") && info.Mode().IsRegular() && info.Mode()&0o111 != 0 && !isExcluded(name) && o.only.MatchString(name) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("no script of %s is to be run", o.suite)
	}
	return names, nil
}

func isExcluded(name string) bool {
	for _, x := range excluded {
		if x.name == name {
			return true
		}
	}
	return false
}

func needsRoot(name string) bool {
	return strings.HasPrefix(name, "test-admin-") || slices.Contains(asRoot, name)
}
