// Package callflow holds the use cases of a phone call: the Director says where
// a call should go, the Journal writes down what happened. Both satisfy the
// interfaces that voice/b2bua declares; neither knows SIP.
package callflow

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/quota"
	"tandem/internal/store"
)

// Director decides where calls go.
type Director struct {
	store   store.Store
	journal *Journal
	known   *LastKnown // nil = none
	clock   func() time.Time
	log     *slog.Logger
	key     []byte
	asker   Asker
	heard   strangers // who has been told why he is not connected
	asked   strangers // who has been asked for a PIN
	rates   recent[caller]
	places  places
	mu      sync.Mutex
	busy    map[caller]chan struct{} // closed when the caller is free again
	hiding  map[e164.Number]int      // calls up of those who withhold their number, by the number called
	trips   map[masking.Scope]*atomic.Int64
}

// Asker asks a tenant's own server about a stranger (webhook).
type Asker interface {
	// Ask gives what the server says. It is bounded by ctx, and every fault is an
	// error.
	Ask(ctx context.Context, url string, q masking.Question) (masking.Answer, error)
}

// caller is somebody with a call up. One at a time.
type caller struct {
	tenant masking.TenantID
	number e164.Number
}

// mostHiding bounds how many who withhold their number may be asked for a PIN on
// one number at once: none of them is anybody in particular.
const mostHiding = 10

// DirectorOptions are what a Director works with; all but Quota and Known are required.
type DirectorOptions struct {
	Store   store.Store
	Journal *Journal
	Clock   func() time.Time
	Log     *slog.Logger
	Key     []byte // for the pseudonyms of numbers in the log
	Asker   Asker
	Quota   *quota.Quota // bounds of all nodes; nil = this one is alone
	Known   *LastKnown   // what is routed by while the store is away; nil = nothing
}

// NewDirector makes a Director.
func NewDirector(o DirectorOptions) *Director {
	if o.Quota == nil {
		o.Quota = quota.New(nil, o.Log)
	}
	d := &Director{store: o.Store, journal: o.Journal, known: o.Known, clock: o.Clock, log: o.Log, key: o.Key,
		asker: o.Asker, places: newPlaces(o.Quota), busy: map[caller]chan struct{}{}, hiding: map[e164.Number]int{},
		trips: map[masking.Scope]*atomic.Int64{}}
	for _, s := range masking.Scopes {
		d.trips[s] = new(atomic.Int64)
	}
	return d
}

// Route reads the claim and decides. An error means that the store cannot tell.
// release must be called once, when the call is over; it is nil for a call that
// holds nothing.
func (d *Director) Route(ctx context.Context, a masking.Ask) (r masking.Ruling, release func(), err error) {
	_, r, release, err = d.decide(ctx, a, counting{d})
	if err != nil && r.Plan.Tenant.ID != "" && !errors.Is(err, store.ErrAway) { // by then nothing can have been written
		d.drop(a, r.Plan)
	}
	return r, release, err
}

// bounds is what a decision asks of callers and of calls that are up. Route counts
// and takes what it asks for; Explain only looks.
type bounds interface {
	// heard reports whether the caller may hear once more why he is not connected.
	heard(who refusedCaller) bool
	// asked and rated give how often he has been asked for a PIN, or has called,
	// within a minute, with this time. rated need not count beyond most.
	asked(who refusedCaller) int
	rated(ctx context.Context, who caller, most int) (int, error)
	// holdCaller takes the place of whoever calls.
	holdCaller(ctx context.Context, a masking.Ask, who caller) (release func(), ok bool)
	// holdPlaces takes those of the tenant and the allocation; release is nil with a refusal.
	holdPlaces(ctx context.Context, a masking.Ask, plan masking.Plan) (release func(), why masking.Refusal, err error)
	// enter takes the place in the allocation that a PIN opens.
	enter(ctx context.Context, a masking.Ask, plan masking.Plan) (masking.Refusal, error)
	// count is the last: it counts the call where its tenant bounds a day, or how fast
	// calls come, and gives the plan with the bound of the talk.
	count(ctx context.Context, a masking.Ask, plan masking.Plan) (masking.Plan, masking.Refusal, error)
}

