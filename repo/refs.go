package repo

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"

	"photree/repo/object"
)

// Ref is one name for a commit. Remote is empty for the repository's own refs (heads).
type Ref struct {
	Remote     string
	Collection string // set for refs of mirrors
	Name       string
	ID         object.ID
	Alias      string // the name that it is a link to, or empty
}

// String returns the refspec: NAME or REMOTE:NAME.
func (r Ref) String() string {
	if r.Remote == "" {
		return r.Name
	}
	return r.Remote + ":" + r.Name
}

// RefNotFoundError says that a ref, refspec or abbreviated checksum names nothing here. It wraps ErrNotFound.
type RefNotFoundError struct{ Rev string }

func (e *RefNotFoundError) Error() string { return "Refspec '" + e.Rev + "' not found" }

// Unwrap returns ErrNotFound.
func (e *RefNotFoundError) Unwrap() error { return ErrNotFound }

var (
	refRE    = regexp.MustCompile(`^[\pL\pN_][-._\pL\pN]*(/[\pL\pN_][-._\pL\pN]*)*$`)
	remoteRE = regexp.MustCompile(`^[\pL\pN_][-._\pL\pN]*$`)
	hexRE    = regexp.MustCompile(`^[0-9a-f]+$`)
)

// CheckRefName refuses what cannot be the name of a ref.
func CheckRefName(name string) error {
	if !refRE.MatchString(name) {
		//nolint:staticcheck // words that scripts look for
		return fmt.Errorf("Invalid ref name %s: use letters, digits, \"-._\" and \"/\" between words", name)
	}
	return nil
}

// CheckRemoteName refuses what cannot be the name of a remote.
func CheckRemoteName(name string) error {
	if !remoteRE.MatchString(name) {
		return fmt.Errorf("%q is not the name of a remote: use letters, digits and \"-._\"", name)
	}
	return nil
}

// ParseRefspec splits NAME or REMOTE:NAME.
func ParseRefspec(s string) (remote, name string, err error) {
	remote, name, ok := strings.Cut(s, ":")
	if !ok {
		return "", s, CheckRefName(s)
	}
	if err := CheckRemoteName(remote); err != nil {
		return "", "", err
	}
	return remote, name, CheckRefName(name)
}

// refDir returns the directory that the refs of a remote, a mirrored collection or this repository stand in.
func refDir(remote, collection string) string {
	switch {
	case collection != "":
		return "refs/mirrors/" + collection
	case remote != "":
		return "refs/remotes/" + remote
	}
	return "refs/heads"
}

// Refs returns all refs: heads first, then those of remotes, then mirrors, by name.
func (r *Repo) Refs() ([]Ref, error) {
	out, err := r.refsBelow(Ref{})
	if err != nil {
		return nil, err
	}
	for _, kind := range []string{"remotes", "mirrors"} {
		groups, err := os.ReadDir(filepath.Join(r.path, "refs", kind))
		// Repositories of before there were mirrors have no directory for them; all have one for remotes.
		if err != nil && (kind == "remotes" || !errors.Is(err, os.ErrNotExist)) {
			return nil, fmt.Errorf("Listing refs: opendir(refs/%s): %w", kind, errors.Unwrap(err)) //nolint:staticcheck // words that scripts look for
		}
		for _, g := range groups {
			of := Ref{Remote: g.Name()}
			if kind == "mirrors" {
				of = Ref{Collection: g.Name()}
			}
			refs, err := r.refsBelow(of)
			if err != nil {
				return nil, err
			}
			out = append(out, refs...)
		}
	}
	return out, nil
}

// refsBelow lists the refs of one group; of holds the fields that they share.
func (r *Repo) refsBelow(of Ref) ([]Ref, error) {
	base := filepath.Join(r.path, refDir(of.Remote, of.Collection))
	var out []Ref
	err := filepath.WalkDir(base, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			if errors.Is(err, os.ErrNotExist) {
				return nil // removed while we list
			}
			return err
		}
		ref := of
		ref.Name, _ = filepath.Rel(base, path)
		if CheckRefName(ref.Name) != nil {
			return nil // a temporary file
		}
		if d.Type()&fs.ModeSymlink != 0 {
			if ref.Alias, err = aliasTarget(base, path); err != nil {
				return err
			}
		}
		if ref.ID, err = readRef(path); err != nil {
			if errors.Is(err, os.ErrNotExist) {
				return nil // removed meanwhile, or an alias of nothing
			}
			return fmt.Errorf("reading ref %s: %w", ref, err)
		}
		out = append(out, ref)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing refs: %w", err)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out, nil
}

