package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"tandem/internal/config"
	"tandem/internal/store/postgres"
	"tandem/internal/store/sqlite"
	"tandem/internal/store/sqlstore"
	"tandem/internal/transfer"
)

// Schema is which migrations the database of the settings has, and which are pending.
func Schema(ctx context.Context, c config.Config) (sqlstore.Schema, error) {
	return migrate(ctx, c, slog.New(slog.DiscardHandler), sqlstore.Look)
}

// MigrateUp applies what is pending, as the start of a server does. Servers of the
// release before may go on meanwhile.
func MigrateUp(ctx context.Context, c config.Config, log *slog.Logger) (sqlstore.Schema, error) {
	if c.SQLitePath() != "" { // which makes the file
		s, err := openEngine(ctx, c, log, sqlstore.Opening{})
		if err != nil {
			return sqlstore.Schema{}, fmt.Errorf("database: %w", err)
		}
		if err := s.Close(); err != nil {
			return sqlstore.Schema{}, err
		}
	}
	return migrate(ctx, c, log, sqlstore.Up)
}

// MigrateDown takes back all migrations behind a version, and what was written where
// they had made room for it. It refuses while a server uses the database, and with
// SQLite keeps others from the data folder meanwhile.
func MigrateDown(ctx context.Context, c config.Config, log *slog.Logger, version int64) (_ sqlstore.Schema, err error) {
	s, err := openEngine(ctx, c, log, sqlstore.Opening{Purpose: sqlstore.ToRead})
	if err != nil {
		return sqlstore.Schema{}, fmt.Errorf("database: %w", err)
	}
	if c.SQLitePath() != "" {
		lock, err := lockFolder(c.DataDir)
		if err != nil {
			return sqlstore.Schema{}, errors.Join(err, s.Close())
		}
		defer func() { _ = lock.Close() }()
	}
	if err := errors.Join(transfer.Idle(ctx, s, time.Now()), s.Close()); err != nil {
		return sqlstore.Schema{}, fmt.Errorf("database: %w", err)
	}
	return migrate(ctx, c, log, sqlstore.DownTo(version))
}

func migrate(ctx context.Context, c config.Config, log *slog.Logger, step sqlstore.Step) (s sqlstore.Schema, err error) {
	if path := c.SQLitePath(); path != "" {
		s, err = sqlite.Migrate(ctx, sqlite.Options{Path: path, Log: log}, step)
	} else {
		s, err = postgres.Migrate(ctx, postgres.Options{URL: c.PostgresURL().Reveal(), Log: log}, step)
	}
	if err != nil {
		return s, fmt.Errorf("database: %w", err)
	}
	return s, nil
}
