package phone_test

import (
	"testing"
	"time"

	"tandem/internal/voice/phone"
	"tandem/internal/voice/siptx"
)

var supports100rel = []phone.Header{{Name: "Supported", Value: "100rel"}}

func TestPhonesAcknowledgeEachOthersReliableProvisionalsAndTalk(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, network string) {
		p := newPair(t, network)
		a, b := p.dial(t, phone.Invite{Audio: phone.Sine(440, 10000), Headers: supports100rel})
		must(t, b.Ring(phone.Reply{Status: 183, Reliable: true, Early: true}))
		if b.Answer(phone.Reply{}) == nil {
			t.Error("answered before the description was acknowledged (RFC 3262 §3)")
		}
		must(t, b.Acknowledged(soon(t)))
		must(t, b.Ring(phone.Reply{Reliable: true}))
		must(t, b.Acknowledged(soon(t)))
		must(t, b.Answer(phone.Reply{}))
		must(t, a.Answered(soon(t)))
		must(t, b.HearsTone(soon(t), 440))
		must(t, a.Hangup(soon(t)))
		ended(t, b)
		var cseqs []string
		for _, s := range a.Ladder() {
			if s.Out && !s.Again {
				cseqs = append(cseqs, s.CSeq)
			}
		}
		want := []string{"1 INVITE", "2 PRACK", "3 PRACK", "1 ACK", "4 BYE"}
		if len(cseqs) != len(want) {
			t.Fatalf("sent %v, want %v", cseqs, want)
		}
		for i := range want {
			if cseqs[i] != want[i] {
				t.Errorf("sent %v, want %v", cseqs, want)
			}
		}
	})
}

func TestAReliableProvisionalNeedsACallerWhoCanAcknowledgeIt(t *testing.T) {
	t.Parallel()
	p := newPair(t, "udp")
	_, b := p.dial(t, phone.Invite{})
	if b.Ring(phone.Reply{Reliable: true}) == nil {
		t.Error("it was sent")
	}
}

func TestAReliableProvisionalThatNobodyAcknowledgesEndsIn504(t *testing.T) {
	t.Parallel()
	p := newPair(t, "udp", func(_, b *phone.Options) { b.Timers = siptx.Timers{T1: 5 * time.Millisecond} })
	x := newPeer(t)
	out := x.ask(x.request("INVITE", p.b.Addr(), "deaf", 1, "", supports100rel[0], pcma(9)), p.b.Addr())
	c := p.incoming(t)
	must(t, c.Ring(phone.Reply{Reliable: true}))
	if res := x.final(out); res.StatusCode != 504 {
		t.Errorf("got %d", res.StatusCode)
	}
	if e := ended(t, c); e.Status != 504 {
		t.Errorf("end: %+v", e)
	}
}

func TestAPhoneAcknowledgesEachNumberOnceAndInOrder(t *testing.T) {
	c, x, in := dialPeer(t, phone.Invite{}, phone.Options{})
	reliable := func(number string) []any {
		return []any{x.contact(), phone.Header{Name: "Require", Value: "100rel"}, phone.Header{Name: "RSeq", Value: number}}
	}
	x.says(in, 183, "1", reliable("7")...)
	x.says(x.expect("PRACK"), 200, "")
	x.says(in, 183, "1", reliable("7")...)
	x.says(in, 183, "1", reliable("9")...)
	x.says(in, 180, "1", reliable("8")...)
	prack := x.expect("PRACK")
	if got := prack.req.GetHeader("RAck").Value(); got != "8 1 INVITE" {
		t.Errorf("RAck %q", got)
	}
	x.says(prack, 200, "")
	must(t, c.Ringing(soon(t)))
}
