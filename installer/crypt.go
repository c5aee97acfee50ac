package installer

import (
	"crypto/rand"
	"crypto/sha512"
	"fmt"
)

// cryptAlphabet is crypt(3)'s own order of base 64.
const cryptAlphabet = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// hashPassword hashes with a fresh salt, as the SHA-512 scheme "$6$" of
// crypt(3), which every libc of the last fifteen years reads.
func hashPassword(password string) string {
	var salt [16]byte
	rand.Read(salt[:])
	for i, b := range salt {
		salt[i] = cryptAlphabet[b%64]
	}
	return sha512Crypt(password, string(salt[:]))
}

// sha512Crypt follows Ulrich Drepper's "Unix crypt using SHA-256 and
// SHA-512" with the default of 5000 rounds; the names of the sums are those
// of its steps.
func sha512Crypt(password, salt string) string {
	const rounds = 5000
	p, s := []byte(password), []byte(salt)

	b := sha512.New()
	b.Write(p)
	b.Write(s)
	b.Write(p)
	alternate := b.Sum(nil)

	a := sha512.New()
	a.Write(p)
	a.Write(s)
	a.Write(stretch(alternate, len(p)))
	for n := len(p); n > 0; n >>= 1 {
		if n&1 != 0 {
			a.Write(alternate)
		} else {
			a.Write(p)
		}
	}
	sum := a.Sum(nil)

	dp := sha512.New()
	for range p {
		dp.Write(p)
	}
	pBytes := stretch(dp.Sum(nil), len(p))
	ds := sha512.New()
	for range 16 + int(sum[0]) {
		ds.Write(s)
	}
	sBytes := stretch(ds.Sum(nil), len(s))

	for i := range rounds {
		c := sha512.New()
		first, last := sum, pBytes
		if i&1 != 0 {
			first, last = pBytes, sum
		}
		c.Write(first)
		if i%3 != 0 {
			c.Write(sBytes)
		}
		if i%7 != 0 {
			c.Write(pBytes)
		}
		c.Write(last)
		sum = c.Sum(nil)
	}
	return fmt.Sprintf("$6$%s$%s", salt, cryptEncode(sum))
}

// stretch repeats sum to n bytes.
func stretch(sum []byte, n int) []byte {
	out := make([]byte, 0, n+len(sum))
	for len(out) < n {
		out = append(out, sum...)
	}
	return out[:n]
}

// cryptEncode writes the sum three bytes at a time, taken 21 apart in a
// rotating order, and the last byte alone.
func cryptEncode(sum []byte) string {
	var out []byte
	put := func(v uint32, n int) {
		for range n {
			out = append(out, cryptAlphabet[v&63])
			v >>= 6
		}
	}
	x, y, z := 0, 21, 42
	for range 21 {
		put(uint32(sum[x])<<16|uint32(sum[y])<<8|uint32(sum[z]), 4)
		x, y, z = y+1, z+1, x+1
	}
	put(uint32(sum[63]), 2)
	return string(out)
}
