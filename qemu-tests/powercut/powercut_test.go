package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"photree/deploy"
)

func TestMain(m *testing.M) {
	childMain()
	inNamespace()
	os.Exit(m.Run())
}

// seedFor gives where random choices begin: PHOTREE_SEED repeats a run.
func seedFor(t *testing.T) uint64 {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("PHOTREE_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("seed %d", seed)
	return seed
}

func worldFor(t *testing.T) *world {
	t.Helper()
	w, err := newWorld(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func optionsFor(t *testing.T, seed uint64) options {
	return options{workers: 2, seed: seed, keep: filepath.Join(os.TempDir(), "powercut-failures")}
}

// jobs are all workloads on separate ext4 file systems, and those that change most on the other layouts.
func jobs() []job {
	var out []job
	for _, work := range workloads {
		out = append(out, job{work, layouts[0]})
	}
	for _, i := range []int{0, 1, 9} {
		out = append(out, job{workloads[i], layouts[1]}, job{workloads[i], layouts[2]})
	}
	return out
}

// TestAnyWriteMayBeTheLast covers R1 to R3, R5 and D1 to D7: wherever the power goes, and whatever of the writes since
// the last flush is lost or torn, GRUB and the kernel find the old list or the new one, whole, and once a command has
// returned only the new one.
func TestAnyWriteMayBeTheLast(t *testing.T) {
	points, todo := 2100, jobs()
	if testing.Short() {
		points, todo = 200, []job{todo[0], todo[3], todo[9], todo[11], todo[14]}
	}
	w, o := worldFor(t), optionsFor(t, seedFor(t))
	var all []*outcome
	for _, j := range todo {
		t.Run(j.workload.name+"/"+j.layout.name, func(t *testing.T) {
			var out strings.Builder
			res, err := w.study(t.Context(), j, points/len(todo), o, &out)
			if err != nil {
				t.Fatal(err)
			}
			t.Log(out.String())
			if len(res.Failures) > 0 {
				t.Errorf("%d of %d points fail", len(res.Failures), res.Points)
			}
			all = append(all, res)
		})
	}
	t.Log("\n" + report(all, o.seed))
	old, changed := 0, 0
	for _, r := range all {
		old, changed = old+r.Old, changed+r.New
	}
	if old == 0 || changed == 0 {
		t.Errorf("%d points are before a switch and %d behind one: both must be among them", old, changed)
	}
}

// TestWithoutFlushesThereAreFailures takes away what the invariants rest on: an explorer that then finds nothing would
// find nothing ever.
func TestWithoutFlushesThereAreFailures(t *testing.T) {
	w := worldFor(t)
	for _, c := range []struct {
		control, work string
		points        int
	}{{controlFlush, "upgrade-new-kernel", 40}, {controlCheckpoint, "upgrade-new-kernel", 100}, {controlFlush, "pull-prune", 40}} {
		t.Run(c.control+"/"+c.work, func(t *testing.T) {
			o := optionsFor(t, seedFor(t))
			o.control, o.keep = c.control, t.TempDir()
			var out strings.Builder
			res, err := w.study(t.Context(), job{find(t, c.work), layouts[0]}, c.points, o, &out)
			if err != nil {
				t.Fatal(err)
			}
			t.Log(out.String())
			if len(res.Failures) == 0 {
				t.Errorf("%d points and no failure", res.Points)
			}
		})
	}
}

func find(t *testing.T, name string) workload {
	t.Helper()
	for _, w := range workloads {
		if w.name == name {
			return w
		}
	}
	t.Fatalf("no workload %q", name)
	return workload{}
}

// TestAFailureCanBeSeenAgain: a point that fails does so again from the recording that was kept.
func TestAFailureCanBeSeenAgain(t *testing.T) {
	w := worldFor(t)
	o := optionsFor(t, 7)
	o.control, o.keep = controlFlush, t.TempDir()
	var out strings.Builder
	res, err := w.study(t.Context(), job{find(t, "upgrade-new-kernel"), layouts[0]}, 20, o, &out)
	if err != nil {
		t.Fatal(err)
	}
	logs, _ := filepath.Glob(filepath.Join(o.keep, "*"))
	if len(res.Failures) == 0 || len(logs) != 1 {
		t.Fatalf("%d failures, %q", len(res.Failures), logs)
	}
	o.log, o.point = logs[0], res.Failures[0].Point
	again, err := worldFor(t).again(t.Context(), o, &out)
	if err != nil || again != 1 {
		t.Errorf("point %d again: %d failures, %v\n%s", o.point, again, err, out.String())
	}
	if !strings.Contains(out.String(), fmt.Sprintf("-point %d -seed 7", o.point)) {
		t.Errorf("the output does not say how to see it again:\n%s", out.String())
	}
}

// TestOurReaderSeesWhatGrubSees holds grubFS against GRUB's own code, on disks that are whole and on damaged ones.
func TestOurReaderSeesWhatGrubSees(t *testing.T) {
	w := worldFor(t)
	image := filepath.Join(w.dir, "image")
	good, bad := 0, 0
	for _, control := range []string{controlNone, controlFlush} {
		rec, err := w.record(t.Context(), layouts[0], find(t, "upgrade-new-kernel"), control)
		if err != nil {
			t.Fatal(err)
		}
		r := newReplay(rec)
		for _, p := range newCuts(rec, seedFor(t)).choose(60) {
			r.cut(p)
			disk := make([]byte, r.disks[bootDisk].Size())
			r.disks[bootDisk].ReadAt(disk, 0)
			if err := os.WriteFile(image, disk, 0o600); err != nil {
				t.Fatal(err)
			}
			g, err := openGrubFS(r.disks[bootDisk])
			if err != nil {
				t.Fatal(err)
			}
			for _, path := range []string{"/loader/grub.cfg", "/grub/grub.cfg", "/loader/entries/ostree-1.conf", "/loader/nothing",
				"/boot/loader/entries/ostree-2.conf", "/loader.1/grub.cfg"} {
				want, grubErr := exec.Command("grub-fstest", image, "cat", "(loop0)"+path).Output()
				got, err := g.ReadFile(path)
				if (err == nil) != (grubErr == nil) || err == nil && string(got) != string(want) {
					t.Errorf("control %q, point %d: %s: GRUB reads %d bytes (%v), we %d (%v)", control, p.number, path, len(want), grubErr, len(got), err)
				}
				if err == nil {
					good++
				} else {
					bad++
				}
			}
		}
	}
	t.Logf("%d files read, %d not readable", good, bad)
	if good == 0 || bad == 0 {
		t.Error("both must be among them")
	}
}

// TestABootWithoutLinksIsRefused: vfat has no symbolic links and the kernel under test may have no vfat, so the file
// system of /boot is one of ours that refuses them as vfat does.
func TestABootWithoutLinksIsRefused(t *testing.T) {
	w := worldFor(t)
	root := filepath.Join(w.dir, "root")
	if err := os.MkdirAll(root, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := deploy.InitFS(root, deploy.InitFSOptions{}); err != nil {
		t.Fatal(err)
	}
	s, err := openSysroot(root)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.InitStateroot(t.Context(), "os"); err != nil {
		t.Fatal(err)
	}
	boot, err := serveFuse(filepath.Join(root, "boot"), fuseFile{"x", newImage(1 << 20)})
	if err != nil {
		t.Fatal(err)
	}
	defer boot.close()
	var links *deploy.NoLinksError
	_, err = s.Deploy(t.Context(), deploy.DeployOptions{Stateroot: "os", Commit: w.ids["a"]})
	if !errors.As(err, &links) || !strings.Contains(err.Error(), "cannot hold symbolic links") {
		t.Errorf("a deployment gives %v", err)
	}
	if err := deploy.InitFS(root, deploy.InitFSOptions{}); !errors.As(err, &links) {
		t.Errorf("init-fs gives %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(root, "ostree/deploy/os/deploy/*")); len(left) > 0 {
		t.Errorf("the refused deployment leaves %q", left)
	}
}

func TestPointsAreTheSameAgain(t *testing.T) {
	rec := &recording{Sectors: layouts[0].sectors(), base: [disks]*image{newImage(1 << 20)}}
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 40 {
		data := make([]byte, sectorSize*(1+random.IntN(8)))
		for j := range data {
			data[j] = byte(i + 1)
		}
		rec.Events = append(rec.Events, event{Off: int64(random.IntN(100)) * blockSize, Data: data})
		if i%7 == 0 {
			rec.Events = append(rec.Events, event{Flush: true})
		}
	}
	c := newCuts(rec, 5)
	seen := map[int][]byte{}
	for _, n := range []int{1000, 40} {
		r := newReplay(rec)
		for _, p := range c.choose(n) {
			r.cut(p)
			disk := make([]byte, 1<<20)
			r.disks[0].ReadAt(disk, 0)
			if was, ok := seen[p.number]; ok && !reflect.DeepEqual(was, disk) {
				t.Fatalf("point %d is another one among %d", p.number, n)
			}
			seen[p.number] = disk
		}
	}
	if len(seen) != 1000 {
		t.Errorf("%d points", len(seen))
	}
}

// TestACutKeepsWhatWasFlushed: what a flush covers is there at every later point, and what came after it in any part.
func TestACutKeepsWhatWasFlushed(t *testing.T) {
	write := func(off int, fill byte) event {
		return event{Off: int64(off) * sectorSize, Data: []byte(strings.Repeat(string(fill), 4*sectorSize))}
	}
	rec := &recording{Sectors: layouts[0].sectors(), base: [disks]*image{newImage(1 << 20)}, Events: []event{write(0, 'a'), {Flush: true}, write(8, 'b'), write(16, 'c')}}
	c := newCuts(rec, 3)
	kinds := map[string]bool{}
	for number := range 400 {
		p := c.point(number)
		r := newReplay(rec)
		r.cut(p)
		disk := make([]byte, 32*sectorSize)
		r.disks[0].ReadAt(disk, 0)
		if p.events >= 2 && string(disk[:4*sectorSize]) != strings.Repeat("a", 4*sectorSize) {
			t.Fatalf("point %d (%d events, %s) has lost what was flushed", number, p.events, p.kind)
		}
		for i, letter := range map[int]byte{8: 'b', 16: 'c'} {
			n := strings.Count(string(disk[i*sectorSize:(i+4)*sectorSize]), string(letter)) / sectorSize
			if p.events < 3 && n > 0 {
				t.Fatalf("point %d has what was not written yet", number)
			}
			kinds[fmt.Sprintf("%c:%d", letter, n)] = true
		}
	}
	for _, want := range []string{"b:0", "b:4", "b:2", "c:0", "c:4", "c:1"} {
		if !kinds[want] {
			t.Errorf("no point has %s: %v", want, kinds)
		}
	}
}
