package photree

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"photree/cli"
	"photree/internal/durable"
	"photree/repo"
	"photree/repo/serve"

	"github.com/spf13/cobra"
)

func init() { register(newServe) }

type serveOptions struct {
	listen, portFile, accessLog string
}

func newServe(env *cli.Env) *cobra.Command {
	var o serveOptions
	c := &cobra.Command{
		Use:   "serve DIRECTORY",
		Short: "Serve a repository over HTTP",
		Long: "Serve DIRECTORY over HTTP: a repository that hosts pull from (it must be in mode archive), or a directory that\n" +
			"holds repositories. Nothing is ever written to it. Stops on SIGINT and SIGTERM, after the running answers.",
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return runServe(env, o, args[0]) },
	}
	c.Flags().StringVar(&o.listen, "listen", "127.0.0.1:8080", "Listen on `ADDRESS:PORT`; port 0 takes any free one")
	c.Flags().StringVar(&o.portFile, "port-file", "", "Write the port to `FILE` once requests are answered")
	c.Flags().StringVar(&o.accessLog, "access-log", "", "Append a line for each request to `FILE` (- is stderr)")
	return c
}

func runServe(env *cli.Env, o serveOptions, dir string) error {
	if err := checkServable(dir); err != nil {
		return err
	}
	handler := serve.Handler(dir)
	if o.accessLog != "" {
		log, err := openLog(env, o.accessLog)
		if err != nil {
			return err
		}
		defer log.Close()
		handler = serve.Log(handler, log)
	}
	l, err := net.Listen("tcp", o.listen)
	if err != nil {
		return fmt.Errorf("listening on %s: %w (choose another address with --listen)", o.listen, err)
	}
	if o.portFile != "" {
		if err := writePort(o.portFile, l.Addr()); err != nil {
			l.Close()
			return err
		}
	}
	fmt.Fprintf(env.Stdout, "Serving %s at http://%s/\n", dir, l.Addr())
	return serve.Run(env.Ctx, l, handler)
}

// checkServable refuses what no client could pull from, before anything listens.
func checkServable(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("serving %s: %w", dir, err)
	}
	if !info.IsDir() {
		return fmt.Errorf("serving %s: not a directory", dir)
	}
	if _, err := os.Stat(filepath.Join(dir, "objects")); err != nil {
		return nil
	}
	r, err := repo.Open(dir)
	if err != nil {
		return fmt.Errorf("serving %s: %w", dir, err)
	}
	defer r.Close()
	if r.Mode() != repo.ModeArchive {
		return fmt.Errorf("serving %s: the repository is in mode %s and clients pull only from mode archive; "+
			"make one with `ostree init --mode=archive --repo=NEW` and `ostree pull-local --repo=NEW %s`", dir, r.Mode(), dir)
	}
	return nil
}

func openLog(env *cli.Env, path string) (io.WriteCloser, error) {
	if path == "-" {
		return keepOpen{env.Stderr}, nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("opening the access log: %w", err)
	}
	return f, nil
}

type keepOpen struct{ io.Writer }

func (keepOpen) Close() error { return nil }

// writePort writes the whole line in one step: who waits for the file must never read half of it.
func writePort(path string, addr net.Addr) error {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return fmt.Errorf("writing %s: %s has no port", path, addr)
	}
	if err := durable.WriteFile(path, []byte(strconv.Itoa(tcp.Port)+"\n"), 0o644); err != nil {
		return fmt.Errorf("writing the port file: %w", err)
	}
	return nil
}
