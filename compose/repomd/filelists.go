package repomd

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"photree/compose/rpm"
)

// parseFilelists calls found for each package that contains one of the wanted
// paths. The index is read as a stream: it is several times as large as primary.
func parseFilelists(r io.Reader, wanted map[string]bool, found func(id rpm.NEVRA, checksum, path string)) error {
	p := primaryParser{s: newScanner(r), strings: map[string]string{}}
	var id rpm.NEVRA
	checksum := ""
	for {
		err := p.s.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if p.s.kind != startTag {
			continue
		}
		switch p.s.name {
		case "filelists":
		case "package":
			id = rpm.NEVRA{Name: string(p.s.attr("name")), Arch: p.attr("arch")}
			checksum = string(p.s.attr("pkgid"))
		case "version":
			id.EVR = p.evr()
		case "file":
			b, err := p.content()
			if err != nil {
				return err
			}
			if b = bytes.TrimSpace(b); wanted[string(b)] {
				found(id, checksum, string(b))
			}
		default:
			if len(p.s.stack) == 1 {
				return fmt.Errorf("the root element is <%s> instead of <filelists>", p.s.name)
			}
		}
	}
}
