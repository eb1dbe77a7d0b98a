// Package transfer moves whole databases: it copies one into another of whichever
// engine, which is what a backup and its restoration are as well. It reads and writes
// tables as they are, so it knows nothing of what is in them.
//
// A database that is not complete, or a backup, says so itself (store.FactState), and
// no server starts on it. The composition root calls it.
package transfer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"tandem/internal/masking"
	"tandem/internal/store"
)

// kind is why a database is none to serve from.
type kind string

const (
	copying kind = "copying" // it is being filled
	backup  kind = "backup"
)

// state is what store.FactState holds; the zero state is a database to serve from.
type state struct {
	Kind kind `json:"kind"`

	// Of one that is being filled: what tells its source, and its source's content, from
	// others, and whether all that was there before is gone.
	Source  string `json:"source,omitempty"`
	Emptied bool   `json:"emptied,omitempty"`

	// Of a backup: of which moment it is and what was there.
	TakenAt time.Time `json:"taken_at,omitzero"`
	Content *content  `json:"content,omitempty"`
}

// content is what a database has, in figures.
type content struct {
	Rows   map[string]int64 `json:"rows"`   // by table
	Events int64            `json:"events"` // the last cursor
	Audit  int64            `json:"audit"`  // the last entry
	Hash   string           `json:"hash"`   // of that entry
}

func readState(ctx context.Context, tx store.Reader) (s state, err error) {
	text, err := tx.Fact(ctx, store.FactState)
	if err != nil || text == "" {
		return s, err
	}
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return s, errors.New("what the database says of its own state cannot be read")
	}
	return s, nil
}

func (s state) write(ctx context.Context, tx store.Tx) error {
	if s.Kind == "" {
		return tx.SetFact(ctx, store.FactState, "")
	}
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return tx.SetFact(ctx, store.FactState, string(text))
}

// Serves refuses a database that no server may run on.
func Serves(ctx context.Context, s store.Store) error {
	return s.View(ctx, func(ctx context.Context, tx store.Reader) error {
		is, err := readState(ctx, tx)
		switch {
		case err != nil:
			return err
		case is.Kind == copying:
			return errors.New("it is not complete: the copy or restoration into it was not finished; run it again")
		case is.Kind == backup:
			return errors.New("it is a backup: restore it (tandem restore)")
		}
		return nil
	})
}

// contentOf counts everything. It is the first to read, so that few events wait for a place.
func contentOf(ctx context.Context, tx store.Reader) (tables []store.Table, c content, err error) {
	if tables, err = tx.Tables(ctx); err != nil {
		return nil, c, err
	}
	c.Rows = make(map[string]int64, len(tables))
	for _, t := range tables {
		if c.Rows[t.Name], err = tx.CountRows(ctx, t); err != nil {
			return nil, c, err
		}
	}
	if c.Events, err = tx.EventHead(ctx); err != nil {
		return nil, c, err
	}
	head, err := tx.AuditHead(ctx)
	c.Audit, c.Hash = head.Sequence, hex.EncodeToString(head.Hash[:])
	return tables, c, err
}

// same tells the first difference.
func (c content) same(tables []store.Table, other content) error {
	for _, t := range tables {
		if n, m := c.Rows[t.Name], other.Rows[t.Name]; n != m {
			return fmt.Errorf("table %s has %d rows, not %d", t.Name, m, n)
		}
	}
	switch {
	case c.Events != other.Events:
		return fmt.Errorf("the last event is %d, not %d", other.Events, c.Events)
	case c.Audit != other.Audit || c.Hash != other.Hash:
		return errors.New("the last entry of the audit log is another one")
	}
	return nil
}

// fingerprint tells a database that has not been used since from every other. Whoever
// uses one leaves signs of life in it, so these change with everything else.
func fingerprint(ctx context.Context, tx store.Reader, c content) (string, error) {
	nodes, err := tx.Nodes(ctx)
	if err != nil {
		return "", err
	}
	is, err := tx.Fact(ctx, store.FactState)
	if err != nil {
		return "", err
	}
	version, err := tx.SchemaVersion(ctx)
	if err != nil {
		return "", err
	}
	text, err := json.Marshal([]any{version, is, c, nodes})
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]), nil
}

