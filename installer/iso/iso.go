// Package iso writes a hybrid ISO 9660 image: Rock Ridge names, El Torito
// boot entries for BIOS and UEFI, and a GPT with a BIOS boot sector, so that
// the same image boots from a CD and, copied as it is, from a disk.
//
// It writes once and in one order: the same options and files give the same
// bytes. Files are read from where they are while the image is written.
package iso
