package phone_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"tandem/internal/voice/phone"
	"tandem/internal/voice/siptx"
)

// dialPeer has a phone call a peer.
func dialPeer(t *testing.T, in phone.Invite, o phone.Options) (*phone.Call, *peer, incoming) {
	t.Helper()
	o.IP = loopback
	x := newPeer(t)
	in.From, in.To, in.Via = userA, userB, x.addr
	c, err := newPhone(t, o).Dial(soon(t), in)
	must(t, err)
	return c, x, x.expect("INVITE")
}

func TestAnAnswerThatCrossesTheCancelIsAcknowledgedAndEnded(t *testing.T) {
	c, x, in := dialPeer(t, phone.Invite{}, phone.Options{})
	x.says(in, 180, "1")
	must(t, c.Ringing(soon(t)))
	must(t, c.Cancel())
	next(t, x.cancels)
	x.says(in, 200, "1", x.contact(), pcma(9))
	if ack := next(t, x.acks); ack.CSeq().SeqNo != in.req.CSeq().SeqNo {
		t.Errorf("CSeq of the ACK: %d", ack.CSeq().SeqNo)
	}
	x.says(x.expect("BYE"), 200, "")
	if e := ended(t, c); !e.ByUs || e.Err != nil || e.Status != 0 {
		t.Errorf("end: %+v", e)
	}
	if c.Answered(soon(t)) == nil {
		t.Error("a cancelled call counts as answered")
	}
}

func TestEachRepetitionOfTheAnswerIsAcknowledged(t *testing.T) {
	c, x, in := dialPeer(t, phone.Invite{}, phone.Options{})
	for range 3 {
		x.says(in, 200, "1", x.contact(), pcma(9))
		next(t, x.acks)
	}
	must(t, c.Answered(soon(t)))
}

// After Timer M no transaction is left to tell a phone of an answer.
func TestAnswersThatComeAfterTheTransactionAreAcknowledgedToo(t *testing.T) {
	c, x, in := dialPeer(t, phone.Invite{}, phone.Options{Timers: siptx.Timers{M: time.Nanosecond}})
	for range 3 {
		x.says(in, 200, "1", x.contact(), pcma(9))
		next(t, x.acks)
	}
	must(t, c.Answered(soon(t)))
	x.says(in, 200, "2", x.contact(), pcma(9))
	if ack := next(t, x.acks); !strings.Contains(ack.To().Value(), "tag=2") {
		t.Errorf("ACK to %s", ack.To().Value())
	}
	if bye := x.expect("BYE"); !strings.Contains(bye.req.To().Value(), "tag=2") {
		t.Errorf("BYE to %s", bye.req.To().Value())
	}
}

func TestAForkThatAnswersSecondIsAcknowledgedAndEnded(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, network string) {
		p := newPair(t, network)
		a, first := p.dial(t, phone.Invite{Audio: phone.Sine(440, 10000)})
		second, err := first.Fork()
		must(t, err)
		must(t, second.Ring(phone.Reply{Status: 183}))
		must(t, first.Ring(phone.Reply{}))
		must(t, first.Answer(phone.Reply{}))
		must(t, second.Answer(phone.Reply{}))
		if e := ended(t, second); e.ByUs || e.Err != nil {
			t.Errorf("the second's end: %+v", e)
		}
		must(t, a.Answered(soon(t)))
		must(t, first.HearsTone(soon(t), 440))
		must(t, a.Hangup(soon(t)))
		ended(t, first)
	})
}

func TestRequestsTakeTheRouteOfTheDialog(t *testing.T) {
	c, x, in := dialPeer(t, phone.Invite{}, phone.Options{})
	first, second := "sip:one@"+x.addr.String()+";lr", "sip:two@"+x.addr.String()+";lr"
	x.says(in, 200, "1", x.contact(), phone.Header{Name: "Record-Route", Value: "<" + first + ">, <" + second + ">"}, pcma(9))
	ack := next(t, x.acks)
	if i, j := strings.Index(ack.String(), second), strings.Index(ack.String(), first); i < 0 || j < i {
		t.Errorf("Route is not the Record-Route reversed:\n%s", ack)
	}
	if ack.Recipient.User != "peer" {
		t.Errorf("Request-URI is not the Contact: %s", ack.Recipient.String())
	}
	must(t, c.Answered(soon(t)))
}

func TestAStrictRouterBecomesTheRequestURI(t *testing.T) {
	_, x, in := dialPeer(t, phone.Invite{}, phone.Options{})
	x.says(in, 200, "1", x.contact(), phone.Header{Name: "Record-Route", Value: "<sip:strict@" + x.addr.String() + ">"}, pcma(9))
	ack := next(t, x.acks)
	if ack.Recipient.User != "strict" || ack.Route() == nil || ack.Route().Address.User != "peer" {
		t.Errorf("got:\n%s", ack)
	}
}

