// Package photree_test holds the house rules as tests: the import table and
// the invariants of ARCHITECTURE.md, the dependency budget, documentation.
// It parses the tree itself with go/parser: a test that shells out to the go
// command would pass stale from the test cache.
package photree_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "photree"

// sourceFile is one parsed Go file of the module.
type sourceFile struct {
	path string // slash-separated, relative to the root
	pkg  string // its directory: the import path without the module
	test bool
	text string
	ast  *ast.File
	fset *token.FileSet
}

// sources parses every Go file of the module.
func sources(t *testing.T) []sourceFile {
	t.Helper()
	var out []sourceFile
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if path != "." && (strings.HasPrefix(name, ".") || name == "testdata" || name == "bin" || name == "out") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, path, text, parser.ParseComments)
		if err != nil {
			return err
		}
		slash := filepath.ToSlash(path)
		out = append(out, sourceFile{slash, filepath.ToSlash(filepath.Dir(path)), strings.HasSuffix(name, "_test.go"), string(text), f, fset})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) < 20 {
		t.Fatalf("found only %d Go files: is the test running at the root of the module?", len(out))
	}
	return out
}

func (f sourceFile) imports() []string {
	var out []string
	for _, spec := range f.ast.Imports {
		path, _ := strconv.Unquote(spec.Path.Value)
		out = append(out, path)
	}
	return out
}

// importTable reads the table of ARCHITECTURE.md: package -> what it may import.
func importTable(t *testing.T) map[string][]string {
	t.Helper()
	doc, err := os.ReadFile("ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(doc), "<!-- import table")
	if !ok {
		t.Fatal("ARCHITECTURE.md has no import table")
	}
	table, _, _ = strings.Cut(table, "<!-- end -->")
	out := map[string][]string{}
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) != 4 {
			continue
		}
		name := strings.TrimSpace(cells[1])
		if name == "" || name == "package" || strings.HasPrefix(name, "-") {
			continue
		}
		if _, twice := out[name]; twice {
			t.Errorf("ARCHITECTURE.md: package %s stands twice in the import table", name)
		}
		out[name] = strings.Fields(cells[2])
	}
	return out
}

func TestImportTableHolds(t *testing.T) {
	table := importTable(t)
	used := map[string]bool{}
	for _, f := range sources(t) {
		if f.pkg == "." {
			continue
		}
		allowed, known := table[f.pkg]
		if !known {
			if !f.test {
				t.Errorf("%s: package %s is not in the import table of ARCHITECTURE.md", f.path, f.pkg)
			}
			continue
		}
		used[f.pkg] = true
		if f.test { // a test may join rooms
			continue
		}
		for _, path := range f.imports() {
			room, ours := strings.CutPrefix(path, module+"/")
			if ours && !slices.Contains(allowed, room) {
				t.Errorf("%s imports %s, which the import table does not allow", f.path, room)
			}
		}
	}
	for name := range table {
		if !used[name] {
			t.Errorf("ARCHITECTURE.md: package %s of the import table does not exist", name)
		}
	}
}

// TestBootBinariesStayTiny: what runs in the initramfs links the standard
// library (without net/http and encoding/json) and golang.org/x/sys.
func TestBootBinariesStayTiny(t *testing.T) {
	imports := map[string][]string{}
	for _, f := range sources(t) {
		if !f.test {
			imports[f.pkg] = append(imports[f.pkg], f.imports()...)
		}
	}
	for _, root := range []string{"cmd/photree-init", "cmd/ostree-prepare-root"} {
		seen := map[string]bool{}
		var visit func(pkg string)
		visit = func(pkg string) {
			if seen[pkg] {
				return
			}
			seen[pkg] = true
			for _, path := range imports[pkg] {
				room, ours := strings.CutPrefix(path, module+"/")
				switch {
				case ours:
					visit(room)
				case strings.HasPrefix(path, "golang.org/x/sys/"):
				case strings.Contains(strings.Split(path, "/")[0], "."), path == "net/http", path == "encoding/json", path == "crypto/tls":
					t.Errorf("%s links %s through %s: a boot binary must not", root, path, pkg)
				}
			}
		}
		visit(root)
		if len(seen) < 2 {
			t.Errorf("%s: nothing found below it", root)
		}
	}
}

func TestPackagesAreDocumented(t *testing.T) {
	docs := map[string]string{}
	for _, f := range sources(t) {
		if f.test {
			continue
		}
		if _, ok := docs[f.pkg]; !ok {
			docs[f.pkg] = ""
		}
		if f.ast.Doc != nil && len(f.ast.Doc.Text()) > len(docs[f.pkg]) {
			docs[f.pkg] = f.ast.Doc.Text()
		}
		for _, bad := range []string{"util", "utils", "common", "types", "helpers"} {
			if f.ast.Name.Name == bad {
				t.Errorf("%s: a package named %s says nothing", f.path, bad)
			}
		}
	}
	for pkg, doc := range docs {
		if len(doc) < 80 {
			t.Errorf("package %s: its doc must state its contract, and is %q", pkg, doc)
		}
	}
}

