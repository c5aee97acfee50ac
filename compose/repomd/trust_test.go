package repomd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// signedPackage is a package of rpm's own tests, signed with signedKey.
const (
	signedPackage = "../rpm/testdata/signed/hello-2.0-1.x86_64-signed.rpm"
	signedKey     = "../rpm/testdata/signed/rpm.org-rsa-2048-test.pub"
	signedID      = "4344591e1964c5fc"
)

func read(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// signedSite is a site whose package alpha is a signed one, with its key as
// KEY, that of a stranger as OTHER, and a signed repomd.xml.
type signedSite struct {
	*site
	signer *openpgp.Entity
}

func newSignedSite(t *testing.T, file string) signedSite {
	t.Helper()
	s := signedSite{site: newSite(t)}
	s.content = read(t, file)
	s.write(t, "packages/alpha-2.0-3.x86_64.rpm", s.content)
	s.index(t, gz([]byte(primary(s.content))), "")
	s.write(t, "KEY", read(t, signedKey))
	var err error
	s.signer, err = openpgp.NewEntity("repository", "", "", &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA})
	if err != nil {
		t.Fatal(err)
	}
	s.write(t, "OTHER", armored(t, openpgp.PublicKeyType, func(b *bytes.Buffer) error { return s.signer.Serialize(b) }))
	s.sign(t)
	return s
}

