package control

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"tandem/internal/masking"
	"tandem/internal/store"
)

// Sender is what sends to endpoints.
type Sender interface {
	// Nudge says that an endpoint may have something to do. It must not block.
	Nudge()
	// Test sends an event to an endpoint now, once, and tells what came of it.
	// Unavailable: too much is being sent for the tenant.
	Test(ctx context.Context, w masking.Webhook, e masking.Event, zone *time.Location) (masking.DeliveryAttempt, error)
}

// Webhooks are the use cases of a tenant's endpoints.
type Webhooks struct {
	*core
	secrets Secrets
	sender  Sender
}

// Endpoint is a webhook as its tenant sees it.
type Endpoint struct {
	masking.Webhook
	Secret  string // only when it has just been made
	Pending int    // deliveries that wait, counted to MostCounted
	Dead    int    // dead letters, counted to MostCounted
}

const (
	// MostCounted is how far an endpoint's deliveries are counted.
	MostCounted = 1000
	// ReplayedAtOnce is how many deliveries one request replays.
	ReplayedAtOnce = 500
)

// nudge tells the sender after the commit.
func (s *Webhooks) nudge() {
	if s.sender != nil {
		s.sender.Nudge()
	}
}

// draw makes a secret and seals it for an endpoint.
func (s *Webhooks) draw(id masking.WebhookID) (secret string, sealed []byte, err error) {
	var random [32]byte
	if _, err := io.ReadFull(s.random, random[:]); err != nil {
		return "", nil, fmt.Errorf("read randomness: %w", err)
	}
	secret = "whsec_" + base64.StdEncoding.EncodeToString(random[:])
	return secret, s.secrets.Seal(string(id), secret), nil
}

// Create makes an endpoint, which is told of what happens from now on. A tenant who
// has masking.MostWebhooks is refused with Conflict.
func (s *Webhooks) Create(ctx context.Context, t masking.TenantID, w masking.Webhook, once Once[Endpoint]) (Answer, error) {
	return change(ctx, s.core, t, "make an endpoint", once,
		func(ctx context.Context, tx store.Tx, now time.Time) (Endpoint, error) {
			w := w
			if err := w.Check(); err != nil {
				return Endpoint{}, err
			}
			has, err := tx.Webhooks(ctx, t)
			if err != nil {
				return Endpoint{}, err
			}
			if len(has) >= masking.MostWebhooks {
				return Endpoint{}, masking.ErrTooManyWebhooks()
			}
			id, err := s.newID(masking.PrefixWebhook, now)
			if err != nil {
				return Endpoint{}, err
			}
			w.ID, w.Tenant, w.CreatedAt, w.UpdatedAt = masking.WebhookID(id), t, now, now
			if w.Cursor, err = tx.LastEvent(ctx); err != nil {
				return Endpoint{}, err
			}
			secret, sealed, err := s.draw(w.ID)
			if err != nil {
				return Endpoint{}, err
			}
			w.Secret = sealed
			return Endpoint{Webhook: w, Secret: secret}, tx.InsertWebhook(ctx, w)
		})
}

// counted adds how many deliveries wait and are dead.
func counted(ctx context.Context, tx store.Reader, w masking.Webhook) (e Endpoint, err error) {
	e.Webhook = w
	for _, one := range []struct {
		status masking.DeliveryStatus
		to     *int
	}{{masking.DeliveryPending, &e.Pending}, {masking.DeliveryQueued, &e.Pending}, {masking.DeliveryDead, &e.Dead}} {
		n, err := tx.CountDeliveries(ctx, w.ID, one.status, MostCounted)
		if err != nil {
			return e, err
		}
		*one.to = min(*one.to+n, MostCounted)
	}
	return e, nil
}

// Get reads an endpoint.
func (s *Webhooks) Get(ctx context.Context, t masking.TenantID, id masking.WebhookID) (e Endpoint, err error) {
	err = s.view(ctx, "read an endpoint", func(ctx context.Context, tx store.Reader) error {
		w, err := tx.Webhook(ctx, t, id)
		if err != nil {
			return err
		}
		e, err = counted(ctx, tx, w)
		return err
	})
	return e, err
}

