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

// ended returns a channel that gets what OnEnd is called with.
func ended(tx *ServerTx) chan error {
	c := make(chan error, 2)
	tx.OnEnd(func(err error) { c <- err })
	return c
}

func TestARetransmittedInviteIsAnsweredFromMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close(t)
		invite := incoming("INVITE", "z9hG4bK1")
		r.peer.send(t, r.us, invite)
		tx := next(t, r.tu.requests)
		r.peer.send(t, r.us, invite) // nothing said yet: nothing to repeat
		r.peer.quiet(t, 100*time.Millisecond)
		respond(t, tx, 180, "t")
		ringing := r.peer.read(t)
		r.peer.send(t, r.us, invite)
		if again := r.peer.read(t); again != ringing {
			t.Fatal(again)
		}
		none(t, r.tu.requests)
		if s := r.l.Stats(); s.RetransmissionsIn != 2 || s.RetransmissionsOut != 1 || s.ServerTx != 1 {
			t.Fatalf("%+v", s)
		}
	})
}

func TestASilentTUGetsA100SentAfter200ms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close(t)
		began := time.Now()
		r.peer.send(t, r.us, incoming("INVITE", "z9hG4bK1", "Timestamp: 54"))
		tx := next(t, r.tu.requests)
		res := r.peer.read(t)
		if startLine(res) != "SIP/2.0 100 Trying" || strings.Contains(field(res, "To"), "tag") ||
			field(res, "Timestamp") != "54" || time.Since(began) != 200*time.Millisecond {
			t.Fatal(res)
		}
		r.peer.quiet(t, time.Minute)
		respond(t, tx, 180, "t")
		r.peer.read(t)

		r.peer.send(t, r.us, incoming("INVITE", "z9hG4bK2", "Call-ID2: x"))
		r.peer.read(t) // 482: same Call-ID, From tag and CSeq
		other := strings.Replace(incoming("INVITE", "z9hG4bK3"), "in-1", "in-2", 1)
		r.peer.send(t, r.us, other)
		respond(t, next(t, r.tu.requests), 183, "t")
		r.peer.read(t)
		r.peer.quiet(t, time.Minute) // the TU has spoken: no 100
	})
}

func TestA2xxLeavesTheInviteAcceptedUntilTimerL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close(t)
		invite := incoming("INVITE", "z9hG4bK1")
		r.peer.send(t, r.us, invite)
		tx := next(t, r.tu.requests)
		end := ended(tx)
		respond(t, tx, 200, "t")
		r.peer.read(t)
		r.peer.send(t, r.us, invite) // absorbed: the TU repeats the 2xx, not the transaction
		r.peer.quiet(t, 10*time.Second)
		respond(t, tx, 200, "t")
		if got := startLine(r.peer.read(t)); got != "SIP/2.0 200 Text" {
			t.Fatal(got)
		}
		if err := tx.Respond(answer(tx.Request(), 486, "Busy", "t")); !errors.Is(err, ErrState) {
			t.Fatalf("a 486 after the 200: %v", err)
		}
		r.peer.send(t, r.us, incoming("ACK", "z9hG4bK2")) // a branch of its own (§13.2.2.4)
		next(t, r.tu.acks)
		r.peer.send(t, r.us, incoming("ACK", "z9hG4bK1")) // or that of the INVITE, as some have it
		next(t, r.tu.acks)
		none(t, end)
		if err := next(t, end); err != nil {
			t.Fatal(err)
		}
		none(t, r.tu.requests)
		if err := tx.Respond(answer(tx.Request(), 200, "OK", "t")); !errors.Is(err, ErrState) {
			t.Fatalf("a 200 after the end: %v", err)
		}
		if s := r.l.Stats(); s.ServerTx != 0 || s.RetransmissionsOut != 1 {
			t.Fatalf("%+v", s)
		}
	})
}

