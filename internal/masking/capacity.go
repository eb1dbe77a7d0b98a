package masking

import (
	"math"
	"slices"
	"time"
)

// Stock is what numbers of one kind carry.
type Stock struct {
	Sharing Sharing
	Region  string
	Type    string
	Numbers int
	Busy    int // with an active allocation
	Load    int // active allocations, about (VirtualNumber.Load)
	PINs    int // live
}

// Demand is what was asked of a tenant's exclusive numbers lately.
type Demand struct {
	Numbers int             // in the pool
	Until   []time.Time     // when each of those that are busy is free again
	Lives   []time.Duration // of the allocations made within Period
	Period  time.Duration
}

// Forecast is where today's demand leads to.
type Forecast struct {
	PerDay float64   // allocations made in a day
	Level  float64   // numbers that are busy once those of before are gone
	Full   time.Time // when no number is left; zero: never
	Needed int       // numbers to be added so that none ever lacks
}

// Forecast says what becomes of the pool if allocations go on to come and last as
// they did within the period. At a time t from now those numbers are busy that are
// busy still, and by the allocations of the meantime, of which each that lives for d
// is there with min(d, t): Little's law, for a pool that is not yet in balance.
func (d Demand) Forecast(now time.Time) Forecast {
	if d.Period <= 0 {
		return Forecast{}
	}
	c := newCourse(d, now)
	f := Forecast{PerDay: float64(len(d.Lives)) / d.Period.Hours() * 24}
	// Between these moments it grows evenly: a peak is just before a number is free
	// again, or at the end.
	moments := append([]time.Duration{0}, c.lives...)
	for _, at := range c.until {
		moments = append(moments, at-1, at)
	}
	slices.Sort(moments)
	peak, before := 0.0, time.Duration(0)
	for _, t := range moments {
		f.Level = c.busy(t)
		peak = max(peak, f.Level)
		if f.Full.IsZero() && f.Level >= float64(d.Numbers) {
			f.Full = now.Add(c.reaches(float64(d.Numbers), before, t))
		}
		before = t
	}
	f.Needed = max(0, int(math.Ceil(peak-1e-9))-d.Numbers)
	return f
}

// course is how many numbers are busy in time to come.
type course struct {
	until  []time.Duration // from now, ascending
	lives  []time.Duration // ascending
	sums   []float64       // of the first lives, in seconds
	period float64
}

func newCourse(d Demand, now time.Time) course {
	c := course{lives: slices.Clone(d.Lives), sums: make([]float64, len(d.Lives)+1), period: d.Period.Seconds()}
	for _, at := range d.Until {
		if left := at.Sub(now); left > 0 {
			c.until = append(c.until, left)
		}
	}
	slices.Sort(c.until)
	slices.Sort(c.lives)
	for i, life := range c.lives {
		c.sums[i+1] = c.sums[i] + life.Seconds()
	}
	return c
}

// busy is how many numbers are busy a time from now.
func (c course) busy(t time.Duration) float64 {
	freed, _ := slices.BinarySearch(c.until, t+1)
	over, _ := slices.BinarySearch(c.lives, t)
	return float64(len(c.until)-freed) + (c.sums[over]+float64(len(c.lives)-over)*t.Seconds())/c.period
}

// reaches is when so many are busy, between two moments between which it grows.
func (c course) reaches(level float64, from, to time.Duration) time.Duration {
	for to-from > time.Second {
		if mid := from + (to-from)/2; c.busy(mid) >= level {
			to = mid
		} else {
			from = mid
		}
	}
	return to
}

// NumbersFor is how many numbers always suffice for as many sessions at once, of
// which any one A has at most mostA and any one B at most mostB: exclusive, one for
// each; shared, what no order in which they come and go can exceed, since each other
// session of the A and of the B closes at most one number to both.
func NumbersFor(sessions, mostA, mostB int) (exclusive, shared int) {
	return sessions, min(sessions, max(0, mostA+mostB-1))
}
