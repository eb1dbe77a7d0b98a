package main

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"sync"

	"modernc.org/sqlite"

	"tandem/internal/masking"
)

// bareBatch bounds how many creates share one commit: the store's bound.
const bareBatch = 256

// bareStatements are the statements of one create, as the store sends them
// (without its savepoints).
func bareStatements() []string {
	return []string{
		`SELECT 1 FROM virtual_number WHERE number IN (?, ?) LIMIT 1`,
		`SELECT n.number, n.tenant, n.sharing, n.region, n.type, n.load, n.rested_at, n.created_at
			FROM virtual_number n WHERE n.number = ? AND n.tenant = ?`,
		`INSERT INTO allocation (id, tenant, virtual_number, from_numbers, to_numbers, usage, record, custom_field,
			created_at, updated_at, expires_at, ended_at, end_reason, calls, connected, talk_seconds)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		`INSERT INTO party (number, tenant, allocation, virtual_number, side, position, silent, until)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?), (?, ?, ?, ?, ?, ?, ?, ?)`,
		`SELECT 1 FROM party WHERE number IN (?, ?) AND virtual_number = ? AND until > ? AND silent = 1 AND allocation <> ? LIMIT 1`,
		`INSERT INTO claim (virtual_number, caller, allocation, expires_at) VALUES (?, ?, ?, ?), (?, ?, ?, ?)
			ON CONFLICT (virtual_number, caller) DO UPDATE SET allocation = excluded.allocation, expires_at = excluded.expires_at
			WHERE claim.expires_at <= ? OR claim.allocation = excluded.allocation RETURNING caller`,
		`UPDATE virtual_number SET load = CASE WHEN load + ? > 0 THEN load + ? ELSE 0 END, rested_at = ? WHERE number = ?`,
		`INSERT INTO event (id, type, tenant, allocation, call, at, reached, data)
			VALUES (?, ?, ?, ?, ?, ?, MAX(?, COALESCE((SELECT MAX(reached) FROM event WHERE tenant = ?), 0)), ?) ON CONFLICT (id) DO NOTHING`,
	}
}

// bareArguments are the arguments of bareStatements for a create.
func bareArguments(a masking.Allocation) [][]any {
	vn, from, to := a.VirtualNumber.E164(), a.From[0].E164(), a.To[0].E164()
	now, ends := start().UnixMilli(), a.ExpiresAt.UnixMilli()
	e := createdEvent(a)
	return [][]any{
		{from, to},
		{vn, string(a.Tenant)},
		{string(a.ID), string(a.Tenant), vn, from, to, string(a.Usage), a.Record, a.CustomField, now, now, ends, 0, "", 0, 0, 0},
		{from, string(a.Tenant), string(a.ID), vn, "from", 0, false, ends, to, string(a.Tenant), string(a.ID), vn, "to", 0, false, ends},
		{from, to, vn, now, string(a.ID)},
		{vn, from, string(a.ID), ends, vn, to, string(a.ID), ends, now},
		{1, 1, now, vn},
		{string(e.ID), string(e.Type), string(e.Tenant), string(e.Allocation), "", now, now, string(e.Tenant), string(e.Data)},
	}
}

// bareCreate is a create on its way to the loop.
type bareCreate struct {
	args [][]any
	done chan error
}

// bareLoop is the least a group commit can be: a connection, prepared
// statements, a queue.
type bareLoop struct {
	db    *sql.DB
	conn  *sql.Conn
	stmts []*sql.Stmt
	begin *sql.Stmt
	end   *sql.Stmt
	queue chan bareCreate
	wg    sync.WaitGroup
}

// viaBareLoop has the store make the database, then works on it without.
func viaBareLoop(ctx context.Context, o settings, name string) (func(masking.Allocation) error, func() error, error) {
	s, path, err := o.open(ctx, name, pool)
	if err != nil {
		return nil, nil, err
	}
	if err := s.Close(); err != nil {
		return nil, nil, err
	}
	l, err := newBareLoop(ctx, path, o.synchronous)
	if err != nil {
		return nil, nil, err
	}
	l.wg.Go(l.run)
	create := func(a masking.Allocation) error {
		c := bareCreate{args: bareArguments(a), done: make(chan error, 1)}
		l.queue <- c
		return <-c.done
	}
	return create, l.close, nil
}

func newBareLoop(ctx context.Context, path, synchronous string) (*bareLoop, error) {
	q := url.Values{"_pragma": {"busy_timeout(5000)", "foreign_keys(1)", "temp_store(memory)", "cache_size(-16384)",
		"journal_mode(wal)", "synchronous(" + synchronous + ")", "wal_autocheckpoint(4000)", "journal_size_limit(67108864)"}}
	connector, err := sqlite.NewConnector("file:" + (&url.URL{Path: path}).EscapedPath() + "?" + q.Encode())
	if err != nil {
		return nil, err
	}
	l := &bareLoop{db: sql.OpenDB(connector), queue: make(chan bareCreate, 1024)}
	if l.conn, err = l.db.Conn(ctx); err != nil {
		return nil, err
	}
	for _, text := range append(bareStatements(), "BEGIN IMMEDIATE", "COMMIT") {
		st, err := l.conn.PrepareContext(ctx, text)
		if err != nil {
			return nil, fmt.Errorf("prepare: %w", err)
		}
		l.stmts = append(l.stmts, st)
	}
	n := len(l.stmts)
	l.begin, l.end, l.stmts = l.stmts[n-2], l.stmts[n-1], l.stmts[:n-2]
	return l, nil
}

func (l *bareLoop) close() error {
	close(l.queue)
	l.wg.Wait()
	_ = l.conn.Close()
	return l.db.Close()
}

func (l *bareLoop) run() {
	for first := range l.queue {
		batch := append(make([]bareCreate, 0, bareBatch), first)
		_, err := l.begin.Exec()
		for i := 0; err == nil && i < len(batch); i++ {
			err = l.one(batch[i].args)
			if len(batch) < bareBatch {
				select {
				case c, ok := <-l.queue:
					if ok {
						batch = append(batch, c)
					}
				default:
				}
			}
		}
		if err == nil {
			_, err = l.end.Exec()
		}
		for _, c := range batch {
			c.done <- err
		}
	}
}

// one runs the statements of a create; those at 0, 1, 4 and 5 answer with rows.
func (l *bareLoop) one(args [][]any) error {
	for i, st := range l.stmts {
		if i > 1 && i != 4 && i != 5 {
			if _, err := st.Exec(args[i]...); err != nil {
				return err
			}
			continue
		}
		rows, err := st.Query(args[i]...)
		if err != nil {
			return err
		}
		for rows.Next() {
		}
		if err := rows.Close(); err != nil {
			return err
		}
		if err := rows.Err(); err != nil {
			return err
		}
	}
	return nil
}
