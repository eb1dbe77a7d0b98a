package siptx

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"
)

// A pipe is a TCP connection in memory, for testing/synctest bubbles.
type pipe struct{ net.Conn }

func (pipe) LocalAddr() net.Addr  { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 40000} }
func (pipe) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 9), Port: 5062} }

// dialled returns a rig with a connection that it has opened to its peer, the far
// end of it, and what the OPTIONS that opened it came to.
func dialled(t *testing.T) (*rig, Target, net.Conn, chan Outcome) {
	r := newRig(t)
	far := make(chan net.Conn, 1)
	r.l.dial = func(context.Context, *net.Dialer, string) (net.Conn, error) {
		a, b := net.Pipe()
		far <- b
		return pipe{a}, nil
	}
	to := Target{Network: "tcp", Addr: netip.MustParseAddrPort("192.0.2.9:5062")}
	out := make(chan Outcome, 2)
	if _, err := r.l.Request(request(sip.OPTIONS), to, func(o Outcome) { out <- o }); err != nil {
		t.Fatal(err)
	}
	return r, to, next(t, far), out
}

// hear reads what the far end gets next.
func hear(t *testing.T, c net.Conn) string {
	t.Helper()
	buf := make([]byte, maxMessage)
	n, err := c.Read(buf)
	if err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	return string(buf[:n])
}

func say(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

func TestAConnectionThatWeOpenedIsKeptAliveAndIsClosedOnceItIsDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _, far, out := dialled(t)
		say(t, far, reply(hear(t, far), 200, "x"))
		next(t, out)
		for range 20 { // longer than a connection may be idle
			before := time.Now()
			if got := hear(t, far); got != "\r\n\r\n" {
				t.Fatalf("%q", got)
			}
			if d := time.Since(before); d > pingAfter+pingSpread+pongWithin {
				t.Fatalf("a ping after %v", d)
			}
			say(t, far, "\r\n")
		}
		if got := hear(t, far); got != "\r\n\r\n" {
			t.Fatalf("%q", got)
		}
		before := time.Now()
		if got := hear(t, far); got != "" || time.Since(before) > pongWithin {
			t.Fatalf("%q after %v, want the end of the connection", got, time.Since(before))
		}
		synctest.Wait()
		if n := r.l.Stats().Conns; n != 0 {
			t.Errorf("%d connections", n)
		}
		r.close(t)
	})
}

func TestAPeerWhoDoesNotKnowPingsKeepsHisConnectionWhileHeTalks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, to, far, out := dialled(t)
		say(t, far, reply(hear(t, far), 200, "x"))
		next(t, out)
		for range 5 {
			if got := hear(t, far); got != "\r\n\r\n" {
				t.Fatalf("%q", got)
			}
			<-time.After(pongWithin + time.Second)
			req := request(sip.OPTIONS)
			if _, err := r.l.Request(req, to, func(o Outcome) { out <- o }); err != nil {
				t.Fatal(err)
			}
			say(t, far, reply(hear(t, far), 200, "x"))
			next(t, out)
		}
		for range 2 { // and his own pings are answered, and are no answers to ours that are long past
			say(t, far, "\r\n\r\n")
			if got := hear(t, far); got != "\r\n" {
				t.Fatalf("%q", got)
			}
		}
		for range 2 { // so that he owes none
			if got := hear(t, far); got != "\r\n\r\n" {
				t.Fatalf("%q", got)
			}
		}
		_ = far.Close()
		r.close(t)
	})
}

func TestAConnectionOnWhichARequestTimesOutInSilenceIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _, far, out := dialled(t)
		hear(t, far)
		if o := next(t, out); !errors.Is(o.Err, ErrTimeout) {
			t.Fatalf("%+v", o)
		}
		if got := hear(t, far); got != "" {
			t.Fatalf("%q", got)
		}
		r.close(t)
	})
}
