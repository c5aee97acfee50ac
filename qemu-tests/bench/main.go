// Command bench measures photree and stock ostree side by side, on the same
// tree and in the same run, and writes the table of docs/benchmarks.md.
//
// It composes both releases of the test distribution, checks them out, and
// runs every work several times, photree and stock in turn, so that noise of
// the machine meets both. It reports medians, and ratios of medians. It needs
// bin/photree, stock ostree and root; it asserts nothing.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"photree/qemu-tests/distro"
)

func main() {
	out := flag.String("o", "", "replace the measured part of this Markdown page (default: print only)")
	work := flag.String("work", "out/bench", "scratch directory; removed and made again")
	runs := flag.Int("n", 5, "runs of each work; the median counts")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *out, *work, *runs); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// bench holds what the works share.
type bench struct {
	dir     string // absolute scratch directory
	photree string // absolute path of bin/photree
	runs    int
	v1      string // commit of the first release
	report  bytes.Buffer
}

func run(ctx context.Context, page, work string, runs int) error {
	dir, err := filepath.Abs(work)
	if err != nil {
		return err
	}
	bin, err := filepath.Abs("bin/photree")
	if err != nil {
		return err
	}
	if _, err := os.Stat(bin); err != nil {
		return fmt.Errorf("looking for photree: %w; run `make build` first", err)
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	b := &bench{dir: dir, photree: bin, runs: runs}
	if err := b.prepare(ctx); err != nil {
		return err
	}
	rows, err := b.measure(ctx)
	if err != nil {
		return err
	}
	b.table(rows)
	if err := b.images(ctx); err != nil {
		return err
	}
	if err := b.boots(ctx); err != nil {
		return err
	}
	fmt.Print(b.report.String())
	if page == "" {
		return nil
	}
	return replaceMeasured(page, b.report.String())
}

// path joins names below the scratch directory.
func (b *bench) path(names ...string) string {
	return filepath.Join(append([]string{b.dir}, names...)...)
}

// command runs one program quietly; its output goes into the error.
func command(ctx context.Context, argv ...string) error {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("running %s: %w\n%s", strings.Join(argv, " "), err, out)
	}
	return nil
}

// prepare composes both releases into one archive repository and checks them out.
func (b *bench) prepare(ctx context.Context) error {
	fmt.Fprintln(os.Stderr, "bench: preparing the trees")
	d, err := distro.Make(ctx, distro.Options{})
	if err != nil {
		return err
	}
	if err := command(ctx, b.photree, "ostree", "--repo="+b.path("repo"), "init", "--mode=archive"); err != nil {
		return err
	}
	for _, release := range []string{"v1", "v2"} {
		dir := b.path("treefile-" + release)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		treefile, err := distro.WriteTreefile(dir, distro.TreefileOptions{
			Repos: []distro.RepoURL{{ID: "distro", URL: "file://" + d.Repo(release)}},
		})
		if err != nil {
			return err
		}
		start := time.Now()
		if err := command(ctx, b.photree, "compose", "tree", "--repo="+b.path("repo"), "--cachedir="+b.path("cache"), treefile); err != nil {
			return err
		}
		fmt.Fprintf(&b.report, "Compose of %s: %s.\n", release, seconds(time.Since(start)))
		if release == "v1" {
			id, err := exec.CommandContext(ctx, "ostree", "--repo="+b.path("repo"), "rev-parse", distro.Ref).Output()
			if err != nil {
				return fmt.Errorf("looking up the commit of %s: %w", release, err)
			}
			b.v1 = strings.TrimSpace(string(id))
		}
		// Both releases share a branch: each is checked out while it is the head.
		if err := command(ctx, "ostree", "--repo="+b.path("repo"), "checkout", distro.Ref, b.path("tree-"+release)); err != nil {
			return err
		}
	}
	return nil
}
