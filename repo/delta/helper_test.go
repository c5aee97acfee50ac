package delta_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"photree/repo"
	"photree/repo/object"
)

// stock runs Debian's ostree and returns what it prints.
func stock(t testing.TB, args ...string) string {
	t.Helper()
	out, err := tryStock(args...)
	if err != nil {
		t.Fatalf("ostree %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func tryStock(args ...string) (string, error) {
	path, err := exec.LookPath("ostree")
	if err != nil {
		return "", fmt.Errorf("these tests compare with the original ostree: install the package ostree: %w", err)
	}
	out, err := exec.Command(path, args...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// fsck checks a repository with the original program.
func fsck(t testing.TB, r *repo.Repo) {
	t.Helper()
	stock(t, "--repo="+r.Path(), "fsck", "-q")
}

func newRepo(t testing.TB, mode repo.Mode) *repo.Repo {
	t.Helper()
	r, err := repo.Init(filepath.Join(t.TempDir(), "repo"), repo.InitOptions{Mode: mode})
	if err != nil {
		t.Fatal(err)
	}
	// What a power cut would do is tested elsewhere; flushing would take most of the time here.
	config := r.Config()
	config.Set("core", "fsync", "false")
	if err := r.SetConfig(config); err != nil {
		t.Fatal(err)
	}
	return r
}

// writeTree makes files of a directory; a name that ends with "@" is a symbolic link, content nil removes.
func writeTree(t testing.TB, dir string, files map[string][]byte) {
	t.Helper()
	for name, data := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if link, ok := strings.CutSuffix(path, "@"); ok {
			err = os.Symlink(string(data), link)
		} else if data == nil {
			err = os.Remove(path)
		} else {
			err = os.WriteFile(path, data, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// text gives n bytes that look like a program: structured, and the same for the same seed.
func text(seed uint64, n int) []byte {
	rnd := rand.New(rand.NewPCG(seed, 7))
	words := make([]string, 200)
	for i := range words {
		words[i] = fmt.Sprintf("%x", rnd.Uint64()>>(rnd.IntN(40)))
	}
	var b bytes.Buffer
	for b.Len() < n {
		b.WriteString(words[rnd.IntN(len(words))])
		b.WriteByte(" \n,;"[rnd.IntN(4)])
	}
	return b.Bytes()[:n]
}

func noise(seed uint64, n int) []byte {
	rnd := rand.New(rand.NewPCG(seed, 9))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rnd.Uint32())
	}
	return b
}

// edit changes a few places of data.
func edit(seed uint64, data []byte) []byte {
	rnd := rand.New(rand.NewPCG(seed, 11))
	out := bytes.Clone(data)
	for range 5 {
		at := rnd.IntN(len(out))
		out = append(out[:at:at], append([]byte(fmt.Sprint("<", rnd.Uint32(), ">")), out[at+rnd.IntN(len(out)-at)/1000:]...)...)
	}
	return out
}

// twoCommits makes an archive repository with two commits that differ in every way that a delta treats differently.
func twoCommits(t testing.TB) (r *repo.Repo, a, b object.ID) {
	t.Helper()
	r = newRepo(t, repo.ModeArchive)
	dir := t.TempDir()
	moved := text(3, 300<<10)
	writeTree(t, dir, map[string][]byte{
		"usr/bin/tool": text(1, 700<<10), "usr/bin/other": text(2, 90<<10), "usr/lib/libmoved.so.1": moved,
		"usr/share/same": text(4, 5000), "usr/share/gone": text(5, 5000), "usr/bin/link@": []byte("tool"), "usr/empty": {},
		"usr/share/small": []byte("small\n"),
	})
	a = commit(t, r, dir)
	// Blocks that come and go keep the rest aligned as it is for a rolling checksum.
	other := append(append(text(6, 3000), text(2, 90<<10)...), text(7, 200)...)
	writeTree(t, dir, map[string][]byte{
		"usr/bin/tool": edit(1, text(1, 700<<10)), "usr/bin/other": other, "usr/lib/libmoved.so.1": nil,
		"usr/lib/libmoved.so.2": edit(2, moved), "usr/share/gone": nil, "usr/share/new": text(8, 12000), "usr/link2@": []byte("share/new"),
		"usr/share/small": []byte("small, but not the same\n"), "usr/noise": noise(1, 100<<10), "usr/empty2": {},
	})
	if err := os.Chmod(filepath.Join(dir, "usr/bin/tool"), 0o755); err != nil {
		t.Fatal(err)
	}
	b = commit(t, r, dir)
	return r, a, b
}

// commit commits a directory with the original program.
func commit(t testing.TB, r *repo.Repo, dir string) object.ID {
	t.Helper()
	id, err := object.ParseID(stock(t, "--repo="+r.Path(), "commit", "-b", "main", "--owner-uid=0", "--owner-gid=0", "--no-xattrs", dir))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// clone makes a repository of some mode that has one commit of another.
func clone(t testing.TB, src *repo.Repo, mode repo.Mode, commits ...object.ID) *repo.Repo {
	t.Helper()
	r := newRepo(t, mode)
	for _, id := range commits {
		stock(t, "--repo="+r.Path(), "pull-local", src.Path(), id.String())
	}
	return r
}

func golden(t testing.TB) []byte {
	t.Helper()
	text, err := os.ReadFile("testdata/golden-inline.txt")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	data, err := hex.DecodeString(lines[len(lines)-1])
	if err != nil {
		t.Fatal(err)
	}
	return data
}

var ctx = context.Background()

var modes = []repo.Mode{repo.ModeArchive, repo.ModeBare, repo.ModeBareUser, repo.ModeBareUserOnly}
