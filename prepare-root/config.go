package prepareroot

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"

	"photree/internal/keyfile"
)

// Config is prepare-root.conf: how the root of a deployment is to be put together.
type Config struct {
	// SysrootReadonly makes /sysroot read-only for everyone but the updater. SysrootSet says whether the file decides
	// it; if not, the repository's configuration does.
	SysrootReadonly, SysrootSet bool

	// Warnings name keys that this program does not know, and so does not follow.
	Warnings []string

	refused []string // what it knows and cannot do
}

// ParseConfig reads the text of a prepare-root.conf.
func ParseConfig(data []byte) (*Config, error) {
	c := &Config{}
	return c, c.merge(data)
}

// merge lets a further file override what was read so far.
func (c *Config) merge(data []byte) error {
	return keys(data, func(group, key, value string) error {
		name := "[" + group + "] " + key
		var on bool
		var err error
		switch name {
		case "[sysroot] readonly":
			c.SysrootReadonly, err = parseBool(name, value)
			c.SysrootSet = true
		case "[etc] transient", "[root] transient", "[root] transient-ro":
			if on, err = parseBool(name, value); on {
				c.refuse(name, value)
			} else {
				c.allow(name)
			}
		case "[composefs] enabled":
			c.allow(name)
			// "maybe" means: only if the deployment has an image, and ours have none.
			if value != "no" && value != "false" && value != "0" && value != "maybe" {
				c.refuse(name, value)
			}
		case "[composefs] keypath":
			// Says nothing while composefs is off.
		default:
			c.Warnings = append(c.Warnings, "prepare-root.conf: "+name+" is unknown and has no effect")
		}
		return err
	})
}

func (c *Config) refuse(name, value string) {
	c.allow(name)
	c.refused = append(c.refused, name+"="+value)
}

func (c *Config) allow(name string) {
	kept := c.refused[:0]
	for _, r := range c.refused {
		if !strings.HasPrefix(r, name+"=") {
			kept = append(kept, r)
		}
	}
	c.refused = kept
}

// Supported returns an error that names what the configuration asks for and this program cannot do. Whoever asked for
// a signed or a transient root must not get another kind silently (B2).
func (c *Config) Supported() error {
	if len(c.refused) == 0 {
		return nil
	}
	return fmt.Errorf("prepare-root.conf asks for %s, which photree cannot do: remove it from the file", strings.Join(c.refused, ", "))
}

// loadConfig reads the files in order; later ones override earlier ones, missing ones are skipped.
func loadConfig(paths []string) (*Config, error) {
	c := &Config{}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading the configuration: %w", err)
		}
		if err := c.merge(data); err != nil {
			return nil, fmt.Errorf("reading %s: %w", path, err)
		}
	}
	return c, nil
}

// repoReadonly reads [sysroot] readonly of the repository's configuration, where it stood before prepare-root.conf.
func repoReadonly(path string) (readonly bool, err error) {
	data, err := os.ReadFile(path)
	// Most have no such key, and a look is much faster than parsing.
	if errors.Is(err, os.ErrNotExist) || err == nil && !bytes.Contains(data, []byte("readonly")) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading the repository's configuration: %w", err)
	}
	err = keys(data, func(group, key, value string) (err error) {
		if group == "sysroot" && key == "readonly" {
			readonly, err = parseBool("[sysroot] readonly", value)
		}
		return err
	})
	if err != nil {
		return false, fmt.Errorf("reading %s: %w", path, err)
	}
	return readonly, nil
}

// keys calls f for each key of a GLib key file.
func keys(data []byte, f func(group, key, value string) error) error {
	file, err := keyfile.Parse(data)
	if err != nil {
		return err
	}
	for _, group := range file.Groups() {
		for _, key := range file.Keys(group) {
			value, _ := file.Get(group, key)
			if err := f(group, key, value); err != nil {
				return err
			}
		}
	}
	return nil
}

// parseBool reads a boolean as GLib writes and accepts it.
func parseBool(name, value string) (bool, error) {
	switch value {
	case "true", "1", "yes":
		return true, nil
	case "false", "0", "no":
		return false, nil
	}
	return false, fmt.Errorf("%s: %q is neither true nor false", name, value)
}
