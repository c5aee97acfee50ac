package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io"

	"photree/compose/rpm"
)

// chunkSize bounds the pieces in which contents travel; with the length of
// the channel it bounds the memory of an unpack (64 MiB).
const (
	chunkSize  = 1 << 20
	chunkQueue = 64
)

// piece is a part of a payload on its way to the disk.
type piece struct {
	pkg   int        // index of the package
	entry *rpm.Entry // a new file begins; nil: more of the one before
	data  []byte
	end   bool // the package is complete and its digest held
	err   error
}

// feed reads the payloads of packages one after another, ahead of the writer:
// it decompresses the next package while the one before is being written.
func feed(ctx context.Context, paths []string) <-chan piece {
	out := make(chan piece, chunkQueue)
	go func() {
		defer close(out)
		for i, p := range paths {
			if err := feedPackage(ctx, i, p, out); err != nil {
				select {
				case out <- piece{pkg: i, err: err}:
				case <-ctx.Done():
				}
				return
			}
		}
	}()
	return out
}

func feedPackage(ctx context.Context, i int, name string, out chan<- piece) error {
	p, err := rpm.Open(name)
	if err != nil {
		return err
	}
	defer p.Close()
	send := func(x piece) error {
		x.pkg = i
		select {
		case out <- x:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	payload, err := p.Payload()
	if err != nil {
		return fmt.Errorf("reading package %q: %w", name, err)
	}
	defer payload.Close()
	for {
		e, err := payload.Next()
		if errors.Is(err, io.EOF) {
			return send(piece{end: true})
		}
		if err != nil {
			return fmt.Errorf("reading package %q: %w", name, err)
		}
		if err := feedEntry(e, payload, send); err != nil {
			return fmt.Errorf("reading package %q: %w", name, err)
		}
	}
}

func feedEntry(e *rpm.Entry, payload *rpm.Payload, send func(piece) error) error {
	left := e.Size
	first := true
	for first || left > 0 {
		x := piece{}
		if first {
			x.entry = e
		}
		if left > 0 {
			x.data = make([]byte, min(left, chunkSize))
			if _, err := io.ReadFull(payload, x.data); err != nil {
				if errors.Is(err, io.EOF) {
					err = io.ErrUnexpectedEOF
				}
				return err
			}
			left -= uint64(len(x.data))
		}
		if err := send(x); err != nil {
			return err
		}
		first = false
	}
	return nil
}

var errFeedEnded = errors.New("the payload ended early")
