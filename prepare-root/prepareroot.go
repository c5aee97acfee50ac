// Package prepareroot turns the mounted physical root file system into the root of one deployment: it follows the
// kernel argument ostree= and makes the mounts.
//
// It reads the kernel command line, the configuration in the initramfs and the links under /ostree of the sysroot. It
// writes /run/ostree-booted, makes mounts, and writes nothing to the disk (B1). What ostree= names is resolved inside
// of the sysroot: no link can lead out of it. If it does not resolve, the result is an error that says so, with
// nothing mounted; never another deployment (B2).
package prepareroot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"photree/internal/kargs"

	"golang.org/x/sys/unix"
)

// Options of Run. The zero value is the usual case of an initramfs.
type Options struct {
	// Sysroot is where the physical root file system is mounted, and where the deployment's root will be: "/sysroot".
	Sysroot string
	// Cmdline is the kernel command line; "" reads /proc/cmdline.
	Cmdline string
	// Run is the directory of the booted system's /run: "/run".
	Run string
	// Config lists configuration files, later ones overriding earlier ones; nil stands for prepare-root.conf in
	// /usr/lib/ostree and in /etc/ostree of the initramfs.
	Config []string
	// Log takes one line about each step; nil drops them.
	Log func(string)
}

// Result tells what was mounted.
type Result struct {
	Deployment      string // its directory, relative to the physical root: ostree/deploy/OS/deploy/CHECKSUM.SERIAL
	Stateroot       string
	SysrootReadonly bool
}

// NotFoundError says that ostree= does not lead to a deployment. PID 1 shows it to the user in full.
type NotFoundError struct {
	Target string // the value of ostree=
	Err    error
}

func (e *NotFoundError) Error() string {
	return "ostree=" + e.Target + " does not lead to a deployment: " + e.Err.Error()
}

func (e *NotFoundError) Unwrap() error { return e.Err }

// ErrNoTarget says that the kernel command line has no ostree=. PID 1 then boots the physical root itself, as a system
// that is not made of deployments.
var ErrNoTarget = errors.New("the kernel command line has no ostree=")

func (o Options) withDefaults() (Options, error) {
	if o.Sysroot == "" {
		o.Sysroot = "/sysroot"
	}
	if o.Run == "" {
		o.Run = "/run"
	}
	if o.Config == nil {
		o.Config = []string{"/usr/lib/ostree/prepare-root.conf", "/etc/ostree/prepare-root.conf"}
	}
	if o.Log == nil {
		o.Log = func(string) {}
	}
	if o.Cmdline == "" {
		data, err := os.ReadFile("/proc/cmdline")
		if err != nil {
			return o, fmt.Errorf("reading the kernel command line: %w", err)
		}
		o.Cmdline = string(data)
	}
	return o, nil
}

// Run mounts the deployment that ostree= names over Options.Sysroot.
func Run(o Options) (Result, error) {
	o, err := o.withDefaults()
	if err != nil {
		return Result{}, err
	}
	target, err := Target(o.Cmdline)
	if err != nil {
		return Result{}, err
	}
	conf, err := o.config()
	if err != nil {
		return Result{}, err
	}
	dep, err := resolve(o.Sysroot, target)
	if err != nil {
		return Result{}, err
	}
	o.Log("deployment /" + dep.path)
	res := Result{Deployment: dep.path, Stateroot: dep.stateroot, SysrootReadonly: conf.SysrootReadonly}
	return res, mountAll(o, dep, conf.SysrootReadonly)
}

// Target returns the value of ostree= in a kernel command line, or ErrNoTarget.
func Target(cmdline string) (string, error) {
	list := kargs.Parse(cmdline)
	target, ok := list.Lookup("ostree")
	if !ok {
		return "", ErrNoTarget
	}
	if target == "" {
		return "", &NotFoundError{target, errors.New("it has no value")}
	}
	return target, nil
}

