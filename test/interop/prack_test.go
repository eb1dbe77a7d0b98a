package interop

import "testing"

// sipp checks the numbers: RAck and CSeq of each PRACK, that of the ACK and of the BYE.
var pracks = map[string]play{
	"the callee's carrier requires PRACK": {caller: hangsUp, callees: []script{{"callee_requires_prack.xml", nil}}, cause: "caller_hung_up", legs: []int{200}},
	"the caller's carrier requires PRACK": {caller: script{"caller_pracks.xml", nil},
		callees: []script{{"callee_answers.xml", []string{"RINGING", "1000"}}}, cause: "caller_hung_up", legs: []int{200}},
	"both require PRACK": {caller: script{"caller_pracks.xml", nil}, callees: []script{{"callee_requires_prack.xml", nil}},
		cause: "caller_hung_up", legs: []int{200}},
}

func TestCarriersThatRequirePRACKGetIt(t *testing.T) {
	for _, network := range []string{"udp", "tcp"} {
		for name, p := range pracks {
			t.Run(network+"/"+name, func(t *testing.T) {
				t.Parallel()
				p.perform(t, network)
			})
		}
	}
}
