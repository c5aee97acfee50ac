// Package kickstart reads Photon's kickstart files, JSON or YAML, in both
// schemas: with an "ostree" object, and the older one with "type" and
// "ostree_repo_url".
//
// Parse is pure. It refuses what it does not know, by name, so that a
// misspelt key is an error before the disk is touched and not a surprise on
// the installed machine. Keys that Photon's installer accepts but that mean
// nothing for an image-based host are accepted and listed in Config.Ignored.
package kickstart

// Script is one script to run in the installed tree.
type Script struct {
	Name string // for messages
	Text string // the script, with its #! line
}
