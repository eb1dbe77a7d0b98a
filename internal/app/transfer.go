package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"tandem/internal/config"
	"tandem/internal/store"
	"tandem/internal/store/sqlite"
	"tandem/internal/store/sqlstore"
	"tandem/internal/transfer"
)

// TransferOptions say how databases are moved. Log is required.
type TransferOptions struct {
	Log      *slog.Logger
	Replace  bool // remove what the target has
	Progress func(transfer.Progress)
}

func (o TransferOptions) from(from, to store.Store) transfer.Options {
	return transfer.Options{From: from, To: to, Clock: time.Now, Replace: o.Replace, Progress: o.Progress}
}

// Copy copies the database of one configuration into that of another, of whichever
// engines; see [transfer.Copy]. A backup is found whole first, as Restore does. With
// SQLite the target's folder is that of a server to come: it is kept from others meanwhile.
func Copy(ctx context.Context, from, to config.Config, o TransferOptions) (r transfer.Report, err error) {
	if sameDatabase(from, to) {
		return r, errors.New("source and target are the same database")
	}
	source, err := openEngine(ctx, from, o.Log, sqlstore.Opening{Purpose: sqlstore.ToRead})
	if err != nil {
		return r, fmt.Errorf("source: %w", err)
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	if path := to.SQLitePath(); path != "" {
		lock, err := lockFolder(filepath.Dir(path))
		if err != nil {
			return r, fmt.Errorf("target: %w", err)
		}
		defer func() { _ = lock.Close() }()
	}
	if _, err := transfer.Verify(ctx, source); err != nil && !errors.Is(err, transfer.ErrNoBackup) {
		return r, fmt.Errorf("source: %w", err)
	}
	return o.into(ctx, source, to)
}

func sameDatabase(a, b config.Config) bool {
	if path := a.SQLitePath(); path != "" {
		one, err := os.Stat(path)
		other, e := os.Stat(b.SQLitePath())
		return err == nil && e == nil && os.SameFile(one, other)
	}
	return a.DatabaseURL == b.DatabaseURL
}

// into copies a database that is open into the one that the settings name, and leaves
// that with this program's schema.
func (o TransferOptions) into(ctx context.Context, source store.Store, to config.Config) (r transfer.Report, err error) {
	version, err := schemaVersion(ctx, source)
	if err != nil {
		return r, fmt.Errorf("source: %w", err)
	}
	target, err := openEngine(ctx, to, o.Log, sqlstore.Opening{Purpose: sqlstore.ToFill, Schema: version})
	if err != nil {
		return r, fmt.Errorf("target: %w", err)
	}
	r, err = transfer.Copy(ctx, o.from(source, target))
	if err = errors.Join(err, target.Close()); err != nil {
		return r, err
	}
	// As a server opens it: what a source of an older program has is brought up.
	if target, err = openEngine(ctx, to, o.Log, sqlstore.Opening{}); err != nil {
		return r, fmt.Errorf("target: %w", err)
	}
	return r, errors.Join(transfer.Serves(ctx, target), target.Close())
}

func schemaVersion(ctx context.Context, s store.Store) (version int64, err error) {
	err = s.View(ctx, func(ctx context.Context, tx store.Reader) (err error) {
		version, err = tx.SchemaVersion(ctx)
		return err
	})
	return version, err
}

// Journal is the folder where a node keeps call records while it cannot write them to
// its database.
func Journal(c config.Config) string { return filepath.Join(c.DataDir, journalFolder) }

// Unwritten is the folder with call records that a database in a data folder does not
// have, since its server could not write them before it stopped; "" if there are none, or
// if nobody can tell where they would be, as with PostgreSQL.
func Unwritten(c config.Config) (folder string, err error) {
	path := c.SQLitePath()
	if path == "" {
		return "", nil
	}
	folder = filepath.Join(filepath.Dir(path), journalFolder)
	entries, err := os.ReadDir(folder)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0 {
		return "", nil
	}
	return folder, err
}

// Backup writes the whole database of a server, which may be running, to a file that
// is not there yet: of one moment, complete, and only there once it is. Until then it is
// beside it, in a file of its own that a run which is killed leaves behind. What it does
// not have are the master key and the sound of recordings.
func Backup(ctx context.Context, c config.Config, file string, o TransferOptions) (r transfer.Report, err error) {
	if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
		return r, thereAlready(file)
	}
	source, err := openEngine(ctx, c, o.Log, sqlstore.Opening{Purpose: sqlstore.ToRead})
	if err != nil {
		return r, fmt.Errorf("database: %w", err)
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	version, err := schemaVersion(ctx, source)
	if err != nil {
		return r, fmt.Errorf("database: %w", err)
	}
	partial, err := beside(file)
	if err != nil {
		return r, err
	}
	defer func() {
		for _, end := range []string{"", "-wal", "-shm"} {
			if e := os.Remove(partial + end); !errors.Is(e, fs.ErrNotExist) {
				err = errors.Join(err, e)
			}
		}
	}()
	if r, err = o.backup(ctx, source, version, partial); err != nil {
		return r, err
	}
	if err := os.Link(partial, file); err != nil { // unlike a new name, which would take another file's place
		if errors.Is(err, fs.ErrExist) {
			err = thereAlready(file)
		}
		return r, err
	}
	return r, syncFolder(filepath.Dir(file))
}

func thereAlready(file string) error {
	return fmt.Errorf("%s is there already: a backup overwrites nothing", file)
}

// beside makes an empty file for what will be called file, which is nobody else's, and
// links to it: what cannot be linked in that folder is found out before hours of work.
func beside(file string) (partial string, err error) {
	f, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".*.partial") // which only its owner may read
	if err != nil {
		return "", err
	}
	partial = f.Name()
	err = errors.Join(f.Close(), os.Link(partial, partial+".link"))
	if err == nil {
		err = os.Remove(partial + ".link")
	}
	if err != nil {
		return "", errors.Join(fmt.Errorf("a backup needs a folder whose files can have two names: %w", err), os.Remove(partial))
	}
	return partial, nil
}

