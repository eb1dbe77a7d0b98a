package masking

import (
	"slices"
	"time"
	"unicode/utf8"

	"tandem/internal/e164"
)

// Status of an allocation as the API shows it.
type Status string

// The published statuses.
const (
	Active  Status = "active"
	Deleted Status = "deleted"
)

// Usage says who may call whom.
type Usage string

// The directions of an allocation.
const (
	TwoWay Usage = "twoway" // either side calls the other
	OneWay Usage = "oneway" // only From may call
)

// EndReason says why an allocation ended.
type EndReason string

// The reasons of greenvn.deallocated.
const (
	EndedByAPI     EndReason = "api"
	EndedByAdmin   EndReason = "admin"
	EndedByExpired EndReason = "expired"
)

// Allocation maps a virtual number to the people on its two sides.
type Allocation struct {
	ID            AllocationID
	Tenant        TenantID
	VirtualNumber e164.Number
	From, To      []e164.Number
	Usage         Usage
	Record        bool
	CustomField   string
	CreatedAt     time.Time
	UpdatedAt     time.Time
	ExpiresAt     time.Time
	EndedAt       time.Time // zero: not ended by anybody; see Status for expiry
	EndReason     EndReason
	Tally         Tally
}

// Tally counts the calls of an allocation.
type Tally struct {
	Calls       int64 // incoming calls that matched, answered or not: call_count
	Connected   int64
	TalkSeconds int64
}

// Draft is what an application asks for when it creates an allocation.
type Draft struct {
	From, To    []e164.Number
	Duration    time.Duration
	Usage       Usage
	Record      bool
	CustomField string
}

// New makes an allocation of a draft, or refuses it. The virtual number is
// given afterwards: it is the one thing that depends on the pool.
func (d Draft) New(id AllocationID, t Tenant, now time.Time) (Allocation, error) {
	if err := t.Settings.CheckDuration(d.Duration); err != nil {
		return Allocation{}, err
	}
	if err := CheckCustomField(d.CustomField); err != nil {
		return Allocation{}, err
	}
	from, to, err := sides(d.From, d.To)
	if err != nil {
		return Allocation{}, err
	}
	usage := d.Usage
	if usage == "" {
		usage = TwoWay
	}
	return Allocation{
		ID: id, Tenant: t.ID, From: from, To: to, Usage: usage, Record: d.Record, CustomField: d.CustomField,
		CreatedAt: now, UpdatedAt: now, ExpiresAt: now.Add(d.Duration),
	}, nil
}

// CheckDuration refuses a life that is too short or longer than the tenant may give.
func (s Settings) CheckDuration(d time.Duration) error {
	if d < time.Second || d > MaxDuration {
		return invalid(CodeInvalidField, "duration", "duration must be 1 to 14688000 seconds")
	}
	if d > s.MaxDuration {
		return invalid(CodeDurationTooLong, "duration", "duration is above this tenant's maximum of "+seconds(s.MaxDuration)+" seconds")
	}
	return nil
}

// CheckCustomField counts characters, not bytes.
func CheckCustomField(s string) error {
	if !utf8.ValidString(s) || utf8.RuneCountInString(s) > MaxCustomField {
		return invalid(CodeInvalidField, "custom_field", "custom_field must be at most 256 characters")
	}
	return nil
}

// sides collapses duplicates to the first and refuses empty lists, long ones
// and a number that stands on both sides.
func sides(from, to []e164.Number) (f, t []e164.Number, err error) {
	f, t = unique(from), unique(to)
	if err := checkSide("from", f); err != nil {
		return nil, nil, err
	}
	if err := checkSide("to", t); err != nil {
		return nil, nil, err
	}
	for _, n := range f {
		if slices.Contains(t, n) {
			return nil, nil, invalid(CodeSamePartyOnBothSides, "to", "a number cannot stand on both sides")
		}
	}
	return f, t, nil
}

func checkSide(field string, list []e164.Number) error {
	if len(list) == 0 || len(list) > MaxParties {
		return invalid(CodeInvalidField, field, field+" must hold 1 to 10 numbers")
	}
	return nil
}

func unique(list []e164.Number) []e164.Number {
	out := make([]e164.Number, 0, len(list))
	for _, n := range list {
		if !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out
}

// Status is the allocation's status at the given time. Expiry is decided here,
// by the clock, and never by whether somebody swept it.
func (a Allocation) Status(now time.Time) Status {
	if !a.EndedAt.IsZero() || !now.Before(a.ExpiresAt) {
		return Deleted
	}
	return Active
}

// Ended tells when and why the allocation ended, if it has.
func (a Allocation) Ended(now time.Time) (at time.Time, why EndReason, ended bool) {
	switch {
	case !a.EndedAt.IsZero():
		return a.EndedAt, a.EndReason, true
	case !now.Before(a.ExpiresAt):
		return a.ExpiresAt, EndedByExpired, true
	}
	return time.Time{}, "", false
}

// Parties are all numbers of both sides.
func (a Allocation) Parties() []e164.Number { return append(slices.Clone(a.From), a.To...) }

// WithParties replaces one side or both; nil leaves a side as it is.
func (a Allocation) WithParties(from, to []e164.Number, now time.Time) (Allocation, error) {
	if err := a.checkActive(now); err != nil {
		return a, err
	}
	if from == nil && to == nil {
		return a, invalid(CodeMissingField, "", "at least one of from and to must be given")
	}
	next := a
	if from != nil {
		next.From = from
	}
	if to != nil {
		next.To = to
	}
	var err error
	if next.From, next.To, err = sides(next.From, next.To); err != nil {
		return a, err
	}
	next.UpdatedAt = now
	return next, nil
}

// WithVirtualNumber moves an active allocation to another number of the pool.
func (a Allocation) WithVirtualNumber(n e164.Number, now time.Time) (Allocation, error) {
	if err := a.checkActive(now); err != nil {
		return a, err
	}
	a.VirtualNumber, a.UpdatedAt = n, now
	return a, nil
}

// Patch is the additive partial update; nil leaves a field as it is.
type Patch struct {
	Duration    *time.Duration // counted from now
	Record      *bool
	CustomField *string
}

// WithPatch applies a patch to an active allocation.
func (a Allocation) WithPatch(p Patch, s Settings, now time.Time) (Allocation, error) {
	if err := a.checkActive(now); err != nil {
		return a, err
	}
	next := a
	if p.Duration != nil {
		if err := s.CheckDuration(*p.Duration); err != nil {
			return a, err
		}
		next.ExpiresAt = now.Add(*p.Duration)
	}
	if p.CustomField != nil {
		if err := CheckCustomField(*p.CustomField); err != nil {
			return a, err
		}
		next.CustomField = *p.CustomField
	}
	if p.Record != nil {
		next.Record = *p.Record
	}
	next.UpdatedAt = now
	return next, nil
}

// End ends an active allocation. One that has ended already is given back as
// it is, changed false, so that a repeated DELETE is safe.
func (a Allocation) End(why EndReason, now time.Time) (ended Allocation, changed bool) {
	if at, reason, over := a.Ended(now); over {
		a.EndedAt, a.EndReason = at, reason
		return a, false
	}
	a.EndedAt, a.EndReason, a.UpdatedAt = now, why, now
	return a, true
}

func (a Allocation) checkActive(now time.Time) error {
	if a.Status(now) != Active {
		return &Error{Kind: Conflict, Code: CodeAllocationNotActive, Message: "the allocation has ended"}
	}
	return nil
}
