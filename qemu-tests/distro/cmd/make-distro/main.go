// Command make-distro makes the test distribution, or finds it in the cache, and links it to a directory.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"photree/qemu-tests/distro"
)

func main() {
	out := flag.String("o", "", "make this a link to the distribution")
	trees := flag.String("treefiles", "", "write a treefile for each release into v1 and v2 of this directory")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *out, *trees); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out, trees string) error {
	start := time.Now()
	d, err := distro.Make(ctx, distro.Options{Progress: func(step string) {
		fmt.Printf("%6.1f s  %s\n", time.Since(start).Seconds(), step)
	}})
	if err != nil {
		return err
	}
	for _, name := range []string{"v1", "v2"} {
		r := d.Manifest.Releases[name]
		if trees != "" {
			dir := filepath.Join(trees, name)
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return err
			}
			repos := []distro.RepoURL{{ID: "photree-test", URL: "file://" + d.Repo(name)}}
			if _, err := distro.WriteTreefile(dir, distro.TreefileOptions{Repos: repos}); err != nil {
				return err
			}
		}
		fmt.Printf("%s: %d packages, %d MB installed, kernel %s: %s\n", name, len(r.Packages), r.Installed/1e6, r.Kernel, d.Repo(name))
	}
	if out == "" {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return err
	}
	if err := os.Remove(out); err != nil && !os.IsNotExist(err) {
		return err
	}
	return os.Symlink(d.Dir, out)
}
