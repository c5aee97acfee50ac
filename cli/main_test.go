package cli

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// echoTree is a tree whose only verb prints what it was given.
func echoTree(env *Env) *cobra.Command {
	root := &cobra.Command{Use: "tool", Short: "A tool"}
	AddVersion(root, "tool", "one", "two")
	group := &cobra.Command{Use: "group", Short: "A group"}
	group.PersistentFlags().String("root", "", "The `DIR`")
	verb := &cobra.Command{Use: "verb ARG...", Short: "A verb"}
	verb.Flags().StringP("name", "n", "", "A `NAME`")
	verb.Flags().BoolP("all", "a", false, "All")
	verb.Flags().Int("depth", 0, "How `DEPTH`")
	verb.RunE = func(c *cobra.Command, args []string) error {
		f := c.Flags()
		all, _ := f.GetBool("all")
		depth, _ := f.GetInt("depth")
		fmt.Fprintf(env.Stdout, "root=%s name=%s all=%v depth=%d args=%q\n", f.Lookup("root").Value, f.Lookup("name").Value, all, depth, args)
		return nil
	}
	stop := &cobra.Command{Use: "stop", Short: "A verb with a status", RunE: func(*cobra.Command, []string) error {
		return fmt.Errorf("stopping: %w", &ExitError{Code: 77, Err: errors.New("nothing to do")})
	}}
	quiet := &cobra.Command{Use: "quiet", Short: "A verb with a status only", RunE: func(*cobra.Command, []string) error {
		return &ExitError{Code: 3}
	}}
	group.AddCommand(verb, stop, quiet)
	root.AddCommand(group)
	AddVerbose(root)
	return root
}

func TestMainRunsATree(t *testing.T) {
	for _, row := range []struct {
		args   string
		status int
		out    string // what is printed contains it
	}{
		{"group verb x y", 0, `root= name= all=false depth=0 args=["x" "y"]`},
		{"group verb -an N x --depth -1", 0, `root= name=N all=true depth=-1 args=["x"]`},
		{"--root=/r group verb", 0, `root=/r name= `},
		{"group --root /r verb", 0, `root=/r name= `},
		{"group verb --root /r", 0, `root=/r name= `},
		{"--depth=2 --all group verb x", 0, `all=true depth=2 args=["x"]`},
		{"-v group -a verb x", 0, `all=true depth=0 args=["x"]`},
		{"group verb -- --depth", 0, `args=["--depth"]`},
		{"--version", 0, "tool:\n Version: '9'\n Features:\n  - one\n  - two\n"},
		{"group verb --version", 0, "Version: '9'"},
		{"group verb --help", 0, "Usage:\n  tool group verb [OPTION…] ARG...\n\nA verb\n"},
		{"", 1, "error: No command specified\n"},
		{"group", 1, "error: No \"group\" subcommand specified\n"},
		{"nothing", 1, "error: Unknown command 'nothing'\n"},
		{"group nothing", 1, "error: Unknown \"group\" subcommand 'nothing'\n"},
		{"group verb --nothing", 1, "error: Unknown option --nothing\n"},
		{"group verb -z", 1, "error: Unknown option -z\n"},
		{"group verb --name", 1, "error: Missing argument for --name\n"},
		{"group verb -n", 1, "error: Missing argument for -n\n"},
		{"group verb --depth=x", 1, "error: Cannot parse value 'x' for --depth\n"},
		{"group stop", 77, "error: stopping: nothing to do\n"},
		{"group quiet", 3, ""},
	} {
		var out bytes.Buffer
		env := &Env{Ctx: t.Context(), Name: "tool", Args: strings.Fields(row.args), Stdin: strings.NewReader(""), Stdout: &out, Stderr: &out, Version: "9"}
		if status := Main(env, echoTree(env)); status != row.status {
			t.Errorf("tool %s: status %d, want %d", row.args, status, row.status)
		}
		if !strings.Contains(out.String(), row.out) || row.out == "" && out.Len() > 0 {
			t.Errorf("tool %s: prints %q, want %q in it", row.args, out.String(), row.out)
		}
	}
}

func TestFormatSize(t *testing.T) {
	for n, want := range map[int64]string{0: "0 bytes", 1: "1 byte", 999: "999 bytes", 1000: "1.0\u00a0kB", 999949: "999.9\u00a0kB", 999951: "1.0\u00a0MB", 1234567890: "1.2\u00a0GB"} {
		if got := FormatSize(n); got != want {
			t.Errorf("%d is written %q, want %q", n, got, want)
		}
	}
}

func TestManPageKeepsTextFromBeingRoff(t *testing.T) {
	page := ManPage(&cobra.Command{Use: "tool", Short: "A tool", Long: ".so evil\n'x\nback\\slash - dash"}, "1")
	for _, want := range []string{"\n\\&.so evil\n", "\n\\&'x\n", `back\eslash \- dash`} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q:\n%s", want, page)
		}
	}
}
