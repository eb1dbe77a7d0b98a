package callflow

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/store"
)

// mayBeAway is a store that can be known to be away.
type mayBeAway struct {
	store.Store
	away atomic.Bool
}

func (s *mayBeAway) View(ctx context.Context, fn func(context.Context, store.Reader) error) error {
	if s.away.Load() {
		return store.ErrAway
	}
	return s.Store.View(ctx, fn)
}

func (s *mayBeAway) Update(ctx context.Context, fn func(context.Context, store.Tx) error) error {
	if s.away.Load() {
		return store.ErrAway
	}
	return s.Store.Update(ctx, fn)
}

func (s *mayBeAway) Route(ctx context.Context, virtual, caller e164.Number) (masking.Route, error) {
	if s.away.Load() {
		return masking.Route{}, store.ErrAway
	}
	return s.Store.Route(ctx, virtual, caller)
}

// remembering has a desk keep what it reads for a minute, at most so many claims.
func remembering(t *testing.T, most int) (*desk, *mayBeAway, *LastKnown) {
	t.Helper()
	d := newDesk(t)
	s := &mayBeAway{Store: d.store}
	log := slog.New(slog.NewJSONHandler(d.log, nil))
	k := NewLastKnown(LastKnownOptions{Store: s, Clock: d.clockNow, Log: log, Longest: time.Minute, Most: most})
	d.Director = NewDirector(DirectorOptions{Store: s, Journal: d.journal, Clock: d.clockNow, Log: log, Key: []byte("key"), Asker: d.server, Known: k})
	return d, s, k
}

// refresh reads everything anew, so many claims at a time.
func (d *desk) refresh(k *LastKnown, batch int) {
	d.t.Helper()
	k.began = time.Time{}
	for again := true; again; again = k.after != (store.RouteKey{}) {
		if _, err := k.Refresh(d.t.Context(), batch); err != nil {
			d.t.Fatal(err)
		}
	}
}

// later lets what is known get older.
func later(k *LastKnown, by time.Duration) {
	for key, r := range k.routes {
		r.read = r.read.Add(-by)
		k.routes[key] = r
	}
}

func TestWithoutTheDatabaseACallGoesWhereItsClaimWasLastKnownToLead(t *testing.T) {
	d, s, k := remembering(t, 0)
	for _, batch := range []int{1, 100} {
		s.away.Store(false)
		d.refresh(k, batch)
		s.away.Store(true)
		r, release, err := d.Route(t.Context(), d.ask(virtual, alice))
		if err != nil || r.Refusal != "" || r.Plan.Allocation.ID != "gvn_two" || !r.Plan.LastKnown || r.Plan.Targets[0] != bob {
			t.Fatalf("%+v, %v", r, err)
		}
		if c := r.Plan.Record(d.ask(virtual, alice), "n1"); !c.LastKnown {
			t.Error("the record does not say so")
		}
		if busy, _, err := d.Route(t.Context(), d.ask(virtual, alice)); err != nil || busy.Refusal != masking.RefusedCallerBusy {
			t.Errorf("a second call of his: %+v, %v", busy, err)
		}
		release()
	}
	s.away.Store(false)
	r, release, err := d.Route(t.Context(), d.ask(virtual, alice))
	if err != nil || r.Plan.LastKnown {
		t.Errorf("with the database: %+v, %v", r, err)
	}
	release()
}

