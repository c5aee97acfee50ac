// Package sysroot is what the command lines that work on a sysroot share: opening
// it, making it writable for a while, showing a download, saying what a change did,
// rebooting. `ostree admin` and the host's verbs of `rpm-ostree` are built on it.
//
// Like all of cli it holds words for people and no decisions.
package sysroot

import (
	"errors"
	"fmt"
	"os/exec"

	"photree/cli"
	"photree/deploy"
	"photree/host"
	"photree/repo/pull"

	"github.com/spf13/cobra"
)

// Options are those that all verbs on a sysroot have.
type Options struct {
	Env  *cli.Env
	Path string
	// Quiet leaves out what is not the answer itself.
	Quiet bool
}

// Root is the sysroot that is meant.
func (o *Options) Root() string {
	if o.Path != "" {
		return o.Path
	}
	if p := o.Env.Environ("OSTREE_SYSROOT"); p != "" {
		return p
	}
	return "/"
}

// Reading wraps the body of a verb that only looks.
func (o *Options) Reading(run func(s *deploy.Sysroot, args []string) error) func(*cobra.Command, []string) error {
	return func(_ *cobra.Command, args []string) error {
		s, err := host.Open(host.Options{Sysroot: o.Root()})
		if err != nil {
			return err
		}
		return errors.Join(run(s, args), s.Close())
	}
}

// Writing wraps the body of a verb that changes the sysroot. On a booted host whose
// file systems are mounted read-only it runs the whole command again with mounts
// of its own.
func (o *Options) Writing(run func(s *deploy.Sysroot, args []string) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		if len(host.ReadOnlyMounts(o.Root())) > 0 {
			if !host.InPrivateMounts() {
				return o.again()
			}
			if err := host.MakeWritable(o.Root()); err != nil {
				return err
			}
		}
		return o.Reading(run)(c, args)
	}
}

func (o *Options) again() error {
	e := o.Env
	code, err := host.RunPrivately(e.Ctx, host.Process{
		Args: append([]string{e.Name}, e.Args...), Stdin: e.Stdin, Stdout: e.Stdout, Stderr: e.Stderr,
	})
	if err == nil && code != 0 {
		err = &cli.ExitError{Code: code}
	}
	return err
}

// Printf writes a line of what is going on, unless quiet.
func (o *Options) Printf(format string, args ...any) {
	if !o.Quiet {
		fmt.Fprintf(o.Env.Stdout, format, args...)
	}
}

// PrintEtc says what the merge of /etc did.
func (o *Options) PrintEtc(r *deploy.Result) {
	if r.Etc == nil {
		return
	}
	o.Printf("Copying /etc changes: %d modified, %d removed, %d added\n", r.Etc.Modified, r.Etc.Removed, r.Etc.Added)
	for _, p := range r.Etc.Conflicts {
		fmt.Fprintf(o.Env.Stderr, "note: /etc/%s was changed here and in the new tree; yours is kept, theirs is /usr/etc/%s\n", p, p)
	}
}

// YesNo is how ostree writes a truth.
func YesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// PrintWarnings tells about boot entries that lead nowhere.
func (o *Options) PrintWarnings(st *deploy.State) {
	for _, b := range st.Broken {
		fmt.Fprintf(o.Env.Stderr, "warning: %s; the next deployment leaves it out\n", b)
	}
}

// Download shows a pull while it runs.
type Download struct {
	o    *Options
	line *cli.Line
}

// NewDownload starts showing.
func (o *Options) NewDownload() *Download { return &Download{o: o, line: cli.NewLine(o.Env.Stdout)} }

// Show is given to the pull as its progress.
func (d *Download) Show(s pull.Stats) {
	if d.o.Quiet || !d.line.Live() || s.Done {
		return
	}
	rate := cli.FormatSize(int64(float64(s.Transferred)/max(s.Elapsed.Seconds(), 0.1))) + "/s"
	if s.ContentWanted == 0 {
		d.line.Show(fmt.Sprintf("Receiving metadata objects: %d/(estimating) %s %s", s.Metadata, rate, cli.FormatSize(s.Transferred)))
		return
	}
	done, all := s.Metadata+s.Content, s.MetadataWanted+s.ContentWanted
	d.line.Show(fmt.Sprintf("Receiving objects: %d%% (%d/%d) %s %s", 100*done/max(all, 1), done, all, rate, cli.FormatSize(s.Transferred)))
}

// End removes the line and sums the pull up; nil means that there was none.
func (d *Download) End(s *pull.Stats) {
	d.line.End()
	if s == nil {
		return
	}
	size := fmt.Sprintf("%d KiB", (s.Transferred+1023)/1024)
	if s.Transferred < 1024 {
		size = fmt.Sprintf("%d B", s.Transferred)
	}
	d.o.Printf("%d metadata, %d content objects fetched; %s transferred in %d seconds\n",
		s.Metadata, s.Content, size, int(s.Elapsed.Seconds()))
}

// Reboot asks systemd to reboot the machine.
func (o *Options) Reboot() error {
	cmd := exec.CommandContext(o.Env.Ctx, "systemctl", "reboot")
	cmd.Stdout, cmd.Stderr = o.Env.Stdout, o.Env.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("rebooting with \"systemctl reboot\": %w; the change itself is done", err)
	}
	return nil
}
