package distro

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// apt drives the machine's apt on a private state, so that the machine's own package lists, cache and installed set
// are neither used nor changed. Its proxies and mirrors are the machine's.
type apt struct {
	dir  string   // state, lists and configuration
	opts []string // -o options for every call
}

// suites are the two archives whose differing versions make the two releases.
var suites = []string{"bookworm", "bookworm-security"}

const debianKeyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

func newApt(ctx context.Context, dir string) (*apt, error) {
	if _, err := exec.LookPath("apt-get"); err != nil {
		return nil, errors.New("looking for apt-get: the test distribution is made of Debian packages, and apt downloads them; run this on Debian or Ubuntu")
	}
	for _, d := range []string{"state/lists/partial", "cache/archives/partial", "prefs"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, err
		}
	}
	a := &apt{dir: dir}
	sources, err := a.sources(ctx)
	if err != nil {
		return nil, err
	}
	for name, text := range map[string]string{"status": "", "sources.list": sources} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	for _, o := range []string{
		"Dir::State=" + filepath.Join(dir, "state"), "Dir::State::status=" + filepath.Join(dir, "status"),
		"Dir::Cache=" + filepath.Join(dir, "cache"), "Dir::Etc::sourcelist=" + filepath.Join(dir, "sources.list"),
		"Dir::Etc::sourceparts=/dev/null", "Dir::Etc::preferences=/dev/null", "Dir::Etc::preferencesparts=" + filepath.Join(dir, "prefs"),
		"APT::Architecture=amd64", "APT::Architectures=amd64", "APT::Install-Recommends=false", "APT::Sandbox::User=root",
		"Acquire::Languages=none", "Acquire::IndexTargets::deb::Packages::DefaultEnabled=true", "Debug::NoLocking=1",
		"Acquire::Retries=3",
	} {
		a.opts = append(a.opts, "-o", o)
	}
	return a, nil
}

// sources names the mirrors, which are those of the machine.
func (a *apt) sources(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "apt-get", "indextargets", "--format", "$(RELEASE) $(COMPONENT) $(REPO_URI)", "Created-By: Packages").Output()
	if err != nil {
		return "", fmt.Errorf("asking apt for its mirrors: %w", err)
	}
	signed := ""
	if _, err := os.Stat(debianKeyring); err == nil {
		signed = " signed-by=" + debianKeyring
	}
	var b strings.Builder
	for _, suite := range suites {
		uri := ""
		for _, line := range strings.Split(string(out), "\n") {
			if f := strings.Fields(line); len(f) == 3 && f[0] == suite && f[1] == "main" {
				uri = f[2]
				break
			}
		}
		if uri == "" {
			return "", fmt.Errorf("looking for a mirror of Debian's %s: apt has none; add it to /etc/apt/sources.list and run apt-get update", suite)
		}
		fmt.Fprintf(&b, "deb [arch=amd64%s] %s %s main\n", signed, uri, suite)
	}
	return b.String(), nil
}

// run runs one apt tool and gives its output; its own words come with an error.
func (a *apt) run(ctx context.Context, dir, tool string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, tool, append(append([]string(nil), a.opts...), args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("running %s %s: %w\n%s", tool, args[0], err, strings.TrimSpace(stderr.String()))
	}
	return stdout.Bytes(), nil
}

func (a *apt) update(ctx context.Context) error {
	_, err := a.run(ctx, a.dir, "apt-get", "update", "-q")
	return err
}

// candidate is one version of a package in the archives.
type candidate struct {
	name, version, suite, sha256 string
	fields                       map[string]string
}

func (c candidate) id() string { return c.name + "=" + c.version }

// fileName is the name that `apt-get download` gives the package's file.
func (c candidate) fileName() string {
	return c.name + "_" + strings.ReplaceAll(c.version, ":", "%3a") + "_" + c.fields["Architecture"] + ".deb"
}

// index reads the package lists: the versions of each name, older first.
func (a *apt) index(ctx context.Context) (map[string][]candidate, error) {
	idx := map[string][]candidate{}
	for _, s := range suites {
		lists, err := filepath.Glob(filepath.Join(a.dir, "state/lists/*_dists_"+s+"_main_binary-amd64_Packages*"))
		if err != nil || len(lists) != 1 {
			return nil, fmt.Errorf("looking for the package list of %s in %q: found %d", s, a.dir, len(lists))
		}
		text, err := a.run(ctx, a.dir, "/usr/lib/apt/apt-helper", "cat-file", lists[0])
		if err != nil {
			return nil, err
		}
		for _, f := range parseStanzas(string(text)) {
			c := candidate{name: f["Package"], version: f["Version"], suite: s, sha256: f["SHA256"], fields: f}
			idx[c.name] = insertVersion(idx[c.name], c)
		}
	}
	return idx, nil
}

func insertVersion(list []candidate, c candidate) []candidate {
	for i, other := range list {
		switch cmp := debianCompare(c.version, other.version); {
		case cmp == 0:
			return list
		case cmp < 0:
			return append(list[:i], append([]candidate{c}, list[i:]...)...)
		}
	}
	return append(list, c)
}

var instLine = regexp.MustCompile(`(?m)^Inst (\S+) \((\S+) `)

// resolve gives what apt would install on an empty system for the requests: name -> version.
func (a *apt) resolve(ctx context.Context, requests []string) (map[string]string, error) {
	out, err := a.run(ctx, a.dir, "apt-get", append([]string{"-s", "-q", "install"}, requests...)...)
	if err != nil {
		return nil, err
	}
	closure := map[string]string{}
	for _, m := range instLine.FindAllStringSubmatch(string(out), -1) {
		closure[m[1]] = m[2]
	}
	return closure, nil
}

// download brings the packages into dir, those that are not there.
func (a *apt) download(ctx context.Context, dir string, want []candidate) error {
	var ids []string
	for _, c := range want {
		if _, err := os.Stat(filepath.Join(dir, c.fileName())); err != nil {
			ids = append(ids, c.id())
		}
	}
	if len(ids) == 0 {
		return nil
	}
	// apt writes under the final name while it downloads: only whole files may be seen there.
	tmp, err := os.MkdirTemp(dir, "partial-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if _, err := a.run(ctx, tmp, "apt-get", append([]string{"-q", "download"}, ids...)...); err != nil {
		return err
	}
	files, err := os.ReadDir(tmp)
	if err != nil {
		return err
	}
	for _, f := range files {
		if strings.HasSuffix(f.Name(), ".deb") {
			if err := os.Rename(filepath.Join(tmp, f.Name()), filepath.Join(dir, f.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}
