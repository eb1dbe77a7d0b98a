package b2bua

import (
	"context"
	"time"

	"tandem/internal/masking"
)

// This file bounds how long a talk lasts: by its tenant's longest, by what the
// day has left for its allocation, and, where the
// tenant wants that, by the life of its allocation. Both sides are
// warned a minute before.

const (
	warnBefore  = time.Minute
	leastNotice = 10 * time.Second // to those who could not be warned in time
	askAgain    = 5 * time.Second  // what could not be told, or said, now
)

// bound begins to mind the time of a talk.
func (c *call) bound() {
	s := c.plan.Tenant.Settings
	if longest := c.longest(); longest > 0 {
		c.arm(EvMaxTime, max(0, longest-warnBefore-time.Since(c.answeredAt)))
	}
	if s.EndWithAllocation && c.plan.Allocation.ID != "" {
		c.arm(EvLifeTime, max(0, c.plan.Allocation.ExpiresAt.Sub(c.x.o.Clock())-warnBefore))
	}
}

// longest is how long the talk may last; 0 is as long as it likes.
func (c *call) longest() time.Duration {
	most, day := c.plan.Tenant.Settings.MaxCall, c.plan.MaxTalk
	if day > 0 && (most == 0 || day < most) {
		return day
	}
	return most
}

// mind does what an end that nears, or is reached, asks for.
func (c *call) mind(e Event) State {
	switch {
	case e.Kind == EvLifeTime:
		c.askExpiry(e.Attempt)
	case e.Kind == EvMaxTime:
		return c.mindLongest()
	case e.Cause != "": // the store is away: no talk ends for that
		c.arm(EvLifeTime, askAgain)
	case !e.Until.IsZero():
		return c.mindLife(e.Until.Sub(c.x.o.Clock()))
	}
	return Talking
}

// mindLongest warns of the end of the longest talk that there may be, once, or
// ends the talk.
func (c *call) mindLongest() State {
	switch left := c.longest() - time.Since(c.answeredAt); {
	case left <= 0:
		c.finish(masking.CauseMaxTime, Reason{Cause: masking.CauseMaxTime})
		return Ending
	case !c.warned.max && !c.warn():
		c.arm(EvMaxTime, min(left, askAgain))
	default:
		c.warned.max = true
		c.arm(EvMaxTime, left)
	}
	return Talking
}

// mindLife does the same for the allocation, of whose life so much is left. One
// that was extended has the talk go on.
func (c *call) mindLife(left time.Duration) State {
	switch {
	case left > warnBefore:
		c.warned.life = false
		c.arm(EvLifeTime, left-warnBefore)
	case c.warned.life && left <= 0:
		c.finish(masking.CauseAllocationEnded, Reason{Cause: masking.CauseAllocationEnded})
		return Ending
	case c.warned.life:
		c.arm(EvLifeTime, left)
	case c.warn():
		c.warned.life = true
		c.arm(EvLifeTime, max(left, leastNotice))
	default:
		c.arm(EvLifeTime, askAgain)
	}
	return Talking
}

// warn lets both sides hear that the talk ends soon; not yet while they hear that
// it is recorded.
func (c *call) warn() bool {
	if c.notices > 0 {
		return false
	}
	for _, s := range []Side{A, B} {
		c.media.Say(s, c.words(ToneWarning, func() {})) // it ends by itself, and nothing waits for that
	}
	return true
}

// askExpiry asks when the allocation expires; it may have been extended. The call
// does not wait for the answer.
func (c *call) askExpiry(setting int) {
	tenant, id := c.plan.Tenant.ID, c.plan.Allocation.ID
	c.x.book.wg.Go(func() {
		e := Event{Kind: EvExpiry, Attempt: setting, Cause: masking.CauseFailed}
		c.contain(func() {
			ctx, cancel := context.WithTimeout(context.Background(), c.x.o.Timing.Route)
			defer cancel()
			if at, err := c.x.o.Director.Expires(ctx, tenant, id); err == nil {
				e.Until, e.Cause = at, ""
			}
		})
		c.post(e)
	})
}
