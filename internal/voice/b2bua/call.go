package b2bua

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/voice/sdp"
)

// inboxSize bounds what may wait for a call. A call that is not read fast
// enough is being flooded; it is ended rather than let an event go missing.
const inboxSize = 32

// call is one call. Everything below flooded is owned by call.run.
type call struct {
	x       *Exchange
	in      Invite
	log     *slog.Logger
	inbox   chan Event
	flooded chan struct{} // holds one entry once an event did not fit
	line    *line         // from the caller's leg to the inbox
	over    chan struct{} // closed when the call is over

	state      State
	began      time.Time // by the monotonic clock, which in.Received need not have
	plan       masking.Plan
	record     masking.Call
	release    func()           // gives back what Route took; nil for a call that was not routed
	told       bool             // the Director knows that it rings nobody
	finished   bool             // the record is closed
	up         map[end]struct{} // legs that are not gone
	until      time.Time        // no further number is rung from here on
	branches   []*branch        // the numbers that are rung now
	won        *branch          // whose phone was taken; nil before
	b          Leg              // its leg
	attempt    int              // the number of the attempt dialled last, from 1
	waited     time.Duration    // for trunks to dial, since a number last rang for as long as it may
	targets    []e164.Number    // not rung yet
	rang       bool             // the caller has been told
	gaveUp     atomic.Bool      // the caller has, by CANCEL
	taken      bool             // the caller's leg was answered before anybody else's
	pin        pinEntry
	farewell   Reason // of Parting
	announces  bool   // one of the announcements that there may be at once
	answeredAt time.Time

	media  Session
	deal   deal
	quiet  time.Time // silence before this counts for nothing: the answer, the last resume
	sides  [2]negotiated
	timers [7]timer // EvRingTime to EvLifeTime; see arm
	spoken [2]int   // which words a side hears; the end of earlier ones is stale

	notices int                      // sides that have yet to hear that the call is recorded
	warned  struct{ max, life bool } // of which end both sides have been told

	unkept  bool      // what is kept for a restart is not true any more
	unheard time.Time // when it was kept without where both sides send from, which must be heard since; zero: with it
	doubted [2]bool   // sides of which it is not known, after a restart, that they are still there
	asking  bool      // they are to be asked
	asked   [2]bool   // have been
	cut     bool      // it cannot go on after a restart
	alive   time.Time // by the wall clock: the process before it was still there
	moved   bool      // the media is not where the sides were told: they are to send here from now on
	hurry   bool      // and have so long to agree
}

// end is one leg of a call; A's has attempt 0.
type end struct {
	side    Side
	attempt int
}

func newCall(x *Exchange, in Invite) *call {
	c := &call{x: x, in: in, inbox: make(chan Event, inboxSize), flooded: make(chan struct{}, 1), over: make(chan struct{}), began: time.Now(),
		up: map[end]struct{}{{A, 0}: {}}, log: x.o.Log.With("call", string(in.Call))}
	c.line = &line{to: c.from(A, 0)}
	// The leg's events wait in the inbox from the start; which numbers must
	// not reach the caller is known once the call is routed.
	in.Leg.Bind(c.line.tell, nil)
	return c
}

// from stamps a leg's events as they come in.
func (c *call) from(s Side, attempt int) func(Event) {
	return func(e Event) {
		e.Side, e.Attempt = s, attempt
		if s == A && e.Kind == EvCancelled {
			c.gaveUp.Store(true)
		}
		c.post(e)
	}
}

// line is the way of the caller's events to the call that his leg belongs to.
type line struct {
	mu sync.Mutex
	to func(Event) // never blocks
}

func (l *line) tell(e Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.to(e)
}

// move leads all further events to another call.
func (l *line) move(to func(Event)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.to = to
}

// post puts an event into the inbox without waiting.
func (c *call) post(e Event) {
	select {
	case c.inbox <- e:
	default:
		c.flood()
	}
}

// flood tells the call that an event was lost.
func (c *call) flood() {
	select {
	case c.flooded <- struct{}{}:
	default:
	}
}

