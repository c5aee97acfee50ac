// Package repodata writes the metadata of an rpm-md repository: primary, filelists, other and repomd.xml.
//
// It writes only below DIR/repodata, from values in memory, and gives the same bytes for the same packages in any
// order. It reads no package file: what it says of a file is what rpmwriter said when it wrote the file.
package repodata

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"photree/qemu-tests/distro/rpmwriter"
)

// Entry is one package of a repository.
type Entry struct {
	Package  *rpmwriter.Package
	Info     rpmwriter.Info
	Location string // relative to the repository
}

// Write writes DIR/repodata for the packages. Timestamp goes into repomd.xml; a fixed one keeps the bytes fixed.
func Write(dir string, entries []Entry, timestamp int64) error {
	entries = append([]Entry(nil), entries...)
	sort.Slice(entries, func(i, j int) bool { return entries[i].Location < entries[j].Location })
	out := filepath.Join(dir, "repodata")
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	var repomd strings.Builder
	fmt.Fprintf(&repomd, "%s<repomd xmlns=\"http://linux.duke.edu/metadata/repo\" xmlns:rpm=\"http://linux.duke.edu/metadata/rpm\">\n  <revision>%d</revision>\n", xmlHead, timestamp)
	for _, doc := range []struct {
		kind string
		data string
	}{{"primary", primary(entries)}, {"filelists", filelists(entries)}, {"other", other(entries)}} {
		if err := writeDocument(out, doc.kind, doc.data, timestamp, &repomd); err != nil {
			return fmt.Errorf("writing %s metadata: %w", doc.kind, err)
		}
	}
	repomd.WriteString("</repomd>\n")
	return os.WriteFile(filepath.Join(out, "repomd.xml"), []byte(repomd.String()), 0o644)
}

const xmlHead = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"

// writeDocument compresses one document, names it by its digest and describes it in repomd.xml.
func writeDocument(dir, kind, data string, timestamp int64, repomd *strings.Builder) error {
	var packed bytes.Buffer
	zw := gzip.NewWriter(&packed)
	if _, err := zw.Write([]byte(data)); err != nil {
		return err
	}
	if err := zw.Close(); err != nil {
		return err
	}
	sum := digest(packed.Bytes())
	name := sum + "-" + kind + ".xml.gz"
	fmt.Fprintf(repomd, "  <data type=%q>\n    <checksum type=\"sha256\">%s</checksum>\n    <open-checksum type=\"sha256\">%s</open-checksum>\n    <location href=\"repodata/%s\"/>\n    <timestamp>%d</timestamp>\n    <size>%d</size>\n    <open-size>%d</open-size>\n  </data>\n",
		kind, sum, digest([]byte(data)), name, timestamp, packed.Len(), len(data))
	return os.WriteFile(filepath.Join(dir, name), packed.Bytes(), 0o644)
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func primary(entries []Entry) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s<metadata xmlns=\"http://linux.duke.edu/metadata/common\" xmlns:rpm=\"http://linux.duke.edu/metadata/rpm\" packages=\"%d\">\n", xmlHead, len(entries))
	for _, e := range entries {
		p, i := e.Package, e.Info
		fmt.Fprintf(&b, "<package type=\"rpm\">\n  <name>%s</name>\n  <arch>%s</arch>\n  <version epoch=\"%d\" ver=\"%s\" rel=\"%s\"/>\n  <checksum type=\"sha256\" pkgid=\"YES\">%s</checksum>\n",
			esc(p.Name), p.Arch, p.Epoch, esc(p.Version), esc(p.Release), i.SHA256)
		fmt.Fprintf(&b, "  <summary>%s</summary>\n  <description>%s</description>\n  <packager></packager>\n  <url>%s</url>\n  <time file=\"%d\" build=\"%d\"/>\n  <size package=\"%d\" installed=\"%d\" archive=\"%d\"/>\n  <location href=\"%s\"/>\n",
			esc(p.Summary), esc(p.Description), esc(p.URL), p.BuildTime, p.BuildTime, i.Size, i.Installed, i.Archive, esc(e.Location))
		fmt.Fprintf(&b, "  <format>\n    <rpm:license>%s</rpm:license>\n    <rpm:vendor>%s</rpm:vendor>\n    <rpm:group>%s</rpm:group>\n    <rpm:buildhost>localhost</rpm:buildhost>\n    <rpm:sourcerpm>%s</rpm:sourcerpm>\n    <rpm:header-range start=\"%d\" end=\"%d\"/>\n",
			esc(p.License), esc(p.Vendor), esc(p.Group), esc(p.SourceRPM), i.HeaderStart, i.HeaderEnd)
		for _, r := range []struct {
			name string
			deps []rpmwriter.Dep
		}{
			{"provides", p.AllProvides()}, {"requires", p.AllRequires()}, {"conflicts", p.Conflicts}, {"obsoletes", p.Obsoletes},
			{"recommends", p.Recommends}, {"suggests", p.Suggests}, {"supplements", p.Supplements}, {"enhances", p.Enhances},
		} {
			relations(&b, r.name, r.deps)
		}
		files(&b, "    ", p, inPrimary)
		b.WriteString("  </format>\n</package>\n")
	}
	b.WriteString("</metadata>\n")
	return b.String()
}

