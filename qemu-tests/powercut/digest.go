package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"photree/repo"
)

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:8])
}

// treeDigest is a digest of all below dir: names, modes, owners, attributes and contents, without the names in skip.
func treeDigest(dir string, skip ...string) (string, error) {
	h := sha256.New()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel := strings.TrimPrefix(path, dir)
		if rel != "" && slices.Contains(skip, rel[1:]) {
			return fs.SkipDir
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return &os.PathError{Op: "lstat", Path: path, Err: err}
		}
		fmt.Fprintln(h, rel, st.Mode, st.Uid, st.Gid)
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFLNK:
			target, err := os.Readlink(path)
			fmt.Fprintln(h, target)
			return err
		case unix.S_IFREG:
			return addFile(h, path)
		}
		return nil
	})
	return hex.EncodeToString(h.Sum(nil)[:8]), err
}

func addFile(h io.Writer, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	attrs, err := repo.FileXattrs(f)
	if err != nil {
		return err
	}
	for _, a := range attrs {
		fmt.Fprintf(h, "%s=%x\n", a.Name, a.Value)
	}
	n, err := io.Copy(h, f)
	fmt.Fprintln(h, n)
	return err
}
