// Package serve answers HTTP requests for the files of a directory, such as a repository or a directory that holds some.
//
// It reads, and never writes. It answers GET and HEAD with range and conditional requests, lists a directory as a small
// HTML page with status 200 (installers probe the address of a repository and want to see that), never follows a path or
// (but for HandlerFollowingLinks) a symbolic link out of the directory, and hides names that begin with a dot. It knows nothing of the repository's
// formats but this: an object never changes, so that caches may keep it.
package serve

import (
	"context"
	"errors"
	"fmt"
	"html"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Handler serves the directory dir. The directory is opened for each request, so that it may be replaced as a whole.
func Handler(dir string) http.Handler { return handler{dir: dir} }

// HandlerFollowingLinks is Handler that follows symbolic links out of the directory. It is for tests: whoever can make
// a link in the directory can give out every file that the server can read.
func HandlerFollowingLinks(dir string) http.Handler { return handler{dir: dir, follow: true} }

type handler struct {
	dir    string
	follow bool
}

// stopTimeout is how long running answers get when the server stops.
const stopTimeout = 10 * time.Second

// Run answers requests on l until ctx ends, then lets running answers finish for a while. It closes l.
func Run(ctx context.Context, l net.Listener, h http.Handler) error {
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute}
	stopped := make(chan error, 1)
	go func() {
		<-ctx.Done()
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		err := srv.Shutdown(grace)
		if err != nil {
			err = srv.Close()
		}
		stopped <- err
	}()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving on %s: %w", l.Addr(), err)
	}
	return <-stopped
}

func (h handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "405 only GET and HEAD are answered", http.StatusMethodNotAllowed)
		return
	}
	name, ok := fileName(r.URL.Path)
	if !ok {
		http.Error(w, "404 no such file", http.StatusNotFound)
		return
	}
	f, err := h.open(name)
	if err != nil {
		refuse(w, err)
		return
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		refuse(w, err)
	case info.IsDir():
		list(w, r, f)
	case info.Mode().IsRegular():
		serveFile(w, r, f, info)
	default:
		http.Error(w, "404 not a regular file", http.StatusNotFound)
	}
}

func (h handler) open(name string) (*os.File, error) {
	// O_NONBLOCK: opening a FIFO in the directory must not hold the request for ever.
	const flags = os.O_RDONLY | syscall.O_NONBLOCK
	if h.follow {
		return os.OpenFile(path.Join(h.dir, name), flags, 0)
	}
	root, err := os.OpenRoot(h.dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return root.OpenFile(name, flags, 0)
}

// fileName turns the path of a URL into a name inside the directory.
func fileName(urlPath string) (string, bool) {
	if strings.ContainsRune(urlPath, 0) || !strings.HasPrefix(urlPath, "/") {
		return "", false
	}
	name := strings.TrimPrefix(path.Clean(urlPath), "/")
	if name == "" {
		return ".", true
	}
	for part := range strings.SplitSeq(name, "/") {
		if strings.HasPrefix(part, ".") {
			return "", false
		}
	}
	return name, true
}

// refuse answers with the status that fits err, and never shows a path of this machine.
func refuse(w http.ResponseWriter, err error) {
	switch {
	case errors.Is(err, fs.ErrPermission):
		http.Error(w, "403 not readable by the server", http.StatusForbidden)
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.EIO):
		http.Error(w, "500 cannot read the file", http.StatusInternalServerError)
	default: // missing, a file used as a directory, a link out of the directory
		http.Error(w, "404 no such file", http.StatusNotFound)
	}
}

var objectPath = regexp.MustCompile(`(^|/)objects/[0-9a-f]{2}/[0-9a-f]{62}\.(commit|dirtree|dirmeta|filez|file)$`)

func serveFile(w http.ResponseWriter, r *http.Request, f *os.File, info fs.FileInfo) {
	head := w.Header()
	// The inode is in the tag because a summary may be replaced twice within the clock's grain and keep its size.
	var inode uint64
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		inode = st.Ino
	}
	head.Set("ETag", fmt.Sprintf(`"%x-%x-%x"`, inode, info.Size(), info.ModTime().UnixNano()))
	if objectPath.MatchString(r.URL.Path) {
		head.Set("Cache-Control", "public, max-age=31536000, immutable")
	} else {
		head.Set("Cache-Control", "no-cache")
	}
	head.Set("X-Content-Type-Options", "nosniff")
	if strings.HasSuffix(r.URL.Path, "/config") {
		head.Set("Content-Type", "text/plain; charset=utf-8")
	} else {
		head.Set("Content-Type", "application/octet-stream")
	}
	http.ServeContent(w, r, "", info.ModTime(), f)
}

// list answers with the names in a directory. A URL without the slash at its end gets a base instead of a redirect:
// whoever only looks at the status sees 200.
func list(w http.ResponseWriter, r *http.Request, dir *os.File) {
	entries, err := dir.ReadDir(-1)
	if err != nil {
		refuse(w, err)
		return
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		switch {
		case strings.HasPrefix(e.Name(), "."):
		case e.IsDir():
			names = append(names, e.Name()+"/")
		default:
			names = append(names, e.Name())
		}
	}
	writeIndex(w, r, names)
}

func writeIndex(w http.ResponseWriter, r *http.Request, names []string) {
	slices.Sort(names)
	var b strings.Builder
	title := html.EscapeString(r.URL.Path)
	fmt.Fprintf(&b, "<!DOCTYPE html>\n<html><head><meta charset=\"utf-8\"><title>Index of %s</title>", title)
	if !strings.HasSuffix(r.URL.Path, "/") {
		base := (&url.URL{Path: "./" + path.Base(r.URL.Path) + "/"}).String()
		fmt.Fprintf(&b, "<base href=\"%s\">", html.EscapeString(base))
	}
	fmt.Fprintf(&b, "</head><body>\n<h1>Index of %s</h1>\n<pre>\n", title)
	for _, name := range names {
		link := (&url.URL{Path: "./" + name}).String()
		fmt.Fprintf(&b, "<a href=\"%s\">%s</a>\n", html.EscapeString(link), html.EscapeString(name))
	}
	b.WriteString("</pre>\n</body></html>\n")
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-cache")
	http.ServeContent(w, r, "", time.Time{}, strings.NewReader(b.String()))
}
