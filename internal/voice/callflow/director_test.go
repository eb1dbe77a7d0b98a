package callflow

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/store"
	"tandem/internal/store/sqlite"
	"tandem/internal/testkit/database"
)

var start = time.Date(2024, 6, 15, 9, 30, 0, 0, time.UTC)

// desk is a Director and a Journal on the real engine, with two tenants:
//
//	acme  virtual  gvn_two: alice ↔ bob
//	acme  oneway   gvn_one: alice → bob
//	acme  pinned   gp_one: alice → bob, 4801; gp_two: carol → nobody yet, 70629
//	zeta  nobodys  gvn_zed: alice ↔ carol
type desk struct {
	*Director
	t       *testing.T
	store   *sqlite.Store
	journal *Journal
	log     *syncLog
	server  *tenantServer
	now     time.Time
	calls   int
}

func newDesk(t *testing.T) *desk {
	d := &desk{t: t, log: &syncLog{}, server: &tenantServer{}, now: start}
	s := database.Open(t, sqlite.Options{Path: filepath.Join(t.TempDir(), "t.db")})
	d.store = s
	d.insert(allocation("acme", "gvn_two", virtual, masking.TwoWay, bob), masking.Exclusive)
	d.insert(allocation("acme", "gvn_one", oneway, masking.OneWay, bob), masking.Shared)
	d.insert(pinAllocation("gp_one", "4801", alice, bob), masking.Shared)
	d.place(pinAllocation("gp_two", "70629", carol), masking.Shared)
	d.insert(allocation("zeta", "gvn_zed", nobodys, masking.TwoWay, carol), masking.Exclusive)
	log := slog.New(slog.NewJSONHandler(d.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	d.journal = NewJournal(JournalOptions{Store: s, Clock: d.clockNow, Log: log, Node: "n1"})
	d.Director = NewDirector(DirectorOptions{Store: s, Journal: d.journal, Clock: d.clockNow, Log: log, Key: []byte("key"), Asker: d.server})
	t.Cleanup(func() {
		d.flush()
		d.log.checkNoNumber(t)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// newDirector makes a Director and a Journal on a store in memory.
func newDirector(m *memory) (*Director, *Journal) {
	j, log := newJournal(m)
	return NewDirector(DirectorOptions{Store: m, Journal: j, Clock: time.Now, Log: slog.New(slog.NewJSONHandler(log, nil)),
		Key: []byte("key"), Asker: &tenantServer{}}), j
}

func (d *desk) clockNow() time.Time { return d.now }

func allocation(tenant masking.TenantID, id masking.AllocationID, number e164.Number, usage masking.Usage, to e164.Number) masking.Allocation {
	return masking.Allocation{ID: id, Tenant: tenant, VirtualNumber: number, From: []e164.Number{alice}, To: []e164.Number{to},
		Usage: usage, CustomField: "order 7", CreatedAt: start, UpdatedAt: start, ExpiresAt: start.Add(time.Hour)}
}

// pinAllocation is one of acme's on the number pinned.
func pinAllocation(id masking.AllocationID, pin masking.PIN, from e164.Number, to ...e164.Number) masking.Allocation {
	return masking.Allocation{ID: id, Tenant: "acme", VirtualNumber: pinned, From: []e164.Number{from}, To: to, Usage: masking.TwoWay,
		PIN: pin, MaxPINAttempts: 3, CustomField: "order 8", CreatedAt: start, UpdatedAt: start, ExpiresAt: start.Add(time.Hour)}
}

// insert writes an allocation with its number, and its tenant if he is new.
func (d *desk) insert(a masking.Allocation, sharing masking.Sharing) {
	d.t.Helper()
	d.update(func(ctx context.Context, tx store.Tx) error {
		if _, err := tx.Tenant(ctx, a.Tenant); masking.KindOf(err) == masking.NotFound {
			tenant := masking.Tenant{ID: a.Tenant, AccountSID: masking.AccountSID("ac_" + a.Tenant), Name: string(a.Tenant),
				Settings: masking.DefaultSettings(kolkata(d.t)), CreatedAt: start}
			if err := tx.InsertTenant(ctx, tenant); err != nil {
				return err
			}
		}
		number := masking.VirtualNumber{Number: a.VirtualNumber, Tenant: a.Tenant, Sharing: sharing, CreatedAt: start}
		return tx.InsertNumber(ctx, number, start)
	})
	d.place(a, sharing)
}

// place writes an allocation on a number that is there.
func (d *desk) place(a masking.Allocation, sharing masking.Sharing) {
	d.t.Helper()
	d.update(func(ctx context.Context, tx store.Tx) error {
		if err := tx.InsertAllocation(ctx, a); err != nil {
			return err
		}
		return tx.Hold(ctx, a, sharing, start)
	})
}

func (d *desk) update(fn func(context.Context, store.Tx) error) {
	d.t.Helper()
	if err := d.store.Update(d.t.Context(), fn); err != nil {
		d.t.Fatal(err)
	}
}

func (d *desk) view(fn func(context.Context, store.Reader) error) {
	d.t.Helper()
	if err := d.store.View(d.t.Context(), fn); err != nil {
		d.t.Fatal(err)
	}
}

// flush ends the journal, so that all is written.
func (d *desk) flush() {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := d.journal.Close(ctx); err != nil {
		d.t.Fatal(err)
	}
}

func (d *desk) ask(called, caller e164.Number) masking.Ask {
	d.calls++
	return masking.Ask{Call: record(d.calls).ID, Trunk: "carrier-a", Called: called, Caller: caller, Received: d.now}
}

// events are those written for a tenant, as "type reason allocation".
func (d *desk) events(tenant masking.TenantID) []string {
	d.t.Helper()
	var told []string
	d.view(func(ctx context.Context, tx store.Reader) error {
		list, err := tx.Events(ctx, store.EventFilter{Tenant: tenant, Limit: 1000})
		for _, e := range list {
			told = append(told, strings.TrimSpace(string(e.Type)+" "+dataField(d.t, e.Data, "reason")+" "+string(e.Allocation)))
		}
		return err
	})
	return told
}

func (d *desk) tally(tenant masking.TenantID, id masking.AllocationID) masking.Tally {
	d.t.Helper()
	var a masking.Allocation
	d.view(func(ctx context.Context, tx store.Reader) (err error) {
		a, err = tx.Allocation(ctx, tenant, id)
		return err
	})
	return a.Tally
}

func TestACallIsRoutedBothWays(t *testing.T) {
	d := newDesk(t)
	for _, c := range []struct {
		called, caller, want e164.Number
		direction            masking.Direction
	}{
		{virtual, alice, bob, masking.FromCalls}, {virtual, bob, alice, masking.ToCalls}, {oneway, alice, bob, masking.FromCalls},
	} {
		r, release, err := d.Route(t.Context(), d.ask(c.called, c.caller))
		if err != nil || r.Refusal != "" {
			t.Fatal(r.Refusal, err)
		}
		if plan := r.Plan; !slices.Equal(plan.Targets, []e164.Number{c.want}) || plan.Direction != c.direction || plan.VirtualNumber != c.called ||
			plan.Tenant.ID != "acme" || plan.RingEach != 20*time.Second || plan.RingTotal != time.Minute {
			t.Errorf("%+v", plan)
		}
		release()
	}
}

func TestACallThatMayNotPassIsRefusedAndRecordedWithItsReason(t *testing.T) {
	for _, c := range []struct {
		name           string
		called, caller e164.Number
		after          time.Duration
		want           masking.Refusal
		then           masking.StrangerAction
		tenant         masking.TenantID
		event          string // "" = none
	}{
		{"no number", e164.Number{}, alice, 0, masking.RefusedUnknownNumber, masking.Reject, "acme", ""},
		{"unknown number", carol, alice, 0, masking.RefusedUnknownNumber, masking.Reject, "acme", ""},
		{"stranger", virtual, stranger, 0, masking.RefusedStranger, masking.Announce, "acme", "call.rejected stranger"},
		{"party of another tenant", virtual, carol, 0, masking.RefusedStranger, masking.Announce, "acme", "call.rejected stranger"},
		{"withheld", virtual, e164.Number{}, 0, masking.RefusedWithheld, masking.Reject, "acme", "call.rejected withheld"},
		{"expired a millisecond ago", virtual, alice, time.Hour + time.Millisecond, masking.RefusedExpired, masking.Announce, "acme", "call.rejected expired"},
		{"expires now", virtual, alice, time.Hour, masking.RefusedExpired, masking.Announce, "acme", "call.rejected expired"},
		{"wrong direction", oneway, bob, 0, masking.RefusedStranger, masking.Announce, "acme", "call.rejected wrong_direction gvn_one"},
		{"wrong direction, expired", oneway, bob, time.Hour, masking.RefusedStranger, masking.Announce, "acme", "call.rejected stranger"},
		{"other tenant's number", nobodys, bob, 0, masking.RefusedStranger, masking.Announce, "zeta", "call.rejected stranger"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDesk(t)
			d.now = start.Add(c.after)
			ask := d.ask(c.called, c.caller)
			r, release, err := d.Route(t.Context(), ask)
			if err != nil || r.Refusal != c.want || r.Then != c.then || release != nil || r.Plan.Targets != nil {
				t.Fatalf("gave %+v, %v", r, err)
			}
			for range 2 { // a repeated refusal is one call
				d.Refused(ask, r.Plan, c.want)
			}
			d.flush()
			var want []string
			if c.event != "" {
				want = []string{c.event}
			}
			if got := d.events(c.tenant); !slices.Equal(got, want) {
				t.Errorf("events %v, want %v", got, want)
			}
			d.view(func(ctx context.Context, tx store.Reader) error {
				calls, err := tx.Calls(ctx, store.CallFilter{AllTenants: true, Limit: 10})
				if len(calls) != len(want) {
					t.Errorf("%d calls recorded", len(calls))
				}
				for _, r := range calls {
					if r.ID != ask.Call || r.Cause != masking.CauseRejected || r.Allocation != "" || !r.EndedAt.Equal(d.now) ||
						r.Caller != c.caller || r.VirtualNumber != c.called || !strings.Contains(c.event, string(r.Refusal)) {
						t.Errorf("recorded %+v", r)
					}
				}
				open, err2 := tx.OpenCalls(ctx, "n1", 0)
				if len(open) != 0 {
					t.Error("the refused call is still open")
				}
				return errors.Join(err, err2)
			})
			if n := d.tally("acme", "gvn_two").Calls + d.tally("acme", "gvn_one").Calls; n != 0 {
				t.Errorf("counted %d times as the allocation's", n)
			}
			if !strings.Contains(d.log.String(), `"reason":"`+string(c.want)+`"`) {
				t.Errorf("log %s", d.log)
			}
		})
	}
}

func TestADeletedAllocationIsAStrangers(t *testing.T) {
	d := newDesk(t)
	d.update(func(ctx context.Context, tx store.Tx) error { return tx.Release(ctx, "gvn_two") })
	if r, _, err := d.Route(t.Context(), d.ask(virtual, alice)); err != nil || r.Refusal != masking.RefusedStranger {
		t.Errorf("gave %q, %v", r.Refusal, err)
	}
}

// rings routes a call that is let through.
func (d *desk) rings(called, caller e164.Number) (masking.Plan, func()) {
	d.t.Helper()
	r, release, err := d.Route(d.t.Context(), d.ask(called, caller))
	if err != nil || r.Refusal != "" {
		d.t.Fatalf("refused: %q, %v", r.Refusal, err)
	}
	return r.Plan, release
}

// refused routes a call that is not let through.
func (d *desk) refused(called, caller e164.Number, why masking.Refusal, then masking.StrangerAction) {
	d.t.Helper()
	r, release, err := d.Route(d.t.Context(), d.ask(called, caller))
	if err != nil || r.Refusal != why || r.Then != then || release != nil {
		d.t.Errorf("gave %q, %q, %v; want %q, %q", r.Refusal, r.Then, err, why, then)
	}
}

func TestACallerHasOneCallAtATime(t *testing.T) {
	d := newDesk(t)
	_, release := d.rings(virtual, alice)
	ask := d.ask(oneway, alice) // by any virtual number of the tenant
	r, none, err := d.Route(t.Context(), ask)
	if err != nil || r.Refusal != masking.RefusedCallerBusy || r.Then != masking.Reject || none != nil || r.Plan.Allocation.ID != "gvn_one" {
		t.Fatalf("gave %v, %+v", err, r)
	}
	d.Refused(ask, r.Plan, r.Refusal)
	for _, other := range []struct{ called, caller e164.Number }{{virtual, bob}, {nobodys, alice}} { // another's; at another tenant
		_, done := d.rings(other.called, other.caller)
		done()
	}
	release()
	_, second := d.rings(virtual, alice)
	release() // once too often: it must not give the second call's place away
	d.refused(virtual, alice, masking.RefusedCallerBusy, masking.Reject)
	second()
	d.flush()
	if got := d.events("acme"); !slices.Equal(got, []string{"call.rejected caller_busy gvn_one"}) {
		t.Errorf("events %v", got)
	}
	if got := d.tally("acme", "gvn_one"); got != (masking.Tally{Calls: 1}) {
		t.Errorf("the busy call counts %+v", got)
	}
}

func TestOfManyCallsOfOneCallerAtOnceOneIsTaken(t *testing.T) {
	d := newDesk(t)
	const n = 32
	asks := make([]masking.Ask, n)
	for i := range asks {
		asks[i] = d.ask(virtual, alice)
	}
	results := make(chan masking.Refusal, n)
	for _, a := range asks {
		go func() {
			r, _, err := d.Route(t.Context(), a)
			if err != nil {
				r.Refusal = masking.RefusedUnavailable
			}
			results <- r.Refusal
		}()
	}
	taken := 0
	for range n {
		if why := <-results; why == "" {
			taken++
		} else if why != masking.RefusedCallerBusy {
			t.Error(why)
		}
	}
	if taken != 1 {
		t.Errorf("%d taken", taken)
	}
}

func TestWithoutTheStoreOrBehindItNoCallIsTakenAndNoneIsCalledAStranger(t *testing.T) {
	m := newMemory()
	m.away = true
	j, log := newJournal(m)
	d := NewDirector(DirectorOptions{Store: m, Journal: j, Clock: time.Now, Log: slog.New(slog.NewTextHandler(log, nil)), Key: []byte("k")})
	ask := masking.Ask{Call: "call_1", Called: virtual, Caller: alice}
	if r, release, err := d.Route(t.Context(), ask); err == nil || r.Refusal != "" || r.Then != "" || release != nil {
		t.Errorf("store away: %+v, %v", r, err)
	}
	for range behindAt {
		j.Note(masking.Began, record(1), time.UTC)
	}
	if r, release, err := d.Route(t.Context(), ask); !errors.Is(err, errBehind) || r.Refusal != "" || release != nil {
		t.Errorf("behind: %+v, %v", r, err)
	}
	waiting := j.Waiting()
	d.Refused(ask, masking.Plan{}, masking.RefusedUnavailable)
	if j.Waiting() != waiting {
		t.Error("an unavailable store is to be written of")
	}
	m.set(func(m *memory) { m.away = false })
	if err := j.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	log.checkNoNumber(t)
}

// A gateway that redials with the BYE still warm must not hear busy.
func TestARedialThatOvertakesTheEndOfTheCallIsLetThrough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := NewDirector(DirectorOptions{Log: slog.New(slog.DiscardHandler)})
		who := caller{"acme", bob}
		if !d.take(t.Context(), who) {
			t.Fatal("a caller without a call is busy")
		}
		time.AfterFunc(50*time.Millisecond, func() { d.give(who) })
		if !d.take(t.Context(), who) {
			t.Error("busy, though his call ended at once")
		}
		began := time.Now()
		if d.take(t.Context(), who) || time.Since(began) != redialGrace {
			t.Errorf("a caller who stays busy was told so after %v", time.Since(began))
		}
	})
}
