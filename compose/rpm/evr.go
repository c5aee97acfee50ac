package rpm

import (
	"cmp"
	"strconv"
	"strings"
)

// EVR is an epoch, version and release. An empty Release means "any release"
// when the EVR is part of a dependency.
type EVR struct {
	Epoch   uint32
	Version string
	Release string
}

// ParseEVR splits "[epoch:]version[-release]". It accepts every string: what
// is no number before the first colon stays part of the version, as RPM does.
func ParseEVR(s string) EVR {
	var e EVR
	if i := strings.IndexByte(s, ':'); i >= 0 && isDigits(s[:i]) {
		n, err := strconv.ParseUint("0"+s[:i], 10, 32)
		if err == nil {
			e.Epoch = uint32(n)
			s = s[i+1:]
		}
	}
	if i := strings.LastIndexByte(s, '-'); i >= 0 {
		e.Version, e.Release = s[:i], s[i+1:]
	} else {
		e.Version = s
	}
	return e
}

// String gives "[epoch:]version[-release]"; an epoch of zero is left out.
func (e EVR) String() string {
	s := e.Version
	if e.Release != "" {
		s += "-" + e.Release
	}
	if e.Epoch != 0 {
		s = strconv.FormatUint(uint64(e.Epoch), 10) + ":" + s
	}
	return s
}

// IsZero says whether nothing is set.
func (e EVR) IsZero() bool { return e == EVR{} }

// Compare orders two full EVRs: -1, 0 or 1. A missing release sorts before any.
func (e EVR) Compare(o EVR) int {
	if c := cmp.Compare(e.Epoch, o.Epoch); c != 0 {
		return c
	}
	if c := CompareVersions(e.Version, o.Version); c != 0 {
		return c
	}
	return CompareVersions(e.Release, o.Release)
}

// CompareVersions orders two version or release strings as rpmvercmp does:
// runs of digits compare as numbers, runs of letters as text, a number is newer
// than a word, "~" sorts before the end of the string and "^" after it but
// before anything else.
func CompareVersions(a, b string) int {
	if a == b {
		return 0
	}
	for len(a) > 0 || len(b) > 0 {
		a, b = skipSeparators(a), skipSeparators(b)
		if at, bt := strings.HasPrefix(a, "~"), strings.HasPrefix(b, "~"); at || bt {
			if !at {
				return 1
			}
			if !bt {
				return -1
			}
			a, b = a[1:], b[1:]
			continue
		}
		if ac, bc := strings.HasPrefix(a, "^"), strings.HasPrefix(b, "^"); ac || bc {
			switch {
			case a == "":
				return -1
			case b == "":
				return 1
			case !ac:
				return 1
			case !bc:
				return -1
			}
			a, b = a[1:], b[1:]
			continue
		}
		if a == "" || b == "" {
			break
		}
		isNum := isDigit(a[0])
		class := isAlpha
		if isNum {
			class = isDigit
		}
		as, arest := cut(a, class)
		bs, brest := cut(b, class)
		if bs == "" { // different kinds: the number is newer
			if isNum {
				return 1
			}
			return -1
		}
		if isNum {
			as, bs = strings.TrimLeft(as, "0"), strings.TrimLeft(bs, "0")
			if c := cmp.Compare(len(as), len(bs)); c != 0 {
				return c
			}
		}
		if c := strings.Compare(as, bs); c != 0 {
			return c
		}
		a, b = arest, brest
	}
	return cmp.Compare(len(a), len(b)) // at most one is left over: it is newer
}

func skipSeparators(s string) string {
	for s != "" && !isDigit(s[0]) && !isAlpha(s[0]) && s[0] != '~' && s[0] != '^' {
		s = s[1:]
	}
	return s
}

func cut(s string, class func(byte) bool) (run, rest string) {
	i := 0
	for i < len(s) && class(s[i]) {
		i++
	}
	return s[:i], s[i:]
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
func isAlpha(c byte) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }

func isDigits(s string) bool {
	for i := range len(s) {
		if !isDigit(s[i]) {
			return false
		}
	}
	return true
}

// NEVRA names one build of one package.
type NEVRA struct {
	Name string
	EVR
	Arch string
}

// String gives name-[epoch:]version-release.arch.
func (n NEVRA) String() string {
	s := n.Name + "-" + n.EVR.String()
	if n.Arch != "" {
		s += "." + n.Arch
	}
	return s
}

// ParseNEVRA splits name-[epoch:]version-release.arch from the right, and says
// whether all parts were there.
func ParseNEVRA(s string) (NEVRA, bool) {
	dot := strings.LastIndexByte(s, '.')
	if dot < 0 {
		return NEVRA{}, false
	}
	rel := strings.LastIndexByte(s[:dot], '-')
	if rel <= 0 {
		return NEVRA{}, false
	}
	ver := strings.LastIndexByte(s[:rel], '-')
	if ver <= 0 || ver+1 == rel || rel+1 == dot || dot+1 == len(s) {
		return NEVRA{}, false
	}
	return NEVRA{Name: s[:ver], EVR: ParseEVR(s[ver+1 : dot]), Arch: s[dot+1:]}, true
}
