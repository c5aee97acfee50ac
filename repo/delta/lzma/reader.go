package lzma

import (
	"bytes"
	"io"

	"github.com/xi2/xz"
)

// maxDict is the largest dictionary that a stream may ask for (R7): that of the highest level of xz.
const maxDict = 64 << 20

// NewReader unpacks an xz stream.
func NewReader(data []byte) (io.Reader, error) {
	return xz.NewReader(bytes.NewReader(data), maxDict)
}
