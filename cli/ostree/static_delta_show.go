package ostree

import (
	"fmt"
	"path/filepath"

	"photree/cli"
	"photree/repo"
	"photree/repo/delta"

	"github.com/spf13/cobra"
)

func newDeltaShow(env *cli.Env) *cobra.Command {
	c := &cobra.Command{Use: "show DELTA", Short: "Dump information on a delta", Args: need(1, 1, "DELTA must be specified")}
	at := addRepo(c)
	c.RunE = withRepo(env, at, func(r *repo.Repo, args []string) error {
		d, err := findDelta(r, args[0])
		if err != nil {
			return err
		}
		return showDelta(env, r, d)
	})
	return c
}

// showDelta prints what ostree prints, which scripts read.
func showDelta(env *cli.Env, r *repo.Repo, d repo.Delta) error {
	dir := filepath.Join(r.Path(), d.Dir)
	s, _, err := delta.Open(dir, nil)
	if err != nil {
		return err
	}
	signed := "no"
	if s.Signed {
		signed = "yes"
	}
	w := env.Stdout
	size := func(label string, n uint64) {
		fmt.Fprintf(w, "%s: %d (%s)\n", label, n, cli.FormatSize(int64(min(n, 1<<62))))
	}
	fmt.Fprintf(w, "Delta: %s\nSigned: %s\n", s.Name(), signed)
	if s.From.IsZero() {
		fmt.Fprintln(w, "From <scratch>")
	} else {
		fmt.Fprintf(w, "From: %s\n", s.From)
	}
	order := "little"
	if s.Swapped {
		order = "big"
	}
	if s.Guessed {
		order += " (heuristic)"
	}
	fmt.Fprintf(w, "To: %s\nEndianness: %s\nTimestamp: %d\nNumber of parents: 0\nNumber of fallback entries: %d\n",
		s.To, order, s.Timestamp, len(s.Fallbacks))
	var packed, unpacked uint64
	for _, f := range s.Fallbacks {
		fmt.Fprintf(w, "  %s\n", f.Object.ID)
		packed += f.Size
		unpacked += f.USize
	}
	size("Total Fallback Size", packed)
	size("Total Fallback Uncompressed Size", unpacked)
	fmt.Fprintf(w, "Number of parts: %d\n", len(s.Parts))
	var parts, objects uint64
	for i := range s.Parts {
		if err := showPart(env, r, s, dir, i); err != nil {
			return err
		}
		parts += s.Parts[i].Size
		objects += s.Parts[i].USize
	}
	size("Total Part Size", parts)
	size("Total Part Uncompressed Size", objects)
	size("Total Size", packed+parts)
	size("Total Uncompressed Size", unpacked+objects)
	return nil
}

func showPart(env *cli.Env, r *repo.Repo, s *delta.Superblock, dir string, i int) error {
	p := s.Parts[i]
	data, err := s.ReadPart(dir, i)
	if err != nil {
		return err
	}
	info, err := s.InspectPart(i, data, filepath.Join(r.Path(), "tmp"))
	if err != nil {
		return err
	}
	c := info.Counts
	fmt.Fprintf(env.Stdout, "PartMeta%d: nobjects=%d size=%d usize=%d\n", i, len(p.Objects), p.Size, p.USize)
	fmt.Fprintf(env.Stdout, "PartPayload%d: nmodes=%d nxattrs=%d blobsize=%d opsize=%d\n", i, info.Modes, info.Xattrs, info.Blob, info.Ops)
	fmt.Fprintf(env.Stdout, "PartPayloadOps%d: openspliceclose=%d open=%d write=%d setread=%d unsetread=%d close=%d bspatch=%d\n",
		i, c.Splice, c.Open, c.Write, c.SetSource, c.UnsetSource, c.Close, c.Patch)
	return nil
}
