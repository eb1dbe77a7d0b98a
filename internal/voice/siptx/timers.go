package siptx

import "time"

// Timers are the intervals of RFC 3261 §17 (table 4) and RFC 6026. A zero field
// takes the RFC's figure, computed from T1 and T4 as given. Where a timer is zero
// over a reliable transport by the RFC (D, I, J, K), it is zero over TCP whatever is set here.
type Timers struct {
	T1 time.Duration // round trip estimate; 500 ms
	T2 time.Duration // longest interval between retransmissions; 4 s
	T4 time.Duration // how long a message stays in the network; 5 s

	B time.Duration // INVITE without any response, and after a CANCEL; 64*T1
	D time.Duration // final responses to an INVITE absorbed; 32 s
	F time.Duration // non-INVITE without a final response; 64*T1
	H time.Duration // final response without ACK; 64*T1
	I time.Duration // ACKs absorbed; T4
	J time.Duration // retransmitted non-INVITE requests absorbed; 64*T1
	K time.Duration // retransmitted final responses absorbed; T4
	L time.Duration // INVITE server transaction after a 2xx; 64*T1
	M time.Duration // INVITE client transaction after a 2xx; 64*T1

	Trying time.Duration // an INVITE gets a 100 if the TU says nothing for that long; 200 ms (RFC 3261 §17.2.1)
}

func (t Timers) orRFC() Timers {
	set := func(d *time.Duration, otherwise time.Duration) {
		if *d <= 0 {
			*d = otherwise
		}
	}
	set(&t.T1, 500*time.Millisecond)
	set(&t.T2, 4*time.Second)
	set(&t.T4, 5*time.Second)
	set(&t.D, 32*time.Second)
	set(&t.I, t.T4)
	set(&t.K, t.T4)
	set(&t.Trying, 200*time.Millisecond)
	for _, d := range []*time.Duration{&t.B, &t.F, &t.H, &t.J, &t.L, &t.M} {
		set(d, 64*t.T1)
	}
	return t
}

// An alarm is a timer that knows when it is due, so that a firing which lost the
// race against stop or set is recognised. It is guarded by its transaction's lock.
type alarm struct {
	timer *time.Timer
	at    time.Time
}

// set starts or restarts the alarm. Only the first f counts.
func (a *alarm) set(d time.Duration, f func()) {
	a.at = time.Now().Add(d) // before the timer starts: it never fires earlier than this
	if a.timer == nil {
		a.timer = time.AfterFunc(d, f)
		return
	}
	a.timer.Reset(d)
}

func (a *alarm) stop() {
	if a.timer != nil && !a.at.IsZero() {
		a.timer.Stop()
	}
	a.at = time.Time{}
}

// take reports whether the alarm is due, and disarms it if so.
func (a *alarm) take() bool {
	if a.at.IsZero() || time.Now().Before(a.at) {
		return false
	}
	a.at = time.Time{}
	return true
}
