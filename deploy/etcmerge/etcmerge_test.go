package etcmerge

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// fill makes the files of a specification: "name=content", "name/" for a
// directory, "name->target" for a link, "name=content!0600" with a mode,
// "name=content@user.x=y" with an attribute.
func fill(t *testing.T, dir string, spec ...string) {
	t.Helper()
	for _, s := range spec {
		var xattr, mode string
		s, xattr, _ = strings.Cut(s, "@")
		s, mode, _ = strings.Cut(s, "!")
		name, content, isFile := strings.Cut(s, "=")
		name, target, isLink := strings.Cut(name, "->")
		path := filepath.Join(dir, name)
		var err error
		switch {
		case isLink:
			err = errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.Symlink(target, path))
		case isFile:
			err = errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644))
		default:
			err = os.MkdirAll(path, 0o755)
		}
		if err == nil && mode != "" {
			var m uint32
			fmt.Sscanf(mode, "%o", &m)
			err = unix.Chmod(path, m)
		}
		if err == nil && xattr != "" {
			key, value, _ := strings.Cut(xattr, "=")
			err = unix.Setxattr(path, key, []byte(value), 0)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// show is the reverse of fill.
func show(t *testing.T, dir string) string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		info, err := d.Info()
		if err != nil {
			return err
		}
		switch {
		case d.IsDir():
			rel += "/"
		case d.Type()&os.ModeSymlink != 0:
			target, _ := os.Readlink(path)
			rel += "->" + target
		case d.Type().IsRegular():
			data, _ := os.ReadFile(path)
			rel += "=" + string(data)
		default:
			rel += "?"
		}
		if m := info.Mode().Perm(); d.Type()&os.ModeSymlink == 0 && m != 0o644 && m != 0o755 {
			rel += fmt.Sprintf("!%04o", m)
		}
		if x, err := readXattrs(path); err == nil {
			for k, v := range x {
				if strings.HasPrefix(k, "user.") {
					rel += "@" + k + "=" + v
				}
			}
		}
		out = append(out, rel)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	sort.Strings(out)
	return strings.Join(out, " ")
}

