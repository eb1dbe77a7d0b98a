// Package sqlite is the store on one SQLite file: the engine of a single node.
// It needs no server and no cgo.
//
// One goroutine writes. Updates that wait together share one transaction, each
// in a savepoint of its own, and one fsync answers all of them. Readers have
// connections of their own and see the last commit (WAL). Only app, the
// composition root, opens it; everybody else sees store.Store.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync"

	"modernc.org/sqlite"

	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/store"
	"tandem/internal/store/sqlstore"
)

// ErrClosed says that the store has been closed.
var ErrClosed = errors.New("sqlite: the store is closed")

// Synchronous says when a commit is on the disk.
type Synchronous string

// The levels of durability.
const (
	// Full syncs at every commit: an acknowledged change outlives a power cut.
	Full Synchronous = "full"
	// Normal syncs at checkpoints: an acknowledged change outlives a crash of
	// the process, but the last ones may be gone after a power cut.
	Normal Synchronous = "normal"
)

// Options say how to open a store. Only Path is required.
type Options struct {
	Path        string       // of the database file, made if missing; its folder must exist
	Log         *slog.Logger // default: nothing is logged
	Synchronous Synchronous  // default: Full
	Readers     int          // connections for Views; default 4
	Routers     int          // connections for Route alone; default 2
	QueueSize   int          // Updates that may wait; default 1024

	sqlstore.Opening
}

func (o Options) filled() (Options, error) {
	if o.Path == "" || o.Path == ":memory:" {
		return o, errors.New("sqlite: Path must name a file")
	}
	path, err := filepath.Abs(o.Path)
	if err != nil {
		return o, fmt.Errorf("sqlite: path: %w", err)
	}
	o.Path = path
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	switch o.Synchronous {
	case "":
		o.Synchronous = Full
	case Full, Normal:
	default:
		return o, fmt.Errorf("sqlite: synchronous must be %q or %q", Full, Normal)
	}
	if o.Readers <= 0 {
		o.Readers = 4
	}
	if o.Routers <= 0 {
		o.Routers = 2
	}
	if o.QueueSize <= 0 {
		o.QueueSize = 1024
	}
	return o, nil
}

// Store is the engine. Its methods may be called by any goroutine.
type Store struct {
	log     *slog.Logger
	db      *sql.DB // the writer's; goose runs on it too
	readDB  *sql.DB
	readers *readers // for Views
	routers *readers // for Route, so that no View holds a call up
	writer  *writer

	sessions []*session // all of them: the readers', the routers', the writer's

	closing   chan struct{} // closed by the first Close
	closeOnce sync.Once
	closeErr  error
}

var _ store.Store = (*Store)(nil)

// Open opens the database, as o.Opening says: by default it makes it if it is missing
// and brings its schema up to date. It refuses a file of a newer version of the program
// that this one cannot use. One that is opened to be read can be no more than read.
// ctx bounds the opening only.
func Open(ctx context.Context, o Options) (_ *Store, err error) {
	if o, err = o.filled(); err != nil {
		return nil, err
	}
	if err := findFile(o); err != nil {
		return nil, fmt.Errorf("sqlite: %w", err)
	}
	s := &Store{log: o.Log, readers: newReaders(o.Readers), routers: newReaders(o.Routers),
		closing: make(chan struct{})}
	defer func() {
		if err != nil {
			_ = s.closeDatabases()
		}
	}()
	if s.db, err = openDatabase(o, o.Purpose == sqlstore.ToRead); err != nil {
		return nil, err
	}
	if err := prepare(ctx, s.db, o); err != nil {
		return nil, err
	}
	if s.readDB, err = openDatabase(o, true); err != nil {
		return nil, err
	}
	zones := &sqlstore.Zones{}
	for i := range o.Readers + o.Routers {
		r, err := newSession(ctx, s.readDB, zones)
		if err != nil {
			return nil, fmt.Errorf("sqlite: open reader: %w", err)
		}
		lender := s.readers
		if i >= o.Readers {
			lender = s.routers
		}
		lender.put(r)
		s.sessions = append(s.sessions, r)
	}
	w, err := newSession(ctx, s.db, zones)
	if err != nil {
		return nil, fmt.Errorf("sqlite: open writer: %w", err)
	}
	s.sessions = append(s.sessions, w)
	s.writer = newWriter(w, o)
	s.writer.start()
	return s, nil
}

// findFile makes a missing database file that only its owner may read, since it holds
// people's numbers, unless it is to be read. SQLite gives the files beside it the same
// mode.
func findFile(o Options) error {
	if o.Purpose == sqlstore.ToRead {
		_, err := os.Stat(o.Path)
		return err
	}
	f, err := os.OpenFile(o.Path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

// busyMillis is how long a statement waits for a lock of another connection.
const (
	busyMillis  = "5000"
	busyTimeout = `PRAGMA busy_timeout = ` + busyMillis
)

// openDatabase makes the handle of the writer or of the readers.
func openDatabase(o Options, readOnly bool) (*sql.DB, error) {
	q := url.Values{}
	pragma := func(s string) { q.Add("_pragma", s) }
	pragma("busy_timeout(" + busyMillis + ")")
	pragma("foreign_keys(1)")
	pragma("temp_store(memory)")
	pragma("cache_size(-16384)")
	conns := o.Readers + o.Routers
	if readOnly {
		pragma("query_only(1)")
	} else {
		conns = 1
		pragma("journal_mode(wal)")
		pragma("synchronous(" + string(o.Synchronous) + ")")
		pragma("secure_delete(1)") // what is removed is overwritten: see Scrub
		// A checkpoint every 16 MiB, not every 4, writes a page that changes
		// often a quarter as often.
		pragma("wal_autocheckpoint(4000)")
		pragma("journal_size_limit(67108864)")
	}
	dsn := "file:" + (&url.URL{Path: o.Path}).EscapedPath() + "?" + q.Encode()
	connector, err := sqlite.NewConnector(dsn)
	if err != nil {
		return nil, fmt.Errorf("sqlite: %w", err)
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	return db, nil
}

// View runs fn on one snapshot: that of its first read. It waits for a free
// connection as long as ctx lasts, and so do its statements.
func (s *Store) View(ctx context.Context, fn func(context.Context, store.Reader) error) error {
	r, err := s.readers.take(ctx, s.closing)
	if err != nil {
		return err
	}
	defer s.readers.put(r)
	if err := r.command("BEGIN"); err != nil {
		return fmt.Errorf("sqlite: begin view: %w", err)
	}
	defer func() {
		if err := r.command("ROLLBACK"); err != nil {
			s.log.Error("a snapshot did not end", "error", err)
		}
	}()
	return fn(ctx, sqlstore.NewReader(&transaction{session: r, interruptible: true}))
}

// Route reads the last commit on a connection that serves calls alone: it waits
// for other calls at most, and each is a few searches by primary key.
func (s *Store) Route(ctx context.Context, virtual, caller e164.Number) (masking.Route, error) {
	r, err := s.routers.take(ctx, s.closing)
	if err != nil {
		return masking.Route{}, err
	}
	defer s.routers.put(r)
	return sqlstore.NewReader(&transaction{session: r}).Route(ctx, virtual, caller)
}

// Update queues fn for the writer. A full queue is waited for as long as ctx
// lasts. fn runs on the writer's goroutine: it must not wait for anything but
// tx, and must not call Update. If fn panics, Update gives an error.
//
// Once fn has begun, ctx no longer makes Update return: only the commit's
// outcome is an answer.
func (s *Store) Update(ctx context.Context, fn func(context.Context, store.Tx) error) error {
	return s.writer.update(ctx, fn)
}

// Ready tells whether calls can be routed, the database be read and the writer
// lives. It reads where Route does: Views that last make no node unready.
func (s *Store) Ready(ctx context.Context) error {
	select {
	case <-s.writer.dead:
		return ErrClosed
	default:
	}
	r, err := s.routers.take(ctx, s.closing)
	if err != nil {
		return err
	}
	defer s.routers.put(r)
	return r.command("SELECT 1 FROM tenant LIMIT 1")
}

// Close refuses new transactions, waits for the running ones and closes the
// file. Updates that were queued and have not begun get ErrClosed. A second
// Close gives what the first gave.
func (s *Store) Close() error {
	s.closeOnce.Do(func() {
		close(s.closing)
		s.writer.close()
		s.readers.drain()
		s.routers.drain()
		s.closeErr = s.closeDatabases()
	})
	return s.closeErr
}

func (s *Store) closeDatabases() error {
	var errs []error
	for _, session := range s.sessions {
		errs = append(errs, session.close())
	}
	// The last connection to close is the writer's: it moves the WAL into the
	// database file.
	for _, db := range []*sql.DB{s.readDB, s.db} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	return errors.Join(errs...)
}
