package e2e

import (
	"sync/atomic"
	"testing"

	"tandem/internal/voice/phone"
)

// The caller's network loses every tenth packet on the way to us; nothing is lost
// on the callee's leg. The phones report on what they get as soon as they speak.
func TestTheRecordTellsHowTheMediaOfEachLegWas(t *testing.T) {
	t.Parallel()
	var sent, lost atomic.Int64
	st := newStage(t, setting{in: func(o *phone.Options) {
		o.Lose = func([]byte) bool {
			if sent.Add(1)%10 != 5 {
				return false
			}
			lost.Add(1)
			return true
		}
	}})
	st.allocate(nil)
	a, b := st.counted(alice, phone.Sine(440, 8000), phone.Sine(880, 8000))
	st.must(b.Hears(st.ctx, 3*phone.Rate))
	st.must(a.Hears(st.ctx, 3*phone.Rate))
	st.must(a.Hangup(st.ctx))
	st.over(a, b)
	c, err := st.Call("acme", st.record().ID)
	st.must(err)
	if c.Quality == nil {
		t.Fatal("the record tells nothing of the media")
	}
	caller, callee := c.Quality.Caller, c.Quality.Callee
	told := lost.Load() - int64(caller.PacketsLost)
	// One more may be lost at the very end, where nothing tells that it is missing.
	if told < 0 || told > 1 || caller.PacketsLost < 10 {
		t.Errorf("%d packets of the caller's are told to be lost, the network lost %d", caller.PacketsLost, lost.Load())
	}
	if caller.PacketsReceived < 130 || callee.PacketsReceived < 150 || callee.PacketsLost != 0 || caller.Strays+callee.Strays != 0 {
		t.Errorf("caller %+v, callee %+v", caller, callee)
	}
	if callee.PacketsSent > caller.PacketsReceived || caller.PacketsSent > callee.PacketsReceived {
		t.Errorf("more was sent on than came: caller %+v, callee %+v", caller, callee)
	}
}
