package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// explorer looks at points of one recording. Its workers share what they have seen.
type explorer struct {
	w      *world
	rec    *recording
	cuts   *cuts
	layout layout
	// nextEvery is how many points there are to one at which the next upgrade is tried.
	nextEvery int

	states []state             // at each mark
	refs   []map[string]string // likewise
	stub   string
	vars   string

	mu    sync.Mutex
	boots map[uint64]bootPair
	roots map[uint64]*rootView
	out   outcome
}

// bootPair is /boot in both views.
type bootPair struct{ grub, kernel bootView }

// outcome is what an exploration gives.
type outcome struct {
	Workload, Layout string
	Writes, Flushes  int
	Points           int
	Losses           losses
	Mounted          int // different states of a disk that were mounted
	Upgrades         int // next upgrades tried
	Old, New         int // points that showed the state before and after a command
	Time             time.Duration
	Failures         []failure
}

// failure is a point at which something does not hold.
type failure struct {
	Point, Events int
	Kind          cutKind
	Err           error
}

func (f failure) String() string {
	return fmt.Sprintf("point %d (cut after %d writes and flushes; %s): %v", f.Point, f.Events, f.Kind, f.Err)
}

func (w *world) newExplorer(ctx context.Context, rec *recording, seed uint64) (*explorer, error) {
	i := slices.IndexFunc(layouts, func(l layout) bool { return l.name == rec.Layout })
	if i < 0 {
		return nil, fmt.Errorf("there is no layout %q", rec.Layout)
	}
	x := &explorer{w: w, rec: rec, cuts: newCuts(rec, seed), layout: layouts[i], nextEvery: 25,
		boots: map[uint64]bootPair{}, roots: map[uint64]*rootView{}}
	x.out = outcome{Workload: rec.Workload, Layout: rec.Layout, Writes: len(x.cuts.writes), Flushes: len(rec.Events) - len(x.cuts.writes)}
	return x, x.learnStates(ctx)
}

// learnStates finds out what the machine boots before and after each command, when nothing is lost.
func (x *explorer) learnStates(ctx context.Context) (err error) {
	v, err := x.newVisitor()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.close()) }()
	for i, n := range x.rec.Marks {
		if i == len(x.rec.Marks)-1 {
			// What the last command promises is found out at the end, and held against all since it returned.
			n = len(x.rec.Events)
		}
		v.replay.cut(point{events: n, kind: allWritten})
		pair, root, err := v.look(ctx)
		if err != nil {
			return err
		}
		byGrub, err := x.w.join(pair.grub, root)
		byKernel, err2 := x.w.join(pair.kernel, root)
		if err := errors.Join(err, err2); err != nil {
			return fmt.Errorf("after command %d of %s, without a power cut: %w", i, x.rec.Workload, err)
		}
		if !slices.Equal(byGrub, byKernel) {
			return fmt.Errorf("after command %d of %s GRUB and the kernel see different lists: %q and %q", i, x.rec.Workload, byGrub, byKernel)
		}
		if booted := x.w.ids["b"].String() + ".0 "; !strings.Contains(strings.Join(byGrub, "\n"), booted) {
			return fmt.Errorf("after command %d of %s the booted deployment is not in the list: %q", i, x.rec.Workload, byGrub)
		}
		x.states, x.refs = append(x.states, byGrub), append(x.refs, root.refs)
		x.stub, x.vars = pair.grub.stub, root.vars["os"]
	}
	return nil
}

// explore looks at n points with some workers.
func (x *explorer) explore(ctx context.Context, points []point, workers int) (*outcome, error) {
	begin := time.Now()
	errs := make([]error, workers)
	var wg sync.WaitGroup
	for i := range workers {
		part := points[i*len(points)/workers : (i+1)*len(points)/workers]
		wg.Go(func() { errs[i] = x.visitAll(ctx, part) })
	}
	wg.Wait()
	x.out.Time += time.Since(begin)
	x.out.Mounted = len(x.boots) + len(x.roots)
	if x.layout.boot == "" {
		x.out.Mounted = len(x.roots)
	}
	return &x.out, errors.Join(errs...)
}

func (x *explorer) visitAll(ctx context.Context, points []point) (err error) {
	v, err := x.newVisitor()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.close()) }()
	for _, p := range points {
		if err := ctx.Err(); err != nil {
			return err
		}
		next := p.number%x.nextEvery == 0
		number, err := v.visit(ctx, p, next)
		x.mu.Lock()
		x.out.Points++
		x.out.Losses.kept += v.replay.lost.kept
		x.out.Losses.lost += v.replay.lost.lost
		x.out.Losses.torn += v.replay.lost.torn
		switch {
		case err != nil:
			x.out.Failures = append(x.out.Failures, failure{p.number, p.events, p.kind, err})
		case number == 0:
			x.out.Old++
		default:
			x.out.New++
		}
		if next {
			x.out.Upgrades++
		}
		x.mu.Unlock()
	}
	return nil
}

