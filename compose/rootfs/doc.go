// Package rootfs makes the file system of a tree from package files: it
// unpacks them, runs their scripts in a sandbox and turns the result into the
// layout that a deployment needs.
//
// Build reads package files, writes below one directory and nowhere else, and
// takes nothing from the machine it runs on: owners are resolved through the
// tree's own accounts, scripts see the tree as their root, no network, no
// clock of their own choosing (SOURCE_DATE_EPOCH), a fixed umask and locale.
// Every path is resolved below the root by the kernel (openat2), so neither a
// package nor a link that a script left can lead a write outside. The same
// packages in the same order give the same tree (R6).
//
// Scripts run in processes of this same program, started again as the second
// stage of a sandbox: a program that calls Build calls SandboxMain first in
// main. The sandbox lives in its own mount, process, host name, IPC and
// network namespaces and dies with the build, so it leaves no mounts behind.
//
// Build needs to be root and Linux 5.6 or later. It runs no tool of the host.
package rootfs
