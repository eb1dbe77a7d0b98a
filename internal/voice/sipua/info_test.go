package sipua

import (
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"

	"tandem/internal/voice/b2bua"
)

func info(contentType, body string) *sip.Request {
	req := sip.NewRequest(sip.INFO, sip.Uri{Scheme: "sip", Host: "127.0.0.1"})
	if contentType != "" {
		req.AppendHeader(sip.NewHeader("Content-Type", contentType))
		ct := sip.ContentTypeHeader(contentType)
		req.ReplaceHeader(&ct)
	}
	req.SetBody([]byte(body))
	return req
}

func TestAKeyIsReadHoweverItsWriterSpellsIt(t *testing.T) {
	for body, want := range map[string]byte{
		"Signal=5\r\nDuration=160\r\n": '5', "Signal= 5\nDuration= 250": '5', "signal=*": '*', "Duration=1\r\nSignal=#\r\n": '#',
		"Signal=10": '*', "Signal=11": '#', "Signal=d": 'D', "Signal=A": 'A', "Signal=0": '0',
		"Signal=": 0, "Signal=12": 0, "Signal=55": 0, "Signal": 0, "": 0, "Signal=\x00": 0, "Signal=é": 0,
	} {
		digit, ok := infoDigit(info("application/dtmf-relay", body))
		if digit != want || ok != (want != 0) {
			t.Errorf("%q: %q, %v", body, digit, ok)
		}
	}
	for body, want := range map[string]byte{"5": '5', " 7\r\n": '7', "11": '#', "": 0, "Signal=5": 0} {
		if digit, _ := infoDigit(info("application/dtmf", body)); digit != want {
			t.Errorf("%q: %q", body, digit)
		}
	}
	if _, ok := infoDigit(info("application/media_control+xml", "5")); ok {
		t.Error("a key in a body that has none")
	}
}

func FuzzInfoDigit(f *testing.F) {
	f.Add("application/dtmf-relay", "Signal=5\r\nDuration=160\r\n")
	f.Add("application/dtmf", "11")
	f.Fuzz(func(t *testing.T, contentType, body string) {
		digit, ok := infoDigit(info(contentType, body))
		if ok && !strings.ContainsRune("0123456789*#ABCD", rune(digit)) {
			t.Errorf("%q is read as key %q", body, digit)
		}
	})
}

func TestAKeyOfTheOtherSideIsToldAndNothingElse(t *testing.T) {
	r, p := pair(t)
	_, leg, ev := r.reached(p)
	leg.Press('7')
	m := p.expect("INFO ")
	if got := m.field("Content-Type"); got != "application/dtmf-relay" {
		t.Errorf("Content-Type %q", got)
	}
	if _, body, _ := strings.Cut(string(m), "\r\n\r\n"); body != "Signal=7\r\nDuration=160\r\n" {
		t.Errorf("body %q", body)
	}
	p.send(m.reply(200, "", ""))
	leg.End(b2bua.Reason{})
	p.send(p.expect("BYE ").reply(200, "", ""))
	ev.next(t, b2bua.EvGone)
	leg.Press('8') // gone: to nobody
	p.sync()
	for _, m := range p.all() {
		if strings.HasPrefix(string(m), "INFO ") {
			t.Error("a key was told after the end")
		}
	}
}

func TestACallerWhoIsNotAnsweredCanBeSpokenTo(t *testing.T) {
	r, p := pair(t)
	_, call := r.caller(p, nil)
	call.Leg.Speak([]byte(sdpBody))
	m := p.expect("SIP/2.0 183 ")
	if m.field("Contact") == "" || !strings.Contains(m.field("To"), ";tag=") || !strings.Contains(string(m), "m=audio") {
		t.Errorf("183 is no early dialog with media:\n%s", m)
	}
	tag := m.field("To")
	call.Leg.End(b2bua.Reason{Cause: "rejected", Refusal: "stranger"})
	if refusal := p.expect("SIP/2.0 403 "); refusal.field("To") != tag {
		t.Errorf("To %q after %q", refusal.field("To"), tag)
	}
}

// The call may end its legs in the moment it hears of a BYE: the one who sent it
// has hung up already.
func TestWhoHangsUpIsNotHungUpOn(t *testing.T) {
	r, p := pair(t)
	s, call := r.established(p)
	gone := make(chan struct{})
	call.Leg.Bind(func(e b2bua.Event) {
		switch e.Kind {
		case b2bua.EvHungUp:
			call.Leg.End(b2bua.Reason{})
		case b2bua.EvGone:
			close(gone)
		}
	}, nil)
	p.send(s.request("BYE", &with{}))
	<-gone
	p.sync()
	for _, m := range p.all() {
		if strings.HasPrefix(string(m), "BYE ") {
			t.Errorf("got a BYE of ours:\n%s", m)
		}
	}
}
