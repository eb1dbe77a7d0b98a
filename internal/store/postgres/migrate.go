package postgres

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"

	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"tandem/internal/store/sqlstore"
)

//go:embed migrations/*.sql
var migrations embed.FS

func newMigrator(db *sql.DB, log *slog.Logger) (*goose.Provider, error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, fmt.Errorf("postgres: migrations: %w", err)
	}
	locker, err := lock.NewPostgresTableLocker(lock.WithTableName(sqlstore.LockTable), lock.WithTableLogger(log))
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

// migrate brings the schema to where it has to be. Of several nodes that start together
// one does it and the others wait.
func migrate(ctx context.Context, db *sql.DB, o Options) error {
	p, err := newMigrator(db, o.Log)
	if err != nil {
		return err
	}
	if err := sqlstore.Prepare(ctx, p, db, o.Opening); err != nil {
		return fmt.Errorf("postgres: %w", err)
	}
	return nil
}

// Migrate takes a step with the schema of a database that is there.
func Migrate(ctx context.Context, o Options, step sqlstore.Step) (s sqlstore.Schema, err error) {
	o = o.filled()
	c, err := parse(o.URL)
	if err != nil {
		return s, err
	}
	db := stdlib.OpenDB(*c.ConnConfig)
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := db.PingContext(ctx); err != nil {
		return s, fmt.Errorf("postgres: connect: %w", plain(err))
	}
	p, err := newMigrator(db, o.Log)
	if err != nil {
		return s, err
	}
	if s, err = sqlstore.Migrate(ctx, p, db, step); err != nil {
		return s, fmt.Errorf("postgres: %w", err)
	}
	return s, nil
}