func TestWithoutTheDatabaseNobodyIsJudgedWhomTheCopyDoesNotLetThrough(t *testing.T) {
	d, s, k := remembering(t, 0)
	d.update(func(ctx context.Context, tx store.Tx) error {
		return tx.BlockCaller(ctx, store.BlockedCaller{Tenant: "zeta", Number: carol, CreatedAt: start})
	})
	d.refresh(k, 100)
	s.away.Store(true)
	refused := func(what string, called, caller e164.Number) {
		t.Helper()
		if r, release, err := d.Route(t.Context(), d.ask(called, caller)); !errors.Is(err, store.ErrAway) || release != nil {
			t.Errorf("%s: %+v, %v", what, r, err)
		}
	}
	refused("a stranger", virtual, stranger)
	refused("who withholds his number", virtual, hidden)
	refused("who could enter a PIN", pinned, carol)
	refused("who may not call in a oneway allocation", oneway, bob)
	refused("a number that is not known", support, alice)
	refused("a blocked caller", nobodys, carol)
	d.now = start.Add(time.Hour)
	refused("an expired allocation", virtual, alice)
	d.now = start
	later(k, time.Minute-time.Second)
	if _, release, err := d.Route(t.Context(), d.ask(virtual, alice)); err != nil {
		t.Error(err)
	} else {
		release()
	}
	later(k, 2*time.Second)
	refused("what was read too long ago", virtual, alice)
	d.flush()
	if got := d.events("acme"); len(got) != 0 {
		t.Errorf("events %q of refusals that nobody can judge", got)
	}
}

func TestWithoutTheDatabaseNoCallIsTakenThatWouldHaveToBeCounted(t *testing.T) {
	for name, change := range map[string]func(*masking.Settings){
		"calls of a day":    func(s *masking.Settings) { s.Guards.DayCalls = 100 },
		"minutes of a day":  func(s *masking.Settings) { s.Guards.DayTalk = time.Hour },
		"calls in a minute": func(s *masking.Settings) { s.MaxCallerRate = 100 },
	} {
		t.Run(name, func(t *testing.T) {
			d, s, k := remembering(t, 0)
			d.update(func(ctx context.Context, tx store.Tx) error {
				acme, err := tx.Tenant(ctx, "acme")
				if err != nil {
					return err
				}
				change(&acme.Settings)
				return tx.UpdateTenant(ctx, acme)
			})
			d.refresh(k, 100)
			s.away.Store(true)
			for range 2 { // who was refused is not busy
				if r, release, err := d.Route(t.Context(), d.ask(virtual, alice)); !errors.Is(err, store.ErrAway) || release != nil {
					t.Errorf("%+v, %v", r, err)
				}
			}
			d.flush()
			if n := d.tally("acme", "gvn_two"); n != (masking.Tally{}) {
				t.Errorf("counted %+v", n)
			}
		})
	}
}

func TestWhatIsGoneFromTheClaimsIsForgottenWithTheNextPass(t *testing.T) {
	d, s, k := remembering(t, 0)
	d.refresh(k, 2)
	before := k.Len()
	d.update(func(ctx context.Context, tx store.Tx) error { return tx.Release(ctx, "gvn_two") })
	d.refresh(k, 2)
	if got := k.Len(); got != before-2 { // alice's and bob's
		t.Errorf("%d claims are known, and %d before", got, before)
	}
	s.away.Store(true)
	if r, _, err := d.Route(t.Context(), d.ask(virtual, alice)); !errors.Is(err, store.ErrAway) {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := k.Refresh(t.Context(), 2); err != nil { // not due yet
		t.Error(err)
	}
	k.began = time.Time{}
	if _, err := k.Refresh(t.Context(), 2); !errors.Is(err, store.ErrAway) || k.Len() != before-2 {
		t.Errorf("%v, %d claims are known", err, k.Len())
	}
}

func TestACopyIsBoundedAndSaysOnceWhatItLeavesOut(t *testing.T) {
	d, _, k := remembering(t, 3)
	for i := range 5 {
		n := e164.MustParse(fmt.Sprintf("+9144444444%02d", i))
		d.insert(allocation("acme", masking.AllocationID(fmt.Sprintf("gvn_more_%d", i)), n, masking.TwoWay, bob), masking.Exclusive)
	}
	for range 3 {
		d.refresh(k, 2)
		if k.Len() != 3 {
			t.Errorf("%d claims are known", k.Len())
		}
	}
	if n := strings.Count(d.log.String(), "there are more claims than a node keeps"); n != 1 {
		t.Errorf("said %d times", n)
	}
}
