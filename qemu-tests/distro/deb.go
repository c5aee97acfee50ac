package distro

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/xi2/xz"
)

// deb is a Debian package in memory.
type deb struct {
	fields  map[string]string // of the control file
	members map[string]string // control members: postinst, conffiles, triggers, ...
	files   []debFile
}

type debFile struct {
	path        string // absolute, as in the archive (not usr-merged)
	hdr         *tar.Header
	body        []byte
	kind        byte
	user, group string
}

// readDeb reads a package file and checks its digest.
func readDeb(file, sha string) (*deb, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != sha {
		return nil, fmt.Errorf("reading package %q: its SHA-256 is not the archive's; delete it and run again", file)
	}
	d := &deb{members: map[string]string{}}
	err = eachArMember(data, func(name string, body []byte) error {
		switch {
		case strings.HasPrefix(name, "control.tar"):
			return d.readControl(name, body)
		case strings.HasPrefix(name, "data.tar"):
			return d.readData(name, body)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading package %q: %w", file, err)
	}
	if d.fields["Package"] == "" {
		return nil, fmt.Errorf("reading package %q: it has no control file", file)
	}
	return d, nil
}

func eachArMember(data []byte, visit func(name string, body []byte) error) error {
	if !bytes.HasPrefix(data, []byte("!<arch>\n")) {
		return errors.New("not an ar archive")
	}
	for data = data[8:]; len(data) >= 60; {
		name := strings.TrimRight(strings.TrimSpace(string(data[:16])), "/")
		size, err := strconv.Atoi(strings.TrimSpace(string(data[48:58])))
		if err != nil || size < 0 || 60+size > len(data) {
			return fmt.Errorf("ar member %q is cut off", name)
		}
		if err := visit(name, data[60:60+size]); err != nil {
			return fmt.Errorf("member %q: %w", name, err)
		}
		data = data[min(60+size+size%2, len(data)):]
	}
	return nil
}

func decompress(name string, body []byte) (io.Reader, error) {
	r := bytes.NewReader(body)
	switch path.Ext(name) {
	case ".xz":
		return xz.NewReader(r, 0)
	case ".zst":
		return zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
	case ".gz":
		return gzip.NewReader(r)
	case ".tar":
		return r, nil
	}
	return nil, fmt.Errorf("unknown compression %q", name)
}

func (d *deb) readControl(name string, body []byte) error {
	r, err := decompress(name, body)
	if err != nil {
		return err
	}
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		text, err := io.ReadAll(tr)
		if err != nil {
			return err
		}
		d.members[path.Base(h.Name)] = string(text)
	}
	stanzas := parseStanzas(d.members["control"])
	if len(stanzas) > 0 {
		d.fields = stanzas[0]
	}
	return nil
}

func (d *deb) readData(name string, body []byte) error {
	r, err := decompress(name, body)
	if err != nil {
		return err
	}
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		f := debFile{path: path.Clean("/" + h.Name), hdr: h, kind: h.Typeflag, user: h.Uname, group: h.Gname}
		if h.Typeflag == tar.TypeReg {
			if f.body, err = io.ReadAll(tr); err != nil {
				return err
			}
		}
		d.files = append(d.files, f)
	}
}

// parseStanzas reads deb822 text: stanzas of "Field: value" with indented continuation lines.
func parseStanzas(text string) []map[string]string {
	var out []map[string]string
	var cur map[string]string
	var last string
	for _, line := range strings.Split(text, "\n") {
		switch {
		case strings.TrimSpace(line) == "":
			cur = nil
		case line[0] == ' ' || line[0] == '\t':
			if cur != nil {
				cur[last] += "\n" + strings.TrimSpace(line)
			}
		default:
			field, value, ok := strings.Cut(line, ":")
			if !ok {
				continue
			}
			if cur == nil {
				cur = map[string]string{}
				out = append(out, cur)
			}
			last = field
			cur[field] = strings.TrimSpace(value)
		}
	}
	return out
}
