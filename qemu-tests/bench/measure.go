package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"photree/qemu-tests/distro"
)

// work is one thing that both programs do.
type work struct {
	name string
	// before makes the ground for one run in dir, outside of the measurement.
	before func(ctx context.Context, b *bench, tool, dir string) error
	// argv is the command that is measured.
	argv func(b *bench, tool, dir string) []string
}

// sample is what one run cost.
type sample struct {
	wall, cpu time.Duration
	rssKiB    int64
}

// row is one line of the table.
type row struct {
	name         string
	ours, stocks []sample
	note         string
}

// tools are the two programs, called with ostree's command line.
func (b *bench) tool(name string) []string {
	if name == "photree" {
		return []string{b.photree, "ostree"}
	}
	return []string{"ostree"}
}

func initRepo(mode string) func(context.Context, *bench, string, string) error {
	return func(ctx context.Context, b *bench, tool, dir string) error {
		return command(ctx, "ostree", "--repo="+dir, "init", "--mode="+mode)
	}
}

// works is the list of what is measured; url is where the composed repository is served.
func works(url string) []work {
	commit := func(tree string) func(*bench, string, string) []string {
		return func(b *bench, tool, dir string) []string {
			return append(b.tool(tool), "--repo="+dir, "commit", "-b", "bench", "-s", "one", "--tree=dir="+b.path(tree))
		}
	}
	pull := func(b *bench, tool, dir string) []string {
		return append(b.tool(tool), "--repo="+dir, "pull", "origin", distro.Ref)
	}
	addRemote := func(ctx context.Context, b *bench, tool, dir string) error {
		if err := initRepo("bare")(ctx, b, tool, dir); err != nil {
			return err
		}
		return command(ctx, "ostree", "--repo="+dir, "remote", "add", "--no-gpg-verify", "origin", url)
	}
	return []work{
		{"commit into archive, first time", initRepo("archive"), commit("tree-v1")},
		{"commit into bare, first time", initRepo("bare"), commit("tree-v1")},
		{"commit again into bare, nothing changed", func(ctx context.Context, b *bench, tool, dir string) error {
			if err := initRepo("bare")(ctx, b, tool, dir); err != nil {
				return err
			}
			return command(ctx, "ostree", "--repo="+dir, "commit", "-b", "bench", "-s", "one", "--tree=dir="+b.path("tree-v1"))
		}, commit("tree-v1")},
		{"pull archive -> bare over HTTP, from nothing", addRemote, pull},
		{"pull of the second version over HTTP", func(ctx context.Context, b *bench, tool, dir string) error {
			if err := addRemote(ctx, b, tool, dir); err != nil {
				return err
			}
			return command(ctx, "ostree", "--repo="+dir, "pull", "origin", distro.Ref+"@"+b.v1)
		}, pull},
		{"pull-local archive -> bare", initRepo("bare"), func(b *bench, tool, dir string) []string {
			return append(b.tool(tool), "--repo="+dir, "pull-local", b.path("repo"), distro.Ref)
		}},
		{"checkout -H from bare", func(ctx context.Context, b *bench, tool, dir string) error {
			if err := initRepo("bare")(ctx, b, tool, dir); err != nil {
				return err
			}
			return command(ctx, "ostree", "--repo="+dir, "pull-local", b.path("repo"), distro.Ref)
		}, func(b *bench, tool, dir string) []string {
			return append(b.tool(tool), "--repo="+dir, "checkout", "-H", distro.Ref, dir+"/checkout")
		}},
		{"fsck of archive", func(ctx context.Context, b *bench, tool, dir string) error { return nil }, func(b *bench, tool, dir string) []string {
			return append(b.tool(tool), "--repo="+b.path("repo"), "fsck", "-q")
		}},
		{"fsck of bare", func(ctx context.Context, b *bench, tool, dir string) error {
			if err := initRepo("bare")(ctx, b, tool, dir); err != nil {
				return err
			}
			return command(ctx, "ostree", "--repo="+dir, "pull-local", b.path("repo"), distro.Ref)
		}, func(b *bench, tool, dir string) []string {
			return append(b.tool(tool), "--repo="+dir, "fsck", "-q")
		}},
		{deltaWork, func(ctx context.Context, b *bench, tool, dir string) error {
			return os.RemoveAll(b.path("repo", "deltas"))
		}, func(b *bench, tool, dir string) []string {
			return append(b.tool(tool), "--repo="+b.path("repo"), "static-delta", "generate", "--from="+b.v1, "--to="+distro.Ref)
		}},
		{"apply of that delta (stock's) into bare", prepareApply, func(b *bench, tool, dir string) []string {
			return append(b.tool(tool), "--repo="+dir, "static-delta", "apply-offline", b.path("delta", "superblock"))
		}},
	}
}

const deltaWork = "static-delta generate v1 -> v2"

