package rpmostree_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// composeServer is a directory as a compose server has it, with a repository of
// one package, and the real binary.
type composeServer struct {
	t           *testing.T
	dir, binary string
}

const kernelSpec = `Name: kernel
Version: 1
Release: VERSION
Summary: test
License: MIT
BuildArch: noarch
AutoReqProv: no
%description
test
%install
mkdir -p %{buildroot}/usr/lib/modules/6.1
echo kernel > %{buildroot}/usr/lib/modules/6.1/vmlinuz
%files
/usr/lib/modules
`

func newComposeServer(t *testing.T) *composeServer {
	s := &composeServer{t: t, dir: t.TempDir(), binary: buildBinary(t)}
	s.publish("1")
	s.write("test.repo", "[test]\nname=test\nbaseurl=file://"+s.dir+"/rpms\ngpgcheck=0\n")
	s.write("tree.json", `{"ref": "test/minimal", "automatic_version_prefix": "1.0", "repos": ["test"], "selinux": false,
		"no-initramfs": true, "packages": ["kernel"]}`)
	return s
}

func (s *composeServer) write(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

// publish adds a release of the package to the package repository.
func (s *composeServer) publish(release string) {
	s.t.Helper()
	s.write("kernel.spec", strings.Replace(kernelSpec, "VERSION", release, 1))
	s.tool("rpmbuild", "-bb", "--quiet", "--define", "_topdir "+s.dir+"/top", "--define", "_rpmdir "+s.dir+"/rpms",
		"--define", "buildroot "+s.dir+"/root", "kernel.spec")
	s.tool("createrepo_c", "-q", "rpms")
}

func (s *composeServer) tool(name string, args ...string) string {
	s.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = s.dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// run calls the binary by one of its names.
func (s *composeServer) run(name string, args ...string) (string, error) {
	s.t.Helper()
	cmd := exec.Command(s.binary, args...)
	cmd.Args[0] = name
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH=1700000000")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (s *composeServer) expect(want string, name string, args ...string) {
	s.t.Helper()
	out, err := s.run(name, args...)
	if err != nil || !strings.Contains(out, want) {
		s.t.Errorf("%s %s: %v, want %q in\n%s", name, strings.Join(args, " "), err, want, out)
	}
}

func (s *composeServer) read(name string) string {
	s.t.Helper()
	data, err := os.ReadFile(filepath.Join(s.dir, name))
	if err != nil {
		s.t.Error(err)
	}
	return strings.TrimSpace(string(data))
}

// A compose server's day, as the book tells it.
func TestComposeTree(t *testing.T) {
	s := newComposeServer(t)
	s.expect("", "ostree", "--repo=repo", "init", "--mode=archive-z2")
	s.expect("Transaction: 1 packages\n  kernel-1-1.noarch\n", "rpm-ostree", "compose", "tree", "--dry-run", "tree.json")
	s.expect(`"ref": "test/minimal"`, "rpm-ostree", "compose", "tree", "--print-only", "tree.json")
	s.expect("test/minimal => ", "rpm-ostree", "compose", "tree", "--repo=repo", "--workdir=work", "--write-composejson-to=compose.json", "--add-metadata-string=k=v", "tree.json")
	first := s.read("repo/refs/heads/test/minimal")
	var d map[string]any
	if err := json.Unmarshal([]byte(s.read("compose.json")), &d); err != nil || d["ostree-commit"] != first || d["ostree-version"] != "1.0" || d["ostree.linux"] != "6.1" {
		t.Errorf("compose.json: %v, %v", d, err)
	}
	s.expect("No apparent changes since previous commit; use --force-nocache to override\n", "rpm-ostree", "compose", "tree", "--repo=repo", "--touch-if-changed=stamp", "tree.json")
	if _, err := os.Stat(filepath.Join(s.dir, "stamp")); err == nil {
		t.Error("touched although nothing changed")
	}
	s.publish("2")
	s.expect("Previous commit: "+first, "photree", "compose", "tree", "--repo=repo", "--touch-if-changed=stamp", "tree.json")
	s.read("stamp")
	if out := s.tool("ostree", "--repo=repo", "log", "test/minimal"); !strings.Contains(out, "Parent:  "+first) || !strings.Contains(out, "Version: 1.0.1") {
		t.Errorf("log: %s", out)
	}
	if out := s.tool("ostree", "--repo=repo", "show", "--print-metadata-key=k", first); strings.TrimSpace(out) != "'v'" {
		t.Errorf("metadata: %s", out)
	}
	head := s.read("repo/refs/heads/test/minimal")
	s.expect("", "rpm-ostree", "compose", "tree", "--repo=repo", "--force-nocache", "--write-commitid-to=id", "tree.json")
	if id := s.read("id"); id == head || len(id) != 64 || s.read("repo/refs/heads/test/minimal") != head {
		t.Errorf("--write-commitid-to: id %q, head %s", id, head)
	}
	if list, _ := os.ReadDir(filepath.Join(s.dir, "work")); len(list) > 0 {
		t.Errorf("left in the work directory: %v", list)
	}
	for _, c := range []struct{ want, args string }{
		{"error: no repository: name one with --repo=PATH\n", "compose tree tree.json"},
		{"--no-parent and --parent exclude each other", "compose tree --repo=repo --no-parent --parent=test/minimal tree.json"},
		{"--add-metadata-string takes KEY=VALUE", "compose tree --repo=repo --add-metadata-string=k tree.json"},
		{"nothing.json", "compose tree --repo=repo nothing.json"},
	} {
		out, err := s.run("rpm-ostree", strings.Fields(c.args)...)
		if err == nil || !strings.Contains(out, c.want) {
			t.Errorf("%s: %v, want %q in\n%s", c.args, err, c.want, out)
		}
	}
}

// The parts of compose tree, with a change between them.
func TestComposeSplit(t *testing.T) {
	s := newComposeServer(t)
	s.expect("", "ostree", "--repo=repo", "init", "--mode=archive-z2")
	s.expect("The tree is in out/rootfs\n", "rpm-ostree", "compose", "install", "--unified-core", "--repo=repo", "--cachedir=cache", "tree.json", "out")
	s.write("out/rootfs/usr/mine", "mine\n")
	s.expect("Moving /etc to /usr/etc\n", "rpm-ostree", "compose", "postprocess", "out/rootfs", "tree.json")
	s.expect("test/minimal => ", "rpm-ostree", "compose", "commit", "--repo=repo", "--add-metadata-string=k=v", "--write-composejson-to=compose.json", "tree.json", "out/rootfs")
	if out := s.tool("ostree", "--repo=repo", "cat", "test/minimal", "/usr/mine"); out != "mine\n" {
		t.Errorf("the change: %q", out)
	}
	if json := s.read("compose.json"); !strings.Contains(json, `"ostree-version": "1.0"`) || !strings.Contains(json, `"packages": 1`) {
		t.Errorf("compose.json: %s", json)
	}
	s.expect("The tree is in made\n", "photree", "compose", "rootfs", "--cachedir=cache", "tree.json", "made")
	s.read("made/usr/lib/modules/6.1/vmlinuz")
	for _, c := range []struct{ want, args string }{
		{"it is there already", "compose install tree.json out"},
		{"error: no repository: name one with --repo=PATH\n", "compose commit tree.json made"},
		{"post-processed already", "compose postprocess made tree.json"},
	} {
		if out, err := s.run("rpm-ostree", strings.Fields(c.args)...); err == nil || !strings.Contains(out, c.want) {
			t.Errorf("%s: %v, want %q in\n%s", c.args, err, c.want, out)
		}
	}
}

// mkostreerepo makes a repository in one call and adds to it in the next.
func TestMkostreerepo(t *testing.T) {
	s := newComposeServer(t)
	s.expect("Creating base tree..\n", "mkostreerepo", "-r="+s.dir, "-p="+s.dir+"/tree.json")
	head := s.read("repo/refs/heads/test/minimal")
	if out := s.tool("ostree", "--repo=repo", "summary", "-v"); !strings.Contains(out, head) {
		t.Errorf("summary: %s", out)
	}
	s.publish("2")
	s.expect("Base tree exist, executing new commit..\n", "mkostreerepo", "-c", "--repopath="+s.dir, "--jsonfile=tree.json")
	if out := s.tool("ostree", "--repo=repo", "log", "test/minimal"); !strings.Contains(out, "Parent:  "+head) {
		t.Errorf("log: %s", out)
	}
	if out, err := s.run("mkostreerepo"); err == nil || !strings.Contains(out, "No repository path specified") {
		t.Errorf("without arguments: %v\n%s", err, out)
	}
	empty := t.TempDir()
	if out, err := s.run("mkostreerepo", "-c", "-r="+empty, "-p=tree.json"); err == nil || !strings.Contains(out, "no .repo files") {
		t.Errorf("-c without .repo files: %v\n%s", err, out)
	}
	// Without Photon's keys, nothing of Photon's is fetched.
	const key = "/etc/pki/rpm-gpg/VMWARE-RPM-GPG-KEY"
	if _, err := os.Stat(key); err == nil {
		return // it would go on to packages.vmware.com
	}
	if out, err := s.run("mkostreerepo", "-r="+empty); err == nil || !strings.Contains(out, "reading the key file://"+key+": ") || !strings.Contains(out, "photon.repo") {
		t.Errorf("without Photon's keys: %v\n%s", err, out)
	}
}
