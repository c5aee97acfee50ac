package delta

import (
	"crypto/sha256"

	"photree/internal/gvariant"
	"photree/repo/delta/lzma"
	"photree/repo/object"
)

// partWriter gathers the objects of one part.
type partWriter struct {
	modes   []gvariant.Value
	xattrs  []gvariant.Value
	modeAt  map[[3]uint32]int
	xattrAt map[string]int
	blob    []byte
	ops     []byte
	head    Part
}

func newPartWriter() *partWriter {
	return &partWriter{modeAt: map[[3]uint32]int{}, xattrAt: map[string]int{}}
}

// attributes returns the indices of a file's mode and extended attributes.
func (w *partWriter) attributes(info object.FileInfo) (mode, xattrs int) {
	key := [3]uint32{info.UID, info.GID, info.Mode}
	mode, ok := w.modeAt[key]
	if !ok {
		mode = len(w.modes)
		w.modeAt[key] = mode
		w.modes = append(w.modes, gvariant.Tuple(gvariant.Uint32(gvariant.BE32(info.UID)),
			gvariant.Uint32(gvariant.BE32(info.GID)), gvariant.Uint32(gvariant.BE32(info.Mode))))
	}
	v := info.Xattrs.Value()
	xattrs, ok = w.xattrAt[string(v.Bytes())]
	if !ok {
		xattrs = len(w.xattrs)
		w.xattrAt[string(v.Bytes())] = xattrs
		w.xattrs = append(w.xattrs, v)
	}
	return mode, xattrs
}

// put appends bytes to the blob and returns where they stand.
func (w *partWriter) put(data []byte) int {
	at := len(w.blob)
	w.blob = append(w.blob, data...)
	return at
}

func (w *partWriter) op(code byte, args ...int) { w.ops = appendUvarints(append(w.ops, code), args...) }

func (w *partWriter) list(n object.Name, size int) {
	w.head.Objects = append(w.head.Objects, n)
	w.head.USize += uint64(size)
}

// metadata adds a metadata object.
func (w *partWriter) metadata(n object.Name, data []byte) {
	w.list(n, len(data))
	w.op(opSplice, len(data), w.put(data))
}

// whole adds a file with all its content, or a symbolic link.
func (w *partWriter) whole(n object.Name, info object.FileInfo, data []byte) {
	mode, xattrs := w.attributes(info)
	w.list(n, len(data))
	if info.IsSymlink() {
		data = []byte(info.Target)
	}
	w.op(opSplice, mode, xattrs, len(data), w.put(data))
}

// patched adds a file as a patch of another.
func (w *partWriter) patched(n object.Name, info object.FileInfo, size int, source object.ID, patch []byte) {
	mode, xattrs := w.attributes(info)
	w.list(n, size)
	w.op(opOpen, mode, xattrs, size)
	w.op(opSetSource, w.put(source[:]))
	w.op(opPatch, w.put(patch), len(patch))
	w.op(opUnsetSource)
	w.op(opClose)
}

// copied adds a file as pieces of another and bytes of its own.
func (w *partWriter) copied(n object.Name, info object.FileInfo, source object.ID, runs []run, data []byte) {
	mode, xattrs := w.attributes(info)
	w.list(n, len(data))
	w.op(opOpen, mode, xattrs, len(data))
	sum := w.put(source[:])
	reading := false
	for _, r := range runs {
		switch {
		case r.copied && !reading:
			w.op(opSetSource, sum)
		case !r.copied && reading:
			w.op(opUnsetSource)
		}
		reading = r.copied
		if r.copied {
			w.op(opWrite, r.n, r.off)
		} else {
			w.op(opWrite, r.n, w.put(data[r.off:r.off+r.n]))
		}
	}
	if reading {
		w.op(opUnsetSource)
	}
	w.op(opClose)
}

// finish packs the part and returns its header and its bytes.
func (w *partWriter) finish() (Part, []byte) {
	payload := w.payload()
	w.blob = nil
	packed := lzma.Compress(payload, lzma.Options{})
	// Always compressed, even where that is larger: ostree cannot read the file of a part that is not (it maps it from
	// the second byte on, which no system allows).
	data := append([]byte{compressionXZ}, packed...)
	w.head.Version = partVersion
	w.head.Size = uint64(len(data))
	w.head.Checksum = sha256.Sum256(data)
	return w.head, data
}

// payload returns the serialised part, of the type payloadType. It is put together here because with gvariant's values
// the blob would be in memory three times.
func (w *partWriter) payload() []byte {
	modes := gvariant.Array("(uuu)", w.modes...).Bytes()
	xattrs := gvariant.Array("a(ayay)", w.xattrs...).Bytes()
	n := len(modes) + len(xattrs) + len(w.blob) + len(w.ops)
	width := 1
	for n+3*width >= 1<<(8*width) {
		width *= 2
	}
	out := make([]byte, 0, n+3*width)
	out = append(out, modes...)
	out = append(out, xattrs...)
	out = append(out, w.blob...)
	out = append(out, w.ops...)
	// Where the first three members end, the last of them first.
	for _, end := range []int{n - len(w.ops), len(modes) + len(xattrs), len(modes)} {
		for i := range width {
			out = append(out, byte(end>>(8*i)))
		}
	}
	return out
}
