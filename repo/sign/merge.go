package sign

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// Merge adds the public keys of data to a ring and returns the ring's bytes and how many keys are new in it. ids
// restricts what is added to the keys with these fingerprints, or ends of them. A key that the ring has already gets the
// packets of the other that it has not: a new expiry counts because it is newer, and a revocation is never lost.
func Merge(ring, data []byte, ids ...string) (merged []byte, added int, err error) {
	blocks, err := splitKeys(ring)
	if err != nil {
		return nil, 0, fmt.Errorf("reading the ring: %w", err)
	}
	more, err := splitKeys(data)
	if err != nil {
		return nil, 0, fmt.Errorf("reading the keys: %w", err)
	}
	if len(more) == 0 {
		return nil, 0, errors.New("there are no public keys in what was given")
	}
	found := make([]bool, len(ids))
	for _, b := range more {
		if len(ids) > 0 {
			i := slices.IndexFunc(ids, func(id string) bool { return b.matches(id) })
			if i < 0 {
				continue
			}
			found[i] = true
		}
		i := slices.IndexFunc(blocks, func(x *keyBlock) bool { return bytes.Equal(x.primary.Fingerprint, b.primary.Fingerprint) })
		if i >= 0 {
			blocks[i] = union(blocks[i], b)
			continue
		}
		blocks = append(blocks, union(&keyBlock{primary: b.primary, packets: b.packets[:1]}, b))
		added++
	}
	if i := slices.Index(found, false); i >= 0 {
		return nil, 0, fmt.Errorf("there is no key %s in what was given", ids[i])
	}
	var out []byte
	for _, b := range blocks {
		out = append(out, b.bytes()...)
	}
	return out, added, nil
}

// matches reports whether id is the end of the fingerprint of the key or of one of its subkeys.
func (b *keyBlock) matches(id string) bool {
	for _, p := range b.packets {
		if p.Tag != tagPublicKey && p.Tag != tagPublicSubkey {
			continue
		}
		parsed, err := p.Parse()
		if key, ok := parsed.(*packet.PublicKey); ok && err == nil && matchesKey(id, key.Fingerprint) {
			return true
		}
	}
	return false
}

// matchesKey reports whether id is a fingerprint, or the end of one that is long enough to be a key ID.
func matchesKey(id string, fingerprint []byte) bool {
	id = strings.ToUpper(strings.TrimSuffix(strings.TrimPrefix(strings.ReplaceAll(id, " ", ""), "0x"), "!"))
	const shortest = 8
	return len(id) >= shortest && strings.HasSuffix(fmt.Sprintf("%X", fingerprint), id)
}

// union joins two copies of one key. A key is a list of sections, each a key, a user ID or a subkey with the signatures
// that follow it.
func union(a, b *keyBlock) *keyBlock {
	sections := a.sections()
	for _, more := range b.sections() {
		i := slices.IndexFunc(sections, func(s []*packet.OpaquePacket) bool { return samePacket(s[0], more[0]) })
		if i < 0 {
			sections = append(sections, more)
			continue
		}
		for _, p := range more[1:] {
			if !slices.ContainsFunc(sections[i], func(x *packet.OpaquePacket) bool { return samePacket(x, p) }) {
				sections[i] = append(sections[i], p)
			}
		}
	}
	// Subkeys stand behind user IDs.
	slices.SortStableFunc(sections[1:], func(x, y []*packet.OpaquePacket) int {
		return isSubkey(x[0]) - isSubkey(y[0])
	})
	return &keyBlock{primary: a.primary, packets: slices.Concat(sections...)}
}

func isSubkey(p *packet.OpaquePacket) int {
	if p.Tag == tagPublicSubkey {
		return 1
	}
	return 0
}

func samePacket(a, b *packet.OpaquePacket) bool {
	return a.Tag == b.Tag && bytes.Equal(a.Contents, b.Contents)
}

func (b *keyBlock) sections() [][]*packet.OpaquePacket {
	var out [][]*packet.OpaquePacket
	for _, p := range b.packets {
		if p.Tag == tagSignature && len(out) > 0 {
			out[len(out)-1] = append(slices.Clip(out[len(out)-1]), p)
			continue
		}
		out = append(out, []*packet.OpaquePacket{p})
	}
	return out
}