func TestExportedNamesAreDocumented(t *testing.T) {
	for _, f := range sources(t) {
		if f.test || f.ast.Name.Name == "main" {
			continue
		}
		for _, decl := range f.ast.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() && exportedReceiver(d) && d.Doc == nil {
					t.Errorf("%s: %s has no doc comment", f.fset.Position(d.Pos()), d.Name)
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					if s, ok := spec.(*ast.TypeSpec); ok && s.Name.IsExported() && d.Doc == nil && s.Doc == nil {
						t.Errorf("%s: type %s has no doc comment", f.fset.Position(s.Pos()), s.Name)
					}
				}
			}
		}
	}
}

// exportedReceiver reports whether d is a function or a method of an exported type.
func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil || len(d.Recv.List) == 0 {
		return true
	}
	switch d.Name.Name { // methods whose contract is their interface's
	case "String", "Error", "Unwrap", "Is", "Len", "Less", "Swap", "Read", "Write", "Close", "ReadAt", "Seek", "ServeHTTP":
		return false
	}
	typ := d.Recv.List[0].Type
	if star, ok := typ.(*ast.StarExpr); ok {
		typ = star.X
	}
	if index, ok := typ.(*ast.IndexExpr); ok {
		typ = index.X
	}
	ident, ok := typ.(*ast.Ident)
	return ok && ident.IsExported()
}

// durableCalls are the calls that make something durable or publish a name.
// Rule: internal/durable owns them, so that a search for its name lists every
// commit point.
var durableCalls = regexp.MustCompile(`\b(os\.Rename|unix\.Rename\w*|unix\.Fsync|unix\.Fdatasync|unix\.Syncfs|unix\.Sync|syscall\.Rename|syscall\.Fsync)\(|\.Sync\(\)`)

// durableElsewhere lists the exceptions, each with its reason.
var durableElsewhere = map[string]string{
	"compose/rootfs/rootdir.go": "moves things inside a tree that is still being made, and is removed when anything fails",
}

func TestOnlyDurablePublishes(t *testing.T) {
	for _, f := range sources(t) {
		if f.test || f.pkg == "internal/durable" || strings.HasPrefix(f.pkg, "qemu-tests") {
			continue
		}
		for i, line := range strings.Split(f.text, "\n") {
			code, _, _ := strings.Cut(line, "//")
			if call := durableCalls.FindString(code); call != "" && durableElsewhere[f.path] == "" {
				t.Errorf("%s:%d calls %s: internal/durable owns fsync and rename", f.path, i+1, call)
			}
		}
	}
}

func TestInvariantsAreCited(t *testing.T) {
	doc, err := os.ReadFile("ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	numbers := regexp.MustCompile(`(?m)^- ([RDB]\d) `).FindAllStringSubmatch(string(doc), -1)
	if len(numbers) < 17 {
		t.Fatalf("found %d invariants in ARCHITECTURE.md, want at least 17", len(numbers))
	}
	files := sources(t)
	for _, m := range numbers {
		cited := regexp.MustCompile(`\b` + m[1] + `\b`)
		code, test := false, false
		for _, f := range files {
			if f.pkg != "." && cited.MatchString(f.text) {
				code = code || !f.test
				test = test || f.test
			}
		}
		if !code {
			t.Errorf("invariant %s: no code says that it upholds it", m[1])
		}
		if !test {
			t.Errorf("invariant %s: no test says that it attacks it", m[1])
		}
	}
}

// directDependencies is the budget: a new one needs a line here and a reason
// in the commit that adds it.
var directDependencies = []string{
	"github.com/ProtonMail/go-crypto", // OpenPGP signatures
	"github.com/cavaliergopher/rpm",   // RPM header tags
	"github.com/diskfs/go-diskfs",     // GPT
	"github.com/goccy/go-yaml",        // treefiles and kickstarts
	"github.com/klauspost/compress",   // zstd, deflate
	"github.com/pkg/xattr",            // extended attributes
	"github.com/rogpeppe/go-internal", // tests: testscript
	"github.com/spf13/cobra",          // command lines
	"github.com/spf13/pflag",          // cobra's flags, for GOption's ways of writing them
	"github.com/ulikunitz/xz",         // xz: writing, and lzma
	"github.com/xi2/xz",               // xz: reading, twice as fast, and with branch filters
	"github.com/yuin/gopher-lua",      // Lua scriptlets
	"golang.org/x/sys",                // system calls
	"golang.org/x/term",               // terminals
	"modernc.org/sqlite",              // rpmdb.sqlite
}

func TestDependencyBudget(t *testing.T) {
	mod, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mod)) {
		fields := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "require "))
		if len(fields) < 2 || !strings.Contains(fields[0], "/") || !strings.HasPrefix(fields[1], "v") || strings.Contains(line, "// indirect") {
			continue
		}
		if !slices.Contains(directDependencies, fields[0]) {
			t.Errorf("go.mod: %s is not in the dependency budget", fields[0])
		}
	}
}

// TestDocumentLinksLead checks the relative links of every Markdown page.
func TestDocumentLinksLead(t *testing.T) {
	pages, _ := filepath.Glob("docs/*.md")
	top, _ := filepath.Glob("*.md")
	link := regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)
	for _, page := range append(pages, top...) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), m[1])); err != nil {
				t.Errorf("%s links to %s, which is not there", page, m[1])
			}
		}
	}
}
