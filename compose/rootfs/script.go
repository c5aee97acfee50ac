package rootfs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"photree/compose/rpm"
)

// ScriptTime says how long one script ran.
type ScriptTime struct {
	Package rpm.NEVRA
	Kind    string
	Time    time.Duration
}

// scripts runs the scripts of packages in the tree.
type scripts struct {
	root     *rootDir
	epoch    int64 // the time that programs see as SOURCE_DATE_EPOCH
	timeout  time.Duration
	warn     func(string)
	times    []ScriptTime
	ldconfig bool // the cache of the dynamic linker is to be made
	changed  func()
}

// script is one scriptlet or trigger, ready to run.
type script struct {
	pkg   rpm.NEVRA
	kind  string
	args  []string
	body  string
	argv  []int // what RPM gives it: counts of installed instances
	stdin []byte
}

// environment is the same on every machine.
func (s *scripts) environment() []string {
	return []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"LANG=C", "LC_ALL=C", "TZ=UTC", "HOME=/root", "SHELL=/bin/sh", "TERM=dumb",
		"SYSTEMD_OFFLINE=1", "SYSTEMD_IN_CHROOT=1",
		"SOURCE_DATE_EPOCH=" + strconv.FormatInt(s.epoch, 10),
	}
}

// run runs a script, or notes what it would do where that is known. The error
// names package and script.
func (s *scripts) run(ctx context.Context, x script) error {
	if onlyLdconfig(x) {
		s.ldconfig = true
		return nil
	}
	if units := presetUnits(x); units != nil {
		return s.preset(x, units)
	}
	return s.execute(ctx, x)
}

// execute runs a script in the sandbox, whatever it does.
func (s *scripts) execute(ctx context.Context, x script) error {
	start := time.Now()
	j := job{
		Root: s.root.path, Args: x.args, Script: x.body, Env: s.environment(),
		LibraryDirs: s.ldconfig, Stdin: x.stdin, Timeout: s.timeout,
	}
	for _, n := range x.argv {
		j.ScriptArgs = append(j.ScriptArgs, strconv.Itoa(n))
	}
	_, err := runSandboxed(ctx, j)
	s.times = append(s.times, ScriptTime{x.pkg, x.kind, time.Since(start)})
	s.changed()
	if err != nil {
		return fmt.Errorf("%%%s of %s: %w", x.kind, x.pkg, err)
	}
	return nil
}

// preset enables units as "systemctl preset" does, without starting it.
func (s *scripts) preset(x script, units []string) error {
	p, err := loadPresets(s.root)
	if err != nil {
		return fmt.Errorf("%%%s of %s: %w", x.kind, x.pkg, err)
	}
	for _, u := range units {
		// A unit that cannot be enabled is no error in such a script.
		if err := p.apply(u); err != nil {
			s.warn(fmt.Sprintf("%%%s of %s: presetting %s: %v", x.kind, x.pkg, u, err))
		}
	}
	return nil
}

// runAdvisory runs a script whose failure RPM only reports.
func (s *scripts) runAdvisory(ctx context.Context, x script) error {
	err := s.run(ctx, x)
	var failed *scriptError
	if errors.As(err, &failed) {
		s.warn(err.Error())
		return nil
	}
	return err
}

// finishLdconfig makes the cache that scripts asked for.
func (s *scripts) finishLdconfig(ctx context.Context) error {
	if !s.ldconfig || !s.root.exists("/sbin/ldconfig") {
		return nil
	}
	s.ldconfig = false
	err := s.execute(ctx, script{kind: "ldconfig", args: []string{"/sbin/ldconfig", "-X"}})
	var failed *scriptError
	if errors.As(err, &failed) {
		s.warn(err.Error())
		return nil
	}
	return err
}

// lines gives the commands of a shell script without comments, shell
// options and what only hides failure or output.
func lines(body string) []string {
	var out []string
	for _, l := range strings.Split(body, "\n") {
		l = strings.TrimSpace(l)
		for _, end := range []string{"|| :", "|| true", ">/dev/null", "> /dev/null", "2>&1", "1>/dev/null", "&>/dev/null", "2>/dev/null", ";"} {
			l = strings.TrimSpace(strings.TrimSuffix(l, end))
		}
		// The order of the endings varies: once more.
		for _, end := range []string{"2>&1", ">/dev/null", "> /dev/null", "&> /dev/null", "&>/dev/null", "2>/dev/null"} {
			l = strings.TrimSpace(strings.TrimSuffix(l, end))
		}
		if l == "" || strings.HasPrefix(l, "#") || l == "exit 0" || l == ":" {
			continue
		}
		out = append(out, l)
	}
	return out
}

func isShell(args []string) bool {
	return len(args) == 1 && slices.Contains([]string{"/bin/sh", "/usr/bin/sh", "/bin/bash", "/usr/bin/bash"}, args[0])
}

// onlyLdconfig says that all a script does is refresh the linker's cache:
// half of the scripts of a real distribution. One run at the end does for all.
func onlyLdconfig(x script) bool {
	if len(x.args) == 0 {
		return false
	}
	if x.body == "" {
		return x.args[0] == "/sbin/ldconfig" || x.args[0] == "/usr/sbin/ldconfig"
	}
	if !isShell(x.args) {
		return false
	}
	cmds := lines(x.body)
	for _, c := range cmds {
		switch c {
		case "/sbin/ldconfig", "/usr/sbin/ldconfig", "ldconfig", "/sbin/ldconfig -X", "umask 007", "umask 022":
		default:
			return false
		}
	}
	return len(cmds) > 0
}

// presetUnits gives the units of a script that only presets units, in one of
// the forms that the macros of RPM distributions expand to; nil for others.
func presetUnits(x script) []string {
	if !isShell(x.args) {
		return nil
	}
	var units []string
	for _, c := range lines(x.body) {
		switch c {
		case "fi", "if [ $1 -eq 1 ] ; then", `if [ $1 -eq 1 ]; then`, "if [ $1 -eq 1 ] && [ -x /usr/bin/systemctl ] ; then",
			`if [ $1 -eq 1 ] && [ -x "/usr/lib/systemd/systemd-update-helper" ]; then`, "# Initial installation":
			continue
		}
		f := strings.Fields(c)
		for _, prefix := range [][]string{
			{"systemctl", "--no-reload", "preset"}, {"systemctl", "preset"}, {"/usr/bin/systemctl", "--no-reload", "preset"},
			{"/bin/systemctl", "--no-reload", "preset"}, {"/usr/lib/systemd/systemd-update-helper", "install-system-units"},
		} {
			if len(f) > len(prefix) && slices.Equal(f[:len(prefix)], prefix) {
				f = f[len(prefix):]
				c = ""
				break
			}
		}
		if c != "" || len(f) == 0 {
			return nil
		}
		for _, u := range f {
			if strings.HasPrefix(u, "-") || strings.ContainsAny(u, "$`'\"*?;|&<>(){}=") {
				return nil
			}
		}
		units = append(units, f...)
	}
	return units
}

// scriptlet gives a package's script of one kind, or false.
func scriptlet(p *rpm.Package, kind rpm.ScriptKind, argv ...int) (script, bool) {
	s := p.Script(kind)
	if s == nil {
		return script{}, false
	}
	return script{pkg: p.NEVRA, kind: string(kind), args: s.Args, body: s.Body, argv: argv}, true
}
