package rpmdb

import (
	"bytes"
	"encoding/binary"
	"errors"
	"sort"
	"strings"

	"photree/compose/rpm"
)

// Tags that the database adds to a header or indexes.
const (
	tagSigSize           = 257
	tagSigPGP            = 259
	tagSigMD5            = 261
	tagSigGPG            = 262
	tagDSAHeader         = 267
	tagRSAHeader         = 268
	tagSHA1Header        = 269
	tagLongSigSize       = 270
	tagLongArchiveSize   = 271
	tagSHA256Header      = 273
	tagVeritySignatures  = 276
	tagVerityAlgorithm   = 277
	tagName              = 1000
	tagInstallTime       = 1008
	tagGroup             = 1016
	tagFileStates        = 1029
	tagArchiveSize       = 1046
	tagProvideName       = 1047
	tagRequireFlags      = 1048
	tagRequireName       = 1049
	tagConflictName      = 1054
	tagTriggerName       = 1066
	tagPrefixes          = 1098
	tagInstPrefixes      = 1099
	tagObsoleteName      = 1090
	tagBasenames         = 1117
	tagDirnames          = 1118
	tagInstallColor      = 1127
	tagInstallTID        = 1128
	tagRecommendName     = 5046
	tagSuggestName       = 5049
	tagSupplementName    = 5052
	tagEnhanceName       = 5055
	tagFileTriggerName   = 5069
	tagFileTriggerIndex  = 5070
	tagTransTriggerName  = 5079
	tagTransTriggerIndex = 5080
	tagFileSignatures    = 5090
	tagFileSigLength     = 5091
)

// Types of header values.
const (
	typeChar   = 1
	typeInt32  = 4
	typeInt64  = 5
	typeString = 6
	typeBin    = 7
	typeList   = 8
)

var errBlob = errors.New("damaged header")

// value is one tag with its bytes as a header stores them.
type value struct {
	tag, typ, count uint32
	data            []byte
}

func int32Value(tag, n uint32) value {
	return value{tag, typeInt32, 1, binary.BigEndian.AppendUint32(nil, n)}
}

func stringValue(tag uint32, s string) value {
	return value{tag, typeString, 1, append([]byte(s), 0)}
}

func listValue(tag uint32, list []string) value {
	return value{tag, typeList, uint32(len(list)), []byte(strings.Join(list, "\x00") + "\x00")}
}

// sizeValue uses the wide tag only where the narrow one is too small.
func sizeValue(tag, wide uint32, n uint64) value {
	if n < 1<<32 {
		return int32Value(tag, uint32(n))
	}
	return value{wide, typeInt64, 1, binary.BigEndian.AppendUint64(nil, n)}
}

// signatureValues are what RPM keeps of a package file's signature header.
func signatureValues(s rpm.SignatureTags) []value {
	var out []value
	if s.Size > 0 {
		out = append(out, sizeValue(tagSigSize, tagLongSigSize, s.Size))
	}
	if s.ArchiveSize > 0 {
		out = append(out, sizeValue(tagArchiveSize, tagLongArchiveSize, s.ArchiveSize))
	}
	for tag, text := range map[uint32]string{tagSHA1Header: s.SHA1Header, tagSHA256Header: s.SHA256Header} {
		if text != "" {
			out = append(out, stringValue(tag, text))
		}
	}
	for tag, b := range map[uint32][]byte{tagSigMD5: s.MD5, tagRSAHeader: s.RSAHeader, tagDSAHeader: s.DSAHeader, tagSigPGP: s.PGP, tagSigGPG: s.GPG} {
		if len(b) > 0 {
			out = append(out, value{tag, typeBin, uint32(len(b)), b})
		}
	}
	for tag, list := range map[uint32][]string{tagFileSignatures: s.FileSignatures, tagVeritySignatures: s.VeritySignatures} {
		if len(list) > 0 {
			out = append(out, listValue(tag, list))
		}
	}
	for tag, n := range map[uint32]uint32{tagFileSigLength: s.FileSignatureLength, tagVerityAlgorithm: s.VerityAlgorithm} {
		if n > 0 {
			out = append(out, int32Value(tag, n))
		}
	}
	return out
}

// appendValues gives a header with values added behind its immutable region,
// which stays byte for byte what the package's digests cover. RPM orders such
// values by tag and aligns each for its type.
func appendValues(header []byte, added []value) ([]byte, error) {
	if len(header) < 8 {
		return nil, errBlob
	}
	il, dl := binary.BigEndian.Uint32(header), binary.BigEndian.Uint32(header[4:])
	if uint64(len(header)) != 8+16*uint64(il)+uint64(dl) {
		return nil, errBlob
	}
	index := bytes.Clone(header[8 : 8+16*il])
	data := bytes.Clone(header[8+16*il:])
	sort.Slice(added, func(i, j int) bool { return added[i].tag < added[j].tag })
	for _, v := range added {
		align := map[uint32]int{typeInt32: 4, typeInt64: 8}[v.typ]
		for align > 0 && len(data)%align != 0 {
			data = append(data, 0)
		}
		index = binary.BigEndian.AppendUint32(index, v.tag)
		index = binary.BigEndian.AppendUint32(index, v.typ)
		index = binary.BigEndian.AppendUint32(index, uint32(len(data)))
		index = binary.BigEndian.AppendUint32(index, v.count)
		data = append(data, v.data...)
	}
	out := binary.BigEndian.AppendUint32(nil, uint32(len(index)/16))
	out = binary.BigEndian.AppendUint32(out, uint32(len(data)))
	return append(append(out, index...), data...), nil
}
