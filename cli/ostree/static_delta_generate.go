package ostree

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"

	"photree/cli"
	"photree/internal/gvariant"
	"photree/repo"
	"photree/repo/delta"
	"photree/repo/object"
	"photree/repo/sign"

	"github.com/spf13/cobra"
)

type generateOptions struct {
	from, to, filename, endian          string
	empty, inline, disableBsdiff, ifNot bool
	swap                                bool
	minFallback, maxBsdiff, maxChunk    int64
	keys, keyFiles                      []string
	signType                            string
}

// The largest numbers of megabytes that the options take: nothing that a delta holds is larger.
const maxMegabytes = 1 << 30

func newDeltaGenerate(env *cli.Env) *cobra.Command {
	var o generateOptions
	c := &cobra.Command{Use: "generate [TO]", Short: "Generate static delta files",
		Long: "Generate a static delta to the commit TO: from its parent, from another commit with --from, or from nothing with --empty."}
	at := addRepo(c)
	f := c.Flags()
	f.StringVar(&o.from, "from", "", "Create delta from revision `REV`")
	f.BoolVar(&o.empty, "empty", false, "Create delta from scratch")
	f.BoolVar(&o.inline, "inline", false, "Inline delta parts into main delta")
	f.StringVar(&o.to, "to", "", "Create delta to revision `REV`")
	f.BoolVar(&o.disableBsdiff, "disable-bsdiff", false, "Disable use of bsdiff")
	f.BoolVarP(&o.ifNot, "if-not-exists", "n", false, "Only generate if a delta does not already exist")
	f.StringVar(&o.endian, "set-endianness", "", "Choose metadata endianness ('l' or 'B') `ENDIAN`")
	f.BoolVar(&o.swap, "swap-endianness", false, "Swap metadata endianness from host order")
	f.Int64Var(&o.minFallback, "min-fallback-size", 4, "Minimum uncompressed size in `MEGABYTES` for individual HTTP request (0: never)")
	f.Int64Var(&o.maxBsdiff, "max-bsdiff-size", 128, "Maximum size in `MEGABYTES` to consider bsdiff compression for input files")
	f.Int64Var(&o.maxChunk, "max-chunk-size", 16, "Maximum size of delta chunks in `MEGABYTES`")
	f.StringVar(&o.filename, "filename", "", "Write the delta content to `PATH`, with the parts beside it, not to the repository")
	f.StringArrayVar(&o.keys, "sign", nil, "Sign the delta with the secret `KEY`")
	f.StringArrayVar(&o.keyFiles, "keys-file", nil, "Sign the delta with the secret keys of `FILE`")
	f.StringVar(&o.signType, "sign-type", sign.Ed25519, "Signature `TYPE` to use: ed25519 or spki")
	c.RunE = withRepo(env, at, func(r *repo.Repo, args []string) error {
		if o.to == "" && len(args) > 0 {
			o.to = args[0]
		}
		if o.to == "" {
			return cli.UsageError(c, "TO revision must be specified")
		}
		return generateDelta(env, r, o)
	})
	return c
}

func generateDelta(env *cli.Env, r *repo.Repo, o generateOptions) error {
	opts, err := o.resolve(r)
	if err != nil {
		return err
	}
	if o.ifNot {
		if _, err := os.Stat(filepath.Join(r.Path(), delta.SuperblockPath(opts.From, opts.To))); err == nil {
			fmt.Fprintf(env.Stdout, "Delta %s already exists.\n", delta.Name(opts.From, opts.To))
			return nil
		}
	}
	signers, err := rawSigners(o.signType, o.keys, o.keyFiles...)
	if err != nil {
		return err
	}
	if len(signers) > 0 {
		opts.Sign = func(data []byte) (gvariant.Dict, error) {
			var d gvariant.Dict
			err := sign.Sign(env.Ctx, &d, data, signers...)
			return d, err
		}
	}
	from := "empty"
	if !opts.From.IsZero() {
		from = opts.From.String()
	}
	fmt.Fprintf(env.Stdout, "Generating static delta:\n  From: %s\n  To:   %s\n", from, opts.To)
	line := cli.NewLine(env.Stderr)
	opts.Progress = func(done, total int) {
		if line.Live() && done%64 == 0 {
			line.Show(fmt.Sprintf("Packing objects: %d/%d", done, total))
		}
	}
	// What is in memory is few and large things without pointers: to collect them often costs nothing and keeps the peak low.
	defer debug.SetGCPercent(debug.SetGCPercent(20))
	stats, err := delta.Generate(env.Ctx, r, opts)
	line.End()
	if err != nil {
		return err
	}
	fmt.Fprintf(env.Stderr, "uncompressed=%d compressed=%d loose=%d\nrollsum=%d objects\nbsdiff=%d objects\n",
		stats.Unpacked, stats.Packed, stats.FallbackSize, stats.Copied, stats.Patched)
	return nil
}

// resolve turns the options' text into values.
func (o *generateOptions) resolve(r *repo.Repo) (delta.GenerateOptions, error) {
	d := delta.GenerateOptions{Inline: o.inline, Filename: o.filename, DisableBsdiff: o.disableBsdiff || o.maxBsdiff == 0}
	var err error
	switch {
	case o.empty && o.from != "":
		return d, cli.Fail("Cannot specify both --empty and --from=REV")
	case o.swap && o.endian != "":
		return d, cli.Fail("Cannot specify both --swap-endianness and --set-endianness")
	case o.from != "":
		d.From, err = r.ResolveRev(o.from)
	case !o.empty:
		d.From, err = parentOf(r, o.to)
	}
	if err == nil {
		d.To, err = r.ResolveRev(o.to)
	}
	if err != nil {
		return d, err
	}
	switch o.endian {
	case "", "l":
		d.BigEndian = o.swap
	case "B":
		d.BigEndian = true
	default:
		return d, cli.Fail("Invalid endianness '%s'", o.endian)
	}
	for _, size := range []struct {
		name string
		mb   int64
		to   *int64
		zero int64
	}{
		{"min-fallback-size", o.minFallback, &d.MinFallbackSize, -1},
		{"max-bsdiff-size", o.maxBsdiff, &d.MaxBsdiffSize, 1},
		{"max-chunk-size", o.maxChunk, &d.MaxChunkSize, 1},
	} {
		if size.mb < 0 || size.mb > maxMegabytes {
			return d, cli.Fail("--%s must be between 0 and %d", size.name, maxMegabytes)
		}
		if *size.to = size.mb * 1_000_000; size.mb == 0 {
			*size.to = size.zero
		}
	}
	return d, nil
}

// parentOf returns the parent of a revision, which a delta starts from when nothing else is said.
func parentOf(r *repo.Repo, rev string) (object.ID, error) {
	id, err := r.ResolveRev(rev)
	if err != nil {
		return id, err
	}
	c, err := r.LoadCommit(id)
	if err != nil {
		return id, err
	}
	if c.Parent.IsZero() {
		return id, fmt.Errorf("commit %s has no parent: name the commit to start from with --from=REV, or --empty", id)
	}
	if _, err := r.LoadCommit(c.Parent); err != nil {
		return id, fmt.Errorf("the parent of %s: %w", strings.TrimSpace(rev), err)
	}
	return c.Parent, nil
}
