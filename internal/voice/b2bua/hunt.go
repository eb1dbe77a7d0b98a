package b2bua

import (
	"slices"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
)

// hunt starts the next attempt: another trunk for the same number, or with
// nextNumber the next number of the list (calls.md §1.4). Without one left the
// caller is told what the attempts came to.
func (c *call) hunt(nextNumber bool) State {
	for {
		if !nextNumber && len(c.trunks) > 0 {
			if c.dial() {
				return Dialing
			}
			continue
		}
		// The total ring time may run out in the moment of this number's turn;
		// his phone must not flash for nothing.
		if len(c.targets) == 0 || !time.Now().Before(c.until) {
			return c.exhausted()
		}
		c.record.Callee, c.targets = c.targets[0], c.targets[1:]
		c.trunks = c.x.o.Trunks.Outgoing(c.plan.VirtualNumber)
		if len(c.trunks) == 0 {
			c.log.Warn("no trunk can carry this call")
			c.record.Attempts = append(c.record.Attempts, masking.Attempt{Target: c.record.Callee, Cause: masking.CauseFailed})
		}
		nextNumber = len(c.trunks) == 0
		c.arm(EvRingTime, c.plan.RingEach)
	}
}

// dial rings the present number over the next trunk; false when media cannot be
// opened or the offer cannot be made, which no other trunk would mend.
func (c *call) dial() bool {
	trunk := c.trunks[0]
	c.trunks = c.trunks[1:]
	attempt := masking.Attempt{Target: c.record.Callee, Trunk: trunk.Name(), Cause: masking.CauseFailed}
	c.record.Attempts = append(c.record.Attempts, attempt)
	offer, err := c.openMedia()
	if err != nil {
		c.log.Warn("media cannot be opened", "error", err.Error())
		c.trunks, c.targets = nil, nil
		return false
	}
	c.attempt++
	c.up[end{B, c.attempt}] = struct{}{}
	c.since = time.Now()
	c.b = trunk.Dial(Dial{
		Call: c.in.Call, To: c.record.Callee, CallerID: c.plan.VirtualNumber, Offer: offer, Hops: c.in.Hops,
		Hidden: c.hiddenFrom(c.record.Callee), Inbox: c.from(B, c.attempt),
	})
	return true
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

// endAttempt writes down what became of the present attempt and ends its leg.
func (c *call) endAttempt(e Event) {
	cause := e.Cause
	if e.Kind != EvFailed {
		cause = masking.CauseNoAnswer
	}
	c.closeAttempt(cause, e.Status)
	if c.b != nil {
		c.b.End(Reason{Cause: cause})
		c.b = nil
	}
	if !c.taken { // else the caller goes on hearing us
		c.closeMedia()
	}
}

func (c *call) closeAttempt(cause masking.Cause, status int) {
	if n := len(c.record.Attempts); n > 0 {
		a := &c.record.Attempts[n-1]
		a.Cause, a.Status, a.Ring = cause, status, time.Since(c.since)
	}
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
