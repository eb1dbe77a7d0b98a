package b2bua

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tandem/internal/masking"
)

const wrongPIN = "915308"

// infos lets the caller press keys that his phone tells by INFO.
func (f *exchange) infos(keys string) {
	for i := range len(keys) {
		f.tell(f.caller, Event{Kind: EvDigit, Digit: keys[i], By: ByInfo})
	}
}

// denied is the record of a call that no PIN let through. It fails if anybody was
// rung.
func (f *exchange) denied(why masking.Refusal) masking.Call {
	f.t.Helper()
	r := f.ended()
	if r.Cause != masking.CauseRejected || r.Refusal != why || !r.AnsweredAt.IsZero() || r.Allocation != "" || len(r.Attempts) != 0 {
		f.t.Errorf("record %+v", r)
	}
	if f.caller.end() != (Reason{masking.CauseRejected, why}) {
		f.t.Errorf("the caller was told %+v", f.caller.ends)
	}
	if f.dials() != 0 || f.trace.count("note matched") != 0 || len(f.director.why) != 0 {
		f.t.Errorf("%v", f.trace.all())
	}
	return r
}

func TestARightPINRingsThroughOnTheLegThatWasAnsweredForTheQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newGreenPin(t, bob)
		start := time.Now()
		f.call()
		if len(f.caller.answers) != 1 || f.caller.rings != 0 || len(f.caller.early) != 0 || f.dials() != 0 {
			t.Fatalf("%v", f.trace.all())
		}
		f.finish(SoundEnterPIN)
		wait(time.Second)
		f.keys(rightPIN)
		if f.b(1).dial.To != bob || f.b(1).dial.CallerID != virtual {
			t.Fatalf("dialled %+v", f.b(1).dial)
		}
		f.finish(SoundConnecting)
		f.expect(ToneRingBack)
		f.tell(f.b(1), Event{Kind: EvRinging})
		f.expect(ToneRingBack)
		wait(4 * time.Second)
		f.tell(f.b(1), Event{Kind: EvAnswered, Body: []byte(answerOfB)})
		f.expect("")
		wait(5 * time.Second)
		f.tell(f.b(1), Event{Kind: EvHungUp})
		r := f.ended()
		if len(f.caller.answers) != 1 || f.caller.rings != 0 {
			t.Errorf("the caller was answered %d times and rung %d times", len(f.caller.answers), f.caller.rings)
		}
		want := masking.Call{ID: "call_1", Tenant: "acme", Allocation: "gp_1", VirtualNumber: virtual, Caller: alice, Callee: bob,
			Direction: masking.FromCalls, CustomField: "order 7", Node: "n1", StartedAt: start, AnsweredAt: start.Add(5 * time.Second),
			EndedAt: start.Add(10 * time.Second), RingTime: 5 * time.Second, TalkTime: 5 * time.Second, Cause: masking.CauseCalleeHungUp}
		if !sameCall(r, want) {
			t.Errorf("got  %+v\nwant %+v", r, want)
		}
	})
}

func TestTheMomentsOfACallWithAPINAreNotedOnceEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newGreenPin(t, bob, carol)
		f.call()
		f.keys(rightPIN)
		f.tell(f.b(1), Event{Kind: EvRinging})
		f.tell(f.b(1), Event{Kind: EvFailed, Cause: masking.CauseBusy})
		f.tell(f.b(2), Event{Kind: EvRinging})
		f.tell(f.b(2), Event{Kind: EvAnswered, Body: []byte(answerOfB)})
		f.tell(f.caller, Event{Kind: EvHungUp})
		f.ended()
		moments := slices.DeleteFunc(f.trace.all(), func(l string) bool { return !strings.HasPrefix(l, "note") })
		if want := []string{"note began", "note matched", "note rang", "note answered", "note ended"}; !slices.Equal(moments, want) {
			t.Errorf("moments %v", moments)
		}
		for m, id := range map[masking.Moment]masking.AllocationID{masking.Began: "", masking.Matched: "gp_1", masking.Ended: "gp_1"} {
			c := f.journal.of(m)[0]
			if c.Allocation != id || (c.Direction == "") != (id == "") || (c.CustomField == "") != (id == "") || c.Callee.IsZero() != (id == "") {
				t.Errorf("moment %d: %+v", m, c)
			}
			if c.Tenant != "acme" || c.VirtualNumber != virtual || c.Caller != alice {
				t.Errorf("moment %d is not Alice's call: %+v", m, c)
			}
		}
	})
}

func TestTheQuestionIsPutTwiceAndWaitsEightSecondsEachTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newGreenPin(t, bob)
		f.call()
		for range 2 {
			wait(20 * time.Second) // however long it is, the time runs from its end
			f.finish(SoundEnterPIN)
			wait(8*time.Second - time.Millisecond)
			f.expect("")
			wait(time.Millisecond)
		}
		f.finish(SoundPINFailed)
		f.denied(masking.RefusedPIN)
		if len(f.director.entries()) != 0 {
			t.Errorf("%d PINs were judged", len(f.director.entries()))
		}
	})
}

func TestADigitMayWaitThreeSecondsForTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newGreenPin(t, bob)
		f.call()
		f.finish(SoundEnterPIN)
		wait(8*time.Second - time.Millisecond)
		for i := range len(rightPIN) - 1 {
			f.keys(rightPIN[i : i+1])
			wait(3*time.Second - time.Millisecond)
		}
		f.expect("")
		wait(time.Millisecond)
		if got := f.director.entries(); !slices.Equal(got, []string{rightPIN[:5]}) {
			t.Errorf("judged %d entries", len(got))
		}
		f.expect(SoundWrongPIN)
		f.tell(f.caller, Event{Kind: EvHungUp})
		f.ended()
	})
}

func TestWhatIsTypedIsJudgedWhenItIsWhole(t *testing.T) {
	for _, c := range []struct {
		name    string
		lengths []int // of the PINs on the number; nil = that of rightPIN
		keys    string
		wait    time.Duration // until it is judged
		want    string
	}{
		{"the known length", nil, rightPIN, 0, rightPIN},
		{"the longest of several", []int{4, 6}, rightPIN, 0, rightPIN},
		{"shorter than the longest", []int{4, 6, 8}, rightPIN, 3 * time.Second, rightPIN},
		{"shorter, ended by hash", []int{4, 6, 8}, rightPIN + "#", 0, rightPIN},
		{"eight digits, whatever is known", []int{9}, "48217055", 0, "48217055"},
		{"no PIN on the number: the tenant's length", []int{}, "4821", 0, "4821"},
		{"cleared before", nil, "99*" + rightPIN, 0, rightPIN},
		{"cleared twice", nil, "**" + rightPIN, 0, rightPIN},
		{"with keys that no telephone has", nil, "4A821B7C0", 0, rightPIN},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, press := range []func(*exchange, string){(*exchange).keys, (*exchange).infos} {
				synctest.Test(t, func(t *testing.T) {
					f := newGreenPin(t, bob)
					f.director.lengths = c.lengths
					f.call()
					press(f, c.keys[:len(c.keys)-1])
					if n := len(f.director.entries()); n != 0 {
						t.Fatalf("%d entries judged before the last key", n)
					}
					press(f, c.keys[len(c.keys)-1:])
					if c.wait > 0 {
						wait(c.wait - time.Millisecond)
						if n := len(f.director.entries()); n != 0 {
							t.Fatalf("%d entries judged too early", n)
						}
						wait(time.Millisecond)
					}
					if got := f.director.entries(); !slices.Equal(got, []string{c.want}) {
						t.Errorf("%d entries judged, or another one", len(got))
					}
					if (f.dials() == 1) != (c.want == rightPIN) {
						t.Errorf("%d dialled", f.dials())
					}
					f.tell(f.caller, Event{Kind: EvHungUp})
					f.ended()
				})
			}
		})
	}
}

func TestAKeyInterruptsTheQuestion(t *testing.T) {
	for _, key := range []string{"4", "*"} {
		synctest.Test(t, func(t *testing.T) {
			f := newGreenPin(t, bob)
			f.call()
			f.expect(SoundEnterPIN)
			question := f.session().said[A][0]
			f.keys(key)
			f.expect("")
			question.Done() // it had come to its end in that moment
			synctest.Wait()
			wait(3*time.Second - time.Millisecond)
			f.expect("")
			wait(time.Millisecond)
			// After a digit the time for the next is over; after * there are 8 s for the first.
			if want := map[string]Sound{"4": SoundWrongPIN, "*": ""}[key]; f.hears() != want {
				t.Errorf("after %s he hears %q", key, f.hears())
			}
			wait(5*time.Second - time.Millisecond)
			if key == "*" {
				f.expect("")
				wait(time.Millisecond)
				f.expect(SoundEnterPIN)
			}
			f.tell(f.caller, Event{Kind: EvHungUp})
			f.ended()
		})
	}
}

func TestAWrongPINIsFollowedByARightOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newGreenPin(t, bob)
		f.call()
		f.keys(wrongPIN)
		f.expect(SoundWrongPIN)
		f.keys("0000#") // within the words already
		f.finish(SoundWrongPIN)
		f.keys(rightPIN)
		if f.b(1).dial.To != bob {
			t.Fatalf("%v", f.trace.all())
		}
		f.tell(f.b(1), Event{Kind: EvAnswered, Body: []byte(answerOfB)})
		f.tell(f.caller, Event{Kind: EvHungUp})
		if r := f.ended(); r.Cause != masking.CauseCallerHungUp || r.Refusal != "" || r.Allocation != "gp_1" {
			t.Errorf("record %+v", r)
		}
	})
}

func TestAfterAWrongPINTheQuestionMayBePutOnceMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newGreenPin(t, bob)
		f.call()
		f.finish(SoundEnterPIN)
		wait(8 * time.Second)
		f.keys(wrongPIN)
		f.finish(SoundWrongPIN)
		wait(8 * time.Second)
		f.finish(SoundEnterPIN)
		wait(8 * time.Second)
		f.finish(SoundPINFailed)
		f.denied(masking.RefusedPIN)
	})
}

