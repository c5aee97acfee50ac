package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"photree/deploy"
	"photree/internal/kargs"
	"photree/repo"
	"photree/repo/pull"
)

// mutating are the system calls that change what others see.
const mutating = "openat,write,pwrite64,mkdirat,renameat,renameat2,unlinkat,linkat,symlinkat,fsync,syncfs,fchmod,fchownat,fchown,fsetxattr,utimensat,ftruncate"

// verbs are commands that change a repository or a sysroot; DIR stands for a copy of what they work on.
var verbs = []struct{ name, on, command string }{
	{"commit", "repo", "ostree --repo=DIR commit -b test/more -s more --tree=dir=TREE"},
	{"pull", "host", "ostree --repo=DIR/ostree/repo pull origin test/new"},
	{"refs", "repo", "ostree --repo=DIR refs --create=test/alias test/a"},
	{"summary", "repo", "ostree --repo=DIR summary -u"},
	{"prune", "pruned", "ostree --repo=DIR prune --refs-only --depth=0"},
	{"deploy", "host", "ostree admin deploy --sysroot=DIR --os=os origin:test/same"},
	{"undeploy", "host", "ostree admin undeploy --sysroot=DIR 1"},
	{"set-default", "host", "ostree admin set-default --sysroot=DIR 1"},
}

// TestStoppedAtAnySystemCall covers R1 to R3, R5, D1 and D2: a command that is killed at a system call, or that gets an
// error from one, leaves a sound repository and the old list or the new one; the same command then succeeds.
func TestStoppedAtAnySystemCall(t *testing.T) {
	if testing.Short() {
		t.Skip("runs commands hundreds of times")
	}
	w := worldFor(t)
	s := &stopper{t: t, w: w, random: rand.New(rand.NewPCG(seedFor(t), 0)), bases: map[string]string{}}
	s.makeBases()
	for _, v := range verbs {
		t.Run(v.name, func(t *testing.T) {
			s.t = t
			for _, how := range []string{"signal=KILL", "error=EIO", "error=ENOSPC"} {
				s.stop(v.on, v.command, how)
			}
		})
	}
}

type stopper struct {
	t      *testing.T
	w      *world
	random *rand.Rand
	bases  map[string]string
}

// makeBases makes what the commands work on: a repository with releases, one with something to prune, and a sysroot.
func (s *stopper) makeBases() {
	s.t.Helper()
	ctx := s.t.Context()
	for _, name := range []string{"repo", "pruned", "host"} {
		s.bases[name] = filepath.Join(s.w.dir, "base-"+name)
	}
	s.must(exec.Command("cp", "-a", s.w.repo.Path(), s.bases["repo"]).Run())
	s.must(exec.Command("cp", "-a", s.w.repo.Path(), s.bases["pruned"]).Run())
	for _, ref := range []string{"a", "same", "next"} {
		s.must(os.Remove(filepath.Join(s.bases["pruned"], "refs/heads/test", ref)))
	}
	s.must(os.MkdirAll(s.bases["host"], 0o755))
	s.must(deploy.InitFS(s.bases["host"], deploy.InitFSOptions{}))
	s.must(os.MkdirAll(filepath.Join(s.bases["host"], "boot/grub"), 0o755))
	s.must(os.WriteFile(filepath.Join(s.bases["host"], "boot/grub/grub.cfg"), []byte("stub"), 0o644))
	sys, err := openSysroot(s.bases["host"])
	s.must(err)
	defer sys.Close()
	s.must(s.w.firstDeployments(ctx, sys))
	s.must(s.w.publish(ctx, "b"))
	_, err = pull.Pull(ctx, sys.Repo(), pull.Options{Remote: "origin", Refs: []string{"test/same"}})
	s.must(err)
	_, err = sys.EditKargs(ctx, func(l kargs.List) (kargs.List, error) { return l.Append("mark"), nil })
	s.must(err)
	made, err := filepath.Glob(filepath.Join(s.bases["host"], "ostree/deploy/os/deploy/*[0-9]"))
	s.must(err)
	s.must(exec.Command("chattr", append([]string{"-i"}, made...)...).Run())
}

