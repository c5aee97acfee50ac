package photree

import (
	"bytes"
	"fmt"
	"strings"

	"photree/cli"
	"photree/initramfs"
	"photree/internal/durable"

	"github.com/spf13/cobra"
)

func init() { register(newInitramfs) }

type initramfsOptions struct {
	tree, kver, init, output, compression string
	modules, add, extra                   []string
}

func newInitramfs(env *cli.Env) *cobra.Command {
	var o initramfsOptions
	c := &cobra.Command{
		Use:   "initramfs --tree=DIR --output=FILE",
		Short: "Build the initramfs of a tree",
		Long: "Build the initramfs of the kernel in a tree: photree's own PID 1 and the kernel modules that finding and mounting\n" +
			"the root file system can need. `compose tree` does this by itself; this command is for other images.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return runInitramfs(env, o, c.Flags().Changed("modules"))
		},
	}
	f := c.Flags()
	f.StringVar(&o.tree, "tree", "/", "Take the kernel and its modules from the tree `DIR`")
	f.StringVar(&o.kver, "kver", "", "Take the kernel `VERSION`; without it, the only one of the tree")
	f.StringSliceVar(&o.modules, "modules", nil, "Take these kernel modules `A,B` and what they need, instead of the generic set")
	f.StringSliceVar(&o.add, "add", nil, "Take these kernel modules `A,B` too, if the kernel has them")
	f.StringArrayVar(&o.extra, "extra", nil, "Put a file into the image: `PATH=FILE` (may be repeated)")
	f.StringVar(&o.compression, "compress", "zstd", "Compress with `METHOD`: zstd, gzip or none")
	f.StringVar(&o.init, "init", "", "Use `FILE` as the photree-init program")
	f.StringVarP(&o.output, "output", "o", "", "Write the image to `FILE` (- is stdout)")
	return c
}

func runInitramfs(env *cli.Env, o initramfsOptions, named bool) error {
	if o.output == "" {
		return cli.Fail("where should the image go? Give --output=FILE")
	}
	compression, err := initramfs.ParseCompression(o.compression)
	if err != nil {
		return err
	}
	options := initramfs.Options{Tree: o.tree, KVER: o.kver, Init: o.init, Add: o.add, Compression: compression, Extra: map[string]string{}}
	if named {
		options.Modules = append([]string{}, o.modules...) // not nil: an empty list is a list
	}
	for _, e := range o.extra {
		path, file, ok := strings.Cut(e, "=")
		if !ok || path == "" || file == "" {
			return cli.Fail("--extra=%s is not PATH=FILE", e)
		}
		options.Extra[path] = file
	}
	var image bytes.Buffer
	stats, err := initramfs.Build(env.Ctx, options, &image)
	if err != nil {
		return err
	}
	for _, w := range stats.Warnings {
		fmt.Fprintf(env.Stderr, "warning: %s\n", w)
	}
	if o.output == "-" {
		_, err := env.Stdout.Write(image.Bytes())
		return err
	}
	if err := durable.WriteFile(o.output, image.Bytes(), 0o644); err != nil {
		return err
	}
	fmt.Fprintf(env.Stdout, "Kernel: %s\nModules: %d\nFirmware files: %d\nSize: %s (%s unpacked)\n", stats.KVER,
		len(stats.Modules), len(stats.Firmware), cli.FormatSize(stats.Size), cli.FormatSize(stats.RawSize))
	return nil
}
