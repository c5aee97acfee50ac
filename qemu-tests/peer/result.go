package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

type status string

const (
	ok   status = "ok"
	fail status = "fail"
	skip status = "skip"
)

// result is what became of one script.
type result struct {
	name    string
	status  status
	points  int // that hold
	skipped int // that the script left out
	took    time.Duration
	why     string
}

func (r result) String() string {
	s := fmt.Sprintf("%-9s %-44s %3d points %6.1fs", r.status, r.name, r.points, r.took.Seconds())
	if r.skipped > 0 {
		s += fmt.Sprintf(" (%d left out)", r.skipped)
	}
	if r.why != "" {
		s += "  " + r.why
	}
	return s
}

// run runs one script and judges it. The log is kept when it fails.
func (r *room) run(ctx context.Context, name string) result {
	started := time.Now()
	path := filepath.Join(r.o.logs, name+".log")
	log, err := os.Create(path)
	if err != nil {
		return result{name: name, status: fail, why: err.Error()}
	}
	defer log.Close()
	defer r.clean(name)
	limited, cancel := context.WithTimeout(ctx, r.o.timeout)
	defer cancel()
	cmd, err := r.command(limited, name, log)
	if err == nil {
		err = cmd.Run()
	}
	data, readErr := os.ReadFile(path)
	if readErr != nil {
		return result{name: name, status: fail, why: readErr.Error()}
	}
	if limited.Err() != nil && ctx.Err() == nil {
		err = fmt.Errorf("still running after %v", r.o.timeout)
	}
	res := judge(string(data), err)
	res.name, res.took = name, time.Since(started)
	if res.status != fail {
		os.Remove(path)
	}
	return res
}

var (
	okLine      = regexp.MustCompile(`^ok\b`)
	planLine    = regexp.MustCompile(`^1\.\.(\d+)\s*(?:#\s*(?i:skip)\s*(.*))?`)
	skippedLine = regexp.MustCompile(`(?i)#\s*skip`)
	// noiseLine is what may come behind the words that say why a script gives up.
	noiseLine = regexp.MustCompile(`^(Unexpected nonzero exit status|gpg-connect-agent|OK closing|# |ok|\s*$)`)
)

// judge reads the output of a script, which is in the Test Anything Protocol with the noise of its commands around it.
func judge(output string, err error) result {
	var r result
	var last, failing, word, reason string
	plan := -1
	for line := range strings.Lines(output) {
		line = strings.TrimRight(line, "\n")
		m := planLine.FindStringSubmatch(line)
		switch {
		case m != nil:
			plan, _ = strconv.Atoi(m[1])
			reason = m[2]
		case okLine.MatchString(line):
			if skippedLine.MatchString(line) {
				r.skipped++
				reason = line
			} else {
				r.points++
				last = line
			}
		case strings.HasPrefix(line, "not ok") && failing == "":
			failing = line
		case !noiseLine.MatchString(line):
			word = line
		}
	}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.ExitCode() == 77, err == nil && plan == 0:
		r.status, r.why = skip, reason
	case err != nil:
		r.status, r.why = fail, fmt.Sprintf("%v behind %q: %.200s", err, last, word)
	case failing != "":
		r.status, r.why = fail, failing
	case plan < 0 && r.points == 0:
		r.status, r.why = fail, "no point was reported"
	case plan >= 0 && plan != r.points+r.skipped:
		r.status, r.why = fail, fmt.Sprintf("%d of %d points behind %q", r.points+r.skipped, plan, last)
	case r.points == 0:
		r.status, r.why = skip, reason
	default:
		r.status = ok
	}
	return r
}
