package e2e

import (
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"tandem/internal/voice/phone"
)

// talkTime is how long the call under the worst of networks lasts: RECORDING_MINUTES,
// for who can wait (go test -timeout 20m), or what a check of every change can bear.
func talkTime(t *testing.T) time.Duration {
	minutes := os.Getenv("RECORDING_MINUTES")
	if minutes == "" {
		return 40 * time.Second
	}
	n, err := strconv.ParseFloat(minutes, 64)
	if err != nil || n <= 0 {
		t.Fatalf("RECORDING_MINUTES is %q", minutes)
	}
	return time.Duration(n * float64(time.Minute))
}

// lossy loses three packets in a hundred.
func lossy(seed uint64) func([]byte) bool {
	random := rand.New(rand.NewPCG(seed, 1))
	return func([]byte) bool { return random.IntN(100) < 3 }
}

// The clocks of the two phones differ by 200 ppm in ten minutes, which is 120 ms; in
// a shorter call by more, so that it is 120 ms as well.
func TestBothSidesStayTogetherOverABadNetwork(t *testing.T) {
	talk := talkTime(t)
	samples := int((talk + 30*time.Second).Seconds()) * phone.Rate // nobody runs out of words
	said := tape{phone.Noise(5, samples), phone.Noise(6, samples)}
	sources := [2]*clocked{says(said[0]), says(said[1])}
	ppm := 100 * max(1, 10*time.Minute.Seconds()/talk.Seconds())
	network := func(seed uint64, drift float64) func(*phone.Options) {
		return func(o *phone.Options) {
			o.Lose, o.Jitter, o.Seed, o.Drift = lossy(seed), 40*time.Millisecond, seed, drift
		}
	}
	st := newStage(t, setting{in: network(7, ppm), out: network(8, -ppm), patience: talk + time.Minute})
	st.allocate(recorded)
	a := st.dial(st.in, alice)
	b := st.called()
	st.must(b.Answer(phone.Reply{Audio: sources[1]}))
	st.must(a.Answered(st.ctx))
	a.Say(sources[0])
	spoken := func(d time.Duration) {
		t.Helper()
		waitFor(t, st.ctx, func() bool { return len(sources[0].when()) >= int(d/(20*time.Millisecond)) }, "the end of the words")
	}
	spoken(talk / 4)
	st.must(a.Hold(st.ctx))
	spoken(talk/4 + 3*time.Second)
	st.must(a.Resume(st.ctx))
	spoken(talk * 2 / 3)
	st.must(b.Hold(st.ctx)) // and the caller, who is told, says nothing
	enough := len(sources[1].when()) + int(3*time.Second/(20*time.Millisecond))
	waitFor(t, st.ctx, func() bool { return len(sources[1].when()) >= enough }, "the end of the callee's hold")
	st.must(b.Resume(st.ctx))
	spoken(talk)
	st.must(a.Hangup(st.ctx))
	st.over(a, b)

	info, sound := st.desk("acme").stored(st.onlyCall())
	if info.Truncated || info.DroppedPackets != 0 {
		t.Errorf("the recording is %+v", info)
	}
	var heard [2]int
	for side := range heard {
		heard[side] = len(spots(sound[side], said[side]))
	}
	// What a hold kept from being said, three seconds of each, is not lost by the network.
	for side, n := range heard {
		if most := len(sources[side].when()); n < most*9/10-300 || n > most {
			t.Errorf("%d frames of %d of side %d are in the recording", n, most, side)
		}
	}
	list := apart(sound, said, sources)
	late := [2]time.Duration{stalled(sources[0].when()), stalled(sources[1].when())}
	if len(list) < int(talk.Seconds())*3/4 {
		t.Fatalf("both sides are heard in %d seconds only", len(list))
	}
	last := list[len(list)-5:]
	t.Logf("%v: callee behind caller by %v at first, by %v in the last seconds, in between from %v to %v; %d and %d frames; a phone was kept waiting for up to %v", talk,
		list[0], last, slices.Min(list), slices.Max(list), heard[0], heard[1], late)
	for _, d := range last {
		if d.Abs() > 40*time.Millisecond {
			t.Errorf("the sides are %v apart at the end", d)
		}
	}
}

// stalled is the longest time between two frames: where it is more than 200 ms the
// machine kept the phone from speaking, and the phone begins anew from there.
func stalled(at []time.Time) (most time.Duration) {
	for i := 1; i < len(at); i++ {
		most = max(most, at[i].Sub(at[i-1]))
	}
	return most
}
