package e2e

import (
	"net/netip"
	"testing"

	"tandem/internal/testkit"
	"tandem/internal/voice/phone"
)

// Each call flow of docs/ladders is one of these, captured: run with -update to
// draw them anew.
func TestCallFlowsAreAsTheLaddersShow(t *testing.T) {
	for _, l := range []struct {
		name, title, text string
		allocation        map[string]any
		to                []string
		play              func(st *stage) (a *phone.Call, bs []*phone.Call)
	}{
		{"answered", "A call is answered, the caller hangs up",
			"Each leg is a dialog of its own, built from nothing: the callee sees the virtual number, the caller our own address.", nil, nil, playAnswered},
		{"callee-hangs-up", "The callee hangs up", "A BYE on one leg ends the other by a BYE of ours.", nil, nil, playCalleeHangsUp},
		{"cancelled", "The caller gives up while it rings",
			"The CANCEL gets its own 200 and the INVITE 487 (RFC 3261 §9.2); the callee's leg is cancelled.", nil, nil, playCancelled},
		{"hunt", "The first number is busy, the second answers",
			"The caller hears of the first nothing at all: one 180, one answer.", nil, []string{bob, carol}, playHunt},
		{"nobody", "Nobody can be reached", "The caller is told what tells most of what the numbers said: busy.", nil, []string{bob, carol}, playNobody},
		{"early-media", "The callee's network sends early media",
			"A 183 with a description makes the caller's phone ring, no more: what a far network plays could speak the real number (calls.md §1.5).", nil, nil, playEarlyMedia},
		{"hold", "Hold and resume", "An offer within the call is answered from what the other side can do; the other leg hears silence meanwhile.", nil, nil, playHold},
		{"stranger", "A stranger calls", "Whoever is not named by an allocation hears 403, as do callers of an expired one and the wrong side of a oneway one.", nil, nil, playStranger},
		{"oneway", "The wrong side of a oneway allocation calls back", "Only the event tells the tenant why; the caller hears what a stranger hears.",
			map[string]any{"usage": "oneway"}, nil, playOneway},
		{"deleted-while-ringing", "The allocation is deleted while it rings", "A delete takes effect at once: both legs that are not connected end.", nil, nil, playDeleted},
	} {
		t.Run(l.name, func(t *testing.T) {
			st := newStage(t, setting{})
			to := l.to
			if to == nil {
				to = []string{bob}
			}
			_, err := st.Allocate("acme", virtual, []string{alice}, to, l.allocation)
			st.must(err)
			a, bs := l.play(st)
			st.over(append(bs, a)...)
			st.settle()
			from := st.in
			if l.name == "oneway" {
				from = st.out
			}
			legs := []testkit.Leg{{Name: "A", Addr: from.Addr(), Steps: a.Ladder()}}
			for i, b := range bs {
				legs = append(legs, testkit.Leg{Name: []string{"B", "C"}[i], Addr: st.out.Addr(), Steps: b.Ladder()})
			}
			testkit.AssertLadder(t, l.name, testkit.Chart{Title: l.title, Text: l.text,
				Tandem: []netip.AddrPort{st.SIP("udp")}, Legs: legs})
		})
	}
}

func playAnswered(st *stage) (*phone.Call, []*phone.Call) {
	a := st.dial(st.in, alice)
	b := st.called()
	st.must(b.Ring(phone.Reply{}))
	st.must(a.Ringing(st.ctx))
	st.must(b.Answer(phone.Reply{}))
	st.must(a.Answered(st.ctx))
	st.must(b.Answered(st.ctx))
	st.must(a.Hangup(st.ctx))
	return a, []*phone.Call{b}
}

func playCalleeHangsUp(st *stage) (*phone.Call, []*phone.Call) {
	a, b := st.talk(alice, nil, nil)
	st.must(b.Hangup(st.ctx))
	return a, []*phone.Call{b}
}

func playCancelled(st *stage) (*phone.Call, []*phone.Call) {
	a := st.dial(st.in, alice)
	b := st.called()
	st.must(b.Ring(phone.Reply{}))
	st.must(a.Ringing(st.ctx))
	st.must(a.Cancel())
	return a, []*phone.Call{b}
}

func playHunt(st *stage) (*phone.Call, []*phone.Call) {
	a := st.dial(st.in, alice)
	b := st.called()
	st.must(b.Reject(486, ""))
	c := st.called()
	st.must(c.Ring(phone.Reply{}))
	st.must(a.Ringing(st.ctx))
	st.must(c.Answer(phone.Reply{}))
	st.must(a.Answered(st.ctx))
	st.must(c.Answered(st.ctx))
	st.must(a.Hangup(st.ctx))
	return a, []*phone.Call{b, c}
}

func playNobody(st *stage) (*phone.Call, []*phone.Call) {
	a := st.dial(st.in, alice)
	b := st.called()
	st.must(b.Reject(486, ""))
	c := st.called()
	st.must(c.Reject(404, ""))
	return a, []*phone.Call{b, c}
}

func playEarlyMedia(st *stage) (*phone.Call, []*phone.Call) {
	a := st.dial(st.in, alice)
	b := st.called()
	st.must(b.Ring(phone.Reply{Status: 183, Early: true, Audio: phone.Sine(440, 8000)}))
	st.must(a.Ringing(st.ctx))
	st.must(b.Answer(phone.Reply{}))
	st.must(a.Answered(st.ctx))
	st.must(b.Answered(st.ctx))
	st.must(a.Hangup(st.ctx))
	return a, []*phone.Call{b}
}

func playHold(st *stage) (*phone.Call, []*phone.Call) {
	a, b := st.talk(alice, nil, nil)
	st.must(a.Hold(st.ctx))
	st.must(a.Resume(st.ctx))
	st.must(a.Hangup(st.ctx))
	return a, []*phone.Call{b}
}

func playStranger(st *stage) (*phone.Call, []*phone.Call) {
	return st.dial(st.in, carol), nil
}

func playOneway(st *stage) (*phone.Call, []*phone.Call) {
	return st.dial(st.out, bob), nil
}

func playDeleted(st *stage) (*phone.Call, []*phone.Call) {
	a := st.dial(st.in, alice)
	b := st.called()
	st.must(b.Ring(phone.Reply{}))
	st.must(a.Ringing(st.ctx))
	var list struct {
		Items []struct {
			ID string `json:"greenvn_id"`
		} `json:"items"`
	}
	st.must(st.Do("acme", "GET", "/v1/tenants/acme/greenvn", nil, &list))
	st.must(st.Do("acme", "DELETE", "/v1/tenants/acme/greenvn/"+list.Items[0].ID, nil, nil))
	return a, []*phone.Call{b}
}
