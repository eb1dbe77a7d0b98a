package webhook

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"tandem/internal/masking"
	"tandem/internal/store"
)

// courier sends to one endpoint for as long as something is due. What stands below
// back is owned by courier.run.
type courier struct {
	*Deliverer
	id     masking.WebhookID
	tenant masking.TenantID
	wake   chan struct{} // there may be something new
	back   chan landed   // one that was under way has ended; has room for all of them

	leased  time.Time // until then
	stock   round
	flying  map[int64]bool
	starved bool // something is due that found no place
}

// landed is a delivery whose attempt has ended.
type landed struct {
	cursor int64
	well   bool // the answer was a success and quick
}

const (
	slow       = 2 * time.Second        // within which an endpoint answers that is well
	retryPlace = 250 * time.Millisecond // after which one that found no place looks again
	stockOf    = 64                     // deliveries that are read at once
	stockFor   = time.Second            // how long they are good for: the endpoint may have changed
)

// poke wakes the courier.
func (c *courier) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// run works until nothing is due and nothing under way, or ctx is done and nothing
// under way.
func (c *courier) run(ctx context.Context) {
	for {
		err := c.work(ctx)
		if err != nil && !errors.Is(err, store.ErrAway) && ctx.Err() == nil {
			c.o.Log.Warn("a webhook endpoint waits for the store", "webhook", string(c.id), "tenant", string(c.tenant), "error", err.Error())
		}
		switch {
		case len(c.flying) > 0:
		case c.starved && ctx.Err() == nil:
			c.rest(ctx)
			continue
		case c.leave(err != nil || ctx.Err() != nil):
			return
		default:
			continue
		}
		select {
		case one := <-c.back:
			delete(c.flying, one.cursor)
			c.setWell(one.well)
		case <-c.wake:
		}
	}
}

// rest waits for a place.
func (c *courier) rest(ctx context.Context) {
	timer := time.NewTimer(retryPlace)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// leave ends the courier, unless there is something new and it is not to end anyway.
func (c *courier) leave(anyway bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.wake:
		if !anyway {
			return false
		}
	default:
	}
	delete(c.couriers, c.id)
	return true
}

func (c *courier) setWell(well bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if well {
		c.well[c.id] = true
	} else {
		delete(c.well, c.id)
	}
}

func (c *courier) isWell() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.well[c.id]
}

// round is what there is to do for an endpoint, as it was when it was read.
type round struct {
	webhook masking.Webhook
	zone    *time.Location // in which its tenant reads times
	news    bool           // events that have no deliveries yet
	due     []masking.Delivery
	at      time.Time
}

// work sends what is due and finds a place.
func (c *courier) work(ctx context.Context) error {
	if ctx.Err() != nil {
		return nil
	}
	well, most := c.isWell(), atFewer
	if well {
		most = atEndpoint
	}
	for c.starved = false; len(c.flying) < most; {
		if len(c.stock.due) == 0 || time.Since(c.stock.at) > stockFor {
			if err := c.fill(ctx); err != nil || len(c.stock.due) == 0 {
				return err
			}
		}
		place, ok := c.places.take(c.tenant, well)
		if !ok {
			c.starved = true
			return nil
		}
		v, r := c.stock.due[0], c.stock
		c.stock.due = c.stock.due[1:]
		c.flying[v.Cursor] = true
		c.wg.Go(func() {
			defer c.places.give(place)
			c.back <- landed{v.Cursor, c.deliver(r.webhook, r.zone, v)}
		})
	}
	return nil
}

// fill reads what is due, after it has taken up what is new.
func (c *courier) fill(ctx context.Context) (err error) {
	now := c.o.Clock()
	c.stock, err = c.read(ctx, now)
	if err != nil || !c.stock.webhook.Active {
		return err
	}
	if c.stock.news || c.leased.Sub(now) < leaseFor/2 {
		if mine, err := c.prepare(ctx, now); err != nil || !mine {
			c.stock.due = nil
			return err
		}
		c.stock, err = c.read(ctx, now)
	}
	return err
}

// read reads a round without what is under way; a zero one if the endpoint is no more.
func (c *courier) read(ctx context.Context, now time.Time) (r round, err error) {
	r.at = time.Now()
	err = c.o.Store.View(ctx, func(ctx context.Context, tx store.Reader) error {
		if r.webhook, err = tx.Webhook(ctx, c.tenant, c.id); err != nil {
			return err
		}
		t, err := tx.Tenant(ctx, c.tenant)
		if err != nil {
			return err
		}
		r.zone = t.Settings.Zone
		next, err := tx.Events(ctx, store.EventFilter{Tenant: c.tenant, After: r.webhook.Cursor, Limit: 1})
		if err != nil {
			return err
		}
		r.news = len(next) > 0
		if r.webhook.Active {
			r.due, err = tx.Due(ctx, c.id, now, stockOf+len(c.flying))
		}
		return err
	})
	r.due = slices.DeleteFunc(r.due, func(v masking.Delivery) bool { return c.flying[v.Cursor] })
	if masking.KindOf(err) == masking.NotFound {
		c.setWell(false) // nothing is kept of it
		return round{}, nil
	}
	return r, err
}

// prepare takes the lease and makes deliveries of what is new. mine: nobody else has
// the lease.
func (c *courier) prepare(ctx context.Context, now time.Time) (mine bool, err error) {
	until, n := now.Add(leaseFor), 0
	err = c.o.Store.Update(ctx, func(ctx context.Context, tx store.Tx) (err error) {
		if mine, err = tx.LeaseWebhook(ctx, c.id, c.o.Owner, now, until); err != nil || !mine {
			return err
		}
		n, err = tx.SpreadEvents(ctx, c.id, now, spreadAtOnce)
		return err
	})
	if err != nil || !mine {
		return false, err
	}
	c.leased = until
	if n == spreadAtOnce {
		c.poke() // there are more
	}
	return true, nil
}

// deliver sends a delivery and writes what became of it.
func (d *Deliverer) deliver(w masking.Webhook, zone *time.Location, v masking.Delivery) (well bool) {
	a := d.send(d.sendIn, w, v.Event, zone)
	if d.sendIn.Err() != nil && a.Outcome != masking.OutcomeDelivered {
		return false // we gave it up, so it is no attempt
	}
	jitter := (2*rand.Float64() - 1) * masking.RetryJitter
	v = v.After(a, d.o.Waits, jitter, d.o.Clock())
	d.keep(w, v)
	d.report(w, v)
	return a.Outcome == masking.OutcomeDelivered && a.Took <= slow
}
