package masking

import (
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func hours(h float64) time.Duration { return time.Duration(h * float64(time.Hour)) }

func TestThePoolRunsOutWhenTodaysRateFillsIt(t *testing.T) {
	day := 24 * time.Hour
	lives := slices.Repeat([]time.Duration{30 * day}, 10) // ten a day, each for thirty days: 300 in the end
	for name, c := range map[string]struct {
		d      Demand
		full   time.Duration // 0 = never
		needed int
		level  float64
	}{
		"nothing asked":          {Demand{Numbers: 5, Period: day}, 0, 0, 0},
		"enough":                 {Demand{Numbers: 301, Lives: lives, Period: day}, 0, 0, 300},
		"in twenty days":         {Demand{Numbers: 200, Lives: lives, Period: day}, 20 * day, 100, 300},
		"short lives, few":       {Demand{Numbers: 2, Lives: slices.Repeat([]time.Duration{time.Hour}, 24), Period: day}, 0, 0, 1},
		"those that are busy go": {Demand{Numbers: 15, Until: []time.Time{noon.Add(12 * time.Hour)}, Lives: slices.Repeat([]time.Duration{day}, 14), Period: day}, 0, 0, 14},
		"full already":           {Demand{Numbers: 1, Until: []time.Time{noon.Add(day)}, Period: day}, time.Nanosecond, 0, 0},
		"those of before count":  {Demand{Numbers: 10, Until: slices.Repeat([]time.Time{noon.Add(100 * day)}, 5), Lives: slices.Repeat([]time.Duration{10 * day}, 1), Period: day}, 5 * day, 5, 10},
	} {
		f := c.d.Forecast(noon)
		full := time.Duration(0)
		if !f.Full.IsZero() {
			full = max(time.Nanosecond, f.Full.Sub(noon))
		}
		if d := full - c.full; max(d, -d) > 2*time.Second || f.Needed != c.needed || math.Abs(f.Level-c.level) > 0.01 {
			t.Errorf("%s: full after %v, %d needed, level %.2f", name, full, f.Needed, f.Level)
		}
	}
}

// Whatever was asked, the forecast is that of the definition, at every hour.
func TestTheForecastIsThatOfItsDefinition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := Demand{Numbers: rapid.IntRange(0, 20).Draw(t, "numbers"), Period: 24 * time.Hour}
		for _, h := range rapid.SliceOfN(rapid.IntRange(1, 60), 0, 15).Draw(t, "until") {
			d.Until = append(d.Until, noon.Add(hours(float64(h))))
		}
		for _, h := range rapid.SliceOfN(rapid.IntRange(1, 60), 0, 40).Draw(t, "lives") {
			d.Lives = append(d.Lives, hours(float64(h)))
		}
		f, peak, full := d.Forecast(noon), 0.0, time.Duration(-1)
		for minute := range 62 * 60 {
			at := time.Duration(minute) * time.Minute
			busy := 0.0
			for _, u := range d.Until {
				if u.After(noon.Add(at)) {
					busy++
				}
			}
			for _, life := range d.Lives {
				busy += min(life, at).Seconds() / d.Period.Seconds()
			}
			if peak = max(peak, busy); full < 0 && busy >= float64(d.Numbers) {
				full = at
			}
		}
		if got := f.Full.Sub(noon); full >= 0 && (f.Full.IsZero() || max(got-full, full-got) > 2*time.Minute) {
			t.Fatalf("full after %v, want %v", got, full)
		}
		if want := max(0, int(math.Ceil(peak-1e-9))-d.Numbers); f.Needed < want || f.Needed > want+1 {
			t.Fatalf("%d needed, want %d", f.Needed, want)
		}
	})
}

func TestNumbersForALoad(t *testing.T) {
	for _, c := range [][5]int{{100, 5, 3, 100, 7}, {4, 5, 3, 4, 4}, {0, 0, 0, 0, 0}, {1, 1, 1, 1, 1}} {
		if exclusive, shared := NumbersFor(c[0], c[1], c[2]); exclusive != c[3] || shared != c[4] {
			t.Errorf("%v: %d, %d", c, exclusive, shared)
		}
	}
}
