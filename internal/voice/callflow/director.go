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
	busy    map[caller]struct{}
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
	return &Director{store: o.Store, journal: o.Journal, clock: o.Clock, log: o.Log, key: o.Key, busy: map[caller]struct{}{}}
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
	if !d.take(who) {
		return plan, nil, masking.RefusedCallerBusy
	}
	return plan, sync.OnceFunc(func() { d.give(who) }), nil
}

var errBehind = errors.New("the journal cannot write; no new calls are taken")

func (d *Director) read(ctx context.Context, a masking.Ask) (masking.Route, error) {
	var route masking.Route
	err := d.store.View(ctx, func(ctx context.Context, tx store.Reader) (err error) {
		route, err = tx.Route(ctx, a.Called, a.Caller)
		return err
	})
	if masking.KindOf(err) == masking.NotFound {
		return route, masking.RefusedUnknownNumber
	}
	return route, err
}

func (d *Director) take(who caller) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, busy := d.busy[who]; busy {
		return false
	}
	d.busy[who] = struct{}{}
	return true
}

func (d *Director) give(who caller) {
	d.mu.Lock()
	defer d.mu.Unlock()
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
