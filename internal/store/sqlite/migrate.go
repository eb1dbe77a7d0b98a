package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/pressly/goose/v3"

	"tandem/internal/store/sqlstore"
)

//go:embed migrations/*.sql
var migrations embed.FS

func newMigrator(db *sql.DB, log *slog.Logger) (*sqlstore.Migrator, error) {
	return sqlstore.NewMigrator(goose.DialectSQLite3, db, migrations, log)
}

// prepare brings the schema to where it has to be.
func prepare(ctx context.Context, db *sql.DB, o Options) error {
	m, err := newMigrator(db, o.Log)
	if err == nil {
		err = m.Prepare(ctx, o.Opening)
	}
	if err != nil {
		return fmt.Errorf("sqlite: %w", err)
	}
	return nil
}

// Migrate takes a step with the schema of a file that is there.
func Migrate(ctx context.Context, o Options, step sqlstore.Step) (s sqlstore.Schema, err error) {
	if o, err = o.filled(); err != nil {
		return s, err
	}
	if _, err := os.Stat(o.Path); err != nil {
		return s, fmt.Errorf("sqlite: %w", err)
	}
	db, err := openDatabase(o, false)
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	m, err := newMigrator(db, o.Log)
	if err == nil {
		s, err = m.Take(ctx, step)
	}
	if err != nil {
		return s, fmt.Errorf("sqlite: %w", err)
	}
	return s, nil
}