func TestAnAnswerIsRepeatedUntilItsAckAndThenGivenUp(t *testing.T) {
	t.Parallel()
	timers := siptx.Timers{T1: 5 * time.Millisecond, T2: 20 * time.Millisecond}
	p := newPair(t, "udp", func(_, b *phone.Options) { b.Timers = timers })
	x := newPeer(t)
	out := x.ask(x.request("INVITE", p.b.Addr(), "no-ack", 1, "", pcma(9)), p.b.Addr())
	c := p.incoming(t)
	must(t, c.Answer(phone.Reply{}))
	for range 4 {
		if res := x.final(out); res.StatusCode != 200 {
			t.Fatalf("got %d", res.StatusCode)
		}
	}
	x.says(x.expect("BYE"), 200, "")
	if e := ended(t, c); !errors.Is(e.Err, phone.ErrNoAck) {
		t.Errorf("end: %+v", e)
	}
	if err := c.Answered(soon(t)); !errors.Is(err, phone.ErrNoAck) {
		t.Errorf("answered: %v", err)
	}
}

func TestAByeBeforeTheAnswerEndsTheCall(t *testing.T) {
	t.Parallel()
	p, x := newPair(t, "udp"), newPeer(t)
	out := x.ask(x.request("INVITE", p.b.Addr(), "early-bye", 1, "", pcma(9)), p.b.Addr())
	c := p.incoming(t)
	must(t, c.Ring(phone.Reply{}))
	var tag string
	for tag == "" {
		tag = tagIn(next(t, out).Res)
	}
	if res := x.final(x.ask(x.request("BYE", p.b.Addr(), "early-bye", 2, tag), p.b.Addr())); res.StatusCode != 200 {
		t.Errorf("BYE: %d", res.StatusCode)
	}
	if res := x.final(out); res.StatusCode != 487 {
		t.Errorf("INVITE: %d", res.StatusCode)
	}
	ended(t, c)
}

func TestRequestsThatFitNoDialogAreRefused(t *testing.T) {
	t.Parallel()
	p, x := newPair(t, "udp"), newPeer(t)
	to := p.b.Addr()
	for i, test := range []struct {
		method string
		tag    string
		status int
	}{{"BYE", "unknown", 481}, {"INVITE", "unknown", 481}, {"BYE", "", 481}, {"OPTIONS", "", 200}, {"SUBSCRIBE", "", 405}, {"PRACK", "", 481}} {
		res := x.final(x.ask(x.request(sip.RequestMethod(test.method), to, "stray", uint32(i+1), test.tag), to))
		if res.StatusCode != test.status {
			t.Errorf("%s with tag %q: %d, want %d", test.method, test.tag, res.StatusCode, test.status)
		}
	}
	res := x.final(x.ask(x.request("INVITE", to, "ext", 1, "", phone.Header{Name: "Require", Value: "x-odd"}), to))
	if res.StatusCode != 420 || res.GetHeader("Unsupported") == nil || res.GetHeader("Unsupported").Value() != "x-odd" {
		t.Errorf("Require: %s", res)
	}
}

func TestRequestsWithinADialogAreAnsweredByTheirKind(t *testing.T) {
	t.Parallel()
	p := newPair(t, "udp")
	a, b := p.talk(t, phone.Invite{}, phone.Reply{})
	for method, status := range map[string]int{"OPTIONS": 200, "INFO": 200, "MESSAGE": 200, "NOTIFY": 200, "UPDATE": 200,
		"REFER": 603, "PRACK": 481, "PUBLISH": 405} {
		for _, c := range []*phone.Call{a, b} {
			res, err := c.Send(soon(t), phone.Request{Method: method, Headers: []phone.Header{{Name: "X-Y", Value: "z"}}})
			must(t, err)
			if res.Status != status {
				t.Errorf("%s: %d, want %d", method, res.Status, status)
			}
		}
	}
	for _, method := range []string{"INVITE", "ACK", "BYE", "CANCEL", ""} {
		if _, err := a.Send(soon(t), phone.Request{Method: method}); err == nil {
			t.Errorf("%q sent", method)
		}
	}
	must(t, b.Hangup(soon(t)))
	if e := ended(t, a); e.ByUs {
		t.Errorf("A's end: %+v", e)
	}
	if _, err := a.Send(soon(t), phone.Request{Method: "INFO"}); err == nil {
		t.Error("INFO sent in a call that is over")
	}
}

