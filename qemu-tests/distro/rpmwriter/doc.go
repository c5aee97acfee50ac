// Package rpmwriter writes RPM packages (format 4), for the test distribution and for fixtures.
//
// It takes everything from a Package value held in memory and writes one .rpm to a writer: lead, signature header
// with digests (never a signature), header, and a newc cpio payload compressed with zstd. The same Package gives the
// same bytes: it reads no clock, no host name and no file.
//
// What it writes that other Go writers leave out is the reason it exists: sense flags on requirements (rpm orders a
// package behind its scriptlet interpreter only when they are set), file capabilities, hard links, triggers,
// interpreters of scriptlets, and weak dependencies backwards. It does not check a package for sense: tests need
// senseless ones too.
package rpmwriter