// relations writes one kind of relations; requirements on rpm's own features are not repository data.
func relations(b *strings.Builder, kind string, deps []rpmwriter.Dep) {
	seen := map[string]bool{}
	var lines []string
	for _, d := range deps {
		pre := ""
		if kind == "requires" {
			if strings.HasPrefix(d.Name, "rpmlib(") {
				continue
			}
			if d.Flags&(rpmwriter.PreReq|rpmwriter.ScriptPre|rpmwriter.ScriptPost) != 0 {
				pre = ` pre="1"`
			}
		}
		line := fmt.Sprintf("      <rpm:entry name=\"%s\"%s%s/>\n", esc(d.Name), version(d), pre)
		if !seen[line] {
			seen[line] = true
			lines = append(lines, line)
		}
	}
	if len(lines) > 0 {
		fmt.Fprintf(b, "    <rpm:%s>\n%s    </rpm:%s>\n", kind, strings.Join(lines, ""), kind)
	}
}

func version(d rpmwriter.Dep) string {
	var op string
	switch d.Flags & (rpmwriter.Less | rpmwriter.Greater | rpmwriter.Equal) {
	case rpmwriter.Less:
		op = "LT"
	case rpmwriter.Greater:
		op = "GT"
	case rpmwriter.Equal:
		op = "EQ"
	case rpmwriter.Less | rpmwriter.Equal:
		op = "LE"
	case rpmwriter.Greater | rpmwriter.Equal:
		op = "GE"
	default:
		return ""
	}
	epoch, rest, found := strings.Cut(d.Version, ":")
	if !found {
		epoch, rest = "0", d.Version
	}
	out := fmt.Sprintf(" flags=%q epoch=%q", op, epoch)
	if i := strings.LastIndexByte(rest, '-'); i >= 0 {
		return out + fmt.Sprintf(" ver=\"%s\" rel=\"%s\"", esc(rest[:i]), esc(rest[i+1:]))
	}
	return out + fmt.Sprintf(" ver=\"%s\"", esc(rest))
}

// inPrimary is the rule that every rpm-md tool shares: only these files can be required without the file lists.
func inPrimary(path string) bool {
	return strings.HasPrefix(path, "/etc/") || strings.Contains(path, "bin/") || path == "/usr/lib/sendmail"
}

func files(b *strings.Builder, indent string, p *rpmwriter.Package, want func(string) bool) {
	list := append([]rpmwriter.File(nil), p.Files...)
	sort.Slice(list, func(i, j int) bool { return list[i].Path < list[j].Path })
	for _, f := range list {
		if !want(f.Path) {
			continue
		}
		kind := ""
		switch {
		case f.Mode&rpmwriter.TypeMask == rpmwriter.TypeDir:
			kind = ` type="dir"`
		case f.Flags&rpmwriter.Ghost != 0:
			kind = ` type="ghost"`
		}
		fmt.Fprintf(b, "%s<file%s>%s</file>\n", indent, kind, esc(f.Path))
	}
}

func filelists(entries []Entry) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s<filelists xmlns=\"http://linux.duke.edu/metadata/filelists\" packages=\"%d\">\n", xmlHead, len(entries))
	for _, e := range entries {
		packageHead(&b, e)
		files(&b, "  ", e.Package, func(string) bool { return true })
		b.WriteString("</package>\n")
	}
	b.WriteString("</filelists>\n")
	return b.String()
}

func other(entries []Entry) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s<otherdata xmlns=\"http://linux.duke.edu/metadata/other\" packages=\"%d\">\n", xmlHead, len(entries))
	for _, e := range entries {
		packageHead(&b, e)
		b.WriteString("</package>\n")
	}
	b.WriteString("</otherdata>\n")
	return b.String()
}

func packageHead(b *strings.Builder, e Entry) {
	p := e.Package
	fmt.Fprintf(b, "<package pkgid=%q name=\"%s\" arch=%q>\n  <version epoch=\"%d\" ver=\"%s\" rel=\"%s\"/>\n",
		e.Info.SHA256, esc(p.Name), p.Arch, p.Epoch, esc(p.Version), esc(p.Release))
}

func esc(s string) string {
	var b bytes.Buffer
	// EscapeText only fails when the writer does, and it replaces what XML cannot hold.
	_ = xml.EscapeText(&b, []byte(s))
	return b.String()
}
