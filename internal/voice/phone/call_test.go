package phone_test

import (
	"errors"
	"strings"
	"testing"

	"tandem/internal/voice/phone"
)

func TestBothSidesHearTheToneOfTheOther(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, network string) {
		p := newPair(t, network)
		a, b := p.talk(t, phone.Invite{Audio: phone.Sine(440, 10000)}, phone.Reply{Audio: phone.Sine(880, 10000)})
		must(t, a.HearsTone(soon(t), 880))
		must(t, b.HearsTone(soon(t), 440))
		if r := phone.Tone(a.Heard(), 440); r > 0.01 {
			t.Errorf("A hears his own tone: %.3f", r)
		}
		must(t, a.Hangup(soon(t), phone.Header{Name: "Reason", Value: "Q.850;cause=16"}))
		if e := ended(t, a); !e.ByUs || e.Err != nil || e.Status != 0 {
			t.Errorf("A's end: %+v", e)
		}
		if e := ended(t, b); e.ByUs || e.Reason != "Q.850;cause=16" || e.Err != nil {
			t.Errorf("B's end: %+v", e)
		}
	})
}

func TestTheCalleeSeesWhoCallsWhom(t *testing.T) {
	t.Parallel()
	p := newPair(t, "udp")
	in := phone.Invite{FromDisplay: "Asha", Headers: []phone.Header{{Name: "P-Asserted-Identity", Value: "<tel:+91123>"}}}
	_, b := p.dial(t, in)
	want := phone.Seen{RequestUser: userB, From: userA, FromDisplay: "Asha", To: userB, Asserted: "<tel:+91123>", Contact: userA}
	if got := b.Seen(); got != want {
		t.Errorf("seen %+v, want %+v", got, want)
	}
}

func TestTheCallerSeesWhatResponsesSay(t *testing.T) {
	t.Parallel()
	p := newPair(t, "udp")
	a, b := p.dial(t, phone.Invite{})
	must(t, b.Ring(phone.Reply{Headers: []phone.Header{{Name: "P-Asserted-Identity", Value: "<sip:+4930@x>"}}}))
	must(t, a.Ringing(soon(t)))
	if s := a.Seen(); s.Asserted != "<sip:+4930@x>" || s.Contact != userB || s.RequestUser != "" {
		t.Errorf("seen %+v", s)
	}
}

func TestARefusalIsAStatusErrorThatHidesItsPhrase(t *testing.T) {
	t.Parallel()
	p := newPair(t, "udp")
	a, b := p.dial(t, phone.Invite{})
	must(t, b.Reject(486, "call +919876543210 later"))
	err := a.Answered(soon(t))
	var status *phone.StatusError
	if !errors.As(err, &status) || status.Code != 486 || status.Reason != "call +919876543210 later" {
		t.Fatalf("got %v", err)
	}
	if err.Error() != "phone: refused with status 486" {
		t.Errorf("error %q", err)
	}
	if e := ended(t, b); !e.ByUs || e.Status != 486 {
		t.Errorf("B's end: %+v", e)
	}
}

func TestAPhoneThatTakesNoCallsIsBusy(t *testing.T) {
	t.Parallel()
	p := newPair(t, "udp")
	c, err := p.b.Dial(soon(t), phone.Invite{From: "b", To: "a", Via: p.a.Addr()})
	must(t, err)
	if e := ended(t, c); e.Status != 486 || e.ByUs {
		t.Errorf("end: %+v", e)
	}
}

func TestCancelEndsACallAtEveryMomentBeforeTheAnswer(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, network string) {
		for name, until := range map[string]func(a, b *phone.Call){
			"before anything came": func(a, b *phone.Call) {},
			"while it rings":       func(a, b *phone.Call) { must(t, b.Ring(phone.Reply{})); must(t, a.Ringing(soon(t))) },
			"in early media": func(a, b *phone.Call) {
				must(t, b.Ring(phone.Reply{Status: 183, Early: true, Audio: phone.Sine(425, 8000)}))
				must(t, a.HearsTone(soon(t), 425))
			},
		} {
			t.Run(name, func(t *testing.T) {
				p := newPair(t, network)
				a, b := p.dial(t, phone.Invite{})
				until(a, b)
				must(t, a.Cancel(phone.Header{Name: "Reason", Value: "SIP;cause=487"}))
				if e := ended(t, a); !e.ByUs || e.Status != 487 || e.Err != nil {
					t.Errorf("A's end: %+v", e)
				}
				if e := ended(t, b); e.ByUs || e.Status != 487 || e.Reason != "SIP;cause=487" {
					t.Errorf("B's end: %+v", e)
				}
			})
		}
	})
}

// methodsIn lists the requests that c has received, retransmissions left out.
func methodsIn(c *phone.Call) []string {
	var list []string
	for _, s := range c.Ladder() {
		method, _, _ := strings.Cut(s.Line, " ")
		if !s.Out && !s.Again && method != "SIP/2.0" {
			list = append(list, method)
		}
	}
	return list
}
