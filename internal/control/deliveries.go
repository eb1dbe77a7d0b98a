package control

import (
	"context"
	"time"

	"tandem/internal/masking"
	"tandem/internal/store"
)

// DeliveryQuery narrows a list of deliveries; zero fields do not.
type DeliveryQuery struct {
	Status masking.DeliveryStatus
	Since  time.Time // of the event
	Until  time.Time
	Before int64 // the place of the last event of the page before
	Limit  int
}

// Deliveries reads what was, is or is to be sent to an endpoint, newest event first;
// more tells whether others follow.
func (s *Webhooks) Deliveries(ctx context.Context, t masking.TenantID, id masking.WebhookID, q DeliveryQuery) (page []masking.Delivery, more bool, err error) {
	err = s.view(ctx, "list deliveries", func(ctx context.Context, tx store.Reader) error {
		if _, err := tx.Webhook(ctx, t, id); err != nil {
			return err
		}
		page, err = tx.Deliveries(ctx, store.DeliveryFilter{Webhook: id, Status: q.Status, Since: q.Since, Until: q.Until,
			Before: q.Before, Limit: q.Limit + 1})
		return err
	})
	page, more = cut(page, q.Limit)
	return page, more, err
}

// Delivered is a delivery and the endpoint that it is for.
type Delivered struct {
	masking.Delivery
	To masking.Webhook
}

// Delivery reads the delivery of one event with its attempts.
func (s *Webhooks) Delivery(ctx context.Context, t masking.TenantID, id masking.WebhookID, event masking.EventID) (d Delivered, err error) {
	err = s.view(ctx, "read a delivery", func(ctx context.Context, tx store.Reader) error {
		d, err = delivered(ctx, tx, t, id, event)
		return err
	})
	return d, err
}

func delivered(ctx context.Context, tx store.Reader, t masking.TenantID, id masking.WebhookID, event masking.EventID) (d Delivered, err error) {
	if d.To, err = tx.Webhook(ctx, t, id); err != nil {
		return d, err
	}
	place, err := tx.EventPlace(ctx, t, event)
	if err != nil {
		return d, err
	}
	d.Delivery, err = tx.Delivery(ctx, id, place)
	return d, err
}

// Replay sends one delivery again, whatever became of it, with all its attempts before
// it. Later events of the same allocation that are still to be sent wait for it.
func (s *Webhooks) Replay(ctx context.Context, t masking.TenantID, id masking.WebhookID, event masking.EventID, once Once[Delivered]) (Answer, error) {
	defer s.nudge()
	return change(ctx, s.core, t, "replay a delivery", once,
		func(ctx context.Context, tx store.Tx, now time.Time) (Delivered, error) {
			d, err := delivered(ctx, tx, t, id, event)
			if err != nil {
				return d, err
			}
			if err := tx.SendAgain(ctx, id, StoredEvent{Cursor: d.Cursor, Event: d.Event}, now); err != nil {
				return d, err
			}
			d.Delivery, err = tx.Delivery(ctx, id, d.Cursor)
			return d, err
		})
}

// ReplayQuery says what is replayed; zero fields do not narrow it.
type ReplayQuery struct {
	Dead  bool // dead letters alone; else every event that the endpoint wants
	Since time.Time
	Until time.Time
	From  int64 // where the request before ended
}

// Replayed is what one request has replayed.
type Replayed struct {
	Count int
	Next  int64 // 0: that was all
}

// ReplayMany sends again what the query names, no more than ReplayedAtOnce in one
// request. Events from before the endpoint was made can be asked for too; those that
// it is about to be told of anyway are left alone.
func (s *Webhooks) ReplayMany(ctx context.Context, t masking.TenantID, id masking.WebhookID, q ReplayQuery, once Once[Replayed]) (Answer, error) {
	defer s.nudge()
	return change(ctx, s.core, t, "replay deliveries", once,
		func(ctx context.Context, tx store.Tx, now time.Time) (Replayed, error) {
			w, err := tx.Webhook(ctx, t, id)
			if err != nil {
				return Replayed{}, err
			}
			find := everyEvent
			if q.Dead {
				find = deadLetters
			}
			events, next, err := find(ctx, tx, w, q)
			if err != nil {
				return Replayed{}, err
			}
			for _, e := range events {
				if err := tx.SendAgain(ctx, id, e, now); err != nil {
					return Replayed{}, err
				}
			}
			return Replayed{len(events), next}, nil
		})
}

func deadLetters(ctx context.Context, tx store.Reader, w masking.Webhook, q ReplayQuery) (events []StoredEvent, next int64, err error) {
	dead, err := tx.Deliveries(ctx, store.DeliveryFilter{Webhook: w.ID, Status: masking.DeliveryDead, Since: q.Since, Until: q.Until,
		Before: q.From, Limit: ReplayedAtOnce + 1})
	dead, more := cut(dead, ReplayedAtOnce)
	for _, d := range dead {
		events = append(events, StoredEvent{Cursor: d.Cursor, Event: d.Event})
	}
	if more {
		next = dead[len(dead)-1].Cursor
	}
	return events, next, err
}

func everyEvent(ctx context.Context, tx store.Reader, w masking.Webhook, q ReplayQuery) (events []StoredEvent, next int64, err error) {
	page, err := tx.Events(ctx, store.EventFilter{Tenant: w.Tenant, After: q.From, Since: q.Since, Until: q.Until, Limit: ReplayedAtOnce + 1})
	page, more := cut(page, ReplayedAtOnce)
	for _, e := range page {
		if e.Cursor > w.Cursor {
			return events, 0, err
		}
		if w.Wants(e.Type) {
			events = append(events, e)
		}
	}
	if more {
		next = page[len(page)-1].Cursor
	}
	return events, next, err
}
