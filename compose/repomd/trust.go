package repomd

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"photree/compose/rpm"
	"photree/internal/durable"
)

// TrustError says that what a repository offers is not signed as its
// configuration asks for, or that this cannot be found out. A caller that skips
// repositories which are unavailable does not skip this: whoever can break a
// signature could else make its updates disappear. See Config.MaySkip.
type TrustError struct{ Err error }

func (e *TrustError) Error() string { return e.Err.Error() }

// Unwrap gives what is wrong.
func (e *TrustError) Unwrap() error { return e.Err }

// MaySkip says whether skip_if_unavailable covers an error of Open.
func (c Config) MaySkip(err error) bool {
	var t *TrustError
	return c.SkipIfUnavailable && !errors.As(err, &t)
}

// maxKey bounds a file of keys, and a detached signature.
const maxKey = 4 << 20

// loadKeys reads the keys of gpgkey=, once, before anything they are needed for.
func (r *Repo) loadKeys(ctx context.Context) error {
	c := r.Config
	if !c.GPGCheck && !c.RepoGPGCheck {
		return nil
	}
	if len(c.GPGKeys) == 0 {
		return &TrustError{fmt.Errorf("%s is set and there is no key: add gpgkey=URL%s, or set %[1]s=0 if you trust the repository otherwise",
			c.check(), c.where())}
	}
	r.keys = &rpm.Keyring{}
	for _, u := range c.GPGKeys {
		data, err := r.key(ctx, u)
		if err == nil {
			if err = r.keys.Add(data); err != nil {
				err = &TrustError{fmt.Errorf("%w: it must hold OpenPGP public keys", err)}
			}
		}
		if err == nil {
			continue
		}
		err = fmt.Errorf("reading the key %s: %w: put the key of the repository there, correct gpgkey=%s, or set %s=0 if you trust the repository otherwise",
			u, err, c.where(), c.check())
		if errors.Is(err, fs.ErrNotExist) {
			err = &TrustError{err}
		}
		return err
	}
	return nil
}

// key reads one file of keys. Those of a web server are kept in the cache, for
// a compose without network.
func (r *Repo) key(ctx context.Context, u string) ([]byte, error) {
	if v := variable.FindString(u); v != "" {
		return nil, &TrustError{fmt.Errorf("it uses the variable %s, which has no value: set releasever, basearch or repovars in the treefile", v)}
	}
	path, local := localPath(u)
	if local {
		// get would ask again; and a directory or a device is no key.
		if st, err := os.Stat(path); err != nil {
			return nil, &TrustError{err}
		} else if !st.Mode().IsRegular() {
			return nil, &TrustError{errors.New("it is not a file")}
		}
		return r.fetch.get(ctx, u, maxKey)
	}
	scheme, _, ok := strings.Cut(u, "://")
	if !ok || scheme != "http" && scheme != "https" {
		return nil, &TrustError{errors.New("it is not a file:, http: or https: URL")}
	}
	sum := sha256.Sum256([]byte(u))
	cached := "gpgkey-" + hex.EncodeToString(sum[:8])
	if r.opts.CacheOnly && !r.isLocal() {
		data, err := os.ReadFile(r.cachePath(cached))
		if err != nil {
			return nil, fmt.Errorf("only the cache may be used: %w", err)
		}
		return data, nil
	}
	if scheme == "http" {
		r.notice("its key " + u + " is fetched without encryption: whoever can change that can change packages too")
	}
	data, err := r.fetch.forHost(u).get(ctx, u, maxKey)
	if err != nil || r.opts.CacheDir == "" {
		return data, err
	}
	return data, r.cacheFile(cached, data)
}

func (r *Repo) cacheFile(name string, data []byte) error {
	file := r.cachePath(name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return durable.ReplaceFile(file, data, 0o644)
}

// forHost is the fetcher without user and password where a URL leads to a host
// that is not one of the repository's.
func (f *fetcher) forHost(u string) *fetcher {
	target, err := url.Parse(u)
	for _, base := range f.cfg.BaseURLs {
		if b, berr := url.Parse(base); err == nil && berr == nil && b.Host == target.Host && b.Scheme == target.Scheme {
			return f
		}
	}
	g := *f
	g.cfg.Username, g.cfg.Password = "", ""
	return &g
}

// checkRepomd fetches the signature of a repomd.xml and verifies it (R7).
func (r *Repo) checkRepomd(ctx context.Context, u string, data []byte) (signature []byte, err error) {
	signature, err = r.fetch.get(ctx, u+".asc", maxKey)
	var status *statusError
	if errors.Is(err, fs.ErrNotExist) || errors.As(err, &status) && status.code == 404 {
		return nil, &TrustError{fmt.Errorf("repo_gpgcheck is set and there is no signature %s.asc: set repo_gpgcheck=0%s if the repository has none: %w", u, r.Config.where(), err)}
	}
	if err != nil {
		return nil, err
	}
	return signature, r.verifyRepomd(u, data, signature)
}

func (r *Repo) verifyRepomd(u string, data, signature []byte) error {
	by, err := r.keys.CheckDetached(data, signature)
	if err != nil {
		return &TrustError{fmt.Errorf("verifying the signature of %s: %w%s", u, err, r.remedy(err, "repo_gpgcheck"))}
	}
	r.noticeWeak(by)
	return nil
}

// checkSignature verifies a downloaded package where gpgcheck is set (R7).
func (p *Package) checkSignature(file string) error {
	r := p.Repo
	if !r.Config.GPGCheck {
		return nil
	}
	by, err := rpm.CheckSignature(file, r.keys)
	if err != nil {
		return &TrustError{fmt.Errorf("verifying the signature of a package of repository %q: %w%s", r.Config.ID, err, r.remedy(err, "gpgcheck"))}
	}
	r.noticeWeak(by)
	return nil
}

// remedy is what can be done about a signature.
func (r *Repo) remedy(err error, check string) string {
	var bad *rpm.SignatureError
	if !errors.As(err, &bad) {
		return ""
	}
	off := fmt.Sprintf("set %s=0%s if you trust the repository otherwise", check, r.Config.where())
	switch bad.Problem {
	case rpm.UnknownKey:
		return fmt.Sprintf(" (the keys of gpgkey= are %s): add the file of that key to gpgkey=%s, or %s",
			strings.Join(r.keys.IDs(), ", "), r.Config.where(), off)
	case rpm.Untrusted:
		return ": get the renewed key for gpgkey=, or " + off
	case rpm.Wrong:
		return ": do not use it; try again later or from another mirror"
	}
	return ": " + off
}

// noticeWeak tells of SHA-1, once.
func (r *Repo) noticeWeak(by rpm.SignedBy) {
	if by.Weak() {
		r.weak.Do(func() { r.notice("it is signed over SHA-1 digests, which are weak, by the key " + by.Key) })
	}
}

func (r *Repo) notice(text string) {
	if r.opts.Notice != nil {
		r.opts.Notice(r.Config.ID, text)
	}
}

// check names the setting that asks for keys.
func (c Config) check() string {
	if c.GPGCheck {
		return "gpgcheck"
	}
	return "repo_gpgcheck"
}

// where says in which file a setting stands.
func (c Config) where() string {
	if c.File == "" {
		return ""
	}
	return " in " + c.File
}
