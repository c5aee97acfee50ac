package installer

import (
	"fmt"
	"os"
	"path/filepath"

	"photree/installer/disk"
	"photree/installer/kickstart"
)

// ApplyKickstart sets what a kickstart file asks for. dir is where the file
// is: scripts that it names are looked for there and in its search path.
func (o *Options) ApplyKickstart(c *kickstart.Config, dir string) error {
	o.Disk, o.Size = c.Disk, c.DiskSize
	o.BootMode = disk.BootMode(c.BootMode)
	o.Partitions = nil
	for _, p := range c.Partitions {
		o.Partitions = append(o.Partitions, disk.Partition(p))
	}
	if c.Repo.URL != "" {
		o.RemoteURL = c.Repo.URL
	}
	if c.Repo.Ref != "" {
		o.Ref = c.Repo.Ref
	}
	m := &o.Machine
	m.Hostname = c.Hostname
	m.Password, m.PasswordHash, m.PasswordAge = c.Password.Text, c.Password.Hash, c.Password.Age
	m.AuthorizedKeys = c.PublicKeys
	m.NetworkFiles = c.Network
	m.PostInstall = c.PostInstall
	for _, name := range c.PostInstallFiles {
		text, err := findScript(name, append([]string{dir}, c.SearchPath...))
		if err != nil {
			return err
		}
		m.PostInstall = append(m.PostInstall, kickstart.Script{Name: name, Text: text})
	}
	return nil
}

func findScript(name string, dirs []string) (string, error) {
	if filepath.IsAbs(name) {
		dirs = []string{"/"}
	}
	for _, dir := range dirs {
		if data, err := os.ReadFile(filepath.Join(dir, name)); err == nil {
			return string(data), nil
		}
	}
	return "", fmt.Errorf("the kickstart file names the script %q, which is in none of %q", name, dirs)
}
