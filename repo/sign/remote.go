package sign

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"photree/repo"
)

// RingFile returns the file with the OpenPGP keys of a remote.
func RingFile(r *repo.Repo, remote string) string {
	return filepath.Join(r.Path(), remote+".trustedkeys.gpg")
}

// Demand says what a remote's configuration wants signed, and the keys for it.
type Demand struct {
	Commit, Summary Policy
}

// LoadDemand reads what the configuration of a remote asks for and loads the keys. A remote that asks for signatures
// and has no key is refused at once: nothing that its server sends could be used.
func LoadDemand(r *repo.Repo, remote repo.Remote) (Demand, error) {
	var d Demand
	gpgCommit, err1 := flag(remote, "gpg-verify", true)
	gpgSummary, err2 := flag(remote, "gpg-verify-summary", false)
	signCommit, err3 := types(remote, "sign-verify")
	signSummary, err4 := types(remote, "sign-verify-summary")
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return d, fmt.Errorf("reading remote %q: %w", remote.Name, err)
	}
	if gpgCommit || gpgSummary {
		ring, err := RemoteRing(r, remote)
		if err != nil {
			return d, err
		}
		if ring.Len() == 0 {
			return d, fmt.Errorf("remote %q has gpg-verify on and there is no key to verify with (public key not found): "+
				"import one with `ostree remote gpg-import %s -k FILE`, or set gpg-verify=false to pull without verifying who made the commits",
				remote.Name, remote.Name)
		}
		if gpgCommit {
			d.Commit.Ring = ring
		}
		if gpgSummary {
			d.Summary.Ring = ring
		}
	}
	var err error
	if d.Commit.Keys, err = remoteKeys(remote, "sign-verify", signCommit); err != nil {
		return d, err
	}
	d.Summary.Keys, err = remoteKeys(remote, "sign-verify-summary", signSummary)
	return d, err
}

func flag(remote repo.Remote, key string, def bool) (bool, error) {
	text, _ := remote.Get(key)
	if text = strings.TrimSpace(text); text == "" {
		return def, nil
	}
	v, err := strconv.ParseBool(text)
	if err != nil {
		return false, fmt.Errorf("%s is %q and must be true or false", key, text)
	}
	return v, nil
}

// wanted is the value of sign-verify.
type wanted struct {
	all   bool     // true: any type that there are keys for
	types []string // or these
}

func types(remote repo.Remote, key string) (wanted, error) {
	text, _ := remote.Get(key)
	switch text = strings.TrimSpace(text); text {
	case "", "false", "0":
		return wanted{}, nil
	case "true", "1":
		return wanted{all: true}, nil
	}
	list, err := splitList(text)
	if err != nil {
		return wanted{}, fmt.Errorf("%s: %w", key, err)
	}
	var w wanted
	for _, typ := range list {
		if err := CheckType(typ); err != nil {
			return w, fmt.Errorf("%s: %w", key, err)
		}
		w.types = append(w.types, typ)
	}
	return w, nil
}

// splitList reads a list that is separated by either commas or semicolons; a separator may end it.
func splitList(text string) ([]string, error) {
	comma, semicolon := strings.Contains(text, ","), strings.Contains(text, ";")
	if comma && semicolon {
		return nil, fmt.Errorf("key value list contains more than one separator: %q", text)
	}
	sep := ";"
	if comma {
		sep = ","
	}
	list := strings.Split(strings.TrimSuffix(text, sep), sep)
	for i := range list {
		list[i] = strings.TrimSpace(list[i])
	}
	return list, nil
}

// RemoteRing loads the OpenPGP keys of a remote: those of its ring in the repository and of gpgkeypath. Only without any
// of both do the system's count.
func RemoteRing(r *repo.Repo, remote repo.Remote) (*Ring, error) {
	var paths []string
	if text, ok := remote.Get("gpgkeypath"); ok {
		list, err := splitList(text)
		if err != nil {
			return nil, fmt.Errorf("reading remote %q: gpgkeypath: %w", remote.Name, err)
		}
		for _, path := range list {
			if path == "" {
				return nil, fmt.Errorf("reading remote %q: gpgkeypath has an empty entry (): No such file or directory", remote.Name)
			}
			paths = append(paths, path)
		}
	}
	if own := RingFile(r, remote.Name); exists(own) {
		paths = append(paths, own)
	}
	if len(paths) == 0 {
		return LoadGlobalRing()
	}
	ring, err := LoadRing(paths...)
	var missing *os.PathError
	if errors.As(err, &missing) && errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("reading the keys of remote %q: %s: No such file or directory", remote.Name, missing.Path)
	}
	return ring, err
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// remoteKeys loads the raw keys of a remote for what sign-verify asks for.
func remoteKeys(remote repo.Remote, option string, w wanted) (KeySets, error) {
	if !w.all && w.types == nil {
		return nil, nil
	}
	list := w.types
	if w.all {
		list = Types()
	}
	var sets KeySets
	for _, typ := range list {
		set, err := remoteKeySet(remote, typ)
		if err != nil {
			return nil, fmt.Errorf("reading the keys of remote %q: %w", remote.Name, err)
		}
		if set.Len() > 0 {
			sets = append(sets, set)
		} else if !w.all {
			return nil, fmt.Errorf("remote %q: No keys found for required signapi type %s: set verification-%s-key or verification-%s-file",
				remote.Name, typ, typ, typ)
		}
	}
	if len(sets) == 0 {
		return nil, fmt.Errorf("remote %q has %s on and there is no key to verify with: "+
			"set verification-ed25519-key or verification-ed25519-file (or those of spki)", remote.Name, option)
	}
	return sets, nil
}

// remoteKeySet loads the keys of one type: those that the configuration of the remote names or else those of the system.
// What the system has revoked is revoked for both.
func remoteKeySet(remote repo.Remote, typ string) (*KeySet, error) {
	set := &KeySet{Type: typ}
	file, byFile := remote.Get("verification-" + typ + "-file")
	text, inline := remote.Get("verification-" + typ + "-key")
	if byFile {
		if err := set.AddFile(strings.TrimSpace(file)); err != nil {
			return nil, err
		}
	}
	if inline {
		if err := set.Add(strings.TrimSpace(text)); err != nil {
			return nil, err
		}
	}
	if !byFile && !inline {
		if err := set.AddDirs(SystemDirs()...); err != nil {
			return nil, err
		}
	}
	return set, set.RemoveRevoked(SystemDirs()...)
}
