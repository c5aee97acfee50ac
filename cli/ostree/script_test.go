package ostree_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"regexp"
	"testing"

	"photree/cli"
	"photree/cli/ostree"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"ostree": func() {
		env := &cli.Env{Ctx: context.Background(), Name: "ostree", Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout,
			Stderr: os.Stderr, Getenv: os.Getenv, Version: "1.2.3"}
		os.Exit(cli.Main(env, ostree.New(env)))
	}})
}

// TestScripts runs the console sessions of testdata/script. Besides the usual commands they have
//
//	stock ARGS...  runs the original ostree
//	same ARGS...   runs both with the same arguments: they must print the same and end with the same status
func TestScripts(t *testing.T) {
	original, err := exec.LookPath("ostree")
	if err != nil {
		t.Fatal("these tests compare with the original ostree: install the package ostree")
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			// A fixed time makes commits that both programs make the same.
			e.Setenv("SOURCE_DATE_EPOCH", "1700000000")
			e.Setenv("TZ", "UTC")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"stock": func(ts *testscript.TestScript, neg bool, args []string) {
				if err := ts.Exec(original, args...); (err != nil) != neg {
					ts.Fatalf("the original ostree: %v", err)
				}
			},
			"same": func(ts *testscript.TestScript, neg bool, args []string) {
				theirs, err1 := run(ts, original, args)
				ours, err2 := run(ts, "ostree", args)
				if (err1 != nil) != neg || (err2 != nil) != neg {
					ts.Fatalf("the original ended with %v, ours with %v\n%s%s", err1, err2, theirs, ours)
				}
				if !bytes.Equal(theirs, ours) {
					ts.Fatalf("the original prints\n%s\nours prints\n%s", theirs, ours)
				}
			},
		},
	})
}

// usageText is what may differ: the layout of the help that goes before an error.
var usageText = regexp.MustCompile(`(?s)Usage:.*\n\n+error`)

func run(ts *testscript.TestScript, program string, args []string) ([]byte, error) {
	err := ts.Exec(program, args...)
	out := ts.ReadFile("stdout") + ts.ReadFile("stderr")
	return usageText.ReplaceAll([]byte(out), []byte("error")), err
}
