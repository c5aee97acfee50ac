// Command powercut cuts the power of a machine at any write of photree's commands, without a machine: it records every
// write and flush that a command causes on the disks, makes the disks as they are after a cut at any of these, and looks
// at them as GRUB does, which replays no journal, and as the kernel does, which replays it.
//
// The disks are files of a FUSE file system that this process serves, under loop devices. All happens in a mount
// namespace of its own, so that nothing is left when it is killed. It needs root.
//
//	powercut [-workload NAME] [-layout NAME] [-points N] [-seed S] [-o REPORT]
//	powercut -log FILE -point N -seed S     looks at a single point again
//
// docs/reliability.md says what is checked and what that means.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

type options struct {
	workload, layout, control string
	points, workers, point    int
	seed                      uint64
	log, keep, report         string
}

func main() {
	childMain()
	inNamespace()
	var o options
	flag.StringVar(&o.workload, "workload", "", "explore only this workload")
	flag.StringVar(&o.layout, "layout", "", "explore only this layout of the disks")
	flag.StringVar(&o.control, "control", "", "take \"flush\" or \"checkpoint\" away from the commands: then there must be failures")
	flag.IntVar(&o.points, "points", 30000, "how many points to look at, over all workloads")
	flag.IntVar(&o.workers, "workers", 2, "how many to look at at the same time")
	flag.IntVar(&o.point, "point", -1, "look only at the point with this number, of the recording in -log")
	flag.Uint64Var(&o.seed, "seed", uint64(time.Now().UnixNano()), "where random choices begin")
	flag.StringVar(&o.log, "log", "", "a recording that an earlier run has kept")
	flag.StringVar(&o.keep, "keep", filepath.Join(os.TempDir(), "powercut-failures"), "directory for recordings with failures")
	flag.StringVar(&o.report, "o", "", "write the table of results into this file too")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	failures, err := run(ctx, o, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(2)
	}
	if failures > 0 {
		os.Exit(1)
	}
}

const namespaceVar = "POWERCUT_NAMESPACE"

// inNamespace goes on in a mount namespace of its own: this process waits for another one that is in it.
func inNamespace() {
	if os.Getenv(namespaceVar) != "" {
		return
	}
	self, err := os.Executable()
	if err == nil {
		cmd := &exec.Cmd{Path: self, Args: os.Args, Env: append(os.Environ(), namespaceVar+"=1"),
			Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
			SysProcAttr: &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}}
		err = cmd.Run()
		var exit *exec.ExitError
		if err == nil || errors.As(err, &exit) && exit.ExitCode() > 0 {
			os.Exit(cmd.ProcessState.ExitCode())
		}
	}
	fmt.Fprintln(os.Stderr, "error: starting in a mount namespace (as root?):", err)
	os.Exit(2)
}