func TestThreeWrongPINsAreAllThatACallMayEnter(t *testing.T) {
	for name, entry := range map[string]string{"wrong": wrongPIN, "too short": "12#", "empty but for a digit": "*7#"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newGreenPin(t, bob)
				f.director.pins[0].MaxPINAttempts = masking.MaxPINAttempts
				f.call()
				for i := range masking.TriesPerCall {
					if i > 0 {
						f.expect(SoundWrongPIN)
					}
					f.keys(entry)
				}
				if f.session().press(A, rightPIN) {
					t.Error("somebody listens to a fourth")
				}
				f.infos(rightPIN)
				f.finish(SoundPINFailed)
				f.denied(masking.RefusedPIN)
				if n := len(f.director.entries()); entry != wrongPIN && n != 0 {
					t.Errorf("%d entries that no PIN can be were judged", n)
				}
			})
		})
	}
}

func TestACallerWhoHasNoEntriesLeftIsRefusedAtOnce(t *testing.T) {
	for _, c := range []struct {
		name   string
		before int // wrong entries of earlier calls
		entry  string
		why    masking.Refusal
	}{
		{"the last one wrong", masking.DefaultPINAttempts - 1, wrongPIN, masking.RefusedPIN},
		{"locked, wrong", masking.DefaultPINAttempts, wrongPIN, masking.RefusedPINLocked},
		{"locked, right", masking.DefaultPINAttempts, rightPIN, masking.RefusedPINLocked},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newGreenPin(t, bob)
				f.director.wrong[masking.TriesOf{VirtualNumber: virtual, Allocation: "gp_1", Caller: alice}] =
					masking.Tries{Wrong: c.before, Last: time.Now()}
				f.call()
				f.keys(c.entry)
				f.finish(SoundPINFailed) // as after three wrong ones
				f.denied(c.why)
			})
		})
	}
}

func TestACallerWhoClearsForEverEndsAfterTwoMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newGreenPin(t, bob)
		f.call()
		for range 2 * time.Minute / (2 * time.Second) {
			f.keys("12*")
			wait(2*time.Second - time.Millisecond)
			f.expect("")
			wait(time.Millisecond)
		}
		f.finish(SoundPINFailed)
		if r := f.denied(masking.RefusedPIN); r.RingTime != 2*time.Minute {
			t.Errorf("after %v", r.RingTime)
		}
	})
}

// Two minutes are for entering a PIN. One that came in time is judged, however
// long the store takes over it.
func TestAPINInTheLastMomentStillRings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newGreenPin(t, bob)
		f.director.judging = make(chan struct{})
		f.call()
		for range 23 {
			f.keys("1*")
			wait(5 * time.Second)
		}
		wait(4 * time.Second)
		f.keys(rightPIN)
		wait(1500 * time.Millisecond)
		f.release()
		synctest.Wait()
		f.tell(f.b(1), Event{Kind: EvAnswered, Body: []byte(answerOfB)})
		f.tell(f.caller, Event{Kind: EvHungUp})
		if r := f.ended(); r.Cause != masking.CauseCallerHungUp || r.AnsweredAt.IsZero() {
			t.Errorf("record %+v", r)
		}
	})
}

func TestAKeyThatIsToldInTwoWaysCountsOnce(t *testing.T) {
	for name, ways := range map[string][2]func(*exchange, string){
		"media first": {(*exchange).keys, (*exchange).infos},
		"INFO first":  {(*exchange).infos, (*exchange).keys},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newGreenPin(t, bob)
				f.call()
				for _, entry := range []string{wrongPIN, rightPIN} {
					for i := range len(entry) {
						ways[0](f, entry[i:i+1])
						ways[1](f, entry[i:i+1])
					}
				}
				if got := f.director.entries(); !slices.Equal(got, []string{wrongPIN, rightPIN}) || f.dials() != 1 {
					t.Errorf("%d entries judged, %d dialled", len(got), f.dials())
				}
				f.tell(f.caller, Event{Kind: EvHungUp})
				f.ended()
			})
		})
	}
}

func TestKeysAfterThePINReachNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newGreenPin(t, bob)
		f.director.judging = make(chan struct{})
		f.call()
		f.keys(rightPIN + "#1") // these two while the PIN is judged
		f.release()
		synctest.Wait()
		for _, next := range []Event{{Kind: EvRinging}, {Kind: EvAnswered, Body: []byte(answerOfB)}} {
			if f.session().press(A, "2") {
				t.Errorf("somebody listens before %v", next.Kind)
			}
			f.infos("3")
			f.tell(f.b(1), next)
		}
		if got := f.b(1).pressed + f.caller.pressed; got != "" || len(f.director.entries()) != 1 || f.dials() != 1 {
			t.Errorf("passed on %q: %v", got, f.trace.all())
		}
		f.tell(f.caller, Event{Kind: EvHungUp})
		f.ended()
	})
}
