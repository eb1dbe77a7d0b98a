package webhook

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"tandem/internal/masking"
	"tandem/internal/store"
)

// How a Deliverer works (ADR 0026).
const (
	deliverTimeout = 15 * time.Second       // within which success is 2xx
	pollEvery      = 100 * time.Millisecond // the place of the last event is read
	looksAnyway    = 10                     // polls after which all endpoints are looked at
	leaseFor       = 60 * time.Second       // longer than any request
	spreadAtOnce   = 200                    // events, in one transaction
)

// DelivererOptions are what a Deliverer works with. Store, Clock, Log, Owner and
// Open are required.
type DelivererOptions struct {
	Store store.Store
	Clock func() time.Time
	Log   *slog.Logger
	Owner string // this node, by the name that it has after a restart too
	// Open opens the secret of an endpoint.
	Open         func(of masking.WebhookID, sealed []byte) (string, error)
	AllowPrivate bool                   // endpoints at private and loopback addresses too
	Attempted    func(masking.Delivery) // is told what became of a delivery after each attempt; nil: nobody is
	Timeout      time.Duration          // of one request; 0 = 15 s
	Waits        []time.Duration        // between attempts; nil = masking.RetryWaits
	Poll         time.Duration          // 0 = 100 ms
	Wake         <-chan struct{}        // there may be new events before the next poll; nil: nobody says so
}

// Deliverer sends events to the endpoints of tenants. Of several nodes each sends to
// the endpoints that it has a lease of; there is no leader. A request that was sent
// and whose outcome did not get into the store is sent again with the same
// webhook-id, so nothing is lost and nothing else comes twice.
//
// The goroutine of run finds endpoints that have something to do; each of those has a
// courier for as long as that lasts.
type Deliverer struct {
	o      DelivererOptions
	client *http.Client
	places *places

	nudge  chan struct{}
	stop   context.CancelFunc // nothing new is sent
	abort  context.CancelFunc // requests under way end
	wg     sync.WaitGroup
	sendIn context.Context // of requests; done with abort

	mu       sync.Mutex
	couriers map[masking.WebhookID]*courier
	well     map[masking.WebhookID]bool // those whose last answer was a success and quick
}

// StartDeliverer starts one; Close it.
func StartDeliverer(o DelivererOptions) *Deliverer {
	if o.Timeout == 0 {
		o.Timeout = deliverTimeout
	}
	if o.Waits == nil {
		o.Waits = masking.RetryWaits()
	}
	if o.Poll == 0 {
		o.Poll = pollEvery
	}
	if o.Attempted == nil {
		o.Attempted = func(masking.Delivery) {}
	}
	d := &Deliverer{o: o, client: newClient(o.AllowPrivate, o.Timeout), places: newPlaces(),
		nudge: make(chan struct{}, 1), couriers: map[masking.WebhookID]*courier{}, well: map[masking.WebhookID]bool{}}
	var ctx context.Context
	ctx, d.stop = context.WithCancel(context.Background())
	d.sendIn, d.abort = context.WithCancel(context.Background())
	d.wg.Go(func() { d.run(ctx) })
	return d
}

// Close sends nothing more and waits for what is under way, until ctx is done; what is
// then still under way is given up, and sent again after the next start.
func (d *Deliverer) Close(ctx context.Context) {
	d.stop()
	release := context.AfterFunc(ctx, d.abort)
	d.wg.Wait()
	release()
	d.abort()
	d.client.CloseIdleConnections()
}

// Nudge says that an endpoint may have something to do that no new event tells of.
func (d *Deliverer) Nudge() {
	select {
	case d.nudge <- struct{}{}:
	default:
	}
}

// run looks for endpoints with something to do until ctx is done.
func (d *Deliverer) run(ctx context.Context) {
	tick := time.NewTicker(d.o.Poll)
	defer tick.Stop()
	seen := int64(-1) // place of the last event that was known when all were looked at
	anyway := true
	var trouble store.Trouble
	for polls := 0; ; {
		var err error
		seen, err = d.look(ctx, seen, anyway)
		switch begins, ends := trouble.After(err); {
		case ctx.Err() != nil:
		case begins:
			d.o.Log.Warn("webhooks wait for the store", "error", err.Error())
		case ends:
			d.o.Log.Info("webhooks wait for the store no longer")
		}
		select {
		case <-ctx.Done():
			return
		case <-d.nudge:
			seen = -1
		case <-d.o.Wake:
			anyway = false
		case <-tick.C:
			polls++
			anyway = polls%looksAnyway == 0
		}
	}
}

