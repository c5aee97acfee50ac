package rootfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	lua "github.com/yuin/gopher-lua"
	"golang.org/x/sys/unix"
)

// runLua runs a script for RPM's embedded interpreter. It runs in the second
// stage, after the tree has become the root: its file functions need no
// translation, and the programs it starts are inside as well.
//
// The language is Lua 5.1 with what newer scripts use of later versions
// (table.unpack, load of strings); scripts that need more syntax fail with the
// interpreter's message. Of the tables posix and rpm there is what packages of
// RPM distributions use; posix.fork is not: rpm.execute does its work.
func runLua(j job) error {
	if err := setEnvironment(j); err != nil {
		return err
	}
	l := lua.NewState()
	defer l.Close()
	arg := l.NewTable()
	for i, a := range j.ScriptArgs {
		// RPM gives the counts from index 2: 1 is the script's name.
		l.RawSetInt(arg, i+2, lua.LString(a))
	}
	l.RawSetInt(arg, 1, lua.LString("scriptlet"))
	l.SetGlobal("arg", arg)
	l.SetField(l.GetGlobal("table"), "unpack", l.GetGlobal("unpack"))
	l.SetGlobal("load", l.NewFunction(luaLoad))
	posix := l.SetFuncs(l.NewTable(), posixFuncs)
	l.SetGlobal("posix", posix)
	l.SetGlobal("rpm", l.SetFuncs(l.NewTable(), rpmFuncs))
	l.PreloadModule("posix", func(l *lua.LState) int { l.Push(posix); return 1 })
	if err := l.DoString(j.Script); err != nil {
		var a *lua.ApiError
		if errors.As(err, &a) && a.Object != lua.LNil {
			return fmt.Errorf("lua: %s", a.Object.String())
		}
		return fmt.Errorf("lua: %w", err)
	}
	return nil
}

// luaLoad is load of Lua 5.2: it takes text as well as a function.
func luaLoad(l *lua.LState) int {
	text := ""
	switch v := l.CheckAny(1).(type) {
	case lua.LString:
		text = string(v)
	case *lua.LFunction:
		for {
			l.Push(v)
			l.Call(0, 1)
			s := l.Get(-1)
			l.Pop(1)
			if s == lua.LNil || s.String() == "" {
				break
			}
			text += s.String()
		}
	}
	f, err := l.Load(strings.NewReader(text), l.OptString(2, "load"))
	if err != nil {
		l.Push(lua.LNil)
		l.Push(lua.LString(err.Error()))
		return 2
	}
	l.Push(f)
	return 1
}

// luaResult gives 0 for success, else nil, the message and the number, as the
// functions of luaposix do.
func luaResult(l *lua.LState, err error) int {
	if err == nil {
		l.Push(lua.LNumber(0))
		return 1
	}
	l.Push(lua.LNil)
	l.Push(lua.LString(err.Error()))
	var errno syscall.Errno
	errors.As(err, &errno)
	l.Push(lua.LNumber(errno))
	return 3
}

