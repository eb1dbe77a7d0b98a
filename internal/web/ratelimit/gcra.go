// Package ratelimit decides whether a request may pass now.
//
// Take is the generic cell rate algorithm (ITU-T I.371 Annex A, in its virtual
// scheduling form) as a function of values, so that any store can keep the
// state; Memory keeps it for one process, Shared for all nodes that have one Ledger.
// The package imports nothing of ours.
package ratelimit

import (
	"fmt"
	"math"
	"time"
)

// maxFill bounds how long a limit takes to fill up again from empty, so that
// no sum of times in here can overflow, and no typing mistake locks a tenant
// out for years.
const maxFill = 31 * 24 * time.Hour

// A Limit is a sustained rate and a burst. NewLimit makes it; the zero Limit
// lets nothing pass.
type Limit struct {
	interval time.Duration // between two requests at the sustained rate
	burst    int
}

// NewLimit takes requests per second and how many may come at once. It refuses
// a rate that is not a positive number up to 1e9, a burst below 1, and a burst
// that would take more than 31 days to come back.
func NewLimit(perSecond float64, burst int) (Limit, error) {
	if !(perSecond > 0 && perSecond <= 1e9) { // written so that NaN is refused
		return Limit{}, fmt.Errorf("rate %v a second: want more than 0, at most 1e9", perSecond)
	}
	if burst < 1 {
		return Limit{}, fmt.Errorf("burst %d: want at least 1", burst)
	}
	// Rounded up, so that the rate is never more than was asked for.
	interval := math.Ceil(float64(time.Second) / perSecond)
	if interval*float64(burst) > float64(maxFill) {
		return Limit{}, fmt.Errorf("burst %d at %v a second takes longer than %v to come back", burst, perSecond, maxFill)
	}
	return Limit{interval: time.Duration(interval), burst: burst}, nil
}

// Burst is how many requests may come at once.
func (l Limit) Burst() int { return l.burst }

// Interval is the time between two requests at the sustained rate.
func (l Limit) Interval() time.Duration { return l.interval }

// fill is how long an empty limit takes to be full again.
func (l Limit) fill() time.Duration { return time.Duration(l.burst) * l.interval }

// State is what has to be remembered of one key: the theoretical arrival time,
// at which the limit is full again. The zero State is that of a key never seen,
// and any State whose time has passed is worth the same.
type State struct {
	Full time.Time
}

// A Decision says whether a request may pass, and what to tell the client.
type Decision struct {
	Allowed    bool
	Remaining  int           // how many more would pass at this very moment
	RetryAfter time.Duration // when refused: how long until one passes; else 0
	Reset      time.Duration // how long until the limit is full again if nothing comes
}

// Take counts one request against the limit. A refused request costs nothing:
// the state stays as it is.
//
// In any stretch of time t at most burst + rate·t requests pass. Should now
// step back, Take becomes stricter by as much and never more generous.
func Take(s State, l Limit, now time.Time) (State, Decision) {
	if l.burst < 1 {
		return s, Decision{RetryAfter: maxFill}
	}
	debt := max(s.Full.Sub(now), 0) // saturates for the zero State
	after := debt + l.interval
	if over := after - l.fill(); over > 0 {
		return s, Decision{RetryAfter: over, Reset: debt}
	}
	return State{Full: now.Add(after)}, Decision{
		Allowed:   true,
		Remaining: int((l.fill() - after) / l.interval),
		Reset:     after,
	}
}
