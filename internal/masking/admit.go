package masking

import (
	"slices"
	"strconv"
	"time"

	"tandem/internal/e164"
)

// Route is what the store knows of a call to a virtual number: one indexed read.
type Route struct {
	Number VirtualNumber
	Tenant Tenant
	Found  []Allocation // those that claim (number, caller): none or one
	// PINs says that PINs are claimed on the number; all of them may have expired.
	PINs bool
	// Blocked says that the tenant lets nothing of this caller through.
	Blocked bool
}

// Ask is what a call is routed by, and what its record begins with.
type Ask struct {
	Call     CallID
	Trunk    string      // whose call it is, by source
	Called   e164.Number // zero: what was dialled is no number
	Caller   e164.Number // zero: withheld, or cannot be read
	Received time.Time
}

// Direction of a call through an allocation.
type Direction string

// The directions of a call.
const (
	FromCalls Direction = "from_to" // a number of From calls To
	ToCalls   Direction = "to_from" // a number of To calls From
)

// Plan says whom a call rings and how. It is a snapshot: an update of the
// allocation changes the next call, not this one.
type Plan struct {
	Tenant        Tenant
	Allocation    Allocation
	VirtualNumber e164.Number
	Caller        e164.Number
	Direction     Direction
	Targets       []e164.Number // in hunt order; never the caller's own number
	Together      bool          // all are rung at once
	RingEach      time.Duration
	RingTotal     time.Duration
	MaxTalk       time.Duration // what the day has left for it; 0 = no bound
	LastKnown     bool          // it is made of what was last known, while the database is away
}

// Refusal says why a call is not routed, for the record. What the caller hears
// is the same for all of them but the first.
type Refusal string

// The reasons of call.rejected and of refused calls in the log.
const (
	RefusedUnknownNumber   Refusal = "unknown_number"   // in nobody's pool
	RefusedWithheld        Refusal = "withheld"         // the caller hides his number
	RefusedStranger        Refusal = "stranger"         // no allocation names this caller here
	RefusedExpired         Refusal = "expired"          // the allocation that did is over
	RefusedWrongDirection  Refusal = "wrong_direction"  // oneway, and the other side called
	RefusedCallerBusy      Refusal = "caller_busy"      // the caller has a call up already
	RefusedCallerRate      Refusal = "caller_rate"      // the caller has called too often in a minute
	RefusedAllocationLimit Refusal = "allocation_limit" // as many calls are up through the allocation as may be
	RefusedTenantLimit     Refusal = "tenant_limit"     // as many calls of the tenant are up as may be
	RefusedLoop            Refusal = "loop"             // a phone that was rung forwards to the virtual number itself
	RefusedUnavailable     Refusal = "unavailable"      // the store cannot be read, or draining
	RefusedPIN             Refusal = "pin_failed"       // a PIN was asked for, and no right one came
	RefusedPINLocked       Refusal = "pin_locked"       // the caller has no entries left

	RefusedBlocked     Refusal = "caller_blocked"          // the tenant lets nothing of this caller through
	RefusedDestination Refusal = "destination_not_allowed" // nobody whom the call would ring may be rung
	RefusedDayCalls    Refusal = "day_calls"               // as many calls came through the allocation today as may
	RefusedDayTalk     Refusal = "day_minutes"             // as long was talked through the allocation today as may be
	RefusedVelocity    Refusal = "velocity"                // calls come faster than they may
)

// Error makes a Refusal an error.
func (r Refusal) Error() string { return "refused: " + string(r) }

// Admit decides whether caller may ring through the virtual number now, and whom.
//
// At most one allocation names (virtual number, caller): the store keeps that
// true, so Admit never chooses between two and refuses if it is shown two. It
// looks at the clock it is given and does no I/O. The error is a [Refusal]; the plan
// with it names the allocation if one matched and a guard refuses the call.
func Admit(r Route, caller e164.Number, now time.Time) (Plan, error) {
	if caller.IsZero() {
		return Plan{}, RefusedWithheld
	}
	if r.Blocked {
		return Plan{}, RefusedBlocked
	}
	if caller == r.Number.Number { // which only our own calls show
		return Plan{}, RefusedLoop
	}
	if len(r.Found) != 1 {
		return Plan{}, RefusedStranger
	}
	a := r.Found[0]
	if a.VirtualNumber != r.Number.Number || a.Tenant != r.Tenant.ID || r.Number.Tenant != r.Tenant.ID {
		return Plan{}, RefusedStranger
	}
	if a.Status(now) != Active {
		return Plan{}, RefusedExpired
	}
	if a.Product() != GreenVN { // it lets nobody through by his number
		return Plan{}, RefusedStranger
	}
	switch {
	case slices.Contains(a.From, caller):
		return r.guarded(a, caller, FromCalls, now)
	case slices.Contains(a.To, caller) && a.Usage == OneWay:
		return Plan{}, RefusedWrongDirection
	case slices.Contains(a.To, caller):
		return r.guarded(a, caller, ToCalls, now)
	}
	return Plan{}, RefusedStranger
}

// guarded is the plan of a call that matched, unless a guard refuses it. What today
// has had is judged again where it is counted ([Guards.Judge]).
func (r Route) guarded(a Allocation, caller e164.Number, d Direction, now time.Time) (Plan, error) {
	p, s := r.plan(a, caller, d), r.Tenant.Settings
	if p.Barred() {
		return p, RefusedDestination
	}
	if _, why := s.Guards.Judge(a.Today.On(DayOf(now, s.Zone)), 0); why != "" {
		p.Targets = nil
		return p, why
	}
	return p, nil
}

// plan rings the side of a that the direction leads to, as the tenant wants it.
func (r Route) plan(a Allocation, caller e164.Number, d Direction) Plan {
	s := r.Tenant.Settings
	targets := s.Guards.permitted(a.side(d, caller))
	return Plan{Tenant: r.Tenant, Allocation: a, VirtualNumber: a.VirtualNumber, Caller: caller, Direction: d,
		Targets: s.Ring.Order(targets, a.Turn(d)), Together: s.Ring == Simultaneous, RingEach: s.RingEach, RingTotal: s.RingTotal}
}

// side are the numbers that a call of the direction leads to, without the caller's own.
func (a Allocation) side(d Direction, caller e164.Number) []e164.Number {
	side := a.To
	if d == ToCalls {
		side = a.From
	}
	return slices.DeleteFunc(slices.Clone(side), func(n e164.Number) bool { return n == caller })
}

// Barred reports whether there are numbers to ring, and none of them may be rung.
func (p Plan) Barred() bool {
	return len(p.Targets) == 0 && len(p.Allocation.side(p.Direction, p.Caller)) > 0
}

// Record is what the record of a call begins with that goes as planned.
func (p Plan) Record(a Ask, node string) Call {
	c := Call{ID: a.Call, Tenant: p.Tenant.ID, Allocation: p.Allocation.ID, VirtualNumber: p.VirtualNumber, Caller: p.Caller,
		Direction: p.Direction, CustomField: p.Allocation.CustomField, Node: node, StartedAt: a.Received, LastKnown: p.LastKnown}
	if p.Tenant.Settings.Zone != nil {
		c.Day = DayOf(a.Received, p.Tenant.Settings.Zone)
	}
	if len(p.Targets) > 0 {
		c.Callee = p.Targets[0]
	}
	return c
}

func seconds(d time.Duration) string { return strconv.FormatInt(int64(d/time.Second), 10) }
