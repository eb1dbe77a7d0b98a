package sqlstore

import (
	"context"
	"strings"
	"time"

	"tandem/internal/masking"
	"tandem/internal/store"
)

const webhookColumns = `w.id, w.tenant, w.url, w.event_types, w.active, w.numbers, w.gone_at, w.secret, w.old_secret, w.old_until,
	w.cursor, w.created_at, w.updated_at`

func scanWebhook(_ *Reader, row Scanner) (w masking.Webhook, err error) {
	return w, row.Scan(webhookDest(&w)...)
}

// webhookDest are the destinations of webhookColumns.
func webhookDest(w *masking.Webhook) []any {
	return []any{&w.ID, &w.Tenant, &w.URL, fieldsCol[masking.EventType]{&w.Types, "event type", eventType}, &w.Active, &w.Numbers,
		timeCol{&w.GoneAt}, blobCol{&w.Secret}, blobCol{&w.OldSecret}, timeCol{&w.OldUntil}, &w.Cursor, timeCol{&w.CreatedAt}, timeCol{&w.UpdatedAt}}
}

func eventType(s string) (masking.EventType, error) { return masking.EventType(s), nil }

// webhookValues are what is written in the columns that an update may change.
func webhookValues(w masking.Webhook) []any {
	types := make([]string, len(w.Types))
	for i, t := range w.Types {
		types[i] = string(t)
	}
	return []any{w.URL, strings.Join(types, " "), w.Active, w.Numbers, millis(w.GoneAt), blob(w.Secret), blob(w.OldSecret),
		millis(w.OldUntil), millis(w.UpdatedAt)}
}

// Webhook reads one endpoint of the tenant.
func (r *Reader) Webhook(ctx context.Context, tenant masking.TenantID, id masking.WebhookID) (w masking.Webhook, err error) {
	r.c.Lock(ForNoKeyUpdate, `webhook WHERE id = ? AND tenant = ?`, id, tenant)
	err = r.row(ctx, `SELECT `+webhookColumns+` FROM webhook w WHERE w.id = ? AND w.tenant = ?`, []any{id, tenant}, webhookDest(&w)...)
	return w, absent(err)
}

// Webhooks are a tenant's endpoints.
func (r *Reader) Webhooks(ctx context.Context, tenant masking.TenantID) ([]masking.Webhook, error) {
	return list(ctx, r, `SELECT `+webhookColumns+` FROM webhook w WHERE w.tenant = ? ORDER BY w.id`, []any{tenant}, scanWebhook)
}

// IdleWebhooks are the endpoints with something to do: two searches for each.
func (r *Reader) IdleWebhooks(ctx context.Context, owner string, now time.Time) ([]masking.Webhook, error) {
	if err := r.c.Ordered(ctx); err != nil {
		return nil, err
	}
	return list(ctx, r, `SELECT `+webhookColumns+` FROM webhook w
		WHERE w.active = 1 AND (w.owner = ? OR w.leased_until <= ?) AND (
			EXISTS (SELECT 1 FROM event e WHERE e.tenant = w.tenant AND e.cursor > w.cursor)
			OR EXISTS (SELECT 1 FROM delivery d WHERE d.webhook = w.id AND d.status = 'pending' AND d.due_at <= ?))
		ORDER BY w.id`, []any{owner, millis(now), millis(now)}, scanWebhook)
}

// EventPlace is the cursor of an event of the tenant.
func (r *Reader) EventPlace(ctx context.Context, tenant masking.TenantID, id masking.EventID) (cursor int64, err error) {
	if err := r.c.Ordered(ctx); err != nil {
		return 0, err
	}
	err = r.row(ctx, `SELECT cursor FROM event WHERE id = ? AND tenant = ? AND cursor > 0`, []any{id, tenant}, &cursor)
	return cursor, absent(err)
}

const deliveryColumns = `d.webhook, d.event, d.status, d.due_at, d.tries, d.finished_at, d.attempts,
	e.id, e.type, e.tenant, e.allocation, e.call, e.at, e.data`

const deliveryTables = ` FROM delivery d JOIN event e ON e.cursor = d.event`

func scanDelivery(_ *Reader, row Scanner) (d masking.Delivery, err error) {
	return d, row.Scan(deliveryDest(&d)...)
}

