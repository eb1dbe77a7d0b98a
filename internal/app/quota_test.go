package app

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/quota"
	"tandem/internal/store"
)

// startAll starts nodes on one database.
func startAll(t *testing.T, n int, more ...string) (apps []*App) {
	t.Helper()
	dirs, database := cluster(t, n)
	for _, dir := range dirs {
		a, err := Start(t.Context(), options(t, dir, append(more, database)...))
		if err != nil {
			t.Fatal(err)
		}
		apps = append(apps, a)
	}
	return apps
}

// held is what all nodes hold of a bound.
func held(t *testing.T, a *App, bound string) (n int) {
	t.Helper()
	err := a.store.Update(t.Context(), func(ctx context.Context, tx store.Tx) (err error) {
		n, err = tx.LockBound(ctx, bound, "")
		return err
	})
	if err != nil {
		t.Error(err)
	}
	return n
}

// take takes a place, if there is one. Where nobody knew in time, as on a busy machine, it
// asks again.
func take(t *testing.T, a *App, bound string, most int) (took bool) {
	t.Helper()
	for {
		took, err := a.quota.Take(t.Context(), bound, most)
		if errors.Is(err, quota.ErrUnknown) && t.Context().Err() == nil {
			continue
		}
		if err != nil {
			t.Error(err)
		}
		return took
	}
}

// takeAll takes places until it has so many, or the test's patience ends.
func takeAll(t *testing.T, a *App, bound string, most, want int) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for got := 0; got < want; {
		if take(t, a, bound, most) {
			got++
			continue
		}
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatalf("%d of %d could be taken", got, want)
		}
	}
}

func TestThreeNodesTogetherHaveNoMoreCallsThanABoundAndOneAloneCanHaveAll(t *testing.T) {
	t.Parallel() // it waits for a lease
	apps := startAll(t, 3)
	t.Cleanup(func() { stop(t, apps[1]) })
	t.Cleanup(func() { stop(t, apps[2]) })
	for _, most := range []int{1, 7, 60} {
		bound := fmt.Sprint("calls ", most)
		var up, highest atomic.Int64
		var wg sync.WaitGroup
		for _, a := range apps {
			for range most + 2 {
				wg.Go(func() {
					for range 10 {
						if !take(t, a, bound, most) {
							continue
						}
						for n := up.Add(1); ; {
							if old := highest.Load(); n <= old || highest.CompareAndSwap(old, n) {
								break
							}
						}
						if rand.IntN(3) == 0 {
							if n := held(t, a, bound); n > most {
								t.Errorf("%d are held of %d", n, most)
							}
						}
						up.Add(-1)
						a.quota.Give(bound)
					}
				})
			}
		}
		wg.Wait()
		if n := highest.Load(); n > int64(most) || n == 0 {
			t.Errorf("%d of %d were up at once", n, most)
		}
		takeAll(t, apps[0], bound, most, most) // what others hold to spare comes back
		if take(t, apps[1], bound, most) {
			t.Errorf("one more than %d", most)
		}
	}
	die(t, apps[0]) // with all of them
	apps[0].quota.Close()
	takeAll(t, apps[1], "calls 7", 7, 4)
	takeAll(t, apps[2], "calls 7", 7, 3)
}

func TestANodeThatStartsAgainHoldsNothingOfItsLastRun(t *testing.T) {
	apps := startAll(t, 2)
	t.Cleanup(func() { stop(t, apps[0]) })
	takeAll(t, apps[1], "calls", 2, 2)
	stop(t, apps[1])
	takeAll(t, apps[0], "calls", 2, 2)
}

// pooled makes a tenant with an allocation, and gives a call that it lets through.
func pooled(t *testing.T, a *App, settings func(*masking.Settings)) masking.Ask {
	t.Helper()
	at := time.Now().UTC().Truncate(time.Millisecond)
	virtual, alice, bob := e164.MustParse("+914000000001"), e164.MustParse("+919900000001"), e164.MustParse("+919900000002")
	tenant := masking.Tenant{ID: "acme", AccountSID: "ac_1", Name: "acme", Settings: masking.DefaultSettings(time.UTC), CreatedAt: at}
	settings(&tenant.Settings)
	allocation := masking.Allocation{ID: "gvn_1", Tenant: "acme", VirtualNumber: virtual, From: []e164.Number{alice}, To: []e164.Number{bob},
		Usage: masking.TwoWay, CreatedAt: at, UpdatedAt: at, ExpiresAt: at.Add(time.Hour)}
	err := a.store.Update(t.Context(), func(ctx context.Context, tx store.Tx) error {
		return errors.Join(tx.InsertTenant(ctx, tenant),
			tx.InsertNumber(ctx, masking.VirtualNumber{Tenant: "acme", Number: virtual, Sharing: masking.Exclusive, CreatedAt: at}, at),
			tx.InsertAllocation(ctx, allocation), tx.Hold(ctx, allocation, masking.Exclusive, at))
	})
	if err != nil {
		t.Fatal(err)
	}
	return masking.Ask{Called: virtual, Caller: alice, Received: at}
}

