package e2e

import (
	"net/netip"
	"testing"
	"time"

	"tandem/internal/app"
	"tandem/internal/testkit"
	"tandem/internal/voice/phone"
	"tandem/internal/voice/sdp"
)

// flow is one page of docs/ladders.
type flow struct {
	name, title, text string
	allocation        map[string]any
	to                []string
	pin               bool // the allocation is opened by a PIN
	edit              func(*app.Options)
	play              func(st *stage) (a *phone.Call, bs []*phone.Call)
}

var flows = []flow{
	{name: "answered", title: "A call is answered, the caller hangs up", play: playAnswered,
		text: "Each leg is a dialog of its own, built from nothing: the callee sees the virtual number, the caller our own address."},
	{name: "callee-hangs-up", title: "The callee hangs up", play: playCalleeHangsUp, text: "A BYE on one leg ends the other by a BYE of ours."},
	{name: "cancelled", title: "The caller gives up while it rings", play: playCancelled,
		text: "The CANCEL gets its own 200 and the INVITE 487 (RFC 3261 §9.2); the callee's leg is cancelled."},
	{name: "hunt", title: "The first number is busy, the second answers", to: []string{bob, carol}, play: playHunt,
		text: "The caller hears of the first nothing at all: one 180, one answer."},
	{name: "nobody", title: "Nobody can be reached", to: []string{bob, carol}, play: playNobody,
		text: "The caller is told what tells most of what the numbers said: busy."},
	{name: "simultaneous", title: "Two numbers ring at once, the second answers", to: []string{bob, carol}, play: playSimultaneous,
		text: "Each has its own leg and its own ports. The first to answer has the call; the other is cancelled, and a 2xx of its that crosses the CANCEL would be acknowledged and hung up."},
	{name: "joined", title: "Two who call each other at once", play: playJoined,
		text: "B's own call, here C, comes while B is rung: both callers are answered, each with an answer to his own offer, and what rang is cancelled. Neither hears that the other is busy."},
	{name: "early-media", title: "The callee's network sends early media", play: playEarlyMedia,
		text: "A 183 with a description makes the caller's phone ring, no more: what a far network plays could speak the real number."},
	{name: "prack", title: "Both sides want provisional responses acknowledged", play: playPrack,
		text: "Each leg has numbers and PRACKs of its own (RFC 3262). The caller requires it, so that even 180 is repeated until he acknowledges it. The callee answers in his 183, which his 200 need not repeat (RFC 3261 §13.2.1); the ACK bears the CSeq of the INVITE."},
	{name: "prack-announcement", title: "A stranger whose carrier supports PRACK hears why", play: playPrackedAnnouncement,
		text: "What he is to hear must not be lost, so the 183 that brings its description is repeated until it is acknowledged. The refusal waits for nothing."},
	{name: "session", title: "A session is refreshed on each leg by itself", play: playSession,
		edit: func(o *app.Options) { o.SIPSecond = time.Millisecond },
		text: "The caller's carrier asks for a session timer and refreshes it itself; the callee's leaves that to us (RFC 4028). Each leg has its own interval. An UPDATE without description leaves the media alone; a carrier that takes none gets a re-INVITE with the description it has."},
	{name: "hold", title: "Hold and resume", play: playHold,
		text: "An offer that changes the other side's stream is carried to it, and answered with what it has agreed to (RFC 3264 §8.4); a refresh, a new address or the other law of G.711 is not carried."},
	{name: "both-on-hold", title: "Both sides hold, and resume", play: playBothHold,
		text: "Each phone keeps its own hold: who resumes first is answered sendonly by the other, who holds still. After the last resume both hear each other."},
	{name: "codec-change", title: "A side changes to another codec", play: playCodecChange,
		text: "The callee wants G.722 alone, which the caller has but does not speak in this call: he is asked, and both change. An offer of what he has not is refused with 488, and the call goes on as it was."},
	{name: "glare", title: "Both sides hold at once", play: playGlare,
		text: "Our re-INVITE meets the callee's and is answered with 491. We chose the Call-ID and wait 2.1 s at least (RFC 3261 §14.1); the callee's own re-INVITE comes first, and each side is answered with the other's offer."},
	{name: "retried", title: "A phone wants to be asked again", play: playRetried,
		text: "The 491 to our re-INVITE is followed by the same offer after 2.1 to 4 s; the caller hears of it only when it is answered."},
	{name: "delayed-offer", title: "An INVITE without offer", play: playDelayed,
		text: "The callee is offered G.711 and telephone-event; what he agreed to is offered to the caller in the 200, and the caller's ACK answers it (RFC 3261 §13.2.1)."},
	{name: "delayed-reinvite", title: "A re-INVITE without offer resumes", play: playDelayedReinvite,
		text: "The 200 offers what the other side has. The ACK's answer ends a hold, of which the other side is told then."},
	{name: "stranger", title: "A stranger calls", play: playStranger,
		text: "Whoever is not named by an allocation hears an announcement and then 403, as do callers of an expired one and the wrong side of a oneway one. It is early media: his call is not answered."},
	{name: "oneway", title: "The wrong side of a oneway allocation calls back", allocation: map[string]any{"usage": "oneway"}, play: playOneway,
		text: "Only the event tells the tenant why; the caller hears what a stranger hears."},
	{name: "deleted-while-ringing", title: "The allocation is deleted while it rings", play: playDeleted,
		text: "A delete takes effect at once: both legs that are not connected end."},
	{name: "pin", title: "A caller enters a PIN", pin: true, play: playPIN,
		text: "The caller is answered, hears the question and presses his PIN within the media (RFC 4733), where this chart does not look. Then the other side is rung; the caller hears ring-back in his ear."},
	{name: "pin-info", title: "A caller enters a PIN by INFO", pin: true, play: playPINByInfo,
		text: "Each key is an INFO of its own, which ends here: the other leg does not exist yet."},
	{name: "pin-busy", title: "A PIN is right, and its other side is busy", pin: true, play: playPINBusy,
		text: "The caller, whose call is answered, hears busy tone for a while; then our BYE ends his call."},
}

