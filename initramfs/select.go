package initramfs

import (
	"context"
	"fmt"
	"path"
	"path/filepath"
	"sort"
	"strings"
)

// selection is the modules of an image, closed over their dependencies.
type selection struct {
	dir     *moduleDir
	modules map[string]*module
	order   []string          // names in load order of their closure: what a module needs stands before it
	aliases map[string]string // soft dependencies that name an alias -> module, filled when first needed
}

// selectModules computes the closure of the modules that the options ask for.
func selectModules(ctx context.Context, o Options, kver string, stats *Stats) (*selection, error) {
	dir, err := openModules(o.Tree, kver)
	if err != nil {
		return nil, err
	}
	s := &selection{dir: dir, modules: map[string]*module{}}
	want, optional := o.Modules, o.Add
	if o.Modules == nil {
		for _, p := range generic {
			optional = append(optional, path.Base(p))
		}
	}
	for _, name := range want {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		found, err := s.add(name)
		if err != nil {
			return nil, err
		}
		if !found {
			return nil, fmt.Errorf("the kernel %s has no module %q, neither as a file nor built in", kver, name)
		}
	}
	for _, name := range optional {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		found, err := s.add(name)
		if err != nil {
			return nil, err
		}
		if !found {
			stats.Missing = append(stats.Missing, name)
		}
	}
	stats.Modules = sortedKeys(s.modules)
	sort.Strings(stats.Missing)
	return s, nil
}

// add takes a module and what it needs; found is false when the kernel does not know it.
func (s *selection) add(name string) (found bool, err error) {
	name = canonical(name)
	if _, ok := s.modules[name]; ok {
		return true, nil
	}
	m, err := s.dir.get(name)
	if err != nil {
		return false, err
	}
	if m == nil {
		return s.dir.builtin[name], nil
	}
	s.modules[name] = m // before its dependencies: soft ones may form a cycle
	for _, dep := range m.depends {
		ok, err := s.add(dep)
		if err != nil {
			return false, err
		}
		if !ok {
			return false, fmt.Errorf("kernel module %q needs %q, which is not in %s", name, dep, s.dir.dir)
		}
	}
	// Soft dependencies name modules or aliases, and need not exist.
	for _, list := range []*[]string{&m.pre, &m.post} {
		var kept []string
		for _, dep := range *list {
			target, err := s.resolve(dep)
			if err != nil {
				return false, err
			}
			if target == "" || target == name {
				continue
			}
			if ok, err := s.add(target); err != nil {
				return false, err
			} else if ok && s.modules[target] != nil {
				kept = append(kept, target)
			}
		}
		*list = kept
	}
	s.order = append(s.order, name)
	return true, nil
}

// resolve finds the module that a soft dependency means: by its name, or by an alias among the checksums and ciphers,
// which is what soft dependencies name ("crc32c", "sha256").
func (s *selection) resolve(dep string) (string, error) {
	name := canonical(dep)
	if s.dir.paths[name] != "" {
		return name, nil
	}
	if s.dir.builtin[name] {
		return "", nil
	}
	if s.aliases == nil {
		s.aliases = map[string]string{}
		for _, name := range sortedKeys(s.dir.paths) {
			p := filepath.ToSlash(s.dir.paths[name])
			if !strings.HasPrefix(p, "kernel/crypto/") && !strings.HasPrefix(p, "kernel/lib/") {
				continue
			}
			m, err := s.dir.get(name)
			if err != nil {
				return "", err
			}
			for _, alias := range m.aliases {
				if s.aliases[alias] == "" {
					s.aliases[alias] = name
				}
			}
		}
	}
	return s.aliases[dep], nil
}