// The operator's and tenants' own bounds, from a setting to the caller's refusal.
func TestBoundsOfATenantAndOfACallerHoldOnAllNodes(t *testing.T) {
	apps := startAll(t, 2)
	for _, a := range apps {
		t.Cleanup(func() { stop(t, a) })
	}
	ask := pooled(t, apps[0], func(s *masking.Settings) { s.MaxCalls, s.MaxCallerRate = 1, 3 })
	route := func(a *App, want masking.Refusal) func() {
		t.Helper()
		ask.Call = a.newCallID()
		r, release, err := a.director.Route(t.Context(), ask)
		if err != nil || r.Refusal != want {
			t.Fatalf("refused: %q, %v; want %q", r.Refusal, err, want)
		}
		return release
	}
	release := route(apps[0], "")
	route(apps[1], masking.RefusedTenantLimit)
	release()
	takenBack(t, apps[0])
	release = route(apps[1], "")
	release()
	route(apps[0], masking.RefusedCallerRate) // his fourth
	route(apps[1], masking.RefusedCallerRate)
}

func TestTalksThatWereTakenUpCountOnAllNodes(t *testing.T) {
	apps := startAll(t, 2)
	for _, a := range apps {
		t.Cleanup(func() { stop(t, a) })
	}
	ask := pooled(t, apps[0], func(s *masking.Settings) { s.MaxCalls = 1 })
	ask.Call = apps[0].newCallID()
	r, release, err := apps[0].director.Route(t.Context(), ask)
	if err != nil || r.Refusal != "" {
		t.Fatalf("refused: %q, %v", r.Refusal, err)
	}
	release()
	takenBack(t, apps[0])
	release = apps[0].director.Resumed(r.Plan)
	defer release()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for held(t, apps[1], "calls of tenant acme") == 0 {
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatal("the others hear nothing of it")
		}
	}
	ask.Call = apps[1].newCallID()
	if r, _, err = apps[1].director.Route(t.Context(), ask); err != nil || r.Refusal != masking.RefusedTenantLimit {
		t.Errorf("refused: %q, %v", r.Refusal, err)
	}
}

// takenBack waits until a node holds nothing.
func takenBack(t *testing.T, a *App) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for a.quota.Len() > 0 {
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatal("it holds on")
		}
	}
}

func TestTheRateOfATenantHoldsOnAllNodes(t *testing.T) {
	apps := startAll(t, 3)
	for _, a := range apps {
		t.Cleanup(func() { stop(t, a) })
	}
	s, acme := newSite(t), credentials{}
	s.must(apps[0], credentials{}, "POST", "/v1/admin/tenants", map[string]any{"tenant_id": "acme", "name": "Acme",
		"rate_limit": map[string]any{"per_second": 1, "burst": 60}}, &acme)
	begun := time.Now()
	var passed, refused atomic.Int64
	var wg sync.WaitGroup
	for _, a := range apps {
		for range 2 {
			wg.Go(func() {
				for range 25 {
					switch status := s.ask(a, acme, "GET", "/v1/tenants/acme/settings", nil, nil); status {
					case http.StatusOK:
						passed.Add(1)
					case http.StatusTooManyRequests:
						refused.Add(1)
					default:
						t.Errorf("status %d", status)
					}
				}
			})
		}
	}
	wg.Wait()
	most := 60 + int64(time.Since(begun).Seconds()) + 1
	// What one node took ahead another cannot use: a request each, at such a rate.
	if n := passed.Load(); n > most || n < 60-3 {
		t.Errorf("%d passed and %d were refused, %d may pass", n, refused.Load(), most)
	}
}