// Each call flow of docs/ladders is one of these, captured: run with -update to
// draw them anew.
func TestCallFlowsAreAsTheLaddersShow(t *testing.T) {
	for _, l := range flows {
		t.Run(l.name, func(t *testing.T) {
			st := newStage(t, setting{edit: l.edit})
			l.allocate(st)
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
				Tandem: []netip.AddrPort{st.SIP("udp")}, Legs: legs, Asked: l.pin, Joined: l.name == "joined"})
		})
	}
}

func (l flow) allocate(st *stage) {
	to := l.to
	if to == nil {
		to = []string{bob}
	}
	if l.pin {
		p, err := st.OpenPin("acme", virtual, []string{alice}, to, nil)
		st.must(err)
		st.opens = p.PIN
		return
	}
	_, err := st.Allocate("acme", virtual, []string{alice}, to, l.allocation)
	st.must(err)
}

func playPIN(st *stage) (*phone.Call, []*phone.Call) {
	a := st.asked(st.in, alice)
	st.must(a.Press(st.ctx, st.opens, phone.Press{}))
	b := st.talks(a)
	st.must(b.Hangup(st.ctx))
	return a, []*phone.Call{b}
}

func playPINByInfo(st *stage) (*phone.Call, []*phone.Call) {
	a := st.asked(st.in, alice)
	st.must(a.Press(st.ctx, st.opens, phone.Press{How: phone.INFO}))
	b := st.talks(a)
	st.must(a.Hangup(st.ctx))
	return a, []*phone.Call{b}
}

