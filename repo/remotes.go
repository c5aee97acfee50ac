package repo

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"photree/internal/durable"
	"photree/internal/keyfile"
)

// systemRemotes is where the repository of a system has further remotes, one or more a file.
const systemRemotes = "/etc/ostree/remotes.d"

// Remote is a place to pull from: a group [remote "NAME"] of the configuration.
type Remote struct {
	Name    string
	Options []Option
	File    string // the file that it stands in, when that is not the repository's configuration
}

// Option is one key of a remote.
type Option struct{ Key, Value string }

// Get returns the value of an option.
func (r Remote) Get(key string) (string, bool) {
	for _, o := range r.Options {
		if o.Key == key {
			return o.Value, true
		}
	}
	return "", false
}

// URL returns the option "url".
func (r Remote) URL() string { u, _ := r.Get("url"); return u }

func remoteGroup(name string) string { return `remote "` + name + `"` }

// Remotes returns the remotes of the configuration and, for the repository of a system, of /etc/ostree/remotes.d, by
// name. The configuration wins.
func (r *Repo) Remotes() ([]Remote, error) {
	out, err := r.ownRemotes()
	if err != nil || r.parent == nil {
		return out, err
	}
	// Those of the parent can be used too, unless one of that name is here.
	more, err := r.parent.Remotes()
	for _, rem := range more {
		if !slices.ContainsFunc(out, func(x Remote) bool { return x.Name == rem.Name }) {
			out = append(out, rem)
		}
	}
	return sortRemotes(out), err
}

func (r *Repo) ownRemotes() ([]Remote, error) {
	out := remotesIn(r.Config(), "")
	dir, err := r.RemotesDir()
	if err != nil || dir == "" {
		return sortRemotes(out), err
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.conf"))
	if err != nil {
		return nil, err
	}
	sort.Strings(files)
	for _, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("reading remotes: %w", err)
		}
		f, err := keyfile.Parse(data)
		if err != nil {
			return nil, fmt.Errorf("reading remotes: %s: %w", path, err)
		}
		for _, rem := range remotesIn(f, path) {
			if !slices.ContainsFunc(out, func(x Remote) bool { return x.Name == rem.Name }) {
				out = append(out, rem)
			}
		}
	}
	return sortRemotes(out), nil
}

func sortRemotes(rs []Remote) []Remote {
	sort.SliceStable(rs, func(i, j int) bool { return rs[i].Name < rs[j].Name })
	return rs
}

func remotesIn(f *keyfile.File, file string) []Remote {
	var out []Remote
	for _, g := range f.Groups() {
		name, ok := strings.CutPrefix(g, `remote "`)
		if !ok || !strings.HasSuffix(name, `"`) {
			continue
		}
		rem := Remote{Name: strings.TrimSuffix(name, `"`), File: file}
		for _, k := range f.Keys(g) {
			v, _ := f.Get(g, k)
			rem.Options = append(rem.Options, Option{k, v})
		}
		out = append(out, rem)
	}
	return out
}

// RemotesDir returns the directory with further remotes, or "". A repository is a system's when it is /ostree/repo of
// the running system, which is also /sysroot/ostree/repo.
func (r *Repo) RemotesDir() (string, error) {
	if dir, ok := r.Config().Get("core", "add-remotes-config-dir"); ok && dir != "" && dir != "true" && dir != "false" {
		return dir, nil
	}
	sys, err := os.Stat("/ostree/repo")
	if err != nil {
		return "", nil //nolint:nilerr // not a system that ostree manages
	}
	own, err := os.Stat(r.path)
	if err != nil {
		return "", err
	}
	if os.SameFile(sys, own) {
		return systemRemotes, nil
	}
	return "", nil
}

// Remote returns one remote; the error wraps ErrNotFound.
func (r *Repo) Remote(name string) (Remote, error) {
	all, err := r.Remotes()
	if err != nil {
		return Remote{}, err
	}
	for _, rem := range all {
		if rem.Name == name {
			return rem, nil
		}
	}
	return Remote{}, fmt.Errorf("remote %q: %w in %s", name, ErrNotFound, r.path)
}

// ErrRemoteExists is wrapped by the error of AddRemote for a name that is taken; remote add --if-not-exists branches on it.
var ErrRemoteExists = errors.New("there is a remote of that name already")

// AddRemote writes a new remote into the configuration; replace allows one that exists.
func (r *Repo) AddRemote(rem Remote, replace bool) error {
	if err := CheckRemoteName(rem.Name); err != nil {
		return err
	}
	if _, err := r.Remote(rem.Name); err == nil && !replace {
		return fmt.Errorf("adding remote %q: %w", rem.Name, ErrRemoteExists)
	}
	f := r.Config()
	g := remoteGroup(rem.Name)
	f.DeleteGroup(g)
	for _, o := range rem.Options {
		if o.Key == "" || strings.ContainsAny(o.Key, "=[]\n") {
			return fmt.Errorf("adding remote %q: %q is not the name of an option", rem.Name, o.Key)
		}
		f.Set(g, o.Key, o.Value)
	}
	if len(rem.Options) == 0 {
		f.Set(g, "url", "")
	}
	return r.SetConfig(f)
}

// DeleteRemote removes a remote with its refs, its key ring and its cached summary.
func (r *Repo) DeleteRemote(name string) error {
	rem, err := r.Remote(name)
	if err != nil {
		return err
	}
	if rem.File != "" {
		data, err := os.ReadFile(rem.File)
		if err != nil {
			return fmt.Errorf("deleting remote %q: %w", name, err)
		}
		f, err := keyfile.Parse(data)
		if err != nil {
			return fmt.Errorf("deleting remote %q: %s: %w", name, rem.File, err)
		}
		f.DeleteGroup(remoteGroup(name))
		if err := durable.WriteFile(rem.File, f.Format(), 0o644); err != nil {
			return fmt.Errorf("deleting remote %q: %w", name, err)
		}
	} else {
		f := r.Config()
		f.DeleteGroup(remoteGroup(name))
		if err := r.SetConfig(f); err != nil {
			return err
		}
	}
	for _, p := range []string{name + ".trustedkeys.gpg", "refs/remotes/" + name,
		"tmp/cache/summaries/" + name, "tmp/cache/summaries/" + name + ".sig"} {
		if err := os.RemoveAll(filepath.Join(r.path, p)); err != nil {
			return fmt.Errorf("deleting remote %q: %w", name, err)
		}
	}
	return durable.SyncDir(filepath.Join(r.path, "refs/remotes"))
}
