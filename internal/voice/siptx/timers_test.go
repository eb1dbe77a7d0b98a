package siptx

import (
	"testing"
	"time"
)

func TestTimersLeftOutTakeTheFiguresOfTheRFC(t *testing.T) {
	want := Timers{
		T1: 500 * time.Millisecond, T2: 4 * time.Second, T4: 5 * time.Second,
		B: 32 * time.Second, D: 32 * time.Second, F: 32 * time.Second, H: 32 * time.Second,
		I: 5 * time.Second, J: 32 * time.Second, K: 5 * time.Second, L: 32 * time.Second, M: 32 * time.Second,
		Trying: 200 * time.Millisecond,
	}
	if got := (Timers{}).orRFC(); got != want {
		t.Fatalf("%+v", got)
	}
	got := Timers{T1: time.Millisecond, T4: 2 * time.Millisecond, H: time.Second}.orRFC()
	if got.B != 64*time.Millisecond || got.K != 2*time.Millisecond || got.H != time.Second || got.D != 32*time.Second {
		t.Fatalf("%+v", got)
	}
}