func TestA486IsRetransmittedOnTimerGUntilTheAck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close(t)
		r.peer.send(t, r.us, incoming("INVITE", "z9hG4bK1"))
		tx := next(t, r.tu.requests)
		end := ended(tx)
		respond(t, tx, 486, "t")
		began := time.Now()
		r.peer.read(t)
		for _, after := range []time.Duration{500, 1500, 3500, 7500, 11500} {
			r.peer.read(t)
			if d := time.Since(began); d != after*time.Millisecond {
				t.Fatalf("after %v, want %v ms", d, after)
			}
		}
		r.peer.send(t, r.us, incoming("ACK", "z9hG4bK1"))
		r.peer.send(t, r.us, incoming("ACK", "z9hG4bK1"))
		r.peer.send(t, r.us, incoming("INVITE", "z9hG4bK1"))
		r.peer.quiet(t, 4*time.Second)
		none(t, r.tu.acks)
		none(t, end)
		began = time.Now()
		if err := next(t, end); err != nil || time.Since(began) != time.Second { // Timer I
			t.Fatalf("%v after %v", err, time.Since(began))
		}
		none(t, r.tu.requests)
	})
}

func TestALostAckEndsInTimerH(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close(t)
		r.peer.send(t, r.us, incoming("INVITE", "z9hG4bK1"))
		tx := next(t, r.tu.requests)
		end := ended(tx)
		respond(t, tx, 486, "t")
		began := time.Now()
		if err := next(t, end); !errors.Is(err, ErrTimeout) || time.Since(began) != 32*time.Second {
			t.Fatalf("%v after %v", err, time.Since(began))
		}
		if n := len(r.peer.within(time.Minute)); n != 11 {
			t.Fatalf("the 486 was sent %d times, want 11", n)
		}
		if err := next(t, ended(tx)); !errors.Is(err, ErrTimeout) {
			t.Fatalf("asked after the end: %v", err)
		}
	})
}

func TestALost486IsRepeatedForARetransmittedInvite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close(t)
		r.peer.send(t, r.us, incoming("INVITE", "z9hG4bK1"))
		respond(t, next(t, r.tu.requests), 486, "t")
		busy := r.peer.read(t)
		r.peer.send(t, r.us, incoming("INVITE", "z9hG4bK1"))
		if got := r.peer.read(t); got != busy {
			t.Fatal(got)
		}
	})
}

func TestARetransmittedByeIsAnsweredFromMemoryUntilTimerJ(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close(t)
		bye := incoming("BYE", "z9hG4bK1")
		r.peer.send(t, r.us, bye)
		tx := next(t, r.tu.requests)
		end := ended(tx)
		r.peer.send(t, r.us, bye) // Trying: absorbed
		r.peer.quiet(t, time.Second)
		respond(t, tx, 200, "t")
		ok := r.peer.read(t)
		for range 3 {
			r.peer.send(t, r.us, bye)
			if got := r.peer.read(t); got != ok {
				t.Fatal(got)
			}
		}
		if err := tx.Respond(answer(tx.Request(), 200, "OK", "t")); !errors.Is(err, ErrState) {
			t.Fatalf("second final response: %v", err)
		}
		r.peer.quiet(t, 31*time.Second)
		none(t, end)
		if err := next(t, end); err != nil {
			t.Fatal(err)
		}
		none(t, r.tu.requests)
	})
}

func TestANonInviteThatTheTUForgetsEndsWhenItsClientHasGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close(t)
		r.peer.send(t, r.us, incoming("INFO", "z9hG4bK1"))
		end := ended(next(t, r.tu.requests))
		began := time.Now()
		if err := next(t, end); !errors.Is(err, ErrTimeout) || time.Since(began) != 32*time.Second {
			t.Fatalf("%v after %v", err, time.Since(began))
		}
	})
}

func TestACancelIsAnsweredHereAndToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close(t)
		r.peer.send(t, r.us, incoming("INVITE", "z9hG4bK1"))
		tx := next(t, r.tu.requests)
		respond(t, tx, 180, "t")
		r.peer.read(t)
		for range 3 {
			r.peer.send(t, r.us, incoming("CANCEL", "z9hG4bK1"))
			res := r.peer.read(t)
			if startLine(res) != "SIP/2.0 200 OK" || field(res, "CSeq") != "3 CANCEL" || !strings.HasSuffix(field(res, "To"), ";tag=t") {
				t.Fatal(res)
			}
		}
		if got := next(t, r.tu.cancels); got != tx {
			t.Fatal("another INVITE")
		}
		synctest.Wait()
		none(t, r.tu.cancels)
		none(t, r.tu.requests)
		r.peer.quiet(t, time.Second) // the 487 is the TU's
		respond(t, tx, 487, "t")
		r.peer.read(t)
	})
}

