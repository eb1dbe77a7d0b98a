package callflow

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/store"
)

// police gives a number of acme's a policy of its own.
func (d *desk) police(n e164.Number, p masking.StrangerPolicy) {
	d.t.Helper()
	d.update(func(ctx context.Context, tx store.Tx) error {
		number, err := tx.Number(ctx, "acme", n)
		if err != nil {
			return err
		}
		number.Strangers = p
		return tx.UpdateNumber(ctx, number, d.now)
	})
}

// policeTenant gives acme a policy.
func (d *desk) policeTenant(p masking.StrangerPolicy) {
	d.t.Helper()
	d.update(func(ctx context.Context, tx store.Tx) error {
		tenant, err := tx.Tenant(ctx, "acme")
		if err != nil {
			return err
		}
		tenant.Settings.Strangers = p
		return tx.UpdateTenant(ctx, tenant)
	})
}

const askAt = "https://tenant.example/stranger"

func TestAStrangerIsTreatedAsHisNumberOrElseItsTenantSays(t *testing.T) {
	d := newDesk(t)
	for _, c := range []struct {
		name   string
		number masking.StrangerPolicy
		tenant masking.StrangerAction
		called e164.Number
		caller e164.Number
		want   masking.Refusal
		then   masking.StrangerAction
		holds  bool
	}{
		{"announce", masking.StrangerPolicy{Action: masking.Announce}, masking.Reject, virtual, stranger, masking.RefusedStranger, masking.Announce, false},
		{"reject", masking.StrangerPolicy{Action: masking.Reject}, masking.Announce, virtual, stranger, masking.RefusedStranger, masking.Reject, false},
		{"PIN", masking.StrangerPolicy{Action: masking.AskPIN}, masking.Reject, virtual, stranger, masking.RefusedStranger, masking.AskPIN, true},
		{"PIN, withheld", masking.StrangerPolicy{Action: masking.AskPIN}, masking.Reject, virtual, hidden, masking.RefusedWithheld, masking.AskPIN, true},
		{"webhook", masking.StrangerPolicy{Action: masking.AskWebhook, URL: askAt}, masking.Reject, virtual, stranger, masking.RefusedStranger, masking.AskWebhook, true},
		{"webhook, withheld", masking.StrangerPolicy{Action: masking.AskWebhook, URL: askAt}, masking.Reject, virtual, hidden, masking.RefusedWithheld, masking.Reject, false},
		{"the tenant's", masking.StrangerPolicy{}, masking.AskPIN, virtual, stranger, masking.RefusedStranger, masking.AskPIN, true},
		{"the tenant's, oneway", masking.StrangerPolicy{}, masking.Reject, oneway, bob, masking.RefusedStranger, masking.Reject, false},
		{"a number with PINs", masking.StrangerPolicy{Action: masking.Reject}, masking.Reject, pinned, stranger, masking.RefusedStranger, masking.AskPIN, true},
		{"a party of it", masking.StrangerPolicy{}, masking.Announce, pinned, alice, masking.RefusedStranger, masking.AskPIN, true},
		{"a number with PINs, withheld", masking.StrangerPolicy{}, masking.Announce, pinned, hidden, masking.RefusedWithheld, masking.AskPIN, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			d.police(c.called, c.number)
			d.policeTenant(masking.StrangerPolicy{Action: c.tenant})
			r, release, err := d.Route(t.Context(), d.ask(c.called, c.caller))
			if err != nil || r.Refusal != c.want || r.Then != c.then || (release != nil) != c.holds {
				t.Fatalf("gave %q, %q, holds %v, %v", r.Refusal, r.Then, release != nil, err)
			}
			if r.Then == masking.AskWebhook && r.Policy.URL != askAt {
				t.Errorf("asks %q", r.Policy.URL)
			}
			if p := r.Plan; p.Tenant.ID != "acme" || p.VirtualNumber != c.called || p.Caller != c.caller || p.Targets != nil || p.Allocation.ID != "" {
				t.Errorf("%+v", p)
			}
			if release != nil {
				release()
			}
		})
	}
}

