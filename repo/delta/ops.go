package delta

import (
	"errors"
	"fmt"

	"photree/repo/object"
)

// output is an object as the operations of a part describe it; nothing of it is made yet.
type output struct {
	name     object.Name
	metadata []byte // of a metadata object
	info     object.FileInfo
	size     uint64
	pieces   []piece
}

// piece is a run of bytes of a file: data itself, or n bytes of the object source from off, or what the patch data makes
// of source.
type piece struct {
	data   []byte
	source object.ID
	patch  bool
	off, n uint64
}

// OpCounts says how often each operation stands in a part.
type OpCounts struct{ Splice, Open, Write, SetSource, UnsetSource, Close, Patch int }

// machine runs the operations of one part.
type machine struct {
	p       *payload
	r       opReader
	objects []object.Name // still to be made
	source  object.ID     // zero: none
	out     *output       // the file that is open
	left    uint64        // bytes that it still needs
	counts  OpCounts
	emit    func(*output) error
}

// run reads all operations, checks every argument, and hands each object to emit in the order of the part's list.
func (p *payload) run(h *Part, emit func(*output) error) (OpCounts, error) {
	m := &machine{p: p, r: opReader{p.ops}, objects: h.Objects, emit: emit}
	for i := 0; ; i++ {
		op, ok := m.r.next()
		if !ok {
			break
		}
		if err := m.step(op); err != nil {
			return m.counts, fmt.Errorf("operation %d (%q): %w", i, op, err)
		}
	}
	if m.out != nil {
		return m.counts, errors.New("the operations end within an object")
	}
	if len(m.objects) > 0 {
		return m.counts, fmt.Errorf("the operations make %d objects fewer than the part lists", len(m.objects))
	}
	return m.counts, nil
}

func (m *machine) step(op byte) error {
	switch op {
	case opSplice:
		m.counts.Splice++
		return m.splice()
	case opOpen:
		m.counts.Open++
		return m.open()
	case opWrite:
		m.counts.Write++
		return m.write()
	case opSetSource:
		m.counts.SetSource++
		return m.setSource()
	case opUnsetSource:
		m.counts.UnsetSource++
		m.source = object.ID{}
		return nil
	case opPatch:
		m.counts.Patch++
		return m.patch()
	case opClose:
		m.counts.Close++
		return m.close()
	}
	return errors.New("not an operation")
}

// begin takes the next object of the list.
func (m *machine) begin() (*output, error) {
	if m.out != nil {
		return nil, errors.New("an object is open already")
	}
	if len(m.objects) == 0 {
		return nil, errors.New("more objects than the part lists")
	}
	out := &output{name: m.objects[0]}
	m.objects = m.objects[1:]
	return out, nil
}

func (m *machine) splice() error {
	out, err := m.begin()
	if err != nil {
		return err
	}
	var mode, xattrs, off uint64
	if out.name.Kind.IsMetadata() {
		if err := m.r.args(&out.size, &off); err != nil {
			return err
		}
		if out.metadata, err = m.p.slice(off, out.size); err != nil {
			return err
		}
		return m.emit(out)
	}
	if err := m.r.args(&mode, &xattrs, &out.size, &off); err != nil {
		return err
	}
	if out.info, err = m.p.file(mode, xattrs); err != nil {
		return err
	}
	data, err := m.p.slice(off, out.size)
	if err != nil {
		return err
	}
	if out.info.IsSymlink() {
		out.info.Target, out.size = string(data), 0
	} else {
		out.pieces = []piece{{data: data}}
	}
	return m.emit(out)
}

func (m *machine) open() error {
	out, err := m.begin()
	if err != nil {
		return err
	}
	if out.name.Kind.IsMetadata() {
		return fmt.Errorf("%s is not a file", out.name)
	}
	var mode, xattrs uint64
	if err := m.r.args(&mode, &xattrs, &out.size); err != nil {
		return err
	}
	if out.size > 1<<60 {
		return fmt.Errorf("a file of %d bytes", out.size)
	}
	if out.info, err = m.p.file(mode, xattrs); err != nil {
		return err
	}
	if !out.info.IsRegular() {
		return fmt.Errorf("mode 0%o is not that of a regular file", out.info.Mode)
	}
	m.out, m.left = out, out.size
	return nil
}

func (m *machine) write() error {
	var n, off uint64
	if err := m.r.args(&n, &off); err != nil {
		return err
	}
	p := piece{source: m.source, off: off, n: n}
	if m.source.IsZero() {
		data, err := m.p.slice(off, n)
		if err != nil {
			return err
		}
		p = piece{data: data}
	}
	return m.add(p, n)
}

func (m *machine) setSource() error {
	var off uint64
	if err := m.r.args(&off); err != nil {
		return err
	}
	sum, err := m.p.slice(off, uint64(len(m.source)))
	if err != nil {
		return err
	}
	copy(m.source[:], sum)
	if m.source.IsZero() {
		return errors.New("a checksum of zeros")
	}
	return nil
}

func (m *machine) patch() error {
	var off, n uint64
	if err := m.r.args(&off, &n); err != nil {
		return err
	}
	if m.source.IsZero() {
		return errors.New("there is no source to patch")
	}
	data, err := m.p.slice(off, n)
	if err != nil {
		return err
	}
	return m.add(piece{data: data, source: m.source, patch: true, n: m.left}, m.left)
}

// add appends a piece that makes n bytes.
func (m *machine) add(p piece, n uint64) error {
	if m.out == nil {
		return errors.New("no file is open")
	}
	if n > m.left {
		return fmt.Errorf("%d bytes more than the file has", n-m.left)
	}
	m.left -= n
	if n > 0 || p.patch {
		m.out.pieces = append(m.out.pieces, p)
	}
	return nil
}

func (m *machine) close() error {
	if m.out == nil {
		return errors.New("no file is open")
	}
	if m.left > 0 {
		return fmt.Errorf("the file is %d bytes too short", m.left)
	}
	out := m.out
	m.out = nil
	return m.emit(out)
}
