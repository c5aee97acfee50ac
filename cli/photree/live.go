package photree

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"photree/cli"
	"photree/installer"
	"photree/installer/kickstart"

	"golang.org/x/term"
)

// liveDir is where the installer of an ISO keeps its mounts and tools: the
// root file system of the initramfs, which is memory.
const liveDir = "/var/photree"

// powerOffStatus has PID 1 power the machine off; 0 has it restart.
const powerOffStatus = 10

// runLive is the installer of an ISO: PID 1 runs it in place of a system.
func runLive(env *cli.Env) error {
	data, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return err
	}
	cmdline := string(data)
	if err := os.MkdirAll(liveDir, 0o755); err != nil {
		return err
	}
	medium, err := installer.OpenMedium(env.Ctx, cmdline, liveDir)
	if err != nil {
		return err
	}
	o := installer.Options{Source: medium.Repo, Ref: medium.Ref, Footprint: medium.Footprint, Tools: installer.ToolsFromTree, WorkDir: liveDir,
		Kargs: installer.ConsoleKargs(cmdline), Progress: stepPrinter(env.Stdout)}
	result, eject, err := installLive(env, medium, cmdline, o)
	if err = errors.Join(err, medium.Close()); err != nil {
		return err
	}
	if eject {
		medium.Eject()
	}
	fmt.Fprintf(env.Stdout, "Congratulations, %s has been installed in %.0f secs.\n", result.Hostname, result.Duration.Seconds())
	if installer.PowerOffAsked(cmdline) {
		return &cli.ExitError{Code: powerOffStatus}
	}
	return nil
}

// installLive installs by the kickstart file, or asks until it worked.
func installLive(env *cli.Env, m *installer.Medium, cmdline string, o installer.Options) (r installer.Result, eject bool, err error) {
	path, err := m.Kickstart(cmdline)
	if err != nil {
		return r, false, err
	}
	if path != "" {
		return installByKickstart(env.Ctx, m, path, o)
	}
	d := &dialogue{env: env, in: bufio.NewReader(env.Stdin)}
	for {
		asked := o
		if err := d.ask(m, &asked); err != nil {
			return r, false, err
		}
		if r, err = installer.Install(env.Ctx, asked); err == nil {
			return r, true, nil
		}
		fmt.Fprintf(env.Stdout, "\nThe installation failed: %v\n\n", err)
	}
}

func installByKickstart(ctx context.Context, m *installer.Medium, path string, o installer.Options) (r installer.Result, eject bool, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return r, false, fmt.Errorf("reading the kickstart file: %w", err)
	}
	ks, err := kickstart.Parse(data)
	if err != nil {
		return r, false, err
	}
	if err := o.ApplyKickstart(ks, filepath.Dir(path)); err != nil {
		return r, false, err
	}
	if o.Ref != m.Ref {
		return r, false, fmt.Errorf("the kickstart file asks for the ref %q, and the medium has %q: make an ISO with that ref", o.Ref, m.Ref)
	}
	if o.Disk == "" {
		return r, false, errors.New(`the kickstart file names no disk: add the key "disk"`)
	}
	if err := installer.WaitForDisk(ctx, o.Disk); err != nil {
		return r, false, err
	}
	r, err = installer.Install(ctx, o)
	return r, ks.Eject, err
}

// dialogue asks on the console.
type dialogue struct {
	env *cli.Env
	in  *bufio.Reader
}

func (d *dialogue) ask(m *installer.Medium, o *installer.Options) error {
	fmt.Fprintf(d.env.Stdout, "\nThis installs %s.\n\n", m.Ref)
	disk, err := d.askDisk(m)
	if err != nil {
		return err
	}
	o.Disk = disk.Path
	if o.Machine.Hostname, err = d.line("Host name (empty for a random one): "); err != nil {
		return err
	}
	if o.Machine.Password, err = d.askPassword(); err != nil {
		return err
	}
	answer, err := d.line(fmt.Sprintf("All data on %s will be lost. Start the installation? (yes/no): ", disk.Path))
	if err != nil {
		return err
	}
	if answer != "yes" && answer != "y" {
		return d.ask(m, o)
	}
	return nil
}

func (d *dialogue) askDisk(m *installer.Medium) (installer.BlockDevice, error) {
	for {
		disks := m.Disks()
		if len(disks) == 0 {
			if _, err := d.line("This machine has no disk yet. Attach one and press Enter: "); err != nil {
				return installer.BlockDevice{}, err
			}
			continue
		}
		for i, b := range disks {
			fmt.Fprintf(d.env.Stdout, "  %d  %s  %s  %s\n", i+1, b.Path, cli.FormatSize(b.Size), b.Model)
		}
		answer, err := d.line("Number of the disk to install on: ")
		if err != nil {
			return installer.BlockDevice{}, err
		}
		if n, err := strconv.Atoi(answer); err == nil && n >= 1 && n <= len(disks) {
			return disks[n-1], nil
		}
	}
}

func (d *dialogue) askPassword() (string, error) {
	for {
		first, err := d.secret("Root's password: ")
		if err != nil {
			return "", err
		}
		again, err := d.secret("Once more: ")
		if err != nil {
			return "", err
		}
		if first != "" && first == again {
			return first, nil
		}
		fmt.Fprintln(d.env.Stdout, "The two must be the same, and not empty.")
	}
}

// line asks a question. The end of the input is an error: nobody is there.
func (d *dialogue) line(question string) (string, error) {
	fmt.Fprint(d.env.Stdout, question)
	answer, err := d.in.ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("reading an answer: %w", err)
	}
	return strings.TrimSpace(answer), nil
}

// secret asks without showing what is typed, where the console can do that.
func (d *dialogue) secret(question string) (string, error) {
	console, ok := d.env.Stdin.(*os.File)
	if !ok || !term.IsTerminal(int(console.Fd())) || d.in.Buffered() > 0 {
		return d.line(question)
	}
	fmt.Fprint(d.env.Stdout, question)
	answer, err := term.ReadPassword(int(console.Fd()))
	fmt.Fprintln(d.env.Stdout)
	return string(answer), err
}
