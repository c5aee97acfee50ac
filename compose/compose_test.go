package compose

import (
	"context"
	"encoding/binary"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"photree/compose/rpmdb"
	"photree/repo"
	"photree/repo/object"
	"photree/repo/tree"

	"golang.org/x/sys/unix"
)

func hello(version string) string {
	return "Version: " + version + `
Requires: base
%install
mkdir -p %{buildroot}/usr/share/hello
echo ` + version + ` > %{buildroot}/usr/share/hello/version
%post
echo "hello $1" > /etc/hello
%files
/usr/share/hello
`
}

// A compose makes a commit that stock ostree accepts, with the packages, the
// metadata and the history that hosts read; an update of a package makes the
// next; nothing new makes none.
func TestCompose(t *testing.T) {
	s := newServer(t)
	buildRPM(t, s.rpms(), "hello", hello("1"))
	s.publish()
	s.treefile("hello")
	res, log := s.mustCompose(Options{})
	if len(log.warns) > 0 {
		t.Errorf("warnings: %q", log.warns)
	}
	if res.Version != "1" || res.KVER != "6.1" || len(res.Packages) != 2 || !res.Previous.IsZero() {
		t.Errorf("result: %+v", res)
	}
	c, err := s.repo.LoadCommit(res.Commit)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []string{"rpmostree.inputhash", "rpmostree.rpmmd-repos", "version", "rpmostree.rpmdb.pkglist", "ostree.linux", "ostree.bootable", "ostree.ref-binding"} {
		if _, ok := c.Metadata.Get(k); !ok {
			t.Errorf("the commit has no %s", k)
		}
	}
	if c.Timestamp != 1700000000 || !c.Parent.IsZero() {
		t.Errorf("timestamp %d, parent %s", c.Timestamp, c.Parent)
	}
	read := func(id object.ID, name string) string {
		data, err := tree.ReadFile(s.repo, id, name)
		if err != nil {
			t.Error(err)
		}
		return string(data)
	}
	if got := read(res.Commit, "/usr/share/hello/version") + read(res.Commit, "/usr/etc/hello"); got != "1\nhello 1\n" {
		t.Errorf("files: %q", got)
	}
	db, err := rpmdb.ReadBytes(context.Background(), []byte(read(res.Commit, "/usr/share/rpm/rpmdb.sqlite")))
	if err != nil || len(db) != 2 || db[1].Name != "hello" {
		t.Errorf("rpm database: %v, %v", rpmdb.NEVRAs(db), err)
	}
	if out := tool(t, "ostree", "fsck", "--repo="+s.repo.Path()); !strings.Contains(out, "no errors found") {
		t.Error(out)
	}

	again, _ := s.mustCompose(Options{})
	if !again.Unchanged || again.Commit != res.Commit {
		t.Errorf("nothing changed, and the result is %+v", again)
	}
	buildRPM(t, s.rpms(), "hello", hello("2"))
	s.publish()
	next, _ := s.mustCompose(Options{})
	c, err = s.repo.LoadCommit(next.Commit)
	if err != nil {
		t.Fatal(err)
	}
	if next.Unchanged || c.Parent != res.Commit || next.Version != "1.1" || read(next.Commit, "/usr/share/hello/version") != "2\n" {
		t.Errorf("after an update: parent %s, result %+v", c.Parent, next)
	}
	if head, err := s.repo.ResolveRev(ref); err != nil || head != next.Commit {
		t.Errorf("the ref names %s (%v)", head, err)
	}
}

