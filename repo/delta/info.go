package delta

import "fmt"

// PartInfo is what a part holds, for people to look at.
type PartInfo struct {
	Modes, Xattrs, Blob, Ops int // numbers of modes and attribute sets, bytes of the blob and the operations
	Counts                   OpCounts
}

// InspectPart unpacks part i and reads its operations without making anything. Large parts are unpacked to a file in dir.
func (s *Superblock) InspectPart(i int, data []byte, dir string) (PartInfo, error) {
	h := &s.Parts[i]
	p, err := openPart(h, data, dir)
	if err != nil {
		return PartInfo{}, fmt.Errorf("reading part %d of static delta %s: %w", i, s.Name(), err)
	}
	defer p.close()
	info := PartInfo{Modes: p.modes.Len(), Xattrs: p.xattrs.Len(), Blob: len(p.blob), Ops: len(p.ops)}
	info.Counts, err = p.run(h, func(*output) error { return nil })
	if err != nil {
		err = fmt.Errorf("reading part %d of static delta %s: %w", i, s.Name(), err)
	}
	return info, err
}
