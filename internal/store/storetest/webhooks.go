package storetest

import (
	"context"
	"fmt"
	"strings"
	"time"

	"tandem/internal/masking"
	"tandem/internal/store"
)

func webhookTests() []test {
	return []test{
		{"AnEndpointIsReadAsWrittenByItsTenantAlone", webhookRoundTrip},
		{"AnEndpointThatIsDeletedTakesItsDeliveriesAlong", webhookDeleted},
		{"AnEndpointIsOneNodesAtATime", webhookLeased},
		{"OnlyEndpointsThatAreOwedAnEventAreFound", webhookIdle},
		{"EventsBecomeDeliveriesOnceAndOnlyThoseThatAreWanted", deliverySpread},
		{"OfAChainTheFirstUnfinishedIsPending", deliveryChain},
		{"WhatIsSentAgainGoesBeforeWhatIsLaterInItsChain", deliveryAgain},
		{"AnAttemptIsWrittenAndTheNextOneWaits", deliveryAttempt},
		{"DeliveriesAreListedByStatusAndTimeNewestFirst", deliveryLists},
		{"OldDeliveriesAreForgottenByTheirEnd", deliveryForgotten},
	}
}

// Webhook is an endpoint that wants every event.
func Webhook(tenant masking.TenantID, id masking.WebhookID) masking.Webhook {
	return masking.Webhook{ID: id, Tenant: tenant, URL: "https://example.net/" + string(id), Active: true, Numbers: true,
		Secret: []byte("sealed \x00\xff " + string(id)), CreatedAt: Start(), UpdatedAt: Start()}
}

func (b *bench) webhook(w masking.Webhook) masking.Webhook {
	b.Helper()
	b.update(func(ctx context.Context, tx store.Tx) error { return tx.InsertWebhook(ctx, w) })
	return w
}

func webhook(tenant masking.TenantID, id masking.WebhookID) func(context.Context, store.Reader) (masking.Webhook, error) {
	return func(ctx context.Context, tx store.Reader) (masking.Webhook, error) {
		return tx.Webhook(ctx, tenant, id)
	}
}

// tell appends an event of a chain; it gives its place.
func (b *bench) tell(tenant masking.TenantID, i int, chain masking.AllocationID) store.StoredEvent {
	b.Helper()
	e := event(tenant, i, Start().Add(time.Duration(i)*time.Second))
	e.Allocation = chain
	var place int64
	b.update(func(ctx context.Context, tx store.Tx) (err error) {
		if err = tx.AppendEvent(ctx, e); err != nil {
			return err
		}
		place, err = tx.EventPlace(ctx, tenant, e.ID)
		return err
	})
	return store.StoredEvent{Cursor: place, Event: e}
}

func (b *bench) spread(id masking.WebhookID, limit int) (n int) {
	b.Helper()
	b.update(func(ctx context.Context, tx store.Tx) (err error) {
		n, err = tx.SpreadEvents(ctx, id, Start(), limit)
		return err
	})
	return n
}

// standing writes the deliveries of an endpoint, oldest first, as "event number: status".
func (b *bench) standing(id masking.WebhookID, f store.DeliveryFilter) string {
	b.Helper()
	f.Webhook = id
	var lines []string
	for _, d := range get(b, func(ctx context.Context, tx store.Reader) ([]masking.Delivery, error) { return tx.Deliveries(ctx, f) }) {
		lines = append([]string{fmt.Sprintf("%d: %s", int(d.Event.At.Sub(Start())/time.Second), d.Status)}, lines...)
	}
	return strings.Join(lines, ", ")
}

// due writes which events are due for an endpoint.
func (b *bench) due(id masking.WebhookID, now time.Time) string {
	b.Helper()
	var due []string
	for _, d := range get(b, func(ctx context.Context, tx store.Reader) ([]masking.Delivery, error) {
		return tx.Due(ctx, id, now, 10)
	}) {
		due = append(due, fmt.Sprint(int(d.Event.At.Sub(Start())/time.Second)))
	}
	return strings.Join(due, " ")
}

