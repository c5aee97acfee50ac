package rootfs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// stageName is argv[0] of the second stage.
const stageName = "photree-sandbox"

// SandboxMain is the second stage of a sandbox when the process was started
// as one; it does not return then. Programs that compose call it first in
// main, tests in TestMain.
func SandboxMain() {
	if len(os.Args) == 1 && os.Args[0] == stageName {
		os.Exit(stageMain())
	}
}

// job is one program to run inside the tree.
type job struct {
	Root string   // directory that becomes the root
	Args []string // the interpreter; "<lua>" is the one built in
	// Script is written to a file whose name is added to Args; empty: Args
	// alone are run.
	Script     string
	ScriptArgs []string // after the script's name
	Env        []string
	// LibraryDirs lets the dynamic linker search the directories of the
	// tree's ld.so.conf while its cache is not made yet.
	LibraryDirs bool

	Stdin   []byte        `json:"-"`
	Timeout time.Duration `json:"-"`
}

// verdict is how the second stage says what happened.
type verdict struct {
	Setup  string // what kept the program from being started
	Code   int    // exit status
	Signal int
}

// scriptError is a program in the sandbox that failed.
type scriptError struct {
	Status string
	Output string // the last of what it printed
}

func (e *scriptError) Error() string {
	if e.Output == "" {
		return e.Status
	}
	return e.Status + ": " + e.Output
}

const maxOutput = 64 << 10

// runSandboxed runs a job to its end and gives what it printed. A program
// that fails gives a *scriptError. When ctx ends, everything in the sandbox is
// killed: the second stage is the first process of its own process namespace.
func runSandboxed(ctx context.Context, j job) (string, error) {
	if j.Timeout == 0 {
		j.Timeout = 15 * time.Minute
	}
	ctx, cancel := context.WithTimeout(ctx, j.Timeout)
	defer cancel()
	spec, err := json.Marshal(j)
	if err != nil {
		return "", err
	}
	specFile, err := memFile("job", spec)
	if err != nil {
		return "", err
	}
	defer specFile.Close()
	stdin, err := os.Open(os.DevNull)
	if j.Stdin != nil {
		stdin, err = memFile("stdin", j.Stdin)
	}
	if err != nil {
		return "", err
	}
	defer stdin.Close()
	answer, answerW, err := os.Pipe()
	if err != nil {
		return "", err
	}
	defer answer.Close()

	out := &tail{}
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Args = []string{stageName}
	cmd.Env = []string{"GOMAXPROCS=2", "GODEBUG="}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, out, out
	cmd.ExtraFiles = []*os.File{specFile, answerW}
	cmd.WaitDelay = 5 * time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWNET,
		Pdeathsig:  syscall.SIGKILL,
	}
	v, runErr := start(cmd, answer, answerW)
	text := out.String()
	switch {
	case ctx.Err() == context.DeadlineExceeded:
		return text, &scriptError{Status: fmt.Sprintf("did not end within %s", j.Timeout), Output: text}
	case ctx.Err() != nil:
		return text, ctx.Err()
	case v == nil:
		return text, fmt.Errorf("starting a sandbox (it needs root and mount, process and network namespaces): %w", errors.Join(runErr, errText(text)))
	case v.Setup != "":
		return text, fmt.Errorf("setting up the sandbox: %s", v.Setup)
	case v.Signal != 0:
		return text, &scriptError{Status: fmt.Sprintf("killed by signal %d (%s)", v.Signal, unix.SignalName(syscall.Signal(v.Signal))), Output: text}
	case v.Code != 0:
		return text, &scriptError{Status: fmt.Sprintf("exit status %d", v.Code), Output: text}
	}
	return text, nil
}

// start runs the second stage and reads its verdict; nil when it gave none.
func start(cmd *exec.Cmd, answer, answerW *os.File) (*verdict, error) {
	// Pdeathsig is bound to the thread that forks: keep that one alive.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		answerW.Close()
		return nil, err
	}
	answerW.Close()
	var v *verdict
	data, _ := io.ReadAll(io.LimitReader(answer, 1<<20))
	if len(data) > 0 {
		v = new(verdict)
		if json.Unmarshal(data, v) != nil {
			v = nil
		}
	}
	return v, cmd.Wait()
}

func errText(s string) error {
	if s == "" {
		return nil
	}
	return errors.New(s)
}

// memFile is a file that exists in memory only, positioned at its start.
func memFile(name string, data []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("making a file in memory: %w", err)
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err := f.WriteAt(data, 0); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// tail keeps the last of what is written to it.
type tail struct{ buf bytes.Buffer }

func (t *tail) Write(b []byte) (int, error) {
	t.buf.Write(b)
	if extra := t.buf.Len() - maxOutput; extra > maxOutput {
		t.buf.Next(extra)
	}
	return len(b), nil
}

func (t *tail) String() string {
	s := t.buf.Bytes()
	if len(s) > maxOutput {
		s = s[len(s)-maxOutput:]
	}
	return strings.TrimSpace(string(s))
}
