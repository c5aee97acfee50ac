package delta

import (
	"github.com/klauspost/compress/flate"
)

// counter counts what is written to it.
type counter int

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

// packedSize returns about how small data can be made.
func packedSize(data []byte) int {
	var n counter
	z, err := flate.NewWriter(&n, 1)
	if err != nil {
		return len(data)
	}
	_, _ = z.Write(data) // a counter does not fail
	_ = z.Close()
	return int(n)
}
