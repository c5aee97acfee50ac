package ostree

import (
	"os"
	"regexp"
	"strconv"
	"strings"

	"photree/cli"
	"photree/repo/object"
	"photree/repo/tree"
)

// filters reads the lists of what is skipped and of modes that are changed.
func (o *commitOptions) filters(w *tree.WriteOptions) error {
	if o.skipList != "" {
		skip := map[string]bool{}
		lines, err := readLines(o.skipList)
		if err != nil {
			return err
		}
		for _, line := range lines {
			skip[line] = true
		}
		w.Filter = func(path string, _ uint32) bool { return !skip[path] }
	}
	overrides, err := o.readOverrides()
	if err != nil {
		return err
	}
	if len(overrides) == 0 && !o.roExecutables {
		return nil
	}
	w.Modify = func(path string, info *object.FileInfo) {
		if o.roExecutables && info.IsRegular() && info.Mode&0o111 != 0 {
			info.Mode &^= 0o222
		}
		if change, ok := overrides[path]; ok {
			info.Mode = change(info.Mode)
		}
	}
	return nil
}

var overrideLine = regexp.MustCompile(`^([=+]?)([0-9]+) (/.*)$`)

// readOverrides reads lines of `=MODE PATH`, which sets a mode, and `MODE PATH`, which adds bits. MODE is decimal.
func (o *commitOptions) readOverrides() (map[string]func(uint32) uint32, error) {
	if o.statOverride == "" {
		return nil, nil
	}
	lines, err := readLines(o.statOverride)
	if err != nil {
		return nil, err
	}
	overrides := map[string]func(uint32) uint32{}
	for _, line := range lines {
		m := overrideLine.FindStringSubmatch(line)
		if m == nil {
			return nil, cli.Fail("Malformed statoverride file: %q is not of the form [=]MODE /PATH", line)
		}
		n, err := strconv.ParseUint(m[2], 10, 16)
		if err != nil || n > 0o7777 {
			return nil, cli.Fail("Malformed statoverride file: %s is not a mode in decimal", m[2])
		}
		bits := uint32(n)
		if m[1] == "=" {
			overrides[m[3]] = func(mode uint32) uint32 { return mode&object.ModeType | bits }
		} else {
			overrides[m[3]] = func(mode uint32) uint32 { return mode | bits }
		}
	}
	return overrides, nil
}

func readLines(path string) ([]string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var lines []string
	for line := range strings.SplitSeq(string(data), "\n") {
		if line = strings.TrimRight(line, "\r"); line != "" {
			lines = append(lines, line)
		}
	}
	return lines, nil
}
