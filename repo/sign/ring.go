package sign

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// maxRing is the most bytes that a file of keys may have.
const maxRing = 64 << 20

// Ring is a set of OpenPGP public keys.
type Ring struct{ keys []*ringKey }

// ParseRing reads public keys: binary, or one or more armoured blocks behind each other.
func ParseRing(data []byte) (*Ring, error) {
	r := &Ring{}
	return r, r.add(data)
}

// Len returns how many keys the ring has.
func (r *Ring) Len() int { return len(r.keys) }

// add reads more keys. One that cannot be read must not make the others useless, so each is parsed by itself.
func (r *Ring) add(data []byte) error {
	blocks, err := splitKeys(data)
	if err != nil {
		return err
	}
	for _, b := range blocks {
		k := &ringKey{keyBlock: b}
		k.entity, k.err = b.entity()
		r.keys = append(r.keys, k)
	}
	return nil
}

// find returns the keys with an ID. When there are only ones that cannot be used the error says why.
func (r *Ring) find(id uint64) (found []openpgp.Key, err error) {
	for _, k := range r.keys {
		if k.err == nil {
			found = append(found, openpgp.EntityList{k.entity}.KeysById(id)...)
		} else if k.primary.KeyId == id {
			err = k.err
		}
	}
	return found, err
}

// LoadRing reads the keys of files and of directories. Of a directory it reads *.gpg, *.asc and *.pgp; secret rings are
// left out. A path that does not exist is an error that wraps os.ErrNotExist.
func LoadRing(paths ...string) (*Ring, error) {
	r := &Ring{}
	for _, path := range paths {
		files, err := ringFiles(path)
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			data, err := readKeyFile(file)
			if err == nil {
				err = r.add(data)
			}
			if err != nil {
				return nil, fmt.Errorf("reading OpenPGP keys from %s: %w", file, err)
			}
		}
	}
	return r, nil
}

func ringFiles(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("reading OpenPGP keys: %w", err)
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, fmt.Errorf("reading OpenPGP keys: %w", err)
	}
	var files []string
	for _, e := range entries {
		if slices.Contains([]string{".gpg", ".asc", ".pgp"}, filepath.Ext(e.Name())) && !e.IsDir() &&
			e.Name() != "secring.gpg" && e.Name() != "trustdb.gpg" {
			files = append(files, filepath.Join(path, e.Name()))
		}
	}
	return files, nil
}

// GlobalRing is where the keys stand that are trusted for all remotes without keys of their own. Like ostree's, this
// place can be moved by the environment.
func GlobalRing() string {
	if dir := os.Getenv("OSTREE_GPG_HOME"); dir != "" {
		return dir
	}
	return "/usr/share/ostree/trusted.gpg.d"
}

// LoadGlobalRing reads the keys of GlobalRing; there need not be any.
func LoadGlobalRing() (*Ring, error) {
	r, err := LoadRing(GlobalRing())
	if errors.Is(err, os.ErrNotExist) {
		return &Ring{}, nil
	}
	return r, err
}

// LoadHome reads the public keys of a GnuPG home, whose ring is a keybox in newer ones.
func LoadHome(dir string) (*Ring, error) {
	r, err := LoadRing(dir)
	if err != nil {
		return nil, err
	}
	data, err := readKeyFile(filepath.Join(dir, "pubring.kbx"))
	if errors.Is(err, os.ErrNotExist) {
		return r, nil
	}
	if err == nil {
		data, err = keyboxKeys(data)
	}
	if err == nil {
		err = r.add(data)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the keys of %s: %w", dir, err)
	}
	return r, nil
}

func readKeyFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxRing+1))
	if err == nil && len(data) > maxRing {
		err = fmt.Errorf("%s is too large for a file of keys", path)
	}
	return data, err
}

// keyboxKeys returns the OpenPGP keys of a keybox file. It is a list of blobs, each with its length first; those of
// type 2 say where in them the key is.
func keyboxKeys(data []byte) ([]byte, error) {
	const headerType, openpgpType = 1, 2
	if len(data) < 12 || data[4] != headerType || string(data[8:12]) != "KBXf" {
		return nil, errors.New("not a keybox")
	}
	var keys []byte
	for len(data) > 0 {
		if len(data) < 16 {
			return nil, errors.New("the keybox is damaged")
		}
		size := uint64(binary.BigEndian.Uint32(data))
		if size < 16 || size > uint64(len(data)) {
			return nil, errors.New("the keybox is damaged")
		}
		blob := data[:size]
		data = data[size:]
		if blob[4] != openpgpType {
			continue
		}
		at, n := uint64(binary.BigEndian.Uint32(blob[8:])), uint64(binary.BigEndian.Uint32(blob[12:]))
		if at+n > size {
			return nil, errors.New("the keybox is damaged")
		}
		keys = append(keys, blob[at:at+n]...)
	}
	return keys, nil
}

