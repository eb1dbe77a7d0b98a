package callflow

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/quota"
	"tandem/internal/store"
)

// told are the data of the events of a type that acme was told.
func (d *desk) told(typ masking.EventType) (all []map[string]any) {
	d.t.Helper()
	d.view(func(ctx context.Context, tx store.Reader) error {
		list, err := tx.Events(ctx, store.EventFilter{Tenant: "acme", Limit: 1000})
		for _, e := range list {
			var data map[string]any
			if err := json.Unmarshal(e.Data, &data); err != nil {
				return err
			}
			if e.Type == typ {
				all = append(all, data)
			}
		}
		return err
	})
	return all
}

func (d *desk) today(id masking.AllocationID) masking.Use {
	d.t.Helper()
	var a masking.Allocation
	d.view(func(ctx context.Context, tx store.Reader) (err error) {
		a, err = tx.Allocation(ctx, "acme", id)
		return err
	})
	return a.Today
}

// lives makes acme's allocations live for days.
func (d *desk) lives() {
	d.t.Helper()
	d.update(func(ctx context.Context, tx store.Tx) error {
		a, err := tx.Allocation(ctx, "acme", "gvn_two")
		if err != nil {
			return err
		}
		a.ExpiresAt = start.Add(100 * time.Hour)
		if err := tx.UpdateAllocation(ctx, a); err != nil {
			return err
		}
		return tx.Hold(ctx, a, masking.Exclusive, start)
	})
}

// rung routes a call and ends it after a talk, as voice/b2bua would.
func (d *desk) rung(caller e164.Number, talk time.Duration) {
	d.t.Helper()
	ask := d.ask(virtual, caller)
	r, release, err := d.Route(d.t.Context(), ask)
	if err != nil || r.Refusal != "" {
		d.t.Fatalf("refused: %q, %v", r.Refusal, err)
	}
	defer release()
	c, zone := r.Plan.Record(ask, "n1"), r.Plan.Tenant.Settings.Zone
	d.journal.Note(masking.Began, c, zone)
	c.AnsweredAt, c.EndedAt, c.TalkTime, c.Cause = d.now, d.now.Add(talk), talk, masking.CauseCallerHungUp
	d.journal.Note(masking.Ended, c, zone)
	d.quiet()
}

// quiet waits until the journal has written all it was told.
func (d *desk) quiet() {
	for d.journal.Waiting() > 0 {
		d.update(func(context.Context, store.Tx) error { return nil })
	}
}

func TestOfADayAnAllocationHasAsManyCallsAsTheTenantLets(t *testing.T) {
	d := newDesk(t)
	d.lives()
	d.bounds(func(s *masking.Settings) { s.Guards.DayCalls = 2 })
	d.rung(alice, 0)
	d.rung(bob, time.Minute)
	ask := d.ask(virtual, alice)
	r, _, err := d.Route(t.Context(), ask)
	if err != nil || r.Refusal != masking.RefusedDayCalls || r.Then != masking.Reject || r.Plan.Allocation.ID != "gvn_two" {
		t.Fatalf("%+v, %v", r, err)
	}
	d.Refused(ask, r.Plan, r.Refusal)
	_, other := d.rings(oneway, alice) // another allocation
	other()
	d.now = time.Date(2024, 6, 15, 18, 29, 59, 0, time.UTC) // 23:59:59 in Kolkata
	d.refused(virtual, alice, masking.RefusedDayCalls, masking.Reject)
	d.now = d.now.Add(time.Second)
	d.rung(alice, time.Minute)
	if got := d.today("gvn_two"); got != (masking.Use{Day: 20240616, Calls: 1, Talk: time.Minute}) {
		t.Errorf("%+v", got)
	}
	d.flush()
	if rejected := d.told(masking.EventCallRejected); len(rejected) != 1 || rejected[0]["reason"] != "day_calls" || rejected[0]["greenvn_id"] != "gvn_two" {
		t.Errorf("%v", rejected)
	}
	if got := d.tally("acme", "gvn_two"); got.Calls != 4 { // who is refused has called
		t.Errorf("%+v", got)
	}
}

