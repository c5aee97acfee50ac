package installer

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"photree/repo"
	"photree/repo/object"
	"photree/repo/pull"
	"photree/repo/tree"
)

// source is the commit to install, whole and on this machine.
type source struct {
	repo    *repo.Repo
	id      object.ID
	commit  object.Commit
	ref     string
	version string
	url     string // of a source on the network, else ""
}

// openSource finds the commit of a ref. What is on the network is fetched
// into work first: only then is it known that it is there, that it is what
// its name says, and how much room it needs.
func openSource(ctx context.Context, from, ref, work string) (*source, error) {
	s := &source{ref: ref}
	var err error
	if strings.Contains(from, "://") && !strings.HasPrefix(from, "file://") {
		s.url = from
		s.repo, err = fetch(ctx, from, ref, filepath.Join(work, "fetched"))
	} else {
		s.repo, err = repo.Open(strings.TrimPrefix(from, "file://"))
	}
	if err != nil {
		return nil, fmt.Errorf("opening the source %s: %w", from, err)
	}
	if err := s.load(ref); err != nil {
		_ = s.Close()
		return nil, fmt.Errorf("looking for %q in %s: %w", ref, from, err)
	}
	return s, nil
}

func (s *source) Close() error { return s.repo.Close() }

func fetch(ctx context.Context, url, ref, dir string) (*repo.Repo, error) {
	r, err := repo.Init(dir, repo.InitOptions{Mode: repo.ModeArchive})
	if err != nil {
		return nil, err
	}
	remote := repo.Remote{Name: "source", Options: []repo.Option{{Key: "url", Value: url}, {Key: "gpg-verify", Value: "false"}}}
	if err = r.AddRemote(remote, false); err == nil {
		_, err = pull.Pull(ctx, r, pull.Options{Remote: "source", Refs: []string{ref}, Mirror: true})
	}
	if err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

func (s *source) load(ref string) (err error) {
	if _, err := object.ParseID(ref); err == nil {
		return errors.New("it is a commit: name a ref, which updates can follow")
	}
	// REMOTE:REF names what a host has pulled; the new machine has its own remote.
	if _, s.ref, err = repo.ParseRefspec(ref); err != nil {
		return err
	}
	if s.id, err = s.repo.ResolveRev(ref); err != nil {
		return explainRef(s.repo, err)
	}
	if partial, err := s.repo.IsPartial(s.id); err != nil {
		return err
	} else if partial {
		return fmt.Errorf("commit %s is there without all of its files: pull it completely first", s.id)
	}
	if s.commit, err = s.repo.LoadCommit(s.id); err != nil {
		return err
	}
	if v, ok := s.commit.Metadata.Get("version"); ok && v.Type() == "s" {
		s.version = v.Str()
	}
	return nil
}

// explainRef adds what refs there are to the error for one that is not.
func explainRef(r *repo.Repo, err error) error {
	refs, listErr := r.Refs()
	if listErr != nil || !errors.Is(err, repo.ErrNotFound) {
		return err
	}
	var names []string
	for _, ref := range refs {
		names = append(names, ref.String())
	}
	if len(names) == 0 {
		return fmt.Errorf("%w: the repository has no refs", err)
	}
	return fmt.Errorf("%w: the repository has %s", err, strings.Join(names, ", "))
}

// Footprint is how much room a commit needs, in bytes: its files on the root
// file system, and the kernel and initramfs once more in /boot.
type Footprint struct {
	Root int64 `json:"root"`
	Boot int64 `json:"boot"`
}

// measure adds up the files of the commit as a file system with blocks of
// 4 KiB stores them.
func (s *source) measure(ctx context.Context) (Footprint, error) {
	var f Footprint
	const block = 4096
	seen := map[object.ID]bool{}
	err := tree.Walk(s.repo, s.commit.Root, s.commit.RootMeta, func(e tree.Entry) error {
		f.Root += 256 // of the inode
		if e.Dir {
			f.Root += 2 * block // the directory, and its objects in the repository
			return ctx.Err()
		}
		info, size, err := s.repo.LoadFileInfo(e.ID)
		if err != nil {
			return err
		}
		rounded := (size + block - 1) / block * block
		if info.Target == "" && (!seen[e.ID] || strings.HasPrefix(e.Path, "/usr/etc/")) {
			f.Root += rounded
		}
		seen[e.ID] = true
		if base := path.Base(e.Path); strings.HasPrefix(e.Path, "/usr/lib/modules/") && path.Dir(path.Dir(e.Path)) == "/usr/lib/modules" &&
			(base == "vmlinuz" || strings.HasPrefix(base, "initramfs")) {
			f.Boot += rounded
		}
		return nil
	})
	if err != nil {
		return f, fmt.Errorf("adding up the files of %s: %w", s.id, err)
	}
	return f, nil
}

// find follows symbolic links through the tree, as a program whose root it
// is would.
func (s *source) find(name string) (tree.Entry, error) {
	done, rest := "/", strings.Split(strings.Trim(path.Clean("/"+name), "/"), "/")
	e, err := tree.Lookup(s.repo, s.commit.Root, s.commit.RootMeta, "/")
	for links := 0; err == nil && len(rest) > 0; {
		if e, err = tree.Lookup(s.repo, s.commit.Root, s.commit.RootMeta, path.Join(done, rest[0])); err != nil || e.Dir {
			done, rest = path.Join(done, rest[0]), rest[1:]
			continue
		}
		var info object.FileInfo
		if info, _, err = s.repo.LoadFileInfo(e.ID); err != nil {
			break
		}
		if info.Target == "" {
			if len(rest) > 1 {
				return e, fmt.Errorf("%s is not a directory: %w", e.Path, repo.ErrNotFound)
			}
			return e, nil
		}
		if links++; links > 40 {
			return e, fmt.Errorf("too many symbolic links at %s: %w", name, repo.ErrNotFound)
		}
		target := info.Target
		if !path.IsAbs(target) {
			target = path.Join(done, target)
		}
		done, rest = "/", append(strings.Split(strings.Trim(path.Clean(target), "/"), "/"), rest[1:]...)
	}
	return e, err
}

// extract copies the file name of the tree to dest.
func (s *source) extract(name, dest string) error {
	e, err := s.find(name)
	if err != nil {
		return err
	}
	if e.Dir {
		return fmt.Errorf("%s is a directory", name)
	}
	return s.copy(e, dest)
}

// copy copies the content of a file of the tree to dest.
func (s *source) copy(e tree.Entry, dest string) error {
	info, _, from, err := s.repo.OpenFile(e.ID)
	if err != nil {
		return err
	}
	defer from.Close()
	if err := os.MkdirAll(filepath.Dir(dest), 0o755); err != nil {
		return err
	}
	to, err := os.OpenFile(dest, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, os.FileMode(info.Mode&0o777|0o600))
	if err != nil {
		return err
	}
	if _, err := io.Copy(to, from); err != nil {
		to.Close()
		return fmt.Errorf("copying %s out of the commit: %w", e.Path, err)
	}
	return to.Close()
}

// libraryDirs are where distributions keep what ld.so looks for.
var libraryDirs = []string{"/usr/lib/x86_64-linux-gnu", "/lib/x86_64-linux-gnu", "/usr/lib64", "/lib64", "/usr/lib", "/lib"}

// extractProgram copies a program of the tree to the same place below root,
// its libraries to /lib there, and its dynamic loader to where it expects it.
func (s *source) extractProgram(name, root string) error {
	return s.extractELF(name, filepath.Join(root, name), root, map[string]bool{})
}

func (s *source) extractELF(name, dest, root string, done map[string]bool) error {
	if err := s.extract(name, dest); err != nil {
		return err
	}
	needed, loader, err := readNeeded(dest)
	if err != nil {
		return fmt.Errorf("reading the program %s: %w", name, err)
	}
	if loader != "" && !done[loader] {
		done[loader] = true
		if err := s.extract(loader, filepath.Join(root, loader)); err != nil {
			return fmt.Errorf("copying the dynamic loader of %s: %w", name, err)
		}
	}
	for _, lib := range needed {
		if done[lib] {
			continue
		}
		done[lib] = true
		from, err := s.findLibrary(lib)
		if err != nil {
			return fmt.Errorf("copying the libraries of %s: %w", name, err)
		}
		if err := s.extractELF(from, filepath.Join(root, "lib", lib), root, done); err != nil {
			return err
		}
	}
	return nil
}

func (s *source) findLibrary(lib string) (string, error) {
	for _, dir := range libraryDirs {
		if _, err := s.find(path.Join(dir, lib)); err == nil {
			return path.Join(dir, lib), nil
		} else if !errors.Is(err, repo.ErrNotFound) {
			return "", err
		}
	}
	return "", fmt.Errorf("the tree has no %s in %s", lib, strings.Join(libraryDirs, ", "))
}

// readNeeded gives the libraries that an ELF file names, and its loader. A
// script has none.
func readNeeded(file string) (needed []string, loader string, err error) {
	f, err := elf.Open(file)
	if err != nil {
		return nil, "", err
	}
	defer func() { _ = f.Close() }()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			data, err := io.ReadAll(io.LimitReader(p.Open(), 4096))
			if err != nil {
				return nil, "", err
			}
			loader = strings.TrimRight(string(data), "\x00")
		}
	}
	needed, err = f.ImportedLibraries()
	return needed, loader, err
}