func (b *bench) delivery(id masking.WebhookID, e store.StoredEvent) masking.Delivery {
	b.Helper()
	return get(b, func(ctx context.Context, tx store.Reader) (masking.Delivery, error) {
		return tx.Delivery(ctx, id, e.Cursor)
	})
}

// attempt ends an attempt of a delivery at now.
func (b *bench) attempt(d masking.Delivery, o masking.DeliveryOutcome, now time.Time) (after masking.Delivery, changed bool) {
	b.Helper()
	after = d.After(masking.DeliveryAttempt{At: now, Took: 15 * time.Millisecond, Outcome: o, Status: 500, Response: "\"no\" €"},
		[]time.Duration{time.Minute}, 0, now)
	b.update(func(ctx context.Context, tx store.Tx) (err error) {
		changed, err = tx.FinishAttempt(ctx, after)
		return err
	})
	return after, changed
}

func webhookRoundTrip(b *bench) {
	b.tenant("acme")
	b.tenant("other")
	full := Webhook("acme", "wh_2")
	full.Types = []masking.EventType{masking.EventCallCompleted, masking.EventCreated}
	full.Active, full.Numbers, full.GoneAt, full.Cursor = false, false, Start().Add(time.Hour), 7
	full.OldSecret, full.OldUntil = []byte{0, 1}, Start().Add(2*time.Hour)
	second, first, foreign := b.webhook(full), b.webhook(Webhook("acme", "wh_1")), b.webhook(Webhook("other", "wh_3"))
	equal(b, get(b, webhook("acme", "wh_2")), second)
	list := func(t masking.TenantID) []masking.Webhook {
		return get(b, func(ctx context.Context, tx store.Reader) ([]masking.Webhook, error) { return tx.Webhooks(ctx, t) })
	}
	equal(b, list("acme"), []masking.Webhook{first, second})
	equal(b, list("other"), []masking.Webhook{foreign})
	b.code(masking.CodeNotFound, getErr(b, webhook("other", "wh_1")))
	b.code(masking.CodeNotFound, getErr(b, webhook("acme", "wh_9")))
	b.refused(masking.CodeNotFound, func(ctx context.Context, tx store.Tx) error { return tx.InsertWebhook(ctx, Webhook("nobody", "wh_4")) })
	b.refused(masking.CodeAlreadyExists, func(ctx context.Context, tx store.Tx) error { return tx.InsertWebhook(ctx, first) })

	next := Webhook("acme", "wh_2")
	next.URL, next.UpdatedAt, next.Cursor = "http://192.0.2.1/", Start().Add(time.Minute), 99
	b.update(func(ctx context.Context, tx store.Tx) error { return tx.UpdateWebhook(ctx, next) })
	next.Cursor = 7 // which only SpreadEvents moves
	equal(b, get(b, webhook("acme", "wh_2")), next)
	foreign.Tenant = "acme"
	b.refused(masking.CodeNotFound, func(ctx context.Context, tx store.Tx) error { return tx.UpdateWebhook(ctx, foreign) })
}

func webhookDeleted(b *bench) {
	b.tenant("acme")
	b.webhook(Webhook("acme", "wh_1"))
	b.webhook(Webhook("acme", "wh_2"))
	e := b.tell("acme", 1, "gvn_a")
	b.spread("wh_1", 10)
	b.spread("wh_2", 10)
	b.refused(masking.CodeNotFound, func(ctx context.Context, tx store.Tx) error { return tx.DeleteWebhook(ctx, "other", "wh_1") })
	b.update(func(ctx context.Context, tx store.Tx) error { return tx.DeleteWebhook(ctx, "acme", "wh_1") })
	b.code(masking.CodeNotFound, getErr(b, webhook("acme", "wh_1")))
	b.code(masking.CodeNotFound, getErr(b, func(ctx context.Context, tx store.Reader) (masking.Delivery, error) {
		return tx.Delivery(ctx, "wh_1", e.Cursor)
	}))
	equal(b, b.standing("wh_2", store.DeliveryFilter{}), "1: pending")
	b.update(func(ctx context.Context, tx store.Tx) error { return tx.DeleteTenant(ctx, "acme") })
	b.tenant("acme")
	b.code(masking.CodeNotFound, getErr(b, webhook("acme", "wh_2")))
}