// decide is what every call goes through, and every explanation of one.
func (d *Director) decide(ctx context.Context, a masking.Ask, b bounds) (route masking.Route, r masking.Ruling, release func(), err error) {
	if d.journal.Behind() {
		return route, r, nil, errBehind
	}
	if a.Called.IsZero() {
		return route, unknown(), nil, nil
	}
	route, err = d.store.Route(ctx, a.Called, a.Caller)
	now, recalled := d.clock(), false
	if d.known != nil && errors.Is(err, store.ErrAway) {
		if route, recalled = d.known.recall(a, now); recalled {
			err = nil
		}
	}
	switch {
	case masking.KindOf(err) == masking.NotFound:
		return route, unknown(), nil, nil
	case err != nil:
		return route, r, nil, err
	}
	r = masking.Rule(route, a.Caller, now)
	r.Plan.LastKnown = recalled
	if r.Refusal != "" && again(a, r, b) {
		r.Then = masking.Reject
	}
	if r.Refusal != "" && (r.Then == masking.Announce || r.Then == masking.Reject) {
		return route, r, nil, nil
	}
	release, why, err := hold(ctx, a, r.Plan, b)
	if err != nil { // nothing has been counted: without a plan there is nothing to drop
		return route, masking.Ruling{}, nil, err
	}
	if why == "" && r.Refusal == "" {
		if r.Plan, why, err = b.count(ctx, a, r.Plan); err != nil || why != "" {
			release()
			release = nil
		}
	}
	if why != "" {
		r.Refusal, r.Then = why, masking.Reject
	}
	return route, r, release, err
}

// unknown is the ruling on a call to a number that is in nobody's pool.
func unknown() masking.Ruling {
	return masking.Ruling{Refusal: masking.RefusedUnknownNumber, Then: masking.Reject}
}

// mostAsked is how often in a minute a caller is asked for a PIN on one number:
// each time costs a record, an event and ports.
const mostAsked = 10

// again reports whether a caller dials again and again: he has
// heard why he is not connected, or had his questions. Of callers who are too many
// to be remembered none hears anything; but each is asked, for one of them may have
// a PIN. So is whoever withholds his number: nobody knows how often that was he.
func again(a masking.Ask, r masking.Ruling, b bounds) bool {
	who := refusedCaller{a.Called, a.Caller, r.Refusal}
	switch r.Then {
	case masking.Announce:
		return !b.heard(who)
	case masking.AskPIN:
		return b.asked(who) > mostAsked && !a.Caller.IsZero()
	}
	return false
}

// hold takes the places that a call needs: the caller's, or one of those for
// callers who withhold their number; the tenant's, and the allocation's.
func hold(ctx context.Context, a masking.Ask, plan masking.Plan, b bounds) (release func(), why masking.Refusal, err error) {
	who := caller{plan.Tenant.ID, a.Caller}
	if most := plan.Tenant.Settings.MaxCallerRate; most > 0 && !a.Caller.IsZero() {
		if times, err := b.rated(ctx, who, most); err != nil || times > most {
			return nil, masking.RefusedCallerRate, err
		}
	}
	free, ok := b.holdCaller(ctx, a, who)
	if !ok {
		return nil, masking.RefusedCallerBusy, nil
	}
	leave, why, err := b.holdPlaces(ctx, a, plan)
	if err != nil || why != "" {
		free()
		return nil, why, err
	}
	return sync.OnceFunc(func() { leave(); free() }), "", nil
}

// counting are the bounds of a call.
type counting struct{ d *Director }

func (c counting) heard(who refusedCaller) bool { return c.d.heard.worthWriting(who, c.d.clock()) }

func (c counting) asked(who refusedCaller) int {
	times, _ := c.d.asked.count(who, c.d.clock())
	return times
}

// rated counts on all nodes together: whoever has called too often at this one alone
// is not worth a look at the store.
func (c counting) rated(ctx context.Context, who caller, most int) (times int, err error) {
	if times, _ = c.d.rates.count(who, c.d.clock()); times > most {
		return times, nil
	}
	err = c.d.store.Update(ctx, func(ctx context.Context, tx store.Tx) (err error) {
		times, err = tx.CountPace(ctx, who.rate(most), callerWindow, c.d.clock())
		return err
	})
	return times, err
}

// callerWindow is what max_caller_calls_per_minute counts in. It begins with a call.
const callerWindow = strangerWindow

// rate is what is counted of a caller's calls in a minute.
func (who caller) rate(most int) masking.Pace {
	return masking.Pace{Tenant: who.tenant, Scope: masking.CallsAMinute, Subject: who.number.E164(), Most: most}
}

func (c counting) holdCaller(ctx context.Context, a masking.Ask, who caller) (release func(), ok bool) {
	return c.d.holdCaller(ctx, a, who)
}