func aliasTarget(base, path string) (string, error) {
	target, err := os.Readlink(path)
	if err != nil {
		return "", err
	}
	return filepath.Rel(base, filepath.Join(filepath.Dir(path), target))
}

func readRef(path string) (object.ID, error) {
	st, err := os.Stat(path)
	if err != nil {
		return object.ID{}, err
	}
	if st.IsDir() {
		return object.ID{}, os.ErrNotExist
	}
	if st.Size() > 4096 {
		return object.ID{}, errors.New("not a ref file")
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return object.ID{}, err
	}
	return object.ParseID(strings.TrimSpace(string(data)))
}

// Ref returns the commit that a ref names; remote is empty for heads. When there is none the error is a
// *RefNotFoundError.
func (r *Repo) Ref(remote, name string) (object.ID, error) {
	full := Ref{Remote: remote, Name: name}.String()
	if _, _, err := ParseRefspec(full); err != nil {
		return object.ID{}, err
	}
	return r.readRefFile(full, refDir(remote, "")+"/"+name)
}

// MirrorRef returns the commit that a ref of a mirrored collection names.
func (r *Repo) MirrorRef(collection, name string) (object.ID, error) {
	return r.readRefFile(name, refDir("", collection)+"/"+name)
}

func (r *Repo) readRefFile(full, path string) (object.ID, error) {
	id, err := readRef(filepath.Join(r.path, path))
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, errNotDir) {
		if r.parent != nil {
			return r.parent.readRefFile(full, path)
		}
		return id, &RefNotFoundError{full}
	}
	if err != nil {
		return id, fmt.Errorf("reading ref %s: %w", full, err)
	}
	return id, nil
}

// ResolveRev returns the commit that rev names: a ref, REMOTE:REF, a ref of any remote when heads have none of that
// name, a checksum or the start of one, each with any number of ^ behind it for the parent.
func (r *Repo) ResolveRev(rev string) (object.ID, error) {
	base := strings.TrimRight(rev, "^")
	id, err := r.resolveBase(base)
	for range len(rev) - len(base) {
		if err != nil {
			break
		}
		var c object.Commit
		if c, err = r.LoadCommit(id); err == nil && c.Parent.IsZero() {
			err = fmt.Errorf("commit %s has no parent", id)
		}
		id = c.Parent
	}
	return id, err
}

func (r *Repo) resolveBase(rev string) (object.ID, error) {
	if object.IsIDString(rev) {
		return object.ParseID(rev)
	}
	remote, name, err := ParseRefspec(rev)
	if err != nil {
		return object.ID{}, err
	}
	id, err := r.Ref(remote, name)
	if remote != "" || !errors.Is(err, ErrNotFound) {
		return id, err
	}
	if hexRE.MatchString(rev) && len(rev) < 64 {
		if id, found, err := r.resolvePartial(rev); found || err != nil {
			return id, err
		}
	}
	// REMOTE/REF names a ref of a remote too.
	if group, rest, ok := strings.Cut(name, "/"); ok {
		if id, err := r.readRefFile(name, "refs/remotes/"+group+"/"+rest); !errors.Is(err, ErrNotFound) {
			return id, err
		}
	}
	return r.anyRemoteRef(name)
}

// anyRemoteRef finds a ref by its bare name in the remotes, in the order of their names, then in the mirrors.
func (r *Repo) anyRemoteRef(name string) (object.ID, error) {
	for _, kind := range []string{"remotes", "mirrors"} {
		groups, err := os.ReadDir(filepath.Join(r.path, "refs", kind))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return object.ID{}, fmt.Errorf("listing refs: %w", err)
		}
		for _, g := range groups {
			id, err := r.readRefFile(name, "refs/"+kind+"/"+g.Name()+"/"+name)
			if !errors.Is(err, ErrNotFound) {
				return id, err
			}
		}
	}
	return object.ID{}, &RefNotFoundError{name}
}

// resolvePartial finds the one commit whose checksum starts with prefix.
func (r *Repo) resolvePartial(prefix string) (object.ID, bool, error) {
	commits, err := r.ListObjects(object.KindCommit)
	if err != nil {
		return object.ID{}, false, err
	}
	var found object.ID
	for _, c := range commits {
		if !strings.HasPrefix(c.ID.String(), prefix) {
			continue
		}
		if !found.IsZero() {
			return found, false, fmt.Errorf("refspec %q is not unique: more than one commit starts with it", prefix)
		}
		found = c.ID
	}
	return found, !found.IsZero(), nil
}
