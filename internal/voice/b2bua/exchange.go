package b2bua

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"tandem/internal/masking"
)

// Options are what an Exchange works with. All fields are required but Timing.
type Options struct {
	Director Director
	Journal  Journal
	Trunks   Trunks
	Media    Media
	Log      *slog.Logger
	Node     string           // this node's name, for the records
	Clock    func() time.Time // wall clock of the records; durations are monotonic
	Timing   Timing
}

// Timing holds the waits of a call; zero fields take the values named here.
type Timing struct {
	Route       time.Duration // how long the Director may take: 2 s
	Consult     time.Duration // and the tenant's own server: 3 s
	MediaFirst  time.Duration // nothing heard of either side after answer: 30 s
	MediaLater  time.Duration // both sides silent later on, not on hold: 60 s
	MediaHeld   time.Duration // nothing heard of either side of a held call: 2 h
	MediaChecks time.Duration // how often to look: 5 s
}

func (t Timing) withDefaults() Timing {
	set := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	set(&t.Route, 2*time.Second)
	set(&t.Consult, 3*time.Second)
	set(&t.MediaFirst, 30*time.Second)
	set(&t.MediaLater, 60*time.Second)
	set(&t.MediaHeld, 2*time.Hour)
	set(&t.MediaChecks, 5*time.Second)
	return t
}

// Exchange runs all calls of a node. Its methods may be called from anywhere.
type Exchange struct {
	o             Options
	book          *book
	announcements atomic.Int64 // being made
	spent         allowance    // of announcements
	resumed       []*call      // before Verify
}

// How many strangers hear why they are not connected: at the same time, and begun
// in a row and in a second later on. Each takes ports, which then rest, however
// soon he hangs up.
const (
	mostAnnouncements    = 50
	announcementsInARow  = 100
	announcementsASecond = 10
)

// takeAnnouncement reports whether one more may be made; its place is given back
// when the call is over.
func (x *Exchange) takeAnnouncement(c *call) bool {
	c.announces = x.announcements.Add(1) <= mostAnnouncements && x.o.Media.Spare() && x.spent.take(time.Now())
	if !c.announces {
		x.announcements.Add(-1)
	}
	return c.announces
}

// allowance is what may still be begun; it grows with time up to so many in a row.
type allowance struct {
	mu   sync.Mutex
	used float64
	at   time.Time // when that was so
}

func (a *allowance) take(now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.used, a.at = max(0, a.used-now.Sub(a.at).Seconds()*announcementsASecond), now
	if a.used+1 > announcementsInARow {
		return false
	}
	a.used++
	return true
}

func (x *Exchange) leave(c *call) {
	if c.announces {
		x.announcements.Add(-1)
	}
	close(c.over)
	x.book.leave(c)
}

// New makes an Exchange without calls.
func New(o Options) *Exchange {
	o.Timing = o.Timing.withDefaults()
	return &Exchange{o: o, book: newBook()}
}

// Incoming takes a call over and returns at once. While draining the call is
// refused as unavailable.
func (x *Exchange) Incoming(in Invite) {
	c := newCall(x, in)
	if !x.book.enter(c) {
		x.o.Director.Refused(in.Ask, masking.Plan{}, masking.RefusedUnavailable)
		in.Leg.End(Reason{masking.CauseRejected, masking.RefusedUnavailable})
		return
	}
	go func() {
		defer x.leave(c)
		defer c.rescue()
		c.run()
	}()
}

// AllocationEnded cancels the allocation's calls that still ring; with
// terminate it ends those that talk as well.
func (x *Exchange) AllocationEnded(id masking.AllocationID, terminate bool) {
	kind := EvAllocEnded
	if terminate {
		kind = EvTerminate
	}
	for _, c := range x.book.ended(id) {
		c.post(Event{Kind: kind, Allocation: id})
	}
}

// Calls are those that are up.
func (x *Exchange) Calls() (ids []masking.CallID) {
	for _, c := range x.book.all() {
		ids = append(ids, c.in.Call)
	}
	return ids
}

// LetGo ends calls here that another node has taken up: neither their peers nor their
// records hear of it.
func (x *Exchange) LetGo(ids []masking.CallID) {
	for _, c := range x.book.all() {
		if slices.Contains(ids, c.in.Call) {
			c.post(Event{Kind: EvTaken})
		}
	}
}

// Live is how many calls are up, those counted whose last messages are under way.
func (x *Exchange) Live() int { return x.book.live() }

// Drain refuses new calls and waits until the last one is over or ctx ends;
// then it hangs up what is left and waits for that.
func (x *Exchange) Drain(ctx context.Context) {
	x.book.close()
	done := make(chan struct{})
	go func() { x.book.wg.Wait(); close(done) }()
	select {
	case <-done:
		return
	case <-ctx.Done():
	}
	for _, c := range x.book.all() {
		c.post(Event{Kind: EvShutdown})
	}
	<-done
}

// Draining reports whether new calls are refused.
func (x *Exchange) Draining() bool { return x.book.closed() }
