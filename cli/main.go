package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// ExitError ends a command with a status other than 1. Err may be nil: then nothing is printed. Main is who looks at it.
type ExitError struct {
	Code int
	Err  error
}

// Error gives the text of the error inside.
func (e *ExitError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("exit status %d", e.Code)
	}
	return e.Err.Error()
}

// Unwrap gives the error inside.
func (e *ExitError) Unwrap() error { return e.Err }

// Main runs the command tree with the arguments of env and returns the exit status. An error is printed as one
// `error: …` line on stderr, in red on a terminal, and gives status 1.
func Main(env *Env, root *cobra.Command) int {
	Prepare(root)
	root.SetIn(env.Stdin)
	root.SetOut(env.Stdout)
	root.SetErr(env.Stderr)
	root.SetArgs(verbFirst(root, env.Args))
	err := root.ExecuteContext(env.Ctx)
	if err == nil {
		return 0
	}
	if v := (*versionAsked)(nil); errors.As(err, &v) {
		v.print(env.Stdout, env.Version)
		return 0
	}
	code := 1
	if exit := (*ExitError)(nil); errors.As(err, &exit) {
		if code = exit.Code; exit.Err == nil {
			return code
		}
	}
	PrintError(env, err)
	return code
}

// systemWords are the errors of the system that scripts look for, as C spells them.
var systemWords = strings.NewReplacer(
	": no such file or directory", ": No such file or directory", ": file exists", ": File exists",
	": permission denied", ": Permission denied", ": operation not permitted", ": Operation not permitted",
	": not a directory", ": Not a directory", ": is a directory", ": Is a directory",
	": read-only file system", ": Read-only file system", ": no space left on device", ": No space left on device",
	": directory not empty", ": Directory not empty", ": invalid argument", ": Invalid argument",
	": device or resource busy", ": Device or resource busy", ": connection refused", ": Connection refused")

// PrintError writes the `error: …` line that ends a command.
func PrintError(env *Env, failure error) {
	err := systemWords.Replace(failure.Error())
	if IsTerminal(env.Stderr) {
		fmt.Fprintf(env.Stderr, "\x1b[31m\x1b[1merror:\x1b[22m\x1b[0m %v\n", err)
		return
	}
	fmt.Fprintf(env.Stderr, "error: %v\n", err)
}

// Prepare makes every command of the tree behave as ostree's do: usage is printed only when the verb is missing or
// unknown, and options read as GLib's option parser names them.
func Prepare(c *cobra.Command) {
	c.SilenceErrors = true
	c.SilenceUsage = true
	c.DisableSuggestions = true
	c.CompletionOptions.DisableDefaultCmd = true
	c.DisableFlagsInUseLine = true
	c.Flags().SortFlags = false
	c.PersistentFlags().SortFlags = false
	c.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return optionError(err) })
	c.SetUsageFunc(usage)
	c.SetHelpFunc(func(c *cobra.Command, _ []string) { printUsage(c, c.OutOrStdout()) })
	if c.HasSubCommands() && !c.Runnable() {
		c.Args = cobra.ArbitraryArgs
		c.RunE = missingVerb
	}
	c.InitDefaultHelpFlag()
	if f := c.Flags().Lookup("help"); f != nil {
		f.Usage = "Show help options"
	}
	c.SetHelpCommand(&cobra.Command{Hidden: true, Use: "no-help-verb"})
	for _, child := range c.Commands() {
		Prepare(child)
	}
}

// missingVerb is what a command that only groups others does when it is run itself.
func missingVerb(c *cobra.Command, args []string) error {
	printUsage(c, c.ErrOrStderr())
	// The trees of other programs stand below photree, and are roots to who types `photree ostree`.
	group := ""
	if c.HasParent() && (c.Parent().HasParent() || c.Parent().Name() != "photree") {
		group = c.Name()
	}
	switch {
	case len(args) == 0 && group == "":
		return Fail("No command specified")
	case len(args) == 0:
		return Fail("No %q subcommand specified", group)
	case group == "":
		return Fail("Unknown command '%s'", args[0])
	default:
		return Fail("Unknown %q subcommand '%s'", group, args[0])
	}
}

// optionError words a mistake in the options the way the tools that scripts were written for do.
func optionError(err error) error {
	if v := (*versionAsked)(nil); errors.As(err, &v) {
		return v
	}
	var unknown *pflag.NotExistError
	var missing *pflag.ValueRequiredError
	var invalid *pflag.InvalidValueError
	switch {
	case errors.As(err, &unknown):
		if unknown.GetSpecifiedShortnames() != "" {
			return Fail("Unknown option -%s", unknown.GetSpecifiedName())
		}
		return Fail("Unknown option --%s", unknown.GetSpecifiedName())
	case errors.As(err, &missing):
		if missing.GetSpecifiedShortnames() != "" {
			return Fail("Missing argument for -%s", missing.GetSpecifiedName())
		}
		return Fail("Missing argument for --%s", missing.GetSpecifiedName())
	case errors.As(err, &invalid):
		return Fail("Cannot parse value '%s' for --%s", invalid.GetValue(), invalid.GetFlag().Name)
	}
	return err
}

// verbFirst moves options that stand before a verb behind it, because every option of a verb may be given before it
// (`ostree --repo=r refs`, `ostree --mode=archive --repo=r init`) and cobra knows only those of the root there.
func verbFirst(root *cobra.Command, args []string) []string {
	var verbs, options []string
	at := root
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			break
		}
		if len(arg) > 1 && arg[0] == '-' {
			options = append(options, arg)
			if takesNext(at, arg) && i+1 < len(args) {
				i++
				options = append(options, args[i])
			}
			continue
		}
		child := childNamed(at, arg)
		if child == nil {
			break
		}
		verbs = append(verbs, arg)
		at = child
		if !at.HasSubCommands() {
			rest := append(options, args[i+1:]...)
			return append(verbs, rest...)
		}
	}
	return args
}

func childNamed(c *cobra.Command, name string) *cobra.Command {
	for _, child := range c.Commands() {
		if child.Name() == name || child.HasAlias(name) {
			return child
		}
	}
	return nil
}

// takesNext reports whether an option that stands before the verb has its value in the next argument. Only options that
// the group itself declares may be written so; for all others the verb comes next.
func takesNext(c *cobra.Command, arg string) bool {
	if strings.Contains(arg, "=") {
		return false
	}
	var f *pflag.Flag
	if strings.HasPrefix(arg, "--") {
		f = c.PersistentFlags().Lookup(arg[2:])
		if f == nil {
			f = c.InheritedFlags().Lookup(arg[2:])
		}
	} else if len(arg) == 2 {
		f = c.PersistentFlags().ShorthandLookup(arg[1:])
		if f == nil {
			f = c.InheritedFlags().ShorthandLookup(arg[1:])
		}
	}
	return f != nil && f.NoOptDefVal == ""
}

// Fail makes an error in the words of the original tools, which begin with a capital letter: people and scripts look
// for them. An error of our own begins with a small one and is made with fmt.Errorf.
func Fail(format string, args ...any) error { return fmt.Errorf(format, args...) }
