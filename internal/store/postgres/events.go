package postgres

import (
	"context"
	"strings"

	"github.com/jackc/pgx/v5"

	"tandem/internal/store"
)

// Events are written without a cursor, since transactions do not commit in the order in
// which they began: whoever gave cursors while he writes would have to hold all others
// up until he has committed. Who reads events first gives cursors to those that were
// committed since, alone (event_head is locked): so no event appears below a cursor
// that somebody has read.
//
// An event that is about what an earlier one was about has a later position, by the
// database's clock: who wrote it has waited for the row of what both are about.

// batch bounds how many events one transaction gives cursors to.
const batch = 1000

// waiting tells whether there are events without a cursor.
const waiting = `SELECT COUNT(*) FROM (SELECT 1 FROM event WHERE cursor IS NULL LIMIT 1) e`

const lockHead = `SELECT cursor FROM event_head WHERE id = 1 FOR UPDATE`

// Events that wait for a cursor in their order, and what they are given: their places
// behind the head, and the latest time of a tenant's events up to each (see the
// migration).
const (
	next  = `SELECT id, tenant, at, ROW_NUMBER() OVER (ORDER BY position, id) AS place FROM event WHERE cursor IS NULL`
	given = `SELECT n.id, n.place, GREATEST(MAX(n.at) OVER (PARTITION BY n.tenant ORDER BY n.place),
		COALESCE((SELECT MAX(p.reached) FROM event p WHERE p.tenant = n.tenant AND p.cursor IS NOT NULL), 0)) AS reached FROM next n`
	giveCursors = `WITH next AS (` + next + ` ORDER BY position, id LIMIT ?)
	UPDATE event SET cursor = CAST(? AS BIGINT) + given.place, reached = given.reached FROM (` + given + `) given
	WHERE event.id = given.id`
)

// order gives cursors to events that have none and gives how many it looked at.
func order(ctx context.Context, t *transaction) (int64, error) {
	var head int64
	if err := t.Row(ctx, lockHead, nil, &head); err != nil {
		return 0, err
	}
	n, err := t.Exec(ctx, giveCursors, []any{batch, head})
	if err != nil || n == 0 {
		return n, err
	}
	_, err = t.Exec(ctx, `UPDATE event_head SET cursor = ? WHERE id = 1`, []any{head + n})
	return n, err
}

// orderAll gives cursors to all that has been committed, in transactions of its own.
func (s *Store) orderAll(ctx context.Context, conn *pgx.Conn) error {
	for {
		look := &transaction{store: s, conn: conn}
		var some int
		if err := look.Row(ctx, waiting, nil, &some); err != nil || some == 0 {
			return err
		}
		give := &transaction{store: s, conn: conn}
		give.later(`BEGIN ISOLATION LEVEL READ COMMITTED`)
		n, err := order(ctx, give)
		if err == nil {
			_, err = give.Exec(ctx, `COMMIT`, nil)
		}
		if err != nil {
			give.rollback(ctx)
			return err
		}
		if n < batch {
			return nil
		}
	}
}

// Ordered sees to it that what was committed has cursors: before the snapshot of a View
// is taken, or within an Update, which then is the last to give any until it commits. What
// others commit between that and the snapshot has none in it.
func (t *transaction) Ordered(ctx context.Context) error {
	if t.writes {
		_, err := order(ctx, t)
		return err
	}
	if t.sent > 0 {
		return nil // the snapshot is taken: what came since is not in it
	}
	return t.store.orderAll(ctx, t.conn)
}

// Stretches of events are those with a cursor, and behind them those without one, each
// in the place that it will be given if nobody comes before it: what a snapshot has, a
// copy of it has too. They are not one query, since all that is written while a snapshot
// is read must be passed over to find those that wait.
func (t *transaction) Stretches(table store.Table) []string {
	if table.Name != "event" {
		return []string{table.Name}
	}
	waiting := make([]string, len(table.Columns))
	for i, column := range table.Columns {
		switch column {
		case "cursor":
			waiting[i] = `(SELECT h.cursor FROM event_head h WHERE h.id = 1) + given.place AS cursor`
		case "reached":
			waiting[i] = `given.reached`
		default:
			waiting[i] = `e.` + column
		}
	}
	return []string{
		`(SELECT * FROM event WHERE cursor IS NOT NULL) event`,
		`(WITH next AS (` + next + `) SELECT ` + strings.Join(waiting, ", ") + ` FROM (` + given + `) given JOIN event e ON e.id = given.id) event`,
	}
}

// EventHead reads the last cursor that was given, or will be to what waits.
func (t *transaction) EventHead(ctx context.Context) (cursor int64, err error) {
	return cursor, t.Row(ctx, `SELECT h.cursor + (SELECT COUNT(*) FROM event WHERE cursor IS NULL) FROM event_head h WHERE h.id = 1`, nil, &cursor)
}

// SetEventHead writes it.
func (t *transaction) SetEventHead(ctx context.Context, cursor int64) error {
	_, err := t.Exec(ctx, `UPDATE event_head SET cursor = ? WHERE id = 1`, []any{cursor})
	return err
}
