package distro

import (
	"fmt"
	"regexp"
	"sort"
	"strings"

	"photree/qemu-tests/distro/rpmwriter"
)

var (
	enabledUnit     = regexp.MustCompile(`deb-systemd-helper enable '([^']+)'`)
	continuation    = regexp.MustCompile(`\\\n\s*`)
	alternative     = regexp.MustCompile(`(?m)^\s*update-alternatives\s+(?:(?:--quiet|--force)\s+)*--install\s+(.*?);?\s*$`)
	afterCommand    = regexp.MustCompile(`\s*(\|\||&&|>|2>).*`)
	ldconfigTrigger = regexp.MustCompile(`(?m)^activate\S*\s+ldconfig`)
	kernelVersion   = regexp.MustCompile(`^/usr/lib/modules/([^/]+)/`)
)

// addScripts turns what the maintainer scripts do into scriptlets of the kinds that RPM distributions have.
func (c *conversion) addScripts() error {
	eff := effects[c.name]
	if len(eff.users) > 0 {
		c.addUsers(eff.users)
	}
	var post []string
	for _, alt := range c.alternatives() {
		post = append(post, "update-alternatives --quiet --install "+alt+" || :")
	}
	if units := c.units(); len(units) > 0 {
		list := strings.Join(units, " ")
		post = append(post, "systemctl --no-reload preset "+list+" >/dev/null 2>&1 || :")
		c.pkg.Preun.Body = "if [ $1 -eq 0 ]; then systemctl --no-reload disable " + list + " >/dev/null 2>&1 || :; fi"
	}
	post = append(post, eff.post...)
	if strings.HasPrefix(c.name, "linux-image-") {
		for p := range c.files {
			if m := kernelVersion.FindStringSubmatch(p); m != nil {
				post = append(post, "/sbin/depmod -a "+m[1]+" || :")
				break
			}
		}
	}
	// libc-bin holds ldconfig and needs libc6 and libgcc-s1, so it speaks for them.
	ldconfig := c.name == "libc-bin" || (ldconfigTrigger.MatchString(c.deb.members["triggers"]) && !bottom[c.name])
	switch {
	case len(post) > 0:
		if ldconfig {
			post = append(post, "/sbin/ldconfig")
		}
		c.pkg.Post.Body = strings.Join(post, "\n")
	case ldconfig:
		c.pkg.Post.Interp, c.pkg.Postun.Interp = "/sbin/ldconfig", "/sbin/ldconfig"
	}
	return nil
}

// addUsers makes a %pre that creates users and groups as Photon's and Fedora's packages do, and the sysusers.d file
// that says the same.
func (c *conversion) addUsers(users []user) {
	var pre, sysusers []string
	for _, u := range users {
		if u.home == "" {
			pre = append(pre, fmt.Sprintf("getent group %[1]s >/dev/null || groupadd -r %[1]s", u.name))
			sysusers = append(sysusers, "g "+u.name+" -")
			continue
		}
		pre = append(pre, fmt.Sprintf("getent group %[1]s >/dev/null || groupadd -r %[1]s", u.name),
			fmt.Sprintf("getent passwd %[1]s >/dev/null || useradd -r -g %[1]s -d %[2]s -s /usr/sbin/nologin -c %[3]q %[1]s", u.name, u.home, c.name))
		sysusers = append(sysusers, fmt.Sprintf("u %s - %q %s", u.name, c.name, u.home))
	}
	c.pkg.Pre.Body = strings.Join(pre, "\n")
	c.addFile(textFile("/usr/lib/sysusers.d/"+c.name+"-users.conf", strings.Join(sysusers, "\n")+"\n"))
}

// alternatives gives the arguments of `update-alternatives --install` in the postinst, where they are plain.
func (c *conversion) alternatives() []string {
	if effects[c.name].noAlternatives {
		return nil
	}
	text := continuation.ReplaceAllString(c.deb.members["postinst"], " ")
	var out []string
	for _, m := range alternative.FindAllStringSubmatch(text, -1) {
		if !strings.ContainsAny(m[1], "$") {
			out = append(out, afterCommand.ReplaceAllString(m[1], ""))
		}
	}
	return out
}

func (c *conversion) units() []string {
	seen := map[string]bool{}
	for _, m := range enabledUnit.FindAllStringSubmatch(c.deb.members["postinst"], -1) {
		seen[m[1]] = true
	}
	var units []string
	for u := range seen {
		units = append(units, u)
	}
	sort.Strings(units)
	return units
}

// The packages that make a shell work. They cannot wait for one another's shell, and Debian, where they are Essential,
// declares no relation on them: every shell scriptlet must require them by name.
var lowLevel = map[string]bool{
	"coreutils": true, "sed": true, "findutils": true, "grep": true, "dpkg": true, "dash": true, "bash": true, "tar": true,
	"gzip": true, "debianutils": true, "libc-bin": true,
}

// bottom are the packages below libc-bin: nothing of theirs can run before it is there.
var bottom = map[string]bool{
	"base-passwd": true, "debianutils": true, "libc6": true, "gcc-12-base": true, "libgcc-s1": true, "libcrypt1": true, "libdebconfclient0": true,
}

// scriptNeeds gives what must be installed before the package's files and scriptlets.
func (c *conversion) scriptNeeds() []clause {
	need := []string{"filesystem"}
	if !bottom[c.name] {
		p := c.pkg
		if p.Pre.Body != "" {
			need = append(need, "passwd", "libc-bin", "coreutils")
		}
		if p.Post.Body != "" && !lowLevel[c.name] {
			need = append(need, "coreutils", "sed", "findutils", "grep")
		}
		need = append(need, effects[c.name].needs...)
		if strings.Contains(p.Post.Body, "update-alternatives") {
			need = append(need, "dpkg")
		}
		if strings.Contains(p.Post.Body, "systemctl") && c.name != "systemd" {
			need = append(need, "systemd")
		}
		for _, f := range c.files {
			if f.User != "" && f.User != "root" || f.Group != "" && f.Group != "root" {
				need = append(need, "base-passwd")
				break
			}
		}
	}
	var out []clause
	seen := map[string]bool{c.name: true}
	for _, n := range need {
		if !seen[n] {
			seen[n] = true
			out = append(out, clause{rpmwriter.Dep{Name: n}})
		}
	}
	return out
}
