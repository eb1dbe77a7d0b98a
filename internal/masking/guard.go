package masking

import (
	"regexp"
	"slices"
	"strings"
	"time"

	"tandem/internal/e164"
)

// Limits of guards.
const (
	MaxPrefixes       = 250
	MaxVelocityWindow = 24 * time.Hour
	MaxDayTalk        = 24 * 60 * time.Minute * 100 // a hundred talks all day long
)

// Guards bound what a stolen token, or a party with a plan of his own, can cost.
// The zero value bounds nothing.
type Guards struct {
	// A number is rung only if it begins as Permitted, which the operator sets, and
	// as Allowed, which the tenant sets, want it.
	Permitted, Allowed Prefixes
	DayCalls           int           // through one allocation in a day; 0 = any number
	DayTalk            time.Duration // through one allocation in a day; 0 = any length
	Velocity           Velocity
}

// Prefixes are the beginnings of numbers that may be rung, each with its plus, in
// order. None means any number.
type Prefixes []string

var ringablePattern = regexp.MustCompile(`^\+[1-9][0-9]{0,14}$`)

// ParsePrefixes reads prefixes; field is to blame for what is none.
func ParsePrefixes(field string, texts []string) (Prefixes, error) {
	if len(texts) > MaxPrefixes {
		return nil, invalid(CodeInvalidField, field, field+" must hold at most 250 prefixes")
	}
	for _, text := range texts {
		if !ringablePattern.MatchString(text) {
			return nil, invalid(CodeInvalidField, field, field+` must hold beginnings of E.164 numbers, such as "+91"`)
		}
	}
	if len(texts) == 0 {
		return nil, nil
	}
	sorted := slices.Clone(texts)
	slices.Sort(sorted)
	return slices.Compact(sorted), nil
}

// Match reports whether n begins with one of the prefixes, or may begin as it likes.
func (p Prefixes) Match(n e164.Number) bool {
	return len(p) == 0 || slices.ContainsFunc(p, func(prefix string) bool { return strings.HasPrefix(n.E164(), prefix) })
}

// Permits reports whether n may be rung.
func (g Guards) Permits(n e164.Number) bool { return g.Permitted.Match(n) && g.Allowed.Match(n) }

// permitted are those of the numbers that may be rung.
func (g Guards) permitted(numbers []e164.Number) []e164.Number {
	return slices.DeleteFunc(slices.Clone(numbers), func(n e164.Number) bool { return !g.Permits(n) })
}

// CheckParties refuses an allocation that would ring a number that may not be
// rung. What stood in had already is not judged again: it is not rung, and must
// not keep other things from changing.
func (g Guards) CheckParties(had, a Allocation) error {
	known := had.Parties()
	barred := func(n e164.Number) bool { return !g.Permits(n) && !slices.Contains(known, n) }
	field := "to"
	switch {
	case slices.ContainsFunc(a.To, barred):
	case a.Usage != OneWay && slices.ContainsFunc(a.From, barred):
		field = "from"
	default:
		return nil
	}
	return ErrNotPermitted(field)
}

// ErrNotPermitted refuses a number that may not be rung.
func ErrNotPermitted(field string) *Error {
	return invalid(CodeNumberNotAllowed, field, "a number in "+field+" is none that may be rung: see allowed_prefixes")
}

func (g Guards) check() error {
	switch {
	case g.DayCalls < 0 || g.DayCalls > MostCalls:
		return invalid(CodeInvalidField, "max_allocation_calls_per_day", "max_allocation_calls_per_day must be 0 to 1000000")
	case g.DayTalk < 0 || g.DayTalk > MaxDayTalk:
		return invalid(CodeInvalidField, "max_allocation_minutes_per_day", "max_allocation_minutes_per_day must be 0 to 144000")
	}
	return g.Velocity.check()
}

// Day is a date in a tenant's zone, as 20240615; zero is none.
type Day int

// DayOf is the date at t in zone.
func DayOf(t time.Time, zone *time.Location) Day {
	y, m, d := t.In(zone).Date()
	return Day(y*10000 + int(m)*100 + d)
}

// DayBegan is when the day at t began in zone.
func DayBegan(t time.Time, zone *time.Location) time.Time {
	y, m, d := t.In(zone).Date()
	return time.Date(y, m, d, 0, 0, 0, 0, zone)
}

// Use is what went through an allocation on one day: the calls that were let
// through, each on the day on which it came, and the talks of those that are over.
type Use struct {
	Day   Day
	Calls int64
	Talk  time.Duration
}

// On is the use on a day: nothing, if the last call was on another.
func (u Use) On(d Day) Use {
	if u.Day != d {
		return Use{Day: d}
	}
	return u
}

// Judge refuses a call that would be one more than a day may have. talking is how
// long those of the day's calls that are up have talked so far. left bounds the
// talk of a call that is let through; 0 is no bound.
func (g Guards) Judge(today Use, talking time.Duration) (left time.Duration, why Refusal) {
	if g.DayCalls > 0 && today.Calls >= int64(g.DayCalls) {
		return 0, RefusedDayCalls
	}
	left, bounded := g.Left(today, talking)
	if bounded && left <= 0 {
		return 0, RefusedDayTalk
	}
	return left, ""
}

// Left is how long may still be talked on a day, of which so much is under way.
func (g Guards) Left(today Use, talking time.Duration) (left time.Duration, bounded bool) {
	if g.DayTalk == 0 {
		return 0, false
	}
	return max(0, g.DayTalk-today.Talk-talking), true
}

// Counts reports whether calls of the plan have to be counted before they ring.
func (g Guards) Counts(p Plan) bool {
	return (p.Allocation.ID != "" && (g.DayCalls > 0 || g.DayTalk > 0)) || len(g.Velocity.Paces(p)) > 0
}
