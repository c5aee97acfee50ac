package repo

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"photree/repo/object"
)

// staging is a directory below tmp/ that holds the objects of one transaction until they are published. Its name has
// the boot's id in it: what a killed process left in this boot is complete and can be taken over; what another boot
// left may never have reached the disk and is removed.
type staging struct {
	dir       string
	lockFile  *os.File
	leftovers map[object.Name]string
}

func bootID() (string, error) {
	if id := os.Getenv("OSTREE_BOOTID"); id != "" {
		return id, nil
	}
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(b)), err
}

const stagingPrefix = "staging-"

func (r *Repo) openStaging() (*staging, error) {
	id, err := bootID()
	if err != nil {
		return nil, fmt.Errorf("reading the id of this boot: %w", err)
	}
	tmp := filepath.Join(r.path, "tmp")
	prefix := stagingPrefix + id + "-"
	entries, err := os.ReadDir(tmp)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if !e.IsDir() || !strings.HasPrefix(e.Name(), stagingPrefix) {
			continue
		}
		s, err := lockStaging(filepath.Join(tmp, e.Name()))
		if err != nil || s == nil {
			continue // in use, or gone
		}
		if !strings.HasPrefix(e.Name(), prefix) {
			_ = s.remove()
			continue
		}
		if err := s.adopt(r); err != nil {
			s.lockFile.Close()
			return nil, fmt.Errorf("taking over %s: %w", s.dir, err)
		}
		return s, nil
	}
	for range 100 {
		dir, err := os.MkdirTemp(tmp, prefix)
		if err != nil {
			return nil, err
		}
		// Another transaction may lock the new directory before we do; then it is theirs.
		if s, err := lockStaging(dir); err != nil || s != nil {
			return s, err
		}
	}
	return nil, errors.New("making a staging directory: others take each of them")
}

// lockStaging returns the staging directory if nobody holds it, nil if somebody does.
func lockStaging(dir string) (*staging, error) {
	path := dir + "-lock"
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	ok, err := tryLock(f, true)
	if err == nil && ok {
		// The holder before us may have removed both between our open and our lock.
		mine, err1 := f.Stat()
		now, err2 := os.Stat(path)
		_, err3 := os.Stat(dir)
		if err1 == nil && err2 == nil && err3 == nil && os.SameFile(mine, now) {
			return &staging{dir: dir, lockFile: f}, nil
		}
		if err2 == nil && err3 != nil && os.SameFile(mine, now) {
			os.Remove(path)
		}
	}
	f.Close()
	return nil, err
}

// adopt lists the complete objects of a staging directory that a killed process left, and removes all else. Commits are
// among the rest: the process may have died before it had their trees.
func (s *staging) adopt(r *Repo) error {
	s.leftovers = map[object.Name]string{}
	dirs, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, d := range dirs {
		if !d.IsDir() || len(d.Name()) != 2 {
			if err := os.RemoveAll(filepath.Join(s.dir, d.Name())); err != nil {
				return err
			}
			continue
		}
		files, err := os.ReadDir(filepath.Join(s.dir, d.Name()))
		if err != nil {
			return err
		}
		for _, f := range files {
			rel := d.Name() + "/" + f.Name()
			if n, ok := r.parseLoose(d.Name(), f.Name()); ok && (n.Kind == object.KindFile ||
				n.Kind == object.KindDirTree || n.Kind == object.KindDirMeta) {
				s.leftovers[n] = rel
			} else if err := os.RemoveAll(filepath.Join(s.dir, rel)); err != nil {
				return err
			}
		}
	}
	return nil
}

// parseLoose reads the name of an object from its path below objects/ or a staging directory.
func (r *Repo) parseLoose(prefix, file string) (object.Name, bool) {
	if len(prefix) != 2 || len(file) < 64 || file[62] != '.' {
		return object.Name{}, false
	}
	id, err := object.ParseID(prefix + file[:62])
	if err != nil {
		return object.Name{}, false
	}
	suffix := file[63:]
	if suffix == r.suffix(object.KindFile) {
		return object.Name{ID: id, Kind: object.KindFile}, true
	}
	k, err := object.ParseKind(suffix)
	return object.Name{ID: id, Kind: k}, err == nil && k != object.KindFile
}

// remove removes the directory, then its lock file, then lets the lock go.
func (s *staging) remove() error {
	err := os.RemoveAll(s.dir)
	err = errors.Join(err, os.Remove(s.dir+"-lock"))
	s.lockFile.Close()
	return err
}
