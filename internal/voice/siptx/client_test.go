package siptx

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"
)

func TestAnInviteIsRetransmittedOnTimerAUntilTimerB(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close(t)
		began := time.Now()
		r.start(t, request(sip.INVITE))
		first := r.peer.read(t)
		for i, after := range []time.Duration{500, 1500, 3500, 7500, 15500, 31500} {
			if got := r.peer.read(t); got != first {
				t.Fatalf("retransmission %d differs:\n%s", i, got)
			}
			if d := time.Since(began); d != after*time.Millisecond {
				t.Fatalf("retransmission %d after %v, want %v ms", i, d, after)
			}
		}
		if o := next(t, r.out); !errors.Is(o.Err, ErrTimeout) || time.Since(began) != 32*time.Second {
			t.Fatalf("ended with %v after %v", o.Err, time.Since(began))
		}
		r.peer.quiet(t, time.Minute)
		none(t, r.out)
		if s := r.l.Stats(); s.ClientTx != 0 || s.RetransmissionsOut != 6 {
			t.Fatalf("%+v", s)
		}
	})
}

func TestNothingIsLeftOfARequestThatIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close(t)
		unanswered := r.start(t, request(sip.OPTIONS))
		r.peer.read(t)
		r.peer.read(t)
		unanswered.GiveUp()
		unanswered.GiveUp()
		if n := r.l.Stats().ClientTx; n != 0 {
			t.Errorf("%d transactions are left", n)
		}
		r.peer.quiet(t, time.Minute)
		none(t, r.out)
		call := r.start(t, request(sip.INVITE)) // is cancelled, not given up
		call.GiveUp()
		if n := r.l.Stats().ClientTx; n != 1 {
			t.Errorf("%d transactions of an INVITE", n)
		}
	})
}

func TestAnotherRequestIsRetransmittedOnTimerEUntilTimerF(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close(t)
		began := time.Now()
		r.start(t, request(sip.OPTIONS))
		r.peer.read(t)
		for i, after := range []time.Duration{500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500} {
			r.peer.read(t)
			if d := time.Since(began); d != after*time.Millisecond {
				t.Fatalf("retransmission %d after %v, want %v ms", i, d, after)
			}
		}
		if o := next(t, r.out); !errors.Is(o.Err, ErrTimeout) || time.Since(began) != 32*time.Second {
			t.Fatalf("ended with %v after %v", o.Err, time.Since(began))
		}
	})
}

func TestAProvisionalSlowsTimerEToT2AndStopsTimerA(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close(t)
		r.start(t, request(sip.OPTIONS))
		req := r.peer.read(t)
		r.peer.send(t, r.us, reply(req, 100, ""))
		r.status(t, 100)
		began := time.Now()
		r.peer.read(t) // the interval that ran already
		r.peer.read(t)
		if d := time.Since(began); d != 4500*time.Millisecond {
			t.Fatalf("Timer E in Proceeding ran %v", d)
		}
		r.peer.send(t, r.us, reply(req, 200, "x"))
		r.status(t, 200)

		r.start(t, request(sip.INVITE))
		req = r.peer.read(t)
		r.peer.send(t, r.us, reply(req, 180, "x"))
		r.status(t, 180)
		r.peer.quiet(t, 10*time.Minute) // no Timer B any more either: ringing lasts as long as the TU lets it
		none(t, r.out)
	})
}

func TestA183AndA200InOneBurstArriveInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close(t)
		for i := range 200 {
			r.start(t, request(sip.INVITE))
			req := r.peer.read(t)
			for _, code := range []int{100, 183, 180, 183, 200} {
				r.peer.send(t, r.us, reply(req, code, "x"))
			}
			for _, code := range []int{100, 183, 180, 183, 200} {
				if o := next(t, r.out); o.Err != nil || o.Res.StatusCode != code {
					t.Fatalf("call %d: got %+v, want %d", i, o, code)
				}
			}
		}
	})
}