// deliveryDest are the destinations of deliveryColumns.
func deliveryDest(d *masking.Delivery) []any {
	e := &d.Event
	return []any{&d.Webhook, &d.Cursor, wordCol[masking.DeliveryStatus]{&d.Status, "status of a delivery", masking.DeliveryStatuses()},
		timeCol{&d.Due}, &d.Tries, timeCol{&d.FinishedAt}, triesCol{&d.Attempts},
		&e.ID, &e.Type, &e.Tenant, &e.Allocation, &e.Call, timeCol{&e.At}, dataCol{&e.Data}}
}

// Due are the deliveries of an endpoint that are due.
func (r *Reader) Due(ctx context.Context, id masking.WebhookID, now time.Time, limit int) ([]masking.Delivery, error) {
	return list(ctx, r, `SELECT `+deliveryColumns+deliveryTables+`
		WHERE d.webhook = ? AND d.status = 'pending' AND d.due_at <= ? ORDER BY d.due_at, d.event LIMIT ?`,
		[]any{id, millis(now), limit}, scanDelivery)
}

// Delivery reads one delivery.
func (r *Reader) Delivery(ctx context.Context, id masking.WebhookID, cursor int64) (d masking.Delivery, err error) {
	err = r.row(ctx, `SELECT `+deliveryColumns+deliveryTables+` WHERE d.webhook = ? AND d.event = ?`, []any{id, cursor}, deliveryDest(&d)...)
	return d, absent(err)
}

// Deliveries are a page of an endpoint's log, newest first.
func (r *Reader) Deliveries(ctx context.Context, f store.DeliveryFilter) ([]masking.Delivery, error) {
	text, args := `SELECT `+deliveryColumns+deliveryTables+` WHERE d.webhook = ?`, []any{f.Webhook}
	and := func(condition string, value any) { text, args = text+` AND `+condition, append(args, value) }
	if f.Status != "" {
		and(`d.status = ?`, f.Status)
	}
	if f.Before != 0 {
		and(`d.event < ?`, f.Before)
	}
	if !f.Since.IsZero() {
		and(`e.at >= ?`, millis(f.Since))
	}
	if !f.Until.IsZero() {
		and(`e.at < ?`, millis(f.Until))
	}
	return list(ctx, r, text+` ORDER BY d.event DESC LIMIT ?`, append(args, most(f.Limit)), scanDelivery)
}

// CountDeliveries counts no further than the limit.
func (r *Reader) CountDeliveries(ctx context.Context, id masking.WebhookID, s masking.DeliveryStatus, limit int) (n int, err error) {
	err = r.row(ctx, `SELECT COUNT(*) FROM (SELECT 1 FROM delivery WHERE webhook = ? AND status = ? LIMIT ?) counted`, []any{id, s, limit}, &n)
	return n, err
}

// InsertWebhook writes a new endpoint.
func (t *Tx) InsertWebhook(ctx context.Context, w masking.Webhook) error {
	return t.insert(ctx, "an endpoint with this id", `INSERT INTO webhook (url, event_types, active, numbers, gone_at, secret, old_secret, old_until, updated_at,
		id, tenant, cursor, created_at, owner, leased_until) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '', 0)`,
		append(webhookValues(w), w.ID, w.Tenant, w.Cursor, millis(w.CreatedAt))...)
}

// UpdateWebhook writes what its tenant and its answers may change.
func (t *Tx) UpdateWebhook(ctx context.Context, w masking.Webhook) error {
	return exactlyOne(t.exec(ctx, `UPDATE webhook SET url = ?, event_types = ?, active = ?, numbers = ?, gone_at = ?, secret = ?,
		old_secret = ?, old_until = ?, updated_at = ? WHERE id = ? AND tenant = ?`, append(webhookValues(w), w.ID, w.Tenant)...))
}

// DeleteWebhook removes an endpoint and its deliveries.
func (t *Tx) DeleteWebhook(ctx context.Context, tenant masking.TenantID, id masking.WebhookID) error {
	if _, err := t.exec(ctx, `DELETE FROM delivery WHERE webhook IN (SELECT id FROM webhook WHERE id = ? AND tenant = ?)`, id, tenant); err != nil {
		return err
	}
	return exactlyOne(t.exec(ctx, `DELETE FROM webhook WHERE id = ? AND tenant = ?`, id, tenant))
}

// LeaseWebhook takes an endpoint that nobody else has.
func (t *Tx) LeaseWebhook(ctx context.Context, id masking.WebhookID, owner string, now, until time.Time) (bool, error) {
	n, err := t.exec(ctx, `UPDATE webhook SET owner = ?, leased_until = ? WHERE id = ? AND active = 1 AND (owner = ? OR leased_until <= ?)`,
		owner, millis(until), id, owner, millis(now))
	return n == 1, err
}
