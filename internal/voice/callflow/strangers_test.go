package callflow

import (
	"fmt"
	"testing"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
)

func TestOfAStrangersRefusalsTheFirstFiveInAMinuteAreWritten(t *testing.T) {
	var s strangers
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	who := refusedCaller{e164.MustParse("+914000000001"), e164.MustParse("+919900000001"), masking.RefusedStranger}
	other := who
	other.why = masking.RefusedExpired
	written := func(who refusedCaller, at time.Time) (n int) {
		for range 200 {
			if s.worthWriting(who, at) {
				n++
			}
		}
		return n
	}
	for i, c := range []struct {
		who   refusedCaller
		after time.Duration
		want  int
	}{{who, 0, 5}, {who, time.Second, 0}, {other, time.Second, 5}, {who, 59 * time.Second, 0},
		{who, time.Minute, 5}, {who, 61 * time.Second, 0}, {who, -time.Hour, 5}} {
		if got := written(c.who, now.Add(c.after)); got != c.want {
			t.Errorf("step %d: %d written, want %d", i, got, c.want)
		}
	}
}

func TestAFloodOfDifferentStrangersIsBounded(t *testing.T) {
	var s strangers
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	written := 0
	for i := range 3 * strangersKnown {
		who := refusedCaller{caller: e164.MustParse(fmt.Sprintf("+9199%08d", i)), why: masking.RefusedStranger}
		if s.worthWriting(who, now) {
			written++
		}
	}
	if written != strangersKnown || len(s.seen) != strangersKnown {
		t.Errorf("%d written, %d remembered", written, len(s.seen))
	}
	if !s.worthWriting(refusedCaller{why: masking.RefusedStranger}, now.Add(strangerWindow)) || len(s.seen) != 1 {
		t.Errorf("a minute later %d are remembered", len(s.seen))
	}
}