func TestOfADayAnAllocationHasAsMuchTalkAsTheTenantLets(t *testing.T) {
	d := newDesk(t)
	d.bounds(func(s *masking.Settings) { s.Guards.DayTalk = 10 * time.Minute })
	d.rung(alice, 4*time.Minute)
	ask := d.ask(virtual, bob)
	r, release, err := d.Route(t.Context(), ask)
	if err != nil || r.Refusal != "" || r.Plan.MaxTalk != 6*time.Minute {
		t.Fatalf("%+v, %v", r, err)
	}
	c, zone := r.Plan.Record(ask, "n1"), r.Plan.Tenant.Settings.Zone
	c.AnsweredAt = d.now
	d.journal.Note(masking.Answered, c, zone)
	d.quiet()
	d.now = d.now.Add(5 * time.Minute) // it talks on
	_, second := d.rings(virtual, alice)
	second()
	d.now = d.now.Add(time.Minute)
	d.refused(virtual, alice, masking.RefusedDayTalk, masking.Reject)
	release()
}

func TestCallsThatComeAtOnceAreNoneTooMany(t *testing.T) {
	d := newDesk(t)
	d.bounds(func(s *masking.Settings) { s.Guards.DayCalls = 5 })
	var through, refused atomic.Int64
	var wg sync.WaitGroup
	for i := range 40 {
		// Each by a caller of his own, as he would be busy else: the places are not what is tried here.
		ask := d.ask(virtual, alice)
		wg.Go(func() {
			plan, err := masking.Plan{}, error(nil)
			route, err := d.store.Route(context.Background(), virtual, alice)
			if err == nil {
				plan, err = masking.Admit(route, alice, start)
			}
			if err != nil {
				refused.Add(1) // it was read when all had come
				return
			}
			_, why, err := d.count(context.Background(), ask, plan)
			switch {
			case err != nil:
				t.Errorf("call %d: %v", i, err)
			case why == masking.RefusedDayCalls:
				refused.Add(1)
			case why == "":
				through.Add(1)
			}
		})
	}
	wg.Wait()
	if through.Load() != 5 || refused.Load() != 35 || d.today("gvn_two").Calls != 5 || d.tally("acme", "gvn_two").Calls != 5 {
		t.Errorf("%d through, %d refused, %+v", through.Load(), refused.Load(), d.today("gvn_two"))
	}
}

func TestACallIsCountedOnceThoughItsRecordIsToldAgain(t *testing.T) {
	d := newDesk(t)
	d.bounds(func(s *masking.Settings) { s.Guards.DayCalls = 5 })
	for range 3 {
		d.rung(alice, time.Minute)
	}
	if got := d.today("gvn_two"); got.Calls != 3 || got.Talk != 3*time.Minute || d.tally("acme", "gvn_two").Calls != 3 {
		t.Errorf("%+v", got)
	}
	d.flush()
	if got := len(d.told(masking.EventCallCompleted)); got != 3 {
		t.Errorf("%d terminal events", got)
	}
}

func TestACallThatAPINOpensCountsInItsDay(t *testing.T) {
	d := newDesk(t)
	d.bounds(func(s *masking.Settings) { s.Guards.DayCalls = 1 })
	for i, want := range []masking.Refusal{"", masking.RefusedDayCalls} {
		ask := d.ask(pinned, stranger)
		r, release, err := d.Route(t.Context(), ask)
		if err != nil || r.Then != masking.AskPIN {
			t.Fatalf("%+v, %v", r, err)
		}
		d.journal.Note(masking.Began, r.Plan.Record(ask, "n1"), r.Plan.Tenant.Settings.Zone)
		if r, _, err = d.Enter(t.Context(), ask, "4801"); err != nil || r.Refusal != want {
			t.Fatalf("call %d: %+v, %v", i, r, err)
		}
		release()
	}
	d.flush()
	if got := d.today("gp_one"); got.Calls != 1 {
		t.Errorf("%+v", got)
	}
	if d.places.quota.Len()+len(d.places.entered) != 0 {
		t.Errorf("left %d bounds, %+v", d.places.quota.Len(), d.places.entered)
	}
}

