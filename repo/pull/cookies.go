package pull

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"photree/internal/durable"
	"photree/repo"
)

// Cookie is one line of the file of cookies of a remote.
type Cookie struct {
	Domain, Path, Name, Value string
	Subdomains, Secure        bool
	Expires                   time.Time // zero: never
}

// cookieFile is where the cookies of a remote stand, in the format of Netscape's browser, which curl and ostree use.
func cookieFile(r *repo.Repo, remote string) string {
	return filepath.Join(r.Path(), remote+".cookies.txt")
}

// Cookies returns the cookies that are sent to a remote.
func Cookies(r *repo.Repo, remote string) ([]Cookie, error) {
	data, err := os.ReadFile(cookieFile(r, remote))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading cookies: %w", err)
	}
	var out []Cookie
	for line := range strings.Lines(string(data)) {
		line = strings.TrimRight(strings.TrimPrefix(line, "#HttpOnly_"), "\r\n")
		f := strings.Split(line, "\t")
		if strings.HasPrefix(line, "#") || len(f) != 7 {
			continue
		}
		c := Cookie{Domain: f[0], Subdomains: f[1] == "TRUE", Path: f[2], Secure: f[3] == "TRUE", Name: f[5], Value: f[6]}
		if n, err := strconv.ParseInt(f[4], 10, 64); err == nil && n != 0 {
			c.Expires = time.Unix(n, 0)
		}
		out = append(out, c)
	}
	return out, nil
}

// SetCookies replaces the cookies that are sent to a remote. The file is for its owner only: a cookie is a secret.
func SetCookies(r *repo.Repo, remote string, cookies []Cookie) error {
	var b strings.Builder
	b.WriteString("# Netscape HTTP Cookie File\n")
	yes := map[bool]string{true: "TRUE", false: "FALSE"}
	for _, c := range cookies {
		if strings.ContainsAny(c.Domain+c.Path+c.Name+c.Value, "\t\r\n;") {
			return fmt.Errorf("a cookie cannot hold tabs, line breaks or semicolons: %s", c.Name)
		}
		var expires int64
		if !c.Expires.IsZero() {
			expires = c.Expires.Unix()
		}
		fmt.Fprintf(&b, "%s\t%s\t%s\t%s\t%d\t%s\t%s\n", c.Domain, yes[c.Subdomains], c.Path, yes[c.Secure], expires, c.Name, c.Value)
	}
	return durable.WriteFile(cookieFile(r, remote), []byte(b.String()), 0o600)
}

// applies says whether a cookie is to be sent with a request.
func (c Cookie) applies(u *url.URL) bool {
	host, domain := u.Hostname(), strings.TrimPrefix(c.Domain, ".")
	inside := c.Subdomains || strings.HasPrefix(c.Domain, ".")
	if host != domain && !(inside && strings.HasSuffix(host, "."+domain)) {
		return false
	}
	if c.Secure && u.Scheme != "https" || !c.Expires.IsZero() && c.Expires.Before(time.Now()) {
		return false
	}
	path := strings.TrimSuffix(c.Path, "/")
	return path == "" || u.Path == path || strings.HasPrefix(u.Path, path+"/")
}

func addCookies(req *http.Request, cookies []Cookie) {
	for _, c := range cookies {
		if c.applies(req.URL) {
			req.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
		}
	}
}
