package ostree

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"photree/cli"
	"photree/repo/serve"

	"github.com/spf13/cobra"
)

func init() { register(newTrivialHTTPD) }

// httpdOptions are those of trivial-httpd: a server for tests, which can be told to fail.
type httpdOptions struct {
	faults              serve.Faults
	daemonize, autoexit bool
	port, listenFD      int
	portFile, logFile   string
	cookies, headers    []string
}

func newTrivialHTTPD(env *cli.Env) *cobra.Command {
	var o httpdOptions
	c := &cobra.Command{Use: "trivial-httpd [DIR]", Short: "Simple webserver", Hidden: true, Args: cobra.MaximumNArgs(1),
		Long: "Serve DIR (default: the current directory) on 127.0.0.1, for tests: it follows symbolic links wherever they lead\nand can be told to fail. Use `photree serve` to serve repositories."}
	f := c.Flags()
	f.BoolVarP(&o.daemonize, "daemonize", "d", false, "Fork into background when ready")
	f.BoolVar(&o.autoexit, "autoexit", false, "Automatically exit when directory is deleted")
	f.IntVarP(&o.port, "port", "P", 0, "Use the specified TCP `PORT`")
	f.StringVarP(&o.portFile, "port-file", "p", "", "Write port number to `PATH` (- for standard output)")
	f.BoolVar(&o.faults.HalfFiles, "force-range-requests", false, "Force range requests by only serving half of files")
	f.BoolVar(&o.faults.BasicAuth, "require-basic-auth", false, "Require username foouser, password barpw")
	f.IntVar(&o.faults.Percent500, "random-500s", 0, "Generate random HTTP 500 errors approximately for `PERCENTAGE` requests")
	f.IntVar(&o.faults.Max500, "random-500s-max", 100, "Limit HTTP 500 errors to `MAX`")
	f.IntVar(&o.faults.Percent408, "random-408s", 0, "Generate random HTTP 408 errors approximately for `PERCENTAGE` requests")
	f.IntVar(&o.faults.Max408, "random-408s-max", 100, "Limit HTTP 408 errors to `MAX`")
	f.StringVar(&o.logFile, "log-file", "", "Put logs to `PATH` (- for standard output)")
	f.StringArrayVar(&o.cookies, "expected-cookies", nil, "Expect the cookie `KEY=VALUE` in each request")
	f.StringArrayVar(&o.headers, "expected-header", nil, "Expect the header `KEY=VALUE` in each request")
	f.IntVar(&o.listenFD, "listen-fd", 0, "Serve on the open socket with this `NUMBER`")
	_ = f.MarkHidden("listen-fd")
	c.RunE = func(_ *cobra.Command, args []string) error { return trivialHTTPD(env, &o, args) }
	return c
}

func trivialHTTPD(env *cli.Env, o *httpdOptions, args []string) error {
	dir := "."
	if len(args) > 0 {
		dir = args[0]
	}
	if o.daemonize && o.logFile == "-" {
		return cli.Fail("Cannot use --log-file=- and --daemonize at the same time")
	}
	var err error
	if o.faults.Cookies, err = pairs("expected-cookies", o.cookies); err != nil {
		return err
	}
	if o.faults.Headers, err = pairs("expected-header", o.headers); err != nil {
		return err
	}
	l, err := o.listen()
	if err != nil {
		return err
	}
	defer l.Close()
	if o.portFile != "" {
		port := fmt.Sprintf("%d\n", l.Addr().(*net.TCPAddr).Port)
		if o.portFile == "-" {
			fmt.Fprint(env.Stdout, port)
		} else if err := os.WriteFile(o.portFile, []byte(port), 0o644); err != nil {
			return err
		}
	}
	if o.daemonize {
		return inBackground(env, l)
	}
	return o.serve(env, l, dir)
}

func pairs(option string, list []string) (map[string]string, error) {
	out := map[string]string{}
	for _, kv := range list {
		key, value, ok := strings.Cut(kv, "=")
		if !ok {
			return nil, cli.Fail("Missing '=' in --%s '%s'", option, kv)
		}
		out[key] = value
	}
	return out, nil
}

func (o *httpdOptions) listen() (net.Listener, error) {
	if o.listenFD == 0 {
		return net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", o.port))
	}
	f := os.NewFile(uintptr(o.listenFD), "socket")
	defer f.Close()
	return net.FileListener(f)
}

// inBackground starts this program again, in a session of its own and with the open socket: a Go program cannot fork.
// A client that connects before the other process is up waits in the socket's queue.
func inBackground(env *cli.Env, l net.Listener) error {
	socket, err := l.(*net.TCPListener).File()
	if err != nil {
		return err
	}
	defer socket.Close()
	again := []string{"ostree", "trivial-httpd", "--listen-fd=3"}
	verb := false
	for i := 0; i < len(env.Args); i++ {
		switch arg := env.Args[i]; {
		case !verb && arg == "trivial-httpd":
			verb = true
		case arg == "-d", arg == "--daemonize", strings.HasPrefix(arg, "--port-file="):
		case arg == "-p", arg == "--port-file":
			i++ // and the path behind it
		case verb:
			again = append(again, arg)
		}
	}
	cmd := &exec.Cmd{Path: "/proc/self/exe", Args: again, ExtraFiles: []*os.File{socket},
		SysProcAttr: &syscall.SysProcAttr{Setsid: true}}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("going into the background: %w", err)
	}
	return cmd.Process.Release()
}

func (o *httpdOptions) serve(env *cli.Env, l net.Listener, dir string) error {
	handler := o.faults.Handler(serve.HandlerFollowingLinks(dir))
	if o.logFile != "" {
		var log io.Writer = env.Stdout
		if o.logFile != "-" {
			f, err := os.OpenFile(o.logFile, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
			if err != nil {
				return err
			}
			defer f.Close()
			log = f
		}
		handler = serve.Log(handler, log)
	}
	ctx := env.Ctx
	if o.autoexit {
		watched, err := untilRemoved(env, dir)
		if err != nil {
			return err
		}
		ctx = watched
	}
	err := serve.Run(ctx, l, handler)
	if ctx.Err() != nil && env.Ctx.Err() == nil {
		return nil // the directory is gone, which is how it ends
	}
	return err
}

// removedEvery is how often trivial-httpd looks whether its directory is still there.
const removedEvery = 200 * time.Millisecond

var errRemoved = errors.New("the directory was removed")