func TestAStrangerWhoIsForwardedRingsTheTenantsOwnNumber(t *testing.T) {
	d := newDesk(t)
	d.police(virtual, masking.StrangerPolicy{Action: masking.Forward, Forward: support})
	p, release := d.rings(virtual, stranger)
	if !slices.Equal(p.Targets, []e164.Number{support}) || p.Allocation.ID != "" || p.VirtualNumber != virtual || p.Caller != stranger ||
		p.RingTotal != time.Minute {
		t.Errorf("%+v", p)
	}
	d.refused(virtual, stranger, masking.RefusedCallerBusy, masking.Reject) // one call at a time, as everybody
	release()
	d.refused(virtual, support, masking.RefusedStranger, masking.Announce) // not to the phone he calls from
	d.refused(virtual, hidden, masking.RefusedWithheld, masking.Reject)
}

func TestWhoIsAskedForAPINHasNoSecondCall(t *testing.T) {
	d := newDesk(t)
	r, release, err := d.Route(t.Context(), d.ask(pinned, alice))
	if err != nil || r.Then != masking.AskPIN {
		t.Fatal(r.Then, err)
	}
	d.refused(pinned, alice, masking.RefusedCallerBusy, masking.Reject)
	d.refused(virtual, alice, masking.RefusedCallerBusy, masking.Reject)
	if r, other, err := d.Route(t.Context(), d.ask(pinned, stranger)); err != nil || r.Then != masking.AskPIN {
		t.Errorf("somebody else: %q, %v", r.Then, err)
	} else {
		other()
	}
	release()
	_, second := d.rings(virtual, alice)
	d.refused(pinned, alice, masking.RefusedCallerBusy, masking.Reject)
	second()
}

func TestOfThoseWhoWithholdTheirNumberTenAtOnceAreAsked(t *testing.T) {
	d := newDesk(t)
	d.policeTenant(masking.StrangerPolicy{Action: masking.AskPIN})
	asked := func(called e164.Number) func() {
		t.Helper()
		r, release, err := d.Route(t.Context(), d.ask(called, hidden))
		if err != nil || r.Then != masking.AskPIN || release == nil {
			t.Fatalf("gave %q, %q, %v", r.Refusal, r.Then, err)
		}
		return release
	}
	var up []func()
	for range mostHiding {
		up = append(up, asked(pinned))
	}
	d.refused(pinned, hidden, masking.RefusedCallerBusy, masking.Reject)
	elsewhere := asked(virtual)
	r, release, err := d.Route(t.Context(), d.ask(pinned, alice))
	if err != nil || r.Then != masking.AskPIN {
		t.Fatalf("a caller who shows his number: %q, %v", r.Refusal, err)
	}
	release()
	up[3]()
	up[3]() // once too often
	up[3] = asked(pinned)
	d.refused(pinned, hidden, masking.RefusedCallerBusy, masking.Reject)
	for _, release := range append(up, elsewhere) {
		release()
	}
	if len(d.hiding) != 0 || len(d.busy) != 0 {
		t.Errorf("%d numbers and %d callers are held for ever", len(d.hiding), len(d.busy))
	}
	asked(pinned)()
}

func TestAStrangerHearsWhyFiveTimesAMinuteAndThenNothing(t *testing.T) {
	d := newDesk(t)
	thens := func(called, caller e164.Number, n int) (heard int) {
		t.Helper()
		for i := range n {
			r, release, err := d.Route(t.Context(), d.ask(called, caller))
			if err != nil || r.Refusal != masking.RefusedStranger || release != nil {
				t.Fatalf("gave %q, %v", r.Refusal, err)
			}
			switch {
			case r.Then == masking.Announce && heard == i:
				heard++
			case r.Then != masking.Reject:
				t.Fatalf("call %d: %q", i, r.Then)
			}
		}
		return heard
	}
	for i, c := range []struct {
		called, caller e164.Number
		after          time.Duration
		want           int
	}{{virtual, stranger, 0, strangerTimes}, {virtual, carol, 0, strangerTimes}, {oneway, stranger, time.Second, strangerTimes},
		{virtual, stranger, strangerWindow - 1, 0}, {virtual, stranger, strangerWindow, strangerTimes}} {
		d.now = start.Add(c.after)
		if got := thens(c.called, c.caller, 40); got != c.want {
			t.Errorf("step %d: heard %d times, want %d", i, got, c.want)
		}
	}
}

