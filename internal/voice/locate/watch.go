package locate

import (
	"context"
	"time"
)

// State is how things stand with a name.
type State string

// The states of a name.
const (
	Pending State = "pending" // not asked yet
	Current State = "current" // what DNS said last, and its time is not over
	Failing State = "failing" // DNS does not answer: what it said before is used on
	Gone    State = "gone"    // DNS says that nothing is there: what it said before is used for a while
)

// Known is what is known of a name.
type Known struct {
	Found             // what is used: no records, nothing
	State   State     // of the last lookup
	At      time.Time // when DNS last gave what is used
	Next    time.Time // when DNS is asked again
	Until   time.Time // State Gone: when what was there is used no longer
	Failed  int       // lookups in a row without a server
	Problem string    // of the last of them; "" = none
}

// Timing says how often DNS is asked. The zero Timing is filled in.
type Timing struct {
	Least time.Duration // however short a TTL is, and after a failure; 0 = 5 s
	Most  time.Duration // however long a TTL is; 0 = 1 h
	Again time.Duration // most after failures, each of which doubles the wait; 0 = 1 min
	Keep  time.Duration // how long what was there is used when DNS says that it is gone; 0 = 10 min
	Limit time.Duration // of one lookup; 0 = 30 s
}

func (t Timing) filled() Timing {
	set := func(d *time.Duration, to time.Duration) {
		if *d == 0 {
			*d = to
		}
	}
	set(&t.Least, 5*time.Second)
	set(&t.Most, time.Hour)
	set(&t.Again, time.Minute)
	set(&t.Keep, 10*time.Minute)
	set(&t.Limit, 30*time.Second)
	return t
}

// Watch keeps what is known of a name up to date until ctx is done, and gives it
// to tell after each lookup: the first at once, the next when the time of what was
// found is over. was is what is known of the name already.
func Watch(ctx context.Context, t Timing, was Known, find func(context.Context) (Found, error), tell func(Known)) {
	t = t.filled()
	for {
		limited, cancel := context.WithTimeout(ctx, t.Limit)
		found, err := find(limited)
		cancel()
		if ctx.Err() != nil {
			return
		}
		was = t.after(was, found, err, time.Now())
		tell(was)
		timer := time.NewTimer(time.Until(was.Next))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// after is what is known after a lookup.
//
// A DNS that fails takes nothing away: addresses that worked are better than none
// (RFC 8767). One that answers is believed, but not at once when it says that there
// is nothing: a zone that is edited by hand is empty now and then.
func (t Timing) after(was Known, found Found, err error, now time.Time) Known {
	if err == nil && len(found.Records) > 0 {
		return Known{Found: found, State: Current, At: now, Next: now.Add(min(max(found.TTL, t.Least), t.Most))}
	}
	k := was
	k.Failed++
	k.Next = now.Add(min(t.Least<<min(k.Failed-1, 10), t.Again))
	if err != nil {
		k.State, k.Problem = Failing, err.Error()
		if len(k.Records) == 0 && len(found.Records) > 0 {
			k.Found, k.At = found, now // a part of it
		}
	} else {
		if was.Until.IsZero() {
			k.Until = now.Add(t.Keep)
		}
		k.State, k.Problem = Gone, "DNS has no server under this name"
	}
	if !k.Until.IsZero() && !now.Before(k.Until) {
		k.Found, k.At = Found{}, time.Time{}
	}
	return k
}