func TestACancelThatCrossesTheFinalResponseChangesNothing(t *testing.T) {
	for _, code := range []int{200, 486} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				defer r.close(t)
				r.peer.send(t, r.us, incoming("INVITE", "z9hG4bK1"))
				respond(t, next(t, r.tu.requests), code, "t")
				r.peer.read(t)
				r.peer.send(t, r.us, incoming("CANCEL", "z9hG4bK1"))
				if res := r.peer.read(t); startLine(res) != "SIP/2.0 200 OK" {
					t.Fatal(res)
				}
				synctest.Wait()
				none(t, r.tu.cancels)
			})
		})
	}
}

func TestACancelForNoInviteGets481(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close(t)
		r.peer.send(t, r.us, incoming("CANCEL", "z9hG4bK1"))
		first := r.peer.read(t)
		r.peer.send(t, r.us, incoming("CANCEL", "z9hG4bK1"))
		if !strings.HasPrefix(first, "SIP/2.0 481 ") || r.peer.read(t) != first {
			t.Fatal(first)
		}
		none(t, r.tu.cancels)
	})
}

func TestARequestThatComesByAnotherWayTooGets482(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close(t)
		r.peer.send(t, r.us, incoming("INVITE", "z9hG4bK1"))
		tx := next(t, r.tu.requests)
		r.peer.send(t, r.us, incoming("INVITE", "z9hG4bK2"))
		res := r.peer.read(t)
		if !strings.HasPrefix(res, "SIP/2.0 482 ") || !strings.Contains(field(res, "Via"), "z9hG4bK2") {
			t.Fatal(res)
		}
		none(t, r.tu.requests)
		// In a dialog (To tag) it is another matter, and the method and CSeq count.
		for _, other := range []string{
			strings.Replace(incoming("INVITE", "z9hG4bK3"), "us@192.0.2.1>", "us@192.0.2.1>;tag=t", 1),
			strings.Replace(incoming("INVITE", "z9hG4bK4"), "CSeq: 3", "CSeq: 4", 1),
			incoming("OPTIONS", "z9hG4bK5"),
			strings.Replace(incoming("INVITE", "z9hG4bK6"), "tag=theirs", "tag=other", 1),
		} {
			r.peer.send(t, r.us, other)
			next(t, r.tu.requests)
		}
		respond(t, tx, 200, "t")
		r.peer.within(33 * time.Second) // Timer L
		r.peer.send(t, r.us, incoming("INVITE", "z9hG4bK7"))
		next(t, r.tu.requests) // nothing under way to merge with
		if got := r.l.Stats().Merged; got != 1 {
			t.Fatalf("%d merged", got)
		}
	})
}

func TestTheSameBranchFromAnotherSentByIsAnotherTransaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close(t)
		r.peer.send(t, r.us, incoming("INVITE", "z9hG4bK1"))
		next(t, r.tu.requests)
		other := strings.Replace(incoming("INVITE", "z9hG4bK1"), "192.0.2.9:5062", "192.0.2.8:5062", 1)
		r.peer.send(t, r.us, strings.Replace(other, "in-1", "in-2", 1))
		next(t, r.tu.requests)
	})
}

func TestARequestWithoutMagicCookieIsMatchedAsInRFC2543(t *testing.T) {
	for name, branch := range map[string]string{"no cookie": "1", "nothing after the cookie": "z9hG4bK"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				defer r.close(t)
				r.peer.send(t, r.us, incoming("INVITE", branch))
				tx := next(t, r.tu.requests)
				respond(t, tx, 180, "t")
				ringing := r.peer.read(t)
				r.peer.send(t, r.us, incoming("INVITE", branch))
				if got := r.peer.read(t); got != ringing {
					t.Fatal(got)
				}
				r.peer.send(t, r.us, incoming("CANCEL", branch))
				if next(t, r.tu.cancels) != tx || startLine(r.peer.read(t)) != "SIP/2.0 200 OK" {
					t.Fatal("CANCEL did not find its INVITE")
				}
				respond(t, tx, 487, "t")
				r.peer.read(t)
				r.peer.send(t, r.us, strings.Replace(incoming("ACK", branch), "us@192.0.2.1>", "us@192.0.2.1>;tag=t", 1))
				r.peer.quiet(t, 10*time.Second) // Timer G has stopped
				none(t, r.tu.acks)
				// Another call with the same branch is another transaction.
				r.peer.send(t, r.us, strings.Replace(incoming("INVITE", branch), "in-1", "in-2", 1))
				next(t, r.tu.requests)
			})
		})
	}
}

