package masking

import "time"

// Velocity tells of somebody through whom calls come faster than they should. Its
// windows begin with the first call after the one before is over.
type Velocity struct {
	Window time.Duration
	// How many calls in a window raise no alarm, of one caller, through one
	// allocation, of the tenant; 0 = any number.
	Caller, Allocation, Tenant int
	Block                      bool // calls beyond are refused as well, until the window is over
}

// DefaultVelocity tells nobody anything yet.
func DefaultVelocity() Velocity { return Velocity{Window: 10 * time.Minute} }

func (v Velocity) check() error {
	for _, s := range []struct {
		field string
		most  int
	}{{"caller_calls", v.Caller}, {"allocation_calls", v.Allocation}, {"tenant_calls", v.Tenant}} {
		if s.most < 0 || s.most > MostCalls {
			field := "velocity_alarm." + s.field
			return invalid(CodeInvalidField, field, field+" must be 0 to 1000000")
		}
	}
	if v.Window < time.Minute || v.Window > MaxVelocityWindow {
		return invalid(CodeInvalidField, "velocity_alarm.minutes", "velocity_alarm.minutes must be 1 to 1440")
	}
	return nil
}

// Scope says whose calls are counted together.
type Scope string

// The scopes.
const (
	OfCaller     Scope = "caller"
	OfAllocation Scope = "allocation"
	OfTenant     Scope = "tenant"
	// CallsAMinute is what max_caller_calls_per_minute counts of a caller. It raises no
	// alarm.
	CallsAMinute Scope = "minute"
)

// Scopes are all that raise an alarm.
var Scopes = []Scope{OfCaller, OfAllocation, OfTenant}

// Pace is one count of calls in a window.
type Pace struct {
	Tenant  TenantID
	Scope   Scope
	Subject string // the caller's number or the allocation; "" of the tenant
	Most    int
}

// Paces are the counts that a call belongs to. Callers who withhold their number
// are nobody in particular.
func (v Velocity) Paces(p Plan) []Pace {
	var paces []Pace
	add := func(s Scope, subject string, most int) {
		if most > 0 {
			paces = append(paces, Pace{p.Tenant.ID, s, subject, most})
		}
	}
	if !p.Caller.IsZero() {
		add(OfCaller, p.Caller.E164(), v.Caller)
	}
	if p.Allocation.ID != "" {
		add(OfAllocation, string(p.Allocation.ID), v.Allocation)
	}
	add(OfTenant, "", v.Tenant)
	return paces
}

// TripEvent tells of the call that is the first beyond a pace in its window.
func TripEvent(id EventID, p Pace, v Velocity, c Call, zone *time.Location, now time.Time) Event {
	data := tripData{named: name(c.VirtualNumber, c.Allocation), CallSID: c.ID, From: c.Caller.E164(), Guard: "velocity",
		Scope: p.Scope, Limit: p.Most, Minutes: int(v.Window / time.Minute), Blocked: v.Block, CurrentTime: Stamp(now, zone)}
	return Event{ID: id, Type: EventGuardTripped, Tenant: p.Tenant, Allocation: c.Allocation, Call: c.ID, At: now, Data: mustJSON(data)}
}

type tripData struct {
	named
	CallSID     CallID `json:"call_sid"`
	From        string `json:"from"`
	Guard       string `json:"guard"`
	Scope       Scope  `json:"scope"`
	Limit       int    `json:"limit"`
	Minutes     int    `json:"minutes"`
	Blocked     bool   `json:"blocked"`
	CurrentTime string `json:"current_time"`
}
