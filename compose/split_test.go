package compose

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"photree/compose/treefile"
	"photree/repo/tree"
)

// The three parts one after another make the tree that a compose makes; and
// what was changed between them is in the commit.
func TestSplit(t *testing.T) {
	s := newServer(t)
	s.publish()
	s.write("tree.json", `{"ref": "`+ref+`", "automatic_version_prefix": "1", "repos": ["test"], "selinux": false, "no-initramfs": true,
		"packages": ["base"], "remove-from-packages": [["base", "/usr/bin/touch"]]}`)
	whole, _ := s.mustCompose(Options{NoParent: true, NoRef: true})
	tf, err := treefile.Load(filepath.Join(s.dir, "tree.json"))
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	log := &recorder{}
	o := Options{Treefile: tf, Repo: s.repo, Time: time.Unix(1700000000, 0), Log: log}
	dest := filepath.Join(s.dir, "split", "rootfs")
	res, err := Install(ctx, o, dest, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dest + "/etc/passwd"); err != nil || !res.Commit.IsZero() {
		t.Errorf("installed: %v, commit %s", err, res.Commit)
	}
	if _, err := CommitTree(ctx, o, dest); err == nil || !strings.Contains(err.Error(), "post-process it first") {
		t.Errorf("commit before post-processing: %v", err)
	}
	if _, err := Install(ctx, o, dest, false); err == nil || !strings.Contains(err.Error(), "it is there already") {
		t.Errorf("install over a tree: %v", err)
	}
	if err := Postprocess(ctx, o, dest); err != nil {
		t.Fatal(err)
	}
	if err := Postprocess(ctx, o, dest); err == nil || !strings.Contains(err.Error(), "post-processed already") {
		t.Errorf("post-processing twice: %v", err)
	}
	split, err := CommitTree(ctx, o, dest)
	if err != nil {
		t.Fatal(err)
	}
	if split.Content != whole.Content || split.Version != whole.Version || split.KVER != "6.1" || len(split.Packages) != 1 {
		t.Errorf("split %+v\nwhole %+v", split, whole)
	}
	if id, err := s.repo.ResolveRev(ref); err != nil || id != split.Commit {
		t.Errorf("the ref is %s, %v", id, err)
	}
	c, err := s.repo.LoadCommit(split.Commit)
	if err != nil || c.Metadata.GetString("rpmostree.inputhash") != "" || c.Metadata.GetString("version") != "1" {
		t.Errorf("metadata %v, %v", c.Metadata, err)
	}
	if _, ok := c.Metadata.Get("rpmostree.rpmmd-repos"); !ok {
		t.Error("the commit does not say where its packages are from")
	}

	// In one part, changed, and committed on top.
	dest = filepath.Join(s.dir, "split", "second")
	if _, err := Install(ctx, o, dest, true); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dest+"/usr/etc/mine", []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	next, err := CommitTree(ctx, o, dest)
	if err != nil || next.Previous != split.Commit || next.Version != "1.1" {
		t.Fatalf("%+v, %v", next, err)
	}
	if data, err := tree.ReadFile(s.repo, next.Commit, "/usr/etc/mine"); err != nil || string(data) != "mine" {
		t.Errorf("the change is %q, %v", data, err)
	}
	// A compose compares with it, and makes the tree anew.
	if again, _ := s.mustCompose(Options{}); again.Unchanged || again.Content == next.Content {
		t.Errorf("composed %+v", again)
	}
	if left, err := filepath.Glob(filepath.Join(s.dir, "split", workPattern)); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// A failure leaves nothing at the tree's place.
func TestInstallFails(t *testing.T) {
	s := newServer(t)
	buildRPM(t, s.rpms(), "bad", "%pre\nexit 3\n%files\n")
	s.publish()
	s.treefile("base", "bad")
	tf, err := treefile.Load(filepath.Join(s.dir, "tree.json"))
	if err != nil {
		t.Fatal(err)
	}
	dest := filepath.Join(s.dir, "split", "rootfs")
	if _, err := Install(context.Background(), Options{Treefile: tf}, dest, false); err == nil || !strings.Contains(err.Error(), "%pre") {
		t.Errorf("got %v", err)
	}
	if list, err := os.ReadDir(filepath.Dir(dest)); err != nil || len(list) > 0 {
		t.Errorf("left: %v, %v", list, err)
	}
}
