package solve

// archClass says which packages can be installed on a machine and which are
// preferred: lower is better, noarch is as good as any. Packages of different
// classes may be installed side by side under one name (multilib).
type archClass map[string]int

const noarch = "noarch"

// compatible gives the classes of a machine. The second class of x86_64 is the
// 32 bit one, as in rpm's colors.
func compatible(machine string) archClass {
	c := archClass{noarch: 0, machine: 1}
	switch machine {
	case "x86_64":
		c["amd64"], c["ia32e"] = 1, 1
		for i, a := range []string{"i686", "athlon", "i586", "i486", "i386"} {
			c[a] = 2 + i
		}
	case "i686", "athlon":
		for i, a := range []string{"i686", "i586", "i486", "i386"} {
			c[a] = 1 + i
		}
	case "i386":
		for i, a := range []string{"i686", "i586", "i486", "i386"} {
			c[a] = 1 + i
		}
	case "armhfp":
		for i, a := range []string{"armv7hnl", "armv7hl", "armv6hl"} {
			c[a] = 1 + i
		}
	}
	return c
}

// sameSlot says whether two packages of one name exclude each other: all do but
// those of a 64 bit and a 32 bit architecture.
func (c archClass) sameSlot(a, b string) bool {
	if a == b || a == noarch || b == noarch {
		return true
	}
	return is32(a) == is32(b)
}

func is32(a string) bool {
	switch a {
	case "i686", "athlon", "i586", "i486", "i386":
		return true
	}
	return false
}
