// Package kickstart reads Photon's kickstart files, JSON or YAML, in both
// schemas: with an "ostree" object, and the older one with "type" and
// "ostree_repo_url".
//
// Parse is pure. It refuses what it does not know, by name, so that a
// misspelt key is an error before the disk is touched and not a surprise on
// the installed machine. Keys that Photon's installer takes and that mean
// nothing for an image-based host are accepted and listed in Config.Ignored;
// those that would change the machine and that photree does not do are
// refused.
package kickstart

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
)

// Config is what a kickstart file asks for.
type Config struct {
	Hostname   string
	Password   Password
	PublicKeys []string
	Disk       string // device, or the image file of disks.default.filename
	DiskSize   int64  // of an image file, in bytes
	BootMode   string // "", bios, efi or dualboot
	Partitions []Partition
	Network    map[string]string // name -> content, for /etc/systemd/network
	Repo       Repo
	// PostInstall are scripts to run in the installed tree; PostInstallFiles
	// name more of them, relative to the kickstart file or one of SearchPath.
	PostInstall      []Script
	PostInstallFiles []string
	SearchPath       []string
	Eject            bool     // the medium, after the installation; default true
	Ignored          []string // keys without a meaning here, sorted
}

// Password is root's.
type Password struct {
	Text string // in the clear
	Hash string // as crypt(3) writes it
	Age  *int   // days; -1 never expires, 0 is expired at the first login
}

// Partition is a wish for one partition.
type Partition struct {
	Mountpoint string
	Size       int64 // bytes; 0 = the rest
	Percent    int
	Filesystem string
	Options    string // of the mount
	MkfsArgs   []string
	Label      string
	PartLabel  string
}

// Repo says where the tree comes from.
type Repo struct {
	Default bool // the repository on the medium
	URL     string
	Ref     string
}

// Script is one script to run in the installed tree.
type Script struct {
	Name string // for messages
	Text string // the script, with its #! line
}

// Parse reads a kickstart file.
func Parse(data []byte) (*Config, error) {
	top, err := decode(data)
	if err != nil {
		return nil, fmt.Errorf("parsing the kickstart file: %w", err)
	}
	c := &Config{Eject: true}
	r := &reader{}
	c.read(r, object{r: r, m: top})
	if err := errors.Join(r.errs...); err != nil {
		return nil, fmt.Errorf("reading the kickstart file: %w", err)
	}
	slices.Sort(c.Ignored)
	return c, nil
}

func decode(data []byte) (map[string]any, error) {
	var top map[string]any
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")) {
		d := json.NewDecoder(bytes.NewReader(data))
		if err := d.Decode(&top); err != nil {
			return nil, err
		}
		if d.More() {
			return nil, errors.New("there is more text behind the closing brace")
		}
		return top, nil
	}
	if err := yaml.Unmarshal(data, &top); err != nil {
		return nil, err
	}
	if len(top) == 0 {
		return nil, errors.New("it has no keys")
	}
	return top, nil
}

// ignored keys say something about packages, about the medium or about how
// Photon's installer itself works. All of that is settled in the commit.
var ignored = []string{
	"additional_packages", "additional_rpms_path", "arch", "autopartition", "build_mounts", "dps", "environment",
	"insecure_repo", "linux_flavor", "linux_flavor_aarch64", "linux_flavor_x86_64", "live", "log_level",
	"manifest_file", "no_clean", "no_unmount", "packagelist_file", "packagelist_files", "packages",
	"photon_docker_image", "repos", "tdnf_cachedir", "type", "ui",
}

// refused keys would change the machine in a way that photree does not do.
var refused = map[string]string{
	"additional_files":      "put the files into the tree, or write them in postinstall",
	"ansible":               "run the playbooks against the booted host",
	"docker":                "load the images on the booted host",
	"firstboot":             "add a systemd unit with ConditionFirstBoot=yes to the tree",
	"preinstall":            "the installer has no shell; give the values in the kickstart file",
	"preinstallscripts":     "the installer has no shell; give the values in the kickstart file",
	"prepkgsinstall":        "no packages are installed; add a script to the treefile",
	"prepkgsinstallscripts": "no packages are installed; add a script to the treefile",
	"security":              "set SELinux and FIPS in the tree and its kernel arguments",
	"setup_grub_script":     "photree writes the GRUB configuration itself",
	"user_grub_cfg_file":    "give kernel arguments with --karg",
}

