package main

import (
	"hash/maphash"
)

const (
	sectorSize = 512
	blockSize  = 4096
	chunkSize  = 64 << 10
)

// image is the content of a disk. Clones share what neither has changed.
type image struct {
	size   int64
	chunks [][]byte // nil: zeros
	own    []bool   // whether a chunk may be written
}

func newImage(size int64) *image {
	n := (size + chunkSize - 1) / chunkSize
	return &image{size: size, chunks: make([][]byte, n), own: make([]bool, n)}
}

// clone gives an image of the same content. From then on i's chunks are shared, so both copy before they write.
func (i *image) clone() *image {
	c := newImage(i.size)
	copy(c.chunks, i.chunks)
	clear(i.own)
	return c
}

func (i *image) Size() int64 { return i.size }

// Flush does nothing: an image keeps everything.
func (i *image) Flush() {}

func (i *image) ReadAt(p []byte, off int64) {
	for len(p) > 0 {
		n := min(int64(len(p)), chunkSize-off%chunkSize)
		if c := i.chunks[off/chunkSize]; c != nil {
			copy(p[:n], c[off%chunkSize:])
		} else {
			clear(p[:n])
		}
		p, off = p[n:], off+n
	}
}

func (i *image) WriteAt(p []byte, off int64) {
	for len(p) > 0 {
		k := off / chunkSize
		n := min(int64(len(p)), chunkSize-off%chunkSize)
		if !i.own[k] {
			c := make([]byte, chunkSize)
			copy(c, i.chunks[k])
			i.chunks[k], i.own[k] = c, true
		}
		copy(i.chunks[k][off%chunkSize:], p[:n])
		p, off = p[n:], off+n
	}
}

// scratch is a disk that holds a base and what was written since reset: a state after a power cut, and on top of it
// what the kernel writes when it mounts that.
type scratch struct {
	base   *image
	blocks map[int64][]byte
	free   [][]byte
}

func newScratch(base *image) *scratch { return &scratch{base: base, blocks: map[int64][]byte{}} }

func (s *scratch) reset() {
	for _, b := range s.blocks {
		s.free = append(s.free, b)
	}
	clear(s.blocks)
}

func (s *scratch) Size() int64 { return s.base.size }

// Flush does nothing: what a scratch disk is given stays until reset.
func (s *scratch) Flush() {}

func (s *scratch) ReadAt(p []byte, off int64) {
	for len(p) > 0 {
		n := min(int64(len(p)), blockSize-off%blockSize)
		if b := s.blocks[off/blockSize]; b != nil {
			copy(p[:n], b[off%blockSize:])
		} else {
			s.base.ReadAt(p[:n], off)
		}
		p, off = p[n:], off+n
	}
}

func (s *scratch) WriteAt(p []byte, off int64) {
	for len(p) > 0 {
		k := off / blockSize
		n := min(int64(len(p)), blockSize-off%blockSize)
		b := s.blocks[k]
		if b == nil {
			if last := len(s.free) - 1; last >= 0 {
				b, s.free = s.free[last], s.free[:last]
			} else {
				b = make([]byte, blockSize)
			}
			if n < blockSize {
				s.base.ReadAt(b, k*blockSize)
			}
			s.blocks[k] = b
		}
		copy(b[off%blockSize:], p[:n])
		p, off = p[n:], off+n
	}
}

// digest tells states on one base apart: equal contents have equal digests.
func (s *scratch) digest() (sum uint64) {
	was := make([]byte, blockSize)
	for k, b := range s.blocks {
		s.base.ReadAt(was, k*blockSize)
		sum ^= blockDigest(k, was) ^ blockDigest(k, b)
	}
	return sum
}

var digestSeed = maphash.MakeSeed()

func blockDigest(k int64, b []byte) uint64 {
	var h maphash.Hash
	h.SetSeed(digestSeed)
	var n [8]byte
	le.PutUint64(n[:], uint64(k))
	h.Write(n[:])
	h.Write(b)
	return h.Sum64()
}

// sum is the digest of the difference that writing p makes; added to that of a base it gives that of the result.
func (i *image) changed(p []byte, off int64) (sum uint64) {
	block := make([]byte, blockSize)
	first, last := off/blockSize, (off+int64(len(p))-1)/blockSize
	for k := first; k <= last; k++ {
		i.ReadAt(block, k*blockSize)
		sum ^= blockDigest(k, block)
	}
	i.WriteAt(p, off)
	for k := first; k <= last; k++ {
		i.ReadAt(block, k*blockSize)
		sum ^= blockDigest(k, block)
	}
	return sum
}
