package storetest

import (
	"context"
	"strings"
	"time"

	"tandem/internal/masking"
	"tandem/internal/store"
)

// Two nodes that change one row at the same time, each another field of it.
func changeTests() []test {
	return []test{
		{"ConcurrentChangesOfATenantLoseNothing", changedTenant},
		{"ConcurrentChangesOfATrunkLoseNothing", changedTrunk},
		{"ConcurrentChangesOfAnEndpointLoseNothing", changedWebhook},
		{"ConcurrentSlicesOfAnErasureLoseNothing", changedErasure},
		{"ARecordingThatEndsWhileItIsHeldIsStoredAndHeld", heldEnd},
		{"ARecordingIsHeldOrRetiredNeverBoth", heldRetired},
		{"TwoNumbersErasedFromOneRowAtOnceAreBothGone", erasedTogether},
	}
}

// loseNothing lets two writers change a row, each by a step of its own, and checks that
// all that both have done is there. step says in which of two numbers it can be read.
func (b *bench) loseNothing(step func(ctx context.Context, tx store.Tx, k int) error, read func(ctx context.Context, tx store.Reader) ([2]int, error)) {
	b.Helper()
	const each = 15
	before := get(b, read)
	for _, err := range together(2, func(k int) error {
		for range each {
			if err := b.Update(b.Context(), func(ctx context.Context, tx store.Tx) error { return step(ctx, tx, k) }); err != nil {
				return err
			}
		}
		return nil
	}) {
		if err != nil {
			b.Fatal(err)
		}
	}
	equal(b, get(b, read), [2]int{before[0] + each, before[1] + each})
}

func changedTenant(b *bench) {
	b.tenant("acme")
	b.loseNothing(func(ctx context.Context, tx store.Tx, k int) error {
		t, err := tx.LockTenant(ctx, "acme")
		if err != nil {
			return err
		}
		*[]*int{&t.Settings.MaxCalls, &t.Settings.MaxCallerRate}[k]++
		return tx.UpdateTenant(ctx, t)
	}, func(ctx context.Context, tx store.Reader) ([2]int, error) {
		t, err := tx.Tenant(ctx, "acme")
		return [2]int{t.Settings.MaxCalls, t.Settings.MaxCallerRate}, err
	})
}

func changedTrunk(b *bench) {
	b.update(func(ctx context.Context, tx store.Tx) error { return tx.InsertTrunk(ctx, trunk("carrier")) })
	b.loseNothing(func(ctx context.Context, tx store.Tx, k int) error {
		t, err := tx.Trunk(ctx, "carrier")
		if err != nil {
			return err
		}
		*[]*int{&t.MaxCalls, &t.MaxCPS}[k]++
		return tx.UpdateTrunk(ctx, t)
	}, func(ctx context.Context, tx store.Reader) ([2]int, error) {
		t, err := tx.Trunk(ctx, "carrier")
		return [2]int{t.MaxCalls, t.MaxCPS}, err
	})
}

func changedWebhook(b *bench) {
	b.tenant("acme")
	w := b.webhook(Webhook("acme", "wh_1"))
	b.loseNothing(func(ctx context.Context, tx store.Tx, k int) error {
		w, err := tx.Webhook(ctx, "acme", w.ID)
		if err != nil {
			return err
		}
		if k == 0 {
			w.URL += "/"
		} else {
			w.UpdatedAt = w.UpdatedAt.Add(time.Second)
		}
		return tx.UpdateWebhook(ctx, w)
	}, func(ctx context.Context, tx store.Reader) ([2]int, error) {
		w, err := tx.Webhook(ctx, "acme", w.ID)
		return [2]int{len(w.URL), int(w.UpdatedAt.Unix())}, err
	})
}

func changedErasure(b *bench) {
	b.tenant("acme")
	e := erasure(1, Start())
	b.update(func(ctx context.Context, tx store.Tx) error { return tx.InsertErasure(ctx, e) })
	b.loseNothing(func(ctx context.Context, tx store.Tx, k int) error {
		e, err := tx.Erasure(ctx, "acme", e.ID)
		if err != nil {
			return err
		}
		*[]*int{&e.Waiting, &e.Removed.Calls}[k]++
		return tx.UpdateErasure(ctx, e)
	}, func(ctx context.Context, tx store.Reader) ([2]int, error) {
		e, err := tx.Erasure(ctx, "acme", e.ID)
		return [2]int{e.Waiting, e.Removed.Calls}, err
	})
}

