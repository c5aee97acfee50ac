// Command photree-init is the first program in photree's initramfs (package pid1), and the kernel's /sbin/modprobe
// there.
package main

import (
	"os"

	"photree/initramfs/pid1"
)

func main() { os.Exit(pid1.Main()) }