// watchFor is how long signs of life are watched for: who lives gives one each heartbeat.
const watchFor = masking.Heartbeat + masking.Heartbeat/2

// Idle refuses a database that a server is using: one whose lease runs, and, since clocks
// of machines may be further apart than a lease, one that gives a sign of life while it
// is watched, for a second and a half. It does not see one that the database has not
// heard of for so long; such a one finds out himself at his next sign of life (see
// package upkeep).
func Idle(ctx context.Context, s store.Store, now time.Time) error {
	_, err := idle(ctx, s, now)
	return err
}

// idle gives the nodes as they are, too.
func idle(ctx context.Context, s store.Store, now time.Time) (nodes []masking.Node, err error) {
	var is state
	err = s.View(ctx, func(ctx context.Context, tx store.Reader) (err error) {
		if is, err = readState(ctx, tx); err != nil {
			return err
		}
		nodes, err = tx.Nodes(ctx)
		return err
	})
	if err != nil || is.Kind != "" { // nobody serves from what is none to serve from
		return nodes, err
	}
	gone := true
	for _, n := range nodes {
		if n.Alive(now) {
			return nil, fmt.Errorf("it is in use: %s gave a sign of life %v ago; stop it first (one that was killed counts for %v)",
				n.ID, max(0, now.Sub(n.SeenAt).Round(time.Second)), masking.Lease)
		}
		gone = gone && !n.GoneAt.IsZero()
	}
	if gone {
		return nodes, nil
	}
	select {
	case <-time.After(watchFor):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return nodes, s.View(ctx, func(ctx context.Context, tx store.Reader) error { return still(ctx, tx, nodes) })
}

// still refuses a database with a sign of life since nodes were read.
func still(ctx context.Context, tx store.Reader, nodes []masking.Node) error {
	now, err := tx.Nodes(ctx)
	if err != nil {
		return err
	}
	for _, n := range now {
		if !slices.ContainsFunc(nodes, func(m masking.Node) bool { return m.ID == n.ID && m.SameLife(n) }) {
			return fmt.Errorf("it is in use: %s gave a sign of life just now; stop it first", n.ID)
		}
	}
	return nil
}

// auditPage is how many entries of the audit log are read at once.
const auditPage = 1000

// soundAudit goes along the whole audit log.
func soundAudit(ctx context.Context, tx store.Reader) error {
	head, err := tx.AuditHead(ctx)
	if err != nil {
		return err
	}
	var check masking.AuditCheck
	for {
		page, err := tx.Audit(ctx, store.AuditFilter{Oldest: true, After: check.Last().Sequence, Limit: auditPage})
		if err != nil {
			return err
		}
		for _, e := range page {
			if err := check.Next(e); err != nil {
				return fmt.Errorf("the audit log: %w", err)
			}
		}
		if len(page) < auditPage {
			break
		}
	}
	if err := check.End(head); err != nil {
		return fmt.Errorf("the audit log: %w", err)
	}
	return nil
}

// ErrNoBackup says that a database is none.
var ErrNoBackup = errors.New("it is no finished backup")

// Verify refuses what is not a whole backup: what is none (ErrNoBackup), damage of its
// file, rows that are not as many as were written, an audit log whose chain is broken. It
// gives of which moment it is.
func Verify(ctx context.Context, s store.Store) (taken time.Time, err error) {
	err = s.View(store.Long(ctx), func(ctx context.Context, tx store.Reader) error {
		is, err := readState(ctx, tx)
		if err != nil {
			return err
		}
		if is.Kind != backup || is.Content == nil {
			return ErrNoBackup
		}
		taken = is.TakenAt
		if err := tx.Sound(ctx); err != nil {
			return err
		}
		tables, found, err := contentOf(ctx, tx)
		if err != nil {
			return err
		}
		if err := is.Content.same(tables, found); err != nil {
			return fmt.Errorf("it is not what was backed up: %w", err)
		}
		return soundAudit(ctx, tx)
	})
	return taken, err
}
