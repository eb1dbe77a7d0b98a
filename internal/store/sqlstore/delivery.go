package sqlstore

import (
	"context"
	"encoding/json"
	"time"

	"tandem/internal/masking"
	"tandem/internal/store"
)

// SpreadEvents makes deliveries of events that the endpoint has not been told of.
func (t *Tx) SpreadEvents(ctx context.Context, id masking.WebhookID, now time.Time, limit int) (int, error) {
	var w masking.Webhook
	if err := t.row(ctx, `SELECT `+webhookColumns+` FROM webhook w WHERE w.id = ?`, []any{id}, webhookDest(&w)...); err != nil {
		return 0, absent(err)
	}
	events, err := t.Events(ctx, store.EventFilter{Tenant: w.Tenant, After: w.Cursor, Limit: limit})
	if err != nil || len(events) == 0 {
		return 0, err
	}
	for _, e := range events {
		if !w.Wants(e.Type) {
			continue
		}
		// A replay may have been quicker.
		if _, err := t.exec(ctx, `INSERT INTO delivery (webhook, event, chain, status, due_at, tries, finished_at, attempts)
			SELECT ?, ?, ?, CASE WHEN EXISTS (SELECT 1 FROM delivery d WHERE d.webhook = ? AND d.chain = ?
				AND d.status IN ('pending', 'queued')) THEN 'queued' ELSE 'pending' END, ?, 0, 0, '[]' WHERE 1 = 1
			ON CONFLICT (webhook, event) DO NOTHING`, id, e.Cursor, e.Chain(), id, e.Chain(), millis(now)); err != nil {
			return 0, err
		}
	}
	_, err = t.exec(ctx, `UPDATE webhook SET cursor = ? WHERE id = ?`, events[len(events)-1].Cursor, id)
	return len(events), err
}

// SendAgain sends an event that the endpoint has been told of already, or before it
// was made.
func (t *Tx) SendAgain(ctx context.Context, id masking.WebhookID, e store.StoredEvent, now time.Time) error {
	if _, err := t.exec(ctx, `INSERT INTO delivery (webhook, event, chain, status, due_at, tries, finished_at, attempts)
		VALUES (?, ?, ?, 'queued', ?, 0, 0, '[]')
		ON CONFLICT (webhook, event) DO UPDATE SET status = 'queued', due_at = excluded.due_at, tries = 0, finished_at = 0`,
		id, e.Cursor, e.Chain(), millis(now)); err != nil {
		return inserted("a delivery", err)
	}
	// Later ones that are on their way let it go first.
	if _, err := t.exec(ctx, `UPDATE delivery SET status = 'queued' WHERE webhook = ? AND chain = ? AND status = 'pending' AND event > ?`,
		id, e.Chain(), e.Cursor); err != nil {
		return err
	}
	return t.lead(ctx, id, e.Chain())
}

// lead makes the first of what is unfinished in a chain pending.
func (t *Tx) lead(ctx context.Context, id masking.WebhookID, chain string) error {
	_, err := t.exec(ctx, `UPDATE delivery SET status = 'pending' WHERE webhook = ? AND status = 'queued' AND event =
		(SELECT MIN(d.event) FROM delivery d WHERE d.webhook = ? AND d.chain = ? AND d.status IN ('pending', 'queued'))`, id, id, chain)
	return err
}

// FinishAttempt writes what became of a delivery.
func (t *Tx) FinishAttempt(ctx context.Context, d masking.Delivery) (changed bool, err error) {
	text, err := triesText(d.Attempts)
	if err != nil {
		return false, err
	}
	// One that let an earlier event go first while it was under way waits on.
	ended := d.Status == masking.DeliveryDelivered || d.Status == masking.DeliveryDead
	n, err := t.exec(ctx, `UPDATE delivery SET status = CASE WHEN ? = 1 THEN ? ELSE status END, due_at = ?, tries = ?, finished_at = ?, attempts = ?
		WHERE webhook = ? AND event = ? AND status IN ('pending', 'queued')`,
		ended, d.Status, millis(d.Due), d.Tries, millis(d.FinishedAt), text, d.Webhook, d.Cursor)
	if err != nil || n == 0 || !ended {
		return n == 1, err
	}
	return true, t.lead(ctx, d.Webhook, d.Event.Chain())
}

// ForgetDeliveries removes what has been known long enough.
func (t *Tx) ForgetDeliveries(ctx context.Context, s masking.DeliveryStatus, before time.Time, limit int) (int, error) {
	n, err := t.exec(ctx, forget(`delivery`, `webhook, event`, `SELECT webhook, event FROM delivery
		WHERE status = ? AND finished_at <> 0 AND finished_at < ? ORDER BY finished_at LIMIT ?`), s, millis(before), limit)
	return int(n), err
}

// try is an attempt as it is stored.
type try struct {
	At       int64                   `json:"at"`
	Took     int64                   `json:"took"` // milliseconds
	Outcome  masking.DeliveryOutcome `json:"outcome"`
	Status   int                     `json:"status,omitempty"`
	Response string                  `json:"response,omitempty"`
}

func triesText(attempts []masking.DeliveryAttempt) (string, error) {
	tries := make([]try, len(attempts))
	for i, a := range attempts {
		tries[i] = try{millis(a.At), a.Took.Milliseconds(), a.Outcome, a.Status, a.Response}
	}
	b, err := json.Marshal(tries)
	return string(b), err
}

// triesCol scans attempts.
type triesCol struct{ to *[]masking.DeliveryAttempt }

func (c triesCol) Scan(src any) error {
	s, err := textOf(src, "attempts")
	if err != nil {
		return err
	}
	var tries []try
	if json.Unmarshal([]byte(s), &tries) != nil {
		return corrupt("attempts")
	}
	*c.to = nil
	for _, t := range tries {
		*c.to = append(*c.to, masking.DeliveryAttempt{At: time.UnixMilli(t.At).UTC(), Took: time.Duration(t.Took) * time.Millisecond,
			Outcome: t.Outcome, Status: t.Status, Response: t.Response})
	}
	return nil
}
