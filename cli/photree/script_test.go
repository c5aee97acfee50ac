package photree_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"photree/cli"
	"photree/cli/ostree"
	"photree/cli/photree"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"
)

func program(name string, tree func(*cli.Env) *cobra.Command) func() {
	return func() {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		env := &cli.Env{Ctx: ctx, Name: name, Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout,
			Stderr: os.Stderr, Getenv: os.Getenv, Version: "1.2.3"}
		os.Exit(cli.Main(env, tree(env)))
	}
}

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"photree": program("photree", photree.New),
		"ostree":  program("ostree", ostree.New),
	})
}

// TestScripts runs the console sessions of testdata/script. Besides the usual commands they have
//
//	stock ARGS...       runs the original ostree
//	await VAR FILE      waits for FILE and sets VAR to what it holds
func TestScripts(t *testing.T) {
	original, err := exec.LookPath("ostree")
	if err != nil {
		t.Fatal("these tests compare with the original ostree: install the package ostree")
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"stock": func(ts *testscript.TestScript, neg bool, args []string) {
				if err := ts.Exec(original, args...); (err != nil) != neg {
					ts.Fatalf("the original ostree: %v", err)
				}
			},
			"await": func(ts *testscript.TestScript, _ bool, args []string) {
				for range 500 {
					if data, err := os.ReadFile(ts.MkAbs(args[1])); err == nil {
						ts.Setenv(args[0], strings.TrimSpace(string(data)))
						return
					}
					time.Sleep(20 * time.Millisecond)
				}
				ts.Fatalf("%s does not appear", args[1])
			},
		},
	})
}

// run calls photree as a test may: without a process.
func run(t *testing.T, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	env := &cli.Env{Ctx: t.Context(), Name: "photree", Args: args, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Version: "1.2.3"}
	if status := cli.Main(env, photree.New(env)); status != 0 {
		t.Fatalf("photree %s: status %d\n%s", strings.Join(args, " "), status, errs.String())
	}
	return out.String()
}

func TestManualPagesAreTheSameEachTime(t *testing.T) {
	first, second := t.TempDir(), t.TempDir()
	run(t, "man", first)
	run(t, "man", second)
	pages, err := filepath.Glob(filepath.Join(first, "*.1"))
	if err != nil || len(pages) < 40 {
		t.Fatalf("%d pages (%v), want one for each command", len(pages), err)
	}
	for _, page := range pages {
		a, err1 := os.ReadFile(page)
		b, err2 := os.ReadFile(filepath.Join(second, filepath.Base(page)))
		if err1 != nil || err2 != nil || !bytes.Equal(a, b) {
			t.Errorf("%s differs (%v, %v)", filepath.Base(page), err1, err2)
		}
		for line := range strings.Lines(string(a)) {
			// A request of roff that no page of ours has: text has been taken for one.
			if strings.HasPrefix(line, ".") && !strings.ContainsAny(line[1:2], "\\TSBPnf") {
				t.Errorf("%s: stray request %q", filepath.Base(page), line)
			}
		}
	}
	for _, name := range []string{"photree.1", "photree-serve.1", "ostree-commit.1", "ostree-remote-add.1", "ostree-admin-status.1", "rpm-ostree-upgrade.1"} {
		if _, err := os.Stat(filepath.Join(first, name)); err != nil {
			t.Errorf("no page %s", name)
		}
	}
}

func TestCompletionScripts(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		for _, name := range []string{"photree", "ostree", "rpm-ostree"} {
			script := run(t, "completion", shell, "--program="+name)
			if !strings.Contains(script, name) || script != run(t, "completion", shell, "--program="+name) {
				t.Errorf("%s completion of %s is empty or not the same each time", shell, name)
			}
		}
	}
	if out := run(t, "__complete", "ostree", "remote", "show"); !strings.Contains(out, "show-url") {
		t.Errorf("completing `photree ostree remote show` gives %q", out)
	}
	if out := run(t, "__complete", "ostree", "commit", "--skip-if"); !strings.Contains(out, "--skip-if-unchanged") {
		t.Errorf("completing an option gives %q", out)
	}
}

// TestEveryVerbIsDescribed: a verb without a description, or an option without one, is a hole in the manual.
func TestEveryVerbIsDescribed(t *testing.T) {
	env := &cli.Env{Ctx: t.Context(), Name: "photree", Version: "1.2.3"}
	var visit func(c *cobra.Command)
	visit = func(c *cobra.Command) {
		if c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: its description is %q", c.CommandPath(), c.Short)
		}
		for _, f := range cli.Options(c) {
			if f.Usage == "" {
				t.Errorf("%s --%s has no description", c.CommandPath(), f.Name)
			}
		}
		for _, v := range cli.Verbs(c) {
			visit(v)
		}
	}
	root := photree.New(env)
	cli.Prepare(root)
	visit(root)
}
