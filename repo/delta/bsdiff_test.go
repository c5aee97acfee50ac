package delta

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestSortSuffixes(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for size := range 400 {
		for _, symbols := range []int{1, 2, 4, 256} {
			text := make([]byte, size)
			for i := range text {
				text[i] = byte(rnd.IntN(symbols))
			}
			want := make([]int32, size)
			for i := range want {
				want[i] = int32(i)
			}
			slices.SortFunc(want, func(a, b int32) int { return bytes.Compare(text[a:], text[b:]) })
			if got := sortSuffixes(nil, text); !slices.Equal(got, want) {
				t.Fatalf("%d bytes of %d symbols %v: %v, want %v", size, symbols, text, got, want)
			}
		}
	}
}

func TestPatch(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	random := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rnd.Uint32())
		}
		return b
	}
	base := random(100_000)
	moved := slices.Concat(base[50_000:], base[:50_000])
	shifted := bytes.Clone(base)
	for i := 0; i < len(shifted); i += 37 {
		shifted[i]++
	}
	big := random(newWindow + 3<<20)
	bigger := slices.Concat([]byte("in front"), big[:1<<20], random(100), big[1<<20:])
	for _, c := range []struct {
		name     string
		old, new []byte
		most     int // how long the patch may be after zeros are counted out
	}{
		{"nothing to nothing", nil, nil, 24},
		{"nothing to something", nil, base, 100_100},
		{"something to nothing", base, nil, 24},
		{"the same", base, base, 50},
		{"one byte", base, slices.Concat(base[:777], []byte{1}, base[777:]), 100},
		{"halves swapped", base, moved, 200},
		{"addresses moved", base, shifted, 3000},
		{"unrelated", base, random(50_000), 51_000},
		{"several windows", big, bigger, 400},
		{"runs", bytes.Repeat([]byte{0}, 50_000), bytes.Repeat([]byte{0}, 50_001), 100},
	} {
		patch, ok := makePatch(c.old, c.new, 2*len(c.new)+100)
		if !ok {
			t.Errorf("%s: the patch is too long", c.name)
			continue
		}
		r, err := newPatchReader(c.old, patch, uint64(len(c.new)))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		got, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(got, c.new) {
			t.Errorf("%s: %v; not what was patched for: %d bytes, want %d", c.name, err, len(got), len(c.new))
		}
		if n := len(patch) - bytes.Count(patch, []byte{0}); n > c.most {
			t.Errorf("%s: %d bytes of the patch are not zero", c.name, n)
		}
	}
}

func TestPatchProperty(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	for i := range 2000 {
		old := make([]byte, rnd.IntN(300))
		for i := range old {
			old[i] = "abc"[rnd.IntN(3)]
		}
		var next []byte
		for range rnd.IntN(6) {
			if len(old) > 0 {
				a := rnd.IntN(len(old))
				next = append(next, old[a:a+rnd.IntN(len(old)-a)]...)
			}
			next = append(next, fmt.Sprint(rnd.IntN(1000))...)
		}
		patch, _ := makePatch(old, next, 1<<20)
		r, err := newPatchReader(old, patch, uint64(len(next)))
		if err != nil {
			t.Fatalf("%d: %v", i, err)
		}
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, next) {
			t.Fatalf("%d: %q to %q gave %q, %v", i, old, next, got, err)
		}
	}
}

func FuzzPatch(f *testing.F) {
	patch, _ := makePatch([]byte("some text that is old"), []byte("some text that is not so old"), 1000)
	f.Add([]byte("some text that is old"), patch, uint64(28))
	f.Add([]byte{}, bytes.Repeat([]byte{0xff}, 48), uint64(4))
	f.Fuzz(func(t *testing.T, old, patch []byte, size uint64) {
		r, err := newPatchReader(old, patch, size)
		if err != nil {
			return
		}
		if got, err := io.ReadAll(r); err == nil && uint64(len(got)) != size {
			t.Errorf("%d bytes, want %d", len(got), size)
		}
	})
}