func webhookLeased(b *bench) {
	b.tenant("acme")
	w := b.webhook(Webhook("acme", "wh_1"))
	lease := func(owner string, now time.Time) (ok bool) {
		b.Helper()
		b.update(func(ctx context.Context, tx store.Tx) (err error) {
			ok, err = tx.LeaseWebhook(ctx, "wh_1", owner, now, now.Add(time.Minute))
			return err
		})
		return ok
	}
	equal(b, lease("node-1", Start()), true)
	equal(b, lease("node-2", Start().Add(59*time.Second)), false)
	equal(b, lease("node-1", Start().Add(59*time.Second)), true)
	equal(b, lease("node-2", Start().Add(60*time.Second)), false)
	equal(b, lease("node-2", Start().Add(119*time.Second)), true)
	w.Active = false
	b.update(func(ctx context.Context, tx store.Tx) error { return tx.UpdateWebhook(ctx, w) })
	equal(b, lease("node-2", Start().Add(120*time.Second)), false)
}

func webhookIdle(b *bench) {
	b.tenant("acme")
	b.tenant("other")
	b.webhook(Webhook("acme", "wh_1"))
	off := Webhook("acme", "wh_2")
	off.Active = false
	b.webhook(off)
	b.webhook(Webhook("other", "wh_3"))
	idle := func(owner string, now time.Time) (ids string) {
		b.Helper()
		for _, w := range get(b, func(ctx context.Context, tx store.Reader) ([]masking.Webhook, error) {
			return tx.IdleWebhooks(ctx, owner, now)
		}) {
			ids += string(w.ID) + " "
		}
		return ids
	}
	equal(b, idle("node-1", Start()), "")
	e := b.tell("acme", 1, "gvn_a")
	equal(b, idle("node-1", Start()), "wh_1 ")
	b.spread("wh_1", 10)
	equal(b, idle("node-1", Start()), "wh_1 ")
	b.update(func(ctx context.Context, tx store.Tx) error {
		_, err := tx.LeaseWebhook(ctx, "wh_1", "node-1", Start(), Start().Add(time.Minute))
		return err
	})
	equal(b, idle("node-2", Start()), "")
	equal(b, idle("node-2", Start().Add(time.Minute)), "wh_1 ")
	b.attempt(b.delivery("wh_1", e), masking.OutcomeStatus, Start())
	equal(b, idle("node-1", Start().Add(59*time.Second)), "")
	equal(b, idle("node-1", Start().Add(time.Minute)), "wh_1 ")
	b.attempt(b.delivery("wh_1", e), masking.OutcomeDelivered, Start())
	equal(b, idle("node-1", Start().Add(time.Hour)), "")
}

func deliverySpread(b *bench) {
	b.tenant("acme")
	b.tenant("other")
	w := Webhook("acme", "wh_1")
	w.Types = []masking.EventType{masking.EventUpdated}
	w.Cursor = b.tell("acme", 1, "gvn_a").Cursor // what was before it is not its business
	b.webhook(w)
	b.tell("other", 2, "gvn_b")
	for i := 3; i < 6; i++ {
		b.tell("acme", i, "gvn_a")
	}
	e := event("acme", 6, Start().Add(6*time.Second))
	e.Type = masking.EventCallRinging
	b.update(func(ctx context.Context, tx store.Tx) error { return tx.AppendEvent(ctx, e) })
	equal(b, b.spread("wh_1", 2), 2)
	equal(b, b.standing("wh_1", store.DeliveryFilter{}), "3: pending, 4: queued")
	equal(b, b.spread("wh_1", 10), 2)
	equal(b, b.spread("wh_1", 10), 0)
	equal(b, b.standing("wh_1", store.DeliveryFilter{}), "3: pending, 4: queued, 5: queued")
	b.refused(masking.CodeNotFound, func(ctx context.Context, tx store.Tx) error {
		_, err := tx.SpreadEvents(ctx, "wh_9", Start(), 1)
		return err
	})
}

