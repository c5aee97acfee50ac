package prepareroot

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Main runs the program that args[0] names: ostree-prepare-root, ostree-remount or ostree-system-generator. They are
// one program with three names, since each alone would be the Go runtime and little else. It returns the exit status.
func Main(args []string, stderr io.Writer) int {
	name := filepath.Base(args[0])
	var err error
	switch name {
	case "ostree-remount":
		err = Remount("/")
	case "ostree-system-generator":
		err = generatorMain(args[1:])
	default:
		err = prepareMain(args[1:], stderr)
	}
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", name, err)
		return 1
	}
	return 0
}

func prepareMain(args []string, stderr io.Writer) error {
	if len(args) != 1 {
		return fmt.Errorf("usage: ostree-prepare-root SYSROOT")
	}
	_, err := Run(Options{Sysroot: args[0], Log: func(s string) { fmt.Fprintf(stderr, "ostree-prepare-root: %s\n", s) }})
	return err
}

func generatorMain(args []string) error {
	if len(args) < 1 {
		return fmt.Errorf("usage: ostree-system-generator NORMAL-DIR [EARLY-DIR LATE-DIR]")
	}
	cmdline, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return fmt.Errorf("reading the kernel command line: %w", err)
	}
	return Generate("/", string(cmdline), args[0])
}