// The same inputs give the same commit (R6), in another directory and
// repository, with another umask, and where files inherit a group and an access
// list.
func TestReproducible(t *testing.T) {
	var ids []object.ID
	rpms := t.TempDir()
	buildRPM(t, rpms, "hello", hello("1"))
	for i := range 2 {
		s := newServer(t)
		copyFile(t, filepath.Join(rpms, "hello-1-1.noarch.rpm"), filepath.Join(s.rpms(), "hello-1-1.noarch.rpm"))
		tool(t, "createrepo_c", "-q", "--revision", "1", "--set-timestamp-to-revision", s.rpms())
		s.treefile("hello")
		if i == 1 {
			inheriting(t, filepath.Join(s.dir, "work"))
		}
		restore := umask([]int{0o077, 0o002}[i])
		res, _ := s.mustCompose(Options{})
		restore()
		ids = append(ids, res.Commit)
		if i == 0 {
			time.Sleep(1100 * time.Millisecond) // another second of the clock
		}
	}
	if ids[0] != ids[1] {
		t.Errorf("two composes of the same gave %s and %s", ids[0], ids[1])
	}
}

// inheriting makes a directory whose files get its group and access list.
func inheriting(t *testing.T, dir string) {
	t.Helper()
	if err := errors.Join(os.Chown(dir, 0, 12345), os.Chmod(dir, os.ModeSetgid|0o775)); err != nil {
		t.Fatal(err)
	}
	acl := []byte{2, 0, 0, 0}
	for _, e := range []struct {
		tag, perm uint16
		id        uint32
	}{{1, 7, ^uint32(0)}, {2, 7, 1000}, {4, 7, ^uint32(0)}, {0x10, 7, ^uint32(0)}, {0x20, 7, ^uint32(0)}} {
		acl = binary.LittleEndian.AppendUint16(acl, e.tag)
		acl = binary.LittleEndian.AppendUint16(acl, e.perm)
		acl = binary.LittleEndian.AppendUint32(acl, e.id)
	}
	if err := unix.Setxattr(dir, "system.posix_acl_default", acl, 0); err != nil && !errors.Is(err, unix.ENOTSUP) {
		t.Fatal(err)
	}
}

func TestKeepXattrs(t *testing.T) {
	info := object.FileInfo{Xattrs: object.Xattrs{{Name: "security.capability"}, {Name: "security.selinux"}, {Name: "system.posix_acl_access"}, {Name: "trusted.overlay.origin"}, {Name: "user.mime"}}}
	keepXattrs(&info)
	if len(info.Xattrs) != 2 || info.Xattrs[0].Name != "security.capability" || info.Xattrs[1].Name != "user.mime" {
		t.Errorf("kept %v", info.Xattrs)
	}
}

func TestMetadataAndParents(t *testing.T) {
	s := newServer(t)
	s.publish()
	s.write("tree.json", `{"ref": "`+ref+`", "repos": ["test"], "selinux": false, "no-initramfs": true, "packages": ["base"],
		"add-commit-metadata": {"example.text": "x", "example.flag": true, "example.list": ["a", "b"]}}`)
	first, _ := s.mustCompose(Options{NoRef: true})
	if _, err := s.repo.ResolveRev(ref); !errors.Is(err, repo.ErrNotFound) {
		t.Errorf("NoRef moved the ref: %v", err)
	}
	second, _ := s.mustCompose(Options{Parent: &first.Commit, Force: true})
	third, _ := s.mustCompose(Options{NoParent: true, Force: true, Version: "7"})
	for _, c := range []struct {
		id, parent object.ID
		version    string
	}{{first.Commit, object.ID{}, ""}, {second.Commit, first.Commit, ""}, {third.Commit, object.ID{}, "7"}} {
		got, err := s.repo.LoadCommit(c.id)
		if err != nil || got.Parent != c.parent || got.Metadata.GetString("version") != c.version || got.Metadata.GetString("example.text") != "x" {
			t.Errorf("commit %s: parent %s, version %q, %v", c.id, got.Parent, got.Metadata.GetString("version"), err)
		}
	}
}