// Whoever keeps dialling while he is asked for a PIN, or hides among those who
// withhold their number, is a stranger still: he must not grow a tenant's tables.
func TestStrangersWhoAreBusyAreWrittenAsStrangersAre(t *testing.T) {
	d := newDesk(t)
	var up []func()
	for range mostHiding {
		_, release, err := d.Route(t.Context(), d.ask(pinned, hidden))
		if err != nil {
			t.Fatal(err)
		}
		up = append(up, release)
	}
	for range 40 {
		ask := d.ask(pinned, hidden)
		r, _, err := d.Route(t.Context(), ask)
		if err != nil || r.Refusal != masking.RefusedCallerBusy {
			t.Fatal(r.Refusal, err)
		}
		d.Refused(ask, r.Plan, r.Refusal)
	}
	for _, release := range up {
		release()
	}
	d.flush()
	if got := d.events("acme"); len(got) != strangerTimes || d.journal.Unwritten() != 40-strangerTimes {
		t.Errorf("%d events, %d not written", len(got), d.journal.Unwritten())
	}
}

func TestALogOfCallsTellsNeitherNumbersNorPINs(t *testing.T) {
	d := newDesk(t) // which looks for numbers when it ends
	for _, pin := range []masking.PIN{"4801", "70629", "1358"} {
		ask := d.ask(pinned, stranger)
		if _, _, err := d.Enter(t.Context(), ask, pin); err != nil {
			t.Fatal(err)
		}
		d.Refused(ask, masking.Plan{Allocation: pinAllocation("gp_one", pin, alice)}, masking.RefusedPIN)
	}
	if found := regexp.MustCompile(`\b(4801|70629|1358)\b`).FindString(d.log.String()); found != "" {
		t.Errorf("%s stands in the log", found)
	}
	if n := strings.Count(d.log.String(), `"reason":"pin_failed"`); n != 3 {
		t.Errorf("%d refusals are told", n)
	}
}

// The wait for the end of a call of somebody who redials is the same while he is
// asked for a PIN.
func TestWhoIsAskedAndRedialsIsLetThroughWhenHisCallEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		m.carry(pinned, pinAllocation("gp_one", "4801", alice, bob))
		d, j := newDirector(m)
		ask := func(i int) masking.Ask {
			return masking.Ask{Call: masking.CallID(fmt.Sprint("call_", i)), Called: pinned, Caller: alice}
		}
		_, release, err := d.Route(t.Context(), ask(1))
		if err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(redialGrace/2, release)
		r, release, err := d.Route(t.Context(), ask(2))
		if err != nil || r.Then != masking.AskPIN {
			t.Errorf("gave %q, %v", r.Refusal, err)
		}
		began := time.Now()
		if r, _, err := d.Route(t.Context(), ask(3)); err != nil || r.Refusal != masking.RefusedCallerBusy || time.Since(began) != redialGrace {
			t.Errorf("gave %q, %v after %v", r.Refusal, err, time.Since(began))
		}
		release()
		if err := j.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

func TestACallerIsAskedTenTimesAMinuteAtMost(t *testing.T) {
	d := newDesk(t)
	d.police(virtual, masking.StrangerPolicy{Action: masking.AskPIN})
	asked := func(caller e164.Number) bool {
		t.Helper()
		r, release, err := d.Route(t.Context(), d.ask(virtual, caller))
		if err != nil || (release != nil) != (r.Then == masking.AskPIN) {
			t.Fatalf("%q, %v", r.Then, err)
		}
		if release != nil {
			release()
		}
		return r.Then == masking.AskPIN
	}
	for _, caller := range []e164.Number{stranger, hidden, carol} {
		for i := range mostAsked + 2 {
			if got := asked(caller); got != (i < mostAsked || caller == hidden) {
				t.Errorf("call %d of %v: asked %v", i+1, caller, got)
			}
		}
	}
	d.now = start.Add(strangerWindow)
	if !asked(stranger) {
		t.Error("a minute later he is not asked")
	}
}