func deliveryChain(b *bench) {
	b.tenant("acme")
	b.webhook(Webhook("acme", "wh_1"))
	var e []store.StoredEvent
	for i, chain := range []masking.AllocationID{"gvn_a", "gvn_b", "gvn_a", "gvn_a"} {
		e = append(e, b.tell("acme", i, chain))
	}
	b.spread("wh_1", 10)
	equal(b, b.due("wh_1", Start()), "0 1")
	b.attempt(b.delivery("wh_1", e[0]), masking.OutcomeTimeout, Start())
	equal(b, b.due("wh_1", Start()), "1")
	equal(b, b.due("wh_1", Start().Add(time.Minute)), "1 0")
	_, changed := b.attempt(b.delivery("wh_1", e[0]), masking.OutcomeTimeout, Start())
	equal(b, changed, true)
	equal(b, b.standing("wh_1", store.DeliveryFilter{}), "0: dead, 1: pending, 2: pending, 3: queued")
	b.attempt(b.delivery("wh_1", e[2]), masking.OutcomeDelivered, Start())
	equal(b, b.standing("wh_1", store.DeliveryFilter{}), "0: dead, 1: pending, 2: delivered, 3: pending")
	_, changed = b.attempt(b.delivery("wh_1", e[2]), masking.OutcomeStatus, Start())
	equal(b, changed, false)
	equal(b, b.standing("wh_1", store.DeliveryFilter{}), "0: dead, 1: pending, 2: delivered, 3: pending")
}

func deliveryAgain(b *bench) {
	b.tenant("acme")
	b.webhook(Webhook("acme", "wh_1"))
	var e []store.StoredEvent
	for i := range 3 {
		e = append(e, b.tell("acme", i, "gvn_a"))
	}
	b.spread("wh_1", 10)
	b.attempt(b.delivery("wh_1", e[0]), masking.OutcomeDelivered, Start())
	underWay := b.delivery("wh_1", e[1])
	again := func(i int) {
		b.Helper()
		b.update(func(ctx context.Context, tx store.Tx) error {
			return tx.SendAgain(ctx, "wh_1", e[i], Start().Add(time.Second))
		})
	}
	again(0)
	equal(b, b.standing("wh_1", store.DeliveryFilter{}), "0: pending, 1: queued, 2: queued")
	d := b.delivery("wh_1", e[0])
	equal(b, d.Tries, 0)
	equal(b, d.FinishedAt, time.Time{})
	equal(b, len(d.Attempts), 1)
	b.attempt(underWay, masking.OutcomeStatus, Start())
	equal(b, b.standing("wh_1", store.DeliveryFilter{}), "0: pending, 1: queued, 2: queued")
	b.attempt(d, masking.OutcomeDelivered, Start())
	equal(b, b.standing("wh_1", store.DeliveryFilter{}), "0: delivered, 1: pending, 2: queued")
	again(0)
	again(1)
	again(1)
	equal(b, b.standing("wh_1", store.DeliveryFilter{}), "0: pending, 1: queued, 2: queued")
	equal(b, b.delivery("wh_1", e[1]).Due, Start().Add(time.Second))

	// An event from before the endpoint was made.
	b.webhook(Webhook("acme", "wh_2"))
	b.update(func(ctx context.Context, tx store.Tx) error { return tx.SendAgain(ctx, "wh_2", e[2], Start()) })
	equal(b, b.standing("wh_2", store.DeliveryFilter{}), "2: pending")
	b.refused(masking.CodeNotFound, func(ctx context.Context, tx store.Tx) error { return tx.SendAgain(ctx, "wh_9", e[2], Start()) })
}

