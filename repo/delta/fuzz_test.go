package delta_test

import (
	"bytes"
	"crypto/sha256"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"photree/internal/gvariant"
	"photree/repo"
	"photree/repo/delta"
	"photree/repo/object"
)

// part makes a part that is not compressed out of operations.
func part(blob, ops []byte, objects ...object.Name) (delta.Part, []byte) {
	modes := gvariant.Array("(uuu)", gvariant.Tuple(gvariant.Uint32(0), gvariant.Uint32(0), gvariant.Uint32(gvariant.BE32(0o100644))),
		gvariant.Tuple(gvariant.Uint32(0), gvariant.Uint32(0), gvariant.Uint32(gvariant.BE32(0o120777))))
	xattrs := gvariant.Array("a(ayay)", gvariant.Array("(ayay)"))
	payload := gvariant.Tuple(modes, xattrs, gvariant.Bytes(blob), gvariant.Bytes(ops))
	data := append([]byte{0}, payload.Bytes()...)
	return delta.Part{Checksum: sha256.Sum256(data), Size: uint64(len(data)), USize: uint64(len(blob)), Objects: objects}, data
}

var hello = object.Name{Kind: object.KindFile, ID: mustID("44f778e59f0a4748d6b0c90a47347212a231c4ad1e8f7ea5c5dffc7749153a6b")}

func mustID(s string) object.ID {
	id, err := object.ParseID(s)
	if err != nil {
		panic(err)
	}
	return id
}

// hostile is operations that no program writes.
var hostile = []struct {
	name    string
	ops     string
	objects int
	want    string // of the error, empty when it is fine
}{
	{"a whole file", "S\x00\x00\x06\x00", 1, ""},
	{"a file in two pieces", "o\x00\x00\x06w\x02\x00w\x04\x02c", 1, ""},
	{"no operations", "", 1, "1 objects fewer"},
	{"no objects", "S\x00\x00\x06\x00", 0, "more objects than the part lists"},
	{"an unknown operation", "X", 1, "not an operation"},
	{"an argument is missing", "S\x00\x00\x06", 1, "unexpected EOF"},
	{"an argument without end", "S" + strings.Repeat("\xff", 20), 1, "unexpected EOF"},
	{"a mode that is not there", "S\x02\x00\x06\x00", 1, "mode 2 of 2"},
	{"attributes that are not there", "S\x00\x01\x06\x00", 1, "attributes 1 of 1"},
	{"bytes that are not there", "S\x00\x00\x06\x7f", 1, "bytes 127+6"},
	{"bytes around the end of numbers", "S\x00\x00\x06\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 1, "bytes 18446744073709551615+6"},
	{"another content", "S\x00\x00\x05\x00", 1, "has the checksum"},
	{"a link with a NUL", "S\x01\x00\x07\x06", 1, "not a symlink target"},
	{"a link that is opened", "o\x01\x00\x06", 1, "not that of a regular file"},
	{"a file in a file", "o\x00\x00\x06o\x00\x00\x06", 2, "open already"},
	{"a write without a file", "w\x01\x00", 1, "no file is open"},
	{"a close without a file", "c", 1, "no file is open"},
	{"too long", "o\x00\x00\x06w\x07\x00", 1, "more than the file has"},
	{"too short", "o\x00\x00\x06w\x05\x00c", 1, "1 bytes too short"},
	{"never closed", "o\x00\x00\x06w\x06\x00", 1, "within an object"},
	{"endless", "o\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\x7f", 1, "a file of"},
	{"a patch of nothing", "o\x00\x00\x06B\x00\x06c", 1, "no source"},
	{"a source outside", "o\x00\x00\x06r\x01", 1, "bytes 1+32"},
	{"a source that is not here", "o\x00\x00\x06r\x00w\x06\x00c", 1, "Couldn't find file object"},
	{"a patch that claims too much", "o\x00\x00\x06r\x00B\x00\x02c", 1, ""},
}

func TestHostileOperations(t *testing.T) {
	for _, c := range hostile {
		r := newRepo(t, repo.ModeArchive)
		blob := append([]byte("hello\n\x00"), bytes.Repeat([]byte{1}, 25)...)
		names := []object.Name{hello, {Kind: object.KindFile, ID: mustID(strings.Repeat("ab", 32))}}[:c.objects]
		h, data := part(blob, []byte(c.ops), names...)
		err := apply(r, &delta.Superblock{Parts: []delta.Part{h}}, data)
		switch {
		case c.name == "a patch that claims too much":
			if err == nil {
				t.Errorf("%s: no error", c.name)
			}
		case c.want == "" && err != nil, c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

func apply(r *repo.Repo, s *delta.Superblock, data []byte) error {
	txn, err := r.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = txn.Abort() }()
	return s.ApplyPart(ctx, txn, 0, data)
}

func TestDamagedDeltas(t *testing.T) {
	r, a, b := twoCommits(t)
	if _, err := delta.Generate(ctx, r, delta.GenerateOptions{From: a, To: b, Inline: true}); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(filepath.Join(r.Path(), delta.SuperblockPath(a, b)))
	if err != nil {
		t.Fatal(err)
	}
	dst := clone(t, r, repo.ModeBareUser, a)
	path := filepath.Join(t.TempDir(), "delta")
	try := func(what string, data []byte) {
		t.Helper()
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := delta.Apply(ctx, dst, path, delta.ApplyOptions{}); err == nil {
			t.Errorf("%s: applied", what)
		}
		if has, _ := dst.HasObject(object.Name{ID: b, Kind: object.KindCommit}); has {
			t.Errorf("%s: the commit is published", what)
		}
	}
	for i := range 40 {
		n := len(whole) * i / 40
		try("cut off", whole[:n])
	}
	for i := range 40 {
		data := bytes.Clone(whole)
		data[len(data)*(2*i+1)/80] ^= 0x10
		// A few bytes do not matter: the time, the sizes that nothing is checked against.
		if s, err := delta.Decode(data); err == nil && s.To == b {
			continue
		}
		try("flipped", data)
	}
	other := newRepo(t, repo.ModeBareUser)
	if err := os.WriteFile(path, whole, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := delta.Apply(ctx, other, path, delta.ApplyOptions{}); err == nil || !strings.Contains(err.Error(), "which is the delta source, is not in repository") {
		t.Errorf("without the source: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(golden(f))
	f.Add(delta.Wrap(golden(f), gvariant.Dict{{Key: "ostree.sign.ed25519", Value: gvariant.Array("ay", gvariant.Bytes([]byte("x")))}}))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := delta.Decode(data)
		if err != nil {
			return
		}
		for i := range s.Parts {
			if part, ok := s.Inline(i); ok {
				_, _ = s.InspectPart(i, part, t.TempDir())
			}
		}
		if again := s.Encode(); !s.Signed && !s.Guessed && !bytes.Equal(again, data) {
			t.Error("decoded and encoded it has other bytes")
		}
	})
}

func FuzzOperations(f *testing.F) {
	for _, c := range hostile {
		f.Add([]byte("hello\n\x00"), []byte(c.ops), byte(c.objects))
	}
	r := newRepo(f, repo.ModeArchive)
	f.Fuzz(func(t *testing.T, blob, ops []byte, objects byte) {
		names := make([]object.Name, objects%8)
		for i := range names {
			names[i] = object.Name{Kind: object.Kind(1 + i%3), ID: hello.ID}
		}
		h, data := part(blob, ops, names...)
		_ = apply(r, &delta.Superblock{Parts: []delta.Part{h}}, data)
	})
}