func TestNobodyIsRungWhoMayNotBe(t *testing.T) {
	d := newDesk(t)
	d.bounds(func(s *masking.Settings) { s.Guards.Allowed = masking.Prefixes{alice.E164()} })
	ask := d.ask(virtual, alice)
	r, release, err := d.Route(t.Context(), ask)
	if err != nil || r.Refusal != masking.RefusedDestination || r.Then != masking.Announce || release != nil {
		t.Fatalf("%+v, %v", r, err)
	}
	d.Refused(ask, r.Plan, r.Refusal)
	_, back := d.rings(virtual, bob) // who rings alice
	back()
	if r, _ := d.enters(alice, "4801"); r.Refusal != masking.RefusedDestination {
		t.Errorf("by PIN: %+v", r)
	}
	d.bounds(func(s *masking.Settings) {
		s.Strangers = masking.StrangerPolicy{Action: masking.Forward, Forward: carol}
	})
	d.refused(virtual, stranger, masking.RefusedStranger, masking.Announce)
	d.bounds(func(s *masking.Settings) {
		s.Strangers = masking.StrangerPolicy{Action: masking.AskWebhook, URL: "https://acme.example/"}
	})
	d.flush()
	if rejected := d.told(masking.EventCallRejected); len(rejected) != 1 || rejected[0]["reason"] != "destination_not_allowed" {
		t.Errorf("%v", rejected)
	}
}

func TestABlockedCallerIsLetThroughNowhere(t *testing.T) {
	d := newDesk(t)
	d.update(func(ctx context.Context, tx store.Tx) error {
		return tx.BlockCaller(ctx, store.BlockedCaller{Tenant: "acme", Number: alice, CreatedAt: start})
	})
	ask := d.ask(virtual, alice)
	r, _, err := d.Route(t.Context(), ask)
	if err != nil || r.Refusal != masking.RefusedBlocked || r.Then != masking.Announce {
		t.Fatalf("%+v, %v", r, err)
	}
	d.Refused(ask, r.Plan, r.Refusal)
	d.refused(pinned, alice, masking.RefusedBlocked, masking.Announce) // who has a PIN
	_, other := d.rings(virtual, bob)
	other()
	_, elsewhere := d.rings(nobodys, alice) // zeta blocks nobody
	elsewhere()
	d.bounds(func(s *masking.Settings) { s.Strangers = masking.StrangerPolicy{Action: masking.Reject} })
	d.refused(virtual, alice, masking.RefusedBlocked, masking.Reject)
	d.flush()
	if rejected := d.told(masking.EventCallRejected); len(rejected) != 1 || rejected[0]["reason"] != "caller_blocked" {
		t.Errorf("%v", rejected)
	}
}

func TestCallsThatComeTooFastRaiseAnAlarmOnceInAWindow(t *testing.T) {
	d := newDesk(t)
	d.lives()
	d.bounds(func(s *masking.Settings) {
		s.Guards.Velocity = masking.Velocity{Window: 10 * time.Minute, Caller: 2, Allocation: 3, Tenant: 100}
	})
	for range 3 {
		d.rung(alice, 0) // the third trips the caller
	}
	d.rung(bob, 0) // the fourth trips the allocation
	d.rung(alice, 0)
	d.now = d.now.Add(10 * time.Minute)
	for range 3 {
		d.rung(alice, 0)
	}
	var scopes []string
	for _, e := range d.told(masking.EventGuardTripped) {
		scopes = append(scopes, e["scope"].(string))
		if e["guard"] != "velocity" || e["minutes"] != 10.0 || e["blocked"] != false || e["greenvn_id"] != "gvn_two" || !strings.HasPrefix(e["call_sid"].(string), "call_") {
			t.Errorf("%v", e)
		}
	}
	if !slices.Equal(scopes, []string{"caller", "allocation", "caller"}) {
		t.Errorf("%v", scopes)
	}
	if d.Tripped(masking.OfCaller) != 2 || d.Tripped(masking.OfAllocation) != 1 || d.Tripped(masking.OfTenant) != 0 {
		t.Error("the counters say otherwise")
	}
}

