package b2bua

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"tandem/internal/masking"
)

// newEnding is an exchange whose talks end with their allocation.
func newEnding(t *testing.T, life time.Duration) *exchange {
	f := newExchange(t, bob)
	f.director.route.Tenant.Settings.EndWithAllocation = true
	f.extend(life)
	f.director.route.Found[0].ExpiresAt = f.director.expires
	return f
}

// extend makes the allocation expire so long from now.
func (f *exchange) extend(life time.Duration) {
	f.director.mu.Lock()
	defer f.director.mu.Unlock()
	f.director.expires = time.Now().Add(life)
}

// talkOn lets time pass in a talk in which both sides are heard.
func (f *exchange) talkOn(d time.Duration) {
	for ; d > 0; d -= 20 * time.Second {
		f.session().hear(A)
		wait(min(d, 20*time.Second))
	}
}

// warnings are how often both sides have been warned.
func (f *exchange) warnings() int {
	f.t.Helper()
	a, b := f.session().sounds(A), f.session().sounds(B)
	if !slices.Equal(a, b) || slices.ContainsFunc(a, func(s Sound) bool { return s != ToneWarning && s != SoundRecorded }) {
		f.t.Errorf("A hears %v, B %v", a, b)
	}
	return len(slices.DeleteFunc(a, func(s Sound) bool { return s != ToneWarning }))
}

func TestATalkEndsAfterTheTenantsLongestAndBothSidesAreWarnedAMinuteBefore(t *testing.T) {
	for _, longest := range []time.Duration{masking.DefaultSettings(time.UTC).MaxCall, 90 * time.Second, 61 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			f := newExchange(t, bob)
			f.director.route.Tenant.Settings.MaxCall = longest
			f.connect()
			f.talkOn(longest - time.Minute - time.Millisecond)
			if longest > time.Minute && f.warnings() != 0 {
				t.Error("warned too early")
			}
			f.talkOn(time.Millisecond)
			if f.warnings() != 1 {
				t.Errorf("warned %d times", f.warnings())
			}
			f.talkOn(time.Minute - time.Millisecond)
			if f.caller.ended() {
				t.Error("ended too early")
			}
			f.talkOn(time.Millisecond)
			if r := f.ended(); r.Cause != masking.CauseMaxTime || r.TalkTime != longest || f.warnings() != 1 {
				t.Errorf("record %+v after %d warnings", r, f.warnings())
			}
			if f.caller.end().Cause != masking.CauseMaxTime || f.b(1).end().Cause != masking.CauseMaxTime {
				t.Errorf("told %+v and %+v", f.caller.ends, f.b(1).ends)
			}
		})
	}
}

func TestATalkGoesOnBeyondItsAllocation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newEnding(t, 5*time.Minute)
		f.director.route.Tenant.Settings.EndWithAllocation = false
		f.connect()
		f.talkOn(time.Hour)
		f.AllocationEnded("gvn_1", false)
		synctest.Wait()
		if f.warnings() != 0 || f.caller.ended() {
			t.Errorf("%v", f.trace.all())
		}
		f.tell(f.caller, Event{Kind: EvHungUp})
		f.ended()
	})
}

func TestWhereTheTenantWantsItATalkEndsWithItsAllocationAMinuteAfterAWarning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newEnding(t, 5*time.Minute)
		f.connect()
		f.talkOn(4*time.Minute - time.Millisecond)
		if f.warnings() != 0 {
			t.Error("warned too early")
		}
		f.talkOn(time.Millisecond)
		if f.warnings() != 1 {
			t.Error("not warned")
		}
		f.talkOn(time.Minute - time.Millisecond)
		f.AllocationEnded("gvn_1", false) // swept meanwhile
		synctest.Wait()
		if f.caller.ended() {
			t.Error("ended too early")
		}
		f.talkOn(time.Millisecond)
		if r := f.ended(); r.Cause != masking.CauseAllocationEnded || r.TalkTime != 5*time.Minute || f.warnings() != 1 {
			t.Errorf("record %+v", r)
		}
	})
}

