package rpmwriter

import (
	"bytes"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// Info is what a repository's metadata says about a written package file.
type Info struct {
	SHA256      string
	Size        int64
	HeaderStart int64
	HeaderEnd   int64
	Installed   int64 // sum of the sizes of the files
	Archive     int64 // size of the uncompressed payload
}

// Write writes the package.
func (p *Package) Write(w io.Writer) (Info, error) {
	entries, err := p.sortedFiles()
	if err != nil {
		return Info{}, err
	}
	var info Info
	payload, archive, err := compressPayload(entries)
	if err != nil {
		return Info{}, fmt.Errorf("writing payload of %s: %w", p.Name, err)
	}
	info.Archive = archive
	main := p.mainHeader(entries, payload, &info)
	sig := signatureHeader(main, payload, archive)

	out := append(p.lead(), sig...)
	for len(out)%8 != 0 { // the signature is padded to eight bytes, the main header is not
		out = append(out, 0)
	}
	info.HeaderStart = int64(len(out))
	info.HeaderEnd = info.HeaderStart + int64(len(main))
	info.Size = info.HeaderEnd + int64(len(payload))
	sum := sha256.New()
	for _, part := range [][]byte{out, main, payload} {
		sum.Write(part)
		if _, err := w.Write(part); err != nil {
			return Info{}, fmt.Errorf("writing package %s: %w", p.Name, err)
		}
	}
	info.SHA256 = hex.EncodeToString(sum.Sum(nil))
	return info, nil
}

func (p *Package) lead() []byte {
	b := make([]byte, 96)
	copy(b, "\xed\xab\xee\xdb\x03\x00\x00\x00\x00\x01")
	name := p.Name + "-" + p.Version + "-" + p.Release
	copy(b[10:10+65], name)
	b[77] = 1 // Linux
	b[79] = 5 // a signature header follows
	return b
}

func signatureHeader(main, payload []byte, archive int64) []byte {
	h := header{region: 62}
	s1, s256 := sha1.Sum(main), sha256.Sum256(main)
	h.str(269, hex.EncodeToString(s1[:]))
	h.str(273, hex.EncodeToString(s256[:]))
	h.int32s(1000, uint32(len(main)+len(payload)))
	both := md5.New()
	both.Write(main)
	both.Write(payload)
	h.bin(1004, both.Sum(nil))
	h.int32s(1007, uint32(archive))
	return h.bytes()
}

func (p *Package) mainHeader(entries []entry, payload []byte, info *Info) []byte {
	h := header{region: 63}
	h.strs(100, []string{"C"})
	h.str(1000, p.Name)
	h.str(1001, p.Version)
	h.str(1002, p.Release)
	if p.Epoch != 0 {
		h.int32s(1003, p.Epoch)
	}
	h.i18n(1004, p.Summary)
	h.i18n(1005, p.Description)
	h.int32s(1006, p.BuildTime)
	h.str(1007, "localhost")
	h.str(1011, p.Vendor)
	h.str(1014, p.License)
	h.i18n(1016, p.Group)
	if p.URL != "" {
		h.str(1020, p.URL)
	}
	h.str(1021, "linux")
	h.str(1022, p.Arch)
	h.str(1044, p.SourceRPM)
	h.str(1064, "4.18.0")
	h.str(1124, "cpio")
	h.str(1125, "zstd")
	h.str(1126, "3")
	h.str(1132, p.Arch+"-linux")
	sum := sha256.Sum256(payload)
	h.strs(5092, []string{hex.EncodeToString(sum[:])})
	h.int32s(5093, 8)
	h.strs(5097, []string{hex.EncodeToString(sum[:])})
	p.addRelations(&h)
	p.addScripts(&h)
	addFiles(&h, entries)
	for i := range entries {
		if entries[i].bytesHere {
			info.Installed += int64(entries[i].size())
		}
	}
	h.int32s(1009, uint32(info.Installed))
	return h.bytes()
}

func (p *Package) addRelations(h *header) {
	add := func(name, version, flags uint32, deps []Dep) {
		var names, versions []string
		var senses []uint32
		for _, d := range deps {
			names, versions, senses = append(names, d.Name), append(versions, d.Version), append(senses, d.Flags)
		}
		h.strs(name, names)
		h.strs(version, versions)
		h.int32s(flags, senses...)
	}
	add(1047, 1113, 1112, p.AllProvides())
	add(1049, 1050, 1048, p.AllRequires())
	add(1054, 1055, 1053, p.Conflicts)
	add(1090, 1115, 1114, p.Obsoletes)
	add(5046, 5047, 5048, p.Recommends)
	add(5049, 5050, 5051, p.Suggests)
	add(5052, 5053, 5054, p.Supplements)
	add(5055, 5056, 5057, p.Enhances)
}

func (p *Package) addScripts(h *header) {
	for _, s := range []struct {
		script     Script
		body, prog uint32
	}{
		{p.Pre, 1023, 1085}, {p.Post, 1024, 1086}, {p.Preun, 1025, 1087}, {p.Postun, 1026, 1088},
		{p.Pretrans, 1151, 1153}, {p.Posttran, 1152, 1154},
	} {
		if s.script.empty() {
			continue
		}
		if s.script.Body != "" {
			h.str(s.body, s.script.Body)
		}
		h.str(s.prog, s.script.interp())
	}
	var bodies, progs, names, versions []string
	var flags, index []uint32
	for i, t := range p.Triggers {
		bodies, progs = append(bodies, t.Body), append(progs, t.interp())
		names, versions = append(names, t.On.Name), append(versions, t.On.Version)
		flags, index = append(flags, t.On.Flags), append(index, uint32(i))
	}
	h.strs(1065, bodies)
	h.strs(1066, names)
	h.strs(1067, versions)
	h.int32s(1068, flags...)
	h.int32s(1069, index...)
	h.strs(1092, progs)
}

func addFiles(h *header, entries []entry) {
	var (
		bases, dirs, digests, targets, users, groups, langs, caps []string
		sizes, mtimes, flags, verify, devices, inodes, dirIndexes []uint32
		modes, rdevs                                              []uint16
		dirAt                                                     = map[string]uint32{}
		anyCaps                                                   bool
	)
	for i := range entries {
		e := &entries[i]
		dir, base := path.Split(e.Path)
		if _, ok := dirAt[dir]; !ok {
			dirAt[dir] = uint32(len(dirs))
			dirs = append(dirs, dir)
		}
		digest := ""
		if e.isReg() && e.Flags&Ghost == 0 {
			sum := sha256.Sum256(e.Body)
			digest = hex.EncodeToString(sum[:])
		}
		bases, dirIndexes = append(bases, base), append(dirIndexes, dirAt[dir])
		sizes, modes, rdevs = append(sizes, e.size()), append(modes, uint16(e.Mode)), append(rdevs, 0)
		mtimes, digests, targets = append(mtimes, e.MTime), append(digests, digest), append(targets, e.Target)
		flags, users, groups = append(flags, e.Flags), append(users, orRoot(e.User)), append(groups, orRoot(e.Group))
		verify, devices, inodes = append(verify, ^uint32(0)), append(devices, 1), append(inodes, e.inode)
		langs, caps = append(langs, ""), append(caps, e.Caps)
		anyCaps = anyCaps || e.Caps != ""
	}
	h.int32s(1028, sizes...)
	h.int16s(1030, modes)
	h.int16s(1033, rdevs)
	h.int32s(1034, mtimes...)
	h.strs(1035, digests)
	h.strs(1036, targets)
	h.int32s(1037, flags...)
	h.strs(1039, users)
	h.strs(1040, groups)
	h.int32s(1045, verify...)
	h.int32s(1095, devices...)
	h.int32s(1096, inodes...)
	h.strs(1097, langs)
	h.int32s(1116, dirIndexes...)
	h.strs(1117, bases)
	h.strs(1118, dirs)
	if len(entries) > 0 {
		h.int32s(5011, 8)
	}
	if anyCaps {
		h.strs(5010, caps)
	}
}

func orRoot(name string) string {
	if name == "" {
		return "root"
	}
	return name
}

// compressPayload writes the files as a newc archive through zstd, and gives the archive's size before compression.
func compressPayload(entries []entry) ([]byte, int64, error) {
	var out bytes.Buffer
	// One goroutine: the block boundaries, and so the bytes, do not depend on the machine.
	enc, err := zstd.NewWriter(&out, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedDefault))
	if err != nil {
		return nil, 0, err
	}
	cw := &cpioWriter{w: enc}
	for i := range entries {
		e := &entries[i]
		if e.Flags&Ghost != 0 {
			continue
		}
		var body []byte
		switch {
		case e.isReg() && e.bytesHere:
			body = e.Body
		case e.Mode&TypeMask == TypeLink:
			body = []byte(e.Target)
		}
		cw.entry("."+e.Path, e, body)
	}
	cw.entry("TRAILER!!!", &entry{links: 1}, nil)
	if cw.err != nil {
		return nil, 0, cw.err
	}
	if err := enc.Close(); err != nil {
		return nil, 0, err
	}
	return out.Bytes(), cw.n, nil
}

type cpioWriter struct {
	w   io.Writer
	n   int64
	err error
}

func (c *cpioWriter) entry(name string, e *entry, body []byte) {
	hdr := fmt.Sprintf("070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		e.inode, e.Mode, 0, 0, e.links, e.MTime, len(body), 0, 1, 0, 0, len(name)+1, 0, name)
	c.write([]byte(hdr))
	c.pad()
	c.write(body)
	c.pad()
}

func (c *cpioWriter) write(b []byte) {
	if c.err == nil {
		var n int
		n, c.err = c.w.Write(b)
		c.n += int64(n)
	}
}

func (c *cpioWriter) pad() {
	if rest := int(c.n % 4); rest != 0 {
		c.write([]byte(strings.Repeat("\x00", 4-rest)))
	}
}
