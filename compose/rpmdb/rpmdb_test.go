package rpmdb

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"photree/compose/rpm"
)

// run runs a tool of the host and gives its output.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s%s(the package rpm must be installed)", name, strings.Join(args, " "), err, out, stderr.Bytes())
	}
	return string(out)
}

// everything builds the package of testdata with the real rpmbuild.
func everything(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	run(t, "rpmbuild", "-bb", "--quiet", "--define", "_topdir "+dir+"/top", "--define", "_rpmdir "+dir, "--define", "buildroot "+dir+"/root", "testdata/everything.spec")
	return filepath.Join(dir, "noarch", "everything-1.0-1.noarch.rpm")
}

func openAll(t *testing.T, files ...string) []Entry {
	t.Helper()
	var out []Entry
	for _, f := range files {
		p, err := rpm.Open(f)
		if err != nil {
			t.Fatal(err)
		}
		p.Close()
		out = append(out, Entry{Package: p})
	}
	return out
}

// dump gives the tables of a database as text: schema, index rows, and the
// stored headers with the two times taken out.
func dump(t *testing.T, file string) []string {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+file+"?mode=ro")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var out []string
	query := func(q string, f func(rows *sql.Rows) string) {
		rows, err := db.Query(q)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		for rows.Next() {
			out = append(out, f(rows))
		}
	}
	query(`SELECT sql FROM sqlite_master WHERE sql NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY name`, func(r *sql.Rows) string {
		var s string
		r.Scan(&s)
		return s
	})
	for _, x := range indexes {
		if x.tag == tagInstallTID {
			continue
		}
		query(fmt.Sprintf(`SELECT key, hnum, idx FROM '%s' ORDER BY rowid`, x.table), func(r *sql.Rows) string {
			var k any
			var h, i int
			r.Scan(&k, &h, &i)
			return fmt.Sprintf("%s: %x (%T %s) package %d at %d", x.table, k, k, k, h, i)
		})
	}
	query(`SELECT blob FROM Packages ORDER BY hnum`, func(r *sql.Rows) string {
		var b []byte
		r.Scan(&b)
		return fmt.Sprintf("%x", withoutTimes(b))
	})
	return out
}

func withoutTimes(b []byte) []byte {
	n := binary.BigEndian.Uint32(b)
	data := b[8+16*n:]
	for i := uint32(0); i < n; i++ {
		e := b[8+16*i:]
		if tag := binary.BigEndian.Uint32(e); tag == tagInstallTime || tag == tagInstallTID {
			clear(data[binary.BigEndian.Uint32(e[8:]):][:4])
		}
	}
	return b
}

// What the real rpm writes is what Write writes: schema, every row of every
// index, every byte of the header. A package with one of everything, and others'
// packages with every kind of signature that this rpm knows.
func TestWriteAsRPM(t *testing.T) {
	for _, file := range []string{
		everything(t), "testdata/hello-2.0-1.x86_64-badima.rpm", "testdata/imatest-1.0-1.fc34.noarch.rpm",
		"../rpm/testdata/signed/hello-2.0-1.x86_64-v3-signed.rpm", "../rpm/testdata/signed/v4-ed25519.rpm",
	} {
		dir := t.TempDir()
		run(t, "rpm", "--dbpath", dir+"/real", "--justdb", "--noscripts", "--notriggers", "--nodeps", "--nosignature", "--ignorearch", "-i", file)
		if err := os.Mkdir(dir+"/ours", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := Write(context.Background(), dir+"/ours/"+Name, openAll(t, file), WriteOptions{Time: 1}); err != nil {
			t.Fatal(err)
		}
		want, got := dump(t, dir+"/real/"+Name), dump(t, dir+"/ours/"+Name)
		for i := range max(len(want), len(got)) {
			if i >= len(want) || i >= len(got) || want[i] != got[i] {
				t.Errorf("%s: row %d differs:\nrpm  %s\nours %s", file, i, at(want, i), at(got, i))
				break
			}
		}
	}
}

func at(list []string, i int) string {
	if i < len(list) {
		return list[i]
	}
	return "(none)"
}

// The real rpm answers queries from a database of ours.
func TestQueriesOfRPM(t *testing.T) {
	file := everything(t)
	dir := t.TempDir()
	if err := Write(context.Background(), dir+"/"+Name, openAll(t, file), WriteOptions{Time: 1700000000}); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(dir + "/" + Name)
	if err != nil {
		t.Fatal(err)
	}
	const nevra = "everything-1.0-1.noarch"
	for _, q := range []struct{ args, want string }{
		{"-qa", nevra},
		{"-q everything", nevra},
		{"-q --whatprovides virtual2", nevra},
		{"-q --whatrequires plain", nevra},
		{"-q --whatrecommends r2", nevra},
		{"-q --whatconflicts enemy", nevra},
		{"-q --whatobsoletes ancestor", nevra},
		{"-qf /usr/bin/everything-too", nevra},
		{"-q --triggeredby watched2", nevra},
		{"-ql everything", "/usr/share/doc/everything/README"},
		{"-qg System/Test", nevra},
		{"-q --qf %{INSTALLTIME} everything", "1700000000"},
		{"-q --qf %{SHA256HEADER} everything", strings.TrimSpace(run(t, "rpm", "-qp", "--qf", "%{SHA256HEADER}", file))},
	} {
		got := run(t, "rpm", append([]string{"--dbpath", dir}, strings.Fields(q.args)...)...)
		if !strings.Contains(got, q.want) {
			t.Errorf("rpm %s: got %q, want %q", q.args, got, q.want)
		}
	}
	after, err := os.ReadFile(dir + "/" + Name)
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("a query changed the database (%v)", err)
	}
	run(t, "rpm", "--dbpath", dir, "--verifydb")
}

