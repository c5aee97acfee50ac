package treefile

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// dir writes files and gives their directory.
func dir(t *testing.T, files map[string]string) string {
	t.Helper()
	d := t.TempDir()
	for name, text := range files {
		path := filepath.Join(d, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

func load(t *testing.T, name string, files map[string]string) (*Treefile, error) {
	t.Helper()
	return LoadWith(filepath.Join(dir(t, files), name), Options{Arch: "x86_64"})
}

func TestPhotonTreefile(t *testing.T) {
	tf, err := LoadWith("testdata/photon-base.json", Options{Arch: "x86_64"})
	if err != nil {
		t.Fatal(err)
	}
	if tf.Ref != "photon/5.0/x86_64/minimal" || tf.Releasever != "5.0" || tf.VersionPrefix != "5.0_minimal" || tf.Dir != "testdata" {
		t.Errorf("%+v", tf)
	}
	if !slices.Equal(tf.Repos, []string{"photon", "photon-updates", "photon-extras"}) || !slices.Equal(tf.InitramfsArgs, []string{"--no-hostonly"}) {
		t.Errorf("repos %q, initramfs %q", tf.Repos, tf.InitramfsArgs)
	}
	if tf.WantSELinux() || tf.WantDocumentation() || !tf.WantTmpDir() || !tf.WantRecommends() || !tf.WantMachineIDCompat() || !tf.WantInitramfs() || tf.KernelInModulesOnly() {
		t.Error("a default or a flag is wrong")
	}
	for _, p := range []string{"filesystem", "bash", "selinux-policy", "grub2-pc"} {
		if !slices.Contains(tf.Packages, p) {
			t.Errorf("%s is missing", p)
		}
	}
	if slices.Contains(tf.Packages, "grub2-arm") {
		t.Error("a package of another architecture is wanted")
	}
	vars := tf.RepoVariables()
	if vars["releasever"] != "5.0" || vars["basearch"] != "x86_64" {
		t.Errorf("variables %v", vars)
	}
	arm, err := LoadWith("testdata/photon-base.json", Options{Arch: "aarch64"})
	if err != nil || !slices.Contains(arm.Packages, "grub2-arm") || slices.Contains(arm.Packages, "grub2-pc") {
		t.Errorf("on aarch64: %v", err)
	}
}

func TestYAML(t *testing.T) {
	tf, err := load(t, "a.yaml", map[string]string{"a.yaml": `
# a comment
edition: "2024"
releasever: 5.0
ref: photon/${releasever}/${basearch}/${flavor}
variables: {flavor: minimal}
repos: &repos [base]
packages:
  - bash zlib
  - "'foo >= 2' (a or b)"
repo-packages:
  - repo: base
    packages: [kernel]
exclude-packages: [perl]
install-langs: []
postprocess:
  - |
    #!/bin/bash
    echo one
  - echo two
postprocess-script: post.sh
add-files:
  - [motd, /etc/motd]
remove-files: [/usr/share/x, usr/y]
remove-from-packages: [[bash, "/usr/share/.*"]]
check-passwd: {type: data, entries: {bin: 1, dbus: [81, 82]}}
check-groups: {type: file, filename: group}
add-commit-metadata: {a.b: c, n: 7, f: true}
units: [sshd.service, getty@tty1.service]
default-target: multi-user.target
`, "post.sh": "#!/bin/sh\necho three\n", "motd": "hello\n", "group": "root:x:0:\n"})
	if err != nil {
		t.Fatal(err)
	}
	if tf.Ref != "photon/5.0/x86_64/minimal" || tf.Releasever != "5.0" {
		t.Errorf("ref %q, releasever %q", tf.Ref, tf.Releasever)
	}
	if !slices.Equal(tf.Packages, []string{"bash", "zlib", "foo >= 2", "(a or b)"}) {
		t.Errorf("packages %q", tf.Packages)
	}
	if !tf.WantTmpDir() || !tf.KernelInModulesOnly() || tf.InstallLangs == nil {
		t.Error("the edition's defaults or an empty list are lost")
	}
	var bodies []string
	for _, s := range tf.Postprocess {
		bodies = append(bodies, s.Body)
	}
	if !slices.Equal(bodies, []string{"#!/bin/bash\necho one\n", "#!/bin/sh\necho two", "#!/bin/sh\necho three\n"}) {
		t.Errorf("scripts %q", bodies)
	}
	if a := tf.AddFiles[0]; a.Dest != "etc/motd" || filepath.Base(a.Source) != "motd" || len(a.SHA256) != 64 {
		t.Errorf("add-files %+v", a)
	}
	if !slices.Equal(tf.RemoveFiles, []string{"usr/share/x", "usr/y"}) {
		t.Errorf("remove-files %q", tf.RemoveFiles)
	}
	if tf.CheckPasswd.Entries["dbus"][1] != 82 || tf.CheckGroups.Content != "root:x:0:\n" || tf.CommitMetadata["a.b"] != "c" {
		t.Errorf("%+v %+v %+v", tf.CheckPasswd, tf.CheckGroups, tf.CommitMetadata)
	}
}

func TestIncludes(t *testing.T) {
	tf, err := load(t, "top.yaml", map[string]string{
		"top.yaml": `
ref: top
releasever: 9
include: [common/base.yaml, extra.json]
arch-include: {x86_64: pc.yaml, aarch64: missing.yaml}
conditional-include:
  - {if: releasever >= 9, include: new.yaml}
  - {if: [releasever < 9], include: missing.yaml}
packages: [top]
selinux: false
add-commit-metadata: {who: top}
`,
		"common/base.yaml": "ref: base\nselinux: true\nrecommends: false\nrepos: [r]\npackages: [base]\nadd-files: [[f, /usr/f]]\nadd-commit-metadata: {who: base, more: x}\n",
		"common/f":         "content",
		"extra.json":       `{"packages": ["extra"], "unknown-in-json": 1, "units": ["a.service"]}`,
		"pc.yaml":          "packages: [pc]\n",
		"new.yaml":         "packages: [new]\ndocumentation: false\n",
	})
	if err != nil {
		t.Fatal(err)
	}
	if tf.Ref != "top" || tf.WantSELinux() || tf.WantRecommends() || tf.WantDocumentation() || tf.CommitMetadata["who"] != "top" || tf.CommitMetadata["more"] != "x" {
		t.Errorf("the including file does not win: %+v", tf)
	}
	if got := strings.Join(tf.Packages, " "); got != "new pc extra base top" {
		t.Errorf("packages %q", got)
	}
	if tf.AddFiles[0].Source != filepath.Join(tf.Dir, "common", "f") {
		t.Errorf("a file of an included treefile is looked for at %q", tf.AddFiles[0].Source)
	}
}

func TestErrors(t *testing.T) {
	for _, c := range []struct {
		name  string
		file  string
		files map[string]string
		want  []string
	}{
		{"a loop of includes", "a.yaml", map[string]string{"a.yaml": "include: b.yaml\n", "b.yaml": "include: c.json\n", "c.json": `{"include": "a.yaml"}`},
			[]string{"includes itself", "a.yaml -> ", "b.yaml -> ", "c.json -> "}},
		{"a missing include", "a.yaml", map[string]string{"a.yaml": "ref: x\ninclude: nope.yaml\n"}, []string{"a.yaml:2", "nope.yaml"}},
		{"an unknown key in YAML", "a.yaml", map[string]string{"a.yaml": "ref: x\npackges: [a]\n"}, []string{"a.yaml:2", `"packges"`, `did you mean "packages"`}},
		{"a wrong type in YAML", "a.yaml", map[string]string{"a.yaml": "ref: x\n\npackages: bash\n"}, []string{"a.yaml:3", `"packages"`, "must be a list, not a string"}},
		{"a wrong type in JSON", "a.json", map[string]string{"a.json": "{\n \"ref\": \"x\",\n \"selinux\": \"no\"\n}"}, []string{"a.json:3", `"selinux"`, "must be true or false"}},
		{"no is not false", "a.yaml", map[string]string{"a.yaml": "selinux: no\n"}, []string{"a.yaml:1", "must be true or false"}},
		{"a syntax error in JSON", "a.json", map[string]string{"a.json": "{\n \"ref\": \"x\"\n \"selinux\": false\n}"}, []string{"a.json:3"}},
		{"a JSON file that ends", "a.json", map[string]string{"a.json": "{\n \"ref\": \"x\","}, []string{"a.json:2", "ends too early"}},
		{"a syntax error in YAML", "a.yaml", map[string]string{"a.yaml": "ref: x\n  bad: [\n"}, []string{"a.yaml"}},
		{"a key twice", "a.json", map[string]string{"a.json": "{\"ref\": \"a\",\n\"ref\": \"b\"}"}, []string{"a.json:2", "line 1"}},
		{"a key in both spellings", "a.json", map[string]string{"a.json": `{"automatic_version_prefix": "a", "automatic-version-prefix": "b"}`}, []string{"already given"}},
		{"an empty file", "a.json", map[string]string{"a.json": ""}, []string{"a.json"}},
		{"a list", "a.yaml", map[string]string{"a.yaml": "- a\n"}, []string{"must be a mapping"}},
		{"a variable without value", "a.yaml", map[string]string{"a.yaml": "ref: x/${nope}\n"}, []string{`"ref"`, "${nope}", "basearch"}},
		{"another architecture", "a.yaml", map[string]string{"a.yaml": "basearch: s390x\n"}, []string{"s390x", "x86_64"}},
		{"packages without a repository", "a.yaml", map[string]string{"a.yaml": "packages: [a]\n"}, []string{`"repos"`, "no repository"}},
		{"a ref that is none", "a.yaml", map[string]string{"a.yaml": "ref: 'a b'\n"}, []string{"not a valid ref"}},
		{"a file added outside", "a.yaml", map[string]string{"a.yaml": "add-files: [[f, /var/f]]\n", "f": ""}, []string{"a.yaml:1", "not under /usr or /etc"}},
		{"a file added by a detour", "a.yaml", map[string]string{"a.yaml": "add-files: [[f, /usr/../../x]]\n", "f": ""}, []string{"not a path in the tree"}},
		{"an added file that is missing", "a.yaml", map[string]string{"a.yaml": "ref: a\nadd-files: [[f, /usr/f]]\n"}, []string{"a.yaml:2", "no such file"}},
		{"a regular expression", "a.yaml", map[string]string{"a.yaml": "remove-from-packages: [[a, '(']]\n"}, []string{"a.yaml:1"}},
		{"a unit without a suffix", "a.yaml", map[string]string{"a.yaml": "units: [sshd]\n"}, []string{`"sshd"`, "sshd.service"}},
		{"what is not supported", "a.json", map[string]string{"a.json": `{"ostree-layers": ["x"]}`}, []string{"not supported"}},
		{"an unclosed quote", "a.yaml", map[string]string{"a.yaml": "packages: [\"'a < 2\"]\n"}, []string{"unclosed quote"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := load(t, c.file, c.files)
			if err == nil {
				t.Fatal("was accepted")
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q is missing in: %v", w, err)
				}
			}
		})
	}
	if _, err := Load("/nowhere/x.yaml"); err == nil || !strings.Contains(err.Error(), "/nowhere/x.yaml") {
		t.Errorf("a missing treefile: %v", err)
	}
}

func TestJSONComments(t *testing.T) {
	tf, err := load(t, "a.json", map[string]string{"a.json": "{ // one\n # two\n /* three\n */ \"ref\": \"http//x#y\", \"repos\": [\"a\"] }"})
	if err == nil {
		t.Fatalf("%q is no ref", tf.Ref)
	}
	tf, err = load(t, "a.json", map[string]string{"a.json": "{ // one\n # two\n /* three\n */ \"mutate-os-release\": \"a//b#c\" }"})
	if err != nil || tf.MutateOSRelease != "a//b#c" {
		t.Errorf("%v", err)
	}
}

func TestInputHash(t *testing.T) {
	one := map[string]string{"a.yaml": "# comment\nref: a\nselinux: false\nadd-files: [[f, /usr/f]]\n", "f": "1"}
	hash := func(files map[string]string, name string) string {
		tf, err := load(t, name, files)
		if err != nil {
			t.Fatal(err)
		}
		return tf.InputHash()
	}
	h := hash(one, "a.yaml")
	if same := hash(map[string]string{"b.json": `{"selinux": false, "add_files": [["f", "/usr/f"]], "comment": "x", "ref": "a"}`, "f": "1"}, "b.json"); same != h {
		t.Error("the form, the order of keys or a comment counts")
	}
	if other := hash(map[string]string{"a.yaml": one["a.yaml"], "f": "2"}, "a.yaml"); other == h {
		t.Error("the content of an added file does not count")
	}
	if other := hash(map[string]string{"a.yaml": one["a.yaml"] + "recommends: false\n", "f": "1"}, "a.yaml"); other == h {
		t.Error("a value does not count")
	}
}

// TestRoundTrip: what a tree keeps can be loaded again and means the same.
func TestRoundTrip(t *testing.T) {
	tf, err := LoadWith("testdata/photon-base.json", Options{Arch: "x86_64"})
	if err != nil {
		t.Fatal(err)
	}
	again, err := load(t, "treefile.json", map[string]string{"treefile.json": string(tf.JSON())})
	if err != nil || again.InputHash() != tf.InputHash() {
		t.Errorf("%v\n%s", err, tf.JSON())
	}
}

func TestNextVersion(t *testing.T) {
	now := time.Date(2026, 3, 9, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct{ prefix, suffix, previous, want string }{
		{"", "", "1", ""},
		{"5.0_minimal", "", "", "5.0_minimal"},
		{"5.0_minimal", "", "4.0_minimal.7", "5.0_minimal"},
		{"5.0_minimal", "", "5.0_minimal", "5.0_minimal.1"},
		{"5.0_minimal", "", "5.0_minimal.1", "5.0_minimal.2"},
		{"5.0_minimal", "", "5.0_minimal.9", "5.0_minimal.10"},
		{"5.0_minimal", "", "5.0_minimal2", "5.0_minimal"},
		{"5.0_minimal", "", "5.0_minimal.x", "5.0_minimal"},
		{"5.0", "-", "5.0-3", "5.0-4"},
		{"5.<date:%Y%m%d>", "", "", "5.20260309.0"},
		{"5.<date:%Y%m%d>", "", "5.20260309.0", "5.20260309.1"},
		{"5.<date:%Y%m%d>", "", "5.20260308.4", "5.20260309.0"},
		{"<date:%Y>", "", "2026.1", "2026.2"},
	} {
		tf := &Treefile{VersionPrefix: c.prefix, VersionSuffix: c.suffix}
		if got, err := tf.NextVersion(c.previous, now); err != nil || got != c.want {
			t.Errorf("prefix %q, previous %q: got %q, %v, want %q", c.prefix, c.previous, got, err, c.want)
		}
	}
	for _, bad := range []string{"<date:%Q>", "<time:%Y>", "<date:%>"} {
		if v, err := (&Treefile{VersionPrefix: bad}).NextVersion("", now); err == nil {
			t.Errorf("%q was accepted: %q", bad, v)
		}
	}
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte("ref: a\npackages: [a, 'b c']\nx: &a [*a]\n"))
	f.Add([]byte(`{"ref": "x", "packages": ["a"]} // c`))
	f.Fuzz(func(t *testing.T, b []byte) {
		ld := loader{arch: "x86_64"}
		for _, parse := range []func([]byte) (node, error){parseJSON, parseYAML} {
			if n, err := parse(b); err == nil {
				for i := range n.pairs { // nothing that opens files
					if strings.Contains(n.pairs[i].key, "include") || strings.Contains(n.pairs[i].key, "file") || strings.Contains(n.pairs[i].key, "script") || strings.Contains(n.pairs[i].key, "check") {
						return
					}
				}
				ld.layer("x", n, true, nil)
			}
		}
	})
}