func TestOutcomesComeInOrderEvenWhileOneIsStillBeingTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close(t)
		second := r.open("192.0.2.1:5070") // another socket, so another reading goroutine
		if err := r.l.serve(second, second.addr); err != nil {
			t.Fatal(err)
		}
		release := make(chan struct{})
		var got []int
		done := make(chan struct{})
		_, err := r.l.Request(request(sip.INVITE), r.target(), func(o Outcome) {
			if len(got) == 0 {
				<-release
			}
			if got = append(got, o.Res.StatusCode); len(got) == 3 {
				close(done)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		req := r.peer.read(t)
		r.peer.send(t, r.us, reply(req, 180, "x"))
		synctest.Wait()
		r.peer.send(t, second, reply(req, 183, "x"))
		synctest.Wait()
		r.peer.send(t, second, reply(req, 200, "x"))
		synctest.Wait()
		close(release)
		next(t, done)
		if !slices.Equal(got, []int{180, 183, 200}) {
			t.Fatalf("told %v", got)
		}
	})
}

func TestA486IsAcknowledgedHereAndAgainForEachRetransmission(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close(t)
		r.start(t, request(sip.INVITE, sip.NewHeader("Route", "<sip:192.0.2.9;lr>")))
		req := r.peer.read(t)
		r.peer.send(t, r.us, reply(req, 486, "busy"))
		r.status(t, 486)
		ack := r.peer.read(t)
		if startLine(ack) != "ACK sip:b@192.0.2.9 SIP/2.0" || field(ack, "CSeq") != "7 ACK" ||
			field(ack, "Via") != field(req, "Via") || !strings.HasSuffix(field(ack, "To"), ";tag=busy") ||
			field(ack, "Route") != "<sip:192.0.2.9;lr>" || field(ack, "From") != field(req, "From") ||
			field(ack, "Call-ID") != "call-1" || field(ack, "Max-Forwards") != "70" {
			t.Fatalf("ACK:\n%s", ack)
		}
		for range 3 {
			r.peer.send(t, r.us, reply(req, 486, "busy"))
			if again := r.peer.read(t); again != ack {
				t.Fatalf("second ACK:\n%s", again)
			}
		}
		none(t, r.out)
		r.peer.quiet(t, 31*time.Second)
		if r.l.Stats().ClientTx != 1 {
			t.Fatal("Timer D has not run, and the transaction is gone")
		}
		r.peer.quiet(t, time.Second)
		synctest.Wait()
		if s := r.l.Stats(); s.ClientTx != 0 || s.RetransmissionsIn != 3 {
			t.Fatalf("%+v", s)
		}
	})
}

func TestEvery2xxOfEveryForkIsDelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close(t)
		r.start(t, request(sip.INVITE))
		req := r.peer.read(t)
		for _, tag := range []string{"one", "two", "one", "three", "two"} {
			r.peer.send(t, r.us, reply(req, 200, tag))
		}
		for _, tag := range []string{"one", "two", "one", "three", "two"} {
			if got := tagOf(r.status(t, 200).To()); got != tag {
				t.Fatalf("tag %q, want %q", got, tag)
			}
		}
		r.peer.send(t, r.us, reply(req, 486, "four")) // figure 5 knows no arrow for it
		r.peer.quiet(t, time.Second)
		none(t, r.out)
		if got := r.l.Stats().RetransmissionsIn; got != 2 {
			t.Fatalf("%d retransmissions counted, want 2", got)
		}
	})
}

func TestALate2xxIsStray(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close(t)
		r.start(t, request(sip.INVITE))
		req := r.peer.read(t)
		r.peer.send(t, r.us, reply(req, 200, "x"))
		r.status(t, 200)
		r.peer.quiet(t, 32*time.Second) // Timer M
		synctest.Wait()
		r.peer.send(t, r.us, reply(req, 200, "x"))
		if res := next(t, r.tu.strays); res.StatusCode != 200 || tagOf(res.To()) != "x" {
			t.Fatal("not the 2xx")
		}
		none(t, r.out)
	})
}

func TestA2xxAfterA486IsStray(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close(t)
		r.start(t, request(sip.INVITE))
		req := r.peer.read(t)
		r.peer.send(t, r.us, reply(req, 486, "x"))
		r.status(t, 486)
		r.peer.send(t, r.us, reply(req, 200, "y"))
		if res := next(t, r.tu.strays); tagOf(res.To()) != "y" {
			t.Fatal("not the 2xx")
		}
		none(t, r.out)
	})
}

