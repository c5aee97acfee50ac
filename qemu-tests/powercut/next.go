package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"photree/host"
)

// upgrade upgrades the machine as it is after the cut, and looks at the result.
func (v *visitor) upgrade(ctx context.Context) (err error) {
	if err := v.m.mount(0); err != nil {
		return errors.Join(err, v.m.unmount())
	}
	defer func() { err = errors.Join(err, v.m.unmount()) }()
	s, err := openSysroot(v.m.root)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := v.w.setRemote(s); err != nil {
		return err
	}
	if _, err := host.Upgrade(ctx, s, host.UpdateOptions{Stateroot: "os"}); err != nil {
		return err
	}
	root := seeRoot(ctx, v.m.root)
	disk, prefix := v.replay.disks[rootDisk], "/boot"
	if v.layout.boot != "" {
		disk, prefix = v.replay.disks[bootDisk], ""
	}
	byGrub, err := v.w.join(grubView(disk, prefix), root)
	if err != nil {
		return fmt.Errorf("as GRUB sees its result: %w", err)
	}
	byKernel, err := v.w.join(kernelView(filepath.Join(v.m.root, "boot")), root)
	if err != nil {
		return fmt.Errorf("as the kernel sees its result: %w", err)
	}
	if !slices.Equal(byGrub, byKernel) || !strings.Contains(byGrub[0], v.w.ids["next"].String()) {
		return fmt.Errorf("GRUB sees %q, the kernel %q", byGrub, byKernel)
	}
	if len(root.repo) > 0 {
		return fmt.Errorf("it leaves the repository damaged: %w", root.repo[0])
	}
	return leftovers(v.m.root, len(byGrub))
}

// leftovers looks for what an interrupted command may leave and the next one must remove.
func leftovers(root string, deployments int) error {
	for pattern, most := range map[string]int{
		"boot/loader.tmp": 0, "boot/.loader*": 0, "ostree/deploy/*/deploy/.*": 0, "ostree/repo/refs/*/*/*/.*": 0, "boot/loader.*": 1, "boot/ostree/*": deployments, "boot/ostree/*.tmp": 0,
		"ostree/.boot*": 0, "ostree/boot.?": 1, "ostree/deploy/*/deploy/*[0-9]": deployments,
		"ostree/repo/tmp/staging-*-*": 0, "ostree/repo/refs/heads/ostree/*/*/*": deployments,
	} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			return err
		}
		if len(found) > most {
			return fmt.Errorf("it leaves %d of %s: %q", len(found), pattern, found)
		}
	}
	return nil
}
