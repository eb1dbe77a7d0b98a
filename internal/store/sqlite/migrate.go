package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"

	"github.com/pressly/goose/v3"

	"tandem/internal/store/sqlstore"
)

//go:embed migrations/*.sql
var migrations embed.FS

func newMigrator(db *sql.DB, log *slog.Logger) (*goose.Provider, error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, fmt.Errorf("sqlite: migrations: %w", err)
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, db, files, goose.WithTableName(sqlstore.VersionTable),
		goose.WithDisableGlobalRegistry(true), goose.WithSlog(log))
	if err != nil {
		return nil, fmt.Errorf("sqlite: migrations: %w", err)
	}
	return p, nil
}

// prepare brings the schema to where it has to be.
func prepare(ctx context.Context, db *sql.DB, o Options) error {
	p, err := newMigrator(db, o.Log)
	if err != nil {
		return err
	}
	if err := sqlstore.Prepare(ctx, p, db, o.Opening); err != nil {
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
	p, err := newMigrator(db, o.Log)
	if err != nil {
		return s, err
	}
	if s, err = sqlstore.Migrate(ctx, p, db, step); err != nil {
		return s, fmt.Errorf("sqlite: %w", err)
	}
	return s, nil
}