func TestAnOldCSeqIsRefused(t *testing.T) {
	c, x, in := dialPeer(t, phone.Invite{}, phone.Options{})
	x.says(in, 200, "peer", x.contact(), pcma(9))
	next(t, x.acks)
	must(t, c.Answered(soon(t)))
	from, _ := in.req.From().Params.Get("tag")
	caller := in.tx.Source()
	id := in.req.CallID().Value()
	for _, test := range []struct {
		seq    uint32
		status int
	}{{7, 200}, {8, 200}, {8, 500}, {3, 500}, {9, 200}} {
		if res := x.final(x.ask(x.request("INFO", caller, id, test.seq, from), caller)); res.StatusCode != test.status {
			t.Errorf("CSeq %d: %d, want %d", test.seq, res.StatusCode, test.status)
		}
	}
}

func TestHangupEndsACallInEveryState(t *testing.T) {
	t.Parallel()
	p := newPair(t, "udp")
	a, b := p.dial(t, phone.Invite{})
	must(t, a.Hangup(soon(t))) // cancels
	if e := ended(t, b); e.Status != 487 {
		t.Errorf("cancelled: %+v", e)
	}
	a, b = p.dial(t, phone.Invite{})
	must(t, b.Hangup(soon(t))) // refuses
	if e := ended(t, a); e.Status != 480 {
		t.Errorf("refused: %+v", e)
	}
	a, b = p.dial(t, phone.Invite{})
	must(t, b.Answer(phone.Reply{}))
	must(t, b.Hangup(soon(t))) // waits for the ACK
	if e := ended(t, a); e.ByUs || e.Status != 0 {
		t.Errorf("ended: %+v", e)
	}
	must(t, b.Hangup(soon(t))) // over already
	if got, want := methodsIn(a), []string{"BYE"}; !slices.Equal(got, want) {
		t.Errorf("A got %v", got)
	}
}

func TestBothSidesMayHangUpAtOnce(t *testing.T) {
	t.Parallel()
	for range 20 {
		p := newPair(t, "udp")
		a, b := p.talk(t, phone.Invite{}, phone.Reply{})
		done := make(chan error, 2)
		for _, c := range []*phone.Call{a, b} {
			go func() { done <- c.Hangup(soon(t)) }()
		}
		must(t, next(t, done))
		must(t, next(t, done))
	}
}

func TestClosingAPhoneEndsItsCallsWithoutAWord(t *testing.T) {
	t.Parallel()
	p := newPair(t, "udp")
	a, b := p.talk(t, phone.Invite{}, phone.Reply{})
	must(t, p.a.Close())
	if e := ended(t, a); e.Err == nil {
		t.Errorf("A's end: %+v", e)
	}
	if _, err := p.a.Dial(soon(t), phone.Invite{Via: p.b.Addr()}); err == nil {
		t.Error("a closed phone calls")
	}
	if slices.Contains(methodsIn(b), "BYE") {
		t.Error("it said BYE")
	}
}

func TestAFarSideThatIsGoneEndsTheCallWithAnError(t *testing.T) {
	t.Parallel()
	timers := siptx.Timers{T1: time.Millisecond}
	p := newPair(t, "udp", func(a, _ *phone.Options) { a.Timers = timers })
	a, _ := p.talk(t, phone.Invite{}, phone.Reply{})
	must(t, p.b.Close())
	must(t, a.Hangup(soon(t)))
	if e := ended(t, a); !errors.Is(e.Err, siptx.ErrTimeout) && !errors.Is(e.Err, siptx.ErrTransport) {
		t.Errorf("end: %+v", e)
	}
}

func TestAPhoneAsksOutsideOfCalls(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, network string) {
		p := newPair(t, network)
		res, err := p.a.Ask(soon(t), phone.Outside{Request: phone.Request{Method: "OPTIONS"}, Via: p.b.Addr()})
		must(t, err)
		if res.Status != 200 || !slices.ContainsFunc(res.Headers, func(h phone.Header) bool { return h.Name == "Allow" }) {
			t.Errorf("got %+v", res)
		}
	})
}

func TestAnsweringOnAClosedPhoneIsAnErrorAndNoMore(t *testing.T) {
	t.Parallel()
	p := newPair(t, "udp")
	a, b := p.dial(t, phone.Invite{})
	must(t, p.b.Close())
	if b.Answer(phone.Reply{}) == nil || b.Ring(phone.Reply{Early: true}) == nil || b.Reject(486, "") == nil {
		t.Error("no error")
	}
	if b.Heard() != nil || b.Said(soon(t)) == nil || b.Hears(soon(t), 1) == nil {
		t.Error("media without a description")
	}
	must(t, p.a.Close())
	if e := ended(t, a); e.Err == nil {
		t.Errorf("A's end: %+v", e)
	}
}
