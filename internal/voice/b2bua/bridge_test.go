package b2bua

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"tandem/internal/masking"
	"tandem/internal/voice/g711"
	"tandem/internal/voice/sdp"
)

// This file is about the media of a caller who was answered before anybody else.

const (
	answerULaw = "v=0\r\no=bob 9 9 IN IP4 203.0.113.20\r\ns=-\r\nc=IN IP4 203.0.113.20\r\nt=0 0\r\n" +
		"m=audio 50000 RTP/AVP 0 96\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:96 telephone-event/8000\r\na=fmtp:96 0-15\r\na=sendrecv\r\n"
	offerALaw = "v=0\r\no=alice 7 7 IN IP4 198.51.100.10\r\ns=-\r\nc=IN IP4 198.51.100.10\r\nt=0 0\r\n" +
		"m=audio 40000 RTP/AVP 9 8\r\na=rtpmap:9 G722/8000\r\na=rtpmap:8 PCMA/8000\r\n"
)

func codecsOf(m sdp.Media) (names []string) {
	for _, f := range m.Formats {
		names = append(names, f.Codec)
	}
	return names
}

func TestACallerWhoIsAskedIsAnsweredWithOneLawAndItsKeys(t *testing.T) {
	for _, c := range []struct {
		offer string
		want  []string
		voice uint8
		keys  uint8
		law   g711.Law
	}{
		{offerOfA, []string{"PCMA", "telephone-event"}, 8, 101, g711.ALaw},
		{strings.ReplaceAll(offerOfA, " 8 0 ", " 0 8 "), []string{"PCMU", "telephone-event"}, 0, 101, g711.ULaw},
		{offerALaw, []string{"PCMA"}, 8, sdp.None, g711.ALaw},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := newGreenPin(t, bob)
			f.says = c.offer
			f.call()
			m := audioOf(t, f.caller.answers[0])
			if got := codecsOf(m); !slices.Equal(got, c.want) || m.Addr != f.session().Local(A) || m.Direction != sdp.SendRecv {
				t.Errorf("answered with %v, %s at %v", got, m.Direction, m.Addr)
			}
			p := f.session().peer(A)
			if p.Voice != c.voice || p.VoiceLaw != c.law || p.Events != c.keys || p.Laws[c.voice] != c.law {
				t.Errorf("we speak as %d, law %d, and hear keys as %d", p.Voice, p.VoiceLaw, p.Events)
			}
			if p.Payloads != sdp.PayloadMap(sdp.Media{}, sdp.Media{}) {
				t.Error("something of nobody is passed on to the caller")
			}
			f.tell(f.caller, Event{Kind: EvHungUp})
			f.ended()
		})
	}
}

func TestTheCalleeIsOfferedBothLawsAndNothingElse(t *testing.T) {
	for _, offer := range []string{offerOfA, offerALaw} {
		synctest.Test(t, func(t *testing.T) {
			f := newGreenPin(t, bob)
			f.says = offer
			f.call()
			f.keys(rightPIN)
			m := audioOf(t, string(f.b(1).dial.Offer))
			want := slices.Insert(codecsOf(audioOf(t, f.caller.answers[0])), 1, "PCMU")
			if got := codecsOf(m); !slices.Equal(got, want) || m.Addr != f.session().seats[0].Local() {
				t.Errorf("offered %v at %v, want %v", got, m.Addr, want)
			}
			for _, foreign := range []string{"198.51.100.10", "alice"} {
				if strings.Contains(string(f.b(1).dial.Offer), foreign) {
					t.Errorf("%q crossed", foreign)
				}
			}
			f.tell(f.caller, Event{Kind: EvHungUp})
			f.ended()
		})
	}
}

// The caller named both laws in his offer and was told one: he gets no other.
func TestALawIsTurnedIntoTheOther(t *testing.T) {
	for _, offer := range []string{offerOfA, offerALaw} {
		synctest.Test(t, func(t *testing.T) {
			f := newGreenPin(t, bob)
			f.says = offer
			f.call()
			f.keys(rightPIN)
			f.tell(f.b(1), Event{Kind: EvAnswered, Body: []byte(answerULaw)})
			a, b := f.session().peer(A), f.session().peer(B)
			if a.Payloads[0] != 8 || a.Tables[0] != g711.ULaw.To(g711.ALaw) || a.Payloads[8] != 8 || a.Tables[8] != nil {
				t.Errorf("to A 0→%d by %p, 8→%d by %p", a.Payloads[0], a.Tables[0], a.Payloads[8], a.Tables[8])
			}
			if b.Payloads[8] != 0 || b.Tables[8] != g711.ALaw.To(g711.ULaw) {
				t.Errorf("to B 8→%d by %p", b.Payloads[8], b.Tables[8])
			}
			if keys := audioOf(t, f.caller.answers[0]).Formats; len(keys) > 1 && (b.Payloads[101] != 96 || a.Payloads[101] != 101 || a.Payloads[96] != 101) {
				t.Errorf("keys: to B 101→%d, to A 101→%d 96→%d", b.Payloads[101], a.Payloads[101], a.Payloads[96])
			}
			if b.Voice != 0 || b.VoiceLaw != g711.ULaw || b.Laws[0] != g711.ULaw || a.Voice != 8 {
				t.Errorf("we speak as %d to A and as %d to B", a.Voice, b.Voice)
			}
			f.tell(f.caller, Event{Kind: EvHungUp})
			f.ended()
		})
	}
}

