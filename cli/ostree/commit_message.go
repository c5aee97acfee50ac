package ostree

import (
	"fmt"
	"os"
	"os/exec"
	"strings"

	"photree/cli"
	"photree/repo/tree"
)

// message reads the commit message from a file or an editor.
func (o *commitOptions) message(env *cli.Env, opts *tree.CommitOptions) error {
	if o.bodyFile != "" {
		data, err := os.ReadFile(o.bodyFile)
		if err != nil {
			return err
		}
		opts.Body = string(data)
	}
	if !o.editor {
		return nil
	}
	text, err := edit(env, o.branch)
	if err != nil {
		return err
	}
	opts.Subject, opts.Body, _ = strings.Cut(text, "\n")
	opts.Body = strings.TrimSpace(opts.Body)
	if opts.Subject == "" {
		return cli.Fail("Aborting commit due to empty commit subject.")
	}
	return nil
}

// edit lets the user write a message; lines that begin with # are dropped.
func edit(env *cli.Env, branch string) (string, error) {
	editor := "vi"
	for _, name := range []string{"EDITOR", "VISUAL", "OSTREE_EDITOR"} { // the last that is set counts
		if v := env.Environ(name); v != "" {
			editor = v
		}
	}
	f, err := os.CreateTemp("", "commit-message-")
	if err != nil {
		return "", err
	}
	defer os.Remove(f.Name())
	fmt.Fprintf(f, "\n# Please enter the commit message for your changes. The first line will\n# become the subject, and the remainder the body. Lines starting\n# with '#' will be ignored, and an empty message aborts the commit.\n#\n# Branch: %s\n", branch)
	if err := f.Close(); err != nil {
		return "", err
	}
	cmd := exec.CommandContext(env.Ctx, "/bin/sh", "-c", editor+" \"$1\"", editor, f.Name())
	cmd.Stdin, cmd.Stdout, cmd.Stderr = env.Stdin, env.Stdout, env.Stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("running the editor %s: %w", editor, err)
	}
	data, err := os.ReadFile(f.Name())
	if err != nil {
		return "", err
	}
	var kept []string
	for line := range strings.SplitSeq(string(data), "\n") {
		if !strings.HasPrefix(line, "#") {
			kept = append(kept, strings.TrimRight(line, " \t"))
		}
	}
	return strings.TrimSpace(strings.Join(kept, "\n")), nil
}
