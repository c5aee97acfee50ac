// Command photree is every command line of photree in one program: called as ostree, rpm-ostree or mkostreerepo it is
// that tool, by any other name it is photree.
package main

import (
	"context"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"photree/cli"
	"photree/cli/ostree"
	"photree/cli/photree"
	"photree/cli/rpmostree"
	"photree/compose/rootfs"

	"github.com/spf13/cobra"
)

// version is set by the linker: -ldflags "-X main.version=1.2.3".
var version = "0.0.0-dev"

var trees = map[string]func(*cli.Env) *cobra.Command{
	"ostree":       ostree.New,
	"rpm-ostree":   rpmostree.New,
	"mkostreerepo": rpmostree.NewMkostreerepo,
}

func main() {
	// Scripts of packages run in this program, started again.
	rootfs.SandboxMain()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	env := &cli.Env{
		Ctx: ctx, Name: filepath.Base(os.Args[0]), Args: os.Args[1:],
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Getenv: os.Getenv, Version: version,
	}
	tree, known := trees[env.Name]
	if !known {
		tree = photree.New
	}
	status := cli.Main(env, tree(env))
	stop()
	os.Exit(status)
}