// visitor is one worker: disks of its own, mounted where nobody else looks.
type visitor struct {
	*explorer
	replay *replay
	m      *machine
	boot   string
}

func (x *explorer) newVisitor() (*visitor, error) {
	v := &visitor{explorer: x, replay: newReplay(x.rec)}
	var data [disks]backing
	for d, s := range v.replay.disks {
		if s != nil {
			data[d] = s
		}
	}
	var err error
	if v.m, err = newMachine(x.layout, data); err != nil {
		return nil, err
	}
	v.boot = filepath.Join(v.m.dir, "boot")
	return v, os.Mkdir(v.boot, 0o700)
}

func (v *visitor) close() error { return v.m.close() }

// visit makes the state of a point and says whether it is that before the command that was running (0) or the one
// after it (1).
func (v *visitor) visit(ctx context.Context, p point, next bool) (number int, err error) {
	v.replay.cut(p)
	pair, root, err := v.look(ctx)
	if err != nil {
		return 0, err
	}
	done := 0 // commands that had returned
	for done+1 < len(v.rec.Marks) && v.rec.Marks[done+1] <= p.events {
		done++
	}
	to := min(done+2, len(v.states))
	allowed := v.states[done:to]
	for _, view := range []struct {
		who  string
		boot bootView
	}{{"GRUB", pair.grub}, {"the kernel", pair.kernel}} {
		got, err := v.w.join(view.boot, root)
		if err != nil {
			return 0, fmt.Errorf("as %s sees it: %w", view.who, err)
		}
		if number = slices.IndexFunc(allowed, func(s state) bool { return slices.Equal(s, got) }); number < 0 {
			return 0, fmt.Errorf("as %s sees it the list is\n  %s\nand not\n  %s", view.who, strings.Join(got, "\n  "), lists(allowed))
		}
		if view.boot.stub != v.stub {
			return 0, fmt.Errorf("as %s sees it GRUB's stub has changed", view.who)
		}
	}
	if err := checkRefs(root.refs, v.refs[done:to]); err != nil {
		return 0, err
	}
	if got := root.vars["os"]; got != v.vars {
		return 0, fmt.Errorf("/var has changed: its digest is %s", got)
	}
	if len(root.repo) > 0 {
		return 0, fmt.Errorf("the repository is damaged: %d problems, the first: %w", len(root.repo), root.repo[0])
	}
	if next {
		v.replay.cut(p)
		if err := v.upgrade(ctx); err != nil {
			return 0, fmt.Errorf("the next upgrade: %w", err)
		}
	}
	return number, nil
}

// checkRefs wants each ref as it was before the command, or as it is after it.
func checkRefs(got map[string]string, allowed []map[string]string) error {
	names := maps.Clone(got)
	for _, a := range allowed {
		maps.Copy(names, a)
	}
	for name := range names {
		if !slices.ContainsFunc(allowed, func(a map[string]string) bool { return a[name] == got[name] }) {
			return fmt.Errorf("the ref %s names %q, and neither what it did before the command nor what it does after it", name, got[name])
		}
	}
	return nil
}

func lists(all []state) string {
	var out []string
	for _, s := range all {
		out = append(out, strings.Join(s, "\n  "))
	}
	return strings.Join(out, "\nor\n  ")
}

// look sees the disks with both eyes. What has been seen before in the very same state is not looked at again.
func (v *visitor) look(ctx context.Context) (bootPair, *rootView, error) {
	rootSum := v.replay.digest(rootDisk)
	bootSum := rootSum
	if v.layout.boot != "" {
		bootSum = v.replay.digest(bootDisk)
	}
	v.mu.Lock()
	pair, bootSeen := v.boots[bootSum]
	root, rootSeen := v.roots[rootSum]
	v.mu.Unlock()
	if !bootSeen {
		// Before the kernel replays the journal.
		if v.layout.boot != "" {
			pair.grub = grubView(v.replay.disks[bootDisk], "")
		} else {
			pair.grub = grubView(v.replay.disks[rootDisk], "/boot")
		}
	}
	if !rootSeen {
		err := v.mounted(rootDisk, v.m.root, func() {
			root = seeRoot(ctx, v.m.root)
			if v.layout.boot == "" {
				pair.kernel = kernelView(filepath.Join(v.m.root, "boot"))
			}
		})
		if err != nil {
			return pair, nil, err
		}
	}
	if !bootSeen && v.layout.boot != "" {
		if err := v.mounted(bootDisk, v.boot, func() { pair.kernel = kernelView(v.boot) }); err != nil {
			return pair, nil, err
		}
	}
	v.mu.Lock()
	v.boots[bootSum], v.roots[rootSum] = pair, root
	v.mu.Unlock()
	return pair, root, nil
}

func (v *visitor) mounted(disk int, at string, f func()) error {
	// Read-only is for those who look: the kernel replays the journal all the same.
	if err := v.m.mountDisk(disk, at, unix.MS_RDONLY); err != nil {
		return err
	}
	f()
	return v.m.unmount()
}
