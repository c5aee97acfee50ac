package grub

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"photree/grub/bls"
)

// ConfigOptions shape the menu. The zero value is what installed systems get.
type ConfigOptions struct {
	// Timeout is the number of seconds that the menu waits before it boots the
	// first entry; 0 means DefaultTimeout, a negative number no menu at all.
	Timeout int
}

// DefaultTimeout leaves a person time to pick the older deployment.
const DefaultTimeout = 2

// Config gives the text of the menu for entries, in their order; the first one
// boots by default. The text runs in the stub's context, which has set root and
// bootdir: the path of /boot on that file system, empty where /boot is a
// partition of its own.
func Config(entries []bls.Entry, o ConfigOptions) []byte {
	timeout := o.Timeout
	switch {
	case timeout == 0:
		timeout = DefaultTimeout
	case timeout < 0:
		timeout = 0
	}
	var b bytes.Buffer
	b.WriteString("# Made by photree from the boot entries beside it. The next deployment replaces it:\n" +
		"# settings of your own belong into grub/user.cfg on the boot file system.\n")
	fmt.Fprintf(&b, "set default=0\nset timeout=%d\nset timeout_style=menu\n", timeout)
	if len(entries) > 1 {
		// GRUB takes this one, and says so, if the default's kernel cannot be loaded.
		b.WriteString("set fallback=1\n")
	}
	b.WriteString(userConfig)
	for i, e := range entries {
		menuEntry(&b, i, e)
	}
	return b.Bytes()
}

const userConfig = `if [ -f "$bootdir/grub/user.cfg" ]; then source "$bootdir/grub/user.cfg"; fi
`

func menuEntry(b *bytes.Buffer, index int, e bls.Entry) {
	title := e.Get(bls.Title)
	if title == "" {
		title = e.Name
	}
	fmt.Fprintf(b, "menuentry %s --class gnu-linux --class os --unrestricted --id %s {\n",
		quote(title), quote("ostree-"+strconv.Itoa(index)))
	fmt.Fprintf(b, "  echo %s\n", quote("Loading "+title))
	b.WriteString("  insmod linux\n")
	fmt.Fprintf(b, "  linux \"$bootdir\"%s%s\n", quote(e.Get(bls.Linux)), kernelArgs(e.KernelArgs()))
	if initrds := e.All(bls.Initrd); len(initrds) > 0 {
		b.WriteString("  initrd")
		for _, i := range initrds {
			for _, f := range strings.Fields(i) {
				fmt.Fprintf(b, " \"$bootdir\"%s", quote(f))
			}
		}
		b.WriteByte('\n')
	}
	if dt := e.Get(bls.Devicetree); dt != "" {
		fmt.Fprintf(b, "  devicetree \"$bootdir\"%s\n", quote(dt))
	}
	b.WriteString("}\n")
}

// kernelArgs quotes the command line for GRUB's shell. GRUB's linux command puts
// double quotes of its own around an argument with spaces and would escape ours,
// so ours go; the kernel takes "key=a b" for key="a b".
func kernelArgs(options string) string {
	var b strings.Builder
	var word strings.Builder
	quoted, open := false, false
	flush := func() {
		if open {
			b.WriteByte(' ')
			b.WriteString(quote(word.String()))
		}
		word.Reset()
		open = false
	}
	for _, r := range options {
		switch {
		case r == '"':
			quoted, open = !quoted, true
		case !quoted && (r == ' ' || r == '\t'):
			flush()
		default:
			word.WriteRune(r)
			open = true
		}
	}
	flush()
	return b.String()
}

// quote makes one word of GRUB's shell language that nothing in it expands.
// Words that need no quotes stay readable.
func quote(s string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+:=,@%"
	if s != "" && strings.TrimLeft(s, plain) == "" {
		return s
	}
	return "'" + strings.ReplaceAll(strings.ReplaceAll(s, "\n", " "), "'", `'\''`) + "'"
}
