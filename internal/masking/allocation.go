package masking

import (
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"tandem/internal/e164"
)

// Status of an allocation as the API shows it.
type Status string

// The published statuses.
const (
	Active  Status = "active"
	Expired Status = "expired" // GreenPin only; an expired GreenVN allocation reads as deleted
	Deleted Status = "deleted"
)

// Product says which of the two published APIs an allocation belongs to, and so
// how a caller is matched to it.
type Product string

// The products.
const (
	GreenVN  Product = "greenvn"  // by his number
	GreenPin Product = "greenpin" // by the PIN that he enters
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

// Allocation maps a virtual number to the people on its two sides. To of a
// GreenPin one may be empty: nobody can be rung there yet.
type Allocation struct {
	ID            AllocationID
	Tenant        TenantID
	VirtualNumber e164.Number
	From, To      []e164.Number
	Usage         Usage
	Record        bool
	CustomField   string
	// PIN opens a GreenPin allocation. Of a GreenVN one it and ToPIN are what the
	// people of From and of To enter when they call from another phone; empty
	// where the tenant does not allow that.
	PIN, ToPIN     PIN
	MaxPINAttempts int // wrong entries of one party; 0 where there is no PIN
	CreatedAt      time.Time
	UpdatedAt      time.Time
	ExpiresAt      time.Time
	EndedAt        time.Time // zero: not ended by anybody; see Status for expiry
	EndReason      EndReason
	Tally          Tally
	Today          Use  // of the day of its last call
	ToTurn         Turn // of calls that ring To
	FromTurn       Turn // of calls that ring From
}

// Tally counts the calls of an allocation.
type Tally struct {
	Calls       int64 // incoming calls that matched, answered or not: call_count
	Connected   int64
	TalkSeconds int64
}

// Draft is what an application asks for when it creates an allocation.
type Draft struct {
	Product     Product // "" is GreenVN
	From, To    []e164.Number
	Duration    time.Duration
	Usage       Usage
	Record      bool
	CustomField string

	MaxPINAttempts int // of GreenPin; 0 is DefaultPINAttempts
}

// New makes an allocation of a draft, or refuses it. The virtual number is
// given afterwards: it is the one thing that depends on the pool.
func (d Draft) New(id AllocationID, t Tenant, now time.Time) (Allocation, error) {
	if err := t.Settings.CheckDuration(d.Product, d.Duration); err != nil {
		return Allocation{}, err
	}
	if err := CheckCustomField(d.CustomField); err != nil {
		return Allocation{}, err
	}
	attempts, err := d.attempts()
	if err != nil {
		return Allocation{}, err
	}
	from, to, err := sides(d.Product, d.From, d.To)
	if err != nil {
		return Allocation{}, err
	}
	usage := d.Usage
	if usage == "" {
		usage = TwoWay
	}
	a := Allocation{
		ID: id, Tenant: t.ID, From: from, To: to, Usage: usage, Record: d.Record, CustomField: d.CustomField,
		CreatedAt: now, UpdatedAt: now, ExpiresAt: now.Add(d.Duration), MaxPINAttempts: attempts,
	}
	return a, t.Settings.Guards.CheckParties(Allocation{}, a)
}

// attempts are the wrong entries that a party of a GreenPin allocation may make.
func (d Draft) attempts() (int, error) {
	switch {
	case d.Product != GreenPin:
		return 0, nil
	case d.MaxPINAttempts == 0:
		return DefaultPINAttempts, nil
	}
	return d.MaxPINAttempts, CheckPINAttempts(d.MaxPINAttempts)
}

// Product tells which API made the allocation; its identifier says so.
func (a Allocation) Product() Product {
	if strings.HasPrefix(string(a.ID), PrefixPIN) {
		return GreenPin
	}
	return GreenVN
}

// CheckDuration refuses a life that is too short or longer than the tenant may give.
func (s Settings) CheckDuration(p Product, d time.Duration) error {
	least := time.Second
	if p == GreenPin {
		least = MinPINDuration
	}
	if d < least || d > MaxDuration {
		return invalid(CodeInvalidField, "duration", "duration must be "+seconds(least)+" to 14688000 seconds")
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
func sides(p Product, from, to []e164.Number) (f, t []e164.Number, err error) {
	f, t = unique(from), unique(to)
	if err := checkSide("from", f); err != nil {
		return nil, nil, err
	}
	if err := checkSide("to", t); err != nil && !(p == GreenPin && len(t) == 0) {
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
	_, why, ended := a.Ended(now)
	switch {
	case !ended:
		return Active
	case why == EndedByExpired && a.Product() == GreenPin:
		return Expired
	}
	return Deleted
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
	if next.From, next.To, err = sides(a.Product(), next.From, next.To); err != nil {
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

// Patch is a partial update; nil leaves a field as it is.
type Patch struct {
	Duration       *time.Duration // counted from now
	Record         *bool
	CustomField    *string
	MaxPINAttempts *int // of GreenPin
}

// WithPatch applies a patch to an active allocation.
func (a Allocation) WithPatch(p Patch, s Settings, now time.Time) (Allocation, error) {
	if err := a.checkActive(now); err != nil {
		return a, err
	}
	next := a
	if p.Duration != nil {
		if err := s.CheckDuration(a.Product(), *p.Duration); err != nil {
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
	if p.MaxPINAttempts != nil {
		if err := CheckPINAttempts(*p.MaxPINAttempts); err != nil {
			return a, err
		}
		next.MaxPINAttempts = *p.MaxPINAttempts
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

// Remove ends a GreenPin allocation for its tenant, an expired one too; one that
// was deleted is refused (published: 409). told reports whether its end has been
// written, and told, before.
func (a Allocation) Remove(now time.Time) (ended Allocation, told bool, err error) {
	if a.Status(now) == Deleted {
		return a, true, &Error{Kind: Conflict, Code: CodeAllocationNotActive, Message: "the allocation was deleted before"}
	}
	told = !a.EndedAt.IsZero()
	a.EndedAt, a.EndReason, a.UpdatedAt = now, EndedByAPI, now
	return a, told, nil
}

func (a Allocation) checkActive(now time.Time) error {
	if a.Status(now) != Active {
		return &Error{Kind: Conflict, Code: CodeAllocationNotActive, Message: "the allocation has ended"}
	}
	return nil
}
