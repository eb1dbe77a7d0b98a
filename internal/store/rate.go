package store

import (
	"context"
	"time"
)

// Rate is how often something may happen: so many at once, and one more each Interval.
type Rate struct {
	Interval time.Duration
	Burst    int
}

// RateWriter counts against rates that all nodes share, as web/ratelimit does.
type RateWriter interface {
	// TakeRate counts up to n of key at once, as many as the rate lets through at now; n
	// is no more than its burst. full is when all of the burst can be taken again.
	TakeRate(ctx context.Context, key string, r Rate, n int, now time.Time) (taken int, full time.Time, err error)
	// ForgetRates removes at most limit keys that have been full since before the given
	// time: they are worth as much as those never seen.
	ForgetRates(ctx context.Context, before time.Time, limit int) (int, error)
}
