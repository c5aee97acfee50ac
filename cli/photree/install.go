package photree

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"photree/cli"
	"photree/installer"
	"photree/installer/disk"
	"photree/installer/kickstart"

	"github.com/spf13/cobra"
)

func init() { register(newInstall); register(newImage) }

// installFlags are the options of install and image as they are typed.
type installFlags struct {
	o                          installer.Options
	size, kickstart, bootMode  string
	tools, passwordFile, image string
	keys                       []string
	json, live                 bool
}

func newInstall(env *cli.Env) *cobra.Command {
	f := &installFlags{}
	c := &cobra.Command{
		Use:   "install",
		Short: "Install a machine onto a disk or an image file",
		Long: "Install a machine: partition a disk, deploy the commit that a ref names, install GRUB for BIOS and UEFI, and write\n" +
			"the settings of the machine. Everything on the disk is lost. Whatever can be checked is checked before the\n" +
			"first write.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if f.live {
				return runLive(env)
			}
			return runInstall(env, c, f)
		},
	}
	c.Flags().StringVar(&f.o.Disk, "disk", "", "Install onto the device or image `FILE`")
	c.Flags().StringVar(&f.size, "size", "", "Make a new image file of `SIZE` (8G, 2048M)")
	addInstallFlags(c, f)
	c.Flags().BoolVar(&f.live, "iso-live", false, "Run as the installer of an ISO")
	_ = c.Flags().MarkHidden("iso-live")
	return c
}

func newImage(env *cli.Env) *cobra.Command {
	f := &installFlags{}
	c := &cobra.Command{
		Use:   "image FILE",
		Short: "Make a raw disk image with an installed machine",
		Long:  "Make a raw disk image: what install does, onto a new image file.",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			f.image = args[0]
			return runInstall(env, c, f)
		},
	}
	c.Flags().StringVar(&f.size, "size", "8G", "Make the image `SIZE` large")
	addInstallFlags(c, f)
	return c
}

func addInstallFlags(c *cobra.Command, f *installFlags) {
	s := c.Flags()
	s.StringVar(&f.o.Source, "source", "", "Install from the repository `URL` or directory")
	s.StringVar(&f.o.Ref, "ref", "", "Install the commit that `REF` names")
	s.StringVar(&f.o.Stateroot, "stateroot", "", "Name of the stateroot (default photon)")
	s.StringVar(&f.o.RemoteName, "remote-name", "", "Name of the remote for updates (default photon)")
	s.StringVar(&f.o.RemoteURL, "remote-url", "", "`URL` that updates come from (default the source, if it is a URL)")
	s.StringVar(&f.o.Machine.Hostname, "hostname", "", "Host name (default photon- and random digits)")
	s.StringVar(&f.o.Machine.Password, "root-password", "", "Root's password in the clear, where other users may see it")
	s.StringVar(&f.o.Machine.Password, "password", "", "")
	_ = s.MarkHidden("password")
	s.StringVar(&f.o.Machine.PasswordHash, "root-password-hash", "", "Root's password as crypt(3) hashes it")
	s.StringVar(&f.passwordFile, "password-file", "", "Read root's password from the first line of `FILE`")
	s.StringArrayVar(&f.keys, "ssh-key", nil, "SSH key for root: a public key or the `FILE` with it; may be repeated")
	s.StringVar(&f.o.Machine.Locale, "locale", "", "LANG of the machine, like C.UTF-8")
	s.StringVar(&f.o.Machine.Timezone, "timezone", "", "Time zone of the machine, like Europe/Berlin")
	s.StringArrayVar(&f.o.Kargs, "karg", nil, "Append a kernel `ARGUMENT`; may be repeated")
	s.StringVar(&f.bootMode, "bootmode", "", "Firmware to boot from: `MODE` is bios, efi or dualboot (default dualboot)")
	s.StringVar(&f.kickstart, "kickstart", "", "Take settings from a kickstart `FILE`; options win over it")
	s.StringVar(&f.tools, "tools", "auto", "Take mkfs and GRUB from `WHERE`: host, tree or auto")
	s.BoolVar(&f.json, "json", false, "Print the result as JSON and no progress")
}

func runInstall(env *cli.Env, c *cobra.Command, f *installFlags) error {
	o, err := f.options(c)
	if err != nil {
		return err
	}
	if !f.json {
		o.Progress = stepPrinter(env.Stdout)
	}
	result, err := installer.Install(env.Ctx, o)
	if err != nil {
		return err
	}
	if f.json {
		return cli.PrintJSON(env.Stdout, result)
	}
	printResult(env.Stdout, o.Disk, result)
	return nil
}

