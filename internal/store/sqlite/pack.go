package sqlite

import (
	"context"
	"errors"
	"fmt"
)

// Pack makes a closed database one that is all in its file, to be read also where
// nothing can be written: without a write-ahead log.
func Pack(ctx context.Context, path string) (err error) {
	o, err := Options{Path: path}.filled()
	if err != nil {
		return err
	}
	db, err := openDatabase(o, false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var mode string
	if err := db.QueryRowContext(ctx, `PRAGMA journal_mode = DELETE`).Scan(&mode); err != nil {
		return fmt.Errorf("sqlite: %w", err)
	}
	if mode != "delete" {
		return errors.New("sqlite: the file is in use")
	}
	return nil
}
