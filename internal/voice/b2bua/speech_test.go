package b2bua

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/voice/sdp"
)

// turnedAway fails unless the call is over, nobody was rung and it is recorded as
// refused, once, for this reason.
func (f *exchange) turnedAway(why masking.Refusal, told Reason) {
	f.t.Helper()
	synctest.Wait()
	if f.Live() != 0 || f.dials() != 0 || len(f.journal.notes) != 0 || len(f.caller.answers) != 0 {
		f.t.Errorf("%v", f.trace.all())
	}
	if !slices.Equal(f.director.why, []masking.Refusal{why}) || len(f.caller.ends) != 1 || f.caller.end() != told {
		f.t.Errorf("recorded %v, caller told %+v", f.director.why, f.caller.ends)
	}
	f.checkBooks()
}

// strange are the reasons for which a caller is a stranger.
var strange = map[masking.Refusal]func(*exchange){
	masking.RefusedStranger: func(f *exchange) { f.director.route.Found = nil },
	masking.RefusedExpired:  func(f *exchange) { f.director.route.Found[0].ExpiresAt = time.Now() },
	masking.RefusedWrongDirection: func(f *exchange) {
		a := &f.director.route.Found[0]
		a.From, a.To, a.Usage = a.To, a.From, masking.OneWay
	},
}

func TestAStrangerHearsTheSameForEveryReasonAndIsThenRefused(t *testing.T) {
	var heard [][]string
	for why, make := range strange {
		synctest.Test(t, func(t *testing.T) {
			f := newExchange(t, bob)
			make(f)
			f.call()
			if len(f.caller.early) != 1 || len(f.caller.ends) != 0 {
				t.Fatalf("%s: %v", why, f.trace.all())
			}
			m := audioOf(t, f.caller.early[0])
			if got := codecsOf(m); !slices.Equal(got, []string{"PCMA", "telephone-event"}) || m.Addr != f.session().Local(A) {
				t.Errorf("%s: speaks %v from %v", why, got, m.Addr)
			}
			if p := f.session().peer(A); p.RTP.String() != "198.51.100.10:40000" || p.Voice != 8 {
				t.Errorf("%s: speaks to %v as %d", why, p.RTP, p.Voice)
			}
			if f.session().press(A, "1") {
				t.Errorf("%s: somebody listens to a stranger", why)
			}
			wait(9 * time.Second)
			f.finish(SoundNotAvailable)
			f.turnedAway(why, Reason{masking.CauseRejected, why})
			heard = append(heard, f.trace.all())
		})
	}
	for _, h := range heard {
		if !slices.Equal(h, heard[0]) {
			t.Errorf("one stranger sees %v, another %v", h, heard[0])
		}
	}
}

func TestAStrangerWhoCannotBeSpokenToIsRefusedAtOnce(t *testing.T) {
	for name, prepare := range map[string]func(*exchange){
		"no offer":  func(f *exchange) { f.says = "" },
		"garbage":   func(f *exchange) { f.says = "hello" },
		"no G.711":  func(f *exchange) { f.says = offerOfWords },
		"no relay":  func(f *exchange) { f.media.fail = true },
		"refused":   func(f *exchange) { f.director.route.Number.Strangers.Action = masking.Reject },
		"of nobody": func(f *exchange) { f.director.ruling = &masking.Ruling{Refusal: masking.RefusedStranger} },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newStranger(t, masking.StrangerPolicy{})
				prepare(f)
				f.call()
				if len(f.caller.early) != 0 {
					t.Error("spoken to")
				}
				f.turnedAway(masking.RefusedStranger, Reason{masking.CauseRejected, masking.RefusedStranger})
			})
		})
	}
}

func TestFiftyStrangersAreSpokenToAtOnceAndTheNextIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newStranger(t, masking.StrangerPolicy{})
		callers := map[*fakeLeg]bool{} // spoken to
		for range mostAnnouncements {
			f.call()
			callers[f.caller] = true
		}
		for range 3 {
			f.call()
			if len(f.caller.early) != 0 || !f.caller.ended() || f.media.opened() != mostAnnouncements {
				t.Fatal("one more is spoken to")
			}
		}
		for leg := range callers {
			if len(leg.early) != 1 || leg.ended() {
				t.Fatal("one of the first is not spoken to")
			}
			leg.say(Event{Kind: EvCancelled})
			break
		}
		synctest.Wait()
		f.call() // his place is free
		f.expect(SoundNotAvailable)
		if f.call(); !f.caller.ended() {
			t.Error("more places are free than were given back")
		}
		for leg := range callers {
			leg.say(Event{Kind: EvHungUp})
		}
		for _, s := range f.media.sessions {
			s.end(A)
		}
		synctest.Wait()
		if f.Live() != 0 || f.announcements.Load() != 0 {
			t.Errorf("%d calls up, %d announcements", f.Live(), f.announcements.Load())
		}
	})
}

