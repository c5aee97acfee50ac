package object_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"

	"photree/internal/gvariant"
	"photree/repo/object"
)

func id(t testing.TB, s string) object.ID {
	t.Helper()
	x, err := object.ParseID(s)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// golden reads the objects that ostree wrote for a small tree: path, bytes.
func golden(t testing.TB) map[string][]byte {
	t.Helper()
	data, err := os.ReadFile("testdata/golden.txt")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]byte{}
	for line := range strings.SplitSeq(string(data), "\n") {
		name, text, ok := strings.Cut(line, " ")
		if !ok || !strings.Contains(name, "/") {
			continue
		}
		b, err := hex.DecodeString(text)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		out[strings.Replace(name, "/", "", 1)] = b
	}
	if len(out) != 9 {
		t.Fatalf("%d objects in testdata/golden.txt", len(out))
	}
	return out
}

func TestGoldenObjectsKeepTheirBytes(t *testing.T) {
	for name, data := range golden(t) {
		hexID, kind, _ := strings.Cut(name, ".")
		want := id(t, hexID)
		switch kind {
		case "filez":
			info, size, err := object.ReadArchiveHeader(bytes.NewReader(data))
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if got := info.ArchiveHeader(size); !bytes.HasPrefix(data, got) {
				t.Errorf("%s: header %x", name, got)
			}
			continue
		case "dirtree", "dirmeta", "commit":
			if got := object.MetadataID(data); got != want {
				t.Errorf("%s has the checksum %s", name, got)
			}
		}
		again, err := reencode(kind, data)
		if err != nil || !bytes.Equal(again, data) {
			t.Errorf("%s decoded and encoded: %x, %v", name, again, err)
		}
	}
}

func reencode(kind string, data []byte) ([]byte, error) {
	switch kind {
	case "dirtree":
		x, err := object.DecodeDirTree(data)
		return x.Encode(), err
	case "dirmeta":
		x, err := object.DecodeDirMeta(data)
		return x.Encode(), err
	}
	x, err := object.DecodeCommit(data)
	return x.Encode(), err
}

func TestContentIDs(t *testing.T) {
	reg := object.FileInfo{Mode: 0o100644}
	link := object.FileInfo{Mode: 0o120777, Target: "a"}
	for _, row := range []struct {
		name    string
		info    object.FileInfo
		content string
		want    string
	}{
		{"a line", reg, "hello\n", "44f778e59f0a4748d6b0c90a47347212a231c4ad1e8f7ea5c5dffc7749153a6b"},
		{"an empty file", reg, "", "cc700d46f407c6c5ab2d5dde474366a928b7398277e61162e7f8ec06f469f07e"},
		{"a link to a", link, "", "438802d990f25270d36f902bc9ce9d0737b88f9ae0b41ed59ec9e47c28523e0a"},
	} {
		got, err := object.ContentID(row.info, strings.NewReader(row.content))
		if err != nil || got.String() != row.want {
			t.Errorf("%s: %s, %v", row.name, got, err)
		}
	}
}

// photonBook is what the Photon book prints of three composed trees.
type photonBook struct {
	Symlinks map[string]string `json:"symlink_objects_uid0_gid0_mode0120777_noxattr"`
	DirMeta  string            `json:"dirmeta_root_040755_0_0"`
	Empty    string            `json:"dirtree_empty"`
	Roots    []struct {
		Branch string
		Tree   struct{ Symlinks, Dirs map[string]string }
		Sum    string `json:"checksum"`
		CSum   string `json:"content_checksum"`
	} `json:"root_dirtrees"`
	Commits []struct {
		ID        string
		Order     []string `json:"metadata_order"`
		Version   string
		InputHash string
		Repo      *struct {
			ID        string
			Timestamp uint64 `json:"timestamp_be_u64"`
		}
		Timestamp uint64
		Root      string
		Size      int
		Packages  [][]string `json:"pkglist_sssss"`
	}
}

