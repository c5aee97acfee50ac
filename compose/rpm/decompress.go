package rpm

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz/lzma"
	"github.com/xi2/xz"
)

// maxWindow bounds the memory that a compressed stream can ask for: what
// zstd --long=27 and xz -9 need, with room to spare.
const maxWindow = 256 << 20

// Decompress picks the decompressor of a payload or a repository index by the
// first bytes, not by a header's word: packages of format 6 and of other
// builders name it wrongly or not at all. compressor only decides for lzma,
// which has no magic; a cpio archive is passed on as it is.
func Decompress(r io.Reader, compressor string) (io.ReadCloser, error) {
	br := bufio.NewReaderSize(r, 64<<10)
	head, err := br.Peek(13)
	if err != nil && err != io.EOF {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return gzip.NewReader(br)
	case bytes.HasPrefix(head, []byte{0xfd, '7', 'z', 'X', 'Z', 0}):
		x, err := xz.NewReader(br, maxWindow)
		return nopClose(x), err
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(br, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	case bytes.HasPrefix(head, []byte("BZh")):
		return nopClose(bzip2.NewReader(br)), nil
	case bytes.HasPrefix(head, []byte("0707")):
		return nopClose(br), nil
	case compressor == "lzma" && len(head) == 13:
		if dict := binary.LittleEndian.Uint32(head[1:]); dict > maxWindow {
			return nil, fmt.Errorf("the lzma dictionary of %d bytes is larger than %d", dict, maxWindow)
		}
		l, err := lzma.NewReader(br)
		return nopClose(l), err
	case len(head) == 0:
		return nil, fmt.Errorf("the payload is missing")
	}
	return nil, fmt.Errorf("unknown compression: the header says %q, the payload starts with % x", compressor, head)
}

func nopClose(r io.Reader) io.ReadCloser { return io.NopCloser(r) }
