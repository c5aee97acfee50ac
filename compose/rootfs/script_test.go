package rootfs

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// A script sees the tree as its root, a small /dev, /proc of its own, no
// network, no input, and the environment that every machine gives it.
func TestScriptSurroundings(t *testing.T) {
	b := mustBuild(t, Options{}, basePackage(t), buildRPM(t, "probe", `
%post
{
echo "args $# $1"
echo "umask $(umask)"
echo "lang $LANG $LC_ALL"
echo "epoch $SOURCE_DATE_EPOCH"
echo "pid $(readlink /proc/self/ns/pid > /dev/null && echo own)"
echo "uid $(id -u)"
echo "stdin $(cat)"
echo "net $(cat /proc/net/route)"
echo "dev $(ls /dev | while read l; do echo -n "$l "; done)"
echo hello > /tmp/left
echo hello > /run/left
echo hello > /dev/null
ls / > /etc/listing
} > /etc/probe 2>&1
touch /proc/sys/kernel/hostname 2>> /etc/probe && echo x > /proc/sys/kernel/hostname
exit 0
%files
`))
	got := b.read(t, "usr/etc/probe")
	for _, want := range []string{"args 1 1\n", "umask 0022\n", "lang C C\n", "epoch 1700000000\n", "uid 0\n", "stdin \n", "net \n",
		"dev fd full null random shm stderr stdin stdout urandom zero \n"} {
		if !strings.Contains(got, want) {
			t.Errorf("missing %q in\n%s", want, got)
		}
	}
	for _, f := range []string{"tmp/left", "run/left"} {
		if _, err := os.Lstat(filepath.Join(b.root, f)); err == nil {
			t.Errorf("%s stayed in the tree", f)
		}
	}
	if list := b.read(t, "usr/etc/listing"); strings.Contains(list, filepath.Base(b.root)) || !strings.Contains(list, "usr\n") {
		t.Errorf("the root of a script: %q", list)
	}
}