// run is the call, from its INVITE to its last message.
func (c *call) run() {
	if c.state == Routing { // it has been taken up again after a restart otherwise
		c.route()
	}
	for c.state != Over {
		select {
		case e := <-c.inbox:
			c.handle(e)
			c.inquire()
			c.keep()
		case <-c.flooded:
			// What did not fit may have been a Gone, so none can be waited for;
			// the legs end by themselves.
			c.log.Warn("call flooded with events")
			c.finish(masking.CauseFailed, Reason{Cause: masking.CauseFailed})
			c.state = Over
		}
	}
}

// route asks the Director and dials, or refuses.
func (c *call) route() {
	r, release, err := c.rule()
	switch {
	case err != nil:
		c.log.Warn("call cannot be routed now", "error", err.Error())
		c.state = c.refuse(masking.Ruling{Refusal: masking.RefusedUnavailable})
		return
	case r.Refusal == "" || r.Then == masking.AskPIN:
		c.enroll(r, release)
	case release != nil:
		release()
	}
	switch {
	case r.Refusal == "":
		c.log = c.log.With("allocation", string(r.Plan.Allocation.ID))
		c.note(masking.Began)
		c.state = c.begin()
	case r.Then == masking.AskPIN:
		c.state = c.ask()
	case r.Then == masking.Announce:
		c.state = c.announce(r)
	default:
		c.state = c.refuse(r)
	}
}

// rule asks the Director, and lets him ask the tenant's own server if that is to
// decide.
func (c *call) rule() (r masking.Ruling, release func(), err error) {
	ctx, cancel := context.WithTimeout(context.Background(), c.x.o.Timing.Route)
	defer cancel()
	r, release, err = c.x.o.Director.Route(ctx, c.in.Ask)
	if err != nil || r.Refusal == "" || r.Then != masking.AskWebhook {
		return r, release, err
	}
	ctx, cancel = context.WithTimeout(context.Background(), c.x.o.Timing.Consult)
	defer cancel()
	c.contain(func() { r = c.x.o.Director.Consult(ctx, c.in.Ask, r) }) // what is held must be given back
	return r, release, nil
}

// enroll opens the record of a call that is somebody's.
func (c *call) enroll(r masking.Ruling, release func()) {
	plan := r.Plan
	c.plan, c.release = plan, release
	if c.release == nil {
		c.release = func() {}
	}
	c.record = plan.Record(c.in.Ask, c.x.o.Node)
	c.log = c.log.With("tenant", string(plan.Tenant.ID))
}

// begin rings the first number of a call that has been routed, unless there is
// a reason not to.
func (c *call) begin() State {
	c.in.Leg.Bind(c.line.tell, c.hiddenFrom(c.plan.Caller))
	if c.x.book.routed(c, c.plan.Allocation.ID) {
		c.finish(masking.CauseAllocationEnded, Reason{Cause: masking.CauseAllocationEnded})
		return Ending
	}
	if err := c.readOffer(); err != nil {
		return c.noMedia(err)
	}
	if c.plan.Allocation.Record {
		c.sides[A].theirs = sdp.OnlyG711(c.sides[A].theirs) // what a recording is made of
	}
	if other := c.x.book.meet(c); other != nil {
		return c.met(other)
	}
	return c.setOut()
}

// setOut begins the hunt.
func (c *call) setOut() State {
	c.targets, c.until = c.plan.Targets, time.Now().Add(c.plan.RingTotal)
	c.arm(EvTotalTime, c.plan.RingTotal)
	return c.hunt()
}

// refuse ends a call that rings nobody, without a word.
func (c *call) refuse(r masking.Ruling) State {
	c.refused(r)
	c.finish(masking.CauseRejected, Reason{masking.CauseRejected, r.Refusal})
	return Ending
}

// refused keeps the record of a call that rings nobody.
func (c *call) refused(r masking.Ruling) {
	c.x.book.routed(c, "")
	c.told = true
	c.x.o.Director.Refused(c.in.Ask, r.Plan, r.Refusal)
}

