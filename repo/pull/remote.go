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
	c.url, c.contentURL, c.proxy = get("url"), get("contenturl"), get("proxy")
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
	if reason := get("unconfigured-state"); reason != "" {
		return c, fmt.Errorf("remote %q cannot be used: %s", c.name, reason)
	}
	if o.URL != "" {
		c.url, c.contentURL = o.URL, ""
	}
	return c, c.checkURL(get("metalink"))
}

func (c *remoteConfig) checkURL(metalink string) error {
	switch {
	case c.url == "" && metalink == "":
		return fmt.Errorf("remote %q has no url", c.name)
	case c.url == "" || strings.HasPrefix(c.url, "metalink=") || strings.HasPrefix(c.url, "mirrorlist="):
		return fmt.Errorf("remote %q names its servers by a metalink or mirror list, which is not supported: set url= to one server", c.name)
	}
	return nil
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
