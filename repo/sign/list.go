package sign

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // what the Web Key Directory makes its addresses with
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// KeyInfo describes an OpenPGP key for people.
type KeyInfo struct {
	Fingerprint string    `json:"fingerprint"`
	Problem     string    `json:"problem,omitempty"` // why the key cannot be used
	Created     time.Time `json:"created"`
	Expires     time.Time `json:"expires,omitzero"`
	Expired     bool      `json:"expired"`
	Revoked     bool      `json:"revoked"`
	UserIDs     []UserID  `json:"uids,omitempty"`
	Subkeys     []KeyInfo `json:"subkeys,omitempty"`
}

// UserID is a user ID of a key, and where a new copy of the key may be had.
type UserID struct {
	Name        string `json:"name"`
	Revoked     bool   `json:"revoked"`
	AdvancedURL string `json:"advancedURL,omitempty"`
	DirectURL   string `json:"directURL,omitempty"`
}

// Join adds the keys of another ring.
func (r *Ring) Join(other *Ring) { r.keys = append(r.keys, other.keys...) }

// Keys describes the keys of the ring.
func (r *Ring) Keys() []KeyInfo {
	list := []KeyInfo{}
	now := time.Now()
	for _, k := range r.keys {
		info := KeyInfo{Fingerprint: fmt.Sprintf("%X", k.primary.Fingerprint), Created: k.primary.CreationTime.UTC()}
		if k.err != nil {
			info.Problem = k.err.Error()
		} else {
			info.fill(k, now)
		}
		list = append(list, info)
	}
	return list
}

func (i *KeyInfo) fill(k *ringKey, now time.Time) {
	e := k.entity
	i.Revoked = e.Revoked(now)
	if self, _ := e.PrimarySelfSignature(); self != nil {
		i.Expires, i.Expired = expiry(e.PrimaryKey, self, now)
	}
	for _, name := range k.userIDs() {
		id := e.Identities[name]
		if id == nil {
			continue // not confirmed by the key itself
		}
		u := UserID{Name: name, Revoked: i.Revoked || id.Revoked(now)}
		u.AdvancedURL, u.DirectURL = webKeyURLs(id.UserId.Email)
		i.UserIDs = append(i.UserIDs, u)
	}
	for _, s := range e.Subkeys {
		sub := KeyInfo{Fingerprint: fmt.Sprintf("%X", s.PublicKey.Fingerprint), Created: s.PublicKey.CreationTime.UTC(),
			Revoked: i.Revoked || s.Revoked(now)}
		sub.Expires, sub.Expired = expiry(s.PublicKey, s.Sig, now)
		i.Subkeys = append(i.Subkeys, sub)
	}
}

// ringKey is a key of a ring: what is known about it, or why nothing is.
type ringKey struct {
	*keyBlock
	entity *openpgp.Entity
	err    error
}

// userIDs returns the user IDs in their order.
func (b *keyBlock) userIDs() []string {
	var ids []string
	for _, p := range b.packets {
		if p.Tag != tagUserID {
			continue
		}
		if parsed, err := packet.Read(bytes.NewReader((&keyBlock{packets: []*packet.OpaquePacket{p}}).bytes())); err == nil {
			if id, ok := parsed.(*packet.UserId); ok {
				ids = append(ids, id.Id)
			}
		}
	}
	return ids
}

// webKeyURLs returns where the Web Key Directory of the owner's mail domain would have the key.
func webKeyURLs(email string) (advanced, direct string) {
	local, domain, ok := strings.Cut(email, "@")
	if !ok || local == "" || domain == "" {
		return "", ""
	}
	domain = strings.ToLower(domain)
	sum := sha1.Sum([]byte(strings.ToLower(local))) //nolint:gosec // see above
	tail := "hu/" + zBase32(sum[:]) + "?l=" + url.QueryEscape(local)
	return "https://openpgpkey." + domain + "/.well-known/openpgpkey/" + domain + "/" + tail,
		"https://" + domain + "/.well-known/openpgpkey/" + tail
}

// zBase32 is the encoding of RFC 6189 section 5.1.6.
func zBase32(data []byte) string {
	const digits = "ybndrfg8ejkmcpqxot1uwisza345h769"
	var out strings.Builder
	var bits, n uint
	for _, b := range data {
		bits, n = bits<<8|uint(b), n+8
		for n >= 5 {
			n -= 5
			out.WriteByte(digits[bits>>n&31])
		}
	}
	if n > 0 {
		out.WriteByte(digits[bits<<(5-n)&31])
	}
	return out.String()
}