func TestCallsThatComeTooFastAreRefusedWhereTheTenantWantsThat(t *testing.T) {
	d := newDesk(t)
	d.bounds(func(s *masking.Settings) {
		s.Guards.Velocity = masking.Velocity{Window: 10 * time.Minute, Tenant: 2, Block: true}
	})
	d.rung(alice, 0)
	d.rung(bob, 0)
	for range 2 {
		d.refused(virtual, alice, masking.RefusedVelocity, masking.Reject)
	}
	_, elsewhere := d.rings(nobodys, alice)
	elsewhere()
	if told := d.told(masking.EventGuardTripped); len(told) != 1 || told[0]["blocked"] != true || told[0]["limit"] != 2.0 {
		t.Errorf("%v", told)
	}
	d.now = d.now.Add(10 * time.Minute)
	d.rung(alice, 0)
	if d.places.quota.Len() != 0 || len(d.busy) != 0 {
		t.Errorf("left %d bounds", d.places.quota.Len())
	}
}

func TestAnExplanationSaysWhatAGuardWouldAndCountsNothing(t *testing.T) {
	d := newDesk(t)
	explain := func(called, caller e164.Number, pin masking.PIN) masking.Refusal {
		t.Helper()
		e, err := d.Explain(t.Context(), "acme", masking.Ask{Called: called, Caller: caller, Received: d.now}, pin)
		if err != nil {
			t.Fatal(err)
		}
		return e.Ruling.Refusal
	}
	d.bounds(func(s *masking.Settings) {
		s.Guards.DayCalls, s.Guards.Velocity = 1, masking.Velocity{Window: 10 * time.Minute, Caller: 2, Block: true}
	})
	for range 4 {
		if why := explain(virtual, alice, ""); why != "" {
			t.Fatalf("before any call: %q", why)
		}
	}
	d.rung(alice, 0)
	if why := explain(virtual, bob, ""); why != masking.RefusedDayCalls {
		t.Errorf("after the day's call: %q", why)
	}
	d.bounds(func(s *masking.Settings) { s.Guards.DayCalls = 2 })
	d.rung(alice, 0)
	d.bounds(func(s *masking.Settings) { s.Guards.DayCalls = 0 })
	if why := explain(virtual, alice, ""); why != masking.RefusedVelocity {
		t.Errorf("after two calls: %q", why)
	}
	if why := explain(pinned, alice, "4801"); why != masking.RefusedVelocity {
		t.Errorf("by PIN: %q", why)
	}
	if why := explain(virtual, bob, ""); why != "" {
		t.Errorf("another caller: %q", why)
	}
	if d.Tripped(masking.OfCaller) != 0 || d.today("gvn_two").Calls != 2 {
		t.Error("an explanation counts")
	}
}

type silentLedger struct{}

var errSlow = errors.New("slow")

func (silentLedger) Hold(context.Context, string, func(int) int) (int, int, error) {
	return 0, 0, errSlow
}
func (silentLedger) Shares(context.Context) (map[string]quota.Share, error) { return nil, errSlow }
func (silentLedger) Put(context.Context, map[string]int) error              { return errSlow }

func TestACallForWhichNoPlaceCanBeHadInTimeIsNotCounted(t *testing.T) {
	d := newDesk(t)
	d.places.quota = quota.New(silentLedger{}, slog.New(slog.DiscardHandler))
	defer d.places.quota.Close()
	d.bounds(func(s *masking.Settings) { s.MaxCalls = 5; s.Guards.DayCalls = 2 })
	for range 3 {
		if _, release, err := d.Route(t.Context(), d.ask(virtual, alice)); err == nil || release != nil {
			t.Errorf("let in: %v", err)
		}
	}
	d.flush()
	if got := d.tally("acme", "gvn_two"); got.Calls != 0 {
		t.Errorf("tally %+v", got)
	}
}