var posixFuncs = map[string]lua.LGFunction{
	"access": func(l *lua.LState) int {
		mode := uint32(0)
		for _, c := range l.OptString(2, "f") {
			mode |= map[rune]uint32{'r': unix.R_OK, 'w': unix.W_OK, 'x': unix.X_OK}[c]
		}
		return luaResult(l, unix.Access(l.CheckString(1), mode))
	},
	"chdir": func(l *lua.LState) int { return luaResult(l, os.Chdir(l.CheckString(1))) },
	"chmod": func(l *lua.LState) int {
		mode, err := parseMode(l.CheckString(1), l.CheckString(2))
		if err == nil {
			err = unix.Chmod(l.CheckString(1), mode)
		}
		return luaResult(l, err)
	},
	"chown": func(l *lua.LState) int {
		uid, err := luaID(l.CheckAny(2), "/etc/passwd")
		if err != nil {
			return luaResult(l, err)
		}
		gid, err := luaID(l.CheckAny(3), "/etc/group")
		if err != nil {
			return luaResult(l, err)
		}
		return luaResult(l, os.Chown(l.CheckString(1), uid, gid))
	},
	"dir":   luaDir,
	"files": luaFiles,
	"getcwd": func(l *lua.LState) int {
		d, _ := os.Getwd()
		l.Push(lua.LString(d))
		return 1
	},
	"getenv": func(l *lua.LState) int {
		if v, ok := os.LookupEnv(l.CheckString(1)); ok {
			l.Push(lua.LString(v))
		} else {
			l.Push(lua.LNil)
		}
		return 1
	},
	"setenv": func(l *lua.LState) int { return luaResult(l, os.Setenv(l.CheckString(1), l.CheckString(2))) },
	"getpid": func(l *lua.LState) int { l.Push(lua.LNumber(os.Getpid())); return 1 },
	"link":   func(l *lua.LState) int { return luaResult(l, os.Link(l.CheckString(1), l.CheckString(2))) },
	"mkdir":  func(l *lua.LState) int { return luaResult(l, os.Mkdir(l.CheckString(1), 0o777)) },
	"mkfifo": func(l *lua.LState) int { return luaResult(l, unix.Mkfifo(l.CheckString(1), 0o666)) },
	"readlink": func(l *lua.LState) int {
		t, err := os.Readlink(l.CheckString(1))
		if err != nil {
			return luaResult(l, err)
		}
		l.Push(lua.LString(t))
		return 1
	},
	"rmdir":   func(l *lua.LState) int { return luaResult(l, unix.Rmdir(l.CheckString(1))) },
	"sleep":   func(l *lua.LState) int { l.Push(lua.LNumber(0)); return 1 },
	"stat":    luaStat,
	"symlink": func(l *lua.LState) int { return luaResult(l, os.Symlink(l.CheckString(1), l.CheckString(2))) },
	"umask":   func(l *lua.LState) int { l.Push(lua.LString("rwxr-xr-x")); return 1 },
	"uname":   func(l *lua.LState) int { l.Push(lua.LString("Linux")); return 1 },
	"unlink":  func(l *lua.LState) int { return luaResult(l, unix.Unlink(l.CheckString(1))) },
	"utime": func(l *lua.LState) int {
		at := time.Unix(l.OptInt64(2, 0), 0)
		return luaResult(l, os.Chtimes(l.CheckString(1), at, at))
	},
	"exec": func(l *lua.LState) int {
		l.RaiseError("posix.exec is not supported in a compose; use rpm.execute")
		return 0
	},
	"fork": func(l *lua.LState) int {
		l.RaiseError("posix.fork is not supported in a compose; use rpm.execute")
		return 0
	},
}

// luaDir lists a directory as a table; luaFiles gives an iterator.
func luaDir(l *lua.LState) int {
	list, err := os.ReadDir(l.OptString(1, "."))
	if err != nil {
		return luaResult(l, err)
	}
	t := l.NewTable()
	for _, name := range append([]string{".", ".."}, names(list)...) {
		t.Append(lua.LString(name))
	}
	l.Push(t)
	return 1
}

func luaFiles(l *lua.LState) int {
	list, err := os.ReadDir(l.OptString(1, "."))
	if err != nil {
		l.RaiseError("%v", err)
	}
	rest := append([]string{".", ".."}, names(list)...)
	l.Push(l.NewFunction(func(l *lua.LState) int {
		if len(rest) == 0 {
			l.Push(lua.LNil)
			return 1
		}
		l.Push(lua.LString(rest[0]))
		rest = rest[1:]
		return 1
	}))
	return 1
}

func names(list []os.DirEntry) []string {
	var out []string
	for _, e := range list {
		out = append(out, e.Name())
	}
	return out
}

// luaStat gives a table, or one field of it.
func luaStat(l *lua.LState) int {
	var st unix.Stat_t
	if err := unix.Lstat(l.CheckString(1), &st); err != nil {
		return luaResult(l, &fs.PathError{Op: "stat", Path: l.CheckString(1), Err: err})
	}
	kind := map[uint32]string{unix.S_IFDIR: "directory", unix.S_IFREG: "regular", unix.S_IFLNK: "link",
		unix.S_IFCHR: "character device", unix.S_IFBLK: "block device", unix.S_IFIFO: "fifo", unix.S_IFSOCK: "socket"}[st.Mode&unix.S_IFMT]
	fields := map[string]lua.LValue{
		"type": lua.LString(kind), "mode": lua.LString(fs.FileMode(st.Mode & 0o777).String()[1:]),
		"size": lua.LNumber(st.Size), "uid": lua.LNumber(st.Uid), "gid": lua.LNumber(st.Gid), "nlink": lua.LNumber(st.Nlink),
		"ino": lua.LNumber(st.Ino), "dev": lua.LNumber(st.Dev), "mtime": lua.LNumber(st.Mtim.Sec),
		"atime": lua.LNumber(st.Atim.Sec), "ctime": lua.LNumber(st.Ctim.Sec),
	}
	if want := l.OptString(2, ""); want != "" {
		if v, ok := fields[want]; ok {
			l.Push(v)
		} else {
			l.Push(lua.LNil)
		}
		return 1
	}
	t := l.NewTable()
	for k, v := range fields {
		t.RawSetString(k, v)
	}
	l.Push(t)
	return 1
}

