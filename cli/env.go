// Package cli is what the command lines have in common: the streams and arguments of one invocation, running a command
// tree the way ostree's own tools do, and words for people (errors, usage, tables, progress).
//
// It knows no command and imports no other package of this module: the trees live in cli/ostree, cli/rpmostree and
// cli/photree. Nothing here ends the process or touches os.Args; a test runs a whole command by calling Main.
package cli

import (
	"context"
	"io"
	"os"

	"golang.org/x/term"
)

// Env is all that a command may know of the process that runs it.
type Env struct {
	// Ctx ends when the user interrupts the command.
	Ctx context.Context
	// Name is the base name that the program was called by.
	Name string
	// Args are the arguments, without the program's name.
	Args []string
	// Stdin, Stdout and Stderr are the command's streams.
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
	// Getenv reads an environment variable; nil means that the environment is empty.
	Getenv func(string) string
	// Version is the version of the program, as `--version` prints it.
	Version string
}

// Environ returns the value of an environment variable.
func (e *Env) Environ(name string) string {
	if e.Getenv == nil {
		return ""
	}
	return e.Getenv(name)
}

// IsTerminal reports whether w is a terminal that a person looks at.
func IsTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// Width returns the columns of the terminal w, or 80.
func Width(w io.Writer) int {
	if f, ok := w.(*os.File); ok {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 0 {
			return width
		}
	}
	return 80
}