// handle does what the table says about an event and moves to where it leads.
func (c *call) handle(e Event) {
	if c.stale(e) {
		return
	}
	if b := c.branch(e); b != nil && e.Kind == EvOffered { // our own offer is open
		b.leg.RefuseOffer()
		return
	}
	c.believe(e)
	do := next(c.state, e.Kind)
	switch do {
	case takeKey, judge, awaitKeys, deny, ringBack, tape, passKey, part:
		c.converse(do, e)
	case ignore:
		e.Guest.refuse()
		if l := c.leg(e.Side); e.Kind == EvOffered && l != nil {
			l.RefuseOffer()
		}
	case ring:
		c.ringCaller(c.branch(e))
		c.state = Ringing
	case connect:
		c.state = c.connect(e)
	case hunt:
		c.state = c.huntOn(e)
	case giveUp:
		c.drop(masking.CauseNoAnswer)
		c.state = c.exhausted()
	case hangUp:
		c.hangUp(e)
		c.state = Ending
	case renew:
		c.renew(e)
	case settle:
		c.state = c.settle(e)
	case unsay:
		c.withdrawn(e)
	case listen:
		c.state = c.listen()
	case mind:
		c.state = c.mind(e)
	case join:
		c.state = c.join(e.Guest)
	case verify:
		c.state = c.verify()
	case follow:
		c.change()
	case letGo:
		c.state = c.letGo()
	case countOut:
		c.state = c.countOut(e)
	}
}

// converse does what concerns our own words and the keys that are pressed.
func (c *call) converse(do action, e Event) {
	switch do {
	case takeKey:
		c.state = c.takeKey(e)
	case judge:
		c.state = c.judge()
	case awaitKeys:
		c.state = c.await(firstDigit)
	case deny:
		c.state = c.deny(masking.RefusedPIN)
	case ringBack:
		c.ringBack()
	case tape:
		c.noticed()
	case passKey:
		c.passKey(e)
	case part:
		c.state = c.part(e)
	}
}

// countOut takes a leg off the list that said that it is gone. A leg still in
// use must not go without a word; if it does, the call ends, lest it wait for
// ever.
func (c *call) countOut(e Event) State {
	l := end{e.Side, e.Attempt}
	if _, there := c.up[l]; !there {
		return c.state
	}
	delete(c.up, l)
	to := c.state
	if to != Ending && (e.Side == A || c.present(e)) {
		c.log.Warn("a leg is gone without a word")
		c.finish(masking.CauseFailed, Reason{Cause: masking.CauseFailed})
		to = Ending
	}
	if to == Ending && len(c.up) == 0 { // a caller who was asked or told has no other side
		return Over
	}
	return to
}

// stale reports whether e tells of an attempt or a ring time that is over, or
// what its side cannot say. A leg of such an attempt ends by itself; only that
// it is gone must still be counted.
func (c *call) stale(e Event) bool {
	switch e.Kind {
	case EvGone:
		return false
	case EvRingTime, EvTotalTime, EvMediaCheck, EvDigitTime, EvVerify, EvMaxTime, EvLifeTime:
		return e.Attempt != c.timer(e.Kind).setting
	case EvExpiry:
		return e.Attempt != c.timer(EvLifeTime).setting
	case EvAllocEnded, EvTerminate:
		return e.Allocation != c.plan.Allocation.ID
	case EvRinging, EvAnswered, EvFailed:
		return c.branch(e) == nil
	case EvCancelled: // of an INVITE that was answered it changes nothing (RFC 3261 §9.2)
		return e.Side != A || c.taken
	case EvPlayed:
		return e.Attempt != c.spoken[e.Side]
	}
	return e.Side == B && !c.present(e)
}

// present reports whether e tells of an attempt that is out now, or talks.
func (c *call) present(e Event) bool {
	return c.branch(e) != nil || c.won != nil && e.Attempt == c.won.attempt
}

// leg is the leg of a side; nil for B before somebody has answered.
func (c *call) leg(s Side) Leg {
	if s == A {
		return c.in.Leg
	}
	return c.b
}

// ringCaller tells the caller once that it rings; a second number that rings
// changes nothing for him.
func (c *call) ringCaller(b *branch) {
	c.record.Attempts[b.entry].Rang = true
	if c.rang {
		return
	}
	c.rang = true
	if !c.taken { // who was answered hears our own ring-back in his ear
		c.in.Leg.Ring()
	}
	c.note(masking.Rang)
}

