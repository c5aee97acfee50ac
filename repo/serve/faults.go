package serve

import (
	"crypto/subtle"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
)

// Faults are what a server for tests does besides serving. The zero value does nothing.
type Faults struct {
	BasicAuth              bool // refuse who is not foouser with the password barpw
	HalfFiles              bool // break off objects in the middle where no range was asked for
	Percent500, Percent408 int  // of the requests fail with that status,
	Max500, Max408         int  // but no more than so many
	Cookies, Headers       map[string]string

	sent500, sent408 atomic.Int64
}

// Handler puts the faults before h.
func (f *Faults) Handler(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch status := f.status(r); {
		case status == http.StatusUnauthorized:
			w.Header().Set("WWW-Authenticate", `Basic realm="auth-test"`)
			http.Error(w, "401", status)
		case status != 0:
			http.Error(w, strconv.Itoa(status), status)
		case f.HalfFiles && r.Header.Get("Range") == "" && strings.Contains(r.URL.Path, "/objects"):
			h.ServeHTTP(&halfWriter{ResponseWriter: w}, r)
		default:
			h.ServeHTTP(w, r)
		}
	})
}

// status returns the status that a request fails with, or 0.
func (f *Faults) status(r *http.Request) int {
	user, password, _ := r.BasicAuth()
	if f.BasicAuth && (!equal(user, "foouser") || !equal(password, "barpw")) {
		return http.StatusUnauthorized
	}
	for name, want := range f.Cookies {
		if c, err := r.Cookie(name); err != nil || c.Value != want {
			return http.StatusForbidden
		}
	}
	for name, want := range f.Headers {
		if r.Header.Get(name) != want {
			return http.StatusForbidden
		}
	}
	if f.Percent500 > rand.IntN(100) && f.sent500.Add(1) <= int64(f.Max500) {
		return http.StatusInternalServerError
	}
	if f.Percent408 > rand.IntN(100) && f.sent408.Add(1) <= int64(f.Max408) {
		return http.StatusRequestTimeout
	}
	return 0
}

func equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// halfWriter breaks the connection off when half of what was announced is written.
type halfWriter struct {
	http.ResponseWriter
	left int64
	cut  bool
}

func (w *halfWriter) WriteHeader(status int) {
	size, err := strconv.ParseInt(w.Header().Get("Content-Length"), 10, 64)
	w.left, w.cut = size/2, err == nil && status == http.StatusOK
	w.ResponseWriter.WriteHeader(status)
}

func (w *halfWriter) Write(p []byte) (int, error) {
	if !w.cut {
		return w.ResponseWriter.Write(p)
	}
	n, err := w.ResponseWriter.Write(p[:min(int64(len(p)), w.left)])
	if w.left -= int64(n); err == nil && w.left == 0 {
		_ = http.NewResponseController(w.ResponseWriter).Flush()
		// The server closes the connection; the client sees an answer that is too short.
		panic(http.ErrAbortHandler)
	}
	return n, err
}
