package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"io/fs"
	"log/slog"

	"github.com/pressly/goose/v3"

	"tandem/internal/store"
)

// Migrator brings the schema of one database from version to version.
type Migrator struct {
	*goose.Provider
	db *sql.DB
}

// NewMigrator takes the migrations that an engine has in its folder "migrations". more are
// what the engine needs beside that.
func NewMigrator(dialect goose.Dialect, db *sql.DB, files fs.FS, log *slog.Logger, more ...goose.ProviderOption) (*Migrator, error) {
	files, err := fs.Sub(files, "migrations")
	if err != nil {
		return nil, fmt.Errorf("migrations: %w", err)
	}
	p, err := goose.NewProvider(dialect, db, files, append(more, goose.WithTableName(VersionTable),
		goose.WithDisableGlobalRegistry(true), goose.WithSlog(log))...)
	if err != nil {
		return nil, fmt.Errorf("migrations: %w", err)
	}
	return &Migrator{p, db}, nil
}

// Prepare brings the schema to where it has to be, or refuses it.
func (m *Migrator) Prepare(ctx context.Context, o Opening) error {
	s, err := m.schema(ctx)
	if err != nil {
		return err
	}
	switch {
	case o.Purpose == ToServe:
		return s.up(ctx, m.Provider)
	case s.Version > s.Known:
		return s.tooNew()
	case o.Purpose == ToRead && s.Version < firstFacts:
		return fmt.Errorf("the database has schema version %d, which is older than what can be read: bring it up first (tandem migrate up)", s.Version)
	case o.Purpose == ToRead:
		return nil
	case s.Version > o.Schema:
		return fmt.Errorf("the database to fill has schema version %d, what is to be put in has %d: take an empty one", s.Version, o.Schema)
	}
	if _, err := m.UpTo(ctx, o.Schema); err != nil {
		return fmt.Errorf("migrate up: %w", err)
	}
	return nil
}

// Take takes a step and tells what the schema is then.
func (m *Migrator) Take(ctx context.Context, step Step) (Schema, error) {
	s, err := m.schema(ctx)
	if err != nil {
		return s, err
	}
	if err := step(ctx, s, m.Provider); err != nil {
		return s, err
	}
	return m.schema(ctx)
}

// schema changes nothing, but for goose's own table in an empty database.
func (m *Migrator) schema(ctx context.Context) (s Schema, err error) {
	if s.Version, s.Known, err = m.GetVersions(ctx); err != nil {
		return s, fmt.Errorf("schema version: %w", err)
	}
	for _, source := range m.ListSources() {
		if source.Version > s.Version {
			s.Pending = append(s.Pending, source.Path)
		}
	}
	if s.Version < firstFacts {
		return s, nil
	}
	err = m.db.QueryRowContext(ctx, `SELECT COALESCE(MAX(CAST(value AS BIGINT)), 0) FROM about WHERE name = '`+string(store.FactOldest)+`'`).Scan(&s.Oldest)
	if err != nil {
		return s, fmt.Errorf("schema version: %w", err)
	}
	return s, nil
}
