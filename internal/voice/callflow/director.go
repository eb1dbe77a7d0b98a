// Package callflow holds the use cases of a phone call: the Director says where
// a call should go, the Journal writes down what happened. Both satisfy the
// interfaces that voice/b2bua declares; neither knows SIP.
package callflow

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/store"
)

// Director decides where calls go.
type Director struct {
	store   store.Store
	journal *Journal
	clock   func() time.Time
	log     *slog.Logger
	key     []byte
	mu      sync.Mutex
	busy    map[caller]chan struct{} // closed when the caller is free again
}

// caller is somebody with a call up. One at a time (calls.md §8.6).
type caller struct {
	tenant masking.TenantID
	number e164.Number
}

// DirectorOptions are what a Director works with; all are required.
type DirectorOptions struct {
	Store   store.Store
	Journal *Journal
	Clock   func() time.Time
	Log     *slog.Logger
	Key     []byte // for the pseudonyms of numbers in the log
}

// NewDirector makes a Director.
func NewDirector(o DirectorOptions) *Director {
	return &Director{store: o.Store, journal: o.Journal, clock: o.Clock, log: o.Log, key: o.Key, busy: map[caller]chan struct{}{}}
}

// Route reads the claim and decides. It refuses with a masking.Refusal; any
// other error means that the store cannot tell. release must be called once,
// when the call is over.
func (d *Director) Route(ctx context.Context, a masking.Ask) (plan masking.Plan, release func(), err error) {
	if d.journal.Behind() {
		return masking.Plan{}, nil, errBehind
	}
	if a.Called.IsZero() {
		return masking.Plan{}, nil, masking.RefusedUnknownNumber
	}
	route, err := d.read(ctx, a)
	if err != nil {
		return masking.Plan{}, nil, err
	}
	plan, err = masking.Admit(route, a.Caller, d.clock())
	if err != nil {
		return masking.Plan{}, nil, err
	}
	who := caller{plan.Tenant.ID, plan.Caller}
	if !d.take(ctx, who) {
		return plan, nil, masking.RefusedCallerBusy
	}
	return plan, sync.OnceFunc(func() { d.give(who) }), nil
}

var errBehind = errors.New("the journal cannot write; no new calls are taken")

func (d *Director) read(ctx context.Context, a masking.Ask) (masking.Route, error) {
	route, err := d.store.Route(ctx, a.Called, a.Caller)
	if masking.KindOf(err) == masking.NotFound {
		return route, masking.RefusedUnknownNumber
	}
	return route, err
}

// redialGrace is how long a second call of a caller waits for the end of his
// first: whoever hangs up and dials again at once can be ahead, by a moment, of
// the call that still closes its record.
const redialGrace = 100 * time.Millisecond

// take makes who busy, unless he is and stays so.
func (d *Director) take(ctx context.Context, who caller) bool {
	grace := time.NewTimer(redialGrace)
	defer grace.Stop()
	for {
		free, taken := d.tryTake(who)
		if taken {
			return true
		}
		select {
		case <-free:
		case <-grace.C:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

// tryTake makes who busy, or gives a channel that is closed when he is free.
func (d *Director) tryTake(who caller) (free <-chan struct{}, taken bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if free, busy := d.busy[who]; busy {
		return free, false
	}
	d.busy[who] = make(chan struct{})
	return nil, true
}

func (d *Director) give(who caller) {
	d.mu.Lock()
	defer d.mu.Unlock()
	close(d.busy[who])
	delete(d.busy, who)
}

// Refused writes down a call that was not routed. plan is what Route gave with
// the refusal: of a caller who is busy it names the allocation, and the call
// counts as one of its calls. It never waits; strangers beyond what the journal
// takes at once are counted and not written (calls.md §8.15).
func (d *Director) Refused(a masking.Ask, plan masking.Plan, why masking.Refusal) {
	d.log.Info("call refused", "call", string(a.Call), "trunk", a.Trunk, "reason", string(why),
		"called", a.Called, "caller", a.Caller, "caller_token", a.Caller.Token(d.key))
	switch why {
	case masking.RefusedUnknownNumber, masking.RefusedUnavailable:
		return // no tenant to tell, or nothing that could be written
	}
	d.journal.refused(refusal{ask: a, plan: plan, why: why, at: d.clock()})
}