// Each fault ends the compose with a sentence that names the thing, and the
// repository is as it was (R2).
func TestFaults(t *testing.T) {
	for _, c := range []struct {
		what    string
		prepare func(s *server)
		want    []string
	}{
		{"a package that no repository has", func(s *server) { s.publish(); s.treefile("base", "nonesuch") }, []string{"nonesuch"}},
		{"a dependency that nothing provides", func(s *server) {
			buildRPM(s.t, s.rpms(), "needy", "Requires: moonlight\n%files\n")
			s.publish()
			s.treefile("base", "needy")
		}, []string{"needy", "moonlight"}},
		{"includes in a circle", func(s *server) {
			s.publish()
			s.write("tree.json", `{"include": "other.json", "ref": "x", "packages": []}`)
			s.write("other.json", `{"include": "tree.json"}`)
		}, []string{"tree.json", "other.json"}},
		{"no repodata", func(s *server) { s.treefile("base") }, []string{"test", "repomd.xml"}},
		{"repodata that is no XML", func(s *server) {
			s.publish()
			s.treefile("base")
			s.write("rpms/repodata/repomd.xml", "<html>not found")
		}, []string{"test", "repomd.xml"}},
		{"an index that is not what repomd.xml says", func(s *server) {
			s.publish()
			s.treefile("base")
			list, _ := filepath.Glob(s.rpms() + "/repodata/*primary.xml*")
			for _, f := range list {
				damage(s.t, f)
			}
		}, []string{"primary"}},
		{"a package whose digest is wrong", func(s *server) {
			buildRPM(s.t, s.rpms(), "hello", hello("1"))
			s.publish()
			s.treefile("hello")
			damage(s.t, s.rpms()+"/hello-1-1.noarch.rpm")
		}, []string{"hello-1-1.noarch"}},
		{"a repository that the treefile's directory does not define", func(s *server) {
			s.publish()
			s.treefile("base")
			os.Remove(filepath.Join(s.dir, "test.repo"))
		}, []string{"test"}},
		{"two packages with one file", func(s *server) {
			for _, name := range []string{"one", "two"} {
				buildRPM(s.t, s.rpms(), name, "%install\nmkdir -p %{buildroot}/usr/share\necho "+name+" > %{buildroot}/usr/share/it\n%files\n/usr/share/it\n")
			}
			s.publish()
			s.treefile("base", "one", "two")
		}, []string{"/usr/share/it", "one-1-1.noarch", "two-1-1.noarch"}},
		{"a failing %pre", func(s *server) {
			buildRPM(s.t, s.rpms(), "bad", "Requires: base\nRequires(pre): base\n%pre\necho disk on fire\nexit 7\n%files\n")
			s.publish()
			s.treefile("bad")
		}, []string{"%pre of bad-1-1.noarch", "exit status 7", "disk on fire"}},
		{"a unit that no package has", func(s *server) {
			s.publish()
			s.write("tree.json", `{"ref": "`+ref+`", "repos": ["test"], "selinux": false, "no-initramfs": true, "packages": ["base"], "units": ["no.service"]}`)
		}, []string{`"no.service"`}},
		{"no ref", func(s *server) {
			s.publish()
			s.write("tree.json", `{"repos": ["test"], "packages": ["base"]}`)
		}, []string{"names no ref"}},
	} {
		t.Run(c.what, func(t *testing.T) {
			s := newServer(t)
			c.prepare(s)
			before := s.snapshot()
			_, _, err := s.compose(context.Background(), Options{})
			if err == nil {
				t.Fatal("no error")
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q does not say %q", err, w)
				}
			}
			if strings.Contains(err.Error(), "\n") {
				t.Logf("the error has several lines: %q", err)
			}
			if after := s.snapshot(); after != before {
				t.Errorf("the repository changed:\n%s\n%s", before, after)
			}
		})
	}
}