func TestOneLawOnBothSidesIsNotTurned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newGreenPin(t, bob)
		f.call()
		f.keys(rightPIN)
		f.tell(f.b(1), Event{Kind: EvAnswered, Body: []byte(strings.ReplaceAll(answerOfB, " 8 ", " 8 0 "))})
		for _, side := range []Side{A, B} {
			p := f.session().peer(side)
			if p.Payloads[8] != 8 || p.Tables[8] != nil {
				t.Errorf("to side %d 8→%d by %p", side, p.Payloads[8], p.Tables[8])
			}
		}
		if b := f.session().peer(A); b.Payloads[0] != 8 || b.Tables[0] == nil { // he may send it: it was offered
			t.Errorf("to A 0→%d by %p", b.Payloads[0], b.Tables[0])
		}
		f.tell(f.caller, Event{Kind: EvHungUp})
		f.ended()
	})
}

func TestAnAnswerThatCannotBeBridgedEndsTheCall(t *testing.T) {
	for name, body := range map[string]string{"none": "", "garbage": "?", "refused": strings.Replace(answerOfB, "50000", "0", 1),
		"another codec": offerOfWords} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newGreenPin(t, bob)
				f.call()
				f.keys(rightPIN)
				f.tell(f.b(1), Event{Kind: EvAnswered, Body: []byte(body)})
				f.finish(SoundUnreachable)
				if r := f.ended(); r.Cause != masking.CauseFailed || !r.AnsweredAt.IsZero() || f.b(1).end().Cause != masking.CauseFailed {
					t.Errorf("record %+v", r)
				}
			})
		})
	}
}

func TestTheSecondNumberGetsANewAddressAndTheCallerKeepsHis(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newGreenPin(t, bob, carol)
		f.trunks.trunks = append(f.trunks.trunks, &fakeTrunk{name: "two", ex: f})
		f.call()
		f.keys(rightPIN)
		s, before := f.session(), f.session().Local(A)
		f.tell(f.b(1), Event{Kind: EvFailed, Cause: masking.CauseFailed, Retry: true}) // another trunk
		f.tell(f.b(2), Event{Kind: EvFailed, Cause: masking.CauseBusy})                // another number
		seen := map[string]bool{}
		for i := range 3 {
			m := audioOf(t, string(f.b(i+1).dial.Offer))
			seen[m.Addr.String()] = true
		}
		if len(seen) != 3 || len(s.seats) != 3 || f.media.opened() != 1 {
			t.Errorf("offered %v, %d seats", seen, len(s.seats))
		}
		f.tell(f.b(3), Event{Kind: EvAnswered, Body: []byte(answerULaw)})
		if s.Local(A) != before || s.peer(B).RTP.String() != "203.0.113.20:50000" || s.peer(A).RTP.String() != "198.51.100.10:40000" {
			t.Errorf("A is at %v, media goes to %v and %v", s.Local(A), s.peer(A).RTP, s.peer(B).RTP)
		}
		f.tell(f.caller, Event{Kind: EvHungUp})
		f.ended()
	})
}

func TestWithoutANewAddressTheCallerIsToldThatNobodyCanBeHad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newGreenPin(t, bob, carol)
		f.call()
		f.keys(rightPIN)
		f.media.fail = true
		f.tell(f.b(1), Event{Kind: EvFailed, Cause: masking.CauseUnreachable})
		f.finish(SoundUnreachable)
		if r := f.ended(); r.Cause != masking.CauseUnreachable || f.dials() != 1 || len(r.Attempts) != 2 {
			t.Errorf("record %+v", r)
		}
	})
}

func TestEitherSideOfABridgeMayChangeItsLaw(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newGreenPin(t, bob)
		f.call()
		f.keys(rightPIN)
		f.tell(f.b(1), Event{Kind: EvAnswered, Body: []byte(answerULaw)})
		f.tell(f.b(1), Event{Kind: EvOffered, Body: []byte(answerOfB)})
		if got := codecsOf(audioOf(t, f.b(1).answers[0])); !slices.Equal(got, []string{"PCMA", "telephone-event"}) {
			t.Errorf("B is answered with %v", got)
		}
		if a, b := f.session().peer(A), f.session().peer(B); a.Tables[8] != nil || b.Tables[8] != nil || b.Payloads[8] != 8 {
			t.Errorf("turned though both have A-law: 8→%d", b.Payloads[8])
		}
		f.tell(f.caller, Event{Kind: EvOffered, Body: []byte(strings.ReplaceAll(offerOfA, " 8 0 ", " 0 "))})
		a, b := f.session().peer(A), f.session().peer(B)
		if a.Payloads[8] != 0 || a.Tables[8] != g711.ALaw.To(g711.ULaw) || b.Payloads[0] != 8 || b.Tables[0] != g711.ULaw.To(g711.ALaw) {
			t.Errorf("to A 8→%d, to B 0→%d", a.Payloads[8], b.Payloads[0])
		}
		f.tell(f.caller, Event{Kind: EvOffered, Body: []byte(offerOfWords)})
		if f.caller.refused != 1 || f.session().peer(A).Payloads[8] != 0 {
			t.Error("a codec that cannot be bridged was taken")
		}
		f.tell(f.caller, Event{Kind: EvHungUp})
		f.ended()
	})
}
