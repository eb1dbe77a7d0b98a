package main

import (
	"bytes"
	"net"
	"net/netip"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newTestLoad(t *testing.T, slots int) *load {
	t.Helper()
	l, err := newLoad(slots)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.close)
	return l
}

func TestALoadThatCallsItselfCompletesEachCallAndTimesIt(t *testing.T) {
	l := newTestLoad(t, 10)
	l.through(address(l.callee), calleeNumber)
	for range 2 { // the second run counts anew
		got, err := l.run(t.Context(), 100, 30)
		if err != nil {
			t.Fatal(err)
		}
		if got.completed != 30 || got.connected != 30 || got.failed != 0 || len(got.added) != 30 {
			t.Errorf("%+v", got)
		}
	}
	if len(l.calls) != 0 {
		t.Errorf("%d calls are left", len(l.calls))
	}
}

func TestHeldCallsStayUpUntilTheyAreHungUp(t *testing.T) {
	l := newTestLoad(t, 5)
	l.through(address(l.callee), calleeNumber)
	l.hold = true
	got, err := l.run(t.Context(), 100, 5)
	if err != nil {
		t.Fatal(err)
	}
	if got.connected != 5 || got.completed != 0 {
		t.Errorf("held: %+v", got)
	}
	if err := l.hangUp(t.Context(), 100); err != nil {
		t.Fatal(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.completed != 5 || l.failed != 0 {
		t.Errorf("after hanging up: %+v", l.tally)
	}
}

// proxy passes INVITEs on to the callee and answers back, each with a change.
func proxy(t *testing.T, on func(conn *net.UDPConn, b []byte, from netip.AddrPort)) netip.AddrPort {
	t.Helper()
	conn, err := listen()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 65536)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			on(conn, buf[:n], from)
		}
	}()
	t.Cleanup(func() {
		_ = conn.Close()
		<-done
	})
	return address(conn)
}

func TestARefusedCallFails(t *testing.T) {
	l := newTestLoad(t, 5)
	l.through(proxy(t, func(conn *net.UDPConn, b []byte, from netip.AddrPort) {
		if m, ok := read(b); ok && m.method == "INVITE" {
			_, _ = conn.WriteToUDPAddrPort(answer(m, "503 Service Unavailable", "s", "", ""), from)
		}
	}), calleeNumber)
	got, err := l.run(t.Context(), 100, 5)
	if err != nil {
		t.Fatal(err)
	}
	if got.failed != 5 || got.connected != 0 || got.clean() {
		t.Errorf("%+v", got)
	}
}

func TestAnAnswerThatComesTwiceIsNotClean(t *testing.T) {
	l := newTestLoad(t, 1)
	var caller netip.AddrPort
	callee := address(l.callee)
	l.through(proxy(t, func(conn *net.UDPConn, b []byte, from netip.AddrPort) {
		to := callee
		if from == callee {
			to = caller
		} else {
			caller = from
		}
		_, _ = conn.WriteToUDPAddrPort(b, to)
		if m, ok := read(b); ok && m.status == 200 && m.method == "INVITE" {
			_, _ = conn.WriteToUDPAddrPort(b, to)
		}
	}), calleeNumber)
	got, err := l.run(t.Context(), 100, 1)
	if err != nil {
		t.Fatal(err)
	}
	if got.completed != 1 || got.repeated == 0 || got.clean() {
		t.Errorf("%+v", got)
	}
}

func TestAMessageIsReadAsItWasWritten(t *testing.T) {
	at := netip.MustParseAddrPort("127.0.0.1:5060")
	m, ok := read(invite(7, "+919900000007", "+914000000001", at, at))
	if !ok || m.status != 0 || m.method != "INVITE" || userOf(m.uri) != "+914000000001" {
		t.Errorf("%v %+v", ok, m)
	}
	if n, ok := numbered(m.callID); !ok || n != 7 {
		t.Errorf("call %d of %q", n, m.callID)
	}
	r, ok := read(answer(m, "200 OK", "b7", "sip:k7@127.0.0.1:5060", session(7)))
	if !ok || r.status != 200 || r.method != "INVITE" || string(r.reach) != "sip:k7@127.0.0.1:5060" ||
		!bytes.HasSuffix(r.to, []byte(";tag=b7")) || !bytes.Equal(r.vias, m.vias) {
		t.Errorf("%v %+v", ok, r)
	}
	for _, text := range []string{"", "\r\n", "INVITE", "SIP/2.0 200", "SIP/2.0 200 OK\r\n\r\n"} {
		if _, ok := read([]byte(text)); ok {
			t.Errorf("%q is taken for a message", text)
		}
	}
}
