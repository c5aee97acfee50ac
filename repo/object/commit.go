package object

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"photree/internal/gvariant"
)

// CommitType is the GVariant type of a commit.
const CommitType = "(a{sv}aya(say)sstayay)"

// Commit names a tree and says where it comes from. Timestamp is in seconds since 1970, UTC.
type Commit struct {
	Metadata       gvariant.Dict
	Parent         ID // zero when there is none
	Related        []Related
	Subject, Body  string
	Timestamp      uint64
	Root, RootMeta ID
}

// Related names another commit; no known writer uses it, it is kept so that such a commit survives.
type Related struct {
	Name string
	ID   ID
}

// Time returns Timestamp as a time in UTC.
func (c Commit) Time() time.Time { return time.Unix(int64(c.Timestamp), 0).UTC() }

// ContentChecksum is the digest of the tree alone: equal for two commits of the same content.
func (c Commit) ContentChecksum() ID {
	return sha256.Sum256(append(append([]byte{}, c.Root[:]...), c.RootMeta[:]...))
}

// Encode returns the object.
func (c Commit) Encode() []byte {
	var parent []byte
	if !c.Parent.IsZero() {
		parent = c.Parent[:]
	}
	related := make([]gvariant.Value, len(c.Related))
	for i, r := range c.Related {
		related[i] = gvariant.Tuple(gvariant.String(r.Name), gvariant.Bytes(r.ID[:]))
	}
	return gvariant.Tuple(c.Metadata.Value(), gvariant.Bytes(parent), gvariant.Array("(say)", related...),
		gvariant.String(c.Subject), gvariant.String(c.Body), gvariant.Uint64(gvariant.BE64(c.Timestamp)),
		gvariant.Bytes(c.Root[:]), gvariant.Bytes(c.RootMeta[:])).Bytes()
}

// DecodeCommit reads a commit object.
func DecodeCommit(data []byte) (Commit, error) {
	v, err := gvariant.Parse(CommitType, data)
	if err != nil {
		return Commit{}, fmt.Errorf("decoding a commit: %w", err)
	}
	c := Commit{Metadata: v.Index(0).Dict(), Subject: v.Index(3).Str(), Body: v.Index(4).Str(),
		Timestamp: gvariant.BE64(v.Index(5).Uint64())}
	if parent := v.Index(1); parent.Len() > 0 {
		err = setID(&c.Parent, parent)
		if err == nil && c.Parent.IsZero() {
			err = errors.New("a parent of zeros")
		}
	}
	related := v.Index(2)
	for i := range related.Len() {
		e := related.Index(i)
		r := Related{Name: e.Index(0).Str()}
		err = errors.Join(err, setID(&r.ID, e.Index(1)))
		c.Related = append(c.Related, r)
	}
	err = errors.Join(err, setID(&c.Root, v.Index(6)), setID(&c.RootMeta, v.Index(7)))
	if err != nil {
		return Commit{}, fmt.Errorf("decoding a commit: %w", err)
	}
	return c, nil
}

// EncodeTombstone returns the object that says that a commit was deleted, type a{sv}. It has the name of the commit.
func EncodeTombstone(id ID) []byte {
	return gvariant.Dict{{Key: "commit", Value: gvariant.Bytes(append([]byte(id.String()), 0))}}.Value().Bytes()
}
