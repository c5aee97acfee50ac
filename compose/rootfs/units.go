package rootfs

import (
	"bytes"
	"fmt"
	"path"
	"slices"
	"sort"
	"strings"
)

// unitDirs is where units are looked for, the first winning.
var unitDirs = []string{"/etc/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"}

// presets are the rules of the tree that say which units are enabled.
type presets struct {
	root  *rootDir
	rules []presetRule
}

type presetRule struct {
	enable    bool
	pattern   string
	instances []string
}

// loadPresets reads the tree's system-preset directories as systemd does: by
// file name, /etc before /usr/lib; the first rule that matches decides.
func loadPresets(root *rootDir) (*presets, error) {
	files := map[string]string{}
	for _, d := range []string{"/usr/lib/systemd/system-preset", "/usr/local/lib/systemd/system-preset", "/etc/systemd/system-preset"} {
		list, err := root.readDir(d)
		if err != nil {
			return nil, err
		}
		for _, e := range list {
			if strings.HasSuffix(e.Name(), ".preset") {
				files[e.Name()] = path.Join(d, e.Name())
			}
		}
	}
	names := make([]string, 0, len(files))
	for n := range files {
		names = append(names, n)
	}
	sort.Strings(names)
	p := &presets{root: root}
	for _, n := range names {
		data, err := root.readFile(files[n])
		if err != nil {
			continue // masked by a link to /dev/null
		}
		for _, l := range strings.Split(string(data), "\n") {
			f := strings.Fields(l)
			if len(f) < 2 || (f[0] != "enable" && f[0] != "disable") {
				continue
			}
			p.rules = append(p.rules, presetRule{f[0] == "enable", f[1], f[2:]})
		}
	}
	return p, nil
}

// match says what the presets want for a unit: enabled unless a rule says
// otherwise, as systemd does.
func (p *presets) match(unit string) (enable bool, instances []string) {
	for _, r := range p.rules {
		if ok, _ := path.Match(r.pattern, unit); ok {
			return r.enable, r.instances
		}
	}
	return true, nil
}

// apply enables a unit if the presets want it so. A unit that does not exist
// is passed over.
func (p *presets) apply(unit string) error {
	enable, instances := p.match(unit)
	if !enable {
		return nil
	}
	if name, suffix, ok := strings.Cut(unit, "@."); ok && len(instances) > 0 {
		for _, i := range instances {
			if err := enableUnit(p.root, name+"@"+i+"."+suffix, nil); err != nil {
				return err
			}
		}
		return nil
	}
	if _, _, err := findUnit(p.root, unit); err != nil {
		return nil
	}
	return enableUnit(p.root, unit, nil)
}

// findUnit gives the file and the contents of a unit. The file of an instance
// is its template's.
func findUnit(root *rootDir, unit string) (file string, data []byte, err error) {
	names := []string{unit}
	if at := strings.Index(unit, "@"); at >= 0 {
		names = append(names, unit[:at+1]+path.Ext(unit))
	}
	for _, n := range names {
		for _, d := range unitDirs {
			f := path.Join(d, n)
			if t := root.readlink(f); t == "/dev/null" {
				return "", nil, fmt.Errorf("unit %q is masked", unit)
			}
			if data, err := root.readFile(f); err == nil {
				return f, data, nil
			}
		}
	}
	return "", nil, fmt.Errorf("unit %q does not exist in the tree; install the package that contains it", unit)
}

// enableUnit makes the links that a unit's [Install] section asks for, as
// "systemctl enable" does. seen stops units that name each other in Also=.
func enableUnit(root *rootDir, unit string, seen []string) error {
	if slices.Contains(seen, unit) {
		return nil
	}
	seen = append(seen, unit)
	file, data, err := findUnit(root, unit)
	if err != nil {
		return err
	}
	install := parseInstall(data)
	name := unit
	if strings.Contains(unit, "@.") {
		i := install["DefaultInstance"]
		if len(i) == 0 {
			if len(install["WantedBy"])+len(install["RequiredBy"]) > 0 {
				return nil // a template without an instance: nothing to link
			}
		} else {
			name = strings.Replace(unit, "@.", "@"+i[0]+".", 1)
		}
	}
	const etc = "/etc/systemd/system"
	for _, a := range install["Alias"] {
		if alias := expandUnit(a, name); alias != name {
			if err := root.symlink(file, path.Join(etc, alias)); err != nil {
				return err
			}
		}
	}
	for key, suffix := range map[string]string{"WantedBy": ".wants", "RequiredBy": ".requires", "UpheldBy": ".upholds"} {
		for _, t := range install[key] {
			if err := root.symlink(file, path.Join(etc, expandUnit(t, name)+suffix, name)); err != nil {
				return err
			}
		}
	}
	for _, also := range install["Also"] {
		if _, _, err := findUnit(root, expandUnit(also, name)); err != nil {
			continue
		}
		if err := enableUnit(root, expandUnit(also, name), seen); err != nil {
			return err
		}
	}
	return nil
}

// parseInstall reads the [Install] section of a unit; values of a key that
// comes again are added, an empty one starts anew.
func parseInstall(data []byte) map[string][]string {
	out := map[string][]string{}
	section := ""
	data = bytes.ReplaceAll(data, []byte("\\\n"), []byte(" "))
	for _, l := range strings.Split(string(data), "\n") {
		l = strings.TrimSpace(l)
		switch {
		case l == "" || l[0] == '#' || l[0] == ';':
		case l[0] == '[':
			section = l
		case section == "[Install]":
			k, v, _ := strings.Cut(l, "=")
			k = strings.TrimSpace(k)
			if f := strings.Fields(v); len(f) == 0 {
				delete(out, k)
			} else {
				out[k] = append(out[k], f...)
			}
		}
	}
	return out
}

// expandUnit replaces the specifiers that [Install] may hold.
func expandUnit(s, unit string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	stem := strings.TrimSuffix(unit, path.Ext(unit))
	prefix, instance, _ := strings.Cut(stem, "@")
	return strings.NewReplacer("%%", "%", "%n", unit, "%N", stem, "%p", prefix, "%i", instance, "%j", prefix[strings.LastIndex(prefix, "-")+1:]).Replace(s)
}

// enableListed enables the units of a treefile.
func enableListed(root *rootDir, units []string) error {
	for _, u := range units {
		if !strings.Contains(u, ".") {
			u += ".service"
		}
		if err := enableUnit(root, u, nil); err != nil {
			return fmt.Errorf("enabling unit: %w", err)
		}
	}
	return nil
}
