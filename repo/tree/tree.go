// Package tree turns directories into objects and objects into directories.
//
// Write reads a directory and stages its objects; Commit is Write and a commit around it, in a transaction of its own;
// Checkout makes a directory of a commit. Walk, Lookup and Diff read trees that are in the repository. Hard links in a
// directory are not recorded, nor are times; sockets, fifos and device nodes are refused or skipped, as asked.
package tree