func (c counting) holdPlaces(ctx context.Context, a masking.Ask, plan masking.Plan) (release func(), why masking.Refusal, err error) {
	if why, err := c.d.places.take(ctx, plan); err != nil || why != "" {
		return nil, why, err
	}
	return func() { c.d.places.leave(a.Call, plan) }, "", nil
}

func (c counting) enter(ctx context.Context, a masking.Ask, plan masking.Plan) (masking.Refusal, error) {
	return c.d.places.enter(ctx, a.Call, plan)
}

func (c counting) count(ctx context.Context, a masking.Ask, plan masking.Plan) (masking.Plan, masking.Refusal, error) {
	return c.d.count(ctx, a, plan)
}

// holdCaller takes the place of whoever calls.
func (d *Director) holdCaller(ctx context.Context, a masking.Ask, who caller) (release func(), ok bool) {
	if a.Caller.IsZero() {
		return d.hide(a.Called, mostHiding)
	}
	if !d.take(ctx, who) {
		return nil, false
	}
	return sync.OnceFunc(func() { d.give(who) }), true
}

// hide takes a place of those for callers who withhold their number, if fewer than
// most are taken.
func (d *Director) hide(called e164.Number, most int) (release func(), ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.hiding[called] >= most {
		return nil, false
	}
	d.hiding[called]++
	return sync.OnceFunc(func() { d.show(called) }), true
}

// Resumed gives a call that goes on after a restart the place that it had.
func (d *Director) Resumed(p masking.Plan) (release func()) {
	d.places.resume(p)
	free := d.resumedCaller(p)
	return sync.OnceFunc(func() { d.places.leave("", p); free() })
}

func (d *Director) resumedCaller(p masking.Plan) (release func()) {
	if p.Caller.IsZero() {
		release, _ = d.hide(p.VirtualNumber, math.MaxInt)
		return release
	}
	who := caller{p.Tenant.ID, p.Caller}
	if _, taken := d.tryTake(who); !taken { // by another call that goes on, which is busy enough
		return func() {}
	}
	return func() { d.give(who) }
}

// show gives back the place of a caller who withheld his number.
func (d *Director) show(called e164.Number) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.hiding[called]--; d.hiding[called] == 0 {
		delete(d.hiding, called)
	}
}

// Consult asks the tenant's own server what a stranger gets. One that does not
// answer, or answers what cannot be done, has him told that he cannot be
// connected: it fails closed.
func (d *Director) Consult(ctx context.Context, a masking.Ask, r masking.Ruling) masking.Ruling {
	answer, err := d.asker.Ask(ctx, r.Policy.URL, masking.Question{Tenant: r.Plan.Tenant.ID, Call: a.Call, VirtualNumber: a.Called,
		Caller: a.Caller, Reason: r.Refusal, At: a.Received})
	r.Then = masking.Announce
	if err != nil {
		d.log.Warn("a tenant's server did not say what a stranger gets", "call", string(a.Call),
			"tenant", string(r.Plan.Tenant.ID), "error", err.Error())
		return r
	}
	switch answer.Action {
	case masking.AskPIN, masking.Reject:
		r.Then = answer.Action
	case masking.Forward:
		if to, ok := d.forwardable(ctx, r.Plan.Tenant.ID, a, answer.ForwardTo); ok && r.Plan.Tenant.Settings.Guards.Permits(to) {
			return d.forward(ctx, a, r, to)
		}
		d.log.Warn("a tenant's server forwards a stranger to no number that can be rung", "call", string(a.Call), "tenant", string(r.Plan.Tenant.ID))
	}
	return r
}

// forward rings the number that a tenant's server named.
func (d *Director) forward(ctx context.Context, a masking.Ask, r masking.Ruling, to e164.Number) masking.Ruling {
	plan := masking.Route{Tenant: r.Plan.Tenant, Number: masking.VirtualNumber{Number: a.Called}}.ForwardPlan(to, a.Caller)
	plan, why, err := d.count(ctx, a, plan)
	if err != nil {
		d.log.Warn("a call cannot be counted now", "call", string(a.Call), "error", err.Error())
		d.drop(a, plan)
		why = masking.RefusedUnavailable
	}
	if why != "" {
		return masking.Ruling{Plan: r.Plan, Refusal: why, Then: masking.Reject}
	}
	return masking.Ruling{Plan: plan}
}

