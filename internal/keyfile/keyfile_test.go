package keyfile_test

import (
	"slices"
	"testing"

	"photree/internal/keyfile"
)

const sample = `# the repository
[core]
repo_version=1
mode = bare

# where updates come from
[remote "photon"]
url=http://host/repo?a=b#c;d
gpg-verify=false
branches=a;b;
spaced=\sx\ty\\

[empty]
`

func TestFormatKeepsBytes(t *testing.T) {
	for _, text := range []string{sample, "", "[a]\nx=1", "\n\n# only\n", "[a]\n\n[b]\n"} {
		f, err := keyfile.Parse([]byte(text))
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if got := string(f.Format()); got != text {
			t.Errorf("read and written:\n%q\nwant\n%q", got, text)
		}
	}
}

func TestGet(t *testing.T) {
	f, err := keyfile.Parse([]byte(sample + "[core]\nmode=archive\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct{ group, key, want string }{
		{"core", "repo_version", "1"},
		{"core", "mode", "archive"}, // the last of two wins
		{`remote "photon"`, "url", "http://host/repo?a=b#c;d"},
		{`remote "photon"`, "spaced", " x\ty\\"},
		{"core", "nothing", ""},
	} {
		if got, _ := f.Get(row.group, row.key); got != row.want {
			t.Errorf("%s.%s is %q, want %q", row.group, row.key, got, row.want)
		}
	}
	if got := f.List(`remote "photon"`, "branches"); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("list: %q", got)
	}
	if v, err := f.Bool(`remote "photon"`, "gpg-verify", true); v || err != nil {
		t.Errorf("bool: %v, %v", v, err)
	}
	if _, err := f.Bool("core", "mode", true); err == nil {
		t.Error("\"archive\" was read as true or false")
	}
	if got := f.Groups(); !slices.Equal(got, []string{"core", `remote "photon"`, "empty"}) {
		t.Errorf("groups: %q", got)
	}
}

func TestSetAndDelete(t *testing.T) {
	f, err := keyfile.Parse([]byte("# top\n[a]\nx=1\n# of x\n\n[b]\ny=2\n"))
	if err != nil {
		t.Fatal(err)
	}
	f.Set("a", "x", "one")
	f.Set("a", "z", " lead\nbreak")
	f.Set("c", "new", "3")
	f.Delete("b", "y")
	want := "# top\n[a]\nx=one\n# of x\nz=\\slead\\nbreak\n\n[b]\n\n[c]\nnew=3\n"
	if got := string(f.Format()); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if v, _ := f.Get("a", "z"); v != " lead\nbreak" {
		t.Errorf("z is %q", v)
	}
	f.DeleteGroup("a")
	if f.Has("a") || !f.Has("b") {
		t.Errorf("after deleting [a]:\n%s", f.Format())
	}
}

func TestParseRefuses(t *testing.T) {
	for _, text := range []string{"x=1\n", "[a\n", "[a]b\n", "[a]\nword\n", "[a]\n=1\n", "[a]\nx=\x00\n", "[a]\nx=\xff\n", "[]\n"} {
		if _, err := keyfile.Parse([]byte(text)); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}

// FuzzParse checks that what is taken is written back unchanged, and that a value that is set is read back.
func FuzzParse(f *testing.F) {
	f.Add(sample, "a value")
	f.Add("[a]\nx=\\", " \\s;")
	f.Fuzz(func(t *testing.T, text, value string) {
		k, err := keyfile.Parse([]byte(text))
		if err != nil {
			return
		}
		if got := string(k.Format()); got != text {
			t.Fatalf("read %q, wrote %q", text, got)
		}
		k.Set("group", "key", value)
		again, err := keyfile.Parse(k.Format())
		if err != nil {
			return // a value that is no text
		}
		if got, _ := again.Get("group", "key"); got != value {
			t.Fatalf("set %q, read %q in %q", value, got, k.Format())
		}
	})
}
