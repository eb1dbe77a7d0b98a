package sqlstore

import (
	"context"
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

// ForgetCalls removes calls with what is known of their recordings.
func (t *Tx) ForgetCalls(ctx context.Context, tenant masking.TenantID, before time.Time, limit int) (int, error) {
	old, err := list(ctx, &t.Reader, `SELECT k.id`+oldCalls, []any{tenant, millis(before), limit}, scanOne[masking.CallID])
	if err != nil {
		return 0, err
	}
	for _, id := range old {
		for _, text := range []string{`DELETE FROM recording WHERE call = ?`, `DELETE FROM call WHERE id = ?`} {
			if _, err := t.exec(ctx, text, id); err != nil {
				return 0, err
			}
		}
	}
	return len(old), nil
}

// ForgetEvents removes events and their deliveries, and writes how far.
func (t *Tx) ForgetEvents(ctx context.Context, tenant masking.TenantID, before time.Time, limit int) (int, error) {
	if err := t.c.Ordered(ctx); err != nil {
		return 0, err
	}
	old, err := list(ctx, &t.Reader, `SELECT e.cursor`+oldEvents, []any{tenant, millis(before), limit}, scanOne[int64])
	if err != nil || len(old) == 0 {
		return 0, err
	}
	hooks, err := t.Webhooks(ctx, tenant)
	if err != nil {
		return 0, err
	}
	gone := int64(0)
	for _, cursor := range old {
		for _, w := range hooks {
			if err := t.forgetDelivery(ctx, w.ID, cursor); err != nil {
				return 0, err
			}
		}
		if _, err := t.exec(ctx, `DELETE FROM event WHERE cursor = ?`, cursor); err != nil {
			return 0, err
		}
		gone = max(gone, cursor)
	}
	_, err = t.exec(ctx, `UPDATE tenant SET events_gone = ? WHERE id = ? AND events_gone < ?`, gone, tenant, gone)
	return len(old), err
}

// forgetDelivery removes a delivery. One that waited for its endpoint to be switched
// on again lets the next of its chain go.
func (t *Tx) forgetDelivery(ctx context.Context, id masking.WebhookID, cursor int64) error {
	var (
		chain  string
		status masking.DeliveryStatus
	)
	err := absent(t.row(ctx, `DELETE FROM delivery WHERE webhook = ? AND event = ? RETURNING chain, status`, []any{id, cursor}, &chain, &status))
	switch {
	case masking.KindOf(err) == masking.NotFound:
		return nil
	case err == nil && status == masking.DeliveryPending:
		return t.lead(ctx, id, chain)
	}
	return err
}

// ForgetAllocations removes allocations and what refers to them.
func (t *Tx) ForgetAllocations(ctx context.Context, tenant masking.TenantID, before time.Time, limit int) (int, error) {
	old, err := list(ctx, &t.Reader, `SELECT a.id`+oldAllocations, []any{tenant, millis(before), limit}, scanOne[masking.AllocationID])
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
