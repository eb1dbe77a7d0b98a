package storetest

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/store"
)

func guardTests() []test {
	return []test{
		{"ACallerIsBlockedOnEveryNumberOfTheTenantAndNoOther", blockedRoute},
		{"BlockedCallersAreListedInOrderPageByPage", blockedList},
		{"CallsThatWereLetThroughCountInTheirDay", useOfADay},
		{"OfCallsThatAreJudgedAtOnceAsManyGetThroughAsMay", useUnderConcurrency},
		{"CallsCountInTheirWindowAndTheNextOneBeginsAnew", paces},
		{"OldPacesAreForgottenAFewAtATime", pacesForgotten},
	}
}

func blocked(tenant masking.TenantID, n e164.Number, note string) store.BlockedCaller {
	return store.BlockedCaller{Tenant: tenant, Number: n, Note: note, CreatedAt: Start()}
}

func blockedRoute(b *bench) {
	b.acme()
	b.tenant("other")
	b.number("other", 3, masking.Shared)
	b.created(Allocation("acme", AllocationID(1), Virtual(1), People(1), People(2)), Start())
	is := func(virtual, caller e164.Number) bool {
		r, err := b.Route(b.Context(), virtual, caller)
		if err != nil {
			b.Fatal(err)
		}
		return r.Blocked
	}
	block := func(c store.BlockedCaller) func(context.Context, store.Tx) error {
		return func(ctx context.Context, tx store.Tx) error { return tx.BlockCaller(ctx, c) }
	}
	b.update(block(blocked("acme", Person(1), "spam")))
	for _, c := range []struct {
		virtual, caller e164.Number
		want            bool
	}{{Virtual(1), Person(1), true}, {Virtual(2), Person(1), true}, {Virtual(3), Person(1), false}, {Virtual(1), Person(2), false}, {Virtual(1), e164.Number{}, false}} {
		if got := is(c.virtual, c.caller); got != c.want {
			b.Errorf("%v from %v: blocked %v", c.virtual, c.caller, got)
		}
	}
	unblock := func(t masking.TenantID) func(context.Context, store.Tx) error {
		return func(ctx context.Context, tx store.Tx) error { return tx.UnblockCaller(ctx, t, Person(1)) }
	}
	b.refused(masking.CodeNotFound, unblock("other"))
	b.update(unblock("acme"))
	b.refused(masking.CodeNotFound, unblock("acme"))
	equal(b, is(Virtual(1), Person(1)), false)
	b.refused(masking.CodeNotFound, block(blocked("nobody", Person(1), "")))
}

func blockedList(b *bench) {
	b.tenant("acme")
	b.tenant("other")
	b.update(func(ctx context.Context, tx store.Tx) error {
		for _, c := range []store.BlockedCaller{blocked("acme", Person(3), "three"), blocked("acme", Person(1), "one"), blocked("acme", Person(2), ""), blocked("other", Person(1), "")} {
			if err := tx.BlockCaller(ctx, c); err != nil {
				return err
			}
		}
		again := blocked("acme", Person(2), "two")
		again.CreatedAt = Start().Add(time.Hour) // only the note is new
		return tx.BlockCaller(ctx, again)
	})
	page := func(after string, limit int) []store.BlockedCaller {
		return get(b, func(ctx context.Context, tx store.Reader) ([]store.BlockedCaller, error) {
			return tx.BlockedCallers(ctx, "acme", after, limit)
		})
	}
	equal(b, page("", 2), []store.BlockedCaller{blocked("acme", Person(1), "one"), blocked("acme", Person(2), "two")})
	equal(b, page(Person(2).E164(), 2), []store.BlockedCaller{blocked("acme", Person(3), "three")})
	b.update(func(ctx context.Context, tx store.Tx) error { return tx.DeleteTenant(ctx, "acme") })
	equal(b, len(page("", 10)), 0)
}

