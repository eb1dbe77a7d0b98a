package postgres

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
	"log/slog"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"tandem/internal/store/sqlstore"
)

//go:embed migrations/*.sql
var migrations embed.FS

// lockTable is where goose notes who migrates.
const lockTable = "schema_lock"

func newMigrator(db *sql.DB, log *slog.Logger) (*goose.Provider, error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, fmt.Errorf("postgres: migrations: %w", err)
	}
	locker, err := lock.NewPostgresTableLocker(lock.WithTableName(lockTable), lock.WithTableLogger(log))
	if err != nil {
		return nil, fmt.Errorf("postgres: migrations: %w", err)
	}
	p, err := goose.NewProvider(goose.DialectPostgres, db, files, goose.WithTableName(sqlstore.VersionTable),
		goose.WithDisableGlobalRegistry(true), goose.WithSlog(log), goose.WithLocker(locker))
	if err != nil {
		return nil, fmt.Errorf("postgres: migrations: %w", err)
	}
	return p, nil
}

// migrateUp brings the schema up to this program's version. Of several nodes that
// start together one does it and the others wait.
func migrateUp(ctx context.Context, db *sql.DB, log *slog.Logger) error {
	p, err := newMigrator(db, log)
	if err != nil {
		return err
	}
	if err := sqlstore.MigrateUp(ctx, p); err != nil {
		return fmt.Errorf("postgres: %w", err)
	}
	return nil
}