func playPINBusy(st *stage) (*phone.Call, []*phone.Call) {
	a := st.asked(st.in, alice)
	st.must(a.Press(st.ctx, st.opens, phone.Press{}))
	b := st.called()
	st.must(b.Reject(486, ""))
	return a, []*phone.Call{b}
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

func playSimultaneous(st *stage) (*phone.Call, []*phone.Call) {
	st.settings(map[string]any{"ring_strategy": "simultaneous"})
	a := st.dial(st.in, alice)
	all := st.rung(2)
	b, c := all[bob], all[carol]
	st.must(b.Ring(phone.Reply{}))
	st.must(a.Ringing(st.ctx))
	st.must(c.Answer(phone.Reply{}))
	st.must(a.Answered(st.ctx))
	st.must(c.Answered(st.ctx))
	st.over(b)
	st.must(a.Hangup(st.ctx))
	return a, []*phone.Call{b, c}
}

func playJoined(st *stage) (*phone.Call, []*phone.Call) {
	a := st.dial(st.in, alice)
	b := st.called()
	st.must(b.Ring(phone.Reply{}))
	st.must(a.Ringing(st.ctx))
	own := st.dial(st.out, bob)
	st.must(a.Answered(st.ctx))
	st.must(own.Answered(st.ctx))
	st.over(b)
	st.must(own.Hangup(st.ctx))
	return a, []*phone.Call{b, own}
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

var (
	requires100rel = phone.Header{Name: "Require", Value: "100rel"}
	supports100rel = phone.Header{Name: "Supported", Value: "100rel"}
)

func playPrack(st *stage) (*phone.Call, []*phone.Call) {
	a := st.dial(st.in, alice, func(in *phone.Invite) { in.Headers = []phone.Header{requires100rel} })
	b := st.called()
	st.must(b.Ring(phone.Reply{Status: 183, Reliable: true, Early: true}))
	st.must(a.Ringing(st.ctx))
	st.must(b.Acknowledged(st.ctx))
	st.must(b.Ring(phone.Reply{Reliable: true}))
	st.must(b.Acknowledged(st.ctx))
	st.must(b.Answer(phone.Reply{}))
	st.must(a.Answered(st.ctx))
	st.must(b.Answered(st.ctx))
	st.must(a.Hangup(st.ctx))
	return a, []*phone.Call{b}
}

func playPrackedAnnouncement(st *stage) (*phone.Call, []*phone.Call) {
	return st.dial(st.in, carol, func(in *phone.Invite) { in.Headers = []phone.Header{supports100rel} }), nil
}

func playSession(st *stage) (*phone.Call, []*phone.Call) {
	a := st.dial(st.in, alice, func(in *phone.Invite) { in.Headers = expires("1000000;refresher=uac") })
	b := st.called()
	st.must(b.Answer(phone.Reply{Headers: append(expires("3000;refresher=uac"), phone.Header{Name: "Require", Value: "timer"})}))
	st.must(a.Answered(st.ctx))
	st.must(b.Answered(st.ctx))
	st.must(a.Reinvite(st.ctx, phone.Offer{Update: true, NoOffer: true, Headers: expires("1000000;refresher=uac")}))
	st.requests(b, "UPDATE", 1)
	st.must(a.Hangup(st.ctx))
	return a, []*phone.Call{b}
}

func playHold(st *stage) (*phone.Call, []*phone.Call) {
	a, b := st.talk(alice, nil, nil)
	st.must(a.Hold(st.ctx))
	st.acked(a, b)
	st.must(a.Resume(st.ctx))
	st.acked(a, b)
	st.must(a.Hangup(st.ctx))
	return a, []*phone.Call{b}
}

func playBothHold(st *stage) (*phone.Call, []*phone.Call) {
	a, b := st.talk(alice, nil, nil)
	st.must(a.Hold(st.ctx))
	st.acked(a, b)
	st.must(b.Hold(st.ctx))
	st.acked(a, b)
	st.must(a.Resume(st.ctx))
	st.acked(a, b)
	st.must(b.Resume(st.ctx))
	st.acked(a, b)
	st.must(a.Hangup(st.ctx))
	return a, []*phone.Call{b}
}

func playCodecChange(st *stage) (*phone.Call, []*phone.Call) {
	a := st.dial(st.in, alice, func(in *phone.Invite) { in.Codecs = []string{"PCMA", "G722", "telephone-event"} })
	b := st.called()
	st.must(b.Ring(phone.Reply{}))
	st.must(b.Answer(phone.Reply{Codecs: []string{"PCMA", "telephone-event"}}))
	st.must(a.Answered(st.ctx))
	st.must(b.Answered(st.ctx))
	st.must(b.Reinvite(st.ctx, phone.Offer{Codecs: []string{"G722", "telephone-event"}}))
	st.acked(a, b)
	if err := b.Reinvite(st.ctx, phone.Offer{Codecs: []string{"opus"}}); err == nil {
		st.t.Error("a codec that nobody else has was agreed to")
	}
	st.acked(a, b)
	st.must(a.Hangup(st.ctx))
	return a, []*phone.Call{b}
}

func playGlare(st *stage) (*phone.Call, []*phone.Call) {
	a, b := st.talk(alice, nil, nil)
	st.crossing(a, b)
	st.acked(a, b)
	st.must(a.Hangup(st.ctx))
	return a, []*phone.Call{b}
}

func playRetried(st *stage) (*phone.Call, []*phone.Call) {
	a, b := st.talk(alice, nil, nil)
	b.Refuse(491)
	st.must(a.Hold(st.ctx))
	st.acked(a, b)
	st.must(a.Hangup(st.ctx))
	return a, []*phone.Call{b}
}

func playDelayed(st *stage) (*phone.Call, []*phone.Call) {
	a := st.dial(st.in, alice, func(in *phone.Invite) { in.NoOffer = true })
	b := st.called()
	st.must(b.Ring(phone.Reply{}))
	st.must(b.Answer(phone.Reply{Codecs: []string{"PCMA", "telephone-event"}}))
	st.must(a.Answered(st.ctx))
	st.must(b.Answered(st.ctx))
	st.acked(a, b)
	st.must(a.Hangup(st.ctx))
	return a, []*phone.Call{b}
}

func playDelayedReinvite(st *stage) (*phone.Call, []*phone.Call) {
	a, b := st.talk(alice, nil, nil)
	st.must(a.Hold(st.ctx))
	st.acked(a, b)
	st.must(a.Reinvite(st.ctx, phone.Offer{NoOffer: true, Direction: sdp.SendRecv}))
	b.Say(phone.Sine(880, 8000))
	st.must(a.HearsTone(st.ctx, 880)) // by then the other side has been told
	st.acked(a, b)
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