// rewrite changes the i-th recording of acme as it is then; errTest if it may not be.
func (b *bench) rewrite(i int, may func(masking.Recording) bool, change func(*masking.Recording)) error {
	return b.Update(b.Context(), func(ctx context.Context, tx store.Tx) error {
		g, err := tx.Recording(ctx, "acme", CallID(i))
		if err == nil && !may(g) {
			err = errTest
		}
		if err != nil {
			return err
		}
		change(&g)
		return tx.UpdateRecording(ctx, g)
	})
}

func heldEnd(b *bench) {
	b.acme()
	for i := range 25 {
		b.begin(recording(i))
		for _, err := range together(2, func(k int) error {
			if k == 0 {
				_, err := b.end(stored(recording(i)))
				return err
			}
			return b.rewrite(i, func(masking.Recording) bool { return true }, func(g *masking.Recording) { g.Held = true })
		}) {
			if err != nil {
				b.Fatal(err)
			}
		}
		want := stored(recording(i))
		want.Held = true
		equal(b, b.recording(i), want)
	}
}

func heldRetired(b *bench) {
	b.acme()
	for i := range 25 {
		b.begin(stored(recording(i)))
		errs := together(2, func(k int) error {
			if k == 0 {
				return b.rewrite(i, func(g masking.Recording) bool { return !g.Held }, func(g *masking.Recording) { g.Status = masking.RecordingDeleted })
			}
			return b.rewrite(i, func(g masking.Recording) bool { return g.Status == masking.RecordingStored }, func(g *masking.Recording) { g.Held = true })
		})
		g := b.recording(i)
		if retired, held := errs[0] == nil, errs[1] == nil; retired == held || g.Held != held || (g.Status == masking.RecordingDeleted) != retired {
			b.Fatalf("retired: %v, held: %v, and it is %s, held %v", errs[0], errs[1], g.Status, g.Held)
		}
	}
}

func erasedTogether(b *bench) {
	b.acme()
	now := Start().Add(time.Hour)
	for i := range 25 {
		c := b.past(i, Person(1), Person(2))
		e := event("acme", i, Start())
		e.Call, e.Data = c.ID, []byte(`{"from":"`+Person(1).E164()+`","to":"`+Person(2).E164()+`"}`)
		b.update(func(ctx context.Context, tx store.Tx) error { return tx.AppendEvent(ctx, e) })
		for _, part := range []masking.ErasurePart{masking.EraseCalls, masking.EraseEvents} {
			for _, err := range together(2, func(k int) error {
				t := store.Traces{Tenant: "acme", Number: Person(1 + k), Part: part, Until: now, Scan: 100}
				var keys []string
				err := b.View(b.Context(), func(ctx context.Context, tx store.Reader) (err error) {
					keys, _, err = tx.FindTraces(ctx, t)
					return err
				})
				if err != nil {
					return err
				}
				return b.Update(b.Context(), func(ctx context.Context, tx store.Tx) error {
					_, _, err := tx.EraseTraces(ctx, t, keys, now)
					return err
				})
			}) {
				if err != nil {
					b.Fatal(err)
				}
			}
		}
		is := get(b, func(ctx context.Context, tx store.Reader) (masking.Call, error) { return tx.Call(ctx, "acme", c.ID) })
		if !is.Caller.IsErased() || !is.Callee.IsErased() {
			b.Fatalf("the call has %v and %v", is.Caller.IsErased(), is.Callee.IsErased())
		}
	}
	for _, e := range b.events(store.EventFilter{Tenant: "acme"}) {
		for _, n := range People(1, 2) {
			if strings.Contains(string(e.Data), n.Digits()) {
				b.Errorf("an event still tells a number: %v", e.ID)
			}
		}
	}
}