// The same packages give the same bytes (R6).
func TestDeterministic(t *testing.T) {
	e := openAll(t, everything(t))
	var files [2][]byte
	for i := range files {
		name := filepath.Join(t.TempDir(), Name)
		if err := Write(context.Background(), name, e, WriteOptions{Time: 5}); err != nil {
			t.Fatal(err)
		}
		files[i], _ = os.ReadFile(name)
	}
	if !bytes.Equal(files[0], files[1]) {
		t.Error("two databases of the same packages differ")
	}
	if err := Write(context.Background(), "testdata/everything.spec", e, WriteOptions{}); err == nil {
		t.Error("an existing file was overwritten")
	}
}

// Read copes with a database that the real rpm left in write-ahead mode, and
// writes nothing beside it.
func TestReadOfRPM(t *testing.T) {
	dir := t.TempDir()
	run(t, "rpm", "--dbpath", dir, "--justdb", "--noscripts", "--notriggers", "--nodeps", "-i", everything(t))
	for _, f := range []string{"-wal", "-shm"} {
		os.Remove(filepath.Join(dir, Name+f))
	}
	pkgs, err := Read(context.Background(), filepath.Join(dir, Name))
	if err != nil {
		t.Fatal(err)
	}
	if len(pkgs) != 1 || pkgs[0].String() != "everything-2:1.0-1.noarch" || len(pkgs[0].Files) == 0 {
		t.Errorf("got %v", NEVRAs(pkgs))
	}
	list, _ := os.ReadDir(dir)
	for _, e := range list {
		if strings.HasPrefix(e.Name(), Name) && e.Name() != Name {
			t.Errorf("reading made %s", e.Name())
		}
	}
}

func TestReadDamaged(t *testing.T) {
	for name, data := range map[string][]byte{
		"empty": nil, "text": []byte("hello"), "header only": append([]byte("SQLite format 3\x00"), make([]byte, 600)...),
	} {
		if _, err := ReadBytes(context.Background(), bytes.Clone(data)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestDiff(t *testing.T) {
	parse := func(list string) []rpm.NEVRA {
		var out []rpm.NEVRA
		for _, s := range strings.Fields(list) {
			n, ok := rpm.ParseNEVRA(s)
			if !ok {
				t.Fatalf("%q is no NEVRA", s)
			}
			out = append(out, n)
		}
		return out
	}
	for _, c := range []struct{ what, old, new, up, down, removed, added string }{
		{"nothing changed", "a-1-1.x86_64 b-1-1.noarch", "b-1-1.noarch a-1-1.x86_64", "", "", "", ""},
		{"an upgrade by epoch", "a-2-1.x86_64", "a-1:1-1.x86_64", "a-1:1-1.x86_64", "", "", ""},
		{"a downgrade", "a-2-1.x86_64", "a-2~rc1-1.x86_64", "", "a-2~rc1-1.x86_64", "", ""},
		{"one goes, one comes", "a-1-1.x86_64", "b-1-1.x86_64", "", "", "a-1-1.x86_64", "b-1-1.x86_64"},
		{"another architecture", "a-1-1.noarch", "a-2-1.x86_64", "a-2-1.x86_64", "", "", ""},
		{"two architectures stay apart", "a-1-1.i686 a-1-1.x86_64", "a-2-1.i686 a-2-1.x86_64", "a-2-1.i686 a-2-1.x86_64", "", "", ""},
		{"a second kernel", "k-1-1.x86_64", "k-1-1.x86_64 k-2-1.x86_64", "", "", "", "k-2-1.x86_64"},
	} {
		d := Diff(parse(c.old), parse(c.new))
		str := func(l []rpm.NEVRA) string {
			var out []string
			for _, n := range l {
				out = append(out, n.String())
			}
			return strings.Join(out, " ")
		}
		news := func(l []Change) string {
			var out []rpm.NEVRA
			for _, x := range l {
				out = append(out, x.New)
			}
			return str(out)
		}
		if news(d.Upgraded) != c.up || news(d.Downgraded) != c.down || str(d.Removed) != c.removed || str(d.Added) != c.added {
			t.Errorf("%s: got %+v", c.what, d)
		}
	}
}
