package initramfs

import (
	"compress/gzip"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// Compression is how an image is compressed. The zero value is zstd, which every kernel since 5.9 can be built to read.
type Compression int

// The compressions.
const (
	Zstd Compression = iota
	Gzip
	None
)

// ParseCompression reads "zstd", "gzip" or "none".
func ParseCompression(s string) (Compression, error) {
	switch s {
	case "zstd", "":
		return Zstd, nil
	case "gzip":
		return Gzip, nil
	case "none":
		return None, nil
	}
	return 0, fmt.Errorf("unknown compression %q: use zstd, gzip or none", s)
}

func (c Compression) String() string {
	switch c {
	case Zstd:
		return "zstd"
	case Gzip:
		return "gzip"
	}
	return "none"
}

func (c Compression) writer(w io.Writer) (io.WriteCloser, error) {
	switch c {
	case Zstd:
		// One goroutine: how blocks fall must not depend on the number of processors (B3). The window is within what
		// the kernel's decoder takes (128 MiB); a larger one finds the code that modules have in common.
		return zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1),
			zstd.WithWindowSize(8<<20))
	case Gzip:
		return gzip.NewWriterLevel(w, gzip.BestCompression)
	case None:
		return nopCloser{w}, nil
	}
	return nil, fmt.Errorf("unknown compression %d", int(c))
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }
