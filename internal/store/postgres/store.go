// Package postgres is the store on PostgreSQL: the engine of several nodes.
//
// Every statement is sqlstore's. Here is what a server with many writers needs: a
// connection for each transaction, another try for those that met another
// (SQLSTATE 40001, 40P01), rows that are locked where sqlstore says so, and events
// whose order is that of their commits. Only app, the composition root, opens it;
// everybody else sees store.Store.
package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/store"
	"tandem/internal/store/sqlstore"
)

// Options say how to open a store. Only URL is required.
type Options struct {
	URL     string       // postgres://user:password@host:port/database?…, as libpq and pgxpool know it
	Log     *slog.Logger // default: nothing is logged
	Conns   int          // connections for Views and Updates, if URL has no pool_max_conns; default 16
	Routers int          // connections for Route alone; default 4
	// Isolation is that of Updates; default pgx.ReadCommitted. Everything holds under
	// each of them: rows are locked where it matters.
	Isolation pgx.TxIsoLevel
	// Within bounds an Update and a View (but see store.Long), and the wait for the
	// connection of each; default 15 s. A server that does not answer must not hold its
	// callers for ever.
	Within time.Duration

	sqlstore.Opening
}

func (o Options) filled() Options {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Conns <= 0 {
		o.Conns = 16
	}
	if o.Routers <= 0 {
		o.Routers = 4
	}
	if o.Isolation == "" {
		o.Isolation = pgx.ReadCommitted
	}
	if o.Within <= 0 {
		o.Within = 15 * time.Second
	}
	return o
}

// connectWithin is how long a connection may take to be made, if the URL has no
// connect_timeout: one to a server that has gone silent must not stand in the way of
// the next one for longer.
const connectWithin = 2 * time.Second

// pingWithin is how long a connection that nobody has used for a second may take to show
// that somebody is at its other end, if the URL has no pool_ping_timeout.
const pingWithin = time.Second

// urgentWithin bounds what is urgent: a sign of life that is still on its way when the
// next ones are due must not keep them back until others take this node for dead
// (masking.Lease).
const urgentWithin = 2 * time.Second

// maxSkew is how far the clocks of a node and of the database may be apart. Whether a
// claim has run out is decided by the nodes' clocks, so they must agree; NTP keeps
// them within milliseconds.
const maxSkew = 2 * time.Second

// Store is the engine. Its methods may be called by any goroutine.
type Store struct {
	o       Options
	log     *slog.Logger
	pool    *pgxpool.Pool
	routers *pgxpool.Pool // for Route and what is urgent, so that nothing else holds a call up
	waker   *waker        // nil: nobody is woken
	lines   *lines
	texts   texts
	zones   sqlstore.Zones

	mu      sync.Mutex
	closed  bool           // guarded by mu
	running sync.WaitGroup // transactions; added to under mu, while not closed
}

var _ store.Store = (*Store)(nil)

// Open connects to the database, as o.Opening says: by default it brings its schema up to
// date. It refuses one of a newer version of the program that this one cannot use, and
// one whose clock is not ours. ctx bounds the opening only.
func Open(ctx context.Context, o Options) (_ *Store, err error) {
	o = o.filled()
	c, err := parse(o.URL)
	if err != nil {
		return nil, err
	}
	lines := watched(c.ConnConfig.DialFunc)
	c.ConnConfig.DialFunc = lines.connect
	if err := prepare(ctx, c.ConnConfig.Copy(), o); err != nil {
		return nil, err
	}
	s := &Store{o: o, log: o.Log, lines: lines}
	u, err := url.Parse(o.URL)
	if err != nil || !u.Query().Has("pool_max_conns") {
		c.MaxConns = int32(o.Conns)
	}
	if err != nil || !u.Query().Has("pool_ping_timeout") {
		c.PingTimeout = pingWithin
	}
	c.BeforeClose = drop
	if s.pool, err = pgxpool.NewWithConfig(ctx, c); err != nil {
		return nil, plain(err)
	}
	c = c.Copy()
	c.MaxConns, c.MinConns, c.MinIdleConns = int32(o.Routers), 0, 1
	if s.routers, err = pgxpool.NewWithConfig(ctx, c); err != nil {
		s.pool.Close()
		return nil, plain(err)
	}
	if o.Wake != nil {
		s.waker = wake(s, c.ConnConfig.Copy())
	}
	return s, nil
}

// drop ends a connection that was given up at once. Else it waits for its server to end it,
// for 15 s if that is dead, and has its place in the pool until then.
func drop(c *pgx.Conn) {
	if c.IsClosed() {
		_ = c.PgConn().Conn().Close()
	}
}

// parse reads a URL. What is wrong is told without it: it may have a password in it.
func parse(url string) (*pgxpool.Config, error) {
	c, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, errors.New("postgres: the database URL cannot be read: see postgresql.org/docs/current/libpq-connect.html")
	}
	if c.ConnConfig.ConnectTimeout == 0 {
		c.ConnConfig.ConnectTimeout = connectWithin
	}
	c.ConnConfig.DialFunc = dialer(c.ConnConfig.ConnectTimeout).DialContext
	return c, nil
}

// prepare checks and migrates a database.
func prepare(ctx context.Context, c *pgx.ConnConfig, o Options) error {
	m, err := openMigrator(ctx, c, o.Log)
	if err != nil {
		return err
	}
	defer func() { _ = m.db.Close() }()
	if err := check(ctx, m.db); err != nil {
		return err
	}
	return m.prepare(ctx, o.Opening)
}

// check refuses a database whose clock is not ours.
func check(ctx context.Context, db *sql.DB) error {
	var there int64
	before := time.Now()
	err := db.QueryRowContext(ctx, `SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)`).Scan(&there)
	if err != nil {
		return plain(err)
	}
	after := time.Now()
	now := time.UnixMilli(there)
	if ahead, behind := now.Sub(after), before.Sub(now); max(ahead, behind) > maxSkew {
		return fmt.Errorf("postgres: the clocks of this machine and of the database are %v apart: expiry is judged by the clock, so keep both with NTP",
			max(ahead, behind).Round(100*time.Millisecond))
	}
	return nil
}

// enter counts a transaction that begins, leave one that has ended.
func (s *Store) enter() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	s.running.Add(1)
	return nil
}

func (s *Store) leave() { s.running.Done() }

// View runs fn on one snapshot: that of its first read.
func (s *Store) View(ctx context.Context, fn func(context.Context, store.Reader) error) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	return s.with(ctx, s.pool, func(ctx context.Context, conn *pgx.Conn) error {
		t := &transaction{store: s, conn: conn}
		t.later(`BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY`)
		defer t.rollback(ctx)
		return fn(ctx, sqlstore.NewReader(t))
	})
}

// Route reads the last commit on a connection that serves calls alone.
func (s *Store) Route(ctx context.Context, virtual, caller e164.Number) (route masking.Route, err error) {
	if err := s.enter(); err != nil {
		return route, err
	}
	defer s.leave()
	err = s.with(ctx, s.routers, func(ctx context.Context, conn *pgx.Conn) error {
		route, err = sqlstore.NewReader(&transaction{store: s, conn: conn}).Route(ctx, virtual, caller)
		return err
	})
	return route, err
}

// with lends a connection, for no longer than Options.Within unless ctx is of store.Long.
func (s *Store) with(ctx context.Context, pool *pgxpool.Pool, fn func(context.Context, *pgx.Conn) error) error {
	within, cancel := context.WithTimeout(ctx, s.o.Within)
	defer cancel()
	c, err := pool.Acquire(within)
	if err != nil {
		return plain(err)
	}
	defer c.Release() // closes a connection in a broken state
	if !store.IsLong(ctx) {
		ctx = within
	}
	return fn(ctx, c.Conn())
}

// insideUpdate marks the context of a running closure.
type insideUpdate struct{}

var errNested = errors.New("postgres: Update called inside Update")

// Update runs fn in a transaction of its own. One that met another, or whose
// connection broke before its commit was sent, is run again. Once fn has begun, ctx
// no longer ends it: only the commit's outcome is an answer. Whether a commit that was
// sent and not answered took place nobody can say; then Update gives an error.
func (s *Store) Update(ctx context.Context, fn func(context.Context, store.Tx) error) error {
	if ctx.Value(insideUpdate{}) != nil {
		return errNested
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("postgres: update: %w", err)
	}
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	bound := s.o.Within
	if store.IsUrgent(ctx) {
		bound = min(bound, urgentWithin)
	}
	within, cancel := context.WithTimeout(context.WithValue(context.WithoutCancel(ctx), insideUpdate{}, true), bound)
	defer cancel()
	ctx, stop := context.WithTimeout(ctx, bound)
	defer stop()
	for n := 1; ; n++ {
		err, again := s.once(ctx, within, fn)
		if !again || within.Err() != nil {
			return err
		}
		select { // those who met must not meet again
		case <-time.After(time.Duration(rand.Int64N(int64(min(n*n, 100)) * int64(time.Millisecond)))):
		case <-within.Done():
			return err
		}
	}
}

// once runs fn once; again tells that nothing has become of it and that another try
// may fare better. ctx bounds the wait for a connection, within what follows.
func (s *Store) once(ctx, within context.Context, fn func(context.Context, store.Tx) error) (err error, again bool) {
	pool := s.pool
	if store.IsUrgent(ctx) {
		pool = s.routers
	}
	c, err := pool.Acquire(ctx)
	if err != nil {
		return plain(err), false
	}
	defer c.Release()
	t := &transaction{store: s, conn: c.Conn(), writes: true}
	t.later(`BEGIN ISOLATION LEVEL ` + string(s.o.Isolation))
	err = sqlstore.Run(within, s.log, t, fn)
	if err == nil {
		err = t.failed // fn passed over it
	}
	if err != nil {
		again = t.failed != nil && within.Err() == nil && mayTryAgain(t.failed, t.conn.IsClosed())
		t.rollback(within)
		return err, again
	}
	if t.sent == 0 {
		return nil, false
	}
	err = t.run(within, `COMMIT`, nil, func(rows pgx.Rows) error {
		rows.Close()
		if rows.Err() == nil && rows.CommandTag().String() != "COMMIT" {
			return errors.New("postgres: the transaction was rolled back")
		}
		return nil
	})
	if err == nil && s.waker != nil {
		for topic := range t.wrote {
			s.waker.told.soon(topic)
		}
	}
	var said *serverError
	return err, errors.As(err, &said) && said.again() && !said.away() // whose commit may have been the last thing it did
}

// mayTryAgain tells that a failure before the commit was a meeting with another
// transaction, or that of a connection, which is closed then.
func mayTryAgain(err error, closed bool) bool {
	var (
		said *serverError
		ours clientError
	)
	switch {
	case errors.As(err, &said):
		return said.again()
	case errors.As(err, &ours):
		return false
	}
	return closed
}

// rollback ends a transaction that is not to commit. A connection on which that fails
// is closed when it is given back.
func (t *transaction) rollback(ctx context.Context) {
	if t.sent == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if _, err := t.conn.Exec(ctx, `ROLLBACK`); err != nil {
		_ = t.conn.Close(ctx)
	}
}

// Ready tells whether calls can be routed. If the server does not answer by ctx's
// deadline, connections are made anew.
func (s *Store) Ready(ctx context.Context) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	err := s.with(ctx, s.routers, func(ctx context.Context, conn *pgx.Conn) error {
		var one int
		err := conn.QueryRow(ctx, `SELECT COUNT(*) FROM (SELECT 1 FROM tenant LIMIT 1) t`).Scan(&one)
		if err != nil {
			return plain(err)
		}
		return nil
	})
	if errors.Is(err, context.DeadlineExceeded) {
		// Nobody has said anything: what is connected may lead to a host that is dead, and
		// each connection by itself would be found out by somebody who waits for it.
		s.pool.Reset()
		s.routers.Reset()
	}
	return err
}

// scrubbed are the tables that have numbers of people.
const scrubbed = `allocation, party, claim, call, event, recording, replay, pin_try, pace, blocked_caller`

// Scrub removes what was there before from the pages of the tables. The server
// overwrites it when it uses the room again; its write-ahead log and its backups are
// its operator's.
func (s *Store) Scrub(ctx context.Context) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	return s.with(store.Long(ctx), s.pool, func(ctx context.Context, conn *pgx.Conn) error {
		if _, err := conn.Exec(ctx, `VACUUM `+scrubbed); err != nil {
			return plain(err)
		}
		return nil
	})
}

// HangUp ends all that is under way, and leaves the server without a word: for who has to
// stop and has waited long enough. Of a commit that was sent nobody knows whether it took
// place. Close is still to be called, and waits for nobody then.
func (s *Store) HangUp() { s.lines.cutAll() }

// Close refuses new transactions, waits for the running ones and closes the
// connections.
func (s *Store) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	if s.waker != nil {
		s.waker.close()
	}
	s.running.Wait()
	s.pool.Close()
	s.routers.Close()
	return nil
}
