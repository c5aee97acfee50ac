package ostree

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"photree/cli"

	"github.com/spf13/cobra"
)

// extensionDir is where packages put further verbs, as programs ostree-VERB.
const extensionDir = "/usr/libexec/libostree/ext"

// addExtension gives the tree the verb that was asked for when it has none of that name and there is a program for it.
func addExtension(env *cli.Env, root *cobra.Command) {
	verb, rest := "", []string{}
	for i, arg := range env.Args {
		if !strings.HasPrefix(arg, "-") {
			verb, rest = arg, env.Args[i+1:]
			break
		}
		if arg == "--" {
			return
		}
	}
	if verb == "" || strings.Contains(verb, "/") {
		return
	}
	for _, c := range root.Commands() {
		if c.Name() == verb || c.HasAlias(verb) {
			return
		}
	}
	program := filepath.Join(extensionDir, "ostree-"+verb)
	if _, err := os.Stat(program); err != nil {
		// A directory of PATH that is relative is what the user asked for.
		if program, err = exec.LookPath("ostree-" + verb); err != nil && !errors.Is(err, exec.ErrDot) {
			return
		}
	}
	root.AddCommand(&cobra.Command{Use: verb, Hidden: true, DisableFlagParsing: true,
		RunE: func(*cobra.Command, []string) error {
			err := syscall.Exec(program, append([]string{"ostree-" + verb}, rest...), os.Environ())
			return &os.PathError{Op: "exec", Path: program, Err: err}
		}})
}
