// Command ostree-prepare-root makes the mounts of the deployment that ostree= names, for initramfs images that other
// programs than photree build (dracut, mkinitcpio, systemd): `ostree-prepare-root SYSROOT`.
package main

import (
	"os"

	prepareroot "photree/prepare-root"
)

func main() { os.Exit(prepareroot.Main(os.Args, os.Stderr)) }
