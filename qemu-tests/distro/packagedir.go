package distro

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"photree/qemu-tests/distro/rpmwriter"
)

// PackageDir packs a directory as `make install DESTDIR=` leaves it into one RPM, and makes repo an rpm-md repository
// of it. What stood in repo before is replaced. Everything in the package belongs to root.
func PackageDir(dir, name, version, repo string) error {
	p := &rpmwriter.Package{
		Name: name, Version: version, Release: "1", Arch: "x86_64", Summary: name, Description: "Packed from a directory.",
		License: "see the project", Vendor: "photree", Group: "Unspecified", SourceRPM: name + "-" + version + "-1.src.rpm", BuildTime: buildTime,
		Requires: []rpmwriter.Dep{{Name: "filesystem", Flags: rpmwriter.ScriptPre | rpmwriter.ScriptPost}},
	}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		f, err := packFile(dir, path, e)
		if err != nil {
			return err
		}
		if !ownedByFilesystem(f.Path) {
			p.Files = append(p.Files, f)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("packing %q: %w", dir, err)
	}
	if len(p.Files) == 0 {
		return fmt.Errorf("packing %q: it is empty", dir)
	}
	if units := unitsOf(p.Files); len(units) > 0 {
		p.Requires = append(p.Requires, rpmwriter.Dep{Name: "systemd", Flags: rpmwriter.ScriptPre | rpmwriter.ScriptPost})
		p.Post.Body = "systemctl --no-reload preset " + strings.Join(units, " ") + " >/dev/null 2>&1 || :"
	}
	if err := os.RemoveAll(repo); err != nil {
		return err
	}
	if err := os.MkdirAll(repo, 0o755); err != nil {
		return err
	}
	return writeRepo(repo, []*rpmwriter.Package{p})
}

func packFile(root, path string, e fs.DirEntry) (rpmwriter.File, error) {
	fi, err := e.Info()
	if err != nil {
		return rpmwriter.File{}, err
	}
	f := rpmwriter.File{Path: merge(strings.TrimPrefix(path, filepath.Clean(root))), Mode: uint32(fi.Mode().Perm()), MTime: buildTime}
	switch {
	case fi.IsDir():
		f.Mode |= rpmwriter.TypeDir
	case fi.Mode()&fs.ModeSymlink != 0:
		f.Mode = rpmwriter.TypeLink | 0o777
		f.Target, err = os.Readlink(path)
	case fi.Mode().IsRegular():
		f.Mode |= rpmwriter.TypeReg
		f.Body, err = os.ReadFile(path)
	default:
		err = fmt.Errorf("%q is neither a file, a directory nor a link", path)
	}
	return f, err
}

// unitsOf gives the units that can be enabled.
func unitsOf(files []rpmwriter.File) []string {
	var units []string
	for _, f := range files {
		dir, name := filepath.Split(f.Path)
		if dir == "/usr/lib/systemd/system/" && strings.Contains(string(f.Body), "\n[Install]") {
			units = append(units, name)
		}
	}
	sort.Strings(units)
	return units
}