func (s *stopper) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// stopsPerVerb is how many system calls of a command are tried with each kind of stop; a command has up to some hundreds.
const stopsPerVerb = 12

// stop stops a command at system calls that are drawn, more of them at the beginning of each thread's.
func (s *stopper) stop(on, command, how string) {
	s.t.Helper()
	before := s.look(on, s.bases[on])
	whole := s.copy(on)
	if out, err := s.run(command, whole, ""); err != nil {
		s.t.Fatalf("%s: %v\n%s", command, err, out)
	}
	after := s.look(on, whole)
	s.must(os.RemoveAll(whole))
	stopped := 0
	for i := range stopsPerVerb {
		n := i + 1 + s.random.IntN(1+i*i*2)
		dir := s.copy(on)
		inject := fmt.Sprintf("%s:%s:when=%d", mutating, how, n)
		out, err := s.run(command, dir, inject)
		if err != nil {
			stopped++
		}
		got := s.look(on, dir)
		if !slices.Equal(got, before) && !slices.Equal(got, after) {
			s.t.Errorf("%s with %s: the result is\n%q\nand not\n%q\nor\n%q\n%s", command, inject, got, before, after, out)
		}
		next := command
		if slices.Equal(got, after) && strings.Contains(command, "undeploy") {
			next = "ostree admin cleanup --sysroot=DIR" // there is no such deployment any more
		}
		if out, err := s.run(next, dir, ""); err != nil && !strings.Contains(out, "already exists") {
			s.t.Errorf("%s after %s with %s: %v\n%s", next, command, inject, err, out)
		}
		s.look(on, dir)
		s.must(os.RemoveAll(dir))
	}
	s.t.Logf("%s: %d of %d runs ended early", how, stopped, stopsPerVerb)
	if stopped == 0 {
		s.t.Errorf("%s: no run of %s was stopped", how, command)
	}
}

func (s *stopper) copy(on string) string {
	s.t.Helper()
	dir, err := os.MkdirTemp(s.w.dir, "copy-")
	s.must(err)
	dir = filepath.Join(dir, "x")
	s.must(exec.Command("cp", "-a", s.bases[on], dir).Run())
	return dir
}

func (s *stopper) run(command, dir, inject string) (string, error) {
	self, err := os.Executable()
	s.must(err)
	command = strings.NewReplacer("DIR", dir, "TREE", filepath.Join(s.w.dir, "new")).Replace(command)
	args := strings.Fields(command)
	cmd := exec.Command(self, args[1:]...)
	if inject != "" {
		cmd = exec.Command("strace", append([]string{"-f", "-qq", "-o", "/dev/null", "-e", "inject=" + inject, self}, args[1:]...)...)
	}
	cmd.Env = append(os.Environ(), childVar+"=/", nameVar+"="+args[0], controlVar+"=", "OSTREE_SYSROOT_DEBUG=mutable-deployments", "SOURCE_DATE_EPOCH=1700009000")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// look sees what matters of a repository or a sysroot, and fails the test where that is damaged.
func (s *stopper) look(on, dir string) []string {
	s.t.Helper()
	if on == "host" {
		root := seeRoot(context.Background(), dir)
		got, err := s.w.join(kernelView(filepath.Join(dir, "boot")), root)
		if err != nil {
			s.t.Errorf("the sysroot is damaged: %v", err)
		}
		if len(root.repo) > 0 {
			s.t.Errorf("the repository of the sysroot is damaged: %v", root.repo[0])
		}
		return append(got, fmt.Sprint(root.refs), root.vars["os"])
	}
	r, err := repo.Open(dir)
	s.must(err)
	defer r.Close()
	res, err := r.Fsck(context.Background(), repo.FsckOptions{})
	if err != nil || len(res.Problems) > 0 {
		s.t.Errorf("the repository is damaged: %v %v", err, res.Problems)
	}
	refs, err := r.Refs()
	s.must(err)
	var out []string
	for _, ref := range refs {
		out = append(out, ref.String()+"="+ref.ID.String())
	}
	return out
}