func printResult(w io.Writer, disk string, r installer.Result) {
	version := ""
	if r.Version != "" {
		version = " (" + r.Version + ")"
	}
	fmt.Fprintf(w, "Installed %s%s on %s as %s in %.1f s.\n", r.Commit, version, disk, r.Hostname, r.Duration.Seconds())
}

// stepPrinter prints each step with the time since the first.
func stepPrinter(w io.Writer) func(string) {
	start := time.Now()
	return func(step string) { fmt.Fprintf(w, "[%6.1f s] %s\n", time.Since(start).Seconds(), step) }
}

// options puts the kickstart file and the options that were typed together.
func (f *installFlags) options(c *cobra.Command) (installer.Options, error) {
	o := f.o
	if f.kickstart != "" {
		var err error
		if o, err = f.underKickstart(c); err != nil {
			return o, err
		}
	}
	if f.image != "" {
		o.Disk, o.Size = f.image, 0
	}
	if f.size != "" && (o.Size == 0 || c.Flags().Changed("size")) {
		size, err := installer.ParseSize(f.size)
		if err != nil {
			return o, err
		}
		o.Size = size
	}
	if f.bootMode != "" {
		o.BootMode = disk.BootMode(f.bootMode)
	}
	var known bool
	if o.Tools, known = toolSources[f.tools]; !known {
		return o, fmt.Errorf("--tools=%s is not one of host, tree, auto", f.tools)
	}
	if err := f.readSecrets(&o.Machine); err != nil {
		return o, err
	}
	switch {
	case o.Disk == "":
		return o, errors.New("no disk given: name it with --disk or in the kickstart file")
	case o.Source == "":
		return o, errors.New("no repository given: name it with --source or in the kickstart file")
	case o.Ref == "":
		return o, errors.New("no ref given: name it with --ref or in the kickstart file")
	}
	return o, nil
}

var toolSources = map[string]installer.ToolSource{
	"auto": installer.ToolsAuto, "host": installer.ToolsFromHost, "tree": installer.ToolsFromTree,
}

// underKickstart lays the typed options over those of the kickstart file.
func (f *installFlags) underKickstart(c *cobra.Command) (o installer.Options, err error) {
	data, err := os.ReadFile(f.kickstart)
	if err != nil {
		return o, fmt.Errorf("reading the kickstart file: %w", err)
	}
	ks, err := kickstart.Parse(data)
	if err != nil {
		return o, fmt.Errorf("%s: %w", f.kickstart, err)
	}
	o = f.o
	if err := o.ApplyKickstart(ks, filepath.Dir(f.kickstart)); err != nil {
		return o, err
	}
	if o.Source == "" {
		o.Source = ks.Repo.URL
	}
	m, typed := &o.Machine, &f.o.Machine
	for _, s := range []struct {
		flag     string
		to, from *string
	}{
		{"disk", &o.Disk, &f.o.Disk}, {"ref", &o.Ref, &f.o.Ref}, {"remote-url", &o.RemoteURL, &f.o.RemoteURL}, {"hostname", &m.Hostname, &typed.Hostname},
		{"locale", &m.Locale, &typed.Locale}, {"timezone", &m.Timezone, &typed.Timezone},
	} {
		if c.Flags().Changed(s.flag) {
			*s.to = *s.from
		}
	}
	for _, flag := range []string{"root-password", "password", "root-password-hash", "password-file"} {
		if c.Flags().Changed(flag) {
			m.Password, m.PasswordHash = typed.Password, typed.PasswordHash
		}
	}
	return o, nil
}

func (f *installFlags) readSecrets(m *installer.Machine) error {
	if f.passwordFile != "" {
		data, err := os.ReadFile(f.passwordFile)
		if err != nil {
			return fmt.Errorf("reading the password: %w", err)
		}
		m.Password, _, _ = strings.Cut(string(data), "\n")
		m.PasswordHash = ""
		if m.Password == "" {
			return fmt.Errorf("the first line of %s is empty: it must be the password", f.passwordFile)
		}
	}
	for _, key := range f.keys {
		if len(strings.Fields(key)) >= 2 {
			m.AuthorizedKeys = append(m.AuthorizedKeys, key)
			continue
		}
		data, err := os.ReadFile(key)
		if err != nil {
			return fmt.Errorf("reading the SSH key: %w", err)
		}
		for line := range strings.Lines(string(data)) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
				m.AuthorizedKeys = append(m.AuthorizedKeys, line)
			}
		}
	}
	return nil
}
