package sqlstore

import (
	"context"
	"time"

	"tandem/internal/store"
)

// takeRate is the generic cell rate algorithm in one statement: what has not been paid
// for yet is the time until full_at, and of n as many are taken as there is room for.
// Times are nanoseconds: at a high rate there are many in a millisecond.
const takeRate = `INSERT INTO rate (name, full_at, taken) VALUES (?, ?, ?)
	ON CONFLICT (name) DO UPDATE SET
	taken = ` + takenNow + `,
	full_at = CAST(? AS BIGINT) + ` + debt + ` + CAST(? AS BIGINT) * ` + takenNow + `
	RETURNING taken, full_at`

const (
	debt     = `(CASE WHEN rate.full_at > CAST(? AS BIGINT) THEN rate.full_at - CAST(? AS BIGINT) ELSE 0 END)`
	room     = `((CAST(? AS BIGINT) - ` + debt + `) / CAST(? AS BIGINT))`
	takenNow = `(CASE WHEN ` + room + ` >= CAST(? AS BIGINT) THEN CAST(? AS BIGINT) WHEN ` + room + ` > 0 THEN ` + room + ` ELSE 0 END)`
)

// TakeRate counts against a rate.
func (t *Tx) TakeRate(ctx context.Context, key string, r store.Rate, n int, now time.Time) (taken int, full time.Time, err error) {
	at, each := now.UnixNano(), r.Interval.Nanoseconds()
	room := []any{each * int64(r.Burst), at, at, each}
	var takenNow []any
	takenNow = append(append(takenNow, room...), n, n)
	takenNow = append(append(takenNow, room...), room...)
	args := append([]any{key, at + each*int64(n), n}, takenNow...)
	args = append(append(args, at, at, at, each), takenNow...)
	var nanos int64
	err = t.row(ctx, takeRate, args, &taken, &nanos)
	return taken, time.Unix(0, nanos).UTC(), inserted("a rate", err)
}

// ForgetRates removes keys that are full.
func (t *Tx) ForgetRates(ctx context.Context, before time.Time, limit int) (int, error) {
	n, err := t.exec(ctx, forget(`rate`, `name`, `SELECT name FROM rate WHERE full_at < ? ORDER BY full_at LIMIT ?`), before.UnixNano(), most(limit))
	return int(n), err
}