// backup writes a backup and reads it again.
func (o TransferOptions) backup(ctx context.Context, source store.Store, version int64, path string) (r transfer.Report, err error) {
	opening := sqlstore.Opening{Purpose: sqlstore.ToFill, Schema: version}
	target, err := sqlite.Open(ctx, sqlite.Options{Path: path, Log: o.Log, Opening: opening})
	if err != nil {
		return r, fmt.Errorf("backup: %w", err)
	}
	options := o.from(source, target)
	options.Backup = true
	r, err = transfer.Copy(ctx, options)
	if err = errors.Join(err, target.Close()); err != nil {
		return r, err
	}
	if err := sqlite.Pack(ctx, path); err != nil {
		return r, err
	}
	_, err = o.verified(ctx, path, func(store.Store) error { return nil })
	return r, err
}

// verified calls use with a backup once it is found whole.
func (o TransferOptions) verified(ctx context.Context, path string, use func(store.Store) error) (taken time.Time, err error) {
	s, err := sqlite.Open(ctx, sqlite.Options{Path: path, Log: o.Log, Opening: sqlstore.Opening{Purpose: sqlstore.ToRead}})
	if err != nil {
		return taken, fmt.Errorf("backup: %w", err)
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if taken, err = transfer.Verify(ctx, s); err != nil {
		return taken, fmt.Errorf("backup: %w", err)
	}
	return taken, use(s)
}

// syncFolder makes sure that a file's new name outlives a power cut.
func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Restore puts a backup into the database of a server that is not running, once the
// backup is found whole. It gives of which moment it is.
func Restore(ctx context.Context, c config.Config, file string, o TransferOptions) (r transfer.Report, taken time.Time, err error) {
	if c.SQLitePath() != "" {
		lock, err := lockFolder(c.DataDir)
		if err != nil {
			return r, taken, err
		}
		defer func() { _ = lock.Close() }()
	}
	whole := false
	taken, err = o.verified(ctx, file, func(source store.Store) error {
		whole = true
		r, err = o.into(ctx, source, c)
		return err
	})
	if !whole && sqlite.Damaged(err) {
		return r, taken, fmt.Errorf("%s is damaged, or no backup: take another one; nothing was changed", file)
	}
	return r, taken, err
}