// Ports rest after every announcement. Strangers who hang up at once must not use
// up those of the parties.
func TestStrangersWhoHangUpAtOnceAreSpokenToTenTimesASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newStranger(t, masking.StrangerPolicy{})
		flood := func(calls int) (spokenTo int) {
			before := f.media.opened()
			for range calls {
				f.call()
				f.caller.say(Event{Kind: EvCancelled})
				synctest.Wait()
			}
			return f.media.opened() - before
		}
		if n := flood(200); n != announcementsInARow {
			t.Errorf("%d of the first 200 are spoken to", n)
		}
		for range 3 {
			wait(2 * time.Second)
			if n := flood(50); n != 2*announcementsASecond {
				t.Errorf("%d are spoken to in two seconds", n)
			}
		}
		wait(time.Hour)
		if n := flood(200); n != announcementsInARow {
			t.Errorf("%d of 200 are spoken to after an hour", n)
		}
	})
}

func TestAStrangerMayCancelWhileHeIsSpokenTo(t *testing.T) {
	for _, early := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			f := newStranger(t, masking.StrangerPolicy{})
			if early {
				f.director.gate = make(chan struct{})
			}
			f.call()
			f.caller.say(Event{Kind: EvCancelled})
			if early {
				close(f.director.gate)
			}
			f.turnedAway(masking.RefusedStranger, Reason{Cause: masking.CauseCallerCancelled})
			if s := f.session(); s.closed != 1 {
				t.Error("his media is open")
			}
		})
	}
}

func TestWhatEndsTheWordsToAStrangerEndsHisCall(t *testing.T) {
	refused := Reason{masking.CauseRejected, masking.RefusedStranger}
	for name, c := range map[string]struct {
		end  func(*exchange)
		told Reason
	}{
		"he hangs up":     {func(f *exchange) { f.caller.say(Event{Kind: EvHungUp}) }, refused},
		"the tripwire":    {func(f *exchange) { f.caller.say(Event{Kind: EvBlocked}) }, refused},
		"his leg is gone": {func(f *exchange) { f.caller.vanish() }, Reason{Cause: masking.CauseFailed}},
		"no end":          {func(*exchange) { wait(20 * time.Second) }, refused},
		"the drain": {func(f *exchange) {
			ctx, cancel := context.WithCancel(f.t.Context())
			cancel()
			f.Drain(ctx)
		}, refused},
		"an offer, and then no end": {func(f *exchange) {
			f.tell(f.caller, Event{Kind: EvOffered, Body: []byte(offerOfA)})
			if f.caller.refused != 1 {
				f.t.Error("his offer within an INVITE without answer was answered")
			}
			wait(20 * time.Second)
		}, refused},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newStranger(t, masking.StrangerPolicy{})
				f.call()
				f.expect(SoundNotAvailable)
				c.end(f)
				f.turnedAway(masking.RefusedStranger, c.told)
			})
		})
	}
}

// The number of the policy must not reach the caller either.
func TestAForwardedStrangerRingsAndNobodyLearnsOfTheOther(t *testing.T) {
	for _, k := range []kind{forwarded, consulted} {
		t.Run(string(k), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newKind(t, k)
				f.call()
				d := f.b(1).dial
				if d.To != bob || d.CallerID != virtual || !slices.Equal(d.Hidden, []e164.Number{alice}) {
					t.Errorf("rung %v showing %v, hiding %v", d.To, d.CallerID, masking.Texts(d.Hidden))
				}
				if !slices.Equal(f.caller.hidden, []e164.Number{bob}) {
					t.Errorf("the caller's leg hides %v", masking.Texts(f.caller.hidden))
				}
				f.tell(f.b(1), Event{Kind: EvRinging})
				f.tell(f.b(1), Event{Kind: EvAnswered, Body: []byte(answerOfB)})
				f.AllocationEnded("gvn_1", true) // none of which this call is
				f.tell(f.caller, Event{Kind: EvHungUp})
				r := f.ended()
				if r.Cause != masking.CauseCallerHungUp || r.Allocation != "" || r.Callee != bob || r.Direction != "" || r.Recorded {
					t.Errorf("record %+v", r)
				}
				if len(f.director.why) != 0 || f.caller.rings != 1 || len(f.caller.answers) != 1 {
					t.Errorf("%v", f.trace.all())
				}
			})
		})
	}
}