func TestResponsesGoWhereRFC3581AndRFC3261Say(t *testing.T) {
	for name, c := range map[string]struct{ via, want, goes string }{
		"rport": {"192.0.2.9:6000;branch=z9hG4bK1;rport",
			"192.0.2.9:6000;branch=z9hG4bK1;rport=5062;received=192.0.2.9", "192.0.2.9:5062"},
		"no rport, true address: the port of sent-by": {"192.0.2.9:6000;branch=z9hG4bK1",
			"192.0.2.9:6000;branch=z9hG4bK1", "192.0.2.9:6000"},
		"no rport, true address, no port: 5060": {"192.0.2.9;branch=z9hG4bK1",
			"192.0.2.9;branch=z9hG4bK1", "192.0.2.9:5060"},
		"no rport, behind a NAT": {"10.0.0.7:6000;branch=z9hG4bK1",
			"10.0.0.7:6000;branch=z9hG4bK1;received=192.0.2.9", "192.0.2.9:5062"},
		"no rport, a name": {"gw.example.com;branch=z9hG4bK1",
			"gw.example.com;branch=z9hG4bK1;received=192.0.2.9", "192.0.2.9:5062"},
		"maddr and a forged received are not obeyed": {"198.51.100.1;maddr=198.51.100.2;received=198.51.100.3;branch=z9hG4bK1",
			"198.51.100.1;maddr=198.51.100.2;received=192.0.2.9;branch=z9hG4bK1", "192.0.2.9:5062"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				defer r.close(t)
				at := r.peer
				if c.goes != "192.0.2.9:5062" {
					at = r.open(c.goes)
				}
				req := strings.Replace(incoming("OPTIONS", "x"), "192.0.2.9:5062;branch=x;rport", c.via, 1)
				r.peer.send(t, r.us, req)
				tx := next(t, r.tu.requests)
				respond(t, tx, 200, "t")
				if got := field(at.read(t), "Via"); got != "SIP/2.0/UDP "+c.want {
					t.Fatalf("Via: %s", got)
				}
				if tx.Source() != r.peer.addr || tx.Network() != "udp" || tx.Request().Source() != "192.0.2.9:5062" {
					t.Fatal(tx.Source(), tx.Network())
				}
			})
		})
	}
}

func TestAFailingNetworkEndsAServerTransaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close(t)
		broken := errors.New("network unreachable")
		r.peer.send(t, r.us, incoming("INVITE", "z9hG4bK1"))
		tx := next(t, r.tu.requests)
		end := ended(tx)
		r.set(func() { r.fail = broken })
		err := tx.Respond(answer(tx.Request(), 200, "OK", "t"))
		if !errors.Is(err, ErrTransport) || !errors.Is(next(t, end), broken) {
			t.Fatal(err)
		}
		if r.l.Stats().ServerTx != 0 {
			t.Fatal("still there")
		}
		r.set(func() { r.fail = nil })

		// A 2xx sent again may fail and be tried once more.
		r.peer.send(t, r.us, incoming("INVITE", "z9hG4bK2"))
		tx = next(t, r.tu.requests)
		respond(t, tx, 200, "t")
		r.set(func() { r.fail = broken })
		if err := tx.Respond(answer(tx.Request(), 200, "OK", "t")); !errors.Is(err, ErrTransport) {
			t.Fatal(err)
		}
		r.set(func() { r.fail = nil })
		respond(t, tx, 200, "t")
	})
}

