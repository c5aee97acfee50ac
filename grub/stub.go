package grub

import (
	"bytes"
	"fmt"
)

// StubName is the path of the stub below /boot. It is not under grub2/, where
// ostree's GRUB backend looks to find out that the disk is its to configure.
const StubName = "grub/grub.cfg"

// maxStubEntries is how many entries the stub can put in order by version. There
// are as many as deployments; lists are short.
const maxStubEntries = 12

// Stub gives the constant text of /boot/grub/grub.cfg, good for BIOS and UEFI.
// bootUUID names the file system that holds /boot, as its own partition or as a
// directory of the root.
//
// The stub runs the menu of /boot/loader. Without one it reads the entry files
// by running them as GRUB scripts: each of their keys is a function here. That
// works because GRUB prefers commands over functions of the same name, and its
// linux command is not loaded before an entry is chosen: the images do not hold
// it, and no list of commands to load on demand is installed beside the modules.
func Stub(bootUUID string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, stubHead, bootUUID)
	b.WriteString(stubTerminal)
	b.WriteString(stubFunctions)
	b.WriteString(`if [ -f "$bootdir/loader/grub.cfg" ]; then
  source "$bootdir/loader/grub.cfg"
else
`)
	b.WriteString("  set default=0\n  set timeout=2\n  set timeout_style=menu\n  set fallback=1\n  " + userConfig)
	b.WriteString(`  for file in $bootdir/loader/entries/*.conf; do
    if [ -f "$file" ]; then read_entry "$file"; fi
  done
`)
	for i := maxStubEntries; i > 0; i-- {
		fmt.Fprintf(&b, "  if [ -n \"$entry_%d\" ]; then show_entry \"$entry_%d\"; fi\n", i, i)
	}
	b.WriteString(`  for file in $other_entries; do show_entry "$file"; done
  if [ -z "$any_entry" ]; then
    echo "No boot entry under /boot/loader. Boot an installation medium to repair this system."
    echo "The file systems that GRUB sees:"
    ls
  fi
fi
`)
	return b.Bytes()
}

const stubHead = `# Written once at installation and never changed: what varies is in loader/grub.cfg.
search --no-floppy --fs-uuid --set=root %s
set bootdir=
if [ -e /boot/loader ]; then
  if [ -e /loader ]; then true; else set bootdir=/boot; fi
fi
export root
export bootdir
`

// A firmware console may be on the serial line already (UEFI does that by
// itself); on BIOS both the screen and the first serial port show the menu.
const stubTerminal = `if [ "$grub_platform" = pc ]; then
  if serial --unit=0 --speed=115200; then
    terminal_input console serial
    terminal_output console serial
  fi
fi
`

// Functions can only be defined outside of other statements. They do not disturb
// the menu of loader/grub.cfg: it loads the commands before it uses them.
const stubFunctions = `function title { set e_title="$*"; }
function version { set e_version="$1"; }
function options {
  for arg in "$@"; do set e_options="$e_options '$arg'"; done
}
function linux { set e_linux="$1"; }
function initrd {
  for image in $*; do set e_initrd="$e_initrd $bootdir$image"; done
}
function devicetree { true; }
function clear_entry {
  set e_title=
  set e_version=
  set e_options=
  set e_linux=
  set e_initrd=
}
function read_entry {
  clear_entry
  source "$1"
  if [ -n "$e_linux" ]; then
    if [ "$e_version" -ge 1 -a "$e_version" -le 12 ]; then
      set "entry_$e_version=$1"
    else
      set other_entries="$other_entries $1"
    fi
  fi
}
function show_entry {
  clear_entry
  source "$1"
  set any_entry=1
  menuentry "$e_title" --class gnu-linux --class os --unrestricted "$bootdir$e_linux" "$e_initrd" "$e_options" {
    echo "Loading $1"
    insmod linux
    eval "linux $2 $4"
    if [ -n "$3" ]; then initrd $3; fi
  }
}
`