// luaID takes a number or a name of the tree.
func luaID(v lua.LValue, file string) (int, error) {
	if n, ok := v.(lua.LNumber); ok {
		return int(n), nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	for _, line := range strings.Split(string(data), "\n") {
		if f := strings.Split(line, ":"); f[0] == v.String() && len(f) > 2 {
			var n int
			_, err := fmt.Sscan(f[2], &n)
			return n, err
		}
	}
	return 0, fmt.Errorf("%q is not in %s", v.String(), file)
}

// parseMode reads an octal mode, "rwxr-xr-x", or "u+x,go-w".
func parseMode(file, s string) (uint32, error) {
	var n uint32
	if _, err := fmt.Sscanf(s, "%o", &n); err == nil && strings.Trim(s, "01234567") == "" {
		return n, nil
	}
	if len(s) == 9 && strings.Trim(s, "rwxst-") == "" {
		for i, c := range s {
			n <<= 1
			if c != '-' {
				n |= 1
			}
			_ = i
		}
		return n, nil
	}
	fi, err := os.Stat(file)
	if err != nil {
		return 0, err
	}
	n = uint32(fi.Mode().Perm())
	for _, clause := range strings.Split(s, ",") {
		at := strings.IndexAny(clause, "+-=")
		if at < 0 {
			return 0, fmt.Errorf("mode %q is not understood", s)
		}
		var who, bits uint32
		for _, c := range clause[:at] {
			who |= map[rune]uint32{'u': 0o700, 'g': 0o070, 'o': 0o007, 'a': 0o777}[c]
		}
		if at == 0 {
			who = 0o777
		}
		for _, c := range clause[at+1:] {
			bits |= map[rune]uint32{'r': 0o444, 'w': 0o222, 'x': 0o111}[c]
		}
		switch clause[at] {
		case '+':
			n |= bits & who
		case '-':
			n &^= bits & who
		case '=':
			n = n&^who | bits&who
		}
	}
	return n, nil
}

var rpmFuncs = map[string]lua.LGFunction{
	"execute": luaExecute,
	"spawn": func(l *lua.LState) int {
		t := l.CheckTable(1)
		l.SetTop(0)
		t.ForEach(func(_, v lua.LValue) { l.Push(v) })
		return luaExecute(l)
	},
	"expand": func(l *lua.LState) int { l.Push(lua.LString(l.CheckString(1))); return 1 },
	"define": func(l *lua.LState) int { return 0 },
	"glob": func(l *lua.LState) int {
		list, _ := filepath.Glob(l.CheckString(1))
		t := l.NewTable()
		for _, f := range list {
			t.Append(lua.LString(f))
		}
		l.Push(t)
		return 1
	},
	"next_file": func(l *lua.LState) int {
		// Names for file triggers come on standard input.
		var line []byte
		b := make([]byte, 1)
		for {
			n, err := os.Stdin.Read(b)
			if n == 1 && b[0] != '\n' {
				line = append(line, b[0])
				continue
			}
			if len(line) == 0 && (err != nil || n == 0) {
				l.Push(lua.LNil)
				return 1
			}
			l.Push(lua.LString(line))
			return 1
		}
	},
}

// luaExecute runs a program and gives its exit status.
func luaExecute(l *lua.LState) int {
	var args []string
	for i := 1; i <= l.GetTop(); i++ {
		args = append(args, l.CheckString(i))
	}
	if len(args) == 0 {
		l.RaiseError("rpm.execute: no program")
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	err := cmd.Run()
	if err == nil {
		l.Push(lua.LNumber(0))
		return 1
	}
	l.Push(lua.LNil)
	l.Push(lua.LString(err.Error()))
	l.Push(lua.LNumber(cmd.ProcessState.ExitCode()))
	return 3
}
