package control

import (
	"context"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/store"
)

// Records are what happened: calls and events.
type Records struct {
	*core
	ladders Ladders
	watch   *watch
}

// CallStatus narrows a list of calls.
type CallStatus string

// The statuses of calls.
const (
	AnyCall    CallStatus = ""
	LiveCalls  CallStatus = "live"
	EndedCalls CallStatus = "ended"
)

// CallQuery narrows a list of calls; zero fields do not.
type CallQuery struct {
	Allocation    masking.AllocationID
	Status        CallStatus
	Cause         masking.Cause
	Direction     masking.Direction
	VirtualNumber e164.Number
	Party         e164.Number // who called, or was rung last or answered
	Answered      *bool
	Recorded      *bool
	Since         time.Time // of the call's start
	Until         time.Time
	After         masking.CallID // the last one of the page before
	Limit         int
}

// RecordedCall is a call, and what is known of its recording if it has one.
type RecordedCall struct {
	masking.Call
	Recording *masking.Recording
}

// Call reads one call of a tenant, with its ladder as it is now.
func (s *Records) Call(ctx context.Context, t masking.TenantID, id masking.CallID) (RecordedCall, error) {
	return s.readCall(ctx, id, func(ctx context.Context, tx store.Reader) (masking.Call, error) { return tx.Call(ctx, t, id) })
}

// AnyCall is Call for the operator: of whichever tenant the call is.
func (s *Records) AnyCall(ctx context.Context, id masking.CallID) (RecordedCall, error) {
	return s.readCall(ctx, id, func(ctx context.Context, tx store.Reader) (masking.Call, error) { return tx.AnyCall(ctx, id) })
}

func (s *Records) readCall(ctx context.Context, id masking.CallID, read func(context.Context, store.Reader) (masking.Call, error)) (c RecordedCall, err error) {
	// What is still kept outside the store is newer than what the store has, and goes
	// only when the store has all of it: so it is asked first.
	var up []byte
	if s.ladders != nil {
		up, _ = s.ladders.Ladder(id)
	}
	err = s.view(ctx, "read a call", func(ctx context.Context, tx store.Reader) error {
		if c.Call, err = read(ctx, tx); err != nil || !c.Recorded {
			return err
		}
		r, err := tx.Recording(ctx, c.Tenant, id)
		switch {
		case err == nil:
			c.Recording = &r
		case masking.KindOf(err) == masking.NotFound: // its record is still on its way
			return nil
		}
		return err
	})
	if err == nil && up != nil {
		c.Ladder = up
	}
	return c, err
}

// Calls reads a tenant's calls, newest first; more tells whether others follow.
func (s *Records) Calls(ctx context.Context, t masking.TenantID, q CallQuery) (page []masking.Call, more bool, err error) {
	return s.calls(ctx, store.CallFilter{Tenant: t, Allocation: q.Allocation, Status: string(q.Status), Cause: q.Cause,
		Direction: q.Direction, VirtualNumber: q.VirtualNumber, Party: q.Party, Answered: q.Answered, Recorded: q.Recorded,
		Since: q.Since, Until: q.Until, Before: q.After, Limit: q.Limit})
}

// Live reads the calls that are up, of all tenants, newest first.
func (s *Records) Live(ctx context.Context, after masking.CallID, limit int) (page []masking.Call, more bool, err error) {
	return s.calls(ctx, store.CallFilter{AllTenants: true, Status: string(LiveCalls), Before: after, Limit: limit})
}

func (s *Records) calls(ctx context.Context, f store.CallFilter) (page []masking.Call, more bool, err error) {
	limit := f.Limit
	f.Limit++
	err = s.view(ctx, "list calls", func(ctx context.Context, tx store.Reader) error {
		page, err = tx.Calls(ctx, f)
		return err
	})
	page, more = cut(page, limit)
	return page, more, err
}

// EventQuery narrows a list of events; zero fields do not.
type EventQuery struct {
	After int64 // the place of the last event seen
	Since time.Time
	Until time.Time
	Limit int
}

// StoredEvent is an event with its place in the tenant's order.
type StoredEvent = store.StoredEvent

// Events reads a tenant's events, oldest first; more tells whether others follow.
// Gone if some behind After have been removed.
func (s *Records) Events(ctx context.Context, t masking.TenantID, q EventQuery) (page []StoredEvent, more bool, err error) {
	err = s.view(ctx, "list events", func(ctx context.Context, tx store.Reader) error {
		if err := checkPlace(ctx, tx, t, q.After); err != nil {
			return err
		}
		page, err = tx.Events(ctx, store.EventFilter{Tenant: t, After: q.After, Since: q.Since, Until: q.Until, Limit: q.Limit + 1})
		return err
	})
	page, more = cut(page, q.Limit)
	return page, more, err
}