func damage(t *testing.T, name string) {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)-20] ^= 0x55
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// An interrupted compose leaves the repository and the work directory as they
// were.
func TestInterrupt(t *testing.T) {
	s := newServer(t)
	buildRPM(t, s.rpms(), "slow", "Requires: base\nRequires(post): base\n%post\nwhile :; do :; done\n%files\n")
	s.publish()
	s.treefile("slow")
	before := s.snapshot()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if _, _, err := s.compose(ctx, Options{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if after := s.snapshot(); after != before {
		t.Error("the repository changed")
	}
}

func TestDryRunAndDownload(t *testing.T) {
	s := newServer(t)
	s.publish()
	s.treefile("base")
	web := httptest.NewServer(http.FileServer(http.Dir(s.rpms())))
	defer web.Close()
	s.write("test.repo", "[test]\nname=test\nbaseurl="+web.URL+"\ngpgcheck=0\n")
	before := s.snapshot()
	res, log := s.mustCompose(Options{DryRun: true})
	if len(res.Packages) != 1 || !res.Commit.IsZero() || !strings.Contains(strings.Join(log.notes, "\n"), "base-1-1.noarch") {
		t.Errorf("dry run: %+v, %q", res, log.notes)
	}
	cache := t.TempDir()
	s.mustCompose(Options{DownloadOnly: true, CacheDir: cache})
	if before != s.snapshot() {
		t.Error("the repository changed")
	}
	// What was downloaded is enough to compose without a network.
	web.Close()
	if res, _ := s.mustCompose(Options{CacheOnly: true, CacheDir: cache}); res.Commit.IsZero() {
		t.Error("no commit from the cache")
	}
}

// A full disk ends the compose with a sentence that says which.
func TestFullDisk(t *testing.T) {
	s := newServer(t)
	s.publish()
	s.treefile("base")
	small := t.TempDir()
	if err := unix.Mount("tmpfs", small, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(small, 0) })
	before := s.snapshot()
	_, _, err := s.compose(context.Background(), Options{WorkDir: small, CacheDir: t.TempDir()})
	if err == nil || !strings.Contains(err.Error(), "there is no room below") || !strings.Contains(err.Error(), small) {
		t.Errorf("got %v", err)
	}
	if list, _ := os.ReadDir(small); len(list) > 0 || before != s.snapshot() {
		t.Errorf("left %v; repository changed: %v", list, before != s.snapshot())
	}
}

func TestTreefileSwitches(t *testing.T) {
	s := newServer(t)
	s.publish()
	s.write("tree.json", `{"ref": "`+ref+`", "repos": ["test"], "selinux": false, "no-initramfs": true, "packages": ["base"],
		"readonly-executables": true, "repo-metadata": "disabled", "mutate-os-release": "1", "add-files": []}`)
	if _, _, err := s.compose(context.Background(), Options{Version: "1.2"}); err == nil || !strings.Contains(err.Error(), "mutate-os-release") {
		t.Errorf("without an os-release: %v", err)
	}
	s.write("tree.json", `{"ref": "`+ref+`", "repos": ["test"], "selinux": false, "no-initramfs": true, "packages": ["base"],
		"readonly-executables": true, "repo-metadata": "disabled"}`)
	res, _ := s.mustCompose(Options{})
	c, err := s.repo.LoadCommit(res.Commit)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := c.Metadata.Get("rpmostree.rpmmd-repos"); ok {
		t.Error("the commit names repositories")
	}
	e, err := tree.Lookup(s.repo, c.Root, c.RootMeta, "/usr/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	info, _, f, err := s.repo.OpenFile(e.ID)
	if err != nil || info.Mode&0o777 != 0o555 {
		t.Errorf("mode of sh: %o, %v", info.Mode, err)
	}
	f.Close()
}

// What a killed compose left behind goes with the next one; the directory of
// one that runs stays.
func TestLeftWorkDirs(t *testing.T) {
	base := t.TempDir()
	old := time.Now().Add(-time.Hour)
	dead := filepath.Join(base, "photree-compose-1")
	if err := os.MkdirAll(filepath.Join(dead, "rootfs.tmp", "usr"), 0o755); err != nil {
		t.Fatal(err)
	}
	running, err := newWorkDir(base)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{dead, running.path} {
		if err := os.Chtimes(d, old, old); err != nil {
			t.Fatal(err)
		}
	}
	next, err := newWorkDir(base)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dead); err == nil {
		t.Error("the directory of a killed compose is still there")
	}
	if _, err := os.Stat(running.path); err != nil {
		t.Error("the directory of a running compose is gone")
	}
	if err := errors.Join(running.remove(), next.remove()); err != nil {
		t.Error(err)
	}
}
