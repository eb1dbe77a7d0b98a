package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"
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

// giveCursors numbers the next events in their order. reached is the latest time of a
// tenant's events up to each (see the migration).
const giveCursors = `WITH next AS (
		SELECT id, tenant, at, ROW_NUMBER() OVER (ORDER BY position, id) AS place FROM event WHERE cursor IS NULL ORDER BY position, id LIMIT ?)
	UPDATE event SET cursor = CAST(? AS BIGINT) + given.place, reached = given.reached FROM (
		SELECT n.id, n.place, GREATEST(MAX(n.at) OVER (PARTITION BY n.tenant ORDER BY n.place),
			COALESCE((SELECT MAX(e.reached) FROM event e WHERE e.tenant = n.tenant AND e.cursor IS NOT NULL), 0)) AS reached FROM next n) given
	WHERE event.id = given.id`

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
// is taken, or within an Update, which then is the last to give any until it commits.
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
