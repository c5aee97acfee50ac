package photree

import (
	"fmt"
	"time"

	"photree/cli"
	"photree/installer"

	"github.com/spf13/cobra"
)

func init() { register(newISO) }

func newISO(env *cli.Env) *cobra.Command {
	var o installer.ISOOptions
	var tools string
	var json bool
	c := &cobra.Command{
		Use:   "iso",
		Short: "Make an installer ISO for BIOS and UEFI",
		Long: "Make an ISO that installs the commit that REF names, without a network. It boots from a CD or, copied to it as it\n" +
			"is, from a disk. With a kickstart file it installs by itself; without one it asks.",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			var known bool
			if o.Tools, known = toolSources[tools]; !known {
				return fmt.Errorf("--tools=%s is not one of host, tree, auto", tools)
			}
			if !json {
				o.Progress = stepPrinter(env.Stdout)
			}
			result, err := installer.WriteISO(env.Ctx, o)
			switch {
			case err != nil:
				return err
			case json:
				return cli.PrintJSON(env.Stdout, result)
			}
			fmt.Fprintf(env.Stdout, "Wrote %s: %s, with an initramfs of %s, in %s.\n", o.Output, cli.FormatSize(result.Size),
				cli.FormatSize(result.Initramfs), result.Duration.Round(100*time.Millisecond))
			return nil
		},
	}
	s := c.Flags()
	s.StringVar(&o.Repo, "repo", "", "Take the commit from the repository in `DIRECTORY`")
	s.StringVar(&o.Ref, "ref", "", "Install the commit that `REF` names")
	s.StringVarP(&o.Output, "output", "o", "", "Write the image to `FILE`")
	s.StringVar(&o.Kickstart, "kickstart", "", "Install by the kickstart `FILE`, without questions")
	s.StringArrayVar(&o.Kargs, "karg", nil, "Append a kernel `ARGUMENT` for the installer; may be repeated. Arguments console=… are\n"+
		"given to the installed machine as well")
	s.StringVar(&o.VolumeID, "volume-id", "", "Name of the volume (default PHOTREE)")
	s.StringVar(&o.Photree, "photree", "", "The photree `PROGRAM` to put on the image (default this one)")
	s.StringVar(&tools, "tools", "auto", "Take GRUB from `WHERE`: host, tree or auto")
	s.BoolVar(&json, "json", false, "Print the result as JSON and no progress")
	return c
}
