package interop

import (
	"testing"
	"time"

	"tandem/internal/app"
)

func TestSessionsAreRefreshedAsTheCarriersOfBothSidesWant(t *testing.T) {
	refreshed := script{"caller_hangs_up.xml", []string{"DELAY", "0", "PAUSE", "1500"}}
	for _, network := range []string{"udp", "tcp"} {
		for name, p := range map[string]play{
			"a caller who refreshes":    {caller: script{"caller_refreshes.xml", nil}, callees: []script{answers}, cause: "caller_hung_up"},
			"a callee who takes UPDATE": {caller: refreshed, callees: []script{{"callee_refreshed_by_update.xml", nil}}, cause: "caller_hung_up"},
			"a callee who takes none":   {caller: refreshed, callees: []script{{"callee_refreshed_by_reinvite.xml", nil}}, cause: "caller_hung_up"},
			"a callee who wants longer": {caller: hangsUp, callees: []script{{"callee_wants_longer.xml", nil}}, cause: "caller_hung_up"},
			"a callee who is not there": {caller: script{"caller_is_hung_up_on.xml", nil}, callees: []script{{"callee_lets_it_expire.xml", nil}}, cause: "session_expired"},
		} {
			t.Run(network+"/"+name, func(t *testing.T) {
				t.Parallel()
				p.legs = []int{200}
				p.edit = func(o *app.Options) { o.SIPSecond = 20 * time.Millisecond } // 90 s are 1.8 s
				p.perform(t, network)
			})
		}
	}
}
