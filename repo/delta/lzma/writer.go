package lzma

import (
	"bytes"

	"github.com/ulikunitz/xz"
)

// Compress packs data into an xz stream.
func Compress(data []byte) ([]byte, error) {
	var buf bytes.Buffer
	w, err := xz.WriterConfig{DictCap: 8 << 20, CheckSum: xz.CRC64}.NewWriter(&buf)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(data); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}