// forwardable reads a number that a stranger may be sent to: one that the tenant
// may ring, no emergency service, nobody's virtual number, which would come back to us, and not himself.
func (d *Director) forwardable(ctx context.Context, tenant masking.TenantID, a masking.Ask, text string) (e164.Number, bool) {
	to, err := e164.Parse(text)
	if err != nil || e164.Emergency(text) || to == a.Caller {
		return e164.Number{}, false
	}
	virtual := true
	err = d.store.View(ctx, func(ctx context.Context, tx store.Reader) (err error) {
		virtual, err = tx.AnyVirtual(ctx, tenant, []e164.Number{to})
		return err
	})
	return to, err == nil && !virtual
}

// PINLengths are the lengths of the PINs that are live on the number called.
func (d *Director) PINLengths(ctx context.Context, a masking.Ask) (lengths []int, err error) {
	err = d.store.View(ctx, func(ctx context.Context, tx store.Reader) (err error) {
		lengths, err = tx.PINLengths(ctx, a.Called, d.clock())
		return err
	})
	return lengths, err
}

// Enter judges a PIN, and counts a wrong one before it says so: reading, judging
// and counting are one transaction, so that entries made at the same time are
// judged one after the other.
func (d *Director) Enter(ctx context.Context, a masking.Ask, pin masking.PIN) (r masking.Ruling, left int, err error) {
	var v masking.PINVerdict
	err = d.store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		now := d.clock()
		var err error
		if v, err = judge(ctx, tx, a, pin, now); err != nil || len(v.Count) == 0 {
			return err
		}
		return tx.CountWrong(ctx, v.Count, now)
	})
	if err != nil {
		return r, 0, err
	}
	r, err = entered(ctx, a, v, counting{d})
	if err != nil || r.Refusal != v.Refusal { // there is no place, or a guard refuses it
		return r, 0, err
	}
	return r, v.Left, nil
}

// judge decides on a PIN by what the store has now.
func judge(ctx context.Context, tx store.PINReader, a masking.Ask, pin masking.PIN, now time.Time) (masking.PINVerdict, error) {
	found, err := tx.PINCase(ctx, a.Called, a.Caller, pin, now)
	switch {
	case masking.KindOf(err) == masking.NotFound: // the number has left the pool
		return masking.PINVerdict{Refusal: masking.RefusedPIN}, nil
	case err != nil:
		return masking.PINVerdict{}, err
	}
	return masking.JudgePIN(found, a.Caller, pin, now), nil
}

// entered is the ruling of a PIN that was judged: a right one lets the call through
// if there is a place in the allocation that it opens, and no guard refuses it.
func entered(ctx context.Context, a masking.Ask, v masking.PINVerdict, b bounds) (masking.Ruling, error) {
	switch {
	case v.Refusal != "":
		return masking.Ruling{Plan: v.Plan, Refusal: v.Refusal}, nil
	case v.Plan.Barred():
		return masking.Ruling{Refusal: masking.RefusedDestination}, nil
	}
	if why, err := b.enter(ctx, a, v.Plan); err != nil || why != "" {
		return masking.Ruling{Refusal: why}, err
	}
	plan, why, err := b.count(ctx, a, v.Plan)
	if err != nil || why != "" {
		return masking.Ruling{Refusal: why}, err
	}
	return masking.Ruling{Plan: plan}, nil
}

// Expires is when an allocation expires as it stands now; zero for one that
// somebody has ended before that, whose talks go on.
func (d *Director) Expires(ctx context.Context, tenant masking.TenantID, id masking.AllocationID) (at time.Time, err error) {
	err = d.store.View(ctx, func(ctx context.Context, tx store.Reader) error {
		a, err := tx.Allocation(ctx, tenant, id)
		switch {
		case masking.KindOf(err) == masking.NotFound:
			at = time.Time{}
			return nil
		case err != nil:
			return err
		}
		if at = a.ExpiresAt; !a.EndedAt.IsZero() && a.EndReason != masking.EndedByExpired {
			at = time.Time{}
		}
		return nil
	})
	return at, err
}

var errBehind = errors.New("the journal cannot write; no new calls are taken")

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
// takes at once are counted and not written.
func (d *Director) Refused(a masking.Ask, plan masking.Plan, why masking.Refusal) {
	d.log.Info("call refused", "call", string(a.Call), "trunk", a.Trunk, "reason", string(why),
		"called", a.Called, "caller", a.Caller, "caller_token", a.Caller.Token(d.key))
	switch why {
	case masking.RefusedUnknownNumber, masking.RefusedUnavailable:
		return // no tenant to tell, or nothing that could be written
	}
	d.journal.refused(refusal{ask: a, plan: plan, why: why, at: d.clock()})
}
