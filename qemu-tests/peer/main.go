// Command peer runs ostree's own black-box tests, which Debian's package ostree-tests installs, with photree's ostree
// first in PATH.
//
// It reads the installed suite and the binaries in bin/, and writes the log of each script that fails below out/peer.
// Everything else happens on a file system of its own, a file mounted through a loop device: the scripts deploy, what
// deploys freezes its file system for a moment, and that must not be the one of the machine. It installs nothing (make
// deps does) and leaves neither mounts nor processes behind. A script counts as passed when it ends well with all the
// points that it announced. The exit status is 1 when one has failed.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"sync"
	"syscall"
	"time"
)

type options struct {
	suite, bin, logs string
	only             *regexp.Regexp
	jobs             int
	timeout          time.Duration
}

func main() {
	var o options
	var only string
	flag.StringVar(&o.suite, "suite", "/usr/libexec/installed-tests/libostree", "the directory of the installed tests")
	flag.StringVar(&o.bin, "bin", "bin", "the directory with the program ostree")
	flag.StringVar(&o.logs, "logs", "out/peer", "where the logs of scripts that fail go")
	flag.StringVar(&only, "only", "", "run only the scripts whose name matches this regular expression")
	flag.IntVar(&o.jobs, "j", 2, "how many scripts run at once")
	flag.DurationVar(&o.timeout, "timeout", 4*time.Minute, "how long a script may take")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if o.only, err = regexp.Compile(only); err == nil {
		var failed int
		if failed, err = run(ctx, o, os.Stdout); err == nil && failed == 0 {
			return
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
	}
	stop()
	os.Exit(1)
}

// run runs the scripts and returns how many have failed.
func run(ctx context.Context, o options, out io.Writer) (failed int, err error) {
	names, err := scripts(o)
	if err != nil {
		return 0, err
	}
	room, err := newRoom(o)
	if err != nil {
		return 0, err
	}
	defer room.close()
	todo := make(chan string)
	results := make(chan result)
	var workers sync.WaitGroup
	for range o.jobs {
		workers.Go(func() {
			for name := range todo {
				results <- room.run(ctx, name)
			}
		})
	}
	go func() {
		for _, name := range names {
			if ctx.Err() == nil {
				todo <- name
			}
		}
		close(todo)
		workers.Wait()
		close(results)
	}()
	var passed, skipped, points int
	for r := range results {
		fmt.Fprintln(out, r)
		points += r.points
		switch r.status {
		case ok:
			passed++
		case skip:
			skipped++
		default:
			failed++
		}
	}
	for _, x := range excluded {
		if o.only.MatchString(x.name) {
			fmt.Fprintf(out, "%-9s %s: %s\n", "excluded", x.name, x.reason)
		}
	}
	fmt.Fprintf(out, "%d passed, %d failed, %d skipped (%d points)\n", passed, failed, skipped, points)
	return failed, ctx.Err()
}
