package callflow

import (
	"context"
	"log/slog"
	"maps"
	"sync"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/store"
)

const (
	mostKnown = 100_000 // claims that a node keeps, some 60 MB
	// passEvery is how often all claims are read again, if one read is enough for them.
	passEvery = time.Second
)

// LastKnown is a copy of the claims of callers, to route by while the database is away:
// the operator's explicit exception from the rule that a route is decided by the claim
// (ADR 0042). It lets through only whom it knows, and is never asked about anybody else.
//
// A claim is not used longer than Options.Longest after it was read last, whatever its
// expiry, and never beyond that. So a deletion, of which nothing is heard while the
// database is away, takes effect after that time at the latest.
type LastKnown struct {
	o LastKnownOptions

	mu      sync.RWMutex
	routes  map[store.RouteKey]known
	leftOut int // claims for which there was no room in the last pass

	// Owned by Refresh.
	after store.RouteKey
	began time.Time // this pass
	pass  int
	over  int // left out of this pass so far
}

// LastKnownOptions are what it works with; all but Most are required.
type LastKnownOptions struct {
	Store   store.Store
	Clock   func() time.Time // by which claims expire
	Log     *slog.Logger
	Longest time.Duration // after it was read last a claim is used no longer
	Most    int           // claims that are kept; 0 = 100,000
}

// known is what was read of one caller on one number. What several have alike is there
// once for all that were read together.
type known struct {
	number     *masking.VirtualNumber
	tenant     *masking.Tenant
	allocation *masking.Allocation
	blocked    bool
	read       time.Time // not after it was
	pass       int
}

// NewLastKnown makes an empty one. Refresh fills it.
func NewLastKnown(o LastKnownOptions) *LastKnown {
	if o.Most == 0 {
		o.Most = mostKnown
	}
	return &LastKnown{o: o, routes: map[store.RouteKey]known{}}
}

// Refresh reads the next claims, at most batch. When all have been read it begins with
// the first again, and forgets those that were not there any more. It is an upkeep job.
func (k *LastKnown) Refresh(ctx context.Context, batch int) (int, error) {
	now := time.Now()
	if k.after == (store.RouteKey{}) {
		if k.pass > 0 && now.Sub(k.began) < passEvery {
			return 0, nil
		}
		k.began, k.over, k.pass = now, 0, k.pass+1
	}
	var found []store.KnownRoute
	err := k.o.Store.View(ctx, func(ctx context.Context, tx store.Reader) (err error) {
		found, err = tx.Routes(ctx, k.after, k.o.Clock(), batch)
		return err
	})
	if err != nil {
		return 0, err
	}
	k.put(found, now)
	if len(found) == batch {
		k.after = found[len(found)-1].Key()
		return 0, nil // the next ones at the next time: nothing is in a hurry
	}
	k.after = store.RouteKey{}
	k.sweep()
	return 0, nil
}

// put takes what was read into the copy.
func (k *LastKnown) put(found []store.KnownRoute, now time.Time) {
	tenants, numbers := map[masking.TenantID]*masking.Tenant{}, map[e164.Number]*masking.VirtualNumber{}
	allocations := map[masking.AllocationID]*masking.Allocation{}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, f := range found {
		if _, there := k.routes[f.Key()]; !there && len(k.routes) >= k.o.Most {
			k.over++
			continue
		}
		a := f.Found[0]
		k.routes[f.Key()] = known{number: once(numbers, f.Number.Number, f.Number), tenant: once(tenants, f.Tenant.ID, f.Tenant),
			allocation: once(allocations, a.ID, a), blocked: f.Blocked, read: now, pass: k.pass}
	}
}

// once gives the one value of a key.
func once[K comparable, V any](of map[K]*V, key K, v V) *V {
	if of[key] == nil {
		of[key] = &v
	}
	return of[key]
}

// sweep forgets what this pass has not met.
func (k *LastKnown) sweep() {
	k.mu.Lock()
	defer k.mu.Unlock()
	maps.DeleteFunc(k.routes, func(_ store.RouteKey, r known) bool { return r.pass != k.pass })
	if k.over > 0 && k.leftOut == 0 {
		k.o.Log.Warn("there are more claims than a node keeps: callers of the rest are refused while the database is away", "kept", len(k.routes), "left_out", k.over)
	}
	k.leftOut = k.over
}

// Len is how many claims are kept.
func (k *LastKnown) Len() int {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return len(k.routes)
}

// recall gives the route of a caller whom the copy lets through now. Of everybody else
// nothing is said: he may have been let in, or kept out, since.
func (k *LastKnown) recall(a masking.Ask, now time.Time) (r masking.Route, ok bool) {
	k.mu.RLock()
	found, known := k.routes[store.RouteKey{Virtual: a.Called, Caller: a.Caller}]
	k.mu.RUnlock()
	if !known || age(found.read) > k.o.Longest {
		return r, false
	}
	r = masking.Route{Number: *found.number, Tenant: *found.tenant, Found: []masking.Allocation{*found.allocation}, Blocked: found.blocked}
	_, err := masking.Admit(r, a.Caller, now)
	return r, err == nil
}

// age is how long ago t was, by whichever clock says more: the wall clock may have been
// set, and the other one rests while the machine does.
func age(t time.Time) time.Duration {
	now := time.Now()
	return max(now.Sub(t), now.Round(0).Sub(t.Round(0)))
}