// config reads the configuration and the kernel arguments that override it.
func (o Options) config() (*Config, error) {
	conf, err := loadConfig(o.Config)
	if err != nil {
		return nil, err
	}
	if value, ok := kargs.Parse(o.Cmdline).Lookup("ostree.prepare-root.composefs"); ok {
		if err := conf.merge([]byte("[composefs]\nenabled=" + value)); err != nil {
			return nil, err
		}
	}
	for _, w := range conf.Warnings {
		o.Log("warning: " + w)
	}
	if err := conf.Supported(); err != nil {
		return nil, err
	}
	if !conf.SysrootSet {
		conf.SysrootReadonly, err = repoReadonly(filepath.Join(o.Sysroot, "ostree/repo/config"))
		if err != nil {
			// As ostree does: a repository that cannot be read must not keep the machine from booting.
			o.Log("warning: " + err.Error())
		}
	}
	return conf, nil
}

// deployment is a resolved ostree= argument.
type deployment struct {
	path      string // relative to the physical root
	stateroot string
	dev, ino  uint64
}

// resolve follows target inside of sysroot.
func resolve(sysroot, target string) (*deployment, error) {
	fail := func(err error) (*deployment, error) { return nil, &NotFoundError{target, err} }
	root, err := unix.Open(sysroot, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening the physical root %s: %w", sysroot, err)
	}
	defer unix.Close(root)
	how := unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV,
	}
	fd, err := unix.Openat2(root, target, &how)
	if err != nil {
		return fail(explain(root, target, err))
	}
	defer unix.Close(fd)
	rel, err := relative(root, fd)
	if err != nil {
		return fail(err)
	}
	parts := strings.Split(rel, "/")
	if len(parts) != 5 || parts[0] != "ostree" || parts[1] != "deploy" || parts[3] != "deploy" {
		return fail(fmt.Errorf("it is /%s, which is not /ostree/deploy/STATEROOT/deploy/CHECKSUM.SERIAL", rel))
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fail(err)
	}
	d := &deployment{path: rel, stateroot: parts[2], dev: st.Dev, ino: st.Ino}
	return d, d.check(root)
}

// check looks for the directories that the mounts need before any is made.
func (d *deployment) check(root int) error {
	for _, dir := range []string{"usr", "etc", "var", "sysroot", "../../var"} {
		var st unix.Stat_t
		path := d.path + "/" + dir
		err := unix.Fstatat(root, path, &st, unix.AT_SYMLINK_NOFOLLOW)
		if err == nil && st.Mode&unix.S_IFMT != unix.S_IFDIR {
			err = unix.ENOTDIR
		}
		if err != nil {
			return fmt.Errorf("the deployment /%s is not complete: /%s: %w", d.path, filepath.Clean(path), err)
		}
	}
	return nil
}

// explain finds the first part of target that is missing, since "no such file" alone does not tell a broken link from
// a wrong disk.
func explain(root int, target string, err error) error {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	parts := strings.Split(strings.Trim(filepath.Clean("/"+target), "/"), "/")
	for i := range parts {
		prefix := strings.Join(parts[:i+1], "/")
		fd, perr := unix.Openat2(root, prefix, &how)
		if perr == nil {
			unix.Close(fd)
			continue
		}
		buf := make([]byte, unix.PathMax)
		if n, lerr := unix.Readlinkat(root, prefix, buf); lerr == nil {
			return fmt.Errorf("the link /%s -> %s is broken: %w", prefix, buf[:n], perr)
		}
		return fmt.Errorf("/%s: %w", prefix, perr)
	}
	return err
}

// relative returns the path of fd below root, as the kernel knows it after following every link.
func relative(root, fd int) (string, error) {
	base, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(root))
	if err != nil {
		return "", err
	}
	full, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil {
		return "", err
	}
	if base == "/" {
		return strings.TrimPrefix(full, "/"), nil
	}
	rel, ok := strings.CutPrefix(full, base+"/")
	if !ok {
		return "", fmt.Errorf("it leads to %s, outside of %s", full, base)
	}
	return rel, nil
}
