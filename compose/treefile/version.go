package treefile

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// NextVersion computes the version of a commit from the previous commit's, or
// "" when the treefile states no prefix. now is for "<date:%Y%m%d>".
//
// The first version with a prefix is the prefix itself, then come PREFIX.1,
// PREFIX.2 and so on; a prefix with a date starts with PREFIX.0. Another suffix
// than "." comes from automatic-version-suffix.
func (t *Treefile) NextVersion(previous string, now time.Time) (string, error) {
	if t.VersionPrefix == "" {
		return "", nil
	}
	suffix := t.VersionSuffix
	if suffix == "" {
		suffix = "."
	}
	prefix, dated, err := expandDate(t.VersionPrefix, now)
	if err != nil {
		return "", fmt.Errorf("\"automatic-version-prefix\": %w", err)
	}
	first := prefix
	if dated {
		first += suffix + "0"
	}
	rest, ok := strings.CutPrefix(previous, prefix)
	if previous == "" || !ok {
		return first, nil
	}
	if rest == "" {
		return prefix + suffix + "1", nil
	}
	digits, ok := strings.CutPrefix(rest, suffix)
	if !ok {
		return first, nil // "5.0_minimal2" does not continue "5.0_minimal"
	}
	n, err := strconv.ParseUint(digits, 10, 63)
	if err != nil {
		return first, nil
	}
	return prefix + suffix + strconv.FormatUint(n+1, 10), nil
}

var dateTag = regexp.MustCompile(`<([a-z]+):([^>]*)>`)

func expandDate(s string, now time.Time) (out string, dated bool, err error) {
	out = dateTag.ReplaceAllStringFunc(s, func(m string) string {
		parts := dateTag.FindStringSubmatch(m)
		if parts[1] != "date" {
			err = fmt.Errorf("unknown tag %q", m)
			return ""
		}
		dated = true
		v, e := strftime(parts[2], now.UTC())
		if e != nil {
			err = e
		}
		return v
	})
	return out, dated, err
}

// strftime knows the conversions that make sense in a version.
func strftime(format string, t time.Time) (string, error) {
	layouts := map[byte]string{'Y': "2006", 'm': "01", 'd': "02", 'H': "15", 'M': "04", 'S': "05", 'y': "06",
		'F': "2006-01-02", 'b': "Jan", 'B': "January", 'e': "_2", 'j': "002"}
	var b strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] != '%' {
			b.WriteByte(format[i])
			continue
		}
		i++
		switch {
		case i == len(format):
			return "", fmt.Errorf("the date %q ends in %%", format)
		case format[i] == '%':
			b.WriteByte('%')
		case format[i] == 's':
			b.WriteString(strconv.FormatInt(t.Unix(), 10))
		case layouts[format[i]] != "":
			b.WriteString(t.Format(layouts[format[i]]))
		default:
			return "", fmt.Errorf("the date %q uses %%%c, which is not known", format, format[i])
		}
	}
	return b.String(), nil
}
