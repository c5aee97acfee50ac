package rpmwriter

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func sample() *Package {
	file := func(path, body string) File {
		return File{Path: path, Mode: TypeReg | 0o644, Body: []byte(body), MTime: 5}
	}
	conf := file("/etc/sample.conf", "a = b\n")
	conf.Flags = Config | NoReplace
	capable := file("/usr/bin/capable", "x")
	capable.Caps = "cap_net_raw=ep"
	return &Package{
		Name: "sample", Version: "1.0^2", Release: "3~x", Epoch: 4, Arch: "x86_64", Summary: "A sample", Description: "Two\nlines", License: "MIT",
		SourceRPM: "sample-1-1.src.rpm", BuildTime: 1700000000,
		Requires:    []Dep{{Name: "(a or b >= 2)"}, {Name: "c", Flags: Less | Equal, Version: "1-1"}, {Name: "d", Flags: ScriptPre}},
		Provides:    []Dep{{Name: "virtual"}},
		Conflicts:   []Dep{{Name: "enemy", Flags: Less, Version: "2:3-1"}},
		Obsoletes:   []Dep{{Name: "ancestor"}},
		Recommends:  []Dep{{Name: "friend"}},
		Supplements: []Dep{{Name: "boss"}},
		Post:        Script{Interp: "/sbin/ldconfig"},
		Pre:         Script{Body: "true"},
		Triggers:    []Trigger{{Script: Script{Body: "echo"}, On: Dep{Name: "other", Flags: TriggerIn}}},
		Files: []File{
			{Path: "/usr/share/sample", Mode: TypeDir | 0o755, User: "daemon", Group: "mail"},
			conf, capable, file("/usr/bin/one", "same bytes"),
			{Path: "/usr/bin/two", LinkOf: "/usr/bin/one"},
			{Path: "/usr/bin/link", Mode: TypeLink | 0o777, Target: "one"},
			{Path: "/var/log/ghost", Mode: TypeReg | 0o600, Flags: Ghost},
		},
	}
}

func query(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("rpm", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("rpm %s: %v (is the package rpm installed?)\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func write(t *testing.T, p *Package) string {
	t.Helper()
	var b bytes.Buffer
	if _, err := p.Write(&b); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), p.FileName())
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRpmReadsWhatWasWritten(t *testing.T) {
	path := write(t, sample())
	if out := query(t, "-K", "--nosignature", path); !strings.Contains(out, "digests OK") {
		t.Errorf("rpm -K: %s", out)
	}
	rows := []struct{ format, want string }{
		{"%{NEVRA}", "sample-4:1.0^2-3~x.x86_64"},
		{"%{DESCRIPTION}", "Two\nlines"},
		{"[%{REQUIRES}|]", "(a or b >= 2)|c|d|/bin/sh|/sbin/ldconfig|"},
		{"[%{REQUIREFLAGS:deptype}|]", "manual|manual|pre|pre,interp|post,interp|"},
		{"[%{CONFLICTNEVRS}|]", "enemy < 2:3-1|"},
		{"[%{SUPPLEMENTNEVRS}|]", "boss|"},
		{"[%{FILENAMES} %{FILECAPS}|]", "/usr/bin/capable cap_net_raw=ep|"},
		{"[%{FILENAMES} %{FILEUSERNAME}:%{FILEGROUPNAME}|]", "/usr/share/sample daemon:mail|"},
		{"[%{TRIGGERSCRIPTS} %{TRIGGERNAME} %{TRIGGERTYPE}|]", "echo other in|"},
		{"[%{FILENAMES} %{FILENLINKS}|]", "/usr/bin/one 2|/usr/bin/two 2|"},
	}
	for _, row := range rows {
		if got := query(t, "-qp", "--nosignature", "--qf", row.format, path); !strings.Contains(got, row.want) {
			t.Errorf("%s: got %q, want %q in it", row.format, got, row.want)
		}
	}
	if got := query(t, "-qp", "--nosignature", "--configfiles", path); got != "/etc/sample.conf\n" {
		t.Errorf("configuration files: %q", got)
	}
}

func TestRpmInstallsWhatWasWritten(t *testing.T) {
	if os.Getuid() != 0 {
		t.Fatal("rpm --root must chroot: run the tests as root (make test does)")
	}
	root := t.TempDir()
	query(t, "--root", root, "--dbpath", "/var/lib/rpm", "-i", "--nodeps", "--noscripts", "--nosignature", write(t, sample()))
	one, err := os.Stat(filepath.Join(root, "usr/bin/one"))
	if err != nil {
		t.Fatal(err)
	}
	two, err := os.Stat(filepath.Join(root, "usr/bin/two"))
	if err != nil {
		t.Fatal(err)
	}
	if !os.SameFile(one, two) {
		t.Error("the hard link became a file of its own")
	}
	if data, err := os.ReadFile(filepath.Join(root, "usr/bin/two")); string(data) != "same bytes" {
		t.Errorf("the hard link holds %q, %v", data, err)
	}
	if target, err := os.Readlink(filepath.Join(root, "usr/bin/link")); target != "one" {
		t.Errorf("the symbolic link points to %q, %v", target, err)
	}
	if out := query(t, "--root", root, "--dbpath", "/var/lib/rpm", "-V", "--nodeps", "--noscripts", "sample"); out != "" {
		t.Errorf("rpm -V finds: %s", out)
	}
}

func TestSameInputSameBytes(t *testing.T) {
	var a, b bytes.Buffer
	if _, err := sample().Write(&a); err != nil {
		t.Fatal(err)
	}
	if _, err := sample().Write(&b); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a.Bytes(), b.Bytes()) {
		t.Error("two writings of one package differ")
	}
}

func TestImpossiblePackagesAreRefused(t *testing.T) {
	for name, files := range map[string][]File{
		"a path twice":             {{Path: "/a", Mode: TypeReg}, {Path: "/a", Mode: TypeReg}},
		"a hard link to no file":   {{Path: "/a", LinkOf: "/b"}},
		"a hard link to hard link": {{Path: "/a", LinkOf: "/b"}, {Path: "/b", LinkOf: "/c"}, {Path: "/c", Mode: TypeReg}},
	} {
		if _, err := (&Package{Name: "bad", Files: files}).Write(&bytes.Buffer{}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