// look sets couriers to work where there is some, if there are new events or anyway.
func (d *Deliverer) look(ctx context.Context, seen int64, anyway bool) (last int64, err error) {
	var idle []masking.Webhook
	err = d.o.Store.View(ctx, func(ctx context.Context, tx store.Reader) (err error) {
		if last, err = tx.LastEvent(ctx); err != nil || (last == seen && !anyway) {
			return err
		}
		idle, err = tx.IdleWebhooks(ctx, d.o.Owner, d.o.Clock())
		return err
	})
	if err != nil {
		return -1, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, w := range idle {
		if c := d.couriers[w.ID]; c != nil {
			c.poke()
			continue
		}
		c := &courier{Deliverer: d, id: w.ID, tenant: w.Tenant, wake: make(chan struct{}, 1), back: make(chan landed, atEndpoint),
			flying: map[int64]bool{}}
		d.couriers[w.ID] = c
		d.wg.Go(func() { c.run(ctx) })
	}
	return last, nil
}

// Test sends an event to an endpoint, once and outside of any order, and tells what
// came of it. Unavailable: too much is being sent for the tenant.
func (d *Deliverer) Test(ctx context.Context, w masking.Webhook, e masking.Event, zone *time.Location) (masking.DeliveryAttempt, error) {
	place, ok := d.places.take(w.Tenant, false)
	if !ok {
		return masking.DeliveryAttempt{}, masking.ErrUnavailable()
	}
	defer d.places.give(place)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(d.sendIn, cancel)()
	return d.send(ctx, w, e, zone), nil
}

// keep writes what became of a delivery, and tries until it is written: an endpoint
// that was told is not told again because the store was away. It gives up when the
// server stops.
func (d *Deliverer) keep(w masking.Webhook, v masking.Delivery) {
	var trouble store.Trouble
	for {
		writing, cancel := context.WithTimeout(context.WithoutCancel(d.sendIn), 3*time.Second)
		err := d.o.Store.Update(writing, func(ctx context.Context, tx store.Tx) error { return d.write(ctx, tx, w, v) })
		cancel()
		if err == nil {
			return
		}
		if begins, _ := trouble.After(err); begins {
			d.o.Log.Error("what became of a webhook is not written yet", "webhook", string(w.ID), "tenant", string(w.Tenant), "error", err.Error())
		}
		select {
		case <-d.sendIn.Done():
			return
		case <-time.After(time.Second):
		}
	}
}

func (d *Deliverer) write(ctx context.Context, tx store.Tx, w masking.Webhook, v masking.Delivery) error {
	if _, err := tx.FinishAttempt(ctx, v); err != nil {
		return err
	}
	if v.Attempts[len(v.Attempts)-1].Outcome != masking.OutcomeGone {
		return nil
	}
	now, err := tx.Webhook(ctx, w.Tenant, w.ID)
	if masking.KindOf(err) == masking.NotFound || (err == nil && (now.URL != w.URL || !now.Active)) {
		return nil // another address was meant
	}
	if err != nil {
		return err
	}
	now.Active, now.GoneAt = false, d.o.Clock()
	return tx.UpdateWebhook(ctx, now)
}

// report logs an attempt. Addresses may hold secrets and bodies hold numbers: neither
// is told.
func (d *Deliverer) report(w masking.Webhook, v masking.Delivery) {
	a := v.Attempts[len(v.Attempts)-1]
	level, text := slog.LevelDebug, "webhook"
	switch {
	case v.Status == masking.DeliveryDead:
		level, text = slog.LevelWarn, "a webhook is given up: a dead letter"
	case a.Outcome == masking.OutcomeGone:
		level, text = slog.LevelWarn, "a webhook endpoint is gone and is switched off"
	case a.Outcome == masking.OutcomeInternal:
		level, text = slog.LevelError, "a webhook could not be made"
	}
	d.o.Log.Log(context.Background(), level, text, "tenant", string(w.Tenant), "webhook", string(w.ID), "event", string(v.Event.ID),
		"type", string(v.Event.Type), "outcome", string(a.Outcome), "status", a.Status, "tries", v.Tries, "took_ms", a.Took.Milliseconds())
	d.o.Attempted(v)
}
