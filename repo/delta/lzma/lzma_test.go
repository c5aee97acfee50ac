package lzma

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
)

func samples(t testing.TB) map[string][]byte {
	rnd := rand.New(rand.NewPCG(1, 1))
	noise := make([]byte, 300_000)
	for i := range noise {
		noise[i] = byte(rnd.Uint32())
	}
	var words bytes.Buffer
	for words.Len() < 500_000 {
		fmt.Fprintf(&words, "%x ", rnd.IntN(2000)*rnd.IntN(20))
	}
	sparse := make([]byte, 3_000_000)
	for range 4000 {
		sparse[rnd.IntN(len(sparse))] = byte(rnd.Uint32())
	}
	program, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{
		"nothing": nil, "a byte": {7}, "zeros": make([]byte, 5_000_000), "noise": noise, "words": words.Bytes(), "sparse": sparse,
		"noise between words": append(append(bytes.Clone(words.Bytes()), noise...), words.Bytes()...),
		"a program":           program[:min(len(program), 3<<20)],
	}
}

// TestCompress lets xz itself check what is written, and our reader too.
func TestCompress(t *testing.T) {
	for name, data := range samples(t) {
		for _, o := range []Options{{}, {Dict: 1 << 16, Nice: 8, Depth: 4}, {Nice: 273, Depth: 200}} {
			packed := Compress(data, o)
			if !bytes.Equal(packed, Compress(data, o)) {
				t.Errorf("%s: packed twice it differs", name)
			}
			r, err := NewReader(packed)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			got, err := io.ReadAll(r)
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("%s, %+v: unpacked %d of %d bytes, %v", name, o, len(got), len(data), err)
			}
			cmd := exec.Command("xz", "-dc")
			cmd.Stdin = bytes.NewReader(packed)
			if got, err := cmd.Output(); err != nil || !bytes.Equal(got, data) {
				t.Errorf("%s, %+v: xz unpacks %d of %d bytes, %v", name, o, len(got), len(data), err)
			}
			t.Logf("%s, %+v: %d -> %d", name, o, len(data), len(packed))
		}
	}
}