// prepareApply makes a bare repository with the first release, and once a delta that leaves nothing out: with the
// original program, so that both apply the same.
func prepareApply(ctx context.Context, b *bench, tool, dir string) error {
	if err := os.RemoveAll(b.path("repo", "deltas")); err != nil {
		return err
	}
	if _, err := os.Stat(b.path("delta")); err != nil {
		if err := os.Mkdir(b.path("delta"), 0o755); err != nil {
			return err
		}
		if err := command(ctx, "ostree", "--repo="+b.path("repo"), "static-delta", "generate", "--from="+b.v1, "--to="+distro.Ref,
			"--min-fallback-size=0", "--filename="+b.path("delta", "superblock")); err != nil {
			return err
		}
	}
	if err := initRepo("bare")(ctx, b, tool, dir); err != nil {
		return err
	}
	return command(ctx, "ostree", "--repo="+dir, "pull-local", b.path("repo"), b.v1)
}

// deltaNote says how much a client fetches with the delta that a program has made: its files, and what it leaves out.
func deltaNote(ctx context.Context, b *bench, note, tool string) (string, error) {
	out, err := exec.CommandContext(ctx, "ostree", "--repo="+b.path("repo"), "static-delta", "list").Output()
	if err == nil {
		out, err = exec.CommandContext(ctx, "ostree", "--repo="+b.path("repo"), "static-delta", "show", strings.TrimSpace(string(out))).Output()
	}
	if err != nil {
		return note, fmt.Errorf("looking at the delta: %w", err)
	}
	for line := range strings.Lines(string(out)) {
		if size, ok := strings.CutPrefix(line, "Total Size: "); ok {
			note += tool + " " + strings.TrimSpace(size) + "; "
		}
	}
	return note, nil
}

// measure runs every work b.runs times for both programs, in turn.
func (b *bench) measure(ctx context.Context) ([]row, error) {
	url, stop, err := serveRepo(b.path("repo"))
	if err != nil {
		return nil, err
	}
	defer stop()
	var rows []row
	for _, w := range works(url) {
		r := row{name: w.name}
		for i := range b.runs {
			for _, tool := range []string{"photree", "stock"} {
				dir := b.path("run")
				if err := os.RemoveAll(dir); err != nil {
					return nil, err
				}
				if err := w.before(ctx, b, tool, dir); err != nil {
					return nil, err
				}
				// What the preparation wrote must not be flushed on the clock of the work.
				syscall.Sync()
				s, err := measured(ctx, w.argv(b, tool, dir))
				if err != nil {
					return nil, fmt.Errorf("%s: %w", w.name, err)
				}
				if tool == "photree" {
					r.ours = append(r.ours, s)
				} else {
					r.stocks = append(r.stocks, s)
				}
				if i == 0 && w.name == "commit into archive, first time" {
					if r.note, err = sizeNote(r.note, tool, dir); err != nil {
						return nil, err
					}
				}
				if i == 0 && w.name == deltaWork {
					if r.note, err = deltaNote(ctx, b, r.note, tool); err != nil {
						return nil, err
					}
				}
			}
		}
		fmt.Fprintf(os.Stderr, "bench: %-48s photree %8s  stock %8s\n", r.name, seconds(median(r.ours).wall), seconds(median(r.stocks).wall))
		rows = append(rows, r)
	}
	return rows, os.RemoveAll(b.path("run"))
}

// serveRepo serves dir with the standard library's file server, which is
// neither program's own.
func serveRepo(dir string) (url string, stop func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	srv := &http.Server{Handler: http.FileServer(http.Dir(dir)), ReadHeaderTimeout: time.Minute}
	go srv.Serve(l) //nolint:errcheck // ends with Close
	return "http://" + l.Addr().String(), func() { srv.Close() }, nil
}

func measured(ctx context.Context, argv []string) (sample, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	var output strings.Builder
	cmd.Stdout, cmd.Stderr = &output, &output
	start := time.Now()
	err := cmd.Run()
	wall := time.Since(start)
	if err != nil {
		return sample{}, fmt.Errorf("running %s: %w\n%s", strings.Join(argv, " "), err, output.String())
	}
	usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	return sample{wall, cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), usage.Maxrss}, nil
}

// median gives the run in the middle, by wall time.
func median(s []sample) sample {
	sorted := slices.SortedFunc(slices.Values(s), func(a, b sample) int { return int(a.wall - b.wall) })
	return sorted[len(sorted)/2]
}

func sizeNote(note, tool, dir string) (string, error) {
	var bytes int64
	err := filepath.WalkDir(filepath.Join(dir, "objects"), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			bytes += info.Size()
		}
		return err
	})
	return note + fmt.Sprintf("%s %.1f MB; ", tool, float64(bytes)/1e6), err
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }

// table writes the rows as Markdown.
func (b *bench) table(rows []row) {
	fmt.Fprintf(&b.report, "\n| work | photree | stock ostree | ratio of wall times | CPU photree / stock | peak memory photree / stock |\n|---|---|---|---|---|---|\n")
	for _, r := range rows {
		ours, stock := median(r.ours), median(r.stocks)
		fmt.Fprintf(&b.report, "| %s | %s | %s | **%.2f** | %s / %s | %d / %d MB |\n", r.name, seconds(ours.wall), seconds(stock.wall),
			ours.wall.Seconds()/stock.wall.Seconds(), seconds(ours.cpu), seconds(stock.cpu), ours.rssKiB/1024, stock.rssKiB/1024)
	}
	for _, r := range rows {
		if r.note != "" {
			fmt.Fprintf(&b.report, "\nSize of the objects after %q: %s\n", r.name, strings.TrimSuffix(r.note, "; "))
		}
	}
}
