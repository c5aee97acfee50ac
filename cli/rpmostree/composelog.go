package rpmostree

import (
	"fmt"

	"photree/cli"
)

// composeLog prints how a compose goes: steps and facts on stdout, warnings on
// stderr, counters on a terminal only.
type composeLog struct {
	env  *cli.Env
	line *cli.Line
	step string
}

func newComposeLog(env *cli.Env) *composeLog {
	return &composeLog{env: env, line: cli.NewLine(env.Stdout)}
}

func (l *composeLog) Step(name string) {
	l.line.End()
	l.step = name
	fmt.Fprintln(l.env.Stdout, name)
}

func (l *composeLog) Note(text string) {
	l.line.End()
	fmt.Fprintln(l.env.Stdout, text)
}

func (l *composeLog) Warn(text string) {
	l.line.End()
	fmt.Fprintln(l.env.Stderr, "warning: "+text)
}

func (l *composeLog) Progress(done, total int, what string) {
	l.line.Show(fmt.Sprintf("%s: %d/%d %s", l.step, done, total, what))
}
