package callflow

import (
	"context"
	"slices"
	"time"

	"tandem/internal/masking"
	"tandem/internal/store"
)

// This file is what outlives the process: the state of calls that talk, and what
// becomes of them at the next start.

// LongestOutage is how long a node may have been down so that its calls go on. Later
// nobody is there any more, and what is at the phones' addresses is anybody's.
const LongestOutage = 10 * time.Minute

// Keep keeps what it takes to take a call up again that talks, in place of what
// was kept, without waiting: one state of a call waits at a time, the newest.
// encode gives it, in the writer's goroutine, if it is written at all. It is sealed:
// dialogs hold people's numbers, and media may have keys.
func (j *Journal) Keep(c masking.Call, encode func() ([]byte, error)) {
	j.mu.Lock()
	_, waits := j.states[c.ID]
	j.states[c.ID] = &keptState{encode: encode}
	j.mu.Unlock()
	if !waits {
		j.add(entry{moment: kept, call: masking.Call{ID: c.ID, Tenant: c.Tenant, Node: c.Node}, at: j.clock()})
	}
}

// A keptState waits to be written.
type keptState struct {
	encode func() ([]byte, error)
	sealed []byte // owned by the writer: what encode gave; nil before, and if it cannot be written
}

// outdated reports whether a newer state of the call waits than the one that was
// written by e. j.mu is held.
func (j *Journal) outdated(e entry) bool {
	newest := j.states[e.call.ID]
	return newest != nil && newest != e.state
}

// Left is a call that talked when its node's last run ended.
type Left struct {
	Call  masking.Call
	Plan  masking.Plan // as the store has it now
	State []byte       // what was kept last
}

// Left are the calls that may go on. It is called at start, before the first call.
func (j *Journal) Left(ctx context.Context) (left []Left, err error) {
	err = j.store.View(ctx, func(ctx context.Context, tx store.Reader) error {
		open, err := tx.OpenCalls(ctx, j.node, 0)
		if err == nil {
			left, err = j.left(ctx, tx, open)
		}
		return err
	})
	return left, err
}

// left are those of open calls that may go on.
func (j *Journal) left(ctx context.Context, tx store.Reader, open []masking.Call) (left []Left, err error) {
	ids := make([]masking.CallID, len(open))
	for i, c := range open {
		ids[i] = c.ID
	}
	states, err := tx.CallStates(ctx, ids)
	if err != nil || len(states) == 0 {
		return nil, err
	}
	for _, c := range open {
		sealed, talks := states[c.ID]
		if !talks {
			continue
		}
		state, unsealed := j.box.Open(sealed, []byte(c.ID))
		if unsealed != nil { // the master key is another one
			j.log.Error("the state of a call cannot be read", "call", string(c.ID), "error", unsealed.Error())
			continue
		}
		plan, err := planOf(ctx, tx, c)
		switch {
		case masking.KindOf(err) == masking.NotFound: // the allocation is gone for good
		case err != nil:
			return nil, err
		default:
			c.Day = masking.DayOf(c.StartedAt, plan.Tenant.Settings.Zone)
			left = append(left, Left{Call: c, Plan: plan, State: state})
		}
	}
	return left, nil
}

// planOf is the plan of a call that talks.
func planOf(ctx context.Context, tx store.Reader, c masking.Call) (p masking.Plan, err error) {
	p = masking.Plan{VirtualNumber: c.VirtualNumber, Caller: c.Caller, Direction: c.Direction}
	for _, a := range c.Attempts {
		if !slices.Contains(p.Targets, a.Target) {
			p.Targets = append(p.Targets, a.Target)
		}
	}
	if p.Tenant, err = tx.Tenant(ctx, c.Tenant); err != nil || c.Allocation == "" {
		return p, err
	}
	if p.Allocation, err = tx.Allocation(ctx, c.Tenant, c.Allocation); err != nil {
		return p, err
	}
	s := p.Tenant.Settings
	if left, bounded := s.Guards.Left(p.Allocation.Today.On(masking.DayOf(c.StartedAt, s.Zone)), 0); bounded {
		p.MaxTalk = max(left, 1) // with none left it ends at once
	}
	return p, nil
}

// CloseLost ends the records of calls that this node carried when it died: each
// gets its one terminal event, with cause node_lost. Only those of goOn go on, and
// their states are those given. The others have talked until the node was last there.
// It is called at start, before the first call.
func (j *Journal) CloseLost(ctx context.Context, goOn map[masking.CallID][]byte, until time.Time) (closed int, err error) {
	err = j.store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		open, err := tx.OpenCalls(ctx, j.node, 0)
		if err == nil {
			closed, _, err = j.sort(ctx, tx, open, goOn, until)
		}
		return err
	})
	return closed, err
}

// sort keeps the states of calls that go on and ends the records of the others. gone are
// those that should go on and are not this node's any more.
func (j *Journal) sort(ctx context.Context, tx store.Tx, calls []masking.Call, goOn map[masking.CallID][]byte,
	until time.Time) (closed int, gone []masking.CallID, err error) {
	tx.LockAllocations(allocationsOf(calls))
	for _, c := range calls {
		if state, ok := goOn[c.ID]; ok {
			var kept bool
			if kept, err = tx.KeepCallState(ctx, c, j.box.Seal(state, []byte(c.ID))); !kept {
				gone = append(gone, c.ID)
			}
		} else {
			closed++
			err = j.closeLost(ctx, tx, c, until)
		}
		if err != nil {
			return 0, nil, err
		}
	}
	return closed, gone, nil
}

// allocationsOf are those that calls count in.
func allocationsOf(calls []masking.Call) []masking.AllocationID {
	ids := make([]masking.AllocationID, len(calls))
	for i, c := range calls {
		ids[i] = c.Allocation
	}
	return ids
}

func (j *Journal) closeLost(ctx context.Context, tx store.Tx, c masking.Call, until time.Time) error {
	t, err := tx.Tenant(ctx, c.Tenant)
	if err != nil {
		return err
	}
	now := j.clock()
	c.Day = masking.DayOf(c.StartedAt, t.Settings.Zone)
	c.EndedAt, c.TalkTime, c.Cause = now, c.TalkTimeUntil(until), masking.CauseNodeLost
	return j.put(ctx, tx, []entry{{moment: masking.Ended, event: newEventID(now), call: c, zone: t.Settings.Zone, at: now}})
}