func useOfADay(b *bench) {
	b.acme()
	a := b.created(Allocation("acme", AllocationID(1), Virtual(1), People(1), People(2)), Start())
	const monday, tuesday = masking.Day(20240617), masking.Day(20240618)
	begin := func(i int, day masking.Day, why masking.Refusal) masking.Call {
		c := Call(a, CallID(i), Person(1))
		c.Day, c.Refusal, c.Callee = day, why, Person(2)
		b.update(func(ctx context.Context, tx store.Tx) error {
			for range 2 { // it counts once
				if _, err := tx.BeginCall(ctx, c); err != nil {
					return err
				}
			}
			return nil
		})
		return c
	}
	end := func(c masking.Call, talk time.Duration) {
		c.AnsweredAt, c.EndedAt, c.TalkTime, c.Cause = Start(), Start().Add(talk), talk, masking.CauseCallerHungUp
		b.update(func(ctx context.Context, tx store.Tx) error {
			for range 2 {
				if _, err := tx.EndCall(ctx, c); err != nil {
					return err
				}
			}
			return nil
		})
	}
	today := func(want masking.Use) {
		b.Helper()
		equal(b, b.allocation(a.ID).Today, want)
	}
	today(masking.Use{})
	first := begin(1, monday, "")
	begin(2, monday, masking.RefusedCallerBusy)
	begin(3, 0, "")
	second := begin(4, monday, "")
	today(masking.Use{Day: monday, Calls: 2})
	end(first, 61*time.Second)
	today(masking.Use{Day: monday, Calls: 2, Talk: 61 * time.Second})
	third := begin(5, tuesday, "")
	today(masking.Use{Day: tuesday, Calls: 1})
	end(second, time.Minute) // of yesterday
	begin(6, monday, "")     // which is written late
	today(masking.Use{Day: tuesday, Calls: 1})
	end(third, 5*time.Second)
	today(masking.Use{Day: tuesday, Calls: 1, Talk: 5 * time.Second})
	equal(b, b.allocation(a.ID).Tally, masking.Tally{Calls: 6, Connected: 3, TalkSeconds: 126})

	p := ByPIN(Allocation("acme", AllocationID(2), Virtual(2), People(1), People(2)), "4821")
	b.created(p, Start())
	c := Call(p, CallID(7), Person(9))
	c.Allocation, c.Day = "", monday
	b.update(func(ctx context.Context, tx store.Tx) error {
		if _, err := tx.BeginCall(ctx, c); err != nil {
			return err
		}
		c.Allocation = p.ID
		_, err := tx.MatchCall(ctx, c)
		return err
	})
	equal(b, b.allocation(p.ID).Today, masking.Use{Day: monday, Calls: 1})
}

func useUnderConcurrency(b *bench) {
	b.acme()
	a := b.created(Allocation("acme", AllocationID(1), Virtual(1), People(1), People(2)), Start())
	const day, most, tries = masking.Day(20240617), 7, 40
	var through atomic.Int64
	var wg sync.WaitGroup
	for i := range tries {
		wg.Go(func() {
			let := false
			err := b.Update(b.Context(), func(ctx context.Context, tx store.Tx) error {
				let = false
				now, err := tx.Allocation(ctx, "acme", a.ID)
				if err != nil || now.Today.On(day).Calls >= most {
					return err
				}
				let = true
				c := Call(a, CallID(i), Person(1))
				c.Day = day
				_, err = tx.BeginCall(ctx, c)
				return err
			})
			if err != nil {
				b.Error(err)
			} else if let {
				through.Add(1)
			}
		})
	}
	wg.Wait()
	equal(b, through.Load(), int64(most))
	equal(b, b.allocation(a.ID).Today, masking.Use{Day: day, Calls: most})
}

func paces(b *bench) {
	b.tenant("acme")
	b.tenant("other")
	count := func(p masking.Pace, at time.Duration, want int) {
		b.Helper()
		before := get(b, func(ctx context.Context, tx store.Reader) (int, error) {
			return tx.Pace(ctx, p, time.Minute, Start().Add(at))
		})
		equal(b, before, want-1)
		b.update(func(ctx context.Context, tx store.Tx) error {
			got, err := tx.CountPace(ctx, p, time.Minute, Start().Add(at))
			if err == nil && got != want {
				err = fmt.Errorf("%v at %v: %d calls, want %d", p.Scope, at, got, want)
			}
			return err
		})
	}
	caller := masking.Pace{Tenant: "acme", Scope: masking.OfCaller, Subject: Person(1).E164()}
	another, all := caller, masking.Pace{Tenant: "acme", Scope: masking.OfTenant}
	another.Subject = Person(2).E164()
	elsewhere := caller
	elsewhere.Tenant = "other"
	count(caller, 0, 1)
	count(caller, 59*time.Second, 2)
	count(another, 59*time.Second, 1)
	count(all, 59*time.Second, 1)
	count(elsewhere, 59*time.Second, 1)
	count(caller, time.Minute-time.Millisecond, 3)
	count(caller, time.Minute, 1)
	count(caller, 2*time.Minute-time.Millisecond, 2)
	count(caller, -time.Hour, 1) // a clock that was set back
	count(caller, -time.Hour, 2)
}

func pacesForgotten(b *bench) {
	b.tenant("acme")
	b.update(func(ctx context.Context, tx store.Tx) error {
		for i := range 5 {
			p := masking.Pace{Tenant: "acme", Scope: masking.OfCaller, Subject: Person(i).E164()}
			if _, err := tx.CountPace(ctx, p, time.Hour, Start().Add(time.Duration(i)*time.Second)); err != nil {
				return err
			}
		}
		return nil
	})
	for _, want := range []int{3, 1, 0} {
		b.update(func(ctx context.Context, tx store.Tx) error {
			n, err := tx.ForgetPaces(ctx, Start().Add(4*time.Second), 3)
			if err == nil && n != want {
				err = fmt.Errorf("forgot %d, want %d", n, want)
			}
			return err
		})
	}
}