// List reads a tenant's endpoints.
func (s *Webhooks) List(ctx context.Context, t masking.TenantID) (list []Endpoint, err error) {
	err = s.view(ctx, "list endpoints", func(ctx context.Context, tx store.Reader) error {
		all, err := tx.Webhooks(ctx, t)
		if err != nil {
			return err
		}
		list = nil
		for _, w := range all {
			e, err := counted(ctx, tx, w)
			if err != nil {
				return err
			}
			list = append(list, e)
		}
		return nil
	})
	return list, err
}

// Update changes an endpoint by edit, which must be pure. What waits for it is sent
// as it is then.
func (s *Webhooks) Update(ctx context.Context, t masking.TenantID, id masking.WebhookID, edit func(*masking.Webhook), once Once[Endpoint]) (Answer, error) {
	defer s.nudge()
	return change(ctx, s.core, t, "change an endpoint", once,
		func(ctx context.Context, tx store.Tx, now time.Time) (Endpoint, error) {
			w, err := tx.Webhook(ctx, t, id)
			if err != nil {
				return Endpoint{}, err
			}
			edit(&w)
			if w.Active {
				w.GoneAt = time.Time{}
			}
			w.UpdatedAt = now
			if err := w.Check(); err != nil {
				return Endpoint{}, err
			}
			if err := tx.UpdateWebhook(ctx, w); err != nil {
				return Endpoint{}, err
			}
			return counted(ctx, tx, w)
		})
}

// Rotate gives an endpoint another secret. The one before signs too for
// masking.SecretOverlaps; one before that no longer.
func (s *Webhooks) Rotate(ctx context.Context, t masking.TenantID, id masking.WebhookID, once Once[Endpoint]) (Answer, error) {
	return change(ctx, s.core, t, "rotate a secret", once,
		func(ctx context.Context, tx store.Tx, now time.Time) (Endpoint, error) {
			w, err := tx.Webhook(ctx, t, id)
			if err != nil {
				return Endpoint{}, err
			}
			secret, sealed, err := s.draw(id)
			if err != nil {
				return Endpoint{}, err
			}
			w.OldSecret, w.OldUntil, w.Secret, w.UpdatedAt = w.Secret, now.Add(masking.SecretOverlaps), sealed, now
			if err := tx.UpdateWebhook(ctx, w); err != nil {
				return Endpoint{}, err
			}
			e, err := counted(ctx, tx, w)
			e.Secret = secret
			return e, err
		})
}

// Delete removes an endpoint and all that is known of its deliveries.
func (s *Webhooks) Delete(ctx context.Context, t masking.TenantID, id masking.WebhookID, once Once[masking.WebhookID]) (Answer, error) {
	return change(ctx, s.core, t, "remove an endpoint", once,
		func(ctx context.Context, tx store.Tx, _ time.Time) (masking.WebhookID, error) {
			return id, tx.DeleteWebhook(ctx, t, id)
		})
}

// Test sends an event of no change to an endpoint, active or not, and tells what came
// of it.
func (s *Webhooks) Test(ctx context.Context, t masking.Tenant, id masking.WebhookID) (masking.EventID, masking.DeliveryAttempt, error) {
	if s.sender == nil {
		return "", masking.DeliveryAttempt{}, masking.ErrUnavailable()
	}
	var w masking.Webhook
	err := s.view(ctx, "read an endpoint", func(ctx context.Context, tx store.Reader) (err error) {
		w, err = tx.Webhook(ctx, t.ID, id)
		return err
	})
	if err != nil {
		return "", masking.DeliveryAttempt{}, err
	}
	now := s.now()
	event, err := s.newID(masking.PrefixEvent, now)
	if err != nil {
		return "", masking.DeliveryAttempt{}, s.fail(ctx, "test an endpoint", err)
	}
	data, err := json.Marshal(map[string]masking.WebhookID{"webhook_id": id})
	if err != nil {
		return "", masking.DeliveryAttempt{}, s.fail(ctx, "test an endpoint", err)
	}
	e := masking.Event{ID: masking.EventID(event), Type: masking.EventWebhookTest, Tenant: t.ID, At: now, Data: data}
	a, err := s.sender.Test(ctx, w, e, t.Settings.Zone)
	return e.ID, a, err
}
