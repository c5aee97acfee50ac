package rpmdb

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"strings"

	"photree/compose/rpm"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

// FileState says what became of one packaged file.
type FileState byte

// States of a file, with the values that RPM stores.
const (
	StateNormal       FileState = 0
	StateReplaced     FileState = 1
	StateNotInstalled FileState = 2
	StateWrongColor   FileState = 4
)

// Entry is one installed package.
type Entry struct {
	Package *rpm.Package
	// States has one state for each of Package.Files, in that order; nil
	// stands for "all installed".
	States []FileState
}

// WriteOptions are the facts that an installation adds to each package.
type WriteOptions struct {
	// Time is the time of installation and the transaction id.
	Time uint32
	// Color is the set of ELF colors that the system prefers; 0 stands for
	// 3, which x86_64 and aarch64 use.
	Color uint32
}

// Write makes a database at path, which must not exist, that holds the
// entries in their order.
func Write(ctx context.Context, path string, entries []Entry, o WriteOptions) error {
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("writing rpm database %q: %w", path, os.ErrExist)
	}
	if err := write(ctx, path, entries, o); err != nil {
		os.Remove(path)
		return fmt.Errorf("writing rpm database %q: %w", path, err)
	}
	return os.Chmod(path, 0o644)
}

func write(ctx context.Context, path string, entries []Entry, o WriteOptions) error {
	// No journal: the file is new, and is removed when anything fails.
	db, err := sql.Open("sqlite", dsn(path)+"?_pragma=journal_mode(OFF)&_pragma=synchronous(OFF)&_pragma=cache_size(-65536)")
	if err != nil {
		return err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := fill(ctx, tx, entries, o); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	return db.Close()
}

func fill(ctx context.Context, tx *sql.Tx, entries []Entry, o WriteOptions) error {
	if _, err := tx.ExecContext(ctx, `CREATE TABLE 'Packages' (hnum INTEGER PRIMARY KEY AUTOINCREMENT,blob BLOB NOT NULL)`); err != nil {
		return err
	}
	packages, err := tx.PrepareContext(ctx, `INSERT INTO 'Packages' (hnum, blob) VALUES (?, ?)`)
	if err != nil {
		return err
	}
	defer packages.Close()
	for i, e := range entries {
		stored, err := e.stored(o)
		if err != nil {
			return fmt.Errorf("package %s: %w", e.Package.NEVRA, err)
		}
		if _, err := packages.ExecContext(ctx, i+1, stored); err != nil {
			return err
		}
	}
	for _, x := range indexes {
		if err := x.fill(ctx, tx, entries, o); err != nil {
			return fmt.Errorf("table %s: %w", x.table, err)
		}
	}
	return nil
}

func (x index) fill(ctx context.Context, tx *sql.Tx, entries []Entry, o WriteOptions) error {
	if _, err := tx.ExecContext(ctx, x.create()); err != nil {
		return err
	}
	insert, err := tx.PrepareContext(ctx, fmt.Sprintf(`INSERT INTO '%s' (key, hnum, idx) VALUES (?, ?, ?)`, x.table))
	if err != nil {
		return err
	}
	defer insert.Close()
	for i, e := range entries {
		for _, k := range x.keys(e, o) {
			if _, err := insert.ExecContext(ctx, k.key, i+1, k.idx); err != nil {
				return err
			}
		}
	}
	// After the rows: quicker, and the pages of an index lie in order.
	for _, s := range x.createIndexes() {
		if _, err := tx.ExecContext(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// stored is the header as the database keeps it.
func (e Entry) stored(o WriteOptions) ([]byte, error) {
	color := o.Color
	if color == 0 {
		color = 3
	}
	added := append(signatureValues(e.Package.Signature()),
		int32Value(tagInstallTime, o.Time), int32Value(tagInstallColor, color), int32Value(tagInstallTID, o.Time))
	if n := len(e.Package.Files); n > 0 {
		states := make([]byte, n)
		if e.States != nil && len(e.States) != n {
			return nil, fmt.Errorf("%d file states for %d files", len(e.States), n)
		}
		for i, s := range e.States {
			states[i] = byte(s)
		}
		added = append(added, value{tagFileStates, typeChar, uint32(n), states})
	}
	// Where a relocatable package is: where it wants to be.
	if prefixes := e.Package.Strings(tagPrefixes); len(prefixes) > 0 {
		added = append(added, listValue(tagInstPrefixes, prefixes))
	}
	return appendValues(e.Package.HeaderBlob(), added)
}

// dsn is the name of a file for the driver, with the characters escaped that
// have a meaning in a URI.
func dsn(path string) string {
	return "file:" + strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(path)
}