func armored(t *testing.T, kind string, fill func(b *bytes.Buffer) error) []byte {
	t.Helper()
	var raw, out bytes.Buffer
	err := fill(&raw)
	w, werr := armor.Encode(&out, kind, nil)
	if err = errors.Join(err, werr); err == nil {
		_, err = w.Write(raw.Bytes())
		err = errors.Join(err, w.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	return append(out.Bytes(), '\n')
}

func (s signedSite) sign(t *testing.T) {
	t.Helper()
	s.write(t, "repodata/repomd.xml.asc", armored(t, openpgp.SignatureType, func(b *bytes.Buffer) error {
		return openpgp.DetachSign(b, s.signer, bytes.NewReader(read(t, s.dir+"/repodata/repomd.xml")), nil)
	}))
}

// fetchAlpha opens the repository and downloads the package.
func fetchAlpha(cfg Config, opts Options) error {
	r, err := Open(context.Background(), cfg, opts)
	if err != nil {
		return err
	}
	_, err = Download(context.Background(), r.Packages()[:1], Options{})
	return err
}

func wantTrust(t *testing.T, what string, err error, words ...string) {
	t.Helper()
	var trust *TrustError
	if err == nil || !errors.As(err, &trust) || (Config{SkipIfUnavailable: true}).MaySkip(err) {
		t.Errorf("%s: %v is not an error of trust", what, err)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%s: %q is not in: %v", what, w, err)
		}
	}
}

func TestGPGCheck(t *testing.T) {
	s := newSignedSite(t, signedPackage)
	base := s.serve(t, nil)
	base.GPGCheck, base.File = true, "/srv/test.repo"
	url := strings.TrimSuffix(base.BaseURLs[0], "/")
	with := func(keys ...string) Config {
		c := base
		c.GPGKeys = keys
		return c
	}
	for _, keys := range [][]string{{"file://" + s.dir + "/KEY"}, {s.dir + "/KEY"}, {url + "/KEY"}, {url + "/OTHER", "file://" + s.dir + "/KEY"}} {
		if err := fetchAlpha(with(keys...), fast(t)); err != nil {
			t.Errorf("%v: %v", keys, err)
		}
	}
	local := with("file://" + s.dir + "/KEY")
	local.BaseURLs = []string{"file://" + s.dir}
	if err := fetchAlpha(local, Options{}); err != nil {
		t.Errorf("local repository: %v", err)
	}
	wantTrust(t, "no key", fetchAlpha(with(), fast(t)),
		`repository "test"`, "gpgcheck is set and there is no key: add gpgkey=URL in /srv/test.repo, or set gpgcheck=0")
	wantTrust(t, "missing key", fetchAlpha(with("file:///etc/pki/rpm-gpg/VMWARE-RPM-GPG-KEY-absent"), fast(t)),
		"reading the key file:///etc/pki/rpm-gpg/VMWARE-RPM-GPG-KEY-absent", "no such file", "put the key of the repository there", "/srv/test.repo")
	wantTrust(t, "no key in the file", fetchAlpha(with(url+"/repodata/repomd.xml"), fast(t)), "must hold OpenPGP public keys")
	wantTrust(t, "a directory", fetchAlpha(with("file://"+s.dir), fast(t)), "it is not a file")
	wantTrust(t, "relative", fetchAlpha(with("KEY"), fast(t)), "it is not a file:, http: or https: URL")
	wantTrust(t, "unknown variable", fetchAlpha(with(url+"/$nothing"), fast(t)), "$nothing, which has no value")
	wantTrust(t, "other key", fetchAlpha(with(url+"/OTHER"), fast(t)), "downloading package alpha-1:2.0-3.x86_64", `repository "test"`,
		"signed with the unknown key "+signedID+" (the keys of gpgkey= are "+fmt.Sprintf("%016x", s.signer.PrimaryKey.KeyId)+")",
		"add the file of that key to gpgkey= in /srv/test.repo, or set gpgcheck=0")
	// A server that is away is no matter of trust.
	if err := fetchAlpha(with(url+"/nothing"), fast(t)); err == nil || !(Config{SkipIfUnavailable: true}).MaySkip(err) || !strings.Contains(err.Error(), "404") {
		t.Errorf("absent key of a server: %v", err)
	}
	off := with()
	off.GPGCheck = false
	if err := fetchAlpha(off, fast(t)); err != nil {
		t.Errorf("gpgcheck=0: %v", err)
	}
	unsigned := newSignedSite(t, "../rpm/testdata/payload-test-0.1-w9.gzdio.x86_64.rpm").serve(t, nil)
	unsigned.GPGCheck, unsigned.GPGKeys = true, []string{"file://" + s.dir + "/KEY"}
	wantTrust(t, "unsigned", fetchAlpha(unsigned, fast(t)), "it is not signed", "set gpgcheck=0")
	// The digest in the metadata is right, as whoever changes both makes it.
	bad := newSignedSite(t, signedPackage)
	bad.content[len(bad.content)-100] ^= 1
	bad.write(t, "packages/alpha-2.0-3.x86_64.rpm", bad.content)
	bad.index(t, gz([]byte(primary(bad.content))), "")
	cfg := bad.serve(t, nil)
	cfg.GPGCheck, cfg.GPGKeys = true, []string{"file://" + s.dir + "/KEY"}
	wantTrust(t, "changed", fetchAlpha(cfg, fast(t)), "the file is damaged")
}

func TestRepoGPGCheck(t *testing.T) {
	s := newSignedSite(t, signedPackage)
	cfg := s.serve(t, nil)
	cfg.RepoGPGCheck, cfg.File = true, "/srv/test.repo"
	cfg.GPGKeys = []string{cfg.BaseURLs[0] + "OTHER"}
	opts := fast(t)
	var notices []string
	opts.Notice = func(repo, text string) { notices = append(notices, repo+": "+text) }
	if err := fetchAlpha(cfg, opts); err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(notices, func(n string) bool {
		return strings.HasPrefix(n, "test: its key http://") && strings.Contains(n, "without encryption")
	}) {
		t.Errorf("notices: %v", notices)
	}
	// Without network key, index and signature come from the cache, and are
	// verified again.
	opts.CacheOnly = true
	if err := fetchAlpha(cfg, opts); err != nil {
		t.Errorf("from the cache: %v", err)
	}
	file := filepath.Join(opts.CacheDir, "test/repomd.xml")
	s.replace(t, file, "<revision>1", "<revision>2")
	wantTrust(t, "changed in the cache", fetchAlpha(cfg, opts), "the cached repomd.xml", "it was changed after it was signed")
	opts.CacheOnly = false

	s.replace(t, s.dir+"/repodata/repomd.xml", "<revision>1", "<revision>2")
	wantTrust(t, "changed", fetchAlpha(cfg, opts), "repomd.xml: its signature by the key", "changed after it was signed")
	s.sign(t)
	if err := fetchAlpha(cfg, opts); err != nil {
		t.Errorf("signed anew: %v", err)
	}
	other := cfg
	other.GPGKeys = []string{"file://" + s.dir + "/KEY"}
	wantTrust(t, "other key", fetchAlpha(other, opts), "unknown key", "the keys of gpgkey= are "+signedID, "repo_gpgcheck=0 in /srv/test.repo")
	none := cfg
	none.GPGKeys = nil
	wantTrust(t, "no key", fetchAlpha(none, opts), "repo_gpgcheck is set and there is no key")
	if err := os.Remove(s.dir + "/repodata/repomd.xml.asc"); err != nil {
		t.Fatal(err)
	}
	wantTrust(t, "no signature", fetchAlpha(cfg, opts), "there is no signature", "repomd.xml.asc", "repo_gpgcheck=0 in /srv/test.repo")
}

// replace changes a file.
func (s signedSite) replace(t *testing.T, name, from, to string) {
	t.Helper()
	data := bytes.Replace(read(t, name), []byte(from), []byte(to), 1)
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// A mirror that offers an index which is not signed is passed over for one that
// does; and when none does, the repository is not skipped as unavailable.
func TestRepoGPGCheckMirrors(t *testing.T) {
	good, bad := newSignedSite(t, signedPackage), newSignedSite(t, signedPackage)
	cfg, evil := good.serve(t, nil), bad.serve(t, nil)
	cfg.RepoGPGCheck, cfg.SkipIfUnavailable = true, true
	cfg.GPGKeys = []string{"file://" + good.dir + "/OTHER"}
	cfg.BaseURLs = []string{evil.BaseURLs[0], cfg.BaseURLs[0]}
	if err := fetchAlpha(cfg, fast(t)); err != nil {
		t.Errorf("second mirror: %v", err)
	}
	cfg.BaseURLs = []string{evil.BaseURLs[0], evil.BaseURLs[0] + "absent/"}
	if _, skipped, err := OpenAll(context.Background(), []Config{cfg}, fast(t)); err == nil || len(skipped) > 0 {
		t.Errorf("no good mirror: skipped %v, %v", skipped, err)
	}
}

// A user name and a password for the packages are not for whoever has the key.
func TestKeyCredentials(t *testing.T) {
	var seen []string
	s, keys := newSignedSite(t, signedPackage), newSignedSite(t, signedPackage)
	note := func(who string) func(http.ResponseWriter, *http.Request) bool {
		return func(_ http.ResponseWriter, r *http.Request) bool {
			if user, _, ok := r.BasicAuth(); ok && strings.HasSuffix(r.URL.Path, "KEY") {
				seen = append(seen, who+" "+user)
			}
			return false
		}
	}
	cfg, other := s.serve(t, note("own")), keys.serve(t, note("other"))
	cfg.GPGCheck, cfg.Username, cfg.Password = true, "me", "secret"
	cfg.GPGKeys = []string{other.BaseURLs[0] + "KEY", cfg.BaseURLs[0] + "KEY"}
	if err := fetchAlpha(cfg, fast(t)); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(seen, []string{"own me"}) {
		t.Errorf("credentials went to %v", seen)
	}
}
