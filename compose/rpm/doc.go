// Package rpm reads RPM package files and the headers that an rpm database
// stores.
//
// It parses the lead, the signature header, the main header (formats 4 and 6)
// and the payload (cpio newc and the stripped form, compressed with gzip, xz,
// lzma, zstd, bzip2 or not at all), and it knows how RPM orders versions and
// what its dependencies mean, rich ones included.
//
// Everything a package claims about itself is treated as hostile: sizes are
// checked before memory is taken for them, and damaged input gives an error,
// never a panic. Digests are verified always: Open checks the digest of the
// header, and reading the payload to its end checks the payload's. Signatures are
// verified when asked: CheckSignature compares a package with a Keyring.
//
// The package never writes files and never runs what a package contains.
package rpm