func run(ctx context.Context, o options, out io.Writer) (failures int, err error) {
	w, err := newWorld(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	if o.point >= 0 {
		return w.again(ctx, o, out)
	}
	fmt.Fprintf(out, "seed %d\n", o.seed)
	var todo []job
	for _, work := range workloads {
		for _, l := range layouts {
			if (o.workload == "" || o.workload == work.name) && (o.layout == "" || o.layout == l.name) {
				todo = append(todo, job{work, l})
			}
		}
	}
	if len(todo) == 0 {
		return 0, fmt.Errorf("there is no workload %q on %q", o.workload, o.layout)
	}
	var all []*outcome
	for i, j := range todo {
		n := o.points*(i+1)/len(todo) - o.points*i/len(todo)
		res, err := w.study(ctx, j, n, o, out)
		if err != nil {
			return failures, err
		}
		all = append(all, res)
		failures += len(res.Failures)
	}
	table := report(all, o.seed)
	fmt.Fprint(out, table)
	if o.report != "" {
		err = os.WriteFile(o.report, []byte(table), 0o644)
	}
	return failures, err
}

// job is a workload on a layout.
type job struct {
	workload
	layout
}

// study records a workload and explores it.
func (w *world) study(ctx context.Context, j job, n int, o options, out io.Writer) (*outcome, error) {
	rec, err := w.record(ctx, j.layout, j.workload, o.control)
	if err != nil {
		return nil, err
	}
	if err := w.publish(ctx, "next"); err != nil {
		return nil, err
	}
	x, err := w.newExplorer(ctx, rec, o.seed)
	if err != nil {
		return nil, err
	}
	res, err := x.explore(ctx, x.cuts.choose(n), o.workers)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(out, "%-20s %-10s %4d writes, %3d flushes, %5d points (%.0f/s), %d states mounted, %d upgrades, old %d, new %d, failures %d\n",
		res.Workload, res.Layout, res.Writes, res.Flushes, res.Points, float64(res.Points)/res.Time.Seconds(), res.Mounted,
		res.Upgrades, res.Old, res.New, len(res.Failures))
	if len(res.Failures) == 0 {
		return res, nil
	}
	slices.SortFunc(res.Failures, func(a, b failure) int { return a.Point - b.Point })
	if err := os.MkdirAll(o.keep, 0o755); err != nil {
		return nil, err
	}
	log := filepath.Join(o.keep, fmt.Sprintf("%s-%s-%d.gob.gz", res.Workload, res.Layout, o.seed))
	if err := rec.save(log); err != nil {
		return nil, err
	}
	for i, f := range res.Failures {
		if i == 5 {
			fmt.Fprintf(out, "  and %d more\n", len(res.Failures)-i)
			break
		}
		fmt.Fprintf(out, "  %s\n  again: go run ./qemu-tests/powercut -log %s -point %d -seed %d\n", f, log, f.Point, o.seed)
	}
	return res, nil
}

// again looks at one point of a recording that was kept.
func (w *world) again(ctx context.Context, o options, out io.Writer) (int, error) {
	if o.log == "" {
		return 0, errors.New("-point needs the recording: -log FILE")
	}
	rec, err := loadRecording(o.log)
	if err != nil {
		return 0, err
	}
	if err := w.publish(ctx, "next"); err != nil {
		return 0, err
	}
	x, err := w.newExplorer(ctx, rec, o.seed)
	if err != nil {
		return 0, err
	}
	x.nextEvery = 1
	res, err := x.explore(ctx, []point{x.cuts.point(o.point)}, 1)
	if err != nil {
		return 0, err
	}
	for _, f := range res.Failures {
		fmt.Fprintln(out, f)
	}
	fmt.Fprintf(out, "%s on %s: %d failures\n", rec.Workload, rec.Layout, len(res.Failures))
	return len(res.Failures), nil
}

// report is a table in Markdown.
func report(all []*outcome, seed uint64) string {
	var b strings.Builder
	var sum outcome
	b.WriteString("| workload | disks | writes | flushes | points | lost | torn | mounted | upgrades | failures |\n|---|---|---|---|---|---|---|---|---|---|\n")
	for _, o := range all {
		row(&b, o)
		sum.Writes += o.Writes
		sum.Flushes += o.Flushes
		sum.Points += o.Points
		sum.Losses.lost += o.Losses.lost
		sum.Losses.torn += o.Losses.torn
		sum.Mounted += o.Mounted
		sum.Upgrades += o.Upgrades
		sum.Failures = append(sum.Failures, o.Failures...)
		sum.Time += o.Time
	}
	sum.Workload = "all"
	row(&b, &sum)
	fmt.Fprintf(&b, "\nSeed %d, %.0f s, %.0f points a second.\n", seed, sum.Time.Seconds(), float64(sum.Points)/sum.Time.Seconds())
	return b.String()
}

func row(b *strings.Builder, o *outcome) {
	fmt.Fprintf(b, "| %s | %s | %d | %d | %d | %d | %d | %d | %d | %d |\n", o.Workload, o.Layout, o.Writes, o.Flushes, o.Points,
		o.Losses.lost, o.Losses.torn, o.Mounted, o.Upgrades, len(o.Failures))
}