func TestTheTenantsServerDecidesOnAStranger(t *testing.T) {
	then := func(a masking.StrangerAction) func(masking.Ruling) masking.Ruling {
		return func(r masking.Ruling) masking.Ruling { r.Then = a; return r }
	}
	for name, c := range map[string]struct {
		says   func(masking.Ruling) masking.Ruling
		prompt Sound // "" = refused without a word
	}{
		"announce":           {then(masking.Announce), SoundNotAvailable},
		"reject":             {then(masking.Reject), ""},
		"pin":                {then(masking.AskPIN), SoundEnterPIN},
		"away":               {nil, SoundNotAvailable},
		"itself, once more":  {then(masking.AskWebhook), ""},
		"what we cannot do":  {then("dance"), ""},
		"forward, by itself": {then(masking.Forward), ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newStranger(t, masking.StrangerPolicy{Action: masking.AskWebhook, URL: "https://acme.example/"})
				f.director.says = c.says
				f.call()
				if f.trace.count("consult") != 1 {
					t.Errorf("asked %d times", f.trace.count("consult"))
				}
				if c.prompt == SoundEnterPIN {
					f.expect(c.prompt)
					f.tell(f.caller, Event{Kind: EvHungUp})
					f.ended()
					return
				}
				if f.trace.count("release") != 1 {
					t.Error("he is busy while he is turned away")
				}
				if c.prompt != "" {
					f.finish(c.prompt)
				}
				f.turnedAway(masking.RefusedStranger, Reason{masking.CauseRejected, masking.RefusedStranger})
			})
		})
	}
}

func TestTheTenantsServerIsGivenThreeSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newKind(t, consulted)
		f.director.judging = make(chan struct{})
		f.call()
		wait(3*time.Second - time.Millisecond)
		if f.media.opened() != 0 {
			t.Fatalf("%v", f.trace.all())
		}
		wait(time.Millisecond)
		f.finish(SoundNotAvailable)
		f.turnedAway(masking.RefusedStranger, Reason{masking.CauseRejected, masking.RefusedStranger})
	})
}

func TestARecordingBeginsWhenBothSidesAreConnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newKind(t, taped)
		f.call()
		f.tell(f.b(1), Event{Kind: EvRinging})
		if f.session().recorded() != 0 {
			t.Fatal("recorded while it rings")
		}
		f.tell(f.b(1), Event{Kind: EvAnswered, Body: []byte(answerOfB)})
		if f.session().recorded() != 1 || len(f.session().sounds(A)) != 0 {
			t.Fatalf("%v", f.trace.all())
		}
		f.tell(f.caller, Event{Kind: EvOffered, Body: []byte(with(offerOfA, "sendonly"))})
		f.tell(f.caller, Event{Kind: EvHungUp})
		if r := f.ended(); !r.Recorded || !f.journal.of(masking.Answered)[0].Recorded {
			t.Errorf("record %+v", r)
		}
	})
}

func TestARecordingBeginsWhenBothSidesHaveHeardTheNotice(t *testing.T) {
	for _, first := range []Side{A, B} {
		for _, pin := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				f := newKind(t, noticed)
				if pin {
					f = newGreenPin(t, bob)
					f.director.route.Tenant.Settings.RecordingNotice = true
					f.director.pins[0].Record = true
				}
				f.call()
				if pin {
					f.keys(rightPIN)
				}
				f.tell(f.b(1), Event{Kind: EvAnswered, Body: []byte(answerOfB)})
				s := f.session()
				for _, side := range []Side{first, first.other()} {
					if s.now(side) != SoundRecorded || s.recorded() != 0 {
						t.Fatalf("%v", f.trace.all())
					}
					wait(2 * time.Second)
					s.end(side)
					synctest.Wait()
				}
				if s.recorded() != 1 {
					t.Fatalf("%v", f.trace.all())
				}
				f.tell(f.caller, Event{Kind: EvHungUp})
				if r := f.ended(); !r.Recorded || f.journal.of(masking.Answered)[0].Recorded || len(f.journal.of(masking.Taped)) != 1 {
					t.Errorf("record %+v: %v", r, f.trace.all())
				}
			})
		}
	}
}

func TestACallThatEndsWithinTheNoticeIsNotRecorded(t *testing.T) {
	for _, heard := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			f := newKind(t, noticed)
			f.connect()
			s := f.session()
			if heard {
				s.end(B)
				synctest.Wait()
			}
			f.tell(f.caller, Event{Kind: EvHungUp})
			if r := f.ended(); r.Recorded || s.recorded() != 0 || r.Cause != masking.CauseCallerHungUp {
				t.Errorf("recorded %d times, record %+v", s.recorded(), r)
			}
		})
	}
}

