package record

import (
	"testing"
	"time"

	"tandem/internal/voice/g711"
)

// around gives a span of a second and a half at a moment.
func around(at time.Duration) span { return span{at, at + 1500*time.Millisecond} }

// inSync fails where the channels are further apart, or further from the moment
// of arrival, than so many milliseconds.
func inSync(t *testing.T, most int, sides [2]talker, spans ...span) {
	t.Helper()
	for i, heard := range record(t, sides, spans...) {
		apart := lag(t, heard[0], heard[1])
		left, right := lag(t, reference(spans[i]), heard[0]), lag(t, reference(spans[i]), heard[1])
		t.Logf("at %v: apart %.2f ms, left %.2f ms and right %.2f ms late", spans[i].from,
			float64(apart)/8, float64(left)/8, float64(right)/8)
		for _, wrong := range []int{apart, left, right} {
			if wrong > 8*most || wrong < -8*most {
				t.Errorf("at %v: more than %d ms", spans[i].from, most)
			}
		}
	}
}

// rough is a call as calls.md §6 has it: loss, jitter, clocks that drift apart,
// hold and resume in each way, another codec.
func rough() [2]talker {
	return [2]talker{
		{drift: 200e-6, jitter: 40 * time.Millisecond, loss: 0.03, twice: 0.01,
			holds: []hold{{from: 2 * time.Minute, to: 2*time.Minute + 30*time.Second}, {from: 4 * time.Minute, to: 5 * time.Minute, paused: true},
				{from: 20 * time.Minute, to: 30 * time.Minute}},
			codecs: []codec{{6 * time.Minute, g711.ALaw}}},
		{drift: -200e-6, jitter: 40 * time.Millisecond, loss: 0.03, twice: 0.01,
			holds:  []hold{{from: 3 * time.Minute, to: 3*time.Minute + 40*time.Second, anew: true}, {from: 40 * time.Minute, to: 41 * time.Minute, paused: true}},
			codecs: []codec{{7 * time.Minute, g711.ALaw}, {8 * time.Minute, g711.ULaw}}},
	}
}

func TestTheChannelsStayInSync(t *testing.T) {
	inSync(t, 10, rough(), around(time.Minute), around(6*time.Minute+10*time.Second), around(10*time.Minute), around(35*time.Minute), around(time.Hour))
}

func TestTheChannelsAreInSyncSoonAfterAHold(t *testing.T) {
	inSync(t, 40, rough(), around(4*time.Second), around(2*time.Minute+31*time.Second), around(3*time.Minute+41*time.Second),
		around(5*time.Minute+time.Second), around(30*time.Minute+time.Second), around(41*time.Minute+time.Second))
}

func TestClocksThatAreFarOffAreFollowed(t *testing.T) {
	inSync(t, 10, [2]talker{{drift: 700e-6, jitter: 30 * time.Millisecond}, {drift: -700e-6, jitter: 30 * time.Millisecond, length: 480}},
		around(10*time.Second), around(5*time.Minute), around(10*time.Minute))
}