func TestBeyondMaxServerTxNewRequestsGet503AndCallsGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(o *Options) { o.MaxServerTx = 4 })
		defer r.close(t)
		send := func(method string, i int, toTag string) {
			req := strings.Replace(incoming(method, fmt.Sprint("z9hG4bK", i)), "in-1", fmt.Sprint("in-", i), 1)
			r.peer.send(t, r.us, strings.Replace(req, "us@192.0.2.1>", "us@192.0.2.1>"+toTag, 1))
		}
		for i := range 4 {
			send("INVITE", i, "")
			respond(t, next(t, r.tu.requests), 100, "")
			r.peer.read(t)
		}
		send("INVITE", 4, "")
		res := r.peer.read(t)
		if !strings.HasPrefix(res, "SIP/2.0 503 ") || field(res, "Retry-After") == "" {
			t.Fatal(res)
		}
		send("INVITE", 4, "")
		if again := r.peer.read(t); again != res { // stateless, and still the same (§8.2.7)
			t.Fatalf("first\n%s\nthen\n%s", res, again)
		}
		send("BYE", 5, ";tag=t") // what ends a call frees something
		next(t, r.tu.requests)
		send("BYE", 6, ";tag=t")
		if res := r.peer.read(t); !strings.HasPrefix(res, "SIP/2.0 503 ") {
			t.Fatal(res)
		}
		if s := r.l.Stats(); s.Overload != 3 || s.ServerTx != 5 {
			t.Fatalf("%+v", s)
		}
	})
}

func TestUnknownSourcesAreDroppedBeforeParsing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var traced int
		r := newRig(t, func(o *Options) {
			o.Accept = func(src netip.Addr) bool { return src.String() == "192.0.2.9" }
			o.Trace = func(Traced) { traced++ }
		})
		defer r.close(t)
		stranger := r.open("198.51.100.1:5060")
		for _, m := range []string{incoming("INVITE", "z9hG4bK1"), "garbage", "\r\n\r\n"} {
			stranger.send(t, r.us, m)
		}
		stranger.quiet(t, time.Second)
		none(t, r.tu.requests)
		if s := r.l.Stats(); s.DroppedSource != 3 || s.Malformed != 0 || s.ServerTx != 0 || traced != 0 {
			t.Fatalf("%+v, %d traced", s, traced)
		}
		r.peer.send(t, r.us, incoming("OPTIONS", "z9hG4bK1"))
		next(t, r.tu.requests)
	})
}

func TestATUThatPanicsLosesNothingButThatRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.tu.answer = func(*ServerTx, *sip.Request) { panic("secret") }
		r.peer.send(t, r.us, incoming("OPTIONS", "z9hG4bK1"))
		if res := r.peer.read(t); !strings.HasPrefix(res, "SIP/2.0 500 ") {
			t.Fatal(res)
		}
		told := make(chan int, 2)
		if _, err := r.l.Request(request(sip.INVITE), r.target(), func(o Outcome) {
			told <- o.Res.StatusCode
			panic("secret")
		}); err != nil {
			t.Fatal(err)
		}
		req := r.peer.read(t)
		r.peer.send(t, r.us, reply(req, 180, "x"))
		r.peer.send(t, r.us, reply(req, 200, "x"))
		if got := []int{next(t, told), next(t, told)}; !slices.Equal(got, []int{180, 200}) {
			t.Fatal(got)
		}
		synctest.Wait()
		if n := r.l.Stats().Panics; n != 3 {
			t.Fatalf("%d panics counted", n)
		}
		if err := r.l.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestCloseTellsEverybodyAndLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.start(t, request(sip.INVITE))
		r.start(t, request(sip.OPTIONS))
		r.peer.send(t, r.us, incoming("INVITE", "z9hG4bK1"))
		tx := next(t, r.tu.requests)
		end := ended(tx)
		r.close(t)
		if a, b := next(t, r.out), next(t, r.out); !errors.Is(a.Err, ErrClosed) || !errors.Is(b.Err, ErrClosed) {
			t.Fatal(a, b)
		}
		if err := next(t, end); !errors.Is(err, ErrClosed) {
			t.Fatal(err)
		}
		if err := tx.Respond(answer(tx.Request(), 200, "OK", "t")); !errors.Is(err, ErrClosed) {
			t.Fatal(err)
		}
		if err := r.l.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
