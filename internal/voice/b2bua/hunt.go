package b2bua

import (
	"slices"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
)

// branch is one number that is rung, over one trunk after the other, until
// somebody answers.
type branch struct {
	target  e164.Number
	trunks  []Trunk // not tried yet
	attempt int     // the present one; events of earlier ones are stale
	entry   int     // its place in record.Attempts
	since   time.Time
	leg     Leg
	media   Session // nil with a caller who was answered, who has one
	seat    Seat    // there, until its phone is taken
	side    negotiated
}

// hunt rings the next number of the list, or all at once, unless somebody is
// rung already. With nobody left the caller is told what the
// attempts came to.
func (c *call) hunt() State {
	for len(c.branches) == 0 {
		// The total ring time may run out in the moment of this number's turn;
		// his phone must not flash for nothing.
		if len(c.targets) == 0 || !time.Now().Before(c.until) {
			return c.exhausted()
		}
		now := c.targets[:1]
		if c.plan.Together {
			now = c.targets
		}
		c.targets = c.targets[len(now):]
		c.arm(EvRingTime, c.plan.RingEach)
		c.record.Callee = now[0]
		for _, n := range now {
			c.ringNumber(n)
		}
	}
	return c.hunting()
}

// hunting is the state of a call whose numbers are rung.
func (c *call) hunting() State {
	if slices.ContainsFunc(c.branches, func(b *branch) bool { return c.record.Attempts[b.entry].Rang }) {
		return Ringing
	}
	return Dialing
}

// huntOn goes on after an attempt that is over, or numbers that have rung long
// enough.
func (c *call) huntOn(e Event) State {
	if e.Kind == EvRingTime {
		c.drop(masking.CauseNoAnswer)
		c.waited = 0
		return c.hunt()
	}
	b := c.branch(e)
	again := e.Retry && !c.record.Attempts[b.entry].Rang
	c.closeAttempt(b, e.Cause, e.Status)
	c.endBranch(b, e.Cause)
	c.advance(b, again)
	return c.hunt()
}

// ringNumber begins a branch.
func (c *call) ringNumber(n e164.Number) {
	b := &branch{target: n, trunks: c.x.o.Trunks.Outgoing(c.plan.VirtualNumber)}
	if len(b.trunks) == 0 {
		c.log.Warn("no trunk can carry this call")
		c.record.Attempts = append(c.record.Attempts, masking.Attempt{Target: n, Cause: masking.CauseFailed})
		return
	}
	c.branches = append(c.branches, b)
	c.advance(b, true)
}

// advance rings a branch's number over its next trunk. If it may not, or there is
// none left, the branch is over.
func (c *call) advance(b *branch, may bool) {
	for may && len(b.trunks) > 0 {
		if c.dial(b) {
			return
		}
	}
	c.branches = slices.DeleteFunc(c.branches, func(o *branch) bool { return o == b })
}

// dial rings a number over the next trunk; false when media cannot be opened or
// the offer cannot be made, which no other trunk would mend.
func (c *call) dial(b *branch) bool {
	trunk := b.trunks[0]
	b.trunks, b.entry = b.trunks[1:], len(c.record.Attempts)
	c.record.Attempts = append(c.record.Attempts, masking.Attempt{Target: b.target, Trunk: trunk.Name(), Cause: masking.CauseFailed})
	offer, err := c.openMedia(b, trunk.SRTP())
	if err != nil {
		c.log.Warn("media cannot be opened", "error", err.Error())
		b.trunks, c.targets = nil, nil
		c.endBranch(b, masking.CauseFailed)
		return false
	}
	c.attempt++
	b.attempt, b.since = c.attempt, time.Now()
	c.up[end{B, b.attempt}] = struct{}{}
	b.leg = trunk.Dial(Dial{
		Call: c.in.Call, To: b.target, CallerID: c.plan.VirtualNumber, Offer: offer, Hops: c.in.Hops,
		Hidden: c.hiddenFrom(b.target), Inbox: c.from(B, b.attempt), Waited: c.waited,
	})
	c.waited += time.Since(b.since)
	return true
}

// branch is the number of which an event tells, if it is still rung.
func (c *call) branch(e Event) *branch {
	for _, b := range c.branches {
		if e.Side == B && e.Attempt == b.attempt {
			return b
		}
	}
	return nil
}

// ringing are the branches that are not over, with the one that won.
func (c *call) ringing() []*branch {
	if c.won == nil {
		return c.branches
	}
	return append([]*branch{c.won}, c.branches...)
}

// drop ends all numbers that are still rung.
func (c *call) drop(cause masking.Cause) {
	for _, b := range c.branches {
		c.closeAttempt(b, cause, 0)
		c.endBranch(b, cause)
	}
	c.branches = nil
}

// endBranch ends the present attempt of a branch. Its ports go with it, but for
// those of a caller who was answered, who goes on hearing us, and of the branch
// that won.
func (c *call) endBranch(b *branch, cause masking.Cause) {
	defer func() {
		media, seat := b.media, b.seat
		b.media, b.seat = nil, nil
		if media != nil && media != c.media {
			media.Close()
		}
		if seat != nil {
			seat.Close()
		}
	}()
	if b.leg != nil {
		b.leg.End(Reason{Cause: cause})
	}
}

func (c *call) closeAttempt(b *branch, cause masking.Cause, status int) {
	a := &c.record.Attempts[b.entry]
	a.Cause, a.Status, a.Ring = cause, status, time.Since(b.since)
}

// hiddenFrom are the numbers that must not reach one person of the call: those of
// everybody else of the allocation, and the caller's and those that are rung,
// which need not be parties. His own is in our Request-URI.
func (c *call) hiddenFrom(person e164.Number) []e164.Number {
	var hidden []e164.Number
	for _, n := range slices.Concat(c.plan.Allocation.Parties(), c.plan.Targets, []e164.Number{c.plan.Caller}) {
		if n != person && !n.IsZero() && !slices.Contains(hidden, n) {
			hidden = append(hidden, n)
		}
	}
	return hidden
}

// exhausted ends a call that nobody answered.
func (c *call) exhausted() State {
	cause := masking.CauseOfAttempts(c.record.Attempts)
	switch {
	case !c.taken:
		c.finish(cause, Reason{Cause: cause})
		return Ending
	case cause == masking.CauseBusy:
		return c.leaveWith(ToneBusy, Reason{Cause: cause})
	}
	return c.leaveWith(SoundUnreachable, Reason{Cause: cause})
}

// timer is one of a call's timers.
type timer struct {
	running *time.Timer
	setting int // which it is; the end of an earlier one is stale
}

func (c *call) timer(k EventKind) *timer { return &c.timers[k-EvRingTime] }

// stop ends the present setting. Its end may be in the inbox already, and is
// stale then.
func (t *timer) stop() {
	t.setting++
	if t.running != nil {
		t.running.Stop()
	}
}

// arm sets one of the call's timers, in place of its last setting.
func (c *call) arm(k EventKind, d time.Duration) {
	t := c.timer(k)
	t.stop()
	setting := t.setting
	t.running = time.AfterFunc(d, func() { c.post(Event{Kind: k, Attempt: setting}) })
}

func (c *call) disarm() {
	for i := range c.timers {
		c.timers[i].stop()
	}
}