// keyBlock is one key as a list of packets: the primary key, and what follows it up to the next primary key.
type keyBlock struct {
	primary *packet.PublicKey
	packets []*packet.OpaquePacket
}

func (b *keyBlock) bytes() []byte {
	var out bytes.Buffer
	for _, p := range b.packets {
		_ = p.Serialize(&out) // a buffer takes everything
	}
	return out.Bytes()
}

// entity parses the key. When the whole cannot be parsed, subkeys that are at fault are left out: a signature by one of
// them is then one by an unknown key. Nothing else is ever left out, because it may be a revocation.
func (b *keyBlock) entity() (*openpgp.Entity, error) {
	parse := func(b *keyBlock) (*openpgp.Entity, error) {
		return openpgp.ReadEntity(packet.NewReader(bytes.NewReader(b.bytes())))
	}
	e, err := parse(b)
	if err == nil {
		return e, nil
	}
	base := &keyBlock{primary: b.primary}
	var subkeys [][]*packet.OpaquePacket
	for _, s := range b.sections() {
		if s[0].Tag == tagPublicSubkey {
			subkeys = append(subkeys, s)
		} else {
			base.packets = append(base.packets, s...)
		}
	}
	if e, err = parse(base); err != nil {
		return nil, err
	}
	for _, s := range subkeys {
		with := &keyBlock{primary: b.primary, packets: slices.Concat(base.packets, s)}
		if better, err := parse(with); err == nil {
			e, base = better, with
		}
	}
	return e, nil
}

// The tags of packets, RFC 9580 section 5.
const (
	tagSignature    = 2
	tagPublicKey    = 6
	tagTrust        = 12
	tagUserID       = 13
	tagPublicSubkey = 14
	tagAttribute    = 17
)

// splitKeys takes a ring apart. Secret keys in it are left out, and so are the trust packets, which are GnuPG's own.
func splitKeys(data []byte) ([]*keyBlock, error) {
	data, err := dearmor(data)
	if err != nil {
		return nil, err
	}
	var blocks []*keyBlock
	packets := packet.NewOpaqueReader(bytes.NewReader(data))
	keep := false
	for {
		p, err := packets.Next()
		if errors.Is(err, io.EOF) {
			return blocks, nil
		}
		if err != nil {
			return nil, err
		}
		switch p.Tag {
		case tagPublicKey:
			parsed, err := p.Parse()
			key, ok := parsed.(*packet.PublicKey)
			if keep = ok && err == nil; keep {
				blocks = append(blocks, &keyBlock{primary: key, packets: []*packet.OpaquePacket{p}})
			}
		case tagSignature, tagUserID, tagPublicSubkey, tagAttribute:
			if keep {
				last := blocks[len(blocks)-1]
				last.packets = append(last.packets, p)
			}
		case tagTrust:
		default:
			keep = false
		}
	}
}

// dearmor returns the binary form of keys. Several armoured blocks may stand behind each other.
func dearmor(data []byte) ([]byte, error) {
	const begin, end = "-----BEGIN PGP PUBLIC KEY BLOCK-----", "-----END PGP PUBLIC KEY BLOCK-----"
	if !bytes.Contains(data, []byte(begin)) {
		if bytes.HasPrefix(bytes.TrimSpace(data), []byte("-----BEGIN")) {
			return nil, errors.New("this is not a public key")
		}
		return data, nil
	}
	var out []byte
	for {
		i := bytes.Index(data, []byte(begin))
		if i < 0 {
			return out, nil
		}
		data = data[i:]
		n := bytes.Index(data, []byte(end))
		if n < 0 {
			return nil, errors.New("an armoured block has no end")
		}
		n += len(end)
		block, err := armor.Decode(io.MultiReader(bytes.NewReader(data[:n]), strings.NewReader("\n")))
		if err != nil {
			return nil, err
		}
		keys, err := io.ReadAll(block.Body)
		if err != nil {
			return nil, err
		}
		out, data = append(out, keys...), data[n:]
	}
}