func TestACallThatIsRecordedIsMadeOfG711IfItCanBe(t *testing.T) {
	offer := strings.ReplaceAll(offerOfA, " 8 0 ", " 9 8 0 ")
	answer := strings.ReplaceAll(answerOfB, " 8 ", " 9 8 ")
	for _, c := range []struct {
		kind   kind
		offer  string
		want   []string // offered to the callee
		answer string
		got    []string // answered to the caller
		again  int      // offers of G.722 within the call that are refused
	}{
		{routed, offer, []string{"G722", "PCMA", "PCMU", "telephone-event"}, answer, []string{"G722", "PCMA", "telephone-event"}, 0},
		{taped, offer, []string{"PCMA", "PCMU", "telephone-event"}, answer, []string{"PCMA", "telephone-event"}, 1},
		{taped, offerOfWords, []string{"G722"}, offerOfWords, []string{"G722"}, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := newKind(t, c.kind)
			f.says = c.offer
			f.call()
			if got := codecsOf(audioOf(t, string(f.b(1).dial.Offer))); !slices.Equal(got, c.want) {
				t.Errorf("%s: offered %v, want %v", c.kind, got, c.want)
			}
			f.tell(f.b(1), Event{Kind: EvAnswered, Body: []byte(c.answer)})
			if got := codecsOf(audioOf(t, f.caller.answers[0])); !slices.Equal(got, c.got) {
				t.Errorf("%s: answered %v, want %v", c.kind, got, c.got)
			}
			f.tell(f.caller, Event{Kind: EvOffered, Body: []byte(offerOfWords)})
			f.tell(f.b(1), Event{Kind: EvOffered, Body: []byte(offerOfWords)})
			if f.caller.refused != c.again || f.b(1).refused != c.again {
				t.Errorf("%s: refused %d and %d offers of G.722", c.kind, f.caller.refused, f.b(1).refused)
			}
			f.tell(f.caller, Event{Kind: EvHungUp})
			f.ended()
		})
	}
}

// One press must not become two digits: who tells his keys in the media too is
// heard there alone, where the relay passes them on.
func TestAKeyToldByINFOIsPassedOnUnlessItIsInTheMediaToo(t *testing.T) {
	noKeys := func(body string) string {
		for _, cut := range []string{" 101", "a=rtpmap:101 telephone-event/8000\r\n", "a=fmtp:101 0-15\r\n"} {
			body = strings.ReplaceAll(body, cut, "")
		}
		return body
	}
	for name, c := range map[string]struct {
		offer, answer string
		ofA, ofB      string // pressed at the other side
	}{
		"both in the media":        {offerOfA, answerOfB, "", ""},
		"the caller has no such":   {noKeys(offerOfA), answerOfB, "4", "7"},
		"the callee took none":     {offerOfA, noKeys(answerOfB), "4", "7"},
		"neither has such a thing": {noKeys(offerOfA), noKeys(answerOfB), "4", "7"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newExchange(t, bob)
				f.says = c.offer
				f.call()
				f.tell(f.b(1), Event{Kind: EvDigit, Digit: '9', By: ByInfo}) // nobody talks yet
				f.tell(f.b(1), Event{Kind: EvAnswered, Body: []byte(c.answer)})
				for _, by := range []By{ByInfo, ByMedia} {
					f.tell(f.caller, Event{Kind: EvDigit, Digit: '4', By: by})
					f.tell(f.b(1), Event{Kind: EvDigit, Digit: '7', By: by})
				}
				if f.b(1).pressed != c.ofA || f.caller.pressed != c.ofB {
					t.Errorf("passed on %q and %q", f.b(1).pressed, f.caller.pressed)
				}
				f.tell(f.caller, Event{Kind: EvHungUp})
				f.ended()
			})
		})
	}
}

func TestACallerAnsweredForHisPINTellsLaterKeysByINFO(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newGreenPin(t, bob)
		f.says = offerALaw
		f.call()
		f.infos(rightPIN)
		f.tell(f.b(1), Event{Kind: EvAnswered, Body: []byte(answerULaw)})
		if f.session().peer(A).Events != sdp.None {
			t.Error("he agreed to keys in the media")
		}
		f.infos("5")
		f.tell(f.caller, Event{Kind: EvHungUp})
		if f.ended(); f.b(1).pressed != "5" {
			t.Errorf("passed on %q", f.b(1).pressed)
		}
	})
}
