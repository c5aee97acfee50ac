package rpmdb

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"photree/compose/rpm"
)

// Name is the file name of a database inside its directory.
const Name = "rpmdb.sqlite"

// Read gives the packages of the database file at path, sorted by name and
// version. It writes nothing beside it.
func Read(ctx context.Context, path string) ([]*rpm.Package, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading rpm database: %w", err)
	}
	// What a running rpm has not yet merged into the database is in the log.
	if fi, err := os.Stat(path + "-wal"); err == nil && fi.Size() > 0 {
		if data, err = mergeLog(ctx, path, data); err != nil {
			return nil, fmt.Errorf("reading rpm database %q: %w", path, err)
		}
	}
	pkgs, err := ReadBytes(ctx, data)
	if err != nil {
		return nil, fmt.Errorf("reading rpm database %q: %w", path, err)
	}
	return pkgs, nil
}

// ReadBytes gives the packages of a database that is held in memory. It takes
// over data.
func ReadBytes(ctx context.Context, data []byte) ([]*rpm.Package, error) {
	if len(data) < 512 || !bytes.HasPrefix(data, []byte("SQLite format 3\x00")) {
		return nil, errors.New("not an sqlite rpm database")
	}
	// A database in memory cannot be in write-ahead mode; 1 is the rollback
	// journal, which nothing uses here.
	data[18], data[19] = 1, 1
	db, err := sql.Open("sqlite", "file::memory:")
	if err != nil {
		return nil, err
	}
	defer db.Close()
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	err = conn.Raw(func(dc any) error {
		d, ok := dc.(interface{ Deserialize([]byte) error })
		if !ok {
			return errors.New("the sqlite driver cannot read from memory")
		}
		return d.Deserialize(data)
	})
	if err != nil {
		return nil, err
	}
	return readPackages(ctx, conn)
}

func readPackages(ctx context.Context, conn *sql.Conn) ([]*rpm.Package, error) {
	rows, err := conn.QueryContext(ctx, `SELECT blob FROM Packages ORDER BY hnum`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []*rpm.Package
	for rows.Next() {
		var blob []byte
		if err := rows.Scan(&blob); err != nil {
			return nil, err
		}
		p, err := rpm.ParseHeader(blob)
		if err != nil {
			return nil, fmt.Errorf("package %d: %w", len(out)+1, err)
		}
		out = append(out, p)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	slices.SortStableFunc(out, func(a, b *rpm.Package) int { return compareNEVRA(a.NEVRA, b.NEVRA) })
	return out, nil
}

func compareNEVRA(a, b rpm.NEVRA) int {
	return cmp.Or(cmp.Compare(a.Name, b.Name), a.Compare(b.EVR), cmp.Compare(a.Arch, b.Arch))
}

// mergeLog gives the bytes of a database with its write-ahead log applied, by
// letting sqlite do so on a copy.
func mergeLog(ctx context.Context, path string, data []byte) ([]byte, error) {
	dir, err := os.MkdirTemp("", "photree-rpmdb-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	log, err := os.ReadFile(path + "-wal")
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, Name)
	if err := errors.Join(os.WriteFile(file, data, 0o600), os.WriteFile(file+"-wal", log, 0o600)); err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite", dsn(file))
	if err != nil {
		return nil, err
	}
	defer db.Close()
	if _, err := db.ExecContext(ctx, `PRAGMA wal_checkpoint(TRUNCATE)`); err != nil {
		return nil, err
	}
	if err := db.Close(); err != nil {
		return nil, err
	}
	return os.ReadFile(file)
}