func TestMerge(t *testing.T) {
	list := func(s ...string) []string { return s }
	for _, c := range []struct {
		name              string
		base, local, next []string
		want              string
		counts            [3]int // modified, removed, added
		conflicts         []string
		blocked           []string
	}{
		{name: "nothing changed here: the new defaults hold",
			base: list("a=1", "b=1"), local: list("a=1", "b=1"), next: list("a=2", "c=1"), want: "a=2 c=1"},
		{name: "a changed file is kept",
			base: list("a=1"), local: list("a=mine"), next: list("a=1", "b=1"), want: "a=mine b=1", counts: [3]int{1, 0, 0}},
		{name: "a file changed on both sides is kept, and reported",
			base: list("a=1"), local: list("a=mine"), next: list("a=2"), want: "a=mine", counts: [3]int{1, 0, 0}, conflicts: list("a")},
		{name: "the same change on both sides is no conflict",
			base: list("a=1"), local: list("a=2"), next: list("a=2"), want: "a=2", counts: [3]int{1, 0, 0}},
		{name: "an added file is kept, with its new directory",
			base: list(), local: list("d/e/f=x", "g->h"), next: list("z=1"), want: "d/ d/e/ d/e/f=x g->h z=1", counts: [3]int{0, 0, 4}},
		{name: "a file that both sides add is kept, and reported",
			base: list(), local: list("a=mine"), next: list("a=theirs"), want: "a=mine", counts: [3]int{0, 0, 1}, conflicts: list("a")},
		{name: "a removed file stays removed",
			base: list("a=1", "b=1"), local: list("b=1"), next: list("a=1", "b=1"), want: "b=1", counts: [3]int{0, 1, 0}},
		{name: "a removed file that the new defaults change stays removed, and is reported",
			base: list("a=1"), local: list(), next: list("a=2"), want: "", counts: [3]int{0, 1, 0}, conflicts: list("a")},
		{name: "a removed directory stays removed and counts once",
			base: list("d/a=1", "d/b=1", "d.x=1"), local: list("d.x=1"), next: list("d/a=1", "d/b=1", "d/c=1", "d.x=1"), want: "d.x=1", counts: [3]int{0, 1, 0}},
		{name: "a removed file that the new defaults do not have either",
			base: list("a=1"), local: list(), next: list("b=1"), want: "b=1", counts: [3]int{0, 1, 0}},
		{name: "a changed mode is applied to the new content",
			base: list("a=1"), local: list("a=1!0600"), next: list("a=2"), want: "a=2!0600", counts: [3]int{1, 0, 0}},
		{name: "a changed attribute is applied to the new content",
			base: list("a=1"), local: list("a=1@user.x=y"), next: list("a=2"), want: "a=2@user.x=y", counts: [3]int{1, 0, 0}},
		{name: "a removed attribute is removed from the new file",
			base: list("a=1@user.x=y"), local: list("a=1"), next: list("a=2@user.x=y"), want: "a=2", counts: [3]int{1, 0, 0}},
		{name: "the mode of a directory is kept, its new content arrives",
			base: list("d/a=1"), local: list("d/a=1", "d/!0700"), next: list("d/a=2", "d/b=1"), want: "d/!0700 d/a=2 d/b=1", counts: [3]int{1, 0, 0}},
		{name: "a file in a directory that the new defaults drop is kept",
			base: list("d/a=1"), local: list("d/a=mine"), next: list("x=1"), want: "d/ d/a=mine x=1", counts: [3]int{1, 0, 0}},
		{name: "a file that became a link",
			base: list("a=1"), local: list("a->b"), next: list("a=1"), want: "a->b", counts: [3]int{1, 0, 0}},
		{name: "a directory that became a file",
			base: list("d/a=1"), local: list("d=x"), next: list("d/a=1", "d/b=2"), want: "d=x", counts: [3]int{1, 0, 0}},
		{name: "a file here, a directory in the new defaults",
			base: list(), local: list("d=x"), next: list("d/a=1"), want: "d/ d/a=1", blocked: list("d")},
		{name: "a directory here, a file in the new defaults",
			base: list("d/a=1"), local: list("d/a=mine"), next: list("d=x"), want: "d=x", blocked: list("d")},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			d := Dirs{filepath.Join(dir, "base"), filepath.Join(dir, "local"), filepath.Join(dir, "new")}
			for path, spec := range map[string][]string{d.Base: c.base, d.Local: c.local, d.New: c.next} {
				if err := os.Mkdir(path, 0o755); err != nil {
					t.Fatal(err)
				}
				fill(t, path, spec...)
			}
			before := show(t, d.Base) + "|" + show(t, d.Local)
			sum, err := Merge(t.Context(), d)
			var blocked *BlockedError
			if errors.As(err, &blocked) && slices.Equal(blocked.Paths, c.blocked) {
				sum = &Summary{}
			} else if err != nil || c.blocked != nil {
				t.Fatalf("the error is %v", err)
			}
			if got := show(t, d.New); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			if got := [3]int{sum.Modified, sum.Removed, sum.Added}; got != c.counts {
				t.Errorf("modified, removed, added are %v instead of %v", got, c.counts)
			}
			if !slices.Equal(sum.Conflicts, c.conflicts) {
				t.Errorf("conflicts are %q instead of %q", sum.Conflicts, c.conflicts)
			}
			if after := show(t, d.Base) + "|" + show(t, d.Local); before != after {
				t.Errorf("the old trees changed: %s", after)
			}
		})
	}
}

func TestSpecialFilesAndRacesAreNoErrors(t *testing.T) {
	dir := t.TempDir()
	d := Dirs{filepath.Join(dir, "base"), filepath.Join(dir, "local"), filepath.Join(dir, "new")}
	for _, p := range []string{d.Base, d.Local, d.New} {
		if err := os.Mkdir(p, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	fill(t, d.Local, "a=1", "gone/b=1", "c=1")
	if err := unix.Mkfifo(filepath.Join(d.Local, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	var trees [3]Tree
	for i, p := range []string{d.Base, d.Local, d.New} {
		var err error
		if trees[i], err = Scan(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	plan := Plan(trees[0], trees[1], trees[2])
	// Between the look and the copy the system removes files.
	if err := errors.Join(os.RemoveAll(filepath.Join(d.Local, "gone")), os.Remove(filepath.Join(d.Local, "a"))); err != nil {
		t.Fatal(err)
	}
	if err := Apply(t.Context(), plan, d.Local, d.New); err != nil {
		t.Fatal(err)
	}
	if got := show(t, d.New); got != "c=1" {
		t.Errorf("got %s", got)
	}
}

func TestCopyMissingLeavesWhatIsThere(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
	for _, p := range []string{from, to} {
		if err := os.Mkdir(p, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	fill(t, from, "a=1", "d/a=1", "d/b=1!0600", "e->f", "x=1")
	fill(t, to, "a=mine", "d/a=mine", "d/!0700", "x/")
	if err := CopyMissing(t.Context(), from, to); err != nil {
		t.Fatal(err)
	}
	if got, want := show(t, to), "a=mine d/!0700 d/a=mine d/b=1!0600 e->f x/"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
