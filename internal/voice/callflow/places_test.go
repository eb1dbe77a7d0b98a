package callflow

import (
	"context"
	"slices"
	"testing"
	"time"

	"tandem/internal/masking"
	"tandem/internal/store"
)

// bounds sets acme's bounds on calls.
func (d *desk) bounds(change func(*masking.Settings)) {
	d.t.Helper()
	d.update(func(ctx context.Context, tx store.Tx) error {
		t, err := tx.Tenant(ctx, "acme")
		if err != nil {
			return err
		}
		change(&t.Settings)
		return tx.UpdateTenant(ctx, t)
	})
}

func TestOfATenantsCallsAsManyAreUpAsTheOperatorLets(t *testing.T) {
	d := newDesk(t)
	d.bounds(func(s *masking.Settings) { s.MaxCalls = 2 })
	_, one := d.rings(virtual, alice)
	_, two := d.rings(virtual, bob)
	ask := d.ask(pinned, stranger) // who would be asked for a PIN
	r, release, err := d.Route(t.Context(), ask)
	if err != nil || r.Refusal != masking.RefusedTenantLimit || r.Then != masking.Reject || release != nil {
		t.Fatalf("%+v, %v", r, err)
	}
	_, other := d.rings(nobodys, carol) // another tenant's
	other()
	one()
	one()
	_, three := d.rings(virtual, alice)
	d.refused(pinned, stranger, masking.RefusedTenantLimit, masking.Reject)
	two()
	three()
	if d.places.quota.Len() != 0 || len(d.busy) != 0 {
		t.Errorf("left %d bounds, %v", d.places.quota.Len(), d.busy)
	}
}

func TestThroughAnAllocationAsManyCallsAreUpAsTheTenantLets(t *testing.T) {
	d := newDesk(t)
	d.bounds(func(s *masking.Settings) { s.MaxAllocationCalls = 1 })
	_, one := d.rings(virtual, alice)
	ask := d.ask(virtual, bob)
	r, release, err := d.Route(t.Context(), ask)
	if err != nil || r.Refusal != masking.RefusedAllocationLimit || release != nil || r.Plan.Allocation.ID != "gvn_two" {
		t.Fatalf("%+v, %v", r, err)
	}
	d.Refused(ask, r.Plan, r.Refusal)
	one()
	_, two := d.rings(virtual, bob)
	two()
	d.flush()
	if got := d.events("acme"); !slices.Equal(got, []string{"call.rejected allocation_limit gvn_two"}) {
		t.Errorf("events %v", got)
	}
	if got := d.tally("acme", "gvn_two"); got != (masking.Tally{Calls: 1}) {
		t.Errorf("a matched call that was refused counts %+v", got)
	}
}

func TestACallThatAPINOpensIsOneOfItsAllocationsCalls(t *testing.T) {
	d := newDesk(t)
	d.bounds(func(s *masking.Settings) { s.MaxAllocationCalls = 1 })
	enter := func(ask masking.Ask) masking.Ruling {
		t.Helper()
		r, _, err := d.Enter(t.Context(), ask, "4801")
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	first, second := d.ask(pinned, alice), d.ask(pinned, bob)
	_, release, err := d.Route(t.Context(), first)
	if err != nil || release == nil {
		t.Fatal(err)
	}
	_, releaseSecond, err := d.Route(t.Context(), second)
	if err != nil || releaseSecond == nil {
		t.Fatal(err)
	}
	if r := enter(first); r.Refusal != "" {
		t.Fatalf("%+v", r)
	}
	if r := enter(second); r.Refusal != masking.RefusedAllocationLimit {
		t.Fatalf("%+v", r)
	}
	release()
	if r := enter(second); r.Refusal != "" {
		t.Fatalf("%+v", r)
	}
	releaseSecond()
	if d.places.quota.Len()+len(d.places.entered) != 0 {
		t.Errorf("left %d bounds, %+v", d.places.quota.Len(), d.places.entered)
	}
}

func TestACallerCallsAsOftenInAMinuteAsTheTenantLets(t *testing.T) {
	d := newDesk(t)
	d.bounds(func(s *masking.Settings) { s.MaxCallerRate = 3 })
	for range 3 {
		_, release := d.rings(virtual, alice)
		release()
	}
	d.refused(virtual, alice, masking.RefusedCallerRate, masking.Reject)
	_, other := d.rings(virtual, bob)
	other()
	_, elsewhere := d.rings(nobodys, alice) // zeta bounds nobody
	elsewhere()
	d.now = d.now.Add(time.Minute)
	_, later := d.rings(virtual, alice)
	later()
}

func TestACallThatGoesOnAfterARestartTakesItsPlaces(t *testing.T) {
	d := newDesk(t)
	d.bounds(func(s *masking.Settings) { s.MaxAllocationCalls = 1 })
	plan, release := d.rings(virtual, alice)
	release()
	release = d.Resumed(plan)
	d.refused(virtual, bob, masking.RefusedAllocationLimit, masking.Reject)
	release()
	release()
	_, release = d.rings(virtual, bob)
	release()
}

func TestTheDirectorTellsWhenAnAllocationExpires(t *testing.T) {
	d := newDesk(t)
	expect := func(id masking.AllocationID, want time.Time) {
		t.Helper()
		if got, err := d.Expires(t.Context(), "acme", id); err != nil || !got.Equal(want) {
			t.Errorf("%s expires at %v, %v; want %v", id, got, err, want)
		}
	}
	end := func(why masking.EndReason) {
		d.update(func(ctx context.Context, tx store.Tx) error {
			a, err := tx.Allocation(ctx, "acme", "gvn_two")
			if err != nil {
				return err
			}
			a.EndedAt, a.EndReason = a.ExpiresAt, why
			return tx.UpdateAllocation(ctx, a)
		})
	}
	expect("gvn_two", start.Add(time.Hour))
	end(masking.EndedByExpired) // swept
	expect("gvn_two", start.Add(time.Hour))
	end(masking.EndedByAPI)
	expect("gvn_two", time.Time{})
	expect("gvn_none", time.Time{})
	d.now = start.Add(2 * time.Hour)
	expect("gvn_one", start.Add(time.Hour))
}
