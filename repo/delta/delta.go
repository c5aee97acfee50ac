// Package delta reads, applies and writes static deltas: everything that one commit has and another has not, packed
// into a few large files that a server makes once and clients fetch instead of thousands of objects.
//
// It reads and writes the directories deltas/ and delta-indexes/ of a repository in the format of ostree 2022.7 and
// later, in both byte orders, and stages objects through a [repo.Txn]; it never looks at the network. What it reads is
// not trusted: every length, offset and index is checked before it is used, memory does not follow what a header
// claims, and an object is published only under the name that its bytes have (R1, R7). A commit carries a partial mark
// while its delta is being applied, and keeps it unless the closure turns out complete (R3).
//
// What it writes is a function of the two commits and the options: the same twice gives the same bytes.
// docs/deltas.md describes the format and how it is used.
package delta

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	"photree/repo/object"
)

// encodeID writes a checksum as deltas name it: base64 without padding and with '_' for '/'.
func encodeID(id object.ID) string {
	return strings.ReplaceAll(base64.RawStdEncoding.EncodeToString(id[:]), "/", "_")
}

// Dir returns the directory of a delta below its repository; from is zero for one that needs no commit.
func Dir(from, to object.ID) string {
	first, rest := encodeID(to), ""
	if !from.IsZero() {
		first, rest = encodeID(from), "-"+first
	}
	return "deltas/" + first[:2] + "/" + first[2:] + rest
}

// SuperblockPath returns the path of a delta's superblock below its repository.
func SuperblockPath(from, to object.ID) string { return Dir(from, to) + "/superblock" }

// PartPath returns the path of a part below its repository. It is also the key under which the superblock holds the
// part where it is inline.
func PartPath(from, to object.ID, i int) string { return Dir(from, to) + "/" + strconv.Itoa(i) }

// detachedKey is where a superblock holds the detached metadata of its commit.
func detachedKey(from, to object.ID) string { return Dir(from, to) + "/commitmeta" }

// Name returns FROM-TO, or TO for a delta from nothing: what the summary and the indexes call it.
func Name(from, to object.ID) string {
	if from.IsZero() {
		return to.String()
	}
	return from.String() + "-" + to.String()
}

// ParseName is the inverse of Name.
func ParseName(s string) (from, to object.ID, err error) {
	a, b, both := strings.Cut(s, "-")
	if !both {
		to, err = object.ParseID(a)
	} else if from, err = object.ParseID(a); err == nil {
		to, err = object.ParseID(b)
	}
	if err != nil {
		return from, to, fmt.Errorf("%q is not the name of a static delta (TO or FROM-TO): %w", s, err)
	}
	return from, to, nil
}
