package sqlstore

import (
	"context"
	"slices"
	"time"

	"tandem/internal/masking"
)

// What a tenant keeps no longer, oldest first along an index. What has to stay
// though it is old is little: calls whose recordings are held or about to go, events
// of a day at most that endpoints are still owed.
const (
	oldCalls = ` FROM call k WHERE k.tenant = ? AND k.started_at < ? AND k.ended_at <> 0
		AND NOT EXISTS (SELECT 1 FROM recording g WHERE g.call = k.id AND (g.status IN ('recording', 'stored') OR g.key <> ''))
		ORDER BY k.started_at, k.id LIMIT ?`

	oldEvents = ` FROM event e WHERE e.tenant = ? AND e.reached < ? AND e.cursor > 0
		AND NOT EXISTS (SELECT 1 FROM webhook w WHERE w.tenant = e.tenant AND w.active = 1 AND (w.cursor < e.cursor
			OR EXISTS (SELECT 1 FROM delivery d WHERE d.webhook = w.id AND d.event = e.cursor AND d.status IN ('pending', 'queued'))))
		ORDER BY e.reached, e.cursor LIMIT ?`

	oldAllocations = ` FROM allocation a WHERE a.tenant = ? AND a.ended_at <> 0 AND a.ended_at < ?
		AND NOT EXISTS (SELECT 1 FROM call k WHERE k.tenant = a.tenant AND k.allocation = a.id)
		ORDER BY a.ended_at, a.id LIMIT ?`
)

// PassLocked ends a query of rows that are about to be changed or removed: they are
// locked, and those that another node has locked are left to it, so that several do it at
// once and none waits. An engine with several writers takes it out of its comment.
const PassLocked = ` /* FOR UPDATE SKIP LOCKED */`

// forget is a statement that removes the rows that a query with a limit gives, by their
// key. The query is one of its own (WITH), since it must be run once.
func forget(table, key, old string) string {
	return `WITH old AS (` + old + PassLocked + `) DELETE FROM ` + table + ` WHERE (` + key + `) IN (SELECT ` + key + ` FROM old)`
}

func anys[T any](list []T) []any {
	out := make([]any, len(list))
	for i, v := range list {
		out[i] = v
	}
	return out
}

// AnyOutlived looks for the first of each.
func (r *Reader) AnyOutlived(ctx context.Context, tenant masking.TenantID, before time.Time) (found bool, err error) {
	if err := r.c.Ordered(ctx); err != nil {
		return false, err
	}
	for _, text := range []string{oldCalls, oldEvents, oldAllocations} {
		if found, err = r.found(ctx, `SELECT 1`+text, tenant, millis(before), 1); err != nil || found {
			return found, err
		}
	}
	return false, nil
}

// EventsGone reads how far events have been removed.
func (r *Reader) EventsGone(ctx context.Context, tenant masking.TenantID) (cursor int64, err error) {
	err = r.row(ctx, `SELECT events_gone FROM tenant WHERE id = ?`, []any{tenant}, &cursor)
	return cursor, absent(err)
}

// scanOne scans a row of one column.
func scanOne[T any](_ *Reader, row Scanner) (one T, err error) { return one, row.Scan(&one) }

// ForgetCalls removes calls with what is known of their recordings, and a state that may
// have been left of them.
func (t *Tx) ForgetCalls(ctx context.Context, tenant masking.TenantID, before time.Time, limit int) (int, error) {
	gone, err := list(ctx, &t.Reader, forget(`call`, `id`, `SELECT k.id`+oldCalls)+` RETURNING id`, []any{tenant, millis(before), limit}, scanOne[string])
	if err != nil || len(gone) == 0 {
		return 0, err
	}
	for _, table := range []string{`recording`, `call_state`} {
		if _, err := t.exec(ctx, `DELETE FROM `+table+` WHERE call IN (`+marks(len(gone))+`)`, anys(gone)...); err != nil {
			return 0, err
		}
	}
	return len(gone), nil
}

// ForgetEvents removes events and their deliveries, and writes how far.
func (t *Tx) ForgetEvents(ctx context.Context, tenant masking.TenantID, before time.Time, limit int) (int, error) {
	if err := t.c.Ordered(ctx); err != nil {
		return 0, err
	}
	gone, err := list(ctx, &t.Reader, forget(`event`, `cursor`, `SELECT e.cursor`+oldEvents)+` RETURNING cursor`, []any{tenant, millis(before), limit}, scanOne[int64])
	if err != nil || len(gone) == 0 {
		return 0, err
	}
	if err := t.forgetDeliveries(ctx, tenant, gone); err != nil {
		return 0, err
	}
	last := slices.Max(gone)
	_, err = t.exec(ctx, `UPDATE tenant SET events_gone = ? WHERE id = ? AND events_gone < ?`, last, tenant, last)
	return len(gone), err
}

// chain is what an endpoint gets one after the other.
type chain struct {
	webhook masking.WebhookID
	name    string
}

// forgetDeliveries removes the deliveries of a tenant's events. One that waited for its
// endpoint to be switched on again lets the next of its chain go.
func (t *Tx) forgetDeliveries(ctx context.Context, tenant masking.TenantID, events []int64) error {
	var waited []chain
	_, err := list(ctx, &t.Reader, `DELETE FROM delivery WHERE webhook IN (SELECT id FROM webhook WHERE tenant = ?) AND event IN (`+marks(len(events))+`)
		RETURNING webhook, chain, status`, append([]any{tenant}, anys(events)...), func(_ *Reader, row Scanner) (c chain, err error) {
		var status masking.DeliveryStatus
		if err = row.Scan(&c.webhook, &c.name, &status); err == nil && status == masking.DeliveryPending {
			waited = append(waited, c)
		}
		return c, err
	})
	for _, c := range waited {
		if err == nil {
			err = t.lead(ctx, c.webhook, c.name)
		}
	}
	return err
}

// ForgetAllocations removes allocations and what refers to them.
func (t *Tx) ForgetAllocations(ctx context.Context, tenant masking.TenantID, before time.Time, limit int) (int, error) {
	old, err := list(ctx, &t.Reader, `SELECT a.id`+oldAllocations+PassLocked, []any{tenant, millis(before), limit}, scanOne[masking.AllocationID])
	if err != nil {
		return 0, err
	}
	for _, id := range old {
		a, err := t.Allocation(ctx, tenant, id)
		if err != nil {
			return 0, err
		}
		if err := t.Release(ctx, id); err != nil {
			return 0, err
		}
		for _, n := range a.Parties() {
			if _, err := t.exec(ctx, `DELETE FROM party WHERE number = ? AND tenant = ? AND allocation = ?`, n.E164(), tenant, id); err != nil {
				return 0, err
			}
		}
		if _, err := t.exec(ctx, `DELETE FROM pin_try WHERE virtual_number = ? AND allocation = ?`, a.VirtualNumber.E164(), id); err != nil {
			return 0, err
		}
		if _, err := t.exec(ctx, `DELETE FROM allocation WHERE id = ?`, id); err != nil {
			return 0, err
		}
	}
	return len(old), nil
}