func TestAFinalResponseAbsorbsTheNextUntilTimerK(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close(t)
		r.start(t, request(sip.BYE))
		req := r.peer.read(t)
		r.peer.send(t, r.us, reply(req, 200, "x"))
		r.status(t, 200)
		r.peer.send(t, r.us, reply(req, 200, "x"))
		r.peer.quiet(t, 4999*time.Millisecond)
		none(t, r.out)
		if s := r.l.Stats(); s.ClientTx != 1 || s.RetransmissionsIn != 1 {
			t.Fatalf("%+v", s)
		}
		r.peer.quiet(t, time.Millisecond)
		synctest.Wait()
		if n := r.l.Stats().ClientTx; n != 0 {
			t.Fatal("alive after Timer K")
		}
	})
}

func TestCancelWaitsForAProvisional(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close(t)
		tx := r.start(t, request(sip.INVITE))
		req := r.peer.read(t)
		if err := tx.Cancel(sip.NewHeader("Reason", "SIP;cause=487")); err != nil {
			t.Fatal(err)
		}
		r.peer.quiet(t, 400*time.Millisecond)
		r.peer.send(t, r.us, reply(req, 180, "x"))
		r.status(t, 180)
		cancel := r.peer.read(t)
		if startLine(cancel) != "CANCEL sip:b@192.0.2.9 SIP/2.0" || field(cancel, "Via") != field(req, "Via") ||
			field(cancel, "CSeq") != "7 CANCEL" || field(cancel, "To") != field(req, "To") ||
			field(cancel, "From") != field(req, "From") || field(cancel, "Reason") != "SIP;cause=487" {
			t.Fatalf("CANCEL:\n%s", cancel)
		}
		r.peer.send(t, r.us, reply(cancel, 200, "x"))
		r.peer.send(t, r.us, reply(req, 487, "x"))
		r.status(t, 487)
		if ack := r.peer.read(t); !strings.HasPrefix(ack, "ACK ") {
			t.Fatal(ack)
		}
		if err := tx.Cancel(); err != nil { // after the final response: nothing
			t.Fatal(err)
		}
		r.peer.quiet(t, time.Minute)
	})
}

func TestCancelAfterAProvisionalGoesOutOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close(t)
		tx := r.start(t, request(sip.INVITE))
		req := r.peer.read(t)
		r.peer.send(t, r.us, reply(req, 100, ""))
		r.status(t, 100)
		for range 3 {
			if err := tx.Cancel(); err != nil {
				t.Fatal(err)
			}
		}
		r.peer.send(t, r.us, reply(r.peer.read(t), 200, "x"))
		if got := r.peer.within(10 * time.Second); got != nil {
			t.Fatalf("sent %v", got)
		}
	})
}

func TestA200ThatCrossesOurCancelIsDelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close(t)
		tx := r.start(t, request(sip.INVITE))
		req := r.peer.read(t)
		r.peer.send(t, r.us, reply(req, 180, "x"))
		r.status(t, 180)
		if err := tx.Cancel(); err != nil {
			t.Fatal(err)
		}
		r.peer.send(t, r.us, reply(req, 200, "x"))
		r.status(t, 200)
		r.peer.send(t, r.us, reply(r.peer.read(t), 481, "x"))
		r.peer.quiet(t, 10*time.Second)
		r.peer.send(t, r.us, reply(req, 200, "x")) // Accepted: the 200 again
		r.status(t, 200)
		r.peer.quiet(t, 2*time.Minute) // the time given after the CANCEL means nothing any more
		none(t, r.out)
	})
}

func TestACancelledInviteThatNobodyEndsTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close(t)
		tx := r.start(t, request(sip.INVITE))
		req := r.peer.read(t)
		r.peer.send(t, r.us, reply(req, 180, "x"))
		r.status(t, 180)
		if err := tx.Cancel(); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		r.peer.send(t, r.us, reply(r.peer.read(t), 200, "x"))
		r.peer.quiet(t, 20*time.Second)
		r.peer.send(t, r.us, reply(req, 180, "x")) // ringing on is no reason to wait longer
		r.status(t, 180)
		o := Outcome{}
		select {
		case o = <-r.out:
		case <-time.After(time.Minute):
		}
		if !errors.Is(o.Err, ErrTimeout) || time.Since(began) != 32*time.Second {
			t.Fatalf("%+v after %v", o, time.Since(began))
		}
	})
}

func TestAFailingNetworkEndsTheTransaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close(t)
		broken := errors.New("network unreachable")

		r.set(func() { r.fail = broken })
		_, err := r.l.Request(request(sip.INVITE), r.target(), func(o Outcome) { r.out <- o })
		if !errors.Is(err, ErrTransport) || !errors.Is(err, broken) {
			t.Fatalf("first transmission: %v", err)
		}
		r.set(func() { r.fail = nil })
		r.start(t, request(sip.INVITE))
		r.set(func() { r.fail = broken })
		if o := next(t, r.out); !errors.Is(o.Err, ErrTransport) {
			t.Fatalf("retransmission: %+v", o)
		}
		if s := r.l.Stats(); s.ClientTx != 0 || s.SendFailures != 2 {
			t.Fatalf("%+v", s)
		}
	})
}

func TestTheAckForA2xxHasAViaOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close(t)
		tx := r.start(t, request(sip.INVITE))
		req := r.peer.read(t)
		ack := tx.Request().Clone()
		ack.Method, ack.CSeq().MethodName = sip.ACK, sip.ACK
		if err := r.l.Send(ack, r.target()); err != nil {
			t.Fatal(err)
		}
		sent := r.peer.read(t)
		if strings.Count(sent, "\r\nVia: ") != 1 || field(sent, "Via") == field(req, "Via") ||
			!strings.Contains(field(sent, "Via"), ";branch=z9hG4bK") {
			t.Fatal(sent)
		}
		r.peer.quiet(t, 400*time.Millisecond)
	})
}

func TestOurViaNamesTheAdvertisedHostAndAsksForRport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(o *Options) {
			o.Advertise = []netip.Addr{netip.MustParseAddr("2001:db8::5"), netip.MustParseAddr("203.0.113.5")}
		})
		defer r.close(t)
		r.start(t, request(sip.OPTIONS))
		via := field(r.peer.read(t), "Via")
		if !strings.HasPrefix(via, "SIP/2.0/UDP 203.0.113.5:5060;branch=z9hG4bK") || !strings.HasSuffix(via, ";rport") {
			t.Fatal(via)
		}
	})
}

func TestAResponseThatIsNotForUsIsDiscarded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close(t)
		r.start(t, request(sip.INVITE))
		res := reply(r.peer.read(t), 200, "x")
		for name, bad := range map[string]string{
			"two Vias":       strings.Replace(res, "\r\nFrom", "\r\nVia: SIP/2.0/UDP 198.51.100.1;branch=z9hG4bKx\r\nFrom", 1),
			"other host":     strings.Replace(res, "192.0.2.1:5060", "192.0.2.7:5060", 1),
			"other port":     strings.Replace(res, "192.0.2.1:5060", "192.0.2.1:5061", 1),
			"stray two Vias": strings.Replace(strings.Replace(res, "branch=z9hG4bK", "branch=z9hG4bKno", 1), "Via: ", "Via: SIP/2.0/UDP 255.255.255.255;branch=z9hG4bKy, ", 1),
		} {
			r.peer.send(t, r.us, bad)
			synctest.Wait()
			select {
			case <-r.out:
				t.Errorf("%s: delivered", name)
			case <-r.tu.strays:
				t.Errorf("%s: stray", name)
			default:
			}
		}
		r.peer.send(t, r.us, res)
		r.status(t, 200)
	})
}

func TestWhatCheckRefusesIsNeverSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leak := errors.New("holds a number")
		var callIDs []string
		r := newRig(t, func(o *Options) {
			o.Check = func(callID string, raw []byte) error {
				callIDs = append(callIDs, callID)
				if strings.Contains(string(raw), "secret") {
					return leak
				}
				return nil
			}
		})
		defer r.close(t)
		secret := sip.NewHeader("X-Number", "secret")
		_, err := r.l.Request(request(sip.INVITE, secret), r.target(), func(Outcome) { t.Error("called") })
		if !errors.Is(err, ErrBlocked) || !errors.Is(err, leak) {
			t.Fatalf("Request: %v", err)
		}
		if err := r.l.Send(request(sip.ACK, secret), r.target()); !errors.Is(err, ErrBlocked) {
			t.Fatalf("Send: %v", err)
		}
		r.peer.send(t, r.us, incoming("INVITE", "z9hG4bK1"))
		in := next(t, r.tu.requests)
		res := answer(in.Request(), 180, "Ringing", "t")
		res.AppendHeader(secret)
		if err := in.Respond(res); !errors.Is(err, ErrBlocked) {
			t.Fatalf("Respond: %v", err)
		}
		r.peer.quiet(t, 100*time.Millisecond)
		respond(t, in, 486, "t") // the transaction is still there
		if got := r.peer.read(t); !strings.HasPrefix(got, "SIP/2.0 486") {
			t.Fatal(got)
		}
		if s := r.l.Stats(); s.Blocked != 3 || s.ClientTx != 0 {
			t.Fatalf("%+v", s)
		}
		if want := []string{"call-1", "call-1", "in-1", "in-1"}; !slices.Equal(callIDs, want) {
			t.Fatalf("checked %v", callIDs)
		}
	})
}

func TestAValueThatBreaksItsLineIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close(t)
		for _, v := range []string{"a\r\nX-Injected: b", "a\nb", "a\rb"} {
			_, err := r.l.Request(request(sip.OPTIONS, sip.NewHeader("Subject", v)), r.target(), func(Outcome) {})
			if !errors.Is(err, ErrMalformed) {
				t.Errorf("%q: %v", v, err)
			}
		}
		r.peer.quiet(t, time.Second)
	})
}

func TestRequestRefusesWhatItCannotCarry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		on := func(Outcome) { t.Error("called") }
		noCSeq := request(sip.INVITE)
		noCSeq.RemoveHeader("CSeq")
		six := Target{Network: "udp", Addr: netip.MustParseAddrPort("[2001:db8::1]:5060")}
		for name, f := range map[string]func() error{
			"ACK":        func() error { _, err := r.l.Request(request(sip.ACK), r.target(), on); return err },
			"CANCEL":     func() error { _, err := r.l.Request(request(sip.CANCEL), r.target(), on); return err },
			"no CSeq":    func() error { _, err := r.l.Request(noCSeq, r.target(), on); return err },
			"sctp":       func() error { return r.l.Send(request(sip.ACK), Target{Network: "sctp", Addr: r.peer.addr}) },
			"no address": func() error { return r.l.Send(request(sip.ACK), Target{Network: "udp"}) },
			"no socket":  func() error { return r.l.Send(request(sip.ACK), six) },
			"BYE cancel": func() error { return r.start(t, request(sip.BYE)).Cancel() },
		} {
			if f() == nil {
				t.Errorf("%s: taken", name)
			}
		}
		r.close(t)
		if _, err := r.l.Request(request(sip.INVITE), r.target(), on); !errors.Is(err, ErrClosed) {
			t.Errorf("closed: %v", err)
		}
	})
}

func TestTraceSeesEveryMessageAndKnowsRetransmissions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen []string
		r := newRig(t, func(o *Options) {
			o.Trace = func(m Traced) {
				dir, again := "<", ""
				if m.Out {
					dir = ">"
				}
				if m.Retransmission {
					again = " again"
				}
				seen = append(seen, fmt.Sprintf("%s %.4s%s", dir, m.Raw, again))
				if m.Network != "udp" || m.Local.String() != "192.0.2.1:5060" || m.Remote.String() != "192.0.2.9:5062" || m.At.IsZero() {
					t.Errorf("%+v", m)
				}
			}
		})
		defer r.close(t)
		r.start(t, request(sip.INVITE))
		req := r.peer.read(t)
		r.peer.read(t)
		r.peer.send(t, r.us, reply(req, 486, "x"))
		r.peer.send(t, r.us, reply(req, 486, "x"))
		synctest.Wait()
		r.peer.send(t, r.us, incoming("BYE", "z9hG4bK1"))
		r.peer.send(t, r.us, incoming("BYE", "z9hG4bK1"))
		synctest.Wait()
		r.peer.send(t, r.us, "nonsense\r\n\r\n")
		synctest.Wait()
		want := []string{"> INVI", "> INVI again", "< SIP/", "> ACK ", "< SIP/ again", "> ACK  again",
			"< BYE ", "< BYE  again", "< nons"}
		if !slices.Equal(seen, want) {
			t.Fatalf("traced %q, want %q", seen, want)
		}
	})
}