func deliveryAttempt(b *bench) {
	b.tenant("acme")
	b.webhook(Webhook("acme", "wh_1"))
	e := b.tell("acme", 1, "gvn_a")
	b.spread("wh_1", 10)
	d := b.delivery("wh_1", e)
	equal(b, d, masking.Delivery{Webhook: "wh_1", Cursor: e.Cursor, Event: e.Event, Status: masking.DeliveryPending, Due: Start()})
	for i := range 2 {
		var changed bool
		d, changed = b.attempt(d, masking.OutcomeStatus, Start().Add(time.Duration(i)*time.Minute))
		equal(b, changed, true)
		equal(b, b.delivery("wh_1", e), d)
	}
	equal(b, d.Status, masking.DeliveryDead)
	equal(b, len(d.Attempts), 2)
	b.code(masking.CodeNotFound, getErr(b, func(ctx context.Context, tx store.Reader) (int64, error) { return tx.EventPlace(ctx, "other", e.ID) }))
}

func deliveryLists(b *bench) {
	b.tenant("acme")
	b.webhook(Webhook("acme", "wh_1"))
	b.webhook(Webhook("acme", "wh_2"))
	var e []store.StoredEvent
	for i := range 6 {
		e = append(e, b.tell("acme", i, AllocationID(i)))
	}
	b.spread("wh_1", 10)
	for _, i := range []int{1, 4} {
		b.attempt(b.delivery("wh_1", e[i]), masking.OutcomeDelivered, Start())
	}
	for want, f := range map[string]store.DeliveryFilter{
		"1: delivered, 4: delivered":           {Status: masking.DeliveryDelivered},
		"1: delivered":                         {Status: masking.DeliveryDelivered, Before: e[4].Cursor},
		"4: delivered, 5: pending":             {Since: Start().Add(4 * time.Second)},
		"0: pending, 1: delivered":             {Until: Start().Add(2 * time.Second)},
		"2: pending, 3: pending":               {Status: masking.DeliveryPending, Before: e[5].Cursor, Limit: 2},
		"3: pending, 4: delivered":             {Before: e[5].Cursor, Limit: 2},
		"":                                     {Status: masking.DeliveryDead},
		"2: pending, 3: pending, 4: delivered": {Since: Start().Add(2 * time.Second), Until: Start().Add(5 * time.Second)},
	} {
		equal(b, b.standing("wh_1", f), want)
	}
	equal(b, b.standing("wh_2", store.DeliveryFilter{}), "")
	count := func(s masking.DeliveryStatus, limit int) int {
		return get(b, func(ctx context.Context, tx store.Reader) (int, error) {
			return tx.CountDeliveries(ctx, "wh_1", s, limit)
		})
	}
	equal(b, count(masking.DeliveryPending, 10), 4)
	equal(b, count(masking.DeliveryPending, 3), 3)
	equal(b, count(masking.DeliveryDead, 3), 0)
}

func deliveryForgotten(b *bench) {
	b.tenant("acme")
	b.webhook(Webhook("acme", "wh_1"))
	var e []store.StoredEvent
	for i := range 6 {
		e = append(e, b.tell("acme", i, AllocationID(i)))
	}
	b.spread("wh_1", 10)
	for i := range 4 {
		d, _ := b.attempt(b.delivery("wh_1", e[i]), masking.OutcomeStatus, Start())
		outcome := masking.OutcomeDelivered
		if i == 3 {
			outcome = masking.OutcomeStatus
		}
		b.attempt(d, outcome, Start().Add(time.Duration(i)*time.Minute))
	}
	forget := func(s masking.DeliveryStatus, limit int) (n int) {
		b.Helper()
		b.update(func(ctx context.Context, tx store.Tx) (err error) {
			n, err = tx.ForgetDeliveries(ctx, s, Start().Add(2*time.Minute), limit)
			return err
		})
		return n
	}
	equal(b, forget(masking.DeliveryDelivered, 1), 1)
	equal(b, b.standing("wh_1", store.DeliveryFilter{}), "1: delivered, 2: delivered, 3: dead, 4: pending, 5: pending")
	equal(b, forget(masking.DeliveryDelivered, 10), 1)
	equal(b, forget(masking.DeliveryDead, 10), 0)
	equal(b, forget(masking.DeliveryPending, 10), 0)
	equal(b, b.standing("wh_1", store.DeliveryFilter{}), "2: delivered, 3: dead, 4: pending, 5: pending")
}
