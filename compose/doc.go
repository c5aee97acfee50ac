// Package compose makes a commit from a treefile: repositories are read, the
// packages chosen, fetched, unpacked and committed, one named step after
// another.
//
// Compose is the whole of it. It reads the treefile it is given, the .repo
// files beside it and the repositories that these name; it writes one commit
// and one ref into the repository, and packages into the cache directory.
// Everything else happens in a work directory of its own that is gone when it
// returns. On any error the repository is as it was (R2): the commit is staged
// in one transaction, and nothing is written to the repository before it.
//
// A commit is a function of its inputs (R6): with the same treefile, packages,
// history and SOURCE_DATE_EPOCH its id is the same on every machine. The
// digest of the inputs is kept in the commit, and a compose whose digest is
// that of the previous commit ends there.
//
// It needs root, because trees hold owners, capabilities and what scripts made
// as root. The program that calls it calls rootfs.SandboxMain first in main.
package compose
