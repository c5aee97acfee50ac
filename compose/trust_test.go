package compose

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"photree/compose/repomd"
	"photree/repo/sign"
)

// signer is a GnuPG home with keys that have no passphrase.
type signer struct {
	t    *testing.T
	home string
}

func newSigner(t *testing.T) signer {
	t.Helper()
	home, err := os.MkdirTemp("/tmp", "gpg") // short: the agent's socket is in it
	if err != nil {
		t.Fatal(err)
	}
	s := signer{t, home}
	t.Cleanup(func() {
		s.run("gpgconf", "--kill", "all")
		os.RemoveAll(home)
	})
	return s
}

func (s signer) run(name string, args ...string) string {
	s.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "GNUPGHOME="+s.home)
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.t.Fatalf("%s %s: %v (install rpm and gnupg)\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func (s signer) key(name, algo string) string {
	s.t.Helper()
	s.run("gpg", "--batch", "--passphrase", "", "--quick-generate-key", name, algo, "sign", "2y")
	return s.run("gpg", "--armor", "--export", name)
}

func (s signer) signPackages(key, dir string) {
	s.t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.rpm"))
	if err != nil || len(files) == 0 {
		s.t.Fatalf("no packages in %s: %v", dir, err)
	}
	gpg, err := exec.LookPath("gpg")
	if err != nil {
		s.t.Fatal("gpg is not installed: install the package gnupg")
	}
	s.run("rpmsign", append([]string{"--define", "_gpg_name " + key, "--define", "__gpg " + gpg, "--addsign"}, files...)...)
}

func (s signer) signIndex(key, dir string) {
	s.t.Helper()
	s.run("gpg", "--batch", "--yes", "--armor", "--local-user", key, "--detach-sign", filepath.Join(dir, "repodata/repomd.xml"))
}

// A repository whose packages and index are signed, each with its key, and what
// happens to one who changes them (R7).
func TestComposeSigned(t *testing.T) {
	s, g := newServer(t), newSigner(t)
	s.write("rpms/KEYS", g.key("packages", "rsa2048")+g.key("index", "ed25519"))
	g.key("stranger", "ed25519")
	g.signPackages("packages", s.rpms())
	s.publish()
	g.signIndex("index", s.rpms())
	web := httptest.NewServer(http.FileServer(http.Dir(s.rpms())))
	t.Cleanup(web.Close)
	config := "[test]\nname=test\nbaseurl=" + web.URL + "\ngpgcheck=1\nrepo_gpgcheck=1\nskip_if_unavailable=1\n"
	s.write("test.repo", config+"gpgkey="+web.URL+"/KEYS\n")
	s.treefile("base")
	cache := filepath.Join(s.dir, "cache")
	res, log := s.mustCompose(Options{CacheDir: cache})
	if res.Commit.IsZero() || !strings.Contains(strings.Join(log.warns, "\n"), "without encryption") {
		t.Errorf("commit %s, warnings %q", res.Commit, log.warns)
	}
	if again, _ := s.mustCompose(Options{CacheDir: cache, CacheOnly: true, Force: true, NoParent: true}); again.Content != res.Content {
		t.Error("another tree from the cache")
	}

	index, err := os.ReadFile(filepath.Join(s.rpms(), "repodata/repomd.xml"))
	if err != nil {
		t.Fatal(err)
	}
	refuse := func(what string, words ...string) {
		t.Helper()
		before := s.snapshot()
		_, _, err := s.compose(context.Background(), Options{CacheDir: t.TempDir(), Force: true})
		var trust *repomd.TrustError
		if !errors.As(err, &trust) || s.snapshot() != before {
			t.Errorf("%s: %v", what, err)
			return
		}
		for _, w := range words {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: %q is not in: %v", what, w, err)
			}
		}
	}
	s.write("test.repo", config+"gpgkey=file://"+s.dir+"/absent\n")
	refuse("absent key", "reading the key file://"+s.dir+"/absent", "no such file", "test.repo")
	s.write("test.repo", config+"gpgkey=file://"+s.rpms()+"/KEYS\n")
	s.write("rpms/repodata/repomd.xml", string(index)+"<!-- changed -->\n")
	refuse("changed index", "repomd.xml", "changed after it was signed")
	g.signIndex("stranger", s.rpms())
	refuse("index of a stranger", "repomd.xml", "unknown key")
	g.signPackages("stranger", s.rpms())
	s.publish()
	g.signIndex("index", s.rpms())
	refuse("package of a stranger", "package base-1-1.noarch", `repository "test"`, "unknown key", "add the file of that key to gpgkey=", "gpgcheck=0")
	basePackage(t, s.rpms())
	s.publish()
	g.signIndex("index", s.rpms())
	refuse("package without signature", "package base-1-1.noarch", `repository "test"`, "it is not signed", "gpgcheck=0")
	s.write("test.repo", strings.Replace(config, "gpgcheck=1\nrepo", "gpgcheck=0\nrepo", 1)+"gpgkey=file://"+s.rpms()+"/KEYS\n")
	s.mustCompose(Options{CacheDir: t.TempDir(), Force: true})
}

// A treefile names the key that its commits are signed with.
func TestComposeSignsItsCommit(t *testing.T) {
	s, g := newServer(t), newSigner(t)
	t.Setenv("GNUPGHOME", g.home)
	public := g.key("composer", "ed25519")
	s.publish()
	treefile := func(key string) {
		s.write("tree.json", `{"ref": "`+ref+`", "repos": ["test"], "selinux": false, "no-initramfs": true, "packages": ["base"], "gpg-key": "`+key+`"}`)
	}
	treefile("nobody")
	before := s.snapshot()
	if _, _, err := s.compose(context.Background(), Options{}); err == nil || !strings.Contains(err.Error(), "No gpg key found with ID nobody") || s.snapshot() != before {
		t.Errorf("with a key that is not there: %v", err)
	}
	treefile("composer")
	res, _ := s.mustCompose(Options{})
	ring, err := sign.ParseRing([]byte(public))
	if err != nil {
		t.Fatal(err)
	}
	report, err := ring.VerifyCommit(s.repo, res.Commit)
	if err != nil || len(report) != 1 || !report[0].Valid() {
		t.Errorf("signatures of the commit: %+v, %v", report, err)
	}
}
