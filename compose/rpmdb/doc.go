// Package rpmdb writes and reads the sqlite database of installed packages,
// as RPM 4.16 and later keep it.
//
// Write makes a new database file from the headers of packages: one row of
// table Packages for each (the main header with its immutable region intact,
// followed by the tags that an installation adds) and every index table that
// RPM has, filled as RPM fills it. The file depends on nothing but its
// arguments: the same packages in the same order give the same bytes (R6).
//
// Read gives the packages of a database and changes nothing: it copes with a
// read-only directory and with a database that was left in write-ahead mode.
// Diff compares two package sets as an update presents them.
//
// The package never runs rpm and never touches a database that exists.
package rpmdb
