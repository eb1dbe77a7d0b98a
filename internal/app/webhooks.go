package app

import (
	"context"
	"time"

	"tandem/internal/masking"
	"tandem/internal/store"
	"tandem/internal/upkeep"
	"tandem/internal/webhook"
)

const (
	// webhookGrace is how long requests to endpoints may go on while the server stops.
	webhookGrace = 3 * time.Second
	// How long the log of deliveries is kept, and dead letters can be replayed.
	keptDelivered = 7 * 24 * time.Hour
	keptDead      = 30 * 24 * time.Hour
)

// openWebhooks starts what sends events to the endpoints of tenants.
func (a *App) openWebhooks(context.Context) (err error) {
	if a.hooks.box, err = a.box("webhook secrets"); err != nil {
		return err
	}
	a.deliverer = webhook.StartDeliverer(webhook.DelivererOptions{Store: a.store, Clock: a.o.Clock, Log: a.log, Owner: a.node,
		Open:         func(of masking.WebhookID, sealed []byte) (string, error) { return a.hooks.open(string(of), sealed) },
		AllowPrivate: a.o.Config.WebhookAllowPrivate, Attempted: a.metrics.attempted, Waits: a.o.WebhookWaits, Wake: a.sleepers.deliverer})
	a.onStop(func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, webhookGrace)
		defer cancel()
		a.deliverer.Close(ctx)
		return nil
	})
	return nil
}

// attempted counts an attempt to deliver an event.
func (m *metrics) attempted(d masking.Delivery) {
	a := d.Attempts[len(d.Attempts)-1]
	m.webhooks.WithLabelValues(string(a.Outcome)).Inc()
	m.answers.Observe(a.Took.Seconds())
	if d.Status == masking.DeliveryDead {
		m.dead.Inc()
	}
}

// deliveryJobs forget what the log of deliveries has kept long enough.
func (a *App) deliveryJobs() []upkeep.Job {
	job := func(name string, s masking.DeliveryStatus, kept time.Duration) upkeep.Job {
		return a.forgetting(name, kept, 500, func(tx store.Tx, ctx context.Context, before time.Time, limit int) (int, error) {
			return tx.ForgetDeliveries(ctx, s, before, limit)
		})
	}
	return []upkeep.Job{job("delivered webhooks", masking.DeliveryDelivered, keptDelivered), job("dead letters", masking.DeliveryDead, keptDead)}
}