func TestATalkIsNotCutWhenItsAllocationIsExtended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newEnding(t, 5*time.Minute)
		f.connect()
		f.extend(6 * time.Minute) // before the warning
		f.talkOn(4*time.Minute + 30*time.Second)
		if f.warnings() != 0 {
			t.Error("warned of an end that is none")
		}
		f.talkOn(time.Minute)
		if f.warnings() != 1 {
			t.Error("not warned")
		}
		f.extend(10 * time.Minute) // after it
		f.talkOn(9 * time.Minute)
		if f.warnings() != 2 || f.caller.ended() {
			t.Errorf("warned %d times: %v", f.warnings(), f.trace.all())
		}
		f.talkOn(time.Minute)
		if r := f.ended(); r.Cause != masking.CauseAllocationEnded || r.TalkTime != 15*time.Minute+30*time.Second {
			t.Errorf("record %+v", r)
		}
	})
}

func TestATalkThatBeginsInTheLastMinuteIsWarnedAtOnce(t *testing.T) {
	for _, c := range []struct{ life, lasts time.Duration }{{30 * time.Second, 30 * time.Second}, {2 * time.Second, 10 * time.Second}} {
		synctest.Test(t, func(t *testing.T) {
			f := newEnding(t, c.life)
			f.connect()
			if f.warnings() != 1 {
				t.Error("not warned")
			}
			f.talkOn(c.lasts)
			if r := f.ended(); r.Cause != masking.CauseAllocationEnded || r.TalkTime != c.lasts {
				t.Errorf("record %+v", r)
			}
		})
	}
}

func TestATalkWhoseAllocationWasDeletedGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newEnding(t, 5*time.Minute)
		f.connect()
		f.director.mu.Lock()
		f.director.expires = time.Time{}
		f.director.mu.Unlock()
		f.AllocationEnded("gvn_1", false)
		f.talkOn(time.Hour)
		if f.warnings() != 0 || f.caller.ended() {
			t.Errorf("%v", f.trace.all())
		}
		f.AllocationEnded("gvn_1", true)
		if r := f.ended(); r.Cause != masking.CauseAllocationEnded {
			t.Errorf("record %+v", r)
		}
	})
}

func TestNoTalkEndsWhileTheStoreIsAway(t *testing.T) {
	for name, fault := range map[string]func(*fakeDirector){
		"away":  func(d *fakeDirector) { d.away = errors.New("the store is away") },
		"fault": func(d *fakeDirector) { d.panicOn = "expires" },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newEnding(t, 5*time.Minute)
				f.connect()
				f.director.mu.Lock()
				fault(f.director)
				f.director.mu.Unlock()
				f.talkOn(10 * time.Minute)
				if f.warnings() != 0 || f.caller.ended() {
					t.Fatalf("%v", f.trace.all())
				}
				f.director.mu.Lock()
				f.director.away, f.director.panicOn = nil, ""
				f.director.mu.Unlock()
				f.talkOn(5 * time.Second)
				if f.warnings() != 1 {
					t.Error("not warned")
				}
				f.talkOn(10 * time.Second)
				if r := f.ended(); r.Cause != masking.CauseAllocationEnded {
					t.Errorf("record %+v", r)
				}
			})
		})
	}
}

func TestTheNoticeOfARecordingIsHeardBeforeTheWarning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newEnding(t, 30*time.Second)
		f.director.route.Found[0].Record = true
		f.director.route.Tenant.Settings.RecordingNotice = true
		f.connect()
		if f.warnings() != 0 {
			t.Error("the notice was cut off")
		}
		f.session().end(A)
		f.session().end(B)
		f.talkOn(5 * time.Second)
		if f.warnings() != 1 || f.session().recorded() != 1 {
			t.Errorf("%v", f.trace.all())
		}
		f.tell(f.caller, Event{Kind: EvHungUp})
		f.ended()
	})
}