// hangUp ends both legs for the reason that e gives.
func (c *call) hangUp(e Event) {
	cause := e.Cause
	switch e.Kind {
	case EvCancelled:
		cause = masking.CauseCallerCancelled
	case EvBlocked:
		cause = masking.CauseLeakBlocked
	case EvAllocEnded, EvTerminate:
		cause = masking.CauseAllocationEnded
	case EvShutdown:
		cause = masking.CauseShutdown
	case EvHungUp:
		switch {
		case e.Cause != "" && c.doubted[e.Side]: // he hung up while nobody heard it
			cause = masking.CauseNodeLost
		case e.Cause != "":
		case e.Side == A && c.state != Talking:
			cause = masking.CauseCallerCancelled
		case e.Side == A:
			cause = masking.CauseCallerHungUp
		default:
			cause = masking.CauseCalleeHungUp
		}
	}
	c.finish(cause, Reason{Cause: cause})
}

// finish closes the record, ends what is left of both legs and closes the
// media, once: every way to the end of a routed call leads through here. A
// fault in one of its steps does not keep it from the others.
func (c *call) finish(cause masking.Cause, toCaller Reason) {
	if c.finished {
		return
	}
	c.finished = true
	c.disarm()
	c.x.book.settled(c)
	if c.release == nil { // nobody's call
		c.contain(func() { c.in.Leg.End(toCaller) })
		c.contain(c.closeMedia)
		return
	}
	if c.answeredAt.IsZero() {
		for _, b := range c.ringing() {
			c.closeAttempt(b, cause, 0)
		}
	}
	c.record.Cause, c.record.Refusal, c.record.EndedAt = cause, toCaller.Refusal, c.x.o.Clock()
	if c.answeredAt.IsZero() {
		c.record.RingTime = time.Since(c.began)
	} else {
		c.record.TalkTime = c.talkTime()
	}
	c.contain(c.release)
	for _, b := range c.ringing() {
		c.contain(func() { c.endBranch(b, cause) })
	}
	c.contain(func() { c.in.Leg.End(toCaller) })
	c.contain(c.closeMedia)
	c.contain(func() { c.note(masking.Ended) })
	c.log.Info("call ended", "cause", string(cause), "ring_ms", c.record.RingTime.Milliseconds(),
		"talk_ms", c.record.TalkTime.Milliseconds(), "attempts", len(c.record.Attempts))
}

// talkTime is how long a call that ends has talked. While nothing carried it, nobody
// did, and with a side that was gone by then there was no talk afterwards.
func (c *call) talkTime() time.Duration {
	if c.cut || c.record.Cause == masking.CauseNodeLost {
		return c.record.TalkTimeUntil(c.alive)
	}
	return time.Since(c.answeredAt)
}

func (c *call) note(m masking.Moment) {
	r := c.record
	r.Attempts = append([]masking.Attempt(nil), r.Attempts...)
	c.x.o.Journal.Note(m, r, c.plan.Tenant.Settings.Zone)
}

// rescue keeps a fault in one call from ending all others: the call is ended
// and recorded. It is a net under the code, not a way to write it.
func (c *call) rescue() {
	fault := recover()
	if fault == nil {
		return
	}
	c.logFault(fault)
	if c.release == nil && !c.told {
		c.contain(func() { c.x.o.Director.Refused(c.in.Ask, masking.Plan{}, masking.RefusedUnavailable) })
		c.finish(masking.CauseRejected, Reason{masking.CauseRejected, masking.RefusedUnavailable})
		return
	}
	c.finish(masking.CauseFailed, Reason{Cause: masking.CauseFailed})
}

// contain runs one step of an end that must not keep the next from running.
func (c *call) contain(step func()) {
	defer func() {
		if fault := recover(); fault != nil {
			c.logFault(fault)
		}
	}()
	step()
}

// logFault tells the kind of a fault, never its text: that may hold a number.
func (c *call) logFault(fault any) {
	c.log.Error("fault in a call", "fault", fmt.Sprintf("%T", fault), "stack", string(debug.Stack()))
}
