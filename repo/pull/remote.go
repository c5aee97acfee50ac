package pull

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"photree/repo"
)

// remoteConfig is what the configuration says about a remote.
type remoteConfig struct {
	name, url, contentURL string
	branches              []string
	remote                repo.Remote
	proxy                 string
	tlsPermissive, http2  bool
	tlsCA                 string
	tlsCert, tlsKey       string
	metalink, collection  string
	cookies               []Cookie
	plain                 bool // another repository on this machine, not a configured remote
}

// loadRemote reads the configuration of the remote that o names.
func loadRemote(r *repo.Repo, o *Options) (remoteConfig, error) {
	c := remoteConfig{name: o.Remote, http2: true}
	remote, err := r.Remote(o.Remote)
	if err != nil {
		return c, err
	}
	c.remote = remote
	get := func(key string) string {
		v, _ := remote.Get(key)
		return strings.TrimSpace(v)
	}
	c.collection = get("collection-id")
	c.url, c.contentURL, c.proxy, c.metalink = get("url"), get("contenturl"), get("proxy"), get("metalink")
	// As ostree writes it and as it reads it too.
	if link, ok := strings.CutPrefix(c.url, "metalink="); ok {
		c.url, c.metalink = "", link
	}
	if c.cookies, err = Cookies(r, o.Remote); err != nil {
		return c, err
	}
	c.tlsCA, c.tlsCert, c.tlsKey = get("tls-ca-path"), get("tls-client-cert-path"), get("tls-client-key-path")
	c.branches = list(get("branches"))
	for key, to := range map[string]*bool{
		"tls-permissive": &c.tlsPermissive, "http2": &c.http2,
	} {
		if v := get(key); v != "" {
			if *to, err = strconv.ParseBool(v); err != nil {
				return c, fmt.Errorf("reading remote %q: %s is %q and must be true or false", c.name, key, v)
			}
		}
	}
	if backend := get("custom-backend"); backend != "" {
		return c, fmt.Errorf("Cannot fetch via libostree: remote '%s' uses custom backend '%s'", c.name, backend) //nolint:staticcheck // ostree's words
	}
	if reason := get("unconfigured-state"); reason != "" {
		return c, fmt.Errorf("remote %q cannot be used: %s", c.name, reason)
	}
	if o.URL != "" {
		c.url, c.contentURL, c.metalink = o.URL, "", ""
	}
	if c.url == "" && c.metalink == "" {
		return c, fmt.Errorf("No \"url\" option in remote \"%s\"", c.name) //nolint:staticcheck // ostree's words
	}
	return c, nil
}

func list(v string) []string {
	return strings.FieldsFunc(v, func(r rune) bool { return r == ';' || r == ',' || r == ' ' })
}

// fileURL returns the directory that a file: URL names.
func fileURL(address string) (string, bool) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "file" || u.Host != "" && u.Host != "localhost" {
		return "", false
	}
	return u.Path, true
}
