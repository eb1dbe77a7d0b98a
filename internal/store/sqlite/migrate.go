package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
	"log/slog"

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