func loadBook(t *testing.T) photonBook {
	t.Helper()
	data, err := os.ReadFile("testdata/photon-book.json")
	if err != nil {
		t.Fatal(err)
	}
	var b photonBook
	if err := json.Unmarshal(data, &b); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestPhotonBookTrees(t *testing.T) {
	b := loadBook(t)
	meta := object.DirMeta{Mode: 0o40755}.Encode()
	if got := object.MetadataID(meta).String(); got != b.DirMeta {
		t.Errorf("dirmeta %s", got)
	}
	if got := object.MetadataID(object.DirTree{}.Encode()).String(); got != b.Empty {
		t.Errorf("empty dirtree %s", got)
	}
	links := map[string]object.ID{}
	for target, want := range b.Symlinks {
		got, err := object.ContentID(object.FileInfo{Mode: 0o120777, Target: target}, nil)
		if err != nil || got.String() != want {
			t.Errorf("link to %s: %s, %v", target, got, err)
		}
		links[target] = got
	}
	for _, r := range b.Roots {
		var tree object.DirTree
		for name, target := range r.Tree.Symlinks {
			tree.Files = append(tree.Files, object.TreeFile{Name: name, ID: links[target]})
		}
		for name, sum := range r.Tree.Dirs {
			tree.Dirs = append(tree.Dirs, object.TreeDir{Name: name, Tree: id(t, sum), Meta: id(t, b.DirMeta)})
		}
		tree.Sort()
		root := object.MetadataID(tree.Encode())
		if root.String() != r.Sum {
			t.Errorf("root of %s: %s", r.Branch, root)
		}
		c := object.Commit{Root: root, RootMeta: id(t, b.DirMeta)}
		if got := c.ContentChecksum().String(); r.CSum != "" && got != r.CSum {
			t.Errorf("content checksum of %s: %s", r.Branch, got)
		}
	}
}

func TestPhotonBookCommits(t *testing.T) {
	b := loadBook(t)
	for _, row := range b.Commits {
		values := map[string]gvariant.Value{
			"version":             gvariant.String(row.Version),
			"rpmostree.inputhash": gvariant.String(row.InputHash),
		}
		if row.Repo != nil {
			repo := gvariant.Dict{{Key: "id", Value: gvariant.String(row.Repo.ID)},
				{Key: "timestamp", Value: gvariant.Uint64(gvariant.BE64(row.Repo.Timestamp))}}
			values["rpmostree.rpmmd-repos"] = gvariant.Array("a{sv}", repo.Value())
			var pkgs []gvariant.Value
			for _, p := range row.Packages {
				var fields []gvariant.Value
				for _, f := range p {
					fields = append(fields, gvariant.String(f))
				}
				pkgs = append(pkgs, gvariant.Tuple(fields...))
			}
			values["rpmostree.rpmdb.pkglist"] = gvariant.Array("(sssss)", pkgs...)
		}
		c := object.Commit{Timestamp: row.Timestamp, Root: id(t, row.Root), RootMeta: id(t, b.DirMeta)}
		for _, k := range row.Order {
			c.Metadata.Set(k, values[k])
		}
		data := c.Encode()
		if got := object.MetadataID(data).String(); got != row.ID || row.Size != 0 && len(data) != row.Size {
			t.Errorf("commit %s: %s, %d bytes", row.Version, got, len(data))
		}
		again, err := object.DecodeCommit(data)
		if err != nil || !bytes.Equal(again.Encode(), data) {
			t.Errorf("commit %s decoded and encoded differs, %v", row.Version, err)
		}
	}
}

func TestXattrsAreSortedAndWhole(t *testing.T) {
	var x object.Xattrs
	x.Set("user.b", []byte("2"))
	x.Set("security.capability", []byte{1, 0, 2})
	x.Set("user.b", []byte("3"))
	f := object.FileInfo{UID: 1, GID: 2, Mode: 0o104755, Xattrs: x}
	got, err := object.ReadHeader(bytes.NewReader(f.Header()))
	if err != nil || !reflect.DeepEqual(got, f) {
		t.Errorf("%+v, %v", got, err)
	}
	meta, err := object.DecodeUserMeta(f.EncodeUserMeta())
	if err != nil || !reflect.DeepEqual(meta, f) {
		t.Errorf("%+v, %v", meta, err)
	}
	x[0], x[1] = x[1], x[0]
	if _, err := object.ReadHeader(bytes.NewReader(object.FileInfo{Mode: 0o100644, Xattrs: x}.Header())); err == nil {
		t.Error("attributes out of order were taken")
	}
}

func TestBadNamesAreRefused(t *testing.T) {
	file := func(names ...string) object.DirTree {
		var d object.DirTree
		for _, n := range names {
			d.Files = append(d.Files, object.TreeFile{Name: n})
		}
		return d
	}
	for _, row := range []struct {
		why  string
		tree object.DirTree
	}{
		{"out of the directory", file("..")},
		{"the directory itself", file(".")},
		{"no name", file("")},
		{"a path", file("a/b")},
		{"twice", file("a", "a")},
		{"out of order", file("b", "a")},
		{"too long", file(strings.Repeat("n", 256))},
		{"file and directory", object.DirTree{Files: file("a").Files, Dirs: []object.TreeDir{{Name: "a"}}}},
	} {
		if _, err := object.DecodeDirTree(row.tree.Encode()); err == nil {
			t.Errorf("%s: taken", row.why)
		}
	}
}

func TestBadInfosAreRefused(t *testing.T) {
	for _, f := range []object.FileInfo{
		{Mode: 0o040755}, {Mode: 0o010644}, {Mode: 0o120777}, {Mode: 0o100644, Target: "x"}, {Mode: 0o1100644},
	} {
		if _, err := object.ReadHeader(bytes.NewReader(f.Header())); err == nil {
			t.Errorf("%+v was taken", f)
		}
	}
	if _, err := object.DecodeDirMeta(object.DirMeta{Mode: 0o100644}.Encode()); err == nil {
		t.Error("a dirmeta with the mode of a file was taken")
	}
}

func FuzzDecode(f *testing.F) {
	for name, data := range golden(f) {
		_, kind, _ := strings.Cut(name, ".")
		f.Add(kind, data)
	}
	f.Fuzz(func(t *testing.T, kind string, data []byte) {
		switch kind {
		case "filez":
			if info, size, err := object.ReadArchiveHeader(bytes.NewReader(data)); err == nil {
				if got := info.ArchiveHeader(size); !bytes.HasPrefix(data, got) {
					t.Errorf("%x is taken and written as %x", data, got)
				}
			}
		case "commit", "dirtree", "dirmeta":
			if again, err := reencode(kind, data); err == nil && !bytes.Equal(again, data) {
				t.Errorf("%s %x is taken and written as %x", kind, data, again)
			}
		}
	})
}
