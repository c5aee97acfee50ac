package vm

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// How long things may take. They are about ten times what an idle machine of two processors needs with emulation.
const (
	BootTimeout    = 6 * time.Minute
	CommandTimeout = 2 * time.Minute
)

// Expect waits for a regular expression on the console and consumes the text up to its end. It gives the match and its
// groups.
func (v *VM) Expect(ctx context.Context, timeout time.Duration, pattern string) ([]string, error) {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	_, match, err := v.console.expect(ctx, re)
	return match, err
}

// Send types text on the console.
func (v *VM) Send(text string) error {
	if _, err := v.input.Write([]byte(text)); err != nil {
		return fmt.Errorf("typing on the console: %w", err)
	}
	return nil
}

// Login waits for the login prompt, logs in as root and starts a plain shell for Run.
func (v *VM) Login(ctx context.Context, password string) error {
	if _, err := v.Expect(ctx, BootTimeout, `(?m)^\S+ login: `); err != nil {
		return err
	}
	if err := v.Send("root\n"); err != nil {
		return err
	}
	if _, err := v.Expect(ctx, CommandTimeout, `Password: `); err != nil {
		return err
	}
	if err := v.Send(password + "\n"); err != nil {
		return err
	}
	if _, err := v.Expect(ctx, CommandTimeout, `[#] $`); err != nil {
		return err
	}
	return v.Shell(ctx)
}

// Shell makes the root shell that has the console fit for Run: no echo, no prompt, no line editing, and no messages of
// the kernel and of systemd in between.
func (v *VM) Shell(ctx context.Context) error {
	if err := v.Send("exec env TERM=dumb PS1= PS2= LC_ALL=C bash --norc --noprofile --noediting\n"); err != nil {
		return err
	}
	if err := v.Send("stty -echo -onlcr; dmesg -n 1; kill -s RTMIN+21 1 2>/dev/null; echo shell''-is-ready\n"); err != nil {
		return err
	}
	_, err := v.Expect(ctx, CommandTimeout, `shell-is-ready\n`)
	return err
}

// ExitError says that a command in the machine ended with another status than 0. Tests that expect a refusal branch on it.
type ExitError struct {
	Command string
	Status  int
	Output  string
}

func (e *ExitError) Error() string {
	return fmt.Sprintf("in the machine, %q ended with status %d:\n%s", e.Command, e.Status, e.Output)
}

// Run runs a command in the machine's shell and gives what it printed. A status other than 0 is an *ExitError.
func (v *VM) Run(ctx context.Context, timeout time.Duration, command string) (string, error) {
	v.shell++
	mark := fmt.Sprintf("@%d@", v.shell)
	// The marks are broken up in what is typed, so that an echo of it never matches.
	line := fmt.Sprintf("echo '@'%[1]d@begin; { %[2]s\n} 2>&1 </dev/null; status=$?; echo; echo '@'%[1]d@end=$status\n", v.shell, command)
	if err := v.Send(line); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if _, _, err := v.console.expect(ctx, regexp.MustCompile(mark+`begin\n`)); err != nil {
		return "", fmt.Errorf("running %q: %w", command, err)
	}
	out, match, err := v.console.expect(ctx, regexp.MustCompile(`\n?`+mark+`end=(\d+)\n`))
	if err != nil {
		return "", fmt.Errorf("running %q: %w", command, err)
	}
	out = strings.TrimSuffix(out, "\n")
	if status, err := strconv.Atoi(match[1]); err != nil || status != 0 {
		return out, &ExitError{command, status, out}
	}
	return out, nil
}