func (c *Config) read(r *reader, o object) {
	c.Hostname = o.text("hostname")
	c.readPassword(o)
	c.readKeys(r, o)
	c.readDisk(r, o)
	c.BootMode = o.oneOf("bootmode", "bios", "efi", "dualboot")
	if kind := o.oneOf("partition_type", "gpt", "msdos"); kind == "msdos" {
		r.errorf(`key "partition_type": only gpt is supported`)
	}
	for _, p := range o.objects("partitions") {
		c.Partitions = append(c.Partitions, readPartition(r, p))
	}
	if network, ok := o.object("network"); ok {
		c.readNetwork(r, network)
	}
	c.readRepo(r, o)
	if lines := o.texts("postinstall"); len(lines) > 0 {
		c.PostInstall = []Script{{"postinstall", script(lines)}}
	}
	c.PostInstallFiles = o.texts("postinstallscripts")
	c.SearchPath = o.texts("search_path")
	if eject, set := o.boolean("eject_cdrom"); set {
		c.Eject = eject
	}
	for _, key := range ignored {
		if o.use(key) {
			c.Ignored = append(c.Ignored, key)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(refused)) {
		if o.use(key) {
			r.errorf("key %q is not supported: %s", key, refused[key])
		}
	}
	o.finish()
}

func script(lines []string) string {
	text := strings.Join(lines, "\n") + "\n"
	if !strings.HasPrefix(text, "#!") {
		text = "#!/bin/sh\n" + text
	}
	return text
}

var cryptHash = regexp.MustCompile(`^(\*|!|\$[0-9a-z]+\$[^:\s]+)$`)

func (c *Config) readPassword(o object) {
	if o.has("shadow_password") {
		c.Password.Hash = o.text("shadow_password")
	}
	if p, ok := o.object("password"); ok {
		text := p.text("text")
		if crypted, _ := p.boolean("crypted"); crypted {
			c.Password.Hash = text
		} else {
			c.Password.Text = text
		}
		if age, set := p.number("age"); set {
			days := int(age)
			c.Password.Age = &days
		}
		p.finish()
	}
	if c.Password.Hash != "" && !cryptHash.MatchString(c.Password.Hash) {
		o.r.errorf(`key "password": the text is not a hash as crypt(3) writes it, but "crypted" is true`)
	}
}

func (c *Config) readKeys(r *reader, o object) {
	if !o.has("public_key") {
		return
	}
	if key, ok := o.m["public_key"].(string); ok { // the older schema
		o.use("public_key")
		c.PublicKeys = []string{key}
	} else if p, ok := o.object("public_key"); ok {
		c.PublicKeys = []string{p.text("key")}
		p.use("reason")
		p.finish()
	}
	for _, key := range c.PublicKeys {
		if len(strings.Fields(key)) < 2 || strings.ContainsAny(key, "\n\r") {
			r.errorf(`key "public_key": %q is not the one line of a public SSH key`, key)
		}
	}
}

// readDisk takes "disk", or the default of "disks".
func (c *Config) readDisk(r *reader, o object) {
	c.Disk = o.text("disk")
	disks, ok := o.object("disks")
	if !ok {
		return
	}
	def, ok := disks.object("default")
	if !ok {
		r.errorf(`key "disks": it has no "default"`)
	} else {
		c.Disk = def.text("device")
		if def.has("filename") {
			c.Disk = def.text("filename")
			size, _ := def.number("size")
			c.DiskSize = size << 20
			if size <= 0 {
				r.errorf(`key "disks.default": an image file needs a "size" in MB`)
			}
		}
		if size, set := def.number("sector_size"); set && size != 512 {
			r.errorf(`key "disks.default.sector_size": only 512 is supported`)
		}
		def.finish()
	}
	disks.finish()
}

func readPartition(r *reader, o object) Partition {
	p := Partition{Mountpoint: o.text("mountpoint"), Label: o.text("label"), PartLabel: o.text("partlabel"),
		Options: o.text("fs_options"), MkfsArgs: o.words("mkfs_options")}
	if mb, set := o.number("size"); set {
		p.Size = mb << 20
		if mb < 0 {
			r.errorf("key %q must not be negative", o.path+"size")
		}
	}
	if percent, set := o.number("sizepercent"); set {
		p.Percent = int(percent)
		if percent < 1 || percent > 100 {
			r.errorf("key %q must be between 1 and 100", o.path+"sizepercent")
		}
	}
	p.Filesystem = o.oneOf("filesystem", "ext4", "vfat", "swap")
	if id := o.text("disk_id"); id != "" && id != "default" {
		r.errorf("key %q: only the disk \"default\" is supported", o.path+"disk_id")
	}
	o.oneOf("mount_by", "uuid") // what photree does anyhow
	o.finish()
	return p
}

// readRepo reads the "ostree" object, or the older keys of the top level.
func (c *Config) readRepo(r *reader, o object) {
	from, prefix := o, "ostree_"
	if sub, ok := o.object("ostree"); ok {
		from, prefix = sub, ""
		sub.use("path") // of a tar archive of the repository on Photon's ISO
		defer sub.finish()
	}
	def, set := from.boolean("default_repo")
	c.Repo.URL = from.text(prefix + "repo_url")
	c.Repo.Ref = from.text(prefix + "repo_ref")
	c.Repo.Default = def || !set && c.Repo.URL == ""
	if !c.Repo.Default && (c.Repo.URL == "" || c.Repo.Ref == "") {
		r.errorf("key %q: without default_repo both %srepo_url and %srepo_ref are needed", "ostree", prefix, prefix)
	}
}
