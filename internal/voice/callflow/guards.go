package callflow

import (
	"context"
	"time"

	"tandem/internal/masking"
	"tandem/internal/store"
)

// count counts a call of a tenant who bounds what a day may have, or wants to know
// how fast calls come, before anybody is rung: reading, judging, counting and the
// beginning of the record are one transaction. So of calls that come at once no
// more get through than may, on however many nodes, and one that a crash cuts
// short has been counted once. Calls of other tenants are not waited for.
//
// It gives the plan with the bound of the talk. An error means that the store
// cannot tell.
func (d *Director) count(ctx context.Context, a masking.Ask, plan masking.Plan) (masking.Plan, masking.Refusal, error) {
	if !plan.Tenant.Settings.Guards.Counts(plan) {
		return plan, "", nil
	}
	c := tally{plan: plan, record: plan.Record(a, d.journal.node), now: d.clock()}
	err := d.store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		c.why, c.tripped = "", nil
		return c.run(ctx, tx)
	})
	if err != nil {
		return plan, "", err
	}
	for _, p := range c.tripped {
		d.trips[p.Scope].Add(1)
		d.log.Warn("calls come faster than they should", "call", string(a.Call), "tenant", string(plan.Tenant.ID),
			"scope", string(p.Scope), "limit", p.Most, "allocation", string(plan.Allocation.ID), "caller_token", a.Caller.Token(d.key))
	}
	return c.plan, c.why, nil
}

// drop ends the record of a call that could not be counted and will not be rung:
// the transaction may have been written all the same.
func (d *Director) drop(a masking.Ask, plan masking.Plan) {
	c, zone := plan.Record(a, d.journal.node), plan.Tenant.Settings.Zone
	d.journal.Note(masking.Began, c, zone)
	c.EndedAt, c.Cause, c.Refusal = d.clock(), masking.CauseRejected, masking.RefusedUnavailable
	d.journal.Note(masking.Ended, c, zone)
}

// foresee says what count would, and counts nothing.
func (d *Director) foresee(ctx context.Context, a masking.Ask, plan masking.Plan) (masking.Plan, masking.Refusal, error) {
	if !plan.Tenant.Settings.Guards.Counts(plan) {
		return plan, "", nil
	}
	c := tally{plan: plan, now: d.clock()}
	err := d.store.View(ctx, func(ctx context.Context, tx store.Reader) error {
		c.why = ""
		if err := c.judgeDay(ctx, tx); err != nil || c.why != "" {
			return err
		}
		return c.judgePace(ctx, func(ctx context.Context, p masking.Pace, window time.Duration, now time.Time) (int, error) {
			calls, err := tx.Pace(ctx, p, window, now)
			return calls + 1, err
		})
	})
	return c.plan, c.why, err
}

// tally is the counting of one call.
type tally struct {
	plan    masking.Plan
	record  masking.Call
	now     time.Time
	why     masking.Refusal
	tripped []masking.Pace
}

func (c *tally) run(ctx context.Context, tx store.Tx) error {
	if err := c.judgeDay(ctx, tx); err != nil || c.why != "" {
		return err
	}
	if err := c.judgePace(ctx, tx.CountPace); err != nil {
		return err
	}
	for _, p := range c.tripped {
		s := c.plan.Tenant.Settings
		if err := tx.AppendEvent(ctx, masking.TripEvent(newEventID(c.now), p, s.Guards.Velocity, c.record, s.Zone, c.now)); err != nil {
			return err
		}
	}
	if c.why != "" {
		return nil
	}
	fresh, err := tx.BeginCall(ctx, c.record)
	if err == nil && !fresh { // it has begun as nobody's, and a PIN says now whose it is
		_, err = tx.MatchCall(ctx, c.record)
	}
	return err
}

// judgeDay judges by what the allocation has had today.
func (c *tally) judgeDay(ctx context.Context, tx store.Reader) error {
	id, s := c.plan.Allocation.ID, c.plan.Tenant.Settings
	if id == "" || (s.Guards.DayCalls == 0 && s.Guards.DayTalk == 0) {
		return nil
	}
	a, err := tx.Allocation(ctx, c.plan.Tenant.ID, id)
	if err != nil {
		return err
	}
	var talking time.Duration
	if s.Guards.DayTalk > 0 {
		up, err := tx.Calls(ctx, store.CallFilter{Tenant: c.plan.Tenant.ID, Allocation: id, Status: "live", Since: masking.DayBegan(c.now, s.Zone)})
		if err != nil {
			return err
		}
		for _, other := range up {
			talking += other.TalkTimeUntil(c.now)
		}
	}
	c.plan.MaxTalk, c.why = s.Guards.Judge(a.Today.On(masking.DayOf(c.now, s.Zone)), talking)
	return nil
}

// judgePace judges by the windows of the call, in which count counts it. One that is
// refused counts as well.
func (c *tally) judgePace(ctx context.Context, count func(context.Context, masking.Pace, time.Duration, time.Time) (int, error)) error {
	v := c.plan.Tenant.Settings.Guards.Velocity
	for _, p := range v.Paces(c.plan) {
		calls, err := count(ctx, p, v.Window, c.now)
		if err != nil {
			return err
		}
		if calls > p.Most && v.Block {
			c.why = masking.RefusedVelocity
		}
		if calls == p.Most+1 {
			c.tripped = append(c.tripped, p)
		}
	}
	return nil
}

// Tripped is how often calls of a scope have come faster than they should.
func (d *Director) Tripped(s masking.Scope) int64 { return d.trips[s].Load() }
