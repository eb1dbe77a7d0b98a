package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/store"
)

// prefixesCol scans the beginnings of numbers with one space between them.
type prefixesCol struct{ to *masking.Prefixes }

func (c prefixesCol) Scan(src any) error {
	s, err := textOf(src, "list of prefixes")
	if err != nil {
		return err
	}
	*c.to = nil
	if s != "" {
		*c.to = strings.Split(s, " ")
	}
	return nil
}

// guardArgs are a tenant's guards, in the order of the statements that write them.
func guardArgs(g masking.Guards) []any {
	v := g.Velocity
	return []any{strings.Join(g.Permitted, " "), strings.Join(g.Allowed, " "), g.DayCalls, g.DayTalk.Milliseconds(),
		v.Window.Milliseconds(), v.Caller, v.Allocation, v.Tenant, v.Block}
}

// guardDest are the destinations of the columns of guardArgs.
func guardDest(g *masking.Guards) []any {
	v := &g.Velocity
	return []any{prefixesCol{&g.Permitted}, prefixesCol{&g.Allowed}, &g.DayCalls, durationCol{&g.DayTalk},
		durationCol{&v.Window}, &v.Caller, &v.Allocation, &v.Tenant, &v.Block}
}

// secondsCol scans whole seconds.
type secondsCol struct{ to *time.Duration }

func (c secondsCol) Scan(src any) error {
	n, ok := src.(int64)
	if !ok || n < 0 || n > int64(1<<63-1)/int64(time.Second) {
		return corrupt("duration")
	}
	*c.to = time.Duration(n) * time.Second
	return nil
}

// dayCol scans a date.
type dayCol struct{ to *masking.Day }

func (c dayCol) Scan(src any) error {
	n, ok := src.(int64)
	if !ok {
		return corrupt("day")
	}
	*c.to = masking.Day(n)
	return nil
}

// BlockedCallers are a page of a tenant's list, in the order of the numbers.
func (r *Reader) BlockedCallers(ctx context.Context, tenant masking.TenantID, after string, limit int) ([]store.BlockedCaller, error) {
	return list(ctx, r, `SELECT b.tenant, b.number, b.note, b.created_at FROM blocked_caller b
		WHERE b.tenant = ? AND b.number > ? ORDER BY b.number LIMIT ?`, []any{tenant, after, most(limit)},
		func(_ *Reader, row Scanner) (b store.BlockedCaller, err error) {
			return b, row.Scan(&b.Tenant, numberCol{&b.Number}, &b.Note, timeCol{&b.CreatedAt})
		})
}

// BlockCaller puts a caller on the list, or changes his note.
func (t *Tx) BlockCaller(ctx context.Context, b store.BlockedCaller) error {
	return t.insert(ctx, "a blocked caller", `INSERT INTO blocked_caller (tenant, number, note, created_at) VALUES (?, ?, ?, ?)
		ON CONFLICT (tenant, number) DO UPDATE SET note = excluded.note`, b.Tenant, b.Number.E164(), b.Note, millis(b.CreatedAt))
}

// UnblockCaller takes a caller off the list.
func (t *Tx) UnblockCaller(ctx context.Context, tenant masking.TenantID, n e164.Number) error {
	return exactlyOne(t.exec(ctx, `DELETE FROM blocked_caller WHERE tenant = ? AND number = ?`, tenant, n.E164()))
}

// Pace is how many calls there are in the window that lasts at now.
func (r *Reader) Pace(ctx context.Context, p masking.Pace, window time.Duration, now time.Time) (calls int, err error) {
	at := millis(now)
	err = r.row(ctx, `SELECT calls FROM pace WHERE tenant = ? AND scope = ? AND subject = ? AND since > ? AND since <= ?`,
		[]any{p.Tenant, p.Scope, p.Subject, at - window.Milliseconds(), at}, &calls)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return calls, err
}

// CountPace counts a call in its window, or begins the next one. A window that
// begins later than now is that of a clock that was set back.
func (t *Tx) CountPace(ctx context.Context, p masking.Pace, window time.Duration, now time.Time) (calls int, err error) {
	at := millis(now)
	err = t.row(ctx, `INSERT INTO pace (tenant, scope, subject, since, calls) VALUES (?, ?, ?, ?, 1)
		ON CONFLICT (tenant, scope, subject) DO UPDATE SET
		calls = CASE WHEN pace.since > ? AND pace.since <= ? THEN pace.calls + 1 ELSE 1 END,
		since = CASE WHEN pace.since > ? AND pace.since <= ? THEN pace.since ELSE excluded.since END
		RETURNING calls`,
		[]any{p.Tenant, p.Scope, p.Subject, at, at - window.Milliseconds(), at, at - window.Milliseconds(), at}, &calls)
	return calls, inserted("a pace", err)
}

// ForgetPaces removes counts of old windows.
func (t *Tx) ForgetPaces(ctx context.Context, before time.Time, limit int) (int, error) {
	n, err := t.exec(ctx, forget(`pace`, `tenant, scope, subject`,
		`SELECT tenant, scope, subject FROM pace WHERE since < ? ORDER BY since LIMIT ?`), millis(before), most(limit))
	return int(n), err
}