func TestScriptOrder(t *testing.T) {
	pkg := func(name string) string {
		return buildRPM(t, name, strings.ReplaceAll(`
%install
mkdir -p %{buildroot}/usr/share
echo x > %{buildroot}/usr/share/NAME
%pre
ls /usr/share/NAME > /dev/null 2>&1 && echo "NAME early" >> /etc/log
echo "NAME pre" >> /etc/log
%post
ls /usr/share/NAME > /dev/null 2>&1 || echo "NAME late" >> /etc/log
echo "NAME post" >> /etc/log
%posttrans
echo "NAME posttrans" >> /etc/log
%files
/usr/share/NAME
`, "NAME", name))
	}
	b := mustBuild(t, Options{}, basePackage(t), pkg("one"), pkg("two"))
	want := "one pre\none post\ntwo pre\ntwo post\none posttrans\ntwo posttrans\n"
	if got := b.read(t, "usr/etc/log"); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestFailingScripts(t *testing.T) {
	base := basePackage(t)
	b := build(t, Options{}, base, buildRPM(t, "bad", "%pre\necho no room for me\nexit 3\n%files\n"))
	if b.err == nil || b.err.Error() != "%pre of bad-1-1.noarch: exit status 3: no room for me" {
		t.Errorf("a failing %%pre: %v", b.err)
	}
	b = mustBuild(t, Options{}, base, buildRPM(t, "bad", "%post\necho broken >&2\nexit 4\n%files\n"))
	if len(b.warns) != 1 || b.warns[0] != "%post of bad-1-1.noarch: exit status 4: broken" {
		t.Errorf("a failing %%post: %q", b.warns)
	}
	b = mustBuild(t, Options{}, base, buildRPM(t, "bad", "%post -p /usr/bin/nothing\necho\n%files\n"))
	if len(b.warns) != 1 || !strings.Contains(b.warns[0], "/usr/bin/nothing") {
		t.Errorf("a missing interpreter: %q", b.warns)
	}
	b = mustBuild(t, Options{ScriptTimeout: time.Second}, base, buildRPM(t, "bad", "%post\nwhile :; do :; done\n%files\n"))
	if len(b.warns) != 1 || !strings.Contains(b.warns[0], "did not end within 1s") {
		t.Errorf("an endless script: %q", b.warns)
	}
}

// A build that is interrupted ends at once, and with it everything that a
// script started.
func TestInterrupt(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	root := t.TempDir()
	start := time.Now()
	_, err := Build(ctx, Options{Root: root, Packages: []string{basePackage(t), buildRPM(t, "slow", "%post\n(while :; do :; done) &\nwhile :; do :; done\n%files\n")}})
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 20*time.Second {
		t.Errorf("%v after %s", err, time.Since(start))
	}
	checkNoMounts(t, root)
	procs, _ := filepath.Glob("/proc/[0-9]*/root")
	for _, p := range procs {
		if target, _ := os.Readlink(p); strings.HasPrefix(target, root) {
			t.Errorf("%s still runs in the tree", p)
		}
	}
}

func TestTriggers(t *testing.T) {
	watcher := buildRPM(t, "watcher", `
%triggerin -- watched > 0.5
echo "watched $1 $2" >> /etc/log
%triggerin -- watched > 7
echo "too new" >> /etc/log
%triggerprein -- watched
echo "watched soon" >> /etc/log
%filetriggerin -P 5 -- /usr/share/plugins
while read f; do echo "file $f" >> /etc/log; done
%transfiletriggerin -- /usr/share/plugins
while read f; do echo "trans $f" >> /etc/log; done
%files
`)
	watched := buildRPM(t, "watched", `
%install
mkdir -p %{buildroot}/usr/share/plugins
echo x > %{buildroot}/usr/share/plugins/a
%post
echo "watched post" >> /etc/log
%files
/usr/share/plugins/a
`)
	b := mustBuild(t, Options{}, basePackage(t), watcher, watched)
	want := "watched soon\nwatched post\nwatched 1 1\nfile /usr/share/plugins/a\ntrans /usr/share/plugins/a\n"
	if got := b.read(t, "usr/etc/log"); got != want {
		t.Errorf("watcher first: got\n%swant\n%s", got, want)
	}
	b = mustBuild(t, Options{}, basePackage(t), watched, watcher)
	want = "watched post\nwatched 1 1\nfile /usr/share/plugins/a\ntrans /usr/share/plugins/a\n"
	if got := b.read(t, "usr/etc/log"); got != want {
		t.Errorf("watcher last: got\n%swant\n%s", got, want)
	}
}

func TestLua(t *testing.T) {
	b := mustBuild(t, Options{}, basePackage(t), buildRPM(t, "lua", `
%pre -p <lua>
-- as Fedora's filesystem does it
if posix.stat("/etc/dir", "type") ~= "directory" then
  assert(posix.mkdir("/etc/dir") == 0)
end
posix.symlink("dir", "/etc/link")
local st = posix.stat("/etc/link")
local f = assert(io.open("/etc/log", "w"))
f:write(st.type, " ", posix.readlink("/etc/link"), " ", tostring(arg[2]), "\n")
for i, p in ipairs(posix.dir("/etc/dir")) do f:write(p, " ") end
f:write(tostring(table.unpack({7})), " ", load("return 6*7")(), "\n")
f:close()
posix.chmod("/etc/log", "0600")
assert(rpm.execute("/usr/bin/touch", "/etc/touched") == 0)
assert(os.rename("/etc/touched", "/etc/moved"))
%files
`))
	if got := b.read(t, "usr/etc/log"); got != "link dir 1\n. .. 7 42\n" {
		t.Errorf("log: %q", got)
	}
	if fi, err := os.Stat(filepath.Join(b.root, "usr/etc/log")); err != nil || fi.Mode() != 0o600 {
		t.Errorf("mode: %v", fi.Mode())
	}
	b.read(t, "usr/etc/moved")
	bad := build(t, Options{}, basePackage(t), buildRPM(t, "bad", "%pre -p <lua>\nerror('not here')\n%files\n"))
	if bad.err == nil || !strings.Contains(bad.err.Error(), "%pre of bad-1-1.noarch: exit status 1: lua: ") || !strings.Contains(bad.err.Error(), "not here") {
		t.Errorf("a failing script: %v", bad.err)
	}
}

// %pretrans runs before there is anything: only Lua can.
func TestPretrans(t *testing.T) {
	first := buildRPM(t, "first", `
%pretrans -p <lua>
assert(posix.stat("/usr") == nil)
posix.mkdir("/usr")
posix.mkdir("/usr/bin")
posix.symlink("usr/bin", "/bin")
%files
`)
	b := mustBuild(t, Options{}, first, basePackage(t))
	if got, _ := os.Readlink(filepath.Join(b.root, "bin")); got != "usr/bin" {
		t.Errorf("/bin leads to %q", got)
	}
	early := build(t, Options{}, buildRPM(t, "early", "%pretrans\nexit 0\n%files\n"), basePackage(t))
	if early.err == nil || !strings.Contains(early.err.Error(), "%pretrans of early-1-1.noarch: exit status 127") {
		t.Errorf("a shell before there is one: %v", early.err)
	}
}

func TestKnownScripts(t *testing.T) {
	sh := []string{"/bin/sh"}
	for _, c := range []struct {
		what     string
		args     []string
		body     string
		ldconfig bool
		units    []string
	}{
		{"the interpreter is ldconfig", []string{"/sbin/ldconfig"}, "", true, nil},
		{"one line", sh, "/sbin/ldconfig", true, nil},
		{"with comments", sh, "# refresh\n/sbin/ldconfig || :\n\nexit 0\n", true, nil},
		{"something else as well", sh, "/sbin/ldconfig\nrm -f /etc/x\n", false, nil},
		{"an empty script", sh, "\n", false, nil},
		{"another interpreter", []string{"/usr/bin/python3"}, "ldconfig", false, nil},
		{"a preset", sh, "systemctl --no-reload preset a.service b.socket >/dev/null 2>&1 || :", false, []string{"a.service", "b.socket"}},
		{"the macro of systemd", sh, "if [ $1 -eq 1 ] ; then \n        # Initial installation \n        systemctl --no-reload preset a.service >/dev/null 2>&1 || : \nfi\n", false, []string{"a.service"}},
		{"a variable", sh, "systemctl --no-reload preset $UNIT || :", false, nil},
		{"an option", sh, "systemctl --no-reload preset --user a.service || :", false, nil},
		{"preset-all", sh, "systemctl preset-all >/dev/null 2>&1 || :", false, nil},
	} {
		x := script{args: c.args, body: c.body}
		if got := onlyLdconfig(x); got != c.ldconfig {
			t.Errorf("%s: onlyLdconfig is %v", c.what, got)
		}
		if got := presetUnits(x); !reflect.DeepEqual(got, c.units) {
			t.Errorf("%s: units %q", c.what, got)
		}
	}
}
